package catalog

import (
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
	literal  string
	slot     int
	filters  []filter
	optional bool // nothing may stand for it
}

type slot struct {
	name     string   // as first written
	keys     []string // what it is found by, folded: its own name first
	optional bool     // every use has a default, or may be left out
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
		if len(out.filters) == maxFilters {
			return piece{}, p.fault(FaultTooManyFilters, name, p.at-len("|"))
		}
		f, err := p.filter(name)
		if err != nil {
			return piece{}, err
		}
		out.filters = append(out.filters, f)
		out.optional = out.optional || f.kind == filterOptional
	}
	if !p.skip("}}") {
		return piece{}, p.fault(FaultUnclosed, name, start)
	}
	p.tail = p.at
	out.slot = p.slot(name, key, out.optional || slices.ContainsFunc(out.filters, func(f filter) bool { return f.kind == filterDefault }))
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
	if kind.argument() == argNone {
		return f, nil
	}
	p.space()
	argAt := p.at
	arg, ok := p.quoted()
	if !ok && kind.argument() == argMaybe && p.at == argAt {
		return f, nil
	}
	if !ok || blank(arg) || utf8.RuneCountInString(arg) > MaxParameter || strings.ContainsFunc(arg, unicode.IsControl) || !f.takeArgument(arg) {
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
