package egisso

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"ekc/citizen"
	"ekc/ingest"
)

// FactsPackage is 10.06.S: what was assigned to whom, and what of it has changed since. Both dialects come to the same.
type FactsPackage struct {
	PackageID     uuid.UUID
	Facts         []Fact
	Modifications []Modification
}

// Fact is a measure that was assigned to a citizen.
type Fact struct {
	UUID         uuid.UUID
	OSZCode      string // who assigned it
	Receiver     Receiver
	LMSZID       string // the local measure
	CategoryID   string
	DecisionDate citizen.Date
	DateStart    citizen.Date
	DateFinish   citizen.Date // zero = no end
	Form         string       // monetaryForm, naturalForm, exemptionForm, serviceForm, eCertificateForm
	Amount       string       // as people write it: 14506,00; "" = none
}

// Receiver is who receives the measure; all as it was sent, but the gender and the day.
type Receiver struct {
	SNILS      string
	Family     string
	First      string
	Patronymic string
	Gender     string // M, F, "" = not told
	BirthDate  citizen.Date
	Phone      string // ten digits; only in the newest dialect
}

// Kinds of modification, as the schema calls them.
const (
	modDeathOrMoving = "alterationBasedOnDeathOrMovingRecalculation"
	modDuplicates    = "duplicatesInvalidation"
	modErrors        = "errorsInvalidation"
)

var modificationKinds = []string{"alterationBasedOnRecalculation", modDeathOrMoving, "alterationBasedOnPreviousErrors", "terminationBasedOnRecalculation",
	"terminationBasedOnIneligibility", "terminationBasedOnEndOfRight", "terminationBasedOnEndOfValidityPeriod", "terminationBasedOnRecipientRefusal",
	modDuplicates, modErrors}

// Modification is what became of an earlier fact.
type Modification struct {
	Kind         string
	UUID         uuid.UUID
	FactUUID     uuid.UUID // of the fact it is about
	ProviderCode string
}

// recalls says whether the earlier fact must not be told of any more, and why. Nobody is ever told of a modification itself: what was taken
// back as a duplicate or an error never was, and behind a death are those who need no message.
func (m *Modification) recalls() (reason string, ok bool) {
	switch {
	case strings.HasPrefix(m.Kind, "termination"):
		return ReasonTermination, true
	case m.Kind == modDuplicates:
		return ReasonDuplicate, true
	case m.Kind == modErrors, m.Kind == modDeathOrMoving: // the latter does not say which of the two it was
		return ReasonCorrection, true
	}
	return "", false
}

// maxRecords is how many records of one kind a package has.
const maxRecords = 1000

func (d *decoder) facts(root *element) *FactsPackage {
	e := root.find("package")
	if e == nil {
		d.add(CodeMissing, 0, "package", "В сообщении 10.06.S нет элемента package.")
		return nil
	}
	p := &FactsPackage{PackageID: d.xmlID(e.value("packageId"), "packageId")}
	elements := e.child("elements")
	if elements == nil {
		elements = e
	}
	seen := make(map[uuid.UUID]bool)
	counts := make(map[string]int)
	for i := range elements.children {
		c := &elements.children[i]
		kind := c.name
		switch i := slices.IndexFunc(modificationKinds, func(k string) bool { return strings.EqualFold(k, kind) }); {
		case strings.EqualFold(kind, "fact"):
			kind = "fact"
			d.row = len(p.Facts) + 1
			f := d.fact(c)
			if seen[f.UUID] && f.UUID != uuid.Nil {
				d.add(CodeIDTwice, d.row, "fact.uuid", "Такой же uuid у другого факта пакета.")
			}
			seen[f.UUID] = true
			p.Facts = append(p.Facts, f)
			d.row = 0
		case i >= 0:
			kind = modificationKinds[i]
			p.Modifications = append(p.Modifications, Modification{kind, d.xmlID(c.value("uuid"), kind+".uuid"),
				d.xmlID(c.value("assignmentFactUuid"), kind+".assignmentFactUuid"), c.value("providerCode")})
		case strings.EqualFold(kind, "packageId"):
			continue
		default:
			d.add(CodeUnknown, 0, "elements", "В пакете запись неизвестного вида. Допустимы: fact, %s.", strings.Join(modificationKinds, ", "))
		}
		if counts[kind]++; counts[kind] == maxRecords+1 {
			d.add(CodeTooMany, 0, "elements", "Записей одного вида не больше %d.", maxRecords)
			return nil
		}
	}
	if len(p.Facts)+len(p.Modifications) == 0 {
		d.add(CodeMissing, 0, "elements", "В пакете нет ни одной записи.")
	}
	return p
}

