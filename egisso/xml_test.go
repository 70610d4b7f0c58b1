package egisso

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ekc/fixtures"
)

// xmlGolden is a golden message in XML.
func xmlGolden(t *testing.T, file string) string {
	t.Helper()
	b, err := (&fixtures.FeedMessage{File: file}).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var xmlHeader = []Header{{"content-type", []byte("application/xml")}}

func mustParseXML(t *testing.T, text string) *Message {
	t.Helper()
	m, err := Parse(xmlHeader, []byte(text), testNow)
	if err != nil {
		t.Fatalf("%v: %+v", err, err)
	}
	return m
}

func TestLifeEventBecomesAListOfOneRow(t *testing.T) {
	t.Parallel()
	text := xmlGolden(t, "life-event.xml")
	m := mustParseXML(t, text)
	e, p := m.LifeEvent, m.Part
	if m.Type != TypeLifeEvent || e.CorrelationID.String() != "0c9f1d62-6b54-4c0c-a4f4-5a2b6d4d7e01" || e.IssueDate.IsZero() || e.Expires.String() != "2099-12-31" ||
		len(e.Events) != 1 || e.Events[0].Date.String() != "2026-01-12" || !strings.HasPrefix(e.PortalText, "В связи") || e.PushText == "" || e.EmailText == "" ||
		len(e.Measures) != 1 || e.Measures[0].Title != "Ежемесячное пособие в связи с рождением и воспитанием ребёнка" || e.Measures[0].Level != "1" ||
		e.Measures[0].ID.String() != "3b7f7c1a-0f6e-4a52-8d2e-9a6c50d2f011" {
		t.Errorf("%+v", e)
	}
	const id = "2d4a6f10-93c1-4f0e-8f6a-1b7c2a9d3e41"
	row := p.Rows[0]
	if p.ListID.String() != id || p.Part != 1 || p.Parts != 1 || len(p.Rows) != 1 || row.ExternalID != id || len(row.SNILS) != 11 || row.Phone != "" ||
		row.Text != "" || row.Template != "" || row.OKTMO != "45000000" || row.EventDate != "2026-01-12" {
		t.Errorf("%+v", p)
	}
	if p.Header.LifeEvent != "Рождение ребёнка" || p.Header.ValidUntil.Day.String() != "2099-12-31" || p.Header.Template != "" {
		t.Errorf("%+v", p.Header)
	}
	if v := string(p.Verbatim); !strings.HasPrefix(v, `<tns:container id="`+id) || !strings.HasSuffix(v, "</tns:container>") || !strings.Contains(v, "Это первый ребёнок?") ||
		!strings.Contains(text, v) {
		t.Errorf("the container is not as it came: %.60s", v)
	}
}

func TestFurtherEventsOfAContainerHaveListsOfTheirOwn(t *testing.T) {
	t.Parallel()
	const second = `<le:lifeEvent><le:code>LE-08</le:code><le:name>Другое</le:name></le:lifeEvent></le:lifeEvents>`
	text := strings.Replace(xmlGolden(t, "life-event.xml"), "</le:lifeEvents>", second, 1)
	m, again := mustParseXML(t, text), mustParseXML(t, text)
	if len(m.Also) != 1 || m.Also[0].ListID == m.Part.ListID || m.Also[0].ListID != again.Also[0].ListID || m.Also[0].Header.LifeEvent != "LE-08" ||
		m.Also[0].Rows[0].ExternalID != m.Part.Rows[0].ExternalID || m.Also[0].Digest != again.Also[0].Digest {
		t.Errorf("%+v", m.Also)
	}
}

func TestLifeEventIsStaleAfterTheEndOfItsLastDay(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Replace(xmlGolden(t, "life-event.xml"), "2099-12-31", "2026-11-25+03:00", 1))
	for at, stale := range map[string]bool{"2026-11-25T20:30:00Z": false, "2026-11-25T21:30:00Z": true} {
		now, _ := time.Parse(time.RFC3339, at)
		_, err := Parse(xmlHeader, text, now)
		var p *Problem
		if got := errors.As(err, &p) && p.Code == CodeStale; got != stale || !stale && err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestBothDialectsOfFactsComeToTheSame(t *testing.T) {
	t.Parallel()
	one, two := mustParseXML(t, xmlGolden(t, "facts-1x.xml")), mustParseXML(t, xmlGolden(t, "facts-2x.xml"))
	if a, b := fmt.Sprintf("%+v %+v", one.Part, one.Recalls), fmt.Sprintf("%+v %+v", two.Part, two.Recalls); a != b || one.Part.Digest != two.Part.Digest {
		t.Errorf("%s\n%s", a, b)
	}
	f := one.Facts.Facts[1]
	if f.OSZCode != "0001.000001" || f.Form != "monetaryForm" || f.Amount != "2000,00" || f.DateFinish.String() != "2026-12-31" || f.Receiver.Family != "Ким" ||
		f.Receiver.First != "Ян" || f.Receiver.Patronymic != "" || f.Receiver.Gender != "M" || f.Receiver.BirthDate.String() != "1966-05-02" {
		t.Errorf("%+v", f)
	}
	if g := one.Facts.Facts[0].Receiver; g.Gender != "F" || g.Patronymic != "Ивановна" {
		t.Errorf("%+v", g)
	}
	row := one.Part.Rows[0]
	if row.ExternalID != "7a1f0c52-4d1b-4c7e-9a6f-000000000001" || row.FamilyName != "Волкова" || row.EventDate != "2026-02-01" || row.Data["date"] != "2026-02-01" ||
		row.Data["amount"] != "14506,00" || row.Data["date_finish"] != "" || one.Part.Header.LifeEvent != "OP-04" ||
		one.Part.ListID.String() != "9be6a2d4-52f7-4c36-8a5d-7f2f5f0c1a10" {
		t.Errorf("%+v, %+v", row, one.Part)
	}
}

func TestModificationsAreNeverToldAndCallTheirFactsBack(t *testing.T) {
	t.Parallel()
	m := mustParseXML(t, xmlGolden(t, "facts-1x.xml"))
	const fact = "7a1f0c52-4d1b-4c7e-9a6f-0000000000"
	want := map[string][]string{ReasonTermination: {fact + "51", fact + "52"}, ReasonDuplicate: {fact + "53"}, ReasonCorrection: {fact + "54", fact + "55"}}
	for _, c := range m.Recalls {
		if !slices.Equal(c.ExternalIDs, want[c.Reason]) || c.All || c.OccurredAt != testNow {
			t.Errorf("%+v", c)
		}
		delete(want, c.Reason)
	}
	if len(want) > 0 {
		t.Errorf("not recalled: %v", want)
	}
	for _, row := range m.Part.Rows {
		if id := row.ExternalID; id != fact+"01" && id != fact+"02" {
			t.Errorf("%s is told", id)
		}
	}
	// A fact that the same package ends is not told, and called back all the same: another package may have brought it before.
	m = mustParseXML(t, strings.ReplaceAll(xmlGolden(t, "facts-1x.xml"), fact+"51", fact+"01"))
	if len(m.Part.Rows) != 1 || m.Part.Rows[0].ExternalID != fact+"02" {
		t.Errorf("%+v", m.Part.Rows)
	}
}

func TestRecallsOfAFullPackageAreCutAsCancelsAre(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`<package xmlns="urn://egisso-ru/msg/10.06.S/2.0"><packageId>9be6a2d4-52f7-4c36-8a5d-7f2f5f0c1a10</packageId><elements>`)
	n := 0
	for _, kind := range []string{"terminationBasedOnIneligibility", "terminationBasedOnEndOfRight"} {
		for range maxRecords {
			n++
			fmt.Fprintf(&b, "<%s><uuid>7a1f0c52-4d1b-4c7e-9a6f-%012d</uuid><assignmentFactUuid>7a1f0c52-4d1b-4c7e-9a6f-1%011d</assignmentFactUuid></%s>", kind, n, n, kind)
		}
	}
	text := b.String()
	m := mustParseXML(t, text+"</elements></package>")
	if m.Part != nil || len(m.Recalls) != 2 || len(m.Recalls[0].ExternalIDs) != MaxRecalled || len(m.Recalls[1].ExternalIDs) != MaxRecalled {
		t.Errorf("%d recalls", len(m.Recalls))
	}
	_, err := Parse(xmlHeader, []byte(text+"<terminationBasedOnEndOfRight><uuid>7a1f0c52-4d1b-4c7e-9a6f-000000009999</uuid>"+
		"<assignmentFactUuid>7a1f0c52-4d1b-4c7e-9a6f-000000009998</assignmentFactUuid></terminationBasedOnEndOfRight></elements></package>"), testNow)
	var p *Problem
	if !errors.As(err, &p) || p.Code != CodeTooMany {
		t.Error(err)
	}
}

func TestDeathsAreReadWhateverTheirRecordIsCalled(t *testing.T) {
	t.Parallel()
	m := mustParseXML(t, xmlGolden(t, "deaths.xml"))
	if len(m.Deaths) != 2 || m.Deaths[1].Date.String() != "2026-01-11" || m.Deaths[0].SNILS.IsZero() || m.Deaths[0].SNILS == m.Deaths[1].SNILS {
		t.Errorf("%+v", m.Deaths)
	}
	headers := append(slices.Clone(xmlHeader), Header{"ekc_type", []byte(TypeDeaths)})
	for text, code := range map[string]string{
		`<a><b snils="00000508045" dateOfDeath="2026-01-09"/></a>`: "",
		`<a><b><snils>00000508045</snils></b></a>`:                 CodeMissing,
		`<a/>`: CodeMissing,
		`<a><b><snils>11223344596</snils><deathDate>2026-01-09</deathDate></b></a>`:                                   CodeValue,
		`<a><b><snils>00000508045</snils><snils>00000508045</snils><deathDate>2026-01-09</deathDate></b></a>`:         CodeValue,
		`<a><b><snils>00000508045</snils><deathDate>9 января</deathDate></b></a>`:                                     CodeTime,
		`<a><b><x><snils>00000508045</snils></x><y><deathDate>2026-01-09Z</deathDate></y></b><b>` + "\n" + `</b></a>`: "",
	} {
		m, err := Parse(headers, []byte(text), testNow)
		var p *Problem
		switch errors.As(err, &p); {
		case code == "" && (err != nil || len(m.Deaths) != 1):
			t.Errorf("%s: %v", text, err)
		case code != "" && (p == nil || p.Code != code):
			t.Errorf("%s: %v, want %s", text, err, code)
		}
	}
}

func TestFaultsOfXMLAreToldWithoutAValue(t *testing.T) {
	t.Parallel()
	le, facts := xmlGolden(t, "life-event.xml"), xmlGolden(t, "facts-2x.xml")
	for _, c := range []struct{ name, text, code, field string }{
		{"cut off", le[:len(le)/2], CodeXML, ""},
		{"empty", "", CodeXML, ""},
		{"no XML", "{}", CodeXML, ""},
		{"two roots", "<a/><b/>", CodeXML, ""},
		{"behind the root", "<a/>text", CodeXML, ""},
		{"doctype", `<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`, CodeXMLDoctype, ""},
		{"doctype inside", `<a><!DOCTYPE b></a>`, CodeXMLDoctype, ""},
		{"entity", `<a>&secret;</a>`, CodeXML, ""},
		{"no UTF-8", "<a>\xff</a>", CodeUTF8, ""},
		{"deep", strings.Repeat("<a>", maxXMLDepth+1) + strings.Repeat("</a>", maxXMLDepth+1), CodeDepth, ""},
		{"wide", "<a>" + strings.Repeat("<b/>", maxElements) + "</a>", CodeTooMany, ""},
		{"long text", "<a>" + strings.Repeat("x", maxXMLText+1) + "</a>", CodeLong, ""},
		{"large", "<a>" + strings.Repeat(" ", MaxXML) + "</a>", CodeTooLarge, ""},
		{"nobody's message", `<a xmlns="urn://egisso-ru/msg/10.01.O/1.0"/>`, CodeXMLType, "ekc_type"},
		{"our answer", strings.NewReplacer("<tns:request", "<tns:response", "</tns:request", "</tns:response").Replace(le), CodeMissing, "request"},
		{"no container", `<request xmlns="urn://egisso-ru/msg/10.33.O/1.0"/>`, CodeMissing, "container"},
		{"no number", strings.Replace(le, "SNILS=", "INN=", 1), CodeMissing, "citizen.SNILS"},
		{"no end", strings.Replace(le, "expirationDate=", "till=", 1), CodeMissing, "container.expirationDate"},
		{"no event", strings.NewReplacer("<le:lifeEvent>", "<le:x>", "</le:lifeEvent>", "</le:x>").Replace(le), CodeTooMany, "lifeEvents"},
		{"bad id", strings.Replace(le, `container id="2d4a`, `container id="zzzz`, 1), CodeValue, "container.id"},
		{"no package", `<data xmlns="urn://egisso-ru/msg/10.06.S/2.0"/>`, CodeMissing, "package"},
		{"empty package", `<package xmlns="urn://egisso-ru/msg/10.06.S/2.0"><packageId>9be6a2d4-52f7-4c36-8a5d-7f2f5f0c1a10</packageId><elements/></package>`, CodeMissing, "elements"},
		{"unknown record", strings.ReplaceAll(facts, "errorsInvalidation", "errorsinvalidated"), CodeUnknown, "elements"},
		{"fact without id", strings.Replace(facts, "<uuid>7a1f0c52-4d1b-4c7e-9a6f-000000000001</uuid>", "", 1), CodeMissing, "fact.uuid"},
		{"fact twice", strings.Replace(facts, "000000000002</uuid>", "000000000001</uuid>", 1), CodeIDTwice, "fact.uuid"},
		{"bad amount", strings.Replace(facts, "14506.00", "14 506 руб.", 1), CodeValue, "assignmentInfo.amount"},
		{"bad date", strings.Replace(facts, "<dateStart>2026-02-01", "<dateStart>01.02.2026", 1), CodeTime, "fact.dateStart"},
		{"nobody", strings.NewReplacer("<mszReceiver>", "<r>", "</mszReceiver>", "</r>").Replace(facts), CodeMissing, "fact.mszReceiver"},
		{"no number of a receiver", strings.NewReplacer("<snils>", "<inn>", "</snils>", "</inn>").Replace(facts), CodeMissing, "mszReceiver.SNILS"},
	} {
		_, err := Parse(xmlHeader, []byte(c.text), testNow)
		var p *Problem
		if !errors.As(err, &p) || p.Code != c.code || p.Field != c.field {
			t.Errorf("%s: %v: %+v", c.name, err, p)
			continue
		}
		for _, secret := range []string{"zzzz", "506 руб", "01.02", "secret", "invalidated"} {
			if strings.Contains(p.Detail, secret) {
				t.Errorf("%s: repeats %q", c.name, secret)
			}
		}
	}
	headers := append(slices.Clone(xmlHeader), Header{"ekc_type", []byte(TypeFacts)})
	if _, err := Parse(headers, []byte(le), testNow); err == nil {
		t.Error("a header that says otherwise is believed")
	}
}
