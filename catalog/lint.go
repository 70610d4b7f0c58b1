package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// CentreNumber is the contact centre's free number; every notice ends with it. A call says it twice in groups.
const (
	CentreNumber       = "8-800-100-00-01"
	centreNumberSpoken = "восемь – восемьсот – сто – ноль ноль – ноль один"
)

const (
	maxSegments = 2  // of an SMS: an elderly reader reads no further
	maxSpoken   = 12 // words of a spoken sentence
)

// Severity of a finding: an error keeps a template from being used, a warning is advice.
type Severity string

const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Rule of the lint, one slug each.
const (
	LintBody         = "body"
	LintExample      = "example"
	LintLink         = "link"
	LintDataRequest  = "data_request"
	LintPaidNumber   = "paid_number"
	LintAgencyFirst  = "agency_first"
	LintCentreNumber = "centre_number"
	LintDisclosure   = "disclosure"
	LintSegments     = "segments"
	LintTwoWay       = "two_way"
	LintVariant      = "variant_of"
	LintWording      = "wording"
)

// Finding is what Lint has to say about a template.
type Finding struct {
	Rule     string   `json:"rule"` // a Lint… slug, or the field that names another item
	Severity Severity `json:"severity"`
	Sentence string   `json:"sentence"` // for the template's author: what is wrong, and what to do
}

// Lint holds a template against the rules for a text that old and worried people can trust, with the agencies and templates that are
// in force. t is validated. segments counts those of an SMS; nil = they are not counted. Answers to a citizen's own contact need
// neither agency nor number.
func (c *Catalog) Lint(t *Template, at time.Time, segments func(text string) int) []Finding {
	l := &linter{Template: t, catalog: c, at: at}
	text, err := ParseText(t.Body)
	var fault *TemplateError
	if errors.As(err, &fault) {
		l.error(LintBody, fault.Sentence())
		return l.findings
	}
	l.words = text.words()
	l.example, err = t.Example()
	if errors.As(err, &fault) {
		l.error(LintExample, "С примерами значений текст не получается. "+fault.Sentence()+" Впишите в шаблон пример (example).")
	}
	l.trust()
	l.frame()
	l.disclosure(text)
	l.reply()
	l.others()
	l.wording()
	if t.Channel == "sms" && segments != nil && l.example != "" {
		if n := segments(l.example); n > maxSegments {
			l.error(LintSegments, fmt.Sprintf("С примерами значений сообщение займёт сегментов: %d, можно не больше %d. Сократите текст.", n, maxSegments))
		}
	}
	return l.findings
}

type linter struct {
	*Template
	catalog  *Catalog
	at       time.Time
	words    string // the literal text
	example  string // the text with the examples
	findings []Finding
}

func (l *linter) error(rule, sentence string) {
	l.findings = append(l.findings, Finding{rule, SeverityError, sentence})
}

func (l *linter) warn(rule, sentence string) {
	l.findings = append(l.findings, Finding{rule, SeverityWarning, sentence})
}

// trust is what swindlers do and we never.
func (l *linter) trust() {
	if hasLink(l.Body) || hasLink(l.example) {
		l.error(LintLink, "В тексте есть ссылка, адрес или мессенджер, хотя бы и словами: уберите, людям говорят не открывать ссылки из СМС.")
	}
	if asksForData(l.Body) || asksForData(l.example) {
		l.error(LintDataRequest, "Текст просит сообщить данные (код, карту, СНИЛС, паспорт): уберите просьбу, так пишут мошенники.")
	}
	if hasPaidNumber(l.words) {
		l.error(LintPaidNumber, "В тексте есть номер, звонок на который платный: замените его бесплатным "+CentreNumber+".")
	}
}

// frame is how a notice begins and ends. A call names the agency in its greeting.
func (l *linter) frame() {
	switch {
	case l.Answer:
	case l.Channel == "voice":
		if !closingSpoken.MatchString(l.Body) {
			l.error(LintCentreNumber, "Текст звонка должен заканчиваться бесплатным номером по группам: «"+centreNumberSpoken+"».")
		}
	default:
		if !l.opensWithAgency() {
			l.error(LintAgencyFirst, "Текст должен начинаться с краткого имени ведомства и двоеточия, например «СФР:».")
		}
		if !closing.MatchString(l.Body) {
			l.error(LintCentreNumber, "Текст должен заканчиваться бесплатным номером "+CentreNumber+".")
		}
	}
}

