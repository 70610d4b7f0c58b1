package egisso

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/ingest"
)

var testNow = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)

const listID = "5f1c8e1e-8a30-4a5b-9a58-1f6f6f1d9c11"

// structured is a message around the data.
func structured(kind, data string) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":"m-1","source":"0001.000001","type":%q,"time":"2026-11-25T08:00:00Z","datacontenttype":"application/json","data":%s}`, kind, data)
}

func onePart(fields, rows string) []byte {
	return structured(TypePart, `{"list_id":"`+listID+`","part":1,"parts":1,`+fields+`"rows":[`+rows+`]}`)
}

func mustParse(t *testing.T, value []byte) *Message {
	t.Helper()
	m, err := Parse(nil, value, testNow)
	if err != nil {
		t.Fatalf("%v: %+v", err, err)
	}
	return m
}

func TestPartIsReadWhole(t *testing.T) {
	t.Parallel()
	m := mustParse(t, structured(TypePart, `{"list_id":"`+listID+`","part":2,"parts":3,"name":"Пенсионный возраст","life_event":"LE-03","template":"S-07",
		"channels":["voice","sms"],"legal_basis":{"code":"PP-1994","document":"ПП РФ № 1994","date":"2020-12-03"},"ordered_by":"письмо 12","priority":"urgent",
		"valid_until":"2026-12-31","not_before":"2026-12-01T09:00:00+03:00","inform_by":null,
		"rows":[{"external_id":"A-1","phone":"+79030000001","phones":["89030000002"],"snils":"00000100002","family_name":"О","first_name":"Ян","patronymic":null,
			"birth_date":"1966-01-02","oktmo":"45000000","life_event":"LE-04","event_date":"2026-12-05","measure":"M-006","language":"ru","template":"S-21",
			"channels":["sms"],"valid_until":"2026-12-30T10:00:00Z","not_before":"2026-12-02","inform_by":"2026-12-20",
			"data":{"Сумма":14506.50,"Лет":60,"Льгота":true,"Надбавка":false,"Имя":"Ян","Пусто":null},"ext":{"b":1,"a":[2]}},
			{"external_id":"A-2","text":"СФР: выплата назначена."}]}`))
	p := m.Part
	if m.ID != "m-1" || m.Source != "0001.000001" || m.Type != TypePart || !m.Time.Equal(time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)) || m.Cancel != nil {
		t.Errorf("%+v", m)
	}
	h := p.Header
	if p.ListID.String() != listID || p.Part != 2 || p.Parts != 3 || h.Name != "Пенсионный возраст" || h.LifeEvent != "LE-03" || h.Template != "S-07" ||
		!slices.Equal(h.Channels, []string{"voice", "sms"}) || *h.LegalBasis != (catalog.LegalBasis{Code: "PP-1994", Document: "ПП РФ № 1994", Date: "2020-12-03"}) ||
		h.OrderedBy != "письмо 12" || h.Priority != "urgent" || h.ValidUntil.Day.String() != "2026-12-31" || h.NotBefore.At.UTC().Hour() != 6 || !h.InformBy.IsZero() {
		t.Errorf("%+v", p)
	}
	want := ingest.InputRow{ExternalID: "A-1", Phone: "+79030000001", Phones: []string{"89030000002"}, SNILS: "00000100002", FamilyName: "О", FirstName: "Ян",
		BirthDate: "1966-01-02", OKTMO: "45000000", LifeEvent: "LE-04", EventDate: "2026-12-05", Measure: "M-006", Language: "ru", Template: "S-21",
		Channels: []string{"sms"}, ValidUntil: "2026-12-30T10:00:00Z", NotBefore: "2026-12-02", InformBy: "2026-12-20",
		Data: map[string]string{"Сумма": "14506,5", "Лет": "60", "Льгота": "да", "Надбавка": "нет", "Имя": "Ян"}, Ext: []byte(`{"a":[2],"b":1}`)}
	if got := fmt.Sprintf("%+v", p.Rows[0]); got != fmt.Sprintf("%+v", want) || p.Rows[1].Text != "СФР: выплата назначена." || p.Row(1) != 1002 {
		t.Errorf("%s\n%+v", got, want)
	}
}

