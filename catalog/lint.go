package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// CentreNumber is the contact centre's free number; every notice ends with it.
const CentreNumber = "8-800-100-00-01"

// maxSegments is how long an SMS for an elderly reader may be before we advise against it.
const maxSegments = 2

// Severity of a finding: an error should keep a template from being used, a warning is advice.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Finding is what Lint has to say about a template.
type Finding struct {
	Rule     string // body, link, agency_first, centre_number, segments
	Severity Severity
	Sentence string // for the template's author
}

// Lint holds a template against the rules for a text that old and worried people can trust. agencies are those whose short names
// may open it; a template of one agency is opened by that one. segments is the length with example values, counted by the caller;
// 0 = not counted. Answers to a citizen's own contact need neither agency nor number.
func Lint(t *Template, agencies []*Agency, segments int) []Finding {
	var findings []Finding
	add := func(rule string, severity Severity, sentence string) {
		findings = append(findings, Finding{rule, severity, sentence})
	}
	if _, err := ParseText(t.Body); err != nil {
		var fault *TemplateError
		if errors.As(err, &fault) {
			add("body", SeverityError, fault.Sentence())
		}
		return findings
	}
	if HasLink(t.Body) {
		add("link", SeverityError, "В тексте есть ссылка или адрес сайта: уберите её, людям говорят не открывать ссылки из СМС.")
	}
	if !t.Answer {
		if !opensWithAgency(t, agencies) {
			add("agency_first", SeverityError, "Текст должен начинаться с краткого имени ведомства и двоеточия, например «СФР:».")
		}
		if !closing.MatchString(t.Body) {
			add("centre_number", SeverityError, "Текст должен заканчиваться бесплатным номером "+CentreNumber+".")
		}
	}
	if segments > maxSegments {
		add("segments", SeverityWarning, fmt.Sprintf("Сообщение займёт сегментов: %d. Лучше не больше %d: сократите текст.", segments, maxSegments))
	}
	return findings
}

func opensWithAgency(t *Template, agencies []*Agency) bool {
	return slices.ContainsFunc(agencies, func(a *Agency) bool {
		return (t.Agency == "" || t.Agency == a.Code) && strings.HasPrefix(t.Body, a.Short+":")
	})
}

// closing is the number, with what may follow it: that it is free, and how to refuse.
var closing = regexp.MustCompile(regexp.QuoteMeta(CentreNumber) + `(\s*\(бесплатно\))?\.?(\s*Отказ: СТОП\.?)?\s*$`)

// link finds a scheme, www., a host with a path, and a bare host under the domains that are met in Russia.
var link = regexp.MustCompile(`(?i)[a-z][a-z0-9+-]*://|www\.|[a-zа-яё0-9-]+\.[a-zа-яё]{2,}/` +
	`|[a-zа-яё0-9-]+\.(ru|su|рф|рус|москва|дети|com|org|net|info|biz|gov|edu|pro|site|online|store|shop|top|xyz|click|link|me|io|ly|cc|gl|app|dev)([^a-zа-яё0-9-]|$)`)

// HasLink says whether a text sends its reader to a site.
func HasLink(text string) bool {
	if strings.IndexByte(text, '.') < 0 && !strings.Contains(text, "://") {
		return false
	}
	return link.MatchString(text)
}
