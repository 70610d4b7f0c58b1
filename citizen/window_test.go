package citizen_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"ekc/citizen"
)

func everyDay(from, to citizen.TimeOfDay) (w citizen.Window) {
	for i := range w.Weekdays {
		w.Weekdays[i] = citizen.Hours{From: from, To: to}
	}
	return w
}

// voiceHours are those proposed for calls: Mon–Fri 10–20, Sat 11–18, none on Sundays and holidays.
func voiceHours() citizen.Window {
	w := everyDay(10*60, 20*60)
	w.Weekdays[time.Saturday] = citizen.Hours{From: 11 * 60, To: 18 * 60}
	w.Weekdays[time.Sunday] = citizen.Hours{}
	w.Days = map[citizen.Date]citizen.Hours{{Year: 2027, Month: 1, Day: 1}: {}, {Year: 2027, Month: 1, Day: 4}: {}, {Year: 2027, Month: 1, Day: 3}: {From: 12 * 60, To: 13 * 60}}
	return w
}

var elevenZones = []citizen.Zones{"Europe/Kaliningrad", "Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk", "Asia/Krasnoyarsk",
	"Asia/Irkutsk", "Asia/Yakutsk", "Asia/Vladivostok", "Asia/Magadan", "Asia/Kamchatka"}

func TestWindowOpensByTheCitizensOwnClockInAllElevenZones(t *testing.T) {
	t.Parallel()
	sms := everyDay(9*60, 21*60)
	for i, zones := range elevenZones {
		offset := time.Duration(i+2) * time.Hour // Russia keeps one time all year
		for _, month := range []time.Month{time.January, time.July} {
			day := time.Date(2026, month, 14, 0, 0, 0, 0, time.UTC).Add(-offset) // midnight there
			for _, c := range []struct {
				at         time.Duration
				open       bool
				next, shut time.Duration
			}{
				{0, false, 9 * time.Hour, 0},
				{9*time.Hour - 1, false, 9 * time.Hour, 0},
				{9 * time.Hour, true, 9 * time.Hour, 21 * time.Hour},
				{21*time.Hour - 1, true, 21*time.Hour - 1, 21 * time.Hour},
				{21 * time.Hour, false, 33 * time.Hour, 0},
			} {
				at := day.Add(c.at)
				next, ok := sms.NextOpen(at, zones)
				if sms.Open(at, zones) != c.open || !ok || !next.Equal(day.Add(c.next)) {
					t.Errorf("%s %s +%s: open %t, next %s", zones, month, c.at, !c.open, next)
				}
				if shut, ok := sms.ClosesAt(at, zones); ok != c.open || ok && !shut.Equal(day.Add(c.shut)) {
					t.Errorf("%s %s +%s: closes %s %t", zones, month, c.at, shut, ok)
				}
			}
		}
	}
}

func TestWindowOfSeveralZonesIsTheirIntersection(t *testing.T) {
	t.Parallel()
	sms := everyDay(9*60, 21*60)
	const zones = "Asia/Srednekolymsk+Asia/Vladivostok+Asia/Yakutsk" // 11, 10 and 9 hours before UTC
	opens, closes := time.Date(2026, 7, 14, 0, 0, 0, 0, time.UTC), time.Date(2026, 7, 14, 10, 0, 0, 0, time.UTC)
	if next, ok := sms.NextOpen(opens.Add(-time.Minute), zones); !ok || !next.Equal(opens) {
		t.Errorf("opens %s: the west has 9 o'clock last", next)
	}
	if shut, ok := sms.ClosesAt(opens, zones); !ok || !shut.Equal(closes) {
		t.Errorf("closes %s: the east has 21 o'clock first", shut)
	}
	if sms.Open(closes, zones) || !sms.Open(closes.Add(-1), zones) {
		t.Error("the end is not the end")
	}
	narrow := everyDay(9*60, 12*60)
	if _, ok := narrow.NextOpen(opens, "Asia/Kamchatka+Europe/Kaliningrad"); ok {
		t.Error("found an hour that is not there")
	}
}