func TestBinaryModeSaysTheSame(t *testing.T) {
	t.Parallel()
	data := `{"list_id":"` + listID + `","part":1,"parts":1,"rows":[{"external_id":"1"}]}`
	headers := []Header{{"ce_specversion", []byte("1.0")}, {"ce_id", []byte("m-1")}, {"ce_source", []byte("0001.000001")}, {"ce_type", []byte(TypePart)},
		{"content-type", []byte("application/json; charset=utf-8")}, {"ce_traceparent", []byte("00-1")}, {"other", []byte{0xFF}}}
	b, err := Parse(headers, []byte(data), testNow)
	if err != nil {
		t.Fatal(err)
	}
	s := mustParse(t, structured(TypePart, data))
	if b.Part.Digest != s.Part.Digest || b.ID != s.ID || b.Source != s.Source {
		t.Errorf("%+v, %+v", b, s)
	}
	if _, err = Parse([]Header{{"content-type", []byte("application/cloudevents+json; charset=UTF-8")}}, structured(TypePart, data), testNow); err != nil {
		t.Error(err)
	}
}

func TestDigestsAreOfWhatIsSaid(t *testing.T) {
	t.Parallel()
	digests := func(data string) (d, h [32]byte) {
		p := mustParse(t, structured(TypePart, data)).Part
		return p.Digest, p.HeaderDigest
	}
	d1, h1 := digests(`{"list_id":"` + listID + `","part":1,"parts":2,"name":"а","rows":[{"external_id":"1","ext":{"n":1.50}}]}`)
	d2, h2 := digests(` { "rows":[ {"ext":{"n":1.5},"external_id":"\u0031"} ], "parts":2, "name":"а", "part":1, "list_id":"` + listID + `"}`)
	d3, h3 := digests(`{"list_id":"` + listID + `","part":2,"parts":2,"name":"а","rows":[{"external_id":"2"}]}`)
	d4, h4 := digests(`{"list_id":"` + listID + `","part":2,"parts":2,"name":"б","rows":[{"external_id":"2"}]}`)
	if d1 != d2 || h1 != h2 || d1 == d3 || h1 != h3 || d3 == d4 || h3 == h4 {
		t.Error("digests differ for one content, or agree for two")
	}
}

