package citizen

import (
	"fmt"
	"time"
)

// TimeOfDay is minutes since local midnight, 0 to 1440.
type TimeOfDay int

const dayEnd TimeOfDay = 24 * 60

// String is "09:00".
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", int(t)/60, int(t)%60) }

// MarshalText writes "09:00", for JSON too.
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads "09:00"; "24:00" is the end of the day.
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	if len(text) == 5 && text[2] == ':' {
		var v [4]int
		ok := true
		for i, at := range [4]int{0, 1, 3, 4} {
			v[i] = int(text[at]) - '0'
			ok = ok && v[i] >= 0 && v[i] <= 9
		}
		hour, minute := v[0]*10+v[1], v[2]*10+v[3]
		if ok && minute < 60 && (hour < 24 || hour == 24 && minute == 0) {
			*t = TimeOfDay(hour*60 + minute)
			return nil
		}
	}
	return fmt.Errorf("time of day %q: not hh:mm", text)
}

// Hours are the open hours of one day, From included, To not. Equal ends, zero among them, are a closed day.
type Hours struct {
	From TimeOfDay `json:"from"`
	To   TimeOfDay `json:"to"`
}

// Window is when people may be reached, by the clock of their own zone. Which hours apply is catalogue data.
type Window struct {
	// Weekdays begins with Sunday, as time.Weekday does.
	Weekdays [7]Hours `json:"weekdays"`
	// Days beat weekdays: holidays, shortened days, working Saturdays.
	Days map[Date]Hours `json:"days,omitempty"`
}

// horizon is how many days ahead a window is searched: longer than any row of holidays.
const horizon = 60

// Open reports whether at is within the window in every zone of the set.
func (w Window) Open(at time.Time, zones Zones) bool {
	locations := zones.Locations()
	for _, l := range locations {
		if from, to := w.hours(DateOf(at.In(l)), l); at.Before(from) || !at.Before(to) {
			return false
		}
	}
	return len(locations) > 0
}

// NextOpen is the first moment, at itself included, when the window is open in every zone of the set. ok is false when there is none
// within 60 days: a closed window, an unknown zone, or zones too far apart for a common hour.
func (w Window) NextOpen(at time.Time, zones Zones) (next time.Time, ok bool) {
	locations := zones.Locations()
	if len(locations) == 0 {
		return time.Time{}, false
	}
	limit := at.AddDate(0, 0, horizon)
	next = at
	for settled := 0; settled < len(locations); {
		for _, l := range locations {
			t, ok := w.nextOpen(next, limit, l)
			if !ok {
				return time.Time{}, false
			}
			if t.Equal(next) {
				settled++
				continue
			}
			next, settled = t, 1
		}
	}
	return next.UTC(), true
}

// ClosesAt is when a window open at the given moment next closes in any zone of the set; ok is false when it is not open. A window
// that never closes is given as open for 60 days.
func (w Window) ClosesAt(at time.Time, zones Zones) (closes time.Time, ok bool) {
	if !w.Open(at, zones) {
		return time.Time{}, false
	}
	for _, l := range zones.Locations() {
		if t := w.closesAt(at, l); closes.IsZero() || t.Before(closes) {
			closes = t
		}
	}
	return closes.UTC(), true
}

// hours are the open hours of a day as moments; equal when the day is closed.
func (w Window) hours(d Date, l *time.Location) (from, to time.Time) {
	h, ok := w.Days[d]
	if !ok {
		h = w.Weekdays[d.weekday()]
	}
	return d.at(h.From, l), d.at(h.To, l)
}

func (w Window) nextOpen(at, limit time.Time, l *time.Location) (time.Time, bool) {
	for d := DateOf(at.In(l)); ; d = d.add(1) {
		from, to := w.hours(d, l)
		switch {
		case from.After(limit):
			return time.Time{}, false
		case !from.Before(to) || !at.Before(to):
		case at.Before(from):
			return from, true
		default:
			return at, true
		}
	}
}

func (w Window) closesAt(at time.Time, l *time.Location) time.Time {
	d := DateOf(at.In(l))
	_, end := w.hours(d, l)
	for range horizon {
		d = d.add(1)
		from, to := w.hours(d, l)
		if !from.Equal(end) || !from.Before(to) {
			break
		}
		end = to
	}
	return end
}

func (d Date) weekday() time.Weekday {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Weekday()
}
