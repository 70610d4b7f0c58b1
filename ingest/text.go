package ingest

import (
	"errors"
	"strings"

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
		}
		return
	}
	template := c.template
	if code != "" {
		if template = lookup(c.templates, code, func() (*catalog.Template, bool) { return c.catalog.FindTemplate(code, c.at) }); !c.usable(template) {
			out.add(RuleUnknownCode, fieldTemplate)
			return
		}
	}
	if template == nil {
		out.add(RuleTextOrTpl, fieldText)
		return
	}
	b := c.bind(template)
	if b.bound == nil {
		out.addNamed(RuleParameter, columnTitle(template, b.missing))
		return
	}
	rendered, err := b.bound.Render(c.text[:0], cells)
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

// columnTitle is the title of the column that fills a parameter, as people know it.
func columnTitle(t *catalog.Template, parameter string) string {
	for _, p := range t.Params {
		if p.Title != "" && catalog.Fold(p.Name) == catalog.Fold(parameter) {
			return p.Title
		}
	}
	return parameter
}

// usable templates are this agency's or everybody's, and not what is said only in answer to a contact.
func (c *checker) usable(t *catalog.Template) bool {
	return t != nil && !t.Answer && (t.Agency == "" || t.Agency == c.agency)
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
