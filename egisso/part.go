package egisso

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/ingest"
)

// decoder reads the data of a message and collects what is wrong with it. null is the same as no field.
type decoder struct {
	problems
	now  time.Time
	size int // of the message
	row  int // the row that is being read, from 1; 0 = none
}

// stringField is a field that holds a string; max is in characters.
type stringField[T any] struct {
	name string
	max  int
	to   func(*T) *string
}

// What strings may be long.
const (
	maxID    = 64
	maxWord  = 200  // codes and names
	maxText  = 4000 // texts, and values of data
	maxExt   = 4096 // bytes of ext in canonical JSON
	maxNames = 200  // members of data
	maxPhone = 3
)

// headerStrings are the fields of a part, beside those that part reads by itself.
var headerStrings = []stringField[ingest.Header]{
	{"name", maxWord, func(h *ingest.Header) *string { return &h.Name }},
	{"life_event", maxWord, func(h *ingest.Header) *string { return &h.LifeEvent }},
	{"template", maxWord, func(h *ingest.Header) *string { return &h.Template }},
	{"ordered_by", 500, func(h *ingest.Header) *string { return &h.OrderedBy }},
}

// headerTimes are its times: RFC 3339, or a day, which begins and ends where the recipient is.
var headerTimes = []struct {
	name string
	to   func(*ingest.Header) *ingest.Moment
}{
	{"valid_until", func(h *ingest.Header) *ingest.Moment { return &h.ValidUntil }},
	{"not_before", func(h *ingest.Header) *ingest.Moment { return &h.NotBefore }},
	{"inform_by", func(h *ingest.Header) *ingest.Moment { return &h.InformBy }},
}

var basisStrings = []stringField[catalog.LegalBasis]{
	{"code", maxID, func(b *catalog.LegalBasis) *string { return &b.Code }},
	{"document", 500, func(b *catalog.LegalBasis) *string { return &b.Document }},
	{"date", 10, func(b *catalog.LegalBasis) *string { return &b.Date }},
}

// rowStrings are the fields of a row that are strings. What they say is held against the rules by ingest, row by row: one bad phone
// must not cost the others of its part their message.
var rowStrings = []stringField[ingest.InputRow]{
	{"external_id", maxID, func(r *ingest.InputRow) *string { return &r.ExternalID }},
	{"phone", maxWord, func(r *ingest.InputRow) *string { return &r.Phone }},
	{"snils", maxWord, func(r *ingest.InputRow) *string { return &r.SNILS }},
	{"family_name", maxWord, func(r *ingest.InputRow) *string { return &r.FamilyName }},
	{"first_name", maxWord, func(r *ingest.InputRow) *string { return &r.FirstName }},
	{"patronymic", maxWord, func(r *ingest.InputRow) *string { return &r.Patronymic }},
	{"birth_date", maxWord, func(r *ingest.InputRow) *string { return &r.BirthDate }},
	{"oktmo", maxWord, func(r *ingest.InputRow) *string { return &r.OKTMO }},
	{"life_event", maxWord, func(r *ingest.InputRow) *string { return &r.LifeEvent }},
	{"event_date", maxWord, func(r *ingest.InputRow) *string { return &r.EventDate }},
	{"measure", maxWord, func(r *ingest.InputRow) *string { return &r.Measure }},
	{"language", maxWord, func(r *ingest.InputRow) *string { return &r.Language }},
	{"text", maxText, func(r *ingest.InputRow) *string { return &r.Text }},
	{"template", maxWord, func(r *ingest.InputRow) *string { return &r.Template }},
	{"valid_until", maxWord, func(r *ingest.InputRow) *string { return &r.ValidUntil }},
	{"not_before", maxWord, func(r *ingest.InputRow) *string { return &r.NotBefore }},
	{"inform_by", maxWord, func(r *ingest.InputRow) *string { return &r.InformBy }},
}

// Names that the contract has.
var (
	partNames   = append(append(namesOf(headerStrings), "valid_until", "not_before", "inform_by"), "list_id", "part", "parts", "channels", "priority", "legal_basis", "rows")
	rowNames    = append(namesOf(rowStrings), "phones", "channels", "data", "ext")
	cancelNames = []string{"list_id", "external_ids", "all", "reason", "occurred_at"}
	priorities  = []string{ingest.PriorityUrgent, ingest.PriorityNormal, ingest.PriorityBulk}
	channels    = []string{"sms", "voice"}
)

