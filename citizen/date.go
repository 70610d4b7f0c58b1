package citizen

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Date is a calendar day without a zone. The zero value is no date. Dates compare with ==.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ErrDate is a text that is no date. It does not repeat the text.
var ErrDate = errors.New("date: neither dd.mm.yyyy nor yyyy-mm-dd")

// ParseDate reads dd.mm.yyyy, also without the zeros that nobody types, or yyyy-mm-dd. A year of two figures is none: a person of 1926 and
// one of 2026 are both on lists.
func ParseDate(s string) (Date, error) {
	layout := "2.1.2006"
	if len(s) > 4 && s[4] == '-' {
		layout = time.DateOnly
	}
	t, err := time.Parse(layout, s)
	if err != nil || t.Year() < 1 {
		return Date{}, ErrDate
	}
	return DateOf(t), nil
}

// DateOf is the day t falls on in t's own zone.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// IsZero reports whether there is no date.
func (d Date) IsZero() bool { return d == Date{} }

// String is yyyy-mm-dd, empty when there is no date.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day)
}

// MarshalText writes yyyy-mm-dd, for JSON too.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Date) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Date{}
		return nil
	}
	parsed, err := ParseDate(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}

// at is the given minute of the day in a zone; a minute the day has not is moved by its missing hour.
func (d Date) at(minute TimeOfDay, l *time.Location) time.Time {
	return time.Date(d.Year, d.Month, d.Day, int(minute)/60, int(minute)%60, 0, 0, l)
}

func (d Date) add(days int) Date {
	return DateOf(time.Date(d.Year, d.Month, d.Day+days, 0, 0, 0, 0, time.UTC))
}

// Starts is the first moment at which the day has begun in every zone of the set: a "not before" without a time of day. Zero for
// an unknown set.
func (d Date) Starts(zones Zones) time.Time {
	var start time.Time
	for _, l := range zones.Locations() {
		if t := d.at(0, l); start.IsZero() || t.After(start) {
			start = t
		}
	}
	return start.UTC()
}

// Ends is the first moment at which the day is over in any zone of the set: a "valid until" without a time of day. Zero for an
// unknown set.
func (d Date) Ends(zones Zones) time.Time {
	var end time.Time
	for _, l := range zones.Locations() {
		if t := d.at(dayEnd, l); end.IsZero() || t.Before(end) {
			end = t
		}
	}
	return end.UTC()
}

// BirthDate is a Date of a person: everything that prints, logs or encodes it gets the mask. The day leaves by conversion to Date.
type BirthDate Date

// String is the mask, empty when there is no date.
func (d BirthDate) String() string {
	if d == (BirthDate{}) {
		return ""
	}
	return "**.**.****"
}

// Format writes the mask whatever the verb.
func (d BirthDate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// LogValue logs the mask.
func (d BirthDate) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText encodes the mask, for JSON too.
func (d BirthDate) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
