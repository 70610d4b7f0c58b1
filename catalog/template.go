package catalog

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a template, in characters.
const (
	MaxBody      = 5000 // a template as written
	MaxParameter = 1000 // one value put into it
	MaxText      = 5000 // the text that comes out
	maxName      = 100
)

// Text is a template's body, parsed once: literal text with {{ name | filter }} in it. Names are matched by Fold. A value is put in
// as it is and never read as a template. Whether its characters may be sent is for whoever takes the value in to say. A Text is
// immutable and safe for concurrent use.
type Text struct {
	pieces []piece
	slots  []slot
}

// piece is literal text and, unless slot is negative, the parameter that follows it.
type piece struct {
	literal string
	slot    int
	filters []filter
}

type slot struct {
	name     string   // as first written
	keys     []string // what it is found by, folded: its own name first
	optional bool     // every use has a default
}

// ParseText reads a template's body. The error is a *TemplateError with the position of the fault.
func ParseText(body string) (*Text, error) {
	switch {
	case !utf8.ValidString(body):
		return nil, &TemplateError{Fault: FaultCharacters}
	case strings.TrimSpace(body) == "":
		return nil, &TemplateError{Fault: FaultEmpty}
	case utf8.RuneCountInString(body) > MaxBody:
		return nil, &TemplateError{Fault: FaultBodyTooLong}
	}
	p := &parser{body: body, text: &Text{}}
	for {
		open := strings.Index(body[p.at:], "{{")
		literal := body[p.at:]
		if open >= 0 {
			literal = literal[:open]
		}
		if err := p.literal(literal); err != nil {
			return nil, err
		}
		if open < 0 {
			break
		}
		next, err := p.placeholder()
		if err != nil {
			return nil, err
		}
		next.literal = literal
		p.text.pieces = append(p.text.pieces, next)
	}
	if last := body[p.tail:]; last != "" {
		p.text.pieces = append(p.text.pieces, piece{literal: last, slot: -1})
	}
	return p.text, nil
}

type parser struct {
	body string
	at   int // next byte to read
	tail int // first byte after the last placeholder
	text *Text
}

func (p *parser) fault(f TemplateFault, name string, at int) error {
	return &TemplateError{Fault: f, Parameter: name, Position: utf8.RuneCountInString(p.body[:at]) + 1}
}

// literal moves past s, which stands at the cursor.
func (p *parser) literal(s string) error {
	for i, r := range s {
		if r != '\n' && unicode.IsControl(r) || r == utf8.RuneError {
			return p.fault(FaultCharacters, "", p.at+i)
		}
	}
	if i := strings.Index(s, "}}"); i >= 0 {
		return p.fault(FaultStrayClose, "", p.at+i)
	}
	p.at += len(s)
	return nil
}

// placeholder reads {{ name | filter "argument" }} at the cursor.
func (p *parser) placeholder() (piece, error) {
	start := p.at
	p.at += len("{{")
	end := strings.IndexAny(p.body[p.at:], "|{}")
	if end < 0 {
		return piece{}, p.fault(FaultUnclosed, "", start)
	}
	name := strings.Join(strings.Fields(p.body[p.at:p.at+end]), " ")
	p.at += end
	key := Fold(name)
	if key == "" || utf8.RuneCountInString(name) > maxName || p.body[p.at] == '{' || strings.ContainsFunc(name, unicode.IsControl) {
		return piece{}, p.fault(FaultName, "", start)
	}
	var out piece
	for p.skip("|") {
		f, err := p.filter(name)
		if err != nil {
			return piece{}, err
		}
		out.filters = append(out.filters, f)
	}
	if !p.skip("}}") {
		return piece{}, p.fault(FaultUnclosed, name, start)
	}
	p.tail = p.at
	out.slot = p.slot(name, key, slices.ContainsFunc(out.filters, func(f filter) bool { return f.kind == filterDefault }))
	return out, nil
}