func TestFaultsAreToldWithTheirPlaceAndNeverWithAValue(t *testing.T) {
	t.Parallel()
	const row = `{"external_id":"1"}`
	part := func(field, with string) []byte { // a good part with one field in another way
		return structured(TypePart, strings.Replace(`{"list_id":"`+listID+`","part":1,"parts":1,"rows":[`+row+`]}`, field, with, 1))
	}
	cancel := func(data string) []byte {
		return structured(TypeCancel, `{"list_id":"`+listID+`","occurred_at":"2026-11-24T10:00:00Z",`+data+`}`)
	}
	long := strings.Repeat("й", 5000)
	for _, c := range []struct {
		name        string
		value       []byte
		code, field string
		row         int
	}{
		{"no object", []byte(`[]`), CodeKind, "", 0},
		{"misspelt attribute", []byte(`{"specversion":"1.0","id":"1","source":"0001.000001","type":"ekc.list.part.v1","Data":{}}`), CodeUnknown, "", 0},
		{"no attributes", []byte(`{"data":{}}`), CodeMissing, "specversion", 0},
		{"no data", []byte(`{"specversion":"1.0","id":"1","source":"0001.000001","type":"ekc.list.part.v1"}`), CodeMissing, "data", 0},
		{"base64", []byte(`{"specversion":"1.0","id":"1","source":"0001.000001","type":"ekc.list.part.v1","data_base64":"e30="}`), CodeUnknown, "data_base64", 0},
		{"version", []byte(`{"specversion":"0.3","id":"1","source":"0001.000001","type":"ekc.list.part.v1","data":{}}`), CodeVersion, "specversion", 0},
		{"type", structured("ekc.list.part.v2", `{}`), CodeType, "type", 0},
		{"type of ours", structured(ingest.EventStatus, `{}`), CodeType, "type", 0},
		{"source", []byte(`{"specversion":"1.0","id":"1","source":"СФР","type":"ekc.list.part.v1","data":{}}`), CodeSource, "source", 0},
		{"id of a person", []byte(`{"specversion":"1.0","id":"89031234567","source":"0001.000001","type":"ekc.list.part.v1","data":{}}`), CodePersonal, "id", 0},
		{"id is a number", []byte(`{"specversion":"1.0","id":7,"source":"0001.000001","type":"ekc.list.part.v1","data":{}}`), CodeKind, "id", 0},
		{"data content type", []byte(`{"specversion":"1.0","id":"7","source":"0001.000001","type":"ekc.list.part.v1","datacontenttype":"text/csv","data":{}}`), CodeContentType, "datacontenttype", 0},
		{"time", []byte(`{"specversion":"1.0","id":"7","source":"0001.000001","type":"ekc.list.part.v1","time":"25.11.2026","data":{}}`), CodeTime, "time", 0},
		{"time to come", []byte(`{"specversion":"1.0","id":"7","source":"0001.000001","type":"ekc.list.part.v1","time":"2027-11-25T00:00:00Z","data":{}}`), CodeTime, "time", 0},
		{"data is a list", structured(TypePart, `[]`), CodeKind, "data", 0},
		{"no list", part(`"list_id":"`+listID+`",`, ``), CodeMissing, "list_id", 0},
		{"list is no UUID", part(listID, `17`), CodeValue, "list_id", 0},
		{"list is nobody's", part(listID, `00000000-0000-0000-0000-000000000000`), CodeValue, "list_id", 0},
		{"braces", part(listID, `{`+listID+`}`), CodeValue, "list_id", 0},
		{"part 3 of 2", part(`"part":1,"parts":1`, `"part":3,"parts":2`), CodePart, "part", 0},
		{"part 0", part(`"part":1`, `"part":0`), CodePart, "part", 0},
		{"part in quotes", part(`"part":1`, `"part":"1"`), CodeKind, "part", 0},
		{"half a part", part(`"part":1`, `"part":1.5`), CodeKind, "part", 0},
		{"too many parts", part(`"parts":1`, `"parts":10001`), CodePart, "part", 0},
		{"misspelt field", part(`"rows"`, `"lifeevent":"LE-03","rows"`), CodeUnknown, "", 0},
		{"priority", part(`"rows"`, `"priority":"high","rows"`), CodeValue, "priority", 0},
		{"channels", part(`"rows"`, `"channels":["СМС"],"rows"`), CodeValue, "channels", 0},
		{"channel twice", part(`"rows"`, `"channels":["sms","sms"],"rows"`), CodeValue, "channels", 0},
		{"valid until", part(`"rows"`, `"valid_until":"31.12.2026","rows"`), CodeTime, "valid_until", 0},
		{"no zone", part(`"rows"`, `"valid_until":"2026-12-31T10:00:00","rows"`), CodeTime, "valid_until", 0},
		{"basis", part(`"rows"`, `"legal_basis":{"code":"x","document":"y"},"rows"`), CodeMissing, "legal_basis.date", 0},
		{"basis date", part(`"rows"`, `"legal_basis":{"code":"x","document":"y","date":"03.12.2020"},"rows"`), CodeTime, "legal_basis.date", 0},
		{"basis field", part(`"rows"`, `"legal_basis":{"code":"x","document":"y","date":"2020-12-03","no":1},"rows"`), CodeUnknown, "legal_basis", 0},
		{"name of a person", part(`"rows"`, `"name":"для 8 903 123-45-67","rows"`), CodePersonal, "name", 0},
		{"long name", part(`"rows"`, `"name":"`+long+`","rows"`), CodeLong, "name", 0},
		{"no rows", part(row, ``), CodeTooMany, "rows", 0},
		{"rows are one", part(`[`+row+`]`, row), CodeKind, "rows", 0},
		{"too many rows", part(row, strings.Repeat(row+",", MaxRows)+row), CodeTooMany, "rows", 0},
		{"row is a list", onePart("", row+`,[]`), CodeKind, "rows", 2},
		{"no external id", onePart("", row+`,{"phone":"+79030000001"}`), CodeMissing, "rows.external_id", 2},
		{"empty external id", onePart("", `{"external_id":""}`), CodeMissing, "rows.external_id", 1},
		{"external id is a number", onePart("", `{"external_id":17}`), CodeKind, "rows.external_id", 1},
		{"long external id", onePart("", `{"external_id":"`+strings.Repeat("й", 65)+`"}`), CodeLong, "rows.external_id", 1},
		{"phone as external id", onePart("", row+`,`+row[:len(row)-3]+`2"},{"external_id":"8-903-123-45-67"}`), CodeIDPersonal, "rows.external_id", 3},
		{"SNILS as external id", onePart("", `{"external_id":"112-233-445 95"}`), CodeIDPersonal, "rows.external_id", 1},
		{"control in external id", onePart("", `{"external_id":"a\u0000b"}`), CodeIDForm, "rows.external_id", 1},
		{"external id twice", onePart("", row+`,`+row), CodeIDTwice, "rows.external_id", 2},
		{"misspelt field of a row", onePart("", `{"external_id":"1","fone":"89031234567"}`), CodeUnknown, "rows", 1},
		{"field of the list in a row", onePart("", `{"external_id":"1","priority":"bulk"}`), CodeUnknown, "rows", 1},
		{"phone is a number", onePart("", `{"external_id":"1","phone":89031234567}`), CodeKind, "rows.phone", 1},
		{"four phones", onePart("", `{"external_id":"1","phone":"1","phones":["2","3","4"]}`), CodeTooMany, "rows.phones", 1},
		{"no phones", onePart("", `{"external_id":"1","phones":[null]}`), CodeKind, "rows.phones", 1},
		{"long text", onePart("", `{"external_id":"1","text":"`+long+`"}`), CodeLong, "rows.text", 1},
		{"data in data", onePart("", `{"external_id":"1","data":{"a":{}}}`), CodeKind, "rows.data", 1},
		{"data is a list", onePart("", `{"external_id":"1","data":["a"]}`), CodeKind, "rows.data", 1},
		{"ext is a word", onePart("", `{"external_id":"1","ext":"a"}`), CodeKind, "rows.ext", 1},
		{"long ext", onePart("", `{"external_id":"1","ext":{"a":"`+long+`"}}`), CodeLong, "rows.ext", 1},
		{"cancel of nothing", cancel(`"reason":"death"`), CodeCancel, "external_ids", 0},
		{"cancel of all and some", cancel(`"reason":"death","all":true,"external_ids":["1"]`), CodeCancel, "external_ids", 0},
		{"cancel for no reason", cancel(`"all":true`), CodeMissing, "reason", 0},
		{"cancel for another reason", cancel(`"all":true,"reason":"так надо"`), CodeValue, "reason", 0},
		{"cancel in quotes", cancel(`"all":"true","reason":"death"`), CodeKind, "all", 0},
		{"cancel of a phone", cancel(`"external_ids":["+79031234567"],"reason":"death"`), CodeIDPersonal, "external_ids", 0},
		{"cancel twice", cancel(`"external_ids":["1","1"],"reason":"death"`), CodeIDTwice, "external_ids", 0},
		{"cancel, misspelt", cancel(`"external_id":["1"],"reason":"death"`), CodeUnknown, "", 0},
		{"over the size", onePart("", `{"external_id":"1","text":"`+strings.Repeat("x", MaxMessage)+`"}`), CodeTooLarge, "", 0},
	} {
		m, err := Parse(nil, c.value, testNow)
		var p *Problem
		if m != nil || !errors.As(err, &p) {
			t.Errorf("%s: %v, %v", c.name, m, err)
			continue
		}
		if p.Code != c.code || p.Field != c.field || p.Row != c.row {
			t.Errorf("%s: %s in %q, row %d: %s", c.name, p.Code, p.Field, p.Row, p.Detail)
		}
		for _, one := range append([]*Problem{p}, p.Others...) {
			for _, secret := range []string{"1234567", "123-45-67", "445 95", "СФР", "так надо", "fone", "lifeevent", "high", "йййй"} {
				if strings.Contains(one.Detail+one.Field+one.Error(), secret) {
					t.Errorf("%s: repeats %q", c.name, secret)
				}
			}
		}
	}
}

