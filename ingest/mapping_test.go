package ingest

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"ekc/catalog"
	"ekc/fixtures/corpus"
)

// mappingHub is a hub whose catalogue is what the database has at the moment.
func mappingHub(t *testing.T) *hub {
	t.Helper()
	h := newHub(t)
	if _, err := catalog.Seed(t.Context(), h.db); err != nil {
		t.Fatal(err)
	}
	h.cfg.Catalog = func() *catalog.Catalog {
		c, err := catalog.Load(t.Context(), h.db)
		if err != nil {
			t.Error(err)
		}
		return c
	}
	return h
}

func withMapping(columns map[string]string) func(*Header) {
	return func(h *Header) { h.Mapping = columns }
}

const (
	foreignTitles = "№;Контакт;Телефон;Кому;Сообщение\n"
	foreignFile   = foreignTitles + "1;+7 903 000-00-01;8 495 000-00-00;Иванова Мария;СФР: выплата назначена.\n"
)

var foreignMapping = map[string]string{"Контакт": "Телефон", "Телефон": "", "Кому": "full_name", "Сообщение:": "text"}

func TestMappingIsRememberedWithTheFirstListThatIsReady(t *testing.T) {
	t.Parallel()
	h := mappingHub(t)
	l := h.load(listHeader(withMapping(foreignMapping)), foreignFile)
	if l.State != Ready || l.Accepted != 1 || l.Warnings != 0 {
		t.Fatalf("%s: %s %+v", l.State, l.StateReason, h.protocol(l).ErrorRecords)
	}
	want := []Column{{1, "", "", false}, {2, "Контакт", "phone", true}, {3, "Телефон", "", true}, {4, "Кому", "full_name", true}, {5, "Сообщение", "text", true}}
	got := h.protocol(l)
	for i := range want {
		if got.Columns[i] != want[i] {
			t.Errorf("column %d: %+v, want %+v", i+1, got.Columns[i], want[i])
		}
	}
	if len(got.Missing) == 0 || strings.Contains(strings.Join(got.Missing, " "), "full_name") {
		t.Errorf("missing %v", got.Missing)
	}
	// The next list needs no word, however its titles are written; the memory is the agency's alone.
	l = h.load(listHeader(), strings.Replace(foreignFile, "Контакт;Телефон;Кому", "КОНТАКТ:;телефон;кому", 1)+"2;9030000002;;Ли;СФР: ждём.\n")
	if l.State != Ready || l.Accepted != 2 {
		t.Errorf("%s: %s", l.State, l.StateReason)
	}
	if _, err := h.Check(t.Context(), stranger, listHeader(), strings.NewReader("Контакт;Сообщение\n9030000001;текст\n")); !errors.Is(err, ErrNoPhoneColumn) {
		t.Errorf("another agency's mapping is used: %v", err)
	}
	m, ok := h.cfg.Catalog().Mapping(agency, noon)
	if !ok || m.Version != 1 || m.CreatedBy != loader.Account || m.Columns["Контакт"] != "phone" || len(m.Columns) != 4 {
		t.Errorf("%+v", m)
	}
	if n := h.number(`SELECT count(*) FROM journal WHERE kind = 'catalog.changed' AND actor = 'loader' AND agency = $1`, agency); n != 1 {
		t.Errorf("%d entries tell of the mapping", n)
	}
}

func TestMappingHasVersionsAndEveryListKeepsItsOwn(t *testing.T) {
	t.Parallel()
	h := mappingHub(t)
	first := h.load(listHeader(withMapping(foreignMapping)), foreignFile)
	// Said once more, nothing new is written; said otherwise, a version is.
	h.load(listHeader(withMapping(foreignMapping)), foreignFile+"2;9030000002;;Ли;СФР: ждём.\n")
	l := h.load(listHeader(withMapping(map[string]string{"КОМУ": "", "Получатель": "full_name"})),
		"Контакт;Кому;Получатель;Сообщение\n9030000003;отдел;Ким;СФР: ждём.\n")
	if l.State != Ready {
		t.Fatalf("%s: %s", l.State, l.StateReason)
	}
	m, _ := h.cfg.Catalog().Mapping(agency, noon)
	want := map[string]string{"Контакт": "phone", "Телефон": "", "Сообщение:": "text", "КОМУ": "", "Получатель": "full_name"}
	if m.Version != 2 || !maps.Equal(m.Columns, want) {
		t.Errorf("version %d: %v", m.Version, m.Columns)
	}
	p, err := h.Preview(t.Context(), loader, first.ID, 2)
	if err != nil || p.Text != "СФР: выплата назначена." || !p.Accepted {
		t.Errorf("the first list is read by another mapping now: %+v, %v", p, err)
	}
}

