package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSeedRulesHaveTheDefaults(t *testing.T) {
	t.Parallel()
	r, err := seeded(t).Rules(day("2026-12-01"))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"sms a day":        r.SMSPerDay == 4,
		"calls a day":      r.CallsPerDay == 2,
		"tests of a list":  r.TestsPerList == 3,
		"tests a day":      r.TestsPerDay == 20,
		"gap":              r.Gap == 10*time.Minute,
		"duplicate period": r.DuplicatePeriod == 30*24*time.Hour,
		"bad share":        r.BadShare == 50,
		"give-up":          r.GiveUp == 72*time.Hour,
		"uncertain":        r.UncertainWait == 5*time.Minute,
	} {
		if !ok {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if b := r.Retry("busy"); b.Tries != 3 {
		t.Errorf("busy: %+v", b)
	}
	if b := r.Retry("never heard of"); len(b.Delays) == 0 || b.Tries != r.Retry("default").Tries {
		t.Errorf("an unknown reason: %+v", b)
	}
	if _, ok := r.Term("LE-99"); ok {
		t.Error("a term nobody set")
	}
}

func TestMissingRuleIsNamedNotGuessed(t *testing.T) {
	t.Parallel()
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{
		RuleWindowSMS, RuleWindowSMSUrgent, RuleWindowVoice, RuleHolidays, RuleSMSPerDay, RuleCallsPerDay, RuleGap,
		RuleDuplicatePeriod, RuleBadShare, RuleGiveUp, RuleUncertainWait, RuleRetryDefault,
	} {
		without := slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.Header().Code == code })
		if _, err := New(without).Rules(day("2026-12-01")); err == nil || !strings.HasSuffix(err.Error(), "for "+code) {
			t.Errorf("without %s: %v", code, err)
		}
	}
}

func TestWithoutRulesOfTestSendingOnlyThatIsOff(t *testing.T) {
	t.Parallel()
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	without := slices.DeleteFunc(items, func(i Item) bool {
		return i.Header().Code == RuleTestsPerList || i.Header().Code == RuleTestsPerDay
	})
	r, err := New(without).Rules(day("2026-12-01"))
	if err != nil || r.TestsPerList != 0 || r.TestsPerDay != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAnAgencysOwnPolicyForDuplicatesStandsAboveTheCommonOne(t *testing.T) {
	t.Parallel()
	rule := func(code, policy string) Item {
		return &Rule{Head: Head{Code: code, Version: 1}, Title: "т", Policy: policy}
	}
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	const one, other = "0001.000001", "0002.000014"
	suppresses := func(rules ...Item) (bool, bool) {
		r, err := New(append(slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.Header().Code == RuleDuplicates }), rules...)).Rules(day("2026-12-01"))
		if err != nil {
			t.Fatal(err)
		}
		return r.SuppressesDuplicates(one), r.SuppressesDuplicates(other)
	}
	for _, tt := range []struct {
		name       string
		rules      []Item
		one, other bool
	}{
		{"no rule", nil, false, false},
		{"common", []Item{rule("duplicates", "suppress")}, true, true},
		{"one's own", []Item{rule("duplicates."+one, "suppress")}, true, false},
		{"one's own against the common", []Item{rule("duplicates", "suppress"), rule("duplicates."+other, "warn")}, true, false},
	} {
		if a, b := suppresses(tt.rules...); a != tt.one || b != tt.other {
			t.Errorf("%s: %v, %v", tt.name, a, b)
		}
	}
	for _, bad := range []Item{rule("duplicates", "drop"), rule("duplicates.somebody", "warn"), rule("duplicates", ""), rule("gap", "warn")} {
		if Validate(bad) == nil {
			t.Errorf("%s: %q is taken", bad.Header().Code, bad.(*Rule).Policy)
		}
	}
}

