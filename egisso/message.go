package egisso

import (
	"encoding/json"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/ingest"
)

// Types of message that come in (CloudEvents type). Those that go out are ingest's events.
const (
	TypePart   = "ekc.list.part.v1"   // a part of a list
	TypeCancel = "ekc.list.cancel.v1" // rows of a list, or all of it, are called back
)

// Limits of a message.
const (
	MaxMessage   = 900 << 10 // bytes of a JSON message as it comes out of the topic, uncompressed
	MaxRows      = 1000      // of a part; a row's number in its list is (part-1)*MaxRows + its place
	MaxParts     = 10_000
	MaxEventRows = 100  // of a list of single events, which is one part
	MaxRecalled  = 1000 // rows of a cancel
)

// Message is a message that keeps the contract. In JSON it is a Part or a Cancel; what XML comes to is beside its fields.
type Message struct {
	ID     string // "" for XML that came without ce_id
	Source string // participant code of the list's agency; "" for XML without ce_source: the agency of the topic's source entry
	Type   string // TypePart or TypeCancel; of XML its own: 10.33.O, 10.06.S, 20.02.S
	Time   time.Time
	Part   *Part // of a part, of 10.33.O, and of 10.06.S with facts of which anybody is to be told
	Cancel *Cancel

	Also      []*Part  // of 10.33.O with several events: the lists of those after the first
	Recalls   []Cancel // of 10.06.S: earlier facts that have ended. Their lists are not named (uuid.Nil): a row is the source's with this external id
	LifeEvent *LifeEventMessage
	Facts     *FactsPackage
	Deaths    []Death // of 20.02.S
}

// Part is one part of a list: what ingest.FeedPart needs of it.
type Part struct {
	ListID       uuid.UUID
	Part, Parts  int
	Header       ingest.Header // its Source is the catalogue's and not known here
	Rows         []ingest.InputRow
	Digest       [32]byte // SHA-256 of the data in canonical JSON (RFC 8785)
	HeaderDigest [32]byte // the same without part and rows
	Verbatim     []byte   // of 10.33.O: the container as it came
}

// Reasons of a cancel.
const (
	ReasonTermination = "termination"
	ReasonCorrection  = "correction"
	ReasonDeath       = "death"
	ReasonDuplicate   = "duplicate"
	ReasonRecalled    = "recalled"
)

var cancelReasons = []string{ReasonTermination, ReasonCorrection, ReasonDeath, ReasonDuplicate, ReasonRecalled}

// Cancel calls back rows of a list by their external ids, or all of it. One that comes before its list is remembered.
type Cancel struct {
	ListID      uuid.UUID
	ExternalIDs []string
	All         bool
	Reason      string
	OccurredAt  time.Time
}

// Parse reads a record of a feed topic: CloudEvents 1.0 in structured or binary mode, or ЕГИССО's XML. It takes nothing that is not whole,
// and a fault is a *Problem. Whether the source may use the topic, and what its rows are worth, is not looked at here.
func Parse(headers []Header, value []byte, now time.Time) (*Message, error) {
	attributes, fault := attributesOf(headers)
	if fault != nil {
		return nil, fault
	}
	media := attributes["content-type"]
	if t, _, err := mime.ParseMediaType(media); err == nil {
		media = t
	}
	_, binary := attributes["specversion"]
	switch {
	case media == "application/xml" || media == "text/xml" || attributes["ekc_type"] != "":
		return parseXML(attributes, value, now)
	case media == "application/cloudevents+json", media == "" && !binary:
		return parseStructured(value, now)
	case binary && (media == "application/json" || media == ""):
		return parseBinary(attributes, value, now)
	}
	return nil, problem(CodeContentType, "content-type", "Такой вид содержимого не принимается. Передайте application/cloudevents+json, "+
		"application/json с заголовками ce_… или application/xml с заголовком ekc_type.")
}

// xml says that it is one of ЕГИССО's own messages.
func (m *Message) xml() bool {
	return m.Type == TypeLifeEvent || m.Type == TypeFacts || m.Type == TypeDeaths
}

// attributesOf are the headers that say something of the message: the attributes of binary mode without their "ce_", content-type, ekc_type.
func attributesOf(headers []Header) (map[string]string, *Problem) {
	attributes := make(map[string]string)
	for _, h := range headers {
		name, ours := strings.CutPrefix(h.Key, "ce_")
		switch strings.ToLower(h.Key) {
		case "content-type", "ekc_type":
			name, ours = strings.ToLower(h.Key), true
		}
		if !ours {
			continue
		}
		if !utf8.Valid(h.Value) {
			return nil, problem(CodeUTF8, "", "Заголовок сообщения не в UTF-8.")
		}
		if _, again := attributes[name]; again {
			return nil, problem(CodeHeaderTwice, "", "Один заголовок ce_… или content-type передан дважды. Оставьте один.")
		}
		attributes[name] = string(h.Value)
	}
	return attributes, nil
}

// readData reads JSON within the limit of a message.
func readData(value []byte) (jsonValue, *Problem) {
	if len(value) > MaxMessage {
		return jsonValue{}, problem(CodeTooLarge, "", "Сообщение больше %d КиБ. Разделите список на части поменьше.", MaxMessage>>10)
	}
	return readJSON(value)
}

