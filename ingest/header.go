package ingest

import (
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
)

// Priorities of a list: they choose its lane and order, and for urgent the wider window.
const (
	PriorityUrgent = "urgent"
	PriorityNormal = "normal"
	PriorityBulk   = "bulk"
)

// Header is what a list says of itself, beside its rows: from the form, the message, or the source's profile.
type Header struct {
	ID          uuid.UUID           `json:"-"` // of the list to be, where its sender has chosen it; zero = a new one
	Name        string              `json:"name"`
	LifeEvent   string              `json:"life_event,omitempty"` // code or name; rows may have their own
	Template    string              `json:"template,omitempty"`   // code or title
	Channels    []string            `json:"channels,omitempty"`   // the plan in order: sms, voice; none = the source's
	Priority    string              `json:"priority,omitempty"`   // urgent, normal, bulk; "" = normal
	OnUncertain string              `json:"on_uncertain,omitempty"`
	LegalBasis  *catalog.LegalBasis `json:"legal_basis,omitempty"`
	OrderedBy   string              `json:"ordered_by,omitempty"` // order or letter
	ValidUntil  Moment              `json:"valid_until,omitzero"`
	NotBefore   Moment              `json:"not_before,omitzero"`
	InformBy    Moment              `json:"inform_by,omitzero"`
	Source      string              `json:"source,omitempty"`  // the catalogue's entry; "" = upload
	Sender      string              `json:"sender,omitempty"`  // by name; "" = the agency's
	Again       bool                `json:"again,omitempty"`   // the same bytes came before, and are meant to go once more
	Mapping     map[string]string   `json:"mapping,omitempty"` // title of a column in the file → ours, "" = none of ours; remembered once the list is ready
}

// Moment is a point in time, or a day whose beginning or end is the recipient's own. The zero value is none.
type Moment struct {
	Day   citizen.Date
	At    time.Time
	Local bool // At has no zone of its own: its clock is the recipient's
}

var errMoment = errors.New("moment: want 31.12.2026, 31.12.2026 18:00, or RFC 3339")

// ParseMoment reads dd.mm.yyyy or yyyy-mm-dd, either with a time of day in the recipient's zone, or RFC 3339. The error does not
// repeat the text.
func ParseMoment(s string) (Moment, error) {
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "г."))
	if t, err := time.Parse(time.RFC3339, s); err == nil && sane(t) {
		return Moment{At: t}, nil
	}
	if len(s) > 10 {
		for _, layout := range [...]string{"02.01.2006 15:04", "02.01.2006 15:04:05", "02.01.2006, 15:04", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
			if t, err := time.Parse(layout, s); err == nil && sane(t) {
				if t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 {
					return Moment{Day: citizen.DateOf(t)}, nil // what a program writes for a day alone
				}
				return Moment{At: t, Local: true}, nil
			}
		}
		return Moment{}, errMoment
	}
	d, err := citizen.ParseDate(s)
	if err != nil || d.Year < 1800 || d.Year > 2200 {
		return Moment{}, errMoment
	}
	return Moment{Day: d}, nil
}

func sane(t time.Time) bool { return t.Year() >= 1800 && t.Year() <= 2200 }

// IsZero reports whether there is none.
func (m Moment) IsZero() bool { return m == Moment{} }

// Ends is the moment as a limit: the end of a day, in whichever of the zones is the earliest.
func (m Moment) Ends(zones citizen.Zones) time.Time {
	if !m.Day.IsZero() {
		return m.Day.Ends(zones).UTC()
	}
	return m.in(zones, func(a, b time.Time) bool { return a.Before(b) })
}

// Starts is the moment as a beginning: the start of a day, in whichever of the zones is the latest.
func (m Moment) Starts(zones citizen.Zones) time.Time {
	if !m.Day.IsZero() {
		return m.Day.Starts(zones).UTC()
	}
	return m.in(zones, func(a, b time.Time) bool { return a.After(b) })
}

func (m Moment) in(zones citizen.Zones, better func(a, b time.Time) bool) time.Time {
	if m.At.IsZero() {
		return time.Time{}
	}
	if !m.Local {
		return m.At.UTC()
	}
	var best time.Time
	for _, l := range zones.Locations() {
		t := time.Date(m.At.Year(), m.At.Month(), m.At.Day(), m.At.Hour(), m.At.Minute(), m.At.Second(), 0, l)
		if best.IsZero() || better(t, best) {
			best = t
		}
	}
	return best.UTC()
}

// MarshalText writes what UnmarshalText reads.
func (m Moment) MarshalText() ([]byte, error) {
	switch {
	case m.IsZero():
		return nil, nil
	case !m.Day.IsZero():
		return []byte(m.Day.String()), nil
	case m.Local:
		return []byte(m.At.Format("2006-01-02T15:04:05")), nil
	}
	return []byte(m.At.UTC().Format(time.RFC3339)), nil
}

// UnmarshalText reads what ParseMoment reads.
func (m *Moment) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = Moment{}
		return nil
	}
	parsed, err := ParseMoment(string(b))
	if err == nil {
		*m = parsed
	}
	return err
}

// channelWords are the words of a plan, folded.
var channelWords = map[string]string{
	catalog.Fold("СМС"): "sms", catalog.Fold("sms"): "sms", catalog.Fold("смссообщение"): "sms", catalog.Fold("сообщение"): "sms",
	catalog.Fold("звонок"): "voice", catalog.Fold("voice"): "voice", catalog.Fold("голос"): "voice", catalog.Fold("телефон"): "voice", catalog.Fold("call"): "voice",
}

// ParseChannels reads a plan: «СМС», «звонок, затем СМС», "sms,voice".
func ParseChannels(s string) ([]string, bool) {
	s = strings.ReplaceAll(strings.ToLower(s), "затем", ",")
	s = strings.ReplaceAll(s, "потом", ",")
	var plan []string
	for _, word := range strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ';' || c == '+' || c == '/' || c == '>' || c == '→' }) {
		key := catalog.Fold(word)
		if key == "" {
			continue
		}
		channel, ok := channelWords[key]
		if !ok || len(plan) == 2 || len(plan) == 1 && plan[0] == channel {
			return nil, false
		}
		plan = append(plan, channel)
	}
	return plan, len(plan) > 0
}