func (l *linter) opensWithAgency() bool {
	return slices.ContainsFunc(l.catalog.Agencies(l.at), func(a *Agency) bool {
		return (l.Agency == "" || l.Agency == a.Code) && strings.HasPrefix(l.Body, a.Short+":")
	})
}

// closing is the number, with what may follow it: that it is free, and how to refuse.
var (
	closing       = regexp.MustCompile(regexp.QuoteMeta(CentreNumber) + `(\s*\(бесплатно\))?\.?(\s*Отказ: СТОП\.?)?\s*$`)
	closingSpoken = regexp.MustCompile(regexp.QuoteMeta(centreNumberSpoken) + `\.(\s*Звонок бесплатный\.)?\s*$`)
)

// disclosure offers the neutral twin to a text that says more than a stranger with the phone in his hand should read.
func (l *linter) disclosure(text *Text) {
	var what string
	switch {
	case l.Sensitive:
		return
	case namesIllness(l.words) || namesIllness(l.example):
		what = "состояние здоровья"
	case namesSum(l.example) || text.saysMoney():
		what = "сумму"
	default:
		return
	}
	twin := ""
	for _, t := range l.catalog.Templates(l.at) {
		if t.Code != l.Code && t.Channel == l.Channel && !t.Sensitive && len(t.text.slots) == 0 && t.LifeEvent == "" && !t.Answer {
			twin = t.Code
			break
		}
	}
	advice := "отметьте шаблон чувствительным (sensitive) и назовите нейтральный шаблон без подробностей (neutral)"
	if twin != "" {
		advice += ", например " + twin
	}
	l.error(LintDisclosure, "Текст раскрывает "+what+" любому, кто увидит телефон: "+advice+". Сам он уйдёт, только если это допускает основание списка.")
}

func (t *Text) saysMoney() bool {
	return slices.ContainsFunc(t.pieces, func(p piece) bool {
		return slices.ContainsFunc(p.filters, func(f filter) bool { return f.kind == filterMoney || f.kind == filterMoneyWords })
	})
}

// reply: an answer to a sender that is a name comes to nobody.
func (l *linter) reply() {
	switch invites := slices.ContainsFunc(sentences(l.words), invitesReply); {
	case invites && !l.TwoWay && l.Channel == "sms":
		l.error(LintTwoWay, "Текст просит ответить, а отправитель может быть именем, на которое ответить нельзя: отметьте шаблон two_way или уберите просьбу.")
	case !invites && l.TwoWay:
		l.warn(LintTwoWay, "Шаблон отмечен two_way, а ответить не просит: снимите отметку, тогда подойдёт любой отправитель.")
	}
}

// others is what it says of other items, as Check has it: its twin, its variant's facts.
func (l *linter) others() {
	k := &crossCheck{Catalog: l.catalog, at: l.at}
	k.template(l.Template)
	for _, err := range k.faults {
		var invalid *InvalidError
		if errors.As(err, &invalid) {
			for _, f := range invalid.Faults {
				l.error(f.Field, f.Sentence)
			}
		}
	}
}

// wording is advice: what is said to all must suit all, and a sentence that is heard is short.
func (l *linter) wording() {
	if gendered.MatchString(l.words) {
		l.warn(LintWording, "Обращение зависит от пола: скажите так, чтобы подошло всем («вам назначена»), или возьмите действие gender с третьей, общей формой.")
	}
	if strings.ContainsFunc(l.words, func(r rune) bool { return unicode.Is(unicode.So, r) && r != '№' }) {
		l.warn(LintWording, "В тексте есть рисунок вместо буквы (эмодзи): старые телефоны его не покажут, уберите.")
	}
	if l.Channel != "voice" {
		return
	}
	for _, s := range sentences(strings.ReplaceAll(l.example, centreNumberSpoken, CentreNumber)) {
		if n := len(strings.Fields(s)); n > maxSpoken {
			l.warn(LintWording, fmt.Sprintf("Предложение из %d слов на слух не понять: разделите, лучше не больше %d.", n, maxSpoken))
		}
	}
}

var gendered = regexp.MustCompile(`(?i)(уважаем(ый|ая)|дорог(ой|ая)|\pL\((а|ая|на)\))`)
