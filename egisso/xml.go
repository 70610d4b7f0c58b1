package egisso

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"ekc/citizen"
	"ekc/ingest"
)

// Types of ЕГИССО's own messages that are taken.
const (
	TypeLifeEvent = "10.33.O" // informing about potential measures on a life situation
	TypeFacts     = "10.06.S" // changes of the register of assignment facts
	TypeDeaths    = "20.02.S" // deaths
)

// What a message in XML may cost before it is understood.
const (
	MaxXML      = 8 << 20
	maxElements = 200_000 // 1,000 facts are 40,000, and each of the ten modifications 8,000
	maxXMLDepth = 32
	maxAttrs    = 32
	maxXMLText  = 64 << 10 // bytes of one text; the longest of the schemas has 6,000 characters
)

// element is an element of a message. Namespaces are looked at only to tell the message: their versions change more often than what is in
// them. Names are compared without case, which is where the dialects differ most.
type element struct {
	name     string
	text     string
	attrs    []xml.Attr
	children []element
	from, to int64 // where it stands in the message, both tags included
}

// child is the first child of one of these names, or one further down where a name is a path.
func (e *element) child(paths ...string) *element {
	for _, path := range paths {
		at := e
		for name := range strings.SplitSeq(path, "/") {
			if at = at.first(name); at == nil {
				break
			}
		}
		if at != nil {
			return at
		}
	}
	return nil
}

func (e *element) first(name string) *element {
	for i := range e.children {
		if strings.EqualFold(e.children[i].name, name) {
			return &e.children[i]
		}
	}
	return nil
}

// all are the children of that name.
func (e *element) all(name string) (out []*element) {
	for i := range e.children {
		if strings.EqualFold(e.children[i].name, name) {
			out = append(out, &e.children[i])
		}
	}
	return out
}

// find is the first element of that name at any depth, itself included.
func (e *element) find(name string) *element {
	if strings.EqualFold(e.name, name) {
		return e
	}
	for i := range e.children {
		if found := e.children[i].find(name); found != nil {
			return found
		}
	}
	return nil
}

// value is the text of the child, or of the attribute where there is no such child.
func (e *element) value(paths ...string) string {
	if c := e.child(paths...); c != nil {
		return strings.TrimSpace(c.text)
	}
	for _, name := range paths {
		for _, a := range e.attrs {
			if strings.EqualFold(a.Name.Local, name) {
				return strings.TrimSpace(a.Value)
			}
		}
	}
	return ""
}

var messageNamespace = regexp.MustCompile(`/msg/(\d\d\.\d\d\.[A-Z])(/|$)`)

// xmlReader builds the tree.
type xmlReader struct {
	dec      *xml.Decoder
	elements int
	kind     string // by the first namespace that names a message
}

func readXML(in []byte) (root *element, kind string, fault *Problem) {
	const what = "Это не XML или он повреждён: %s. Исправьте выгрузку."
	switch {
	case len(in) > MaxXML:
		return nil, "", problem(CodeTooLarge, "", "Сообщение больше %d МиБ. Разделите пакет.", MaxXML>>20)
	case !utf8.Valid(in):
		return nil, "", problem(CodeUTF8, "", "Сообщение не в UTF-8. Сохраните его в UTF-8 и отправьте ещё раз.")
	}
	r := &xmlReader{dec: xml.NewDecoder(bytes.NewReader(in))}
	for {
		from := r.dec.InputOffset()
		token, err := r.dec.Token()
		switch t := token.(type) {
		case nil:
			if errors.Is(err, io.EOF) && root != nil {
				return root, r.kind, nil
			}
			return nil, "", problem(CodeXML, "", what, "текст не разбирается")
		case xml.StartElement:
			if root != nil {
				return nil, "", problem(CodeXML, "", what, "корневых элементов несколько")
			}
			root = &element{from: from}
			if fault := r.element(t, root, 1); fault != nil {
				return nil, "", fault
			}
		case xml.Directive:
			return nil, "", problem(CodeXMLDoctype, "", "В сообщении есть DOCTYPE. Уберите его: такие сообщения не принимаются.")
		case xml.CharData:
			if len(bytes.TrimSpace(bytes.TrimPrefix(t, []byte("\ufeff")))) > 0 {
				return nil, "", problem(CodeXML, "", what, "текст вне корневого элемента")
			}
		}
	}
}

