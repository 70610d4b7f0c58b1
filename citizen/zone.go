package citizen

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Zones is a set of IANA time zones in canonical form, sorted and joined by "+": "Asia/Chita+Asia/Yakutsk". Equal sets are equal
// strings, so they compare, key maps and stand in columns. More than one means that any of them may be the citizen's, and only what
// is right in all of them is right.
//
// The process must have tzdata; a binary for bare machines imports time/tzdata.
type Zones string

const (
	moscow        Zones = "Europe/Moscow"
	samara        Zones = "Europe/Samara"
	yekaterinburg Zones = "Asia/Yekaterinburg"
	krasnoyarsk   Zones = "Asia/Krasnoyarsk"
	vladivostok   Zones = "Asia/Vladivostok"
	yakutia       Zones = "Asia/Srednekolymsk+Asia/Vladivostok+Asia/Yakutsk" // its west, centre and east
)

// DefaultZones stands where nothing is known of the citizen or the sender.
const DefaultZones = moscow

// ZoneBasis says what a choice of zones rests on; it is shown to whoever asks why a row waits.
type ZoneBasis string

const (
	ByOKTMO   ZoneBasis = "oktmo"
	ByPhone   ZoneBasis = "phone"
	BySender  ZoneBasis = "sender"
	ByDefault ZoneBasis = "default"
)

// ChooseZones takes the first that is known: the citizen's territory, the region of a landline, the sender's region, Moscow.
// Territory is a code of OKTMO or a region's name; a bare pair of digits may be meant as a subject code too, and then counts as both.
func ChooseZones(territory string, p Phone, sender Region) (Zones, ZoneBasis) {
	if z := TerritoryZones(territory); z != "" {
		return z, ByOKTMO
	}
	if z := phoneZones(p); z != "" {
		return z, ByPhone
	}
	if z := sender.Zones(); z != "" {
		return z, BySender
	}
	return DefaultZones, ByDefault
}

// TerritoryZones is where clocks of a territory may stand; empty when the territory is not understood.
func TerritoryZones(territory string) Zones {
	digits := oktmoDigits(territory)
	if digits == "" {
		return RegionByTitle(territory).Zones()
	}
	var z Zones
	switch s := oktmoSubject(digits); {
	case s == nil:
	case strings.HasPrefix(digits, "98701"): // городской округ Якутск
		z = "Asia/Yakutsk"
	default:
		z = s.zones
	}
	if len(digits) == 2 {
		z = z.Union(Region(digits).Zones())
	}
	return z
}

func phoneZones(p Phone) Zones {
	if p.hidden == 0 {
		return ""
	}
	if (^p.hidden-countryCode)/(subscriber/10) == 4112 { // Якутск itself
		return "Asia/Yakutsk"
	}
	return p.Region().Zones()
}

func joinZones(names []string) Zones {
	slices.Sort(names)
	return Zones(strings.Join(slices.Compact(names), "+"))
}

// Union is the set of both.
func (z Zones) Union(other Zones) Zones {
	switch {
	case z == "" || z == other:
		return other
	case other == "":
		return z
	}
	return joinZones(append(strings.Split(string(z), "+"), strings.Split(string(other), "+")...))
}

// loadedZones remembers what Locations read from tzdata, which never changes while the process lives.
var loadedZones sync.Map // Zones → []*time.Location

// Locations are the zones of the set, not to be changed by the caller. Nil for an empty set or one with a name tzdata does not know:
// then no window is ever open, rather than the wrong one.
func (z Zones) Locations() []*time.Location {
	if l, ok := loadedZones.Load(z); ok {
		return l.([]*time.Location)
	}
	if z == "" {
		return nil
	}
	names := strings.Split(string(z), "+")
	locations := make([]*time.Location, 0, len(names))
	for _, name := range names {
		l, err := time.LoadLocation(name)
		if err != nil || name == "" || name == "Local" {
			return nil
		}
		locations = append(locations, l)
	}
	loadedZones.Store(z, locations)
	return locations
}