func (p *parser) slot(name, key string, optional bool) int {
	for i := range p.text.slots {
		if s := &p.text.slots[i]; s.keys[0] == key {
			s.optional = s.optional && optional
			return i
		}
	}
	p.text.slots = append(p.text.slots, slot{name: name, keys: []string{key}, optional: optional})
	return len(p.text.slots) - 1
}

func (p *parser) filter(param string) (filter, error) {
	p.space()
	start := p.at
	for p.at < len(p.body) {
		r, size := utf8.DecodeRuneInString(p.body[p.at:])
		if !unicode.IsLetter(r) && r != '-' && r != '_' {
			break
		}
		p.at += size
	}
	kind, ok := filterNamed(p.body[start:p.at])
	if !ok {
		return filter{}, p.fault(FaultFilter, param, start)
	}
	f := filter{kind: kind}
	if kind != filterDefault {
		return f, nil
	}
	p.space()
	argAt := p.at
	f.arg, ok = p.quoted()
	if !ok || blank(f.arg) || utf8.RuneCountInString(f.arg) > MaxParameter || strings.ContainsFunc(f.arg, unicode.IsControl) {
		return filter{}, p.fault(FaultArgument, param, argAt)
	}
	return f, nil
}

// quoted reads "…", also in the quotation marks that office programs put in by themselves.
func (p *parser) quoted() (string, bool) {
	rest := p.body[p.at:]
	r, size := utf8.DecodeRuneInString(rest)
	var end int
	switch r {
	case '"', '\'':
		end = strings.IndexRune(rest[size:], r)
	case '«':
		end = strings.IndexRune(rest[size:], '»')
	case '“', '„':
		end = strings.IndexAny(rest[size:], "”“")
	default:
		return "", false
	}
	if end < 0 {
		return "", false
	}
	arg := rest[size : size+end]
	_, closing := utf8.DecodeRuneInString(rest[size+end:])
	p.at += size + end + closing
	return arg, true
}

func (p *parser) space() {
	rest := p.body[p.at:]
	p.at += len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace))
}

func (p *parser) skip(token string) bool {
	p.space()
	if !strings.HasPrefix(p.body[p.at:], token) {
		return false
	}
	p.at += len(token)
	return true
}

// Names lists the parameters as first written, each once.
func (t *Text) Names() []string {
	names := make([]string, len(t.slots))
	for i := range t.slots {
		names[i] = t.slots[i].name
	}
	return names
}

// withTitles returns a Text whose parameters are also found by the titles given for them.
func (t *Text) withTitles(params []Param) *Text {
	out := *t
	out.slots = slices.Clone(t.slots)
	for i := range out.slots {
		s := &out.slots[i]
		for _, p := range params {
			if p.Title != "" && Fold(p.Name) == s.keys[0] && Fold(p.Title) != s.keys[0] {
				s.keys = []string{s.keys[0], Fold(p.Title)}
			}
		}
	}
	return &out
}

// Render appends the text to dst. get is asked by folded name (Fold). On error dst comes back as it was, and the *TemplateError
// names the parameter, never its value. It does not allocate while dst has room.
func (t *Text) Render(dst []byte, get func(name string) (string, bool)) ([]byte, error) {
	start := len(dst)
	for i := range t.pieces {
		p := &t.pieces[i]
		dst = append(dst, p.literal...)
		if p.slot < 0 {
			continue
		}
		var value string
		for _, key := range t.slots[p.slot].keys {
			if v, ok := get(key); ok && !blank(v) {
				value = v
				break
			}
		}
		out, fault := p.put(dst, value)
		if fault != "" {
			return dst[:start], t.fault(fault, p)
		}
		if dst = out; len(dst)-start > utf8.UTFMax*MaxText {
			break
		}
	}
	if len(dst)-start > MaxText && tooLong(dst[start:]) {
		return dst[:start], &TemplateError{Fault: FaultTextTooLong}
	}
	return dst, nil
}

// Bound is a Text whose parameters are bound to columns of one table.
type Bound struct {
	text *Text
	ops  []op
}

// op is literal text and the value that follows it.
type op struct {
	literal string
	column  int    // negative: none, only the default of its piece
	plain   bool   // the value goes in as it is
	piece   *piece // nil: no value follows
}

