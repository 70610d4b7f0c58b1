package ingest

import (
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
)

// checker gives rows their verdicts, one after another. What it says depends only on the file, the list's own fields, and the catalogue
// and the clock at the moment the file came: so a second reading, after a crash, says the same.
type checker struct {
	catalog  *catalog.Catalog
	rules    *catalog.Rules
	at       time.Time // when the file came
	agency   string
	region   citizen.Region
	envelope *Header
	template *catalog.Template // the list's own; nil when rows bring theirs
	header   *header
	segments int // the most a text may take
	routes   dispatch.Routes
	test     bool
	lane     int16
	pinned   map[string]int // versions of the templates that rows may name; nil = those in force when the file came
	profile  bool           // the phones are those known of the persons, not the sender's
	filled   bool           // texts of rows are the list's template, filled in already

	titles    []string // of the columns, and behind them those of names
	names     []field  // parts of the person's name that have no column of their title but follow from others
	cells     []string // scratch of withNames
	bound     map[*catalog.Template]binding
	events    map[string]*catalog.LifeEvent
	measures  map[string]*catalog.Measure
	templates map[string]*catalog.Template
	byName    map[string]*catalog.Template // pinned ones by folded code and title
	zones     map[string]citizen.Zones
	seed      maphash.Seed
	ids       *seen // external ids; nil when row numbers serve
	phones    *seen // with the person of each
	judges    *catalog.TextJudge
	text      []byte
}

type binding struct {
	bound   *catalog.Bound
	missing string // the first parameter that has no column
}

// checked is a row with its verdict. row is filled as far as it could be understood.
type checked struct {
	row      dispatch.Row
	measure  string
	event    citizen.Date
	messages []Message
	ok       bool
	named    bool // the external id is its sender's, not the row's number
	marked   bool // our answer to an earlier list calls it taken
	skipped  bool // an earlier list has taken it: neither accepted nor rejected
}

func (c *checked) add(code RuleCode, f field) { c.addNamed(code, fieldNames[f]) }

func (c *checked) addNamed(code RuleCode, name string) {
	c.messages = append(c.messages, Message{Code: code, Field: name})
	if rule, _ := RuleOf(code); rule.Type != TypeWarning {
		c.ok = false
	}
}

// says reports whether a rule was said of the row.
func (c *checked) says(code RuleCode) bool {
	return slices.ContainsFunc(c.messages, func(m Message) bool { return m.Code == code })
}

// ready prepares the tables that rows are looked up in.
func (c *checker) ready() {
	c.titles = make([]string, len(c.header.columns))
	for i, column := range c.header.columns {
		c.titles[i] = column.Title
	}
	c.readyNames()
	c.bound = make(map[*catalog.Template]binding)
	c.events = make(map[string]*catalog.LifeEvent)
	c.measures = make(map[string]*catalog.Measure)
	c.templates = make(map[string]*catalog.Template)
	c.zones = make(map[string]citizen.Zones)
	c.seed = maphash.MakeSeed()
	if c.header.has(fieldExternalID) {
		c.ids = newSeen()
	}
	c.phones = newSeen()
	c.judges = catalog.NewTextJudge()
}

func (c *checker) check(r sheetRow) checked {
	out := checked{ok: true}
	row := &out.row
	row.RowNo = int32(r.No)
	row.Lane = c.lane
	row.WideWindow = c.envelope.Priority == PriorityUrgent
	if r.Long {
		row.ExternalID = strconv.Itoa(r.No)
		out.addNamed(RuleLong, "")
		return out
	}
	c.checkID(&out, r)
	c.checkPhones(&out, r.Cells)
	c.checkPerson(&out, r.Cells)
	c.checkEvent(&out, r.Cells)
	c.checkTimes(&out, r.Cells)
	c.checkChannels(&out, r.Cells)
	c.checkText(&out, r.Cells)
	row.Content.Language = c.language(&out, r.Cells)
	row.Content.Ext = c.header.value(r.Cells, fieldExt)
	c.checkLink(&out)
	if out.ok {
		c.checkShared(&out)
	}
	return out
}