func TestMappingOfARejectedListIsForgottenAndMayBeMended(t *testing.T) {
	t.Parallel()
	h := mappingHub(t)
	l := h.load(listHeader(withMapping(map[string]string{"Кому": "full_name"})), foreignTitles+"1;9030000001;1;Ли;т\n")
	if l.State != Rejected { // «Телефон» of the file is no citizen's
		t.Fatalf("%s", l.State)
	}
	if _, ok := h.cfg.Catalog().Mapping(agency, noon); ok {
		t.Error("the mapping of a rejected list is remembered")
	}
	if p := h.protocol(l); len(p.Columns) != 5 || p.Columns[3].Name != "full_name" {
		t.Errorf("%+v", p.Columns)
	}
	_, err := h.Replace(t.Context(), loader, l.ID, Header{Mapping: map[string]string{"Контакт": "phone", "Телефон": "", "Сообщение": "text"}}, strings.NewReader(foreignFile))
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if l = h.get(l.ID); l.State != Ready || l.Accepted != 1 {
		t.Fatalf("%s: %s", l.State, l.StateReason)
	}
	if m, ok := h.cfg.Catalog().Mapping(agency, noon); !ok || len(m.Columns) != 4 {
		t.Errorf("%+v", m)
	}
}

func TestColumnFaultsComeTogetherAndBeforeRows(t *testing.T) {
	t.Parallel()
	s := dryService(t)
	for name, c := range map[string]struct {
		mapping map[string]string
		file    string
		want    *Fault
		words   []string // of the sentence
	}{
		"not in the file":      {map[string]string{"Контакт": "phone", "Адрес": "oktmo"}, "Контакт;Текст\n1;т\n", ErrMappedTitle, []string{"«Адрес»"}},
		"all at once":          {map[string]string{"Адрес": "oktmo"}, "СНИЛС;Имя;снилс.\n1;2;3\n", ErrColumnTwice, []string{"«Адрес»", "«СНИЛС» встречается дважды (столбцы 1 и 3)", "Нет столбца с телефоном"}},
		"two for one":          {map[string]string{"Контакт": "phone"}, "Контакт;Телефон;Текст\n1;2;т\n", ErrColumnTwice, []string{"столбцы 1 и 2"}},
		"no name of ours":      {map[string]string{"Контакт": "telefon"}, "Контакт;Текст\n1;т\n", ErrMapping, nil},
		"no title":             {map[string]string{" - ": "phone"}, "Контакт;Текст\n1;т\n", ErrMapping, nil},
		"a person for a title": {map[string]string{"+7 903 123-45-67": "phone"}, "Телефон;Текст\n1;т\n", ErrMapping, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := dry(t, s, listHeader(withMapping(c.mapping)), []byte(c.file))
			wantFault(t, err, c.want)
			var fault *Fault
			if !errors.As(err, &fault) {
				return
			}
			for _, w := range c.words {
				if !strings.Contains(fault.Detail, w) {
					t.Errorf("no %q in %q", w, fault.Detail)
				}
			}
		})
	}
	if _, err := s.SubmitJSON(t.Context(), loader, listHeader(withMapping(foreignMapping)), []InputRow{{Phone: "9030000001"}}); !errors.Is(err, ErrHeaderField) {
		t.Errorf("rows with our names take a mapping: %v", err)
	}
	if _, err := s.CheckJSON(t.Context(), loader, listHeader(withMapping(foreignMapping)), []InputRow{{Phone: "9030000001"}}); !errors.Is(err, ErrHeaderField) {
		t.Errorf("rows with our names are checked with a mapping: %v", err)
	}
}

func TestTitlesThatMayBePeopleAreNotInTheProtocol(t *testing.T) {
	t.Parallel()
	s := dryService(t)
	run, err := dry(t, s, listHeader(), []byte("Тел.;+7 903 123-45-67;Иванова Мария;Дата назначения\n9030000001;;;\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"Тел.", "", "", "Дата назначения"} { // the last fills a template
		if got := run.Protocol.Columns[i]; got.Title != want || got.No != i+1 {
			t.Errorf("column %d: %+v, want %q", i+1, got, want)
		}
	}
}

func TestNotesTellWhatWasPassedOver(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for name, word := range map[string]string{"hidden-rows.xlsx": "Скрытых строк пропущено: 2.", "second-sheet.xlsx": "других видимых листов: 1."} {
		f, err := corpus.Make(name, corpusSeed)
		if err != nil {
			t.Fatal(err)
		}
		l := h.load(listHeader(), string(f.Bytes))
		p := h.protocol(l)
		if len(p.Notes) != 1 || !strings.Contains(p.Notes[0].Report, word) {
			t.Errorf("%s: %+v", name, p.Notes)
		}
		var whole strings.Builder
		if err := h.WriteProtocol(t.Context(), loader, l.ID, &whole); err != nil || !strings.Contains(whole.String(), word) {
			t.Errorf("%s: not in the whole protocol, %v", name, err)
		}
	}
}