// Bind finds each parameter among the titles of columns. The error is a *BindError and names every parameter that is not there
// and has no default, and every one that two columns answer to.
func (t *Text) Bind(titles []string) (*Bound, error) {
	keys := make([]string, len(titles))
	for i, title := range titles {
		keys[i] = Fold(title)
	}
	bySlot := make([]int, len(t.slots))
	var fault BindError
	for i := range t.slots {
		s := &t.slots[i]
		bySlot[i] = -1
		for _, key := range s.keys {
			if bySlot[i] = slices.Index(keys, key); bySlot[i] < 0 {
				continue
			}
			if slices.Contains(keys[bySlot[i]+1:], key) {
				fault.Ambiguous = append(fault.Ambiguous, s.name)
			}
			break
		}
		if bySlot[i] < 0 && !s.optional {
			fault.Unknown = append(fault.Unknown, s.name)
		}
	}
	if len(fault.Unknown)+len(fault.Ambiguous) > 0 {
		return nil, &fault
	}
	b := &Bound{text: t, ops: make([]op, len(t.pieces))}
	for i := range t.pieces {
		p := &t.pieces[i]
		b.ops[i] = op{literal: p.literal, column: -1}
		if p.slot >= 0 {
			b.ops[i].column, b.ops[i].plain, b.ops[i].piece = bySlot[p.slot], p.filters == nil, p
		}
	}
	return b, nil
}

// Render appends the text of one row to dst, as Text.Render does. A row shorter than its titles lacks the rest.
func (b *Bound) Render(dst []byte, row []string) ([]byte, error) {
	start := len(dst)
	for i := range b.ops {
		o := &b.ops[i]
		dst = append(dst, o.literal...)
		var value string
		if uint(o.column) < uint(len(row)) {
			value = row[o.column]
		}
		if o.plain && len(value) <= MaxParameter && visible(value) {
			dst = append(dst, value...)
		} else if o.piece != nil {
			out, fault := o.piece.put(dst, value)
			if fault != "" {
				return dst[:start], b.text.fault(fault, o.piece)
			}
			dst = out
		}
		if len(dst)-start > utf8.UTFMax*MaxText {
			break
		}
	}
	if len(dst)-start > MaxText && tooLong(dst[start:]) {
		return dst[:start], &TemplateError{Fault: FaultTextTooLong}
	}
	return dst, nil
}

func (t *Text) fault(f TemplateFault, p *piece) error {
	return &TemplateError{Fault: f, Parameter: t.slots[p.slot].name}
}

// put appends one value through its filters. A value that is empty at the end is missing.
func (p *piece) put(dst []byte, value string) ([]byte, TemplateFault) {
	if len(value) > MaxParameter && utf8.RuneCountInString(value) > MaxParameter {
		return dst, FaultParameterTooLong
	}
	start := len(dst)
	if !blank(value) {
		dst = append(dst, value...)
	}
	for _, f := range p.filters {
		var fault TemplateFault
		if dst, fault = f.apply(dst, start); fault != "" {
			return dst, fault
		}
	}
	if len(dst) == start {
		return dst, FaultMissing
	}
	return dst, ""
}

func tooLong(text []byte) bool {
	return utf8.RuneCount(text) > MaxText
}

// visible says, by its first byte alone, that s has something to read; false = look closer. The bytes left out begin the spaces
// beyond ASCII: U+0085 and U+00A0; U+1680; U+2000 and on; U+3000.
func visible(s string) bool {
	return len(s) > 0 && s[0] > ' ' && s[0] != 0xC2 && (s[0] < 0xE1 || s[0] > 0xE3)
}

// blank says that there is nothing to read in s.
func blank(s string) bool {
	return !visible(s) && strings.TrimSpace(s) == ""
}

// TemplateFault is what is wrong with a template or with what was put into it.
type TemplateFault string