// take reads a fixed cell and refuses what can be no value: errors of the spreadsheet and characters that cannot be sent or stored.
func (c *checker) take(out *checked, cells []string, f field) (string, bool) {
	s := c.header.value(cells, f)
	switch {
	case s == "":
		return "", true
	case isCellError(s):
		out.add(RuleCellError, f)
		return "", false
	case f != fieldText && !f.ofDigits() && badCharacters(s):
		out.add(RuleCharacters, f)
		return "", false
	}
	return s, true
}

func isCellError(s string) bool {
	if s == "" || s[0] != '#' {
		return false
	}
	switch strings.ToUpper(s) {
	case "#Н/Д", "#ДЕЛ/0!", "#ЗНАЧ!", "#ССЫЛКА!", "#ИМЯ?", "#ЧИСЛО!", "#ПУСТО!", "#N/A", "#DIV/0!", errorCell, "#REF!", "#NAME?", "#NUM!", "#NULL!",
		"#GETTING_DATA", "#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!", "#ПЕРЕНОС!", "#ВЫЧИСЛ!", "#ПОЛЕ!", "#БЛОКИРОВКА!":
		return true
	}
	return false
}

// badCharacters finds what no person typed: controls, private use, halves of surrogates, the mark of broken text, and the signs that turn
// the direction of a line.
func badCharacters(s string) bool {
	for i, c := range s {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
		case c < 0x20 || c >= 0x7F && c < 0xA0:
			return true
		case c < 0x2000:
		case c == utf8.RuneError, c >= 0x202A && c <= 0x202E, c >= 0x2066 && c <= 0x2069, c >= 0xFDD0 && c <= 0xFDEF, c&0xFFFE == 0xFFFE,
			unicode.Is(unicode.Co, c), c == 0xFEFF && i > 0:
			return true
		}
	}
	return false
}

const maxExternalID = 64

func (c *checker) checkID(out *checked, r sheetRow) {
	out.row.ExternalID = strconv.Itoa(r.No)
	if c.ids == nil {
		return
	}
	id, ok := c.take(out, r.Cells, fieldExternalID)
	switch {
	case !ok:
		return
	case id == "":
	case len(id) > 4*maxExternalID || utf8.RuneCountInString(id) > maxExternalID || strings.ContainsAny(id, "\n\t\r"):
		out.add(RuleIDForm, fieldExternalID)
		return
	case citizen.HoldsPersonal(id):
		out.add(RuleIDPersonal, fieldExternalID)
		return
	default:
		out.row.ExternalID, out.named = id, true
	}
	if _, again := c.ids.put(c.hashID(r), 0); again {
		out.add(RuleIDTwice, fieldExternalID)
	}
}

// hashID is of the row's external id: the row number where none is given.
func (c *checker) hashID(r sheetRow) uint64 {
	id := c.header.value(r.Cells, fieldExternalID)
	if id == "" {
		id = strconv.Itoa(r.No)
	}
	return maphash.String(c.seed, id)
}

func (c *checker) checkPhones(out *checked, cells []string) {
	s, ok := c.take(out, cells, fieldPhone)
	if !ok {
		return
	}
	phone, err := citizen.ParsePhone(s)
	if code := phoneRule(err); code != 0 {
		if code == RuleNoPhone && c.profile {
			code = RuleNoContact
		}
		out.add(code, fieldPhone)
		return
	}
	if phone.Kind() == citizen.TollFree {
		out.add(RuleTollFree, fieldPhone)
		return
	}
	out.row.Content.Phones = append(out.row.Content.Phones, phone)
	for _, f := range [...]field{fieldPhone2, fieldPhone3} {
		s := c.header.value(cells, f)
		if s == "" {
			continue
		}
		other, err := citizen.ParsePhone(s)
		if err != nil || other.Kind() == citizen.TollFree {
			out.add(RuleSecondPhone, f)
			continue
		}
		if !slices.Contains(out.row.Content.Phones, other) {
			out.row.Content.Phones = append(out.row.Content.Phones, other)
		}
	}
}