// element reads on from a start tag to its end.
func (r *xmlReader) element(start xml.StartElement, e *element, depth int) *Problem {
	if r.elements++; r.elements > maxElements {
		return problem(CodeTooMany, "", "В сообщении больше %d элементов. Разделите пакет.", maxElements)
	}
	if depth > maxXMLDepth {
		return problem(CodeDepth, "", "Вложенность больше %d уровней.", maxXMLDepth)
	}
	if len(start.Attr) > maxAttrs {
		return problem(CodeTooMany, "", "У элемента больше %d атрибутов.", maxAttrs)
	}
	e.name = start.Name.Local
	if len(start.Attr) > 0 {
		e.attrs = append([]xml.Attr(nil), start.Attr...)
	}
	if m := messageNamespace.FindStringSubmatch(start.Name.Space); m != nil && r.kind == "" {
		r.kind = m[1]
	}
	var text strings.Builder
	for {
		from := r.dec.InputOffset()
		token, err := r.dec.Token()
		if err != nil {
			return problem(CodeXML, "", "Это не XML или он повреждён: текст не разбирается у байта %d. Исправьте выгрузку.", r.dec.InputOffset())
		}
		switch t := token.(type) {
		case xml.StartElement:
			e.children = append(e.children, element{from: from})
			if fault := r.element(t, &e.children[len(e.children)-1], depth+1); fault != nil {
				return fault
			}
		case xml.EndElement:
			e.text, e.to = text.String(), r.dec.InputOffset()
			return nil
		case xml.CharData:
			if text.Len()+len(t) > maxXMLText {
				return problem(CodeLong, "", "В элементе больше %d КиБ текста.", maxXMLText>>10)
			}
			text.Write(t)
		case xml.Directive:
			return problem(CodeXMLDoctype, "", "В сообщении есть DOCTYPE. Уберите его: такие сообщения не принимаются.")
		}
	}
}

// parseXML reads one of ЕГИССО's messages and says what it comes to.
func parseXML(attributes map[string]string, value []byte, now time.Time) (*Message, error) {
	root, kind, fault := readXML(value)
	if fault != nil {
		return nil, fault
	}
	if said := attributes["ekc_type"]; said != "" {
		if kind != "" && kind != said {
			return nil, problem(CodeXMLType, "ekc_type", "Заголовок ekc_type не совпадает с пространством имён сообщения.")
		}
		kind = said
	}
	d := &decoder{now: now}
	m := &Message{ID: attributes["id"], Source: attributes["source"], Type: kind, Time: now}
	if m.Source != "" && !sourceCode.MatchString(m.Source) {
		d.add(CodeSource, 0, "ce_source", "Нужен код участника, как 0001.000001 или A101.000004.")
	}
	if citizen.HoldsPersonal(m.ID) || utf8.RuneCountInString(m.ID) > maxAttribute {
		d.add(CodePersonal, 0, "ce_id", "Слишком длинный или похож на телефон или СНИЛС. Возьмите UUID.")
	}
	if t := attributes["time"]; t != "" {
		m.Time = d.instant(t, "ce_time")
	}
	switch kind {
	case TypeLifeEvent:
		if e := d.lifeEvent(root, value); e != nil && !d.any() {
			e.message(m)
		}
	case TypeFacts:
		if p := d.facts(root); p != nil && !d.any() {
			p.message(m)
		}
	case TypeDeaths:
		m.Deaths = d.deaths(root)
	default:
		d.add(CodeXMLType, 0, "ekc_type", "Принимаются %s, %s и %s: назовите вид в заголовке ekc_type.", TypeLifeEvent, TypeFacts, TypeDeaths)
	}
	if d.any() {
		return nil, d.err()
	}
	return m, nil
}

// xmlID reads a UUID that must be there.
func (d *decoder) xmlID(s, field string) uuid.UUID {
	id, err := uuid.Parse(s)
	switch {
	case s == "":
		d.add(CodeMissing, d.row, field, "Обязательно, но его нет.")
	case err != nil || len(s) != 36 || id == uuid.Nil:
		d.add(CodeValue, d.row, field, "Нужен UUID.")
	}
	return id
}

// xmlDate reads a day, with or without the zone that the 1.x schemas leave at it: 2019-05-01+04:00.
func (d *decoder) xmlDate(s, field string, required bool) citizen.Date {
	if s == "" {
		if required {
			d.add(CodeMissing, d.row, field, "Обязательно, но его нет.")
		}
		return citizen.Date{}
	}
	if len(s) >= len(time.DateOnly) {
		for _, layout := range [...]string{time.DateOnly, "2006-01-02Z07:00", time.RFC3339} {
			if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1800 && t.Year() <= 2200 {
				return citizen.DateOf(t)
			}
		}
	}
	d.add(CodeTime, d.row, field, "Нужна дата, как 2026-12-31 или 2026-12-31+03:00.")
	return citizen.Date{}
}

// rowDigests gives a part that came as XML its digests: of what it comes to, so that the same facts in another dialect are the same.
func (p *Part) rowDigests() {
	p.Digest = digestOfJSON(struct {
		Header   ingest.Header
		Rows     []ingest.InputRow
		Verbatim []byte
	}{p.Header, p.Rows, p.Verbatim})
	p.HeaderDigest = digestOfJSON(p.Header)
}