func parseStructured(value []byte, now time.Time) (*Message, error) {
	v, fault := readData(value)
	if fault != nil {
		return nil, fault
	}
	d := &decoder{now: now, size: len(value)}
	if v.kind != jsonObject {
		d.add(CodeKind, 0, "", "Сообщение CloudEvents – объект JSON с полями %s и data.", strings.Join(requiredAttributes, ", "))
		return nil, d.err()
	}
	attributes := make(map[string]string)
	var data *jsonValue
	for i, name := range v.names {
		item := &v.items[i]
		switch {
		case name == "data":
			data = item
		case name == "data_base64":
			d.add(CodeUnknown, 0, name, "Данные передаются объектом в data, а не в data_base64.")
		case item.kind == jsonNull:
		case !attributeName.MatchString(name):
			d.unknown("", append(slices.Clone(knownAttributes), "data"))
		case item.kind == jsonString:
			attributes[name] = item.text
		case slices.Contains(knownAttributes, name):
			d.add(CodeKind, 0, name, "Нужна строка.")
		}
	}
	return d.message(attributes, "", data)
}

func parseBinary(attributes map[string]string, value []byte, now time.Time) (*Message, error) {
	v, fault := readData(value)
	if fault != nil {
		return nil, fault
	}
	return (&decoder{now: now, size: len(value)}).message(attributes, "ce_", &v)
}

var (
	requiredAttributes = []string{"specversion", "id", "source", "type"}
	knownAttributes    = []string{"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema"}
	attributeName      = regexp.MustCompile(`^[a-z0-9]{1,40}$`) // CloudEvents 1.0, 3.1; others are extensions and pass
	sourceCode         = regexp.MustCompile(`^[A-HJ-NP-Z0-9]{4}\.\d{6}$`)
)

const maxAttribute = 200

// message reads the attributes, which all are strings, and the data. prefix is how attributes are called where they stand.
func (d *decoder) message(attributes map[string]string, prefix string, data *jsonValue) (*Message, error) {
	m := &Message{ID: attributes["id"], Source: attributes["source"], Type: attributes["type"]}
	for _, name := range requiredAttributes {
		if strings.TrimSpace(attributes[name]) == "" {
			d.add(CodeMissing, 0, prefix+name, "Обязательно, но его нет.")
		}
	}
	for _, name := range knownAttributes {
		if utf8.RuneCountInString(attributes[name]) > maxAttribute {
			d.add(CodeLong, 0, prefix+name, "Не больше %d знаков.", maxAttribute)
		}
	}
	if v := attributes["specversion"]; v != "" && v != "1.0" {
		d.add(CodeVersion, 0, prefix+"specversion", "Принимается CloudEvents версии 1.0.")
	}
	if citizen.HoldsPersonal(m.ID) {
		d.add(CodePersonal, 0, prefix+"id", "Похоже на телефон или СНИЛС, а номер сообщения виден в журналах. Возьмите UUID.")
	}
	if m.Source != "" && !sourceCode.MatchString(m.Source) {
		d.add(CodeSource, 0, prefix+"source", "Нужен код участника, как 0001.000001 или A101.000004.")
	}
	if t := attributes["datacontenttype"]; t != "" {
		if media, _, err := mime.ParseMediaType(t); err != nil || media != "application/json" {
			d.add(CodeContentType, 0, prefix+"datacontenttype", "Данные передаются как application/json.")
		}
	}
	if t := attributes["time"]; t != "" {
		m.Time = d.instant(t, prefix+"time")
	}
	switch m.Type {
	case "":
	case TypePart, TypeCancel:
		if data == nil {
			d.add(CodeMissing, 0, "data", "Обязательно, но его нет.")
		}
	default:
		d.add(CodeType, 0, prefix+"type", "Принимаются сообщения %s и %s.", TypePart, TypeCancel)
	}
	if data == nil || d.any() {
		return nil, d.err()
	}
	if m.Type == TypePart {
		m.Part = d.part(data)
	} else {
		m.Cancel = d.cancel(data)
	}
	if d.any() {
		return nil, d.err()
	}
	return m, nil
}

// CheckEvent says whether the part may come by the topic of single events.
func (p *Part) CheckEvent() error {
	if p.Parts != 1 || len(p.Rows) > MaxEventRows {
		return problem(CodeNotEvent, "", "В теме одиночных событий список – одна часть, не больше %d строк. Передайте его темой списков.", MaxEventRows)
	}
	return nil
}

// Row is the number in the list of a row of the part, from its index.
func (p *Part) Row(index int) int { return (p.Part-1)*MaxRows + index + 1 }

func (m *Message) String() string { return fmt.Sprintf("%s %s of %s", m.Type, m.ID, m.Source) }

// MarshalJSON writes the part as its sender does: as the data of a message.
func (p *Part) MarshalJSON() ([]byte, error) {
	h := &p.Header
	return json.Marshal(struct {
		ListID     uuid.UUID           `json:"list_id"`
		Part       int                 `json:"part"`
		Parts      int                 `json:"parts"`
		Name       string              `json:"name,omitempty"`
		LifeEvent  string              `json:"life_event,omitempty"`
		Template   string              `json:"template,omitempty"`
		Channels   []string            `json:"channels,omitempty"`
		LegalBasis *catalog.LegalBasis `json:"legal_basis,omitempty"`
		OrderedBy  string              `json:"ordered_by,omitempty"`
		ValidUntil ingest.Moment       `json:"valid_until,omitzero"`
		NotBefore  ingest.Moment       `json:"not_before,omitzero"`
		InformBy   ingest.Moment       `json:"inform_by,omitzero"`
		Priority   string              `json:"priority,omitempty"`
		Rows       []ingest.InputRow   `json:"rows"`
	}{p.ListID, p.Part, p.Parts, h.Name, h.LifeEvent, h.Template, h.Channels, h.LegalBasis, h.OrderedBy, h.ValidUntil, h.NotBefore, h.InformBy, h.Priority, p.Rows})
}
