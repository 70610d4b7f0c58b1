package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ekc/catalog"
	"ekc/smpp"
)

// catalogReport is what is wrong with items of the catalogue; `ekc catalog lint --json` prints it.
type catalogReport struct {
	OK        bool             `json:"ok"`
	Templates []lintedTemplate `json:"templates"`
	Faults    []catalogFault   `json:"faults"` // of other items, and of what is no template yet
}

// lintedTemplate is one template with what there is to say about it.
type lintedTemplate struct {
	Code     string            `json:"code"`
	Channel  string            `json:"channel"`
	Segments int               `json:"segments,omitempty"` // of an SMS with the examples of its parameters
	Findings []catalog.Finding `json:"findings"`
}

type catalogFault struct {
	Kind     catalog.Kind `json:"kind,omitempty"`
	Code     string       `json:"code,omitempty"`
	Field    string       `json:"field,omitempty"`
	Sentence string       `json:"sentence"`
}

func segmentsOf(text string) int {
	_, n := smpp.Segments(text)
	return n
}

// lintCatalog holds items, which c has, against the rules of the lint, each when it comes into force, and tells what c says of other
// items that before did not. senders is nil when it is not known whether an answer reaches anybody.
func lintCatalog(before, c *catalog.Catalog, items []catalog.Item, now time.Time, senders []SenderConfig) *catalogReport {
	r := &catalogReport{Templates: []lintedTemplate{}, Faults: []catalogFault{}}
	for _, item := range items {
		t, ok := item.(*catalog.Template)
		if !ok {
			continue
		}
		at := now
		if t.From.After(at) {
			at = t.From
		}
		linted := lintedTemplate{Code: t.Code, Channel: t.Channel, Findings: append([]catalog.Finding{}, c.Lint(t, at, segmentsOf)...)}
		if text, err := t.Example(); err == nil && t.Channel == channelSMS {
			linted.Segments = segmentsOf(text)
		}
		if t.TwoWay && senders != nil && !slices.ContainsFunc(senders, func(s SenderConfig) bool {
			return s.TwoWay && (s.Agency == "" || t.Agency == "" || s.Agency == t.Agency)
		}) {
			linted.Findings = append(linted.Findings, catalog.Finding{Rule: catalog.LintTwoWay, Severity: catalog.SeverityError,
				Sentence: "Текст просит ответить, а все отправители в настройках односторонние: заведите номер с two_way или уберите просьбу."})
		}
		r.Templates = append(r.Templates, linted)
	}
	known := map[string]bool{}
	for _, err := range before.Check(now) {
		known[err.Error()] = true
	}
	told := func(f catalogFault) bool { // among the findings
		return f.Kind == catalog.KindTemplate && slices.ContainsFunc(r.Templates, func(t lintedTemplate) bool { return t.Code == f.Code })
	}
	for _, err := range c.Check(now) {
		if !known[err.Error()] {
			r.fault(err)
		}
	}
	r.Faults = slices.DeleteFunc(r.Faults, told)
	r.judge()
	return r
}

// fault takes an error, or each of several that are joined.
func (r *catalogReport) fault(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			r.fault(err)
		}
		return
	}
	var invalid *catalog.InvalidError
	if !errors.As(err, &invalid) {
		r.Faults = append(r.Faults, catalogFault{Sentence: err.Error()})
		return
	}
	for _, f := range invalid.Faults {
		r.Faults = append(r.Faults, catalogFault{invalid.Kind, invalid.Code, f.Field, f.Sentence})
	}
}

func (r *catalogReport) judge() { r.OK = len(r.Faults) == 0 && r.count(catalog.SeverityError) == 0 }

func (r *catalogReport) count(severity catalog.Severity) (n int) {
	for _, t := range r.Templates {
		for _, f := range t.Findings {
			if f.Severity == severity {
				n++
			}
		}
	}
	return n
}

var kindTitles = map[catalog.Kind]string{catalog.KindLifeEvent: "событие", catalog.KindMeasure: "мера", catalog.KindAgency: "ведомство",
	catalog.KindOffice: "отделение", catalog.KindSource: "источник", catalog.KindTemplate: "шаблон", catalog.KindRule: "правило", catalog.KindState: "состояние",
	catalog.KindMapping: "столбцы", catalog.KindLinkPrice: "цена"}

// print is for the people who keep the catalogue.
func (r *catalogReport) print(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Faults {
		where := strings.TrimSpace(kindTitles[f.Kind] + " " + f.Code)
		if f.Field != "" {
			where += ", " + f.Field
		}
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(&b, "%sошибка: %s\n", where, f.Sentence)
	}
	for _, t := range r.Templates {
		line := fmt.Sprintf("шаблон %-8s %s", t.Code, map[string]string{"sms": "СМС", "voice": "звонок"}[t.Channel])
		if t.Segments > 0 {
			line += fmt.Sprintf(", сегментов: %d", t.Segments)
		}
		if len(t.Findings) == 0 {
			line += ", хорошо"
		}
		fmt.Fprintln(&b, line)
		for _, f := range t.Findings {
			severity := "ошибка"
			if f.Severity == catalog.SeverityWarning {
				severity = "совет"
			}
			fmt.Fprintf(&b, "    %s (%s): %s\n", severity, f.Rule, f.Sentence)
		}
	}
	fmt.Fprintf(&b, "шаблонов: %d, ошибок: %d, советов: %d\n", len(r.Templates), r.count(catalog.SeverityError)+len(r.Faults), r.count(catalog.SeverityWarning))
	_, err := io.WriteString(w, b.String())
	return err
}
