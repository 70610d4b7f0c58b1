package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind says what an item is. A kind this release does not know stays in the table and is left alone.
type Kind string

// The kinds of this release.
const (
	KindLifeEvent Kind = "life_event"
	KindMeasure   Kind = "measure"
	KindAgency    Kind = "agency"
	KindOffice    Kind = "office"
	KindSource    Kind = "source"
	KindTemplate  Kind = "template"
	KindRule      Kind = "rule"
	KindState     Kind = "state"
	KindMapping   Kind = "mapping"
	KindLinkPrice Kind = "link_price"
)

// Head is what every item has beside its own fields.
type Head struct {
	Code      string    `json:"-"`
	Version   int       `json:"-"` // 1 for the first; a version is never changed once written
	Agency    string    `json:"-"` // its owner; "" = common to all
	From      time.Time `json:"-"` // in force from this instant; zero = always was
	To        time.Time `json:"-"` // and before this one; zero = without end
	CreatedAt time.Time `json:"-"`
	CreatedBy string    `json:"-"` // account; "seed" = came with the product
	// Unverified marks a placeholder: the value is no regulation's until an agency has confirmed it by a version of its own.
	Unverified bool `json:"unverified,omitempty"`
}

// Header gives the head of any item.
func (h *Head) Header() *Head { return h }

// Item is one version of anything in the catalogue: *LifeEvent, *Measure, *Agency, *Office, *Source, *Template, *Rule, *State, *Mapping or *LinkPrice.
type Item interface {
	Header() *Head
	Kind() Kind
	// Label is the name people call it by.
	Label() string
	validate() error
}

// LifeEvent is an event in a person's life that gives a right or a duty to be told of it.
type LifeEvent struct {
	Head
	Name     string   `json:"name"`
	Origin   string   `json:"origin,omitempty"`    // who knows of it first, in words: "ЗАГС"
	LeadDays int      `json:"lead_days,omitempty"` // told at the earliest so many days before the event's date; 0 = at once
	Measures []string `json:"measures,omitempty"`  // codes of the measures it may give
}

// Measure is a measure of social support.
type Measure struct {
	Head
	Name      string   `json:"name"`
	Form      string   `json:"form,omitempty"`      // as ЕГИССО counts: 01 money, 02 goods, 03 exemption, 04 service
	Level     int      `json:"level,omitempty"`     // 1 federal, 2 regional, 3 local
	Proactive bool     `json:"proactive,omitempty"` // assigned without an application
	How       string   `json:"how,omitempty"`       // the way of getting it, in a sentence
	Agencies  []string `json:"agencies,omitempty"`  // codes of those who assign it
}

// Source is one door by which lists come in, and what is assumed of them unless the list says otherwise.
type Source struct {
	Head
	Title        string      `json:"title"`
	Door         string      `json:"door"`               // feed, upload, api, folder
	Topics       []string    `json:"topics,omitempty"`   // Kafka topics, door feed only
	Agencies     []string    `json:"agencies,omitempty"` // whose lists it may bring; none = the account's own agency
	AutoApproval *Approval   `json:"auto_approval,omitempty"`
	LegalBasis   *LegalBasis `json:"legal_basis,omitempty"`
	OrderedBy    string      `json:"ordered_by,omitempty"`
	Statuses     string      `json:"statuses"`          // all, final
	Replies      bool        `json:"replies,omitempty"` // wants to hear what its people answered
	// Topics for what it hears of its lists, door feed only; "" = the common ones.
	ProtocolTopic string            `json:"protocol_topic,omitempty"`
	StatusTopic   string            `json:"status_topic,omitempty"`
	ReplyTopic    string            `json:"reply_topic,omitempty"`
	Channels      []string          `json:"channels"`            // plan of a list that names none
	Templates     map[string]string `json:"templates,omitempty"` // life event → template of a list that names neither template nor text
}

// DoorFolder is the door of a source whose lists are put into a folder of its own.
const DoorFolder = "folder"

// Approval is the standing decision by which a source's lists start without a person.
type Approval struct {
	Document string `json:"document"`
	Date     string `json:"date"` // 2006-01-02
	By       string `json:"by"`   // post, not a person's name
}

// LegalBasis is why these people may be told.
type LegalBasis struct {
	Code     string `json:"code"`
	Document string `json:"document"`
	Date     string `json:"date"` // 2006-01-02
}

