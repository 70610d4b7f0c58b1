package ingest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"ekc/catalog"
	"ekc/smpp"
)

// templateFault says before any row is read that the list's template cannot be filled from these columns.
func (c *checker) templateFault() error {
	if c.template == nil || c.header.has(fieldText) || c.header.has(fieldTemplate) {
		return nil
	}
	_, err := c.template.Text().Bind(c.titles)
	var unbound *catalog.BindError
	if errors.As(err, &unbound) {
		for _, names := range [...][]string{unbound.Unknown, unbound.Ambiguous} {
			for i := range names {
				names[i] = columnTitle(c.template, names[i])
			}
		}
		return &Fault{FaultInvalid, "template_columns", unbound.Sentence()}
	}
	return err
}

func (c *checker) checkText(out *checked, cells []string) {
	text, ok := c.take(out, cells, fieldText)
	if !ok {
		return
	}
	code, ok := c.take(out, cells, fieldTemplate)
	if !ok {
		return
	}
	if text != "" && code != "" {
		out.add(RuleTextOrTpl, fieldText)
		return
	}
	if text != "" {
		if strings.Contains(text, "{{") || strings.Contains(text, "}}") {
			out.add(RulePlaceholder, fieldText)
			return
		}
		c.setText(out, text)
		if c.filled && c.template != nil {
			out.row.Template = c.template.Code
		} else {
			c.judge(out)
		}
		return
	}
	template := c.template
	if code != "" {
		if template = lookup(c.templates, code, func() (*catalog.Template, bool) { return c.findTemplate(code) }); !usable(template, c.agency) {
			out.add(RuleUnknownCode, fieldTemplate)
			return
		}
	}
	if template == nil {
		out.add(RuleTextOrTpl, fieldText)
		return
	}
	if template.Sensitive && !c.mayDisclose() {
		twin, ok := c.findTemplate(template.Neutral)
		if !ok || twin.Sensitive || !usable(twin, c.agency) {
			out.add(RuleSensitive, fieldTemplate)
			return
		}
		out.add(RuleNeutral, fieldTemplate)
		template = twin
	}
	b := c.bind(template)
	if b.bound == nil {
		out.addNamed(RuleParameter, columnTitle(template, b.missing))
		return
	}
	rendered, err := b.bound.Render(c.text[:0], c.withNames(out, cells))
	c.text = rendered[:0]
	var fault *catalog.TemplateError
	switch {
	case errors.As(err, &fault) && fault.Fault == catalog.FaultTextTooLong:
		out.add(RuleTextLong, fieldText)
	case errors.As(err, &fault):
		out.addNamed(RuleParameter, columnTitle(template, fault.Parameter))
	case err != nil:
		out.addNamed(RuleParameter, "")
	default:
		out.row.Template = template.Code
		c.setText(out, string(rendered))
	}
}

// judge holds a text of the sender's own against what templates are held against: nobody else looks at it before it leaves.
func (c *checker) judge(out *checked) {
	f := c.judges.Text(out.row.Content.Text)
	if f&catalog.TextLink != 0 {
		out.add(RuleLink, fieldText)
	}
	if f&catalog.TextAsks != 0 {
		out.add(RuleDataRequest, fieldText)
	}
	if c.mayDisclose() {
		return
	}
	if f&catalog.TextIllness != 0 {
		out.add(RuleIllness, fieldText)
	}
	if f&catalog.TextSum != 0 {
		out.add(RuleSum, fieldText)
	}
}

// columnTitle is the title of the column that fills a parameter, as people know it.
func columnTitle(t *catalog.Template, parameter string) string {
	for _, p := range t.Params {
		if p.Title != "" && catalog.Fold(p.Name) == catalog.Fold(parameter) {
			return p.Title
		}
	}
	return parameter
}

// usable templates are an agency's own or everybody's, and not what is said only in answer to a contact.
func usable(t *catalog.Template, agency string) bool {
	return t != nil && !t.Answer && (t.Agency == "" || t.Agency == agency)
}

