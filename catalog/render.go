package catalog

import (
	"slices"
	"strings"
	"unicode/utf8"
)

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
	for i := range p.filters {
		var fault TemplateFault
		if dst, fault = p.filters[i].apply(dst, start); fault != "" {
			return dst, fault
		}
	}
	if len(dst) > start {
		return dst, ""
	}
	if !p.optional {
		return dst, FaultMissing
	}
	if strings.HasSuffix(p.literal, " ") {
		dst = dst[:start-1] // the space before it was for it
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