// Day is its date as people write it.
func (b *LegalBasis) Day() string {
	day, err := time.Parse(time.DateOnly, b.Date)
	if err != nil {
		return b.Date
	}
	return day.Format("02.01.2006")
}

// AutoApproved says that lists of this source start without a person's approval.
func (s *Source) AutoApproved() bool { return s.AutoApproval != nil }

// Template is a text to be sent. Lists name one for SMS and pin its version; what a call says of the same is its variant.
type Template struct {
	Head
	Title     string   `json:"title"`
	LifeEvent string   `json:"life_event,omitempty"` // "" = any
	Channel   string   `json:"channel"`              // sms, voice
	Language  string   `json:"language"`             // ISO 639-1
	Body      string   `json:"body"`
	Params    []Param  `json:"params,omitempty"`     // one for each name in Body
	Facts     []string `json:"facts,omitempty"`      // what it says beside its parameters and figures, e.g. no_application
	VariantOf string   `json:"variant_of,omitempty"` // the SMS template whose facts this one tells by voice
	Sensitive bool     `json:"sensitive,omitempty"`  // its wording discloses health or the like; only where the legal basis allows
	Neutral   string   `json:"neutral,omitempty"`    // template sent instead where it does not
	TwoWay    bool     `json:"two_way,omitempty"`    // invites a reply: the sender must be a number
	Answer    bool     `json:"answer,omitempty"`     // said only in answer to the citizen's own contact

	text *Text
}

// Param describes a parameter of a template.
type Param struct {
	Name    string `json:"name"`
	Title   string `json:"title,omitempty"`   // another title of the column that fills it
	Example string `json:"example,omitempty"` // invented value, for previews and for counting segments
}

// Example is the text with the examples of its parameters, for previews and for counting segments.
func (t *Template) Example() (string, error) {
	examples := make(map[string]string, len(t.Params))
	for _, p := range t.Params {
		examples[Fold(p.Name)] = p.Example
	}
	text, err := t.text.Render(nil, func(name string) (string, bool) { v, ok := examples[name]; return v, ok })
	return string(text), err
}

// Text is the parsed body; its parameters are found by their names and by the titles of Params.
func (t *Template) Text() *Text { return t.text }

// State is a state or a reason, as people are shown it. Code is scope.slug, e.g. list.ready, notification.delivered, reason.busy.
type State struct {
	Head
	Title  string `json:"title"`
	Advice string `json:"advice,omitempty"` // what to do about it
}

// Scope is the part of the code before the point: list, notification, attempt, informed, gate, reason.
func (s *State) Scope() string { scope, _, _ := strings.Cut(s.Code, "."); return scope }

func (*LifeEvent) Kind() Kind { return KindLifeEvent }
func (*Measure) Kind() Kind   { return KindMeasure }
func (*Source) Kind() Kind    { return KindSource }
func (*Template) Kind() Kind  { return KindTemplate }
func (*Rule) Kind() Kind      { return KindRule }
func (*State) Kind() Kind     { return KindState }

func (e *LifeEvent) Label() string { return e.Name }
func (m *Measure) Label() string   { return m.Name }
func (s *Source) Label() string    { return s.Title }
func (t *Template) Label() string  { return t.Title }
func (r *Rule) Label() string      { return r.Title }
func (s *State) Label() string     { return s.Title }

// InvalidError lists what is wrong with one item.
type InvalidError struct {
	Kind   Kind
	Code   string
	Faults []FieldFault
}

// FieldFault is one wrong field and a sentence for whoever fills it in.
type FieldFault struct{ Field, Sentence string }

func (e *InvalidError) Error() string {
	s := fmt.Sprintf("catalogue %s %q:", e.Kind, e.Code)
	for _, f := range e.Faults {
		s += fmt.Sprintf(" %s: %s", f.Field, f.Sentence)
	}
	return s
}

// Decode reads the body of an item strictly: unknown fields are refused, and everything is validated.
func Decode(kind Kind, head Head, body []byte) (Item, error) {
	item, err := decode(kind, head, body, true)
	if err != nil {
		return nil, err
	}
	return item, Validate(item)
}

var errUnknownKind = errors.New("unknown kind")