// phoneRule is the one table from what ParsePhone refuses to rules; 0 for nothing wrong.
func phoneRule(err error) RuleCode {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, citizen.ErrPhoneEmpty):
		return RuleNoPhone
	case errors.Is(err, citizen.ErrForeign):
		return RuleForeign
	case errors.Is(err, citizen.ErrPhoneSeveral):
		return RuleSeveralPhones
	case errors.Is(err, citizen.ErrPhoneExtension):
		return RuleExtension
	case errors.Is(err, citizen.ErrPhoneRounded):
		return RuleRounded
	default:
		return RulePhone
	}
}

func (c *checker) checkPerson(out *checked, cells []string) {
	p := &out.row.Content.Person
	if s, ok := c.take(out, cells, fieldSNILS); ok && s != "" {
		n, padded, err := citizen.ParseSNILS(s)
		switch {
		case errors.Is(err, citizen.ErrSNILSEmpty): // a dash or the like: nothing was given
		case errors.Is(err, citizen.ErrSNILSChecksum):
			out.add(RuleSNILSChecksum, fieldSNILS)
		case errors.Is(err, citizen.ErrSNILSRounded):
			out.add(RuleRounded, fieldSNILS)
		case err != nil:
			out.add(RuleSNILS, fieldSNILS)
		default:
			p.SNILS = n
			if padded {
				out.add(RuleSNILSPadded, fieldSNILS)
			}
		}
	}
	if s, ok := c.take(out, cells, fieldFullName); ok && s != "" {
		p.Family, p.First, p.Patronymic = citizen.SplitName(s)
	}
	for _, part := range [...]struct {
		f  field
		to *citizen.Name
	}{{fieldFamily, &p.Family}, {fieldFirst, &p.First}, {fieldPatronymic, &p.Patronymic}} {
		if s, ok := c.take(out, cells, part.f); ok && s != "" {
			*part.to = citizen.Name(s)
		}
	}
	if d, ok := c.day(out, cells, fieldBirthDate); ok {
		if d != (citizen.Date{}) && (d.Year < 1880 || d.Starts(citizen.DefaultZones).After(c.at)) {
			out.add(RuleDate, fieldBirthDate)
		} else {
			p.BirthDate = citizen.BirthDate(d)
		}
	}
	territory, ok := c.take(out, cells, fieldOKTMO)
	if !ok {
		territory = ""
	}
	var phone citizen.Phone
	if phones := out.row.Content.Phones; len(phones) > 0 {
		phone = phones[0]
	}
	out.row.Zones = c.zonesOf(out, territory, phone)
}

func (c *checker) zonesOf(out *checked, territory string, phone citizen.Phone) citizen.Zones {
	if territory != "" {
		z, known := c.zones[territory]
		if !known {
			z = citizen.TerritoryZones(territory)
			if len(c.zones) < 100_000 {
				c.zones[territory] = z
			}
		}
		if z != "" {
			return z
		}
		out.add(RuleTerritory, fieldOKTMO)
	}
	z, _ := citizen.ChooseZones("", phone, c.region)
	return z
}

// day reads a date without time of day.
func (c *checker) day(out *checked, cells []string, f field) (citizen.Date, bool) {
	s, ok := c.take(out, cells, f)
	if !ok || s == "" {
		return citizen.Date{}, ok
	}
	m, err := ParseMoment(s)
	switch {
	case err != nil:
		out.add(RuleDate, f)
		return citizen.Date{}, false
	case m.Day.IsZero():
		return citizen.DateOf(m.At), true
	}
	return m.Day, true
}

func (c *checker) checkEvent(out *checked, cells []string) {
	if code, ok := c.take(out, cells, fieldLifeEvent); ok {
		if code == "" {
			code = c.envelope.LifeEvent
		}
		if e := lookup(c.events, code, func() (*catalog.LifeEvent, bool) { return c.catalog.FindLifeEvent(code, c.at) }); e != nil {
			out.row.LifeEvent = e.Code
		} else if code != "" {
			out.add(RuleUnknownCode, fieldLifeEvent)
		}
	}
	if code, ok := c.take(out, cells, fieldMeasure); ok && code != "" {
		if m := lookup(c.measures, code, func() (*catalog.Measure, bool) { return c.catalog.FindMeasure(code, c.at) }); m != nil {
			out.measure = m.Code
		} else {
			out.add(RuleUnknownCode, fieldMeasure)
		}
	}
	out.event, _ = c.day(out, cells, fieldEventDate)
}