// pinned are the versions of the templates that rows of an agency may name at an instant, by code.
func pinned(c *catalog.Catalog, agency string, at time.Time) map[string]int {
	versions := make(map[string]int)
	for _, t := range c.Templates(at) {
		if usable(t, agency) {
			versions[t.Code] = t.Version
		}
	}
	return versions
}

// findTemplate is the version of a template that was in force when the list was received, by code or title.
func (c *checker) findTemplate(codeOrTitle string) (*catalog.Template, bool) {
	if c.pinned == nil { // received by a release that did not note them
		return c.catalog.FindTemplate(codeOrTitle, c.at)
	}
	if c.byName == nil {
		c.byName = make(map[string]*catalog.Template)
		codes := make(map[string]*catalog.Template)
		for code, version := range c.pinned {
			t, ok := c.catalog.Template(code, version)
			if !ok {
				continue
			}
			codes[catalog.Fold(code)] = t
			title := catalog.Fold(t.Title)
			if _, twice := c.byName[title]; twice {
				t = nil // a title of several names none
			}
			c.byName[title] = t
		}
		maps.Copy(c.byName, codes) // a code goes before a title
	}
	t := c.byName[catalog.Fold(codeOrTitle)]
	return t, t != nil
}

// mayDisclose says whether the list's legal basis lets a text disclose health and the like.
func (c *checker) mayDisclose() bool {
	b := c.envelope.LegalBasis
	return b != nil && b.Code != "" && slices.Contains(c.rules.SensitiveBases, b.Code)
}

func (c *checker) bind(t *catalog.Template) binding {
	b, ok := c.bound[t]
	if ok {
		return b
	}
	bound, err := t.Text().Bind(c.titles)
	var unbound *catalog.BindError
	switch {
	case err == nil:
		b.bound = bound
	case errors.As(err, &unbound):
		b.missing = append(append([]string(nil), unbound.Unknown...), unbound.Ambiguous...)[0]
	}
	c.bound[t] = b
	return b
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", " ")

func (c *checker) setText(out *checked, text string) {
	if strings.ContainsAny(text, "\r\t") {
		text = lineEnds.Replace(text)
	}
	text = strings.TrimSpace(text)
	switch _, n := smpp.Segments(text); {
	case text == "":
		out.add(RuleTextOrTpl, fieldText)
	case badCharacters(text):
		out.add(RuleCharacters, fieldText)
	case containsCellError(text):
		out.add(RuleCellError, fieldText)
	case n > c.segments:
		out.add(RuleTextLong, fieldText)
	default:
		out.row.Content.Text = text
		out.row.Segments = n
	}
}

func containsCellError(text string) bool {
	if !strings.Contains(text, "#") {
		return false
	}
	for _, word := range strings.Fields(text) {
		if i := strings.IndexByte(word, '#'); i >= 0 && isCellError(strings.TrimRight(word[i:], ".,;:)»\"")) {
			return true
		}
	}
	return false
}

var languages = map[string]string{
	catalog.Fold("русский"): "ru", catalog.Fold("татарский"): "tt", catalog.Fold("башкирский"): "ba", catalog.Fold("чувашский"): "cv",
	catalog.Fold("бурятский"): "bxr", catalog.Fold("якутский"): "sah", catalog.Fold("английский"): "en",
}

func (c *checker) language(out *checked, cells []string) string {
	s, ok := c.take(out, cells, fieldLanguage)
	if !ok || s == "" {
		return "ru"
	}
	if code, ok := languages[catalog.Fold(s)]; ok {
		return code
	}
	s = strings.ToLower(s)
	if len(s) == 2 && s[0] >= 'a' && s[0] <= 'z' && s[1] >= 'a' && s[1] <= 'z' {
		return s
	}
	out.add(RuleLanguage, fieldLanguage)
	return "ru"
}