func decode(kind Kind, head Head, body []byte, strict bool) (Item, error) {
	var item Item
	switch kind {
	case KindLifeEvent:
		item = &LifeEvent{}
	case KindMeasure:
		item = &Measure{}
	case KindAgency:
		item = &Agency{}
	case KindOffice:
		item = &Office{}
	case KindSource:
		item = &Source{}
	case KindTemplate:
		item = &Template{}
	case KindRule:
		item = &Rule{}
	case KindState:
		item = &State{}
	case KindMapping:
		item = &Mapping{}
	case KindLinkPrice:
		item = &LinkPrice{}
	default:
		return nil, fmt.Errorf("catalogue %s %q: %w", kind, head.Code, errUnknownKind)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(item); err != nil {
		return nil, fmt.Errorf("read catalogue %s %q: %w", kind, head.Code, err)
	}
	if dec.More() {
		return nil, fmt.Errorf("read catalogue %s %q: more than one value", kind, head.Code)
	}
	head.Unverified = item.Header().Unverified
	*item.Header() = head
	return item, nil
}

// Validate checks one item by itself, and readies it for use; the error is an *InvalidError. Whether the codes it names exist is
// for Catalog.Check.
func Validate(item Item) error {
	h := item.Header()
	c := checker{}
	c.require(codePattern.MatchString(h.Code), "code", "Код: до 64 латинских букв, цифр, точек, дефисов и подчёркиваний.")
	c.require(h.From.IsZero() || h.To.IsZero() || h.From.Before(h.To), "effective_to", "Дата окончания должна быть позже даты начала.")
	c.require(h.Agency == "" || participantPattern.MatchString(h.Agency), "agency", "Код ведомства: как 0001.000001.")
	if name := strings.TrimSpace(item.Label()); name == "" || utf8.RuneCountInString(name) > 300 {
		c.add("title", "Название: от 1 до 300 знаков.")
	}
	var own *InvalidError
	if err := item.validate(); errors.As(err, &own) {
		c.faults = append(c.faults, own.Faults...)
	} else if err != nil {
		return err
	}
	if len(c.faults) == 0 {
		return nil
	}
	return &InvalidError{Kind: item.Kind(), Code: h.Code, Faults: c.faults}
}

type checker struct{ faults []FieldFault }

func (c *checker) add(field, sentence string) {
	c.faults = append(c.faults, FieldFault{field, sentence})
}

func (c *checker) require(ok bool, field, sentence string) {
	if !ok {
		c.add(field, sentence)
	}
}

func (c *checker) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	return &InvalidError{Faults: c.faults}
}

// participantPattern takes codes of both generations; letters I and O are not used (basic types 2.x).
var (
	codePattern        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	participantPattern = regexp.MustCompile(`^[A-HJ-NP-Z0-9]{4}\.\d{6}$`)
	oktmoPattern       = regexp.MustCompile(`^(\d{8}|\d{11})$`)
	regionPattern      = regexp.MustCompile(`^\d{2}$`)
	languagePattern    = regexp.MustCompile(`^[a-z]{2}$`)
	factPattern        = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	topicPattern       = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
	statePattern       = regexp.MustCompile(`^(list|notification|attempt|informed|gate|reason)\.[a-z][a-z0-9_]*$`)
)

func (e *LifeEvent) validate() error {
	var c checker
	c.require(e.LeadDays >= 0 && e.LeadDays <= 366, "lead_days", "Срок до события: от 0 до 366 дней.")
	c.require(distinct(e.Measures), "measures", "Коды мер не должны повторяться.")
	return c.err()
}

func (m *Measure) validate() error {
	var c checker
	c.require(m.Form == "" || slices.Contains([]string{"01", "02", "03", "04"}, m.Form), "form", "Форма: 01 деньги, 02 натуральная, 03 льгота, 04 услуга.")
	c.require(m.Level >= 0 && m.Level <= 3, "level", "Уровень: 1 федеральный, 2 региональный, 3 местный.")
	c.require(utf8.RuneCountInString(m.How) <= 2000, "how", "Порядок получения: до 2000 знаков.")
	c.require(areParticipants(m.Agencies), "agencies", "Коды участников: как 0001.000001, без повторов.")
	return c.err()
}

