package ingest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/fixtures"
	"ekc/smpp"
)

// Every event of the catalogue is in the samples, ends as one message, and says what its template says; disability's end and the
// examination, which wait for their day, have tests of their own (below, and mse-altai.xlsx).
func TestEveryEventEndsAsOneMessage(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	m, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	sample := m.Samples[slices.IndexFunc(m.Samples, func(s fixtures.Sample) bool { return s.File == "events.csv" })]
	file, err := sample.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := h.Submit(t.Context(), loader, listHeader(func(x *Header) { x.LegalBasis = disclosing }), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	table := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte("\ufeff"))))
	table.Comma = ';'
	rows, err := table.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	titles := rows[0]
	event := slices.Index(titles, "Код события")
	items, _ := seedCatalog()
	var texts bytes.Buffer
	for _, e := range items.LifeEvents(noon) {
		if !strings.HasPrefix(e.Code, "LE-") && e.LeadDays > 0 {
			continue
		}
		n := 0
		for i, row := range rows[1:] {
			if row[event] != e.Code {
				continue
			}
			n++
			if got := h.number(`SELECT count(*) FROM notifications WHERE row_no = $1`, i+2); got != 1 {
				t.Errorf("%s: %d notifications", e.Code, got)
			}
			preview, err := h.Preview(t.Context(), loader, ref.ID, i+2)
			if err != nil {
				t.Fatal(err)
			}
			text := preview.Text
			fmt.Fprintf(&texts, "%s %s\n", e.Code, text)
			if _, segments := smpp.Segments(text); segments > 2 || strings.Contains(text, "{{") || !strings.Contains(text, catalog.CentreNumber) {
				t.Errorf("%s: %s", e.Code, text)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d rows of the sample", e.Code, n)
		}
	}
	golden(t, "events.golden.txt", texts.Bytes())
}

// The end of a disability is told so many days ahead as the catalogue says, in the recipient's own days, and by its term.
func TestEndOfDisabilityIsToldAhead(t *testing.T) {
	t.Parallel()
	items, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	event, _ := items.LifeEvent("OP-01", noon)
	rules, err := items.Rules(noon)
	if err != nil {
		t.Fatal(err)
	}
	term, ok := rules.Term("OP-01")
	if !ok || event.LeadDays != 60 || term.Days != -14 {
		t.Fatalf("%d days ahead, term %+v", event.LeadDays, term)
	}
	ends := time.Date(2027, 3, 15, 0, 0, 0, 0, time.UTC)
	k := testChecker(t, "Телефон;ОКТМО;Код события;Дата события;Шаблон;Дата окончания")
	got := k.check(sheetRow{No: 2, Cells: []string{"9030000001", "01000000", "OP-01", ends.Format("02.01.2006"), "S-03", ends.Format("02.01.2006")}})
	barnaul := time.FixedZone("", 7*60*60)
	first := ends.AddDate(0, 0, -event.LeadDays).Add(-7 * time.Hour)
	by := ends.AddDate(0, 0, term.Days+1).Add(-7 * time.Hour) // the end of that day
	if len(got.messages) > 0 || !got.row.NotBefore.Equal(first) || !got.row.InformBy.Equal(by) || !strings.Contains(got.row.Content.Text, "истекает 15.03.2027") {
		t.Errorf("%+v: not before %s, want %s; by %s, want %s", got.messages, got.row.NotBefore.In(barnaul), first.In(barnaul), got.row.InformBy.In(barnaul), by.In(barnaul))
	}
}

func TestSamplesComeFromEveryTypeOfParticipant(t *testing.T) {
	t.Parallel()
	items, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	m, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, s := range m.Samples {
		a, ok := items.Agency(s.Agency, noon)
		if !ok {
			t.Errorf("%s: no agency %s", s.File, s.Agency)
			continue
		}
		types[a.Type] = types[a.Type] || s.Approve
	}
	for _, typ := range []string{"fund", "mse", "authority", "provider", "employment"} {
		if !types[typ] {
			t.Errorf("no list that is sent comes from a %s", typ)
		}
	}
}

// A list keeps the version of its template that was in force when it came, though another comes before it is checked.
func TestListKeepsTheVersionOfItsTemplate(t *testing.T) {
	t.Parallel()
	current, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t, func(c *Config) { c.Catalog = func() *catalog.Catalog { return current } })
	const file = "Телефон;Возраст\n9030000001;61\n"
	head := listHeader(func(x *Header) { x.Template = "S-07" })
	ref, err := h.Submit(t.Context(), loader, head, strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	next := &catalog.Template{Head: catalog.Head{Code: "S-07"}, Title: "Пенсия без визита", LifeEvent: "LE-03", Channel: "sms", Language: "ru",
		Body: "СФР: новый текст. 8-800-100-00-01"}
	if err := catalog.Validate(next); err != nil {
		t.Fatal(err)
	}
	current = current.With([]catalog.Item{next})
	h.checkAll()
	preview, err := h.Preview(t.Context(), loader, ref.ID, 2)
	if l := h.get(ref.ID); err != nil || l.TemplateVersion != 1 || !strings.Contains(preview.Text, "вам исполняется 61 год.") {
		t.Errorf("version %d: %s %v", l.TemplateVersion, preview.Text, err)
	}
	if l := h.load(head, "Телефон\n9030000002\n"); l.TemplateVersion != 2 || l.Accepted != 1 {
		t.Errorf("the next list: %+v", l)
	}
}
