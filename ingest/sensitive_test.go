package ingest

import (
	"strings"
	"testing"

	"ekc/catalog"
)

// A text that speaks of health leaves under a basis that allows it; under any other, or none, the neutral one leaves, and the row says so.
func TestSensitiveTextLeavesOnlyUnderABasisThatAllowsIt(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const file = "Телефон;Шаблон;Дата окончания\n+79030000001;S-03;15.03.2027\n"
	for _, c := range []struct {
		name  string
		basis *catalog.LegalBasis
		open  bool
	}{{"that allows it", disclosing, true}, {"another", basis, false}, {"none", nil, false}} {
		l := h.load(listHeader(func(x *Header) { x.LegalBasis, x.Name = c.basis, c.name }), file+strings.Repeat("\n", len(c.name)))
		shown, err := h.Preview(t.Context(), loader, l.ID, 2)
		if err != nil || !shown.Accepted {
			t.Fatalf("%s: %+v, %v", c.name, shown, err)
		}
		sent := h.contents(l)
		if len(sent) != 1 || sent[0].Text != shown.Text || strings.Contains(shown.Text, "инвалидности") != c.open || (shown.Template == "S-03") != c.open {
			t.Errorf("%s: %s of %s, %+v", c.name, shown.Text, shown.Template, sent)
		}
		if said := h.said(l); strings.Contains(said, "138") == c.open {
			t.Errorf("%s: %s", c.name, said)
		}
		if _, err := h.Refuse(t.Context(), approver, l.ID, "проверка"); err != nil {
			t.Fatal(err)
		}
	}
}

// A text of the sender's own is held to the same: what it says of health leaves only under a basis that allows it, a sum is warned of.
func TestARowsOwnTextDisclosesNothingWithoutABasis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text     string
		basis          *catalog.LegalBasis
		want, template string
	}{
		{"health", "МСЭ: срок инвалидности истекает 15.03.2027.", basis, "142:text", ""},
		{"health, no basis", "МСЭ: срок инвалидности истекает 15.03.2027.", nil, "142:text", ""},
		{"health, allowed", "МСЭ: срок инвалидности истекает 15.03.2027.", disclosing, "", ""},
		{"a sum", "СФР: вам перечислено 5000 руб.", basis, "143:text", ""},
		{"a sum, allowed", "СФР: вам перечислено 5000 руб.", disclosing, "", ""},
		{"a link is never allowed", "СФР: sfr.gov.ru", disclosing, "140:text", ""},
		{"neither", "СФР: ждём вас 15.03.2027.", basis, "", ""},
		{"a template filled in", "МСЭ: срок инвалидности истекает 15.03.2027.", nil, "", "S-03"}, // a test sending: judged where it was taken
	} {
		k := testChecker(t, "Телефон;Текст", func(k *checker) {
			k.envelope.LegalBasis = c.basis
			if c.template != "" {
				k.template, _ = k.catalog.FindTemplate(c.template, noon)
				k.filled = true
			}
		})
		got := k.check(sheetRow{No: 2, Cells: []string{"9030000001", c.text}})
		if codes(got.messages) != c.want || got.ok != (c.want == "" || c.want == "143:text") {
			t.Errorf("%s: taken %v, %q, want %q", c.name, got.ok, codes(got.messages), c.want)
		}
	}
}

// Without a twin that may be sent the row is refused. The catalogue demands one, but it may end before its template does.
func TestSensitiveRowWithoutATwinIsRefused(t *testing.T) {
	t.Parallel()
	k := testChecker(t, "Телефон;Шаблон;Дата окончания", func(k *checker) {
		k.envelope.LegalBasis = basis
		k.pinned = pinned(k.catalog, agency, noon)
		delete(k.pinned, "S-00")
	})
	row := sheetRow{No: 2, Cells: []string{"9030000001", "S-03", "15.03.2027"}}
	if got := k.check(row); got.ok || codes(got.messages) != "137:template" {
		t.Errorf("taken %v: %s", got.ok, codes(got.messages))
	}
	k = testChecker(t, "Телефон;Шаблон;Дата окончания", func(k *checker) { k.envelope.LegalBasis = basis })
	if got := k.check(row); !got.ok || codes(got.messages) != "138:template" || got.row.Template != "S-00" {
		t.Errorf("taken %v: %s, %s", got.ok, codes(got.messages), got.row.Template)
	}
}

// A template that a row names is the one that was in force when the list came, whatever has become of it before the check.
func TestRowsKeepTheVersionsOfTheirTemplates(t *testing.T) {
	t.Parallel()
	current, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t, func(c *Config) { c.Catalog = func() *catalog.Catalog { return current } })
	ref, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader("Телефон;Возраст;Шаблон\n9030000001;61;S-07\n9030000002;61;Пенсия и звёзды\n9030000003;61;S-77\n"+
		"9030000004;61;S-07\n"))
	if err != nil {
		t.Fatal(err)
	}
	items := []catalog.Item{
		&catalog.Template{Head: catalog.Head{Code: "S-07"}, Title: "Пенсия и звёзды", LifeEvent: "LE-03", Channel: "sms", Language: "ru", Body: "СФР: новый текст. 8-800-100-00-01"},
		&catalog.Template{Head: catalog.Head{Code: "S-77"}, Title: "Новый", Channel: "sms", Language: "ru", Body: "СФР: новый текст. 8-800-100-00-01"},
	}
	for _, item := range items {
		if err := catalog.Validate(item); err != nil {
			t.Fatal(err)
		}
	}
	current = current.With(items)
	h.checkAll()
	l := h.get(ref.ID)
	shown, err := h.Preview(t.Context(), loader, l.ID, 2)
	if err != nil || !strings.Contains(shown.Text, "исполняется 61 год") || h.said(l) != "3 110, 4 110" {
		t.Errorf("%s; %s, %v", shown.Text, h.said(l), err)
	}
	if l = h.load(listHeader(), "Телефон;Шаблон\n9030000005;Пенсия и звёзды\n9030000006;S-77\n"); l.Accepted != 2 {
		t.Errorf("the next list: %s", h.said(l))
	}
}