func (s *Source) validate() error {
	var c checker
	c.require(slices.Contains([]string{"feed", "upload", "api", DoorFolder}, s.Door), "door", "Вход: feed, upload, api или folder.")
	c.require(s.Door != DoorFolder || len(s.Agencies) == 1, "agencies", "У папки одно ведомство: укажите, чьи в ней списки.")
	c.require((s.Door == "feed") == (len(s.Topics) > 0), "topics", "Темы Kafka указываются у источника feed и только у него.")
	c.require(distinct(s.Topics) && !slices.ContainsFunc(s.Topics, func(t string) bool { return !topicPattern.MatchString(t) }), "topics",
		"Имена тем Kafka: латинские буквы, цифры, точка, дефис, подчёркивание, без повторов.")
	for _, out := range [...]struct{ field, topic string }{{"protocol_topic", s.ProtocolTopic}, {"status_topic", s.StatusTopic}, {"reply_topic", s.ReplyTopic}} {
		c.require(out.topic == "" || s.Door == "feed" && topicPattern.MatchString(out.topic) && !slices.Contains(s.Topics, out.topic), out.field,
			"Тема ответов: у источника feed, латинские буквы, цифры, точка, дефис, подчёркивание, не из тем его списков.")
	}
	c.require(s.ReplyTopic == "" || s.Replies, "replies", "Тема ответов граждан указана, а ответы не нужны: поставьте replies или уберите тему.")
	c.require(s.Door != "feed" || len(s.Agencies) > 0, "agencies", "Укажите, чьи списки приносит источник.")
	c.require(areParticipants(s.Agencies), "agencies", "Коды участников: как 0001.000001, без повторов.")
	c.require(s.Statuses == "all" || s.Statuses == "final", "statuses", "Статусы: all или final.")
	c.require(len(s.Channels) > 0 && distinct(s.Channels) && !slices.ContainsFunc(s.Channels, func(ch string) bool { return ch != "sms" && ch != "voice" }), "channels",
		"Каналы: sms, voice или оба по порядку.")
	if a := s.AutoApproval; a != nil {
		c.require(a.Document != "" && a.By != "" && isDate(a.Date), "auto_approval", "Решение об утверждении без человека: документ, дата (2006-01-02) и должность.")
	}
	if b := s.LegalBasis; b != nil {
		c.require(b.Code != "" && b.Document != "" && isDate(b.Date), "legal_basis", "Основание: код, документ и дата (2006-01-02).")
	}
	for event, template := range s.Templates {
		c.require(codePattern.MatchString(event) && codePattern.MatchString(template), "templates", "Шаблоны: код события → код шаблона.")
	}
	return c.err()
}

func (t *Template) validate() error {
	var c checker
	c.require(t.Channel == "sms" || t.Channel == "voice", "channel", "Канал шаблона: sms или voice.")
	c.require((t.Channel == "voice") == (t.VariantOf != ""), "variant_of", "Текст звонка называет шаблон СМС, о том же самом; шаблон СМС не называет ничего.")
	c.require(t.VariantOf != t.Code, "variant_of", "Шаблон не может быть вариантом самого себя.")
	c.require(distinct(t.Facts) && !slices.ContainsFunc(t.Facts, func(f string) bool { return !factPattern.MatchString(f) }), "facts",
		"Сведения: имена из строчных латинских букв, цифр и подчёркиваний, без повторов.")
	c.require(languagePattern.MatchString(t.Language), "language", "Язык: две латинские буквы, например ru.")
	c.require(!t.Sensitive || t.Neutral != "", "neutral", "У чувствительного шаблона должен быть нейтральный двойник.")
	c.require(t.Neutral == "" || t.Neutral != t.Code, "neutral", "Нейтральный двойник не может быть самим шаблоном.")
	text, err := ParseText(t.Body)
	var fault *TemplateError
	if errors.As(err, &fault) {
		c.add("body", fault.Sentence())
		return c.err()
	}
	declared := make([]string, len(t.Params))
	for i, p := range t.Params {
		declared[i] = Fold(p.Name)
	}
	for _, name := range text.Names() {
		c.require(slices.Contains(declared, Fold(name)), "params", "Параметр «"+name+"» не описан.")
	}
	c.require(distinct(declared) && len(declared) <= len(text.slots), "params", "Описан параметр, которого нет в тексте, или один параметр дважды.")
	t.text = text.withTitles(t.Params)
	return c.err()
}

func (s *State) validate() error {
	var c checker
	c.require(statePattern.MatchString(s.Code), "code", "Код состояния: list, notification, attempt, informed, gate или reason, точка и имя.")
	return c.err()
}

func distinct(list []string) bool {
	sorted := slices.Sorted(slices.Values(list))
	return len(slices.Compact(sorted)) == len(list)
}

func areParticipants(codes []string) bool {
	return distinct(codes) && !slices.ContainsFunc(codes, func(code string) bool { return !participantPattern.MatchString(code) })
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}