func TestWindowOfADay(t *testing.T) {
	t.Parallel()
	r, err := seeded(t).Rules(day("2026-12-01"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		window *Window
		day    string
		want   string // "" = closed
	}{
		{"sms on a weekday", &r.SMS, "2026-12-01", "09:00–21:00"},
		{"sms on sunday", &r.SMS, "2026-12-06", "09:00–21:00"},
		{"sms on a holiday", &r.SMS, "2027-01-01", "09:00–21:00"},
		{"urgent sms", &r.SMSUrgent, "2026-12-01", "08:00–22:00"},
		{"call on a friday", &r.Voice, "2026-12-04", "10:00–20:00"},
		{"call on saturday", &r.Voice, "2026-12-05", "11:00–18:00"},
		{"call on sunday", &r.Voice, "2026-12-06", ""},
		{"call on a holiday", &r.Voice, "2027-01-07", ""},
	}
	kamchatka := time.FixedZone("PETT", 12*60*60)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at, _ := time.ParseInLocation("2006-01-02 15:04", tt.day+" 23:30", kamchatka)
			from, to, open := tt.window.On(at, r.Holidays)
			got := ""
			if open {
				got = from.Format("15:04") + "–" + to.Format("15:04")
				if from.Location() != kamchatka || from.Format(time.DateOnly) != tt.day {
					t.Errorf("not of the recipient's day: %v", from)
				}
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestTermIsOverAtTheEndOfItsDay(t *testing.T) {
	t.Parallel()
	holidays, err := parseHolidays([]string{"01-01", "2027-01-04"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name            string
		term            Term
		event, received string
		want            string // first instant after; "" = no term
	}{
		{"days after it came", Term{FromReceived, 3, false}, "", "2026-12-04", "2026-12-08"},
		{"working days over a weekend", Term{FromReceived, 2, true}, "", "2026-12-04", "2026-12-09"},
		{"working days over holidays", Term{FromReceived, 1, true}, "", "2026-12-31", "2027-01-06"},
		{"the same day", Term{FromReceived, 0, false}, "", "2026-12-04", "2026-12-05"},
		{"before the event", Term{FromEventDate, -14, false}, "2027-03-15", "2026-12-04", "2027-03-02"},
		{"working days before the event", Term{FromEventDate, -1, true}, "2026-12-07", "2026-12-01", "2026-12-05"},
		{"the event's day", Term{FromEventDate, 0, false}, "2027-03-15", "2026-12-04", "2027-03-16"},
		{"no date of the event", Term{FromEventDate, 5, false}, "", "2026-12-04", ""},
	}
	omsk := time.FixedZone("OMST", 6*60*60)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var event time.Time
			if tt.event != "" {
				event, _ = time.Parse(time.DateOnly, tt.event)
			}
			received, _ := time.ParseInLocation("2006-01-02 15:04", tt.received+" 18:00", omsk)
			got, ok := tt.term.By(event, received, holidays)
			if ok != (tt.want != "") {
				t.Fatalf("%v, %v", got, ok)
			}
			if want, _ := time.ParseInLocation(time.DateOnly, tt.want, omsk); ok && !got.Equal(want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestBackoffNext(t *testing.T) {
	t.Parallel()
	limited := Backoff{Delays: []Duration{Duration(time.Minute), Duration(5 * time.Minute)}, Tries: 4}
	for tries, want := range map[int]time.Duration{1: time.Minute, 2: 5 * time.Minute, 3: 5 * time.Minute} {
		if d, ok := limited.Next(tries); !ok || d != want {
			t.Errorf("after %d: %v, %v", tries, d, ok)
		}
	}
	if _, ok := limited.Next(4); ok {
		t.Error("a fifth attempt of four")
	}
	endless := Backoff{Delays: []Duration{Duration(time.Second)}}
	if d, ok := endless.Next(1000); !ok || d != time.Second {
		t.Errorf("without limit: %v, %v", d, ok)
	}
}

func TestRuleReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, rule := range seeded(t).RuleItems(day("2026-12-01")) {
		body, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(KindRule, rule.Head, body)
		if err != nil {
			t.Errorf("%s: %v", rule.Code, err)
			continue
		}
		if same, _ := json.Marshal(again); string(same) != string(body) {
			t.Errorf("%s: %s, then %s", rule.Code, body, same)
		}
	}
}
