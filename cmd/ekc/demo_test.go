package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/citizen"
)

func TestDemoEndsAsTheSamplesSay(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := runDemo(t.Context(), demoOptions{once: true, addr: "127.0.0.1:0"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"Каждая строка закончилась так", "Журнал цел", "Что записали сами центры СМС", "окно получателя закрыто"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say: %s", want)
		}
	}
}

// TestDemoDoesNotDependOnTheHour: at every hour the samples may leave at once, and the list that shows the window waits.
func TestDemoDoesNotDependOnTheHour(t *testing.T) {
	t.Parallel()
	moscowZone := citizen.Zones("Europe/Moscow")
	altai := citizen.Zones("Asia/Barnaul") // of the agency whose list shows the window
	for hour := range 24 {
		now := time.Date(2026, 11, 22, hour, 0, 0, 0, time.UTC)
		items := demoRules(now)
		seed, err := catalog.SeedItems()
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if err := catalog.Validate(item); err != nil {
				t.Fatal(err)
			}
			item.Header().Version = 2
		}
		numbers, err := catalog.New(append(seed, items...)).Rules(now)
		if err != nil {
			t.Fatal(err)
		}
		r := dispatchRules(numbers, now)
		openAroundTheClock(r)
		for _, at := range []time.Time{now, now.Add(10 * time.Minute)} {
			if r.Window("sms", true).Open(at, moscowZone) || r.Window("sms", true).Open(at, altai) {
				t.Errorf("at %d h UTC the list that shows the window would leave", hour)
			}
			for _, zone := range []citizen.Zones{"Europe/Kaliningrad", moscowZone, "Asia/Kamchatka"} {
				if !r.Window("sms", false).Open(at, zone) {
					t.Errorf("at %d h UTC the samples wait in %s", hour, zone)
				}
			}
		}
	}
}
