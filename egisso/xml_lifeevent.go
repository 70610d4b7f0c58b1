package egisso

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"ekc/citizen"
	"ekc/ingest"
)

// LifeEventMessage is 10.33.O: a citizen, what happened to him, and the measures that may be due to him.
type LifeEventMessage struct {
	CorrelationID uuid.UUID
	ContainerID   uuid.UUID
	IssueDate     time.Time    // zero where its form is not known
	Expires       citizen.Date // after this day the information is stale and must not be sent
	SNILS         string       // as it was sent
	Events        []LifeEvent
	PortalText    string // the texts that ЕГИССО has for its own channels; ours come from the source's templates
	PushText      string
	EmailText     string
	Territory     string // ОКТМО
	Measures      []LifeEventMeasure
	Container     []byte // as it came: measures, offices and questionnaire are for the history's answer
}

// LifeEvent is one event of a container.
type LifeEvent struct {
	Code, Name string
	Date       citizen.Date
}

// LifeEventMeasure is a measure that may be due.
type LifeEventMeasure struct {
	ID            uuid.UUID
	FRGUCode      string
	Level         string // 1 federal, 2 regional, 3 local
	ProvisionForm string
	Periodicity   string
	Title         string
}

// maxEvents of one container; the schema has no limit.
const maxEvents = 20

// lifeEvent reads a message; in has its bytes.
func (d *decoder) lifeEvent(root *element, in []byte) *LifeEventMessage {
	request := root.find("request")
	if request == nil {
		d.add(CodeMissing, 0, "request", "В сообщении 10.33.O нет элемента request.")
		return nil
	}
	c := request.child("container")
	if c == nil {
		d.add(CodeMissing, 0, "container", "Обязательно, но его нет.")
		return nil
	}
	e := &LifeEventMessage{CorrelationID: d.xmlID(request.value("correlationId"), "correlationId"), ContainerID: d.xmlID(c.value("id"), "container.id"),
		Expires: d.xmlDate(c.value("expirationDate"), "container.expirationDate", true), Territory: c.value("territory"), Container: in[c.from:c.to]}
	e.IssueDate, _ = time.Parse(time.RFC3339, c.value("issueDate"))
	if citizen := c.child("citizen"); citizen != nil {
		e.SNILS = citizen.value("SNILS")
	}
	if e.SNILS == "" {
		d.add(CodeMissing, 0, "citizen.SNILS", "Обязательно, но его нет.")
	}
	if len(e.SNILS) > maxWord || len(e.Territory) > maxWord {
		d.add(CodeLong, 0, "citizen.SNILS", "Не больше %d знаков.", maxWord)
	}
	if n := c.child("notifications"); n != nil {
		e.PortalText, e.PushText, e.EmailText = n.value("portalText"), n.value("pushText"), n.value("emailText")
	}
	if events := c.child("lifeEvents"); events != nil {
		for _, event := range events.all("lifeEvent") {
			e.Events = append(e.Events, LifeEvent{d.xmlWord(event.value("code"), "lifeEvent.code"), d.xmlWord(event.value("name"), "lifeEvent.name"),
				d.xmlDate(event.value("date"), "lifeEvent.date", false)})
		}
	}
	if len(e.Events) == 0 || len(e.Events) > maxEvents {
		d.add(CodeTooMany, 0, "lifeEvents", "Нужно от 1 до %d событий.", maxEvents)
	}
	if measures := c.child("measures"); measures != nil {
		for _, m := range measures.all("measure") {
			e.Measures = append(e.Measures, LifeEventMeasure{d.xmlID(m.value("id"), "measure.id"), m.value("FRGUcode"), m.value("level"), m.value("provisionForm"),
				m.value("periodicity"), m.value("title")})
		}
	}
	if !e.Expires.IsZero() && !e.Expires.Ends(citizen.DefaultZones).After(d.now) {
		d.add(CodeStale, 0, "container.expirationDate", "Срок сведений прошёл: сообщать о них нельзя. Сформируйте контейнер заново.")
	}
	return e
}

// xmlWord reads a code or a name.
func (d *decoder) xmlWord(s, field string) string {
	if len([]rune(s)) > maxWord {
		d.add(CodeLong, d.row, field, "Не больше %d знаков.", maxWord)
		return ""
	}
	return s
}

// word is what the event is looked for by in the catalogue: its code where the code has the form of ours, else its name. Which codes
// ЕГИССО gives events has not been published; the names are those of the order.
func (e *LifeEvent) word() string {
	for _, prefix := range [...]string{"LE-", "OP-"} {
		if strings.HasPrefix(e.Code, prefix) {
			return e.Code
		}
	}
	if e.Name != "" {
		return e.Name
	}
	return e.Code
}

// message makes a list of one row of each event. The list is named as its container, and so is its row; a further event has a list of its
// own, since the text of a list is that of its event.
func (e *LifeEventMessage) message(m *Message) {
	m.LifeEvent = e
	var words []string
	for i := range e.Events {
		event := &e.Events[i]
		if slices.Contains(words, event.word()) {
			continue
		}
		words = append(words, event.word())
		p := &Part{ListID: e.ContainerID, Part: 1, Parts: 1, Verbatim: e.Container,
			Header: ingest.Header{Name: "10.33.O: " + event.word(), LifeEvent: event.word(), ValidUntil: ingest.Moment{Day: e.Expires}},
			Rows:   []ingest.InputRow{{ExternalID: e.ContainerID.String(), SNILS: e.SNILS, OKTMO: e.Territory, EventDate: event.Date.String()}}}
		p.rowDigests()
		if m.Part == nil {
			m.Part = p
			continue
		}
		p.ListID = uuid.NewSHA1(e.ContainerID, []byte(event.word()))
		m.Also = append(m.Also, p)
	}
}