// lookup remembers what the catalogue said of a word, also that it knows nothing.
func lookup[T any](known map[string]*T, word string, find func() (*T, bool)) *T {
	if word == "" {
		return nil
	}
	v, ok := known[word]
	if !ok {
		if v, ok = find(); !ok {
			v = nil
		}
		if len(known) < 10_000 {
			known[word] = v
		}
	}
	return v
}

func (c *checker) checkTimes(out *checked, cells []string) {
	row := &out.row
	moment := func(f field, def Moment) Moment {
		s, ok := c.take(out, cells, f)
		if !ok || s == "" {
			return def
		}
		m, err := ParseMoment(s)
		if err != nil {
			out.add(RuleDate, f)
		}
		return m
	}
	row.ValidUntil = moment(fieldValidUntil, c.envelope.ValidUntil).Ends(row.Zones)
	row.NotBefore = moment(fieldNotBefore, c.envelope.NotBefore).Starts(row.Zones)
	row.InformBy = moment(fieldInformBy, c.envelope.InformBy).Ends(row.Zones)
	if e := c.events[row.LifeEvent]; !out.event.IsZero() && row.LifeEvent != "" {
		if e == nil {
			e, _ = c.catalog.LifeEvent(row.LifeEvent, c.at)
		}
		if e != nil && e.LeadDays > 0 {
			first := citizen.DateOf(time.Date(out.event.Year, out.event.Month, out.event.Day-e.LeadDays, 0, 0, 0, 0, time.UTC)).Starts(row.Zones)
			if first.After(row.NotBefore) {
				row.NotBefore = first
			}
		}
	}
	if row.InformBy.IsZero() && row.LifeEvent != "" {
		if term, ok := c.rules.Term(row.LifeEvent); ok {
			c.term(out, term)
		}
	}
	switch {
	case row.ValidUntil.IsZero():
	case !row.ValidUntil.After(c.at):
		out.add(RuleExpired, fieldValidUntil)
	case !row.NotBefore.IsZero() && !row.NotBefore.Before(row.ValidUntil):
		out.add(RuleDatesOrder, fieldNotBefore)
	}
}

// term sets the row's inform_by from the catalogue: the earliest end of the last day in any zone the citizen may live in.
func (c *checker) term(out *checked, term catalog.Term) {
	for _, location := range out.row.Zones.Locations() {
		var event time.Time
		if !out.event.IsZero() {
			event = time.Date(out.event.Year, out.event.Month, out.event.Day, 0, 0, 0, 0, location)
		}
		by, ok := term.By(event, c.at.In(location), c.rules.Holidays)
		if ok && (out.row.InformBy.IsZero() || by.Before(out.row.InformBy)) {
			out.row.InformBy = by.UTC()
		}
	}
}

func (c *checker) checkChannels(out *checked, cells []string) {
	out.row.Channels = c.envelope.Channels
	s, ok := c.take(out, cells, fieldChannels)
	if !ok || s == "" {
		return
	}
	channels, ok := ParseChannels(s)
	if !ok {
		out.add(RuleChannel, fieldChannels)
		return
	}
	out.row.Channels = channels
}

func (c *checker) checkLink(out *checked) {
	if len(out.row.Content.Phones) == 0 || !out.ok {
		return
	}
	phone := out.row.Content.Phones[0]
	if phone.Kind() == citizen.Landline && slices.Contains(out.row.Channels, "sms") {
		out.add(RuleLandline, fieldPhone)
	}
	for _, channel := range out.row.Channels {
		if _, ok := c.routes(channel, c.agency, phone, c.test); ok {
			return
		}
	}
	out.add(RuleNoLink, fieldChannels)
}

// checkShared warns where a phone of the list belongs to another person of it, too.
func (c *checker) checkShared(out *checked) {
	_, person := out.row.Content.Person.Identity(out.row.Content.Phones[0])
	other := uint32(maphash.String(c.seed, person))
	if was, again := c.phones.put(maphash.String(c.seed, out.row.Content.Phones[0].Digits()), other); again && was != other {
		out.add(RuleSharedPhone, fieldPhone)
	}
}