func namesOf[T any](fields []stringField[T]) (names []string) {
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// unknown refuses a name that the contract does not have: misspelt, it would be lost in silence. It is not repeated.
func (d *decoder) unknown(in string, known []string) {
	known = slices.Sorted(slices.Values(known))
	d.add(CodeUnknown, d.row, in, "Есть поле, которого нет в договоре. Допустимы: %s.", strings.Join(known, ", "))
}

// object says whether the value is an object, and tells when not.
func (d *decoder) object(v *jsonValue, field string) bool {
	if v.kind != jsonObject {
		d.add(CodeKind, d.row, field, "Нужен объект JSON.")
	}
	return v.kind == jsonObject
}

// string reads a string of at most max characters.
func (d *decoder) string(v *jsonValue, field string, max int) string {
	switch {
	case v.kind == jsonNull:
		return ""
	case v.kind != jsonString:
		d.add(CodeKind, d.row, field, "Нужна строка в кавычках.")
		return ""
	case len(v.text) > max && utf8.RuneCountInString(v.text) > max:
		d.add(CodeLong, d.row, field, "Не больше %d знаков.", max)
		return ""
	}
	return v.text
}

func (d *decoder) strings(v *jsonValue, field string, most, max int) []string {
	switch {
	case v.kind == jsonNull:
		return nil
	case v.kind != jsonArray || len(v.items) > most:
		d.add(CodeKind, d.row, field, "Нужен массив строк, не больше %d.", most)
		return nil
	}
	var out []string
	for i := range v.items {
		if v.items[i].kind == jsonNull {
			d.add(CodeKind, d.row, field, "Нужны строки в кавычках.")
			return nil
		}
		out = append(out, d.string(&v.items[i], field, max))
	}
	return out
}

func (d *decoder) integer(v *jsonValue, field string) int {
	f := v.float()
	if v.kind != jsonNumber || f != math.Trunc(f) || math.Abs(f) > 1<<31 {
		d.add(CodeKind, d.row, field, "Нужно целое число без кавычек.")
		return 0
	}
	return int(f)
}

// instant reads RFC 3339.
func (d *decoder) instant(s, field string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	switch {
	case err != nil || t.Year() < 2000 || t.Year() > 2200:
		d.add(CodeTime, d.row, field, "Нужно время по RFC 3339, как 2026-12-31T18:00:00+03:00.")
	case t.After(d.now.Add(24 * time.Hour)):
		d.add(CodeTime, d.row, field, "Это время ещё не наступило. Проверьте часы отправителя.")
	default:
		return t.UTC()
	}
	return time.Time{}
}

func (d *decoder) listID(v *jsonValue, field string) uuid.UUID {
	id, err := uuid.Parse(d.string(v, field, maxWord))
	if v.kind == jsonString && (err != nil || len(v.text) != 36 || id == uuid.Nil) {
		d.add(CodeValue, 0, field, "Нужен UUID, как 5f1c8e1e-8a30-4a5b-9a58-1f6f6f1d9c11.")
	}
	return id
}

// require tells which of the fields an object lacks.
func (d *decoder) require(v *jsonValue, in string, names ...string) {
	for _, name := range names {
		if m, ok := v.member(name); !ok || m.kind == jsonNull {
			d.add(CodeMissing, d.row, in+name, "Обязательно, но его нет.")
		}
	}
}

func (d *decoder) part(v *jsonValue) *Part {
	if !d.object(v, "data") {
		return nil
	}
	p := &Part{}
	d.require(v, "", "list_id", "part", "parts", "rows")
	var rows *jsonValue
	for i, name := range v.names {
		item := &v.items[i]
		switch name {
		case "list_id":
			p.ListID = d.listID(item, name)
		case "part":
			p.Part = d.integer(item, name)
		case "parts":
			p.Parts = d.integer(item, name)
		case "channels":
			p.Header.Channels = d.plan(item)
		case "priority":
			p.Header.Priority = d.string(item, name, maxWord)
			if item.kind == jsonString && !slices.Contains(priorities, item.text) {
				d.add(CodeValue, 0, name, "Допустимы: %s.", strings.Join(priorities, ", "))
			}
		case "legal_basis":
			p.Header.LegalBasis = d.legalBasis(item)
		case "rows":
			rows = item
		default:
			d.headerField(item, name, &p.Header)
		}
	}
	if !d.any() && (p.Parts < 1 || p.Parts > MaxParts || p.Part < 1 || p.Part > p.Parts) {
		d.add(CodePart, 0, "part", "Номер части – от 1 до parts, а parts – от 1 до %d.", MaxParts)
	}
	for _, text := range [...]struct{ field, value string }{{"name", p.Header.Name}, {"ordered_by", p.Header.OrderedBy}} {
		if citizen.HoldsPersonal(text.value) {
			d.add(CodePersonal, 0, text.field, "Похоже на телефон или СНИЛС, а это поле видят все, кто видит список.")
		}
	}
	if rows != nil {
		p.Rows = d.rows(rows)
	}
	if d.any() {
		return nil
	}
	p.Digest, p.HeaderDigest = digestOf(v, d.size), digestOf(v, 1<<10, "part", "rows")
	return p
}

func (d *decoder) headerField(v *jsonValue, name string, h *ingest.Header) {
	for _, f := range headerStrings {
		if f.name == name {
			*f.to(h) = d.string(v, name, f.max)
			return
		}
	}
	for _, f := range headerTimes {
		if f.name == name {
			*f.to(h) = d.moment(v, name)
			return
		}
	}
	d.unknown("", partNames)
}

// moment reads RFC 3339, or its full-date alone.
func (d *decoder) moment(v *jsonValue, field string) ingest.Moment {
	s := d.string(v, field, maxWord)
	if s == "" && v.kind != jsonString {
		return ingest.Moment{}
	}
	m, err := ingest.ParseMoment(s)
	if err != nil || m.Local || !m.Day.IsZero() && len(s) != len(time.DateOnly) || !m.Day.IsZero() && s[4] != '-' {
		d.add(CodeTime, 0, field, "Нужно время по RFC 3339, как 2026-12-31T18:00:00+03:00, или день: 2026-12-31.")
	}
	return m
}

func (d *decoder) plan(v *jsonValue) []string {
	plan := d.strings(v, "channels", len(channels), maxWord)
	for i, c := range plan {
		if !slices.Contains(channels, c) || slices.Contains(plan[:i], c) {
			d.add(CodeValue, 0, "channels", "Допустимы sms и voice, каждый один раз, в том порядке, в котором их пробовать.")
			return nil
		}
	}
	return plan
}

func (d *decoder) legalBasis(v *jsonValue) *catalog.LegalBasis {
	const in = "legal_basis"
	if v.kind == jsonNull || !d.object(v, in) {
		return nil
	}
	d.require(v, in+".", namesOf(basisStrings)...)
	b := &catalog.LegalBasis{}
	for i, name := range v.names {
		f := slices.IndexFunc(basisStrings, func(f stringField[catalog.LegalBasis]) bool { return f.name == name })
		if f < 0 {
			d.unknown(in, namesOf(basisStrings))
			continue
		}
		*basisStrings[f].to(b) = d.string(&v.items[i], in+"."+name, basisStrings[f].max)
	}
	if _, err := time.Parse(time.DateOnly, b.Date); b.Date != "" && err != nil {
		d.add(CodeTime, 0, in+".date", "Нужен день документа, как 2020-12-03.")
	}
	return b
}

func (d *decoder) rows(v *jsonValue) []ingest.InputRow {
	if v.kind != jsonArray {
		if v.kind != jsonNull {
			d.add(CodeKind, 0, "rows", "Нужен массив строк списка.")
		}
		return nil
	}
	if len(v.items) == 0 || len(v.items) > MaxRows {
		d.add(CodeTooMany, 0, "rows", "В части от 1 до %d строк.", MaxRows)
		return nil
	}
	rows := make([]ingest.InputRow, len(v.items))
	ids := make(map[string]int, len(rows))
	for i := range v.items {
		d.row = i + 1
		if !d.object(&v.items[i], "rows") {
			continue
		}
		d.readRow(&v.items[i], &rows[i])
		d.externalID(rows[i].ExternalID, ids)
	}
	d.row = 0
	return rows
}

// externalID holds the name of a row against what a name must be: it stands in protocols, statuses and histories.
func (d *decoder) externalID(id string, ids map[string]int) {
	const field = "rows.external_id"
	first, again := ids[id]
	switch {
	case id == "": // told as missing, or as of the wrong kind
		return
	case strings.TrimSpace(id) != id || !utf8.ValidString(id) || strings.ContainsFunc(id, func(c rune) bool { return c < 0x20 || c >= 0x7F && c < 0xA0 }):
		d.add(CodeIDForm, d.row, field, "Без пробелов по краям и управляющих знаков.")
	case citizen.HoldsPersonal(id):
		d.add(CodeIDPersonal, d.row, field, "Похоже на телефон или СНИЛС. Возьмите номер дела или строки: он виден во всех отчётах.")
	case again:
		d.add(CodeIDTwice, d.row, field, "Такой же внешний номер у строки %d. У каждой строки списка он свой.", first)
	default:
		ids[id] = d.row
	}
}

var rowIndex = func() map[string]int {
	index := make(map[string]int)
	for i, f := range rowStrings {
		index[f.name] = i
	}
	return index
}()

func (d *decoder) readRow(v *jsonValue, r *ingest.InputRow) {
	if id, ok := v.member("external_id"); !ok || id.kind == jsonNull || id.kind == jsonString && id.text == "" {
		d.add(CodeMissing, d.row, "rows.external_id", "Обязательно: это имя строки во всех ответах.")
	}
	for i, name := range v.names {
		item := &v.items[i]
		if f, ok := rowIndex[name]; ok {
			if p := &rowStrings[f]; item.kind == jsonString && len(item.text) <= p.max {
				*p.to(r) = item.text
			} else {
				*p.to(r) = d.string(item, "rows."+name, p.max)
			}
			continue
		}
		switch name {
		case "phones":
			r.Phones = d.strings(item, "rows.phones", maxPhone, maxWord)
		case "channels":
			r.Channels = d.strings(item, "rows.channels", len(channels), maxWord)
		case "data":
			r.Data = d.data(item)
		case "ext":
			r.Ext = d.ext(item)
		default:
			d.unknown("rows", rowNames)
		}
	}
	if r.Phone != "" && len(r.Phones) == maxPhone {
		d.add(CodeTooMany, d.row, "rows.phones", "Вместе с phone – не больше %d номеров.", maxPhone)
	}
}

// data reads the values of a template's parameters.
func (d *decoder) data(v *jsonValue) map[string]string {
	const field = "rows.data"
	if v.kind == jsonNull || !d.object(v, field) {
		return nil
	}
	if len(v.names) > maxNames {
		d.add(CodeTooMany, d.row, field, "Не больше %d имён.", maxNames)
		return nil
	}
	data := make(map[string]string, len(v.names))
	for i, name := range v.names {
		if name == "" || utf8.RuneCountInString(name) > maxWord {
			d.add(CodeLong, d.row, field, "Имя значения – от 1 до %d знаков.", maxWord)
			return nil
		}
		item := &v.items[i]
		switch item.kind {
		case jsonNull:
		case jsonTrue:
			data[name] = "да"
		case jsonFalse:
			data[name] = "нет"
		case jsonNumber:
			data[name] = numberText(item)
		case jsonString:
			data[name] = d.string(item, field, maxText)
		default:
			d.add(CodeKind, d.row, field, "Значение – строка, число или true/false.")
			return nil
		}
	}
	return data
}

// numberText is a number as a person writes it: 14506,5.
func numberText(v *jsonValue) string {
	f := v.float()
	if f == 0 {
		return "0" // of -0 too
	}
	return strings.Replace(strconv.FormatFloat(f, 'f', -1, 64), ".", ",", 1)
}

// ext reads what is kept for the sender.
func (d *decoder) ext(v *jsonValue) []byte {
	const field = "rows.ext"
	if v.kind == jsonNull || !d.object(v, field) {
		return nil
	}
	b := appendCanonical(nil, v)
	if len(b) > maxExt {
		d.add(CodeLong, d.row, field, "Не больше %d байт.", maxExt)
		return nil
	}
	return b
}

func (d *decoder) cancel(v *jsonValue) *Cancel {
	if !d.object(v, "data") {
		return nil
	}
	c := &Cancel{}
	d.require(v, "", "list_id", "reason", "occurred_at")
	for i, name := range v.names {
		item := &v.items[i]
		switch name {
		case "list_id":
			c.ListID = d.listID(item, name)
		case "external_ids":
			c.ExternalIDs = d.strings(item, name, MaxRecalled, maxID)
		case "all":
			if item.kind != jsonTrue && item.kind != jsonFalse && item.kind != jsonNull {
				d.add(CodeKind, 0, name, "Нужно true или false без кавычек.")
			}
			c.All = item.kind == jsonTrue
		case "reason":
			c.Reason = d.string(item, name, maxWord)
			if item.kind == jsonString && !slices.Contains(cancelReasons, item.text) {
				d.add(CodeValue, 0, name, "Допустимы: %s.", strings.Join(cancelReasons, ", "))
			}
		case "occurred_at":
			if s := d.string(item, name, maxWord); item.kind == jsonString {
				c.OccurredAt = d.instant(s, name)
			}
		default:
			d.unknown("", cancelNames)
		}
	}
	if !d.any() && c.All == (len(c.ExternalIDs) > 0) {
		d.add(CodeCancel, 0, "external_ids", "Укажите что-то одно: внешние номера строк в external_ids или \"all\": true.")
	}
	seen := make(map[string]bool, len(c.ExternalIDs))
	for i, id := range c.ExternalIDs {
		switch {
		case id == "" && !d.any():
			d.add(CodeIDForm, 0, "external_ids", "Номер %d пустой.", i+1)
		case citizen.HoldsPersonal(id):
			d.add(CodeIDPersonal, 0, "external_ids", "Номер %d похож на телефон или СНИЛС.", i+1)
		case seen[id] && id != "":
			d.add(CodeIDTwice, 0, "external_ids", "Номер %d уже назван.", i+1)
		}
		seen[id] = true
	}
	if d.any() {
		return nil
	}
	return c
}

// String names the part; what its rows say is never printed.
func (p *Part) String() string {
	return fmt.Sprintf("part %d of %d of list %s", p.Part, p.Parts, p.ListID)
}