// The faults of a body, found by ParseText, then those of one rendering.
const (
	FaultEmpty       TemplateFault = "empty"
	FaultBodyTooLong TemplateFault = "body_too_long"
	FaultCharacters  TemplateFault = "bad_characters"
	FaultUnclosed    TemplateFault = "unclosed"
	FaultStrayClose  TemplateFault = "stray_close"
	FaultName        TemplateFault = "bad_name"
	FaultFilter      TemplateFault = "unknown_filter"
	FaultArgument    TemplateFault = "bad_argument"

	FaultMissing          TemplateFault = "missing_parameter"
	FaultParameterTooLong TemplateFault = "parameter_too_long"
	FaultDate             TemplateFault = "bad_date"
	FaultTextTooLong      TemplateFault = "text_too_long"
)

// TemplateError says what is wrong, where in the body (1 = first character, 0 = no place) and with which parameter.
type TemplateError struct {
	Fault     TemplateFault
	Parameter string
	Position  int
}

func (e *TemplateError) Error() string {
	s := "template: " + string(e.Fault)
	if e.Parameter != "" {
		s += fmt.Sprintf(": parameter %q", e.Parameter)
	}
	if e.Position > 0 {
		s += fmt.Sprintf(": at character %d", e.Position)
	}
	return s
}

// Sentence is for the person who can mend it.
func (e *TemplateError) Sentence() string {
	switch e.Fault {
	case FaultEmpty:
		return "Шаблон пуст: напишите текст сообщения."
	case FaultBodyTooLong:
		return fmt.Sprintf("Шаблон длиннее %d знаков: сократите его.", MaxBody)
	case FaultCharacters:
		return "В шаблоне есть недопустимые знаки" + e.place() + ": наберите это место заново."
	case FaultUnclosed:
		return "Скобки {{ не закрыты" + e.place() + ": добавьте }}."
	case FaultStrayClose:
		return "Лишние скобки }}" + e.place() + ": уберите их или добавьте {{ перед именем параметра."
	case FaultName:
		return "Между {{ и }} нет имени параметра" + e.place() + ": впишите название колонки, например {{ Имя }}."
	case FaultFilter:
		return fmt.Sprintf("Неизвестное действие над параметром «%s»%s: можно default, date, trim, upper-first.", e.Parameter, e.place())
	case FaultArgument:
		return fmt.Sprintf("У default для параметра «%s» нет текста в кавычках%s: напишите, например, default \"скоро\".", e.Parameter, e.place())
	case FaultMissing:
		return fmt.Sprintf("Нет значения параметра «%s»: заполните колонку с этим названием.", e.Parameter)
	case FaultParameterTooLong:
		return fmt.Sprintf("Значение параметра «%s» длиннее %d знаков: сократите его.", e.Parameter, MaxParameter)
	case FaultDate:
		return fmt.Sprintf("Значение параметра «%s» не читается как дата: запишите её как 15.03.2027.", e.Parameter)
	case FaultTextTooLong:
		return fmt.Sprintf("Готовый текст длиннее %d знаков: сократите значения параметров.", MaxText)
	}
	return "Шаблон заполнен неверно."
}

func (e *TemplateError) place() string {
	if e.Position == 0 {
		return ""
	}
	return fmt.Sprintf(" (знак %d)", e.Position)
}

// BindError names the parameters of a template that a table cannot fill, as the template writes them.
type BindError struct {
	Unknown   []string // no column of this title
	Ambiguous []string // several columns of this title
}

func (e *BindError) Error() string {
	return fmt.Sprintf("template: no column for %q, several columns for %q", e.Unknown, e.Ambiguous)
}

// Sentence is for the person who can mend it.
func (e *BindError) Sentence() string {
	var s []string
	if len(e.Unknown) > 0 {
		s = append(s, "В файле нет колонок, которых требует шаблон: "+quoteAll(e.Unknown)+". Добавьте их.")
	}
	if len(e.Ambiguous) > 0 {
		s = append(s, "В файле несколько колонок с одним названием: "+quoteAll(e.Ambiguous)+". Оставьте одну.")
	}
	return strings.Join(s, " ")
}

func quoteAll(names []string) string {
	return "«" + strings.Join(names, "», «") + "»"
}
