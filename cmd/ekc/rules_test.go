package main

import (
	"log/slog"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
)

func seedCatalog(t *testing.T) *catalog.Catalog {
	t.Helper()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	return catalog.New(items)
}

func TestRulesAreTheCataloguesNumbers(t *testing.T) {
	t.Parallel()
	snapshot := seedCatalog(t)
	moscow := citizen.Zones("Europe/Moscow")
	now := time.Date(2026, 6, 8, 12, 0, 0, 0, time.UTC) // a Monday
	r := &rules{catalog: func() *catalog.Catalog { return snapshot }, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)}
	got := r.current()
	for name, c := range map[string]struct {
		channel string
		wide    bool
		at      string // Moscow
		open    bool
	}{
		"before nine":            {"sms", false, "2026-06-08T08:59:00", false},
		"at nine":                {"sms", false, "2026-06-08T09:00:00", true},
		"at twenty-one":          {"sms", false, "2026-06-08T21:00:00", false},
		"urgent at eight":        {"sms", true, "2026-06-08T08:00:00", true},
		"SMS on a holiday":       {"sms", false, "2026-06-12T12:00:00", true},
		"call on a working day":  {"voice", false, "2026-06-11T12:00:00", true},
		"call on a Saturday":     {"voice", false, "2026-06-13T10:30:00", false},
		"call on a Sunday":       {"voice", false, "2026-06-14T12:00:00", false},
		"call on 12 June, a day": {"voice", false, "2026-06-12T12:00:00", false},
	} {
		at, err := time.ParseInLocation("2006-01-02T15:04:05", c.at, moscow.Locations()[0])
		if err != nil {
			t.Fatal(err)
		}
		if open := got.Window(c.channel, c.wide).Open(at, moscow); open != c.open {
			t.Errorf("%s: open %v", name, open)
		}
	}
	if got.PerDay["sms"] != 4 || got.Gap != 10*time.Minute || got.GiveUp != 72*time.Hour {
		t.Errorf("numbers %v %v %v", got.PerDay, got.Gap, got.GiveUp)
	}
	if wait, ok := got.Retry(dispatch.Reason("throttled"), 1); !ok || wait != time.Second {
		t.Errorf("retry of throttled: %v %v", wait, ok)
	}
	if _, ok := got.Retry(dispatch.Reason("smsc_system_error"), 4); ok {
		t.Error("smsc_system_error has no fifth try")
	}
}

func TestWithoutRulesNothingMayLeaveAndTheLastGoodOnesStay(t *testing.T) {
	t.Parallel()
	empty, full := catalog.New(nil), seedCatalog(t)
	current := empty
	now := time.Date(2026, 6, 8, 12, 0, 0, 0, time.UTC)
	r := &rules{catalog: func() *catalog.Catalog { return current }, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)}
	if _, ok := r.current().Window("sms", true).NextOpen(now, "Europe/Moscow"); ok {
		t.Error("something may leave although no rule is known")
	}
	current = full
	if _, ok := r.current().Window("sms", true).NextOpen(now, "Europe/Moscow"); !ok {
		t.Error("the rules that appeared are not in force")
	}
	current = empty
	if _, ok := r.current().Window("sms", true).NextOpen(now, "Europe/Moscow"); !ok {
		t.Error("the last good rules did not stay")
	}
}
