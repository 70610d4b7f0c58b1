package dispatch

import (
	"sync"
	"testing"
	"time"

	"ekc/citizen"
)

// elevenZones are the country's clocks, from UTC+2 to UTC+12.
var elevenZones = [...]citizen.Zones{"Europe/Kaliningrad", "Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk",
	"Asia/Krasnoyarsk", "Asia/Irkutsk", "Asia/Yakutsk", "Asia/Vladivostok", "Asia/Magadan", "Asia/Kamchatka"}

// farApart has a common window of two hours: 09:00 in the west is 07:00 UTC, 21:00 in the east is 09:00 UTC.
const farApart citizen.Zones = "Asia/Kamchatka+Europe/Kaliningrad"

func nineToNine(string, bool) *citizen.Window {
	var w citizen.Window
	for i := range w.Weekdays {
		w.Weekdays[i] = citizen.Hours{From: 9 * 60, To: 21 * 60}
	}
	return &w
}

// offsetOf is the zone's distance from UTC in hours, told apart from the code under test.
func offsetOf(zone int) int { return zone + 2 }

// told remembers when each notification left, by the simulated clock.
type told struct {
	mu sync.Mutex
	at map[int32][]time.Time
	un map[int32]time.Time
}

func (s *told) put(a *Attempt, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[a.ID.Ordinal()] = append(s.at[a.ID.Ordinal()], at)
	s.un[a.ID.Ordinal()] = a.Until
}

func (s *told) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

func newTold() *told { return &told{at: map[int32][]time.Time{}, un: map[int32]time.Time{}} }

func TestEachZoneIsToldInItsOwnDaytimeOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.Window = nineToNine
	begin := time.Date(2026, 3, 10, 10, 0, 0, 0, time.UTC) // 12:00 in the first zone, 22:00 in the last
	clock := newSimClock(begin)
	w.now = clock.now
	list := w.admit(admit{rows: len(elevenZones) + 1, edit: func(i int, r *Row) {
		if r.Zones = farApart; i < len(elevenZones) {
			r.Zones = elevenZones[i]
		}
	}})
	seen := newTold()
	w.start("a", w.pool(newFakeWire(), func(a *Attempt) Result {
		seen.put(a, clock.now())
		return Result{Attempt: a, Verdict: VerdictDelivered, Link: "l1", At: time.Now()}
	}))
	due := map[int]bool{}
	for step := range 24 {
		at := begin.Add(time.Duration(step) * time.Hour)
		for zone := range elevenZones {
			if h := (at.Hour() + offsetOf(zone)) % 24; h >= 9 && h < 21 {
				due[zone] = true
			}
		}
		if at.Hour() == 7 || at.Hour() == 8 {
			due[len(elevenZones)] = true
		}
		clock.set(at)
		w.await("those whose window is open are told", func() bool { return seen.count() >= len(due) })
	}
	w.awaitState(list, Delivered, len(elevenZones)+1)
	for i := range len(elevenZones) + 1 {
		at := seen.at[int32(i+1)]
		if len(at) != 1 {
			t.Errorf("row %d was told %d times", i, len(at))
			continue
		}
		until := seen.un[int32(i+1)]
		if i == len(elevenZones) {
			if at[0].Hour() != 7 || until.Hour() != 9 || until.Sub(at[0]) != 2*time.Hour {
				t.Errorf("two zones at %s until %s, want 07:00 until 09:00 UTC: the hours that suit both", at[0], until)
			}
			continue
		}
		if h := (at[0].Hour() + offsetOf(i)) % 24; h < 9 || h >= 21 {
			t.Errorf("%s was told at %02d:00 of its own time", elevenZones[i], h)
		}
		if h := (until.Hour() + offsetOf(i)) % 24; h != 21 || until.Before(at[0]) || until.Sub(at[0]) > 12*time.Hour {
			t.Errorf("%s may be delivered until %02d:00 of its own time, want 21:00 of the same day", elevenZones[i], h)
		}
	}
}

func TestAnEdgePassedInTheChannelHoldsTheRowUntilTheNextWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.Window = nineToNine
	clock := newSimClock(time.Date(2026, 3, 10, 17, 59, 50, 0, time.UTC)) // 20:59:50 in Moscow
	w.now = clock.now
	list := w.admit(admit{rows: 5})
	d, ch := w.deskOf("a")
	if n := w.claim(d); n != 5 {
		t.Fatalf("%d rows were claimed, want 5", n)
	}
	waiting := ch.takeAll()
	if !d.Allowed(waiting[0]) {
		t.Error("ten seconds before the edge a row may leave")
	}
	clock.set(time.Date(2026, 3, 10, 18, 0, 0, 0, time.UTC))
	for _, a := range waiting {
		if d.Allowed(a) {
			t.Error("a row may leave at 21:00 sharp")
		}
		d.Settle([]Result{{Attempt: a, Verdict: VerdictWithheld}})
	}
	w.mustRecord(d)
	clock.set(clock.now().Add(time.Second))
	if n := w.claim(d); n != 0 {
		t.Errorf("%d rows were claimed in the evening", n)
	}
	if n := w.int(`SELECT count(*) FROM runs WHERE list_no = $1 AND next_due = '2026-03-11 06:00:00+00'`, list); n != 1 {
		t.Error("the run does not sleep until nine in the morning")
	}
	if n := w.int(`SELECT count(*) FROM attempts`); n != 0 {
		t.Errorf("%d attempts are written down, though nothing left", n)
	}
	clock.set(time.Date(2026, 3, 11, 6, 0, 0, 0, time.UTC))
	if n := w.claim(d); n != 5 {
		t.Fatalf("%d rows were claimed in the morning, want 5", n)
	}
	for _, a := range ch.takeAll() {
		if !d.Allowed(a) || a.No != 1 {
			t.Errorf("in the morning the row is held back, or counted as tried before (no. %d)", a.No)
		}
	}
}

func TestValidUntilInsideAClosedWindowEndsTheRowAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.Window = nineToNine
	evening := time.Date(2026, 3, 10, 19, 0, 0, 0, time.UTC) // 22:00 in Moscow
	clock := newSimClock(evening)
	w.now = clock.now
	morning := time.Date(2026, 3, 11, 6, 0, 0, 0, time.UTC)
	until := [...]time.Time{evening.Add(90 * time.Minute), morning, morning.Add(30 * time.Minute), {}}
	list := w.admit(admit{rows: len(until), edit: func(i int, r *Row) { r.ValidUntil = until[i] }})
	seen := newTold()
	w.start("a", w.pool(newFakeWire(), func(a *Attempt) Result {
		seen.put(a, clock.now())
		return Result{Attempt: a, Verdict: VerdictDelivered, Link: "l1", At: time.Now()}
	}))
	w.awaitState(list, OutOfTime, 1)
	clock.set(morning)
	w.awaitState(list, Delivered, 2)
	w.awaitState(list, OutOfTime, 2)
	if len(seen.at[1])+len(seen.at[2]) != 0 {
		t.Error("a row whose time was over was told")
	}
	if !seen.un[3].Equal(until[2]) {
		t.Errorf("may be delivered until %s, want its own %s", seen.un[3], until[2])
	}
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 5 AND reason = 'valid_until'`); n != 2 {
		t.Errorf("%d ends say valid_until, want 2", n)
	}
}