func TestEveryFaultOfAMessageIsTold(t *testing.T) {
	t.Parallel()
	_, err := Parse(nil, onePart(`"priority":"x","surname":1,`, `{"external_id":"1","fone":"2"},{"external_id":"1"},{}`), testNow)
	var p *Problem
	if !errors.As(err, &p) || len(p.Others) != 4 {
		t.Fatalf("%+v", err)
	}
	if p.Others[3].Row != 3 || p.Others[3].Detail != "Строка 3, поле external_id: Обязательно: это имя строки во всех ответах." {
		t.Errorf("%+v", p.Others[3])
	}
	many := bytes.TrimSuffix(bytes.Repeat([]byte(`{},`), MaxRows), []byte(","))
	_, err = Parse(nil, onePart("", string(many)), testNow)
	if !errors.As(err, &p) || len(p.Others) != maxProblems-1 {
		t.Errorf("%d more", len(p.Others))
	}
}

func TestOnlyOneWayOfHeadersIsTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers []Header
		code    string
	}{
		"batch":       {[]Header{{"content-type", []byte("application/cloudevents-batch+json")}}, CodeContentType},
		"text":        {[]Header{{"content-type", []byte("text/plain")}, {"ce_specversion", []byte("1.0")}}, CodeContentType},
		"plain JSON":  {[]Header{{"content-type", []byte("application/json")}}, CodeContentType},
		"id twice":    {[]Header{{"ce_specversion", []byte("1.0")}, {"ce_id", []byte("1")}, {"ce_id", []byte("2")}}, CodeHeaderTwice},
		"bad UTF-8":   {[]Header{{"ce_id", []byte{0xFF}}}, CodeUTF8},
		"missing id":  {[]Header{{"ce_specversion", []byte("1.0")}, {"ce_source", []byte("0001.000001")}, {"ce_type", []byte(TypePart)}}, CodeMissing},
		"unknown XML": {[]Header{{"content-type", []byte("application/xml")}, {"ekc_type", []byte("10.01.O")}}, CodeXMLType},
	} {
		value := []byte(`{}`)
		if name == "unknown XML" {
			value = []byte(`<a/>`)
		}
		_, err := Parse(c.headers, value, testNow)
		var p *Problem
		if !errors.As(err, &p) || p.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventIsOnePartOfFewRows(t *testing.T) {
	t.Parallel()
	if err := (&Part{Parts: 1, Rows: make([]ingest.InputRow, MaxEventRows)}).CheckEvent(); err != nil {
		t.Error(err)
	}
	for _, p := range []*Part{{Parts: 2}, {Parts: 1, Rows: make([]ingest.InputRow, MaxEventRows+1)}} {
		var problem *Problem
		if err := p.CheckEvent(); !errors.As(err, &problem) || problem.Code != CodeNotEvent {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