func (d *decoder) fact(e *element) Fact {
	f := Fact{UUID: d.xmlID(e.value("uuid"), "fact.uuid"), OSZCode: e.value("oszCode"), LMSZID: e.value("lmszId"), CategoryID: e.value("categoryId"),
		DecisionDate: d.xmlDate(e.value("decisionDate"), "fact.decisionDate", false), DateStart: d.xmlDate(e.value("dateStart"), "fact.dateStart", true),
		DateFinish: d.xmlDate(e.value("dateFinish"), "fact.dateFinish", false)}
	if r := e.child("mszReceiver"); r != nil {
		f.Receiver = d.receiver(r)
	} else {
		d.add(CodeMissing, d.row, "fact.mszReceiver", "Обязательно, но его нет.")
	}
	if info := e.child("assignmentInfo"); info != nil {
		for _, form := range [...]string{"monetaryForm", "naturalForm", "exemptionForm", "serviceForm", "eCertificateForm"} {
			if c := info.child(form); c != nil {
				f.Form, f.Amount = form, d.amount(c.value("amount"))
			}
		}
	}
	return f
}

func (d *decoder) receiver(e *element) Receiver {
	r := Receiver{SNILS: d.xmlWord(e.value("SNILS"), "mszReceiver.SNILS"),
		Family:     d.xmlWord(e.value("FamilyName", "fio/surname", "fio/FamilyName"), "mszReceiver.FamilyName"),
		First:      d.xmlWord(e.value("FirstName", "fio/forename", "fio/FirstName"), "mszReceiver.FirstName"),
		Patronymic: d.xmlWord(e.value("Patronymic", "fio/patronymic"), "mszReceiver.Patronymic"),
		Phone:      d.xmlWord(e.value("phoneNumber", "phone", "telephone"), "mszReceiver.phone")}
	if r.SNILS == "" {
		d.add(CodeMissing, d.row, "mszReceiver.SNILS", "Обязательно, но его нет.")
	}
	switch strings.ToLower(e.value("gender")) {
	case "male", "m":
		r.Gender = "M"
	case "female", "f":
		r.Gender = "F"
	}
	r.BirthDate = d.xmlDate(e.value("birthDate"), "mszReceiver.birthDate", false)
	return r
}

// amount reads 14506,00 and 2000.00.
func (d *decoder) amount(s string) string {
	if s == "" {
		return ""
	}
	digits := strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return 'd'
		}
		if c == ',' {
			return '.'
		}
		return c
	}, s)
	whole, fraction, point := strings.Cut(digits, ".")
	if len(whole) == 0 || len(whole) > 12 || len(fraction) > 2 || point && fraction == "" || strings.Trim(whole+fraction, "d") != "" {
		d.add(CodeValue, d.row, "assignmentInfo.amount", "Нужна сумма, как 14506,00 или 14506.00.")
		return ""
	}
	return strings.Replace(s, ".", ",", 1)
}

// message makes a list of the facts, named as the package, and recalls of the earlier facts that have ended. A fact that the same package
// takes back is not told at all.
func (p *FactsPackage) message(m *Message) {
	m.Facts = p
	byReason := make(map[string][]string)
	over := make(map[uuid.UUID]bool)
	for i := range p.Modifications {
		mod := &p.Modifications[i]
		if reason, ok := mod.recalls(); ok && !over[mod.FactUUID] {
			over[mod.FactUUID] = true
			byReason[reason] = append(byReason[reason], mod.FactUUID.String())
		}
	}
	for _, reason := range cancelReasons {
		for ids := range slices.Chunk(byReason[reason], MaxRecalled) {
			m.Recalls = append(m.Recalls, Cancel{ExternalIDs: ids, Reason: reason, OccurredAt: m.Time})
		}
	}
	part := &Part{ListID: p.PackageID, Part: 1, Parts: 1, Header: ingest.Header{Name: "10.06.S: назначенные меры", LifeEvent: "OP-04"}}
	for i := range p.Facts {
		if f := &p.Facts[i]; !over[f.UUID] {
			part.Rows = append(part.Rows, f.row())
		}
	}
	if len(part.Rows) > 0 {
		part.rowDigests()
		m.Part = part
	}
}

// row is the fact as a row of a list. Of a fact that names no phone the row has none: it is looked for by the СНИЛС.
func (f *Fact) row() ingest.InputRow {
	data := map[string]string{"date": f.DateStart.String(), "decision_date": f.DecisionDate.String(), "date_finish": f.DateFinish.String(), "amount": f.Amount}
	for name, v := range data {
		if v == "" {
			delete(data, name)
		}
	}
	r := &f.Receiver
	return ingest.InputRow{ExternalID: f.UUID.String(), Phone: r.Phone, SNILS: r.SNILS, FamilyName: r.Family, FirstName: r.First, Patronymic: r.Patronymic,
		BirthDate: r.BirthDate.String(), EventDate: f.DateStart.String(), Data: data}
}
