package main

import (
	"log/slog"
	"sync"
	"time"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
)

// rules gives dispatch the catalogue's numbers in the form it obeys. A catalogue that lacks a number leaves the last good ones in
// force; before the first there is no rule and nothing may leave.
type rules struct {
	catalog   func() *catalog.Catalog
	now       func() time.Time
	permitted func(citizen.Phone) bool
	change    func(*dispatch.Rules) // the demo's; nil changes nothing
	log       *slog.Logger

	mu    sync.Mutex
	of    *catalog.Catalog
	until time.Time // versions come into force, and holidays draw near
	last  *dispatch.Rules
	lame  bool
}

// rulesLast is how long rules made from one snapshot are used.
const rulesLast = time.Second

func (r *rules) current() *dispatch.Rules {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, snapshot := r.now(), r.catalog()
	if r.last != nil && r.of == snapshot && now.Before(r.until) {
		return r.last
	}
	found, err := snapshot.Rules(now)
	if err != nil {
		if !r.lame {
			r.log.Error("the catalogue lacks rules, the last good ones stay in force", "err", err)
		}
		r.lame = true
		if r.last == nil {
			return closedRules()
		}
		return r.last
	}
	r.lame, r.of, r.until = false, snapshot, now.Add(rulesLast)
	r.last = dispatchRules(found, now)
	r.last.Permitted = r.permitted
	if r.change != nil {
		r.change(r.last)
	}
	return r.last
}

// closedRules let nothing out.
func closedRules() *dispatch.Rules {
	return &dispatch.Rules{
		Window: func(string, bool) *citizen.Window { return &citizen.Window{} },
		GiveUp: 72 * time.Hour, UncertainWait: 72 * time.Hour,
		Retry: func(dispatch.Reason, int) (time.Duration, bool) { return time.Hour, true },
	}
}

func dispatchRules(c *catalog.Rules, now time.Time) *dispatch.Rules {
	sms, urgent, voice := window(&c.SMS, c.Holidays, now), window(&c.SMSUrgent, c.Holidays, now), window(&c.Voice, c.Holidays, now)
	return &dispatch.Rules{
		Window: func(channel string, wide bool) *citizen.Window {
			switch {
			case channel == "voice":
				return voice
			case wide:
				return urgent
			}
			return sms
		},
		PerDay:        map[string]int{"sms": c.SMSPerDay, "voice": c.CallsPerDay},
		Gap:           c.Gap,
		GiveUp:        c.GiveUp,
		UncertainWait: c.UncertainWait,
		Retry: func(reason dispatch.Reason, tries int) (time.Duration, bool) {
			return c.Retry(string(reason)).Next(tries)
		},
	}
}

// holidaysAhead is how many days a window knows of: more than the 60 it is searched for.
const holidaysAhead = 70

// window is the catalogue's window as citizen reads it. A day is the same date everywhere, so it is judged in UTC.
func window(w *catalog.Window, holidays catalog.Holidays, now time.Time) *citizen.Window {
	var out citizen.Window
	for _, span := range w.Spans {
		for _, day := range span.Days {
			out.Weekdays[day] = citizen.Hours{From: citizen.TimeOfDay(span.From), To: citizen.TimeOfDay(span.To)}
		}
	}
	if !w.ClosedOnHolidays {
		return &out
	}
	out.Days = make(map[citizen.Date]citizen.Hours)
	for i := -2; i < holidaysAhead; i++ {
		if day := now.UTC().AddDate(0, 0, i); holidays.Has(day) {
			out.Days[citizen.DateOf(day)] = citizen.Hours{}
		}
	}
	return &out
}