func TestWindowObeysWeekendsAndHolidays(t *testing.T) {
	t.Parallel()
	voice := voiceHours()
	at := func(day, hour int) time.Time { return time.Date(2027, 1, day, hour-3, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		name     string
		at, next time.Time
	}{
		{"holiday and after it Saturday", at(1, 12), at(2, 11)},
		{"Saturday evening, Sunday opened by a day of its own", at(2, 18), at(3, 12)},
		{"then Monday a holiday", at(3, 13), at(5, 10)},
		{"workday", at(5, 15), at(5, 15)},
		{"Saturday to Monday", at(9, 19), at(11, 10)},
	} {
		if next, ok := voice.NextOpen(c.at, "Europe/Moscow"); !ok || !next.Equal(c.next) {
			t.Errorf("%s: %s, want %s", c.name, next, c.next)
		}
	}
}

func TestWindowThatNeverOpensOrNeverCloses(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 14, 1, 2, 3, 0, time.UTC)
	if _, ok := (citizen.Window{}).NextOpen(at, "Europe/Moscow"); ok {
		t.Error("a closed window opens")
	}
	always := everyDay(0, 24*60)
	for _, unknown := range []citizen.Zones{"", "Mars/Phobos", "Europe/Moscow+Mars/Phobos"} {
		if _, ok := always.NextOpen(at, unknown); ok || always.Open(at, unknown) {
			t.Errorf("%q is open", unknown)
		}
	}
	if shut, ok := always.ClosesAt(at, "Europe/Moscow"); !ok || shut.Before(at.AddDate(0, 0, 59)) {
		t.Errorf("closes %s %t", shut, ok)
	}
	weekend := citizen.Window{}
	weekend.Weekdays[time.Saturday] = citizen.Hours{From: 10 * 60, To: 24 * 60}
	weekend.Weekdays[time.Sunday] = citizen.Hours{From: 0, To: 6 * 60}
	saturday := time.Date(2026, 7, 18, 12, 0, 0, 0, time.UTC)
	if shut, ok := weekend.ClosesAt(saturday, "Europe/Moscow"); !ok || !shut.Equal(time.Date(2026, 7, 19, 3, 0, 0, 0, time.UTC)) {
		t.Errorf("midnight closes: %s %t", shut, ok)
	}
}

// Zones with summer time too, so that nothing rests on Russia having none.
func TestNextOpenIsOpenAndNothingBeforeIt(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	zones := append([]citizen.Zones{"Europe/Berlin", "Australia/Lord_Howe", "Asia/Chita+Europe/Kaliningrad", "Europe/Berlin+Asia/Anadyr"}, elevenZones...)
	random.Shuffle(len(zones), func(i, j int) { zones[i], zones[j] = zones[j], zones[i] })
	for i := range 600 {
		w := everyDay(9*60, 21*60)
		if i%2 == 0 {
			w = voiceHours()
		} else if i%3 == 0 {
			from := citizen.TimeOfDay(random.IntN(12 * 60))
			w = everyDay(from, from+1+citizen.TimeOfDay(random.IntN(12*60)))
		}
		z := zones[i%len(zones)]
		base := []time.Time{time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 23, 0, 0, 0, 0, time.UTC)}[random.IntN(3)]
		at := base.Add(time.Duration(random.IntN(20*24*60)) * time.Minute)
		next, ok := w.NextOpen(at, z)
		if !ok {
			for step := range 14 * 24 * 12 {
				if w.Open(at.Add(time.Duration(step)*5*time.Minute), z) {
					t.Fatalf("%s %s: open and not found", z, at)
				}
			}
			continue
		}
		if !w.Open(next, z) || next.Before(at) {
			t.Fatalf("%s from %s: %s is not open", z, at, next)
		}
		for probe := at; probe.Before(next); probe = probe.Add(time.Minute) {
			if w.Open(probe, z) {
				t.Fatalf("%s from %s: open at %s, before %s", z, at, probe, next)
			}
		}
		shut, ok := w.ClosesAt(next, z)
		if !ok || w.Open(shut, z) || !shut.After(next) {
			t.Fatalf("%s: open at %s after closing", z, shut)
		}
		for probe := next; probe.Before(shut); probe = probe.Add(time.Minute) {
			if !w.Open(probe, z) {
				t.Fatalf("%s: shut at %s, before %s", z, probe, shut)
			}
		}
	}
}

func TestWindowIsCatalogueData(t *testing.T) {
	t.Parallel()
	encoded := must(json.Marshal(voiceHours()))
	var back citizen.Window
	if err := json.Unmarshal(encoded, &back); err != nil {
		t.Fatal(err)
	}
	if again := must(json.Marshal(back)); string(again) != string(encoded) || len(back.Days) != 3 {
		t.Fatalf("%s\n%s", encoded, again)
	}
	for _, bad := range []string{`"9:00"`, `"24:01"`, `"12:60"`, `"-1:00"`, `"1a:00"`, `""`} {
		var tod citizen.TimeOfDay
		if json.Unmarshal([]byte(bad), &tod) == nil {
			t.Errorf("%s taken", bad)
		}
	}
}

func BenchmarkWindowOpen(b *testing.B) {
	sms, at := everyDay(9*60, 21*60), time.Date(2026, 7, 14, 10, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		sms.Open(at, "Asia/Srednekolymsk+Asia/Vladivostok+Asia/Yakutsk")
	}
}
