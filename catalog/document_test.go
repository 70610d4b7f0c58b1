package catalog

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func seedDocument(t testing.TB) string {
	t.Helper()
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	document, err := FormatDocument(items)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

func TestDocumentIsReadBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	document := seedDocument(t)
	items, err := ParseDocument([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := SeedItems()
	if len(items) != len(seed) {
		t.Fatalf("%d items of %d", len(items), len(seed))
	}
	if changes := New(seed).Changes(items); len(changes) > 0 {
		t.Errorf("%d items differ: %+v", len(changes), changes[0])
	}
	if again, err := FormatDocument(items); err != nil || string(again) != document {
		t.Errorf("written again it differs, %v", err)
	}
	// What looks like a number, a date or a word of YAML stays a text; what comes into force within a day keeps its instant.
	odd := &Template{Head: Head{Code: "1e3", Agency: "0001.000001", From: time.Date(2027, 1, 2, 3, 4, 5, 6000, time.UTC), To: day("2028-01-01"), Unverified: true}, Title: "no",
		Channel: "sms", Language: "ru", Body: "да:\n\"{{ Дата | default «2027-01-01» }}\" \\ # <&> 'x' \U0001F389", Params: []Param{{Name: "Дата", Example: "0x10"}}}
	if err := Validate(odd); err != nil {
		t.Fatal(err)
	}
	one, err := FormatDocument([]Item{odd})
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseDocument(one)
	if err != nil || len(back) != 1 || !sameItem(back[0], odd) || back[0].Header().Code != "1e3" {
		t.Errorf("%v\n%s", err, one)
	}
}

func TestParseDocumentRefuses(t *testing.T) {
	t.Parallel()
	const good = "- {code: X, title: т, channel: sms, language: ru, body: да}"
	if items, err := ParseDocument([]byte(good)); err != nil || len(items) != 1 || items[0].Kind() != KindTemplate {
		t.Errorf("a bare list of templates: %v %v", items, err)
	}
	for name, tt := range map[string]struct{ document, want string }{
		"empty":             {"", "EOF"},
		"not YAML":          {"a: [", "line"},
		"a text":            {"да", "cannot unmarshal"},
		"two documents":     {good + "\n---\n" + good, "more than one"},
		"unknown kind":      {"tariff: [{code: X}]", "unknown kind"},
		"unknown field":     {"measure: [{code: X, name: Икс, colour: red}]", "colour"},
		"kind twice":        {"measure: [{code: X, name: Икс}]\nmeasure: []", "already defined"},
		"wrong and told":    {"template:\n" + good + "\n- {code: Y, title: т, channel: sms, language: ru, body: '{{'}", "Скобки"},
		"unquoted day":      {"measure: [{code: X, name: Икс, effective_from: 2027-01-01}]", "in quotes"},
		"day and nothing":   {"measure: [{code: X, name: Икс, effective_from: завтра}]", "want a day"},
		"bomb of aliases":   {bomb(), "line 2: an alias"},
		"too large":         {strings.Repeat("#", MaxDocument+1), "may be read"},
		"keys of any kind":  {"measure: [{code: X, name: Икс, how: {1: 2}}]", "unsupported type"},
		"item is no object": {"measure: [X]", "cannot unmarshal"},
	} {
		if _, err := ParseDocument([]byte(tt.document)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var invalid *InvalidError
	if _, err := ParseDocument([]byte("template: [{code: Y, title: т, channel: sms, language: ru, body: '{{'}]")); !errors.As(err, &invalid) || invalid.Code != "Y" {
		t.Errorf("an invalid item: %v", err)
	}
}

// bomb is a thousand million texts in a few lines.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		one, next := string(rune('0'+i)), string(rune('1'+i))
		b.WriteString("a" + next + ": &a" + next + " [" + strings.TrimSuffix(strings.Repeat("*a"+one+", ", 10), ", ") + "]\n")
	}
	return b.String()
}

func FuzzParseDocument(f *testing.F) {
	f.Add("- {code: X, title: т, channel: sms, language: ru, body: да}")
	f.Add("measure: [{code: X, name: Икс, effective_from: \"2027-01-01\"}, {code: X, name: Игрек}]\nrule: []")
	f.Fuzz(func(t *testing.T, document string) {
		items, err := ParseDocument([]byte(document))
		if err != nil {
			return
		}
		one, err := FormatDocument(items)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 0 {
			return
		}
		again, err := ParseDocument(one)
		if err != nil || len(again) != len(items) {
			t.Fatalf("%d items of %d come back, %v\n%s", len(again), len(items), err, one)
		}
		for i := range items {
			if !slices.ContainsFunc(items, func(item Item) bool {
				return item.Kind() == again[i].Kind() && item.Header().Code == again[i].Header().Code && sameItem(item, again[i])
			}) {
				t.Fatalf("%+v was not there", again[i])
			}
		}
	})
}

func measureNamed(name string, from ...string) *Measure {
	m := &Measure{Head: Head{Code: "M"}, Name: name}
	if len(from) > 0 {
		m.From = day(from[0])
	}
	return m
}

func TestChangesAreOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	a, b, later := measureNamed("а"), measureNamed("б"), measureNamed("в", "2030-01-01")
	for name, tt := range map[string]struct{ have, wanted, changes []Item }{
		"new":                        {nil, []Item{a}, []Item{a}},
		"the same":                   {[]Item{a}, []Item{a}, nil},
		"the newest is the same":     {[]Item{a, b}, []Item{b}, nil},
		"another":                    {[]Item{a}, []Item{b}, []Item{b}},
		"back to what was":           {[]Item{a, b}, []Item{a}, []Item{a}},
		"one to come":                {[]Item{a}, []Item{a, later}, []Item{later}},
		"one to come is there":       {[]Item{b, a, later}, []Item{a, later}, nil},
		"one to come is called back": {[]Item{a, later}, []Item{a}, []Item{a}},
		"day of its coming":          {[]Item{measureNamed("в")}, []Item{later}, []Item{later}},
		"nothing wanted":             {[]Item{a}, nil, nil},
	} {
		clone := func(items []Item) (out []Item) {
			for i, item := range items {
				m := *item.(*Measure)
				m.Version = i + 1
				out = append(out, &m)
			}
			return out
		}
		c := New(clone(tt.have))
		got := c.Changes(tt.wanted)
		if len(got) != len(tt.changes) {
			t.Errorf("%s: %d changes, want %d", name, len(got), len(tt.changes))
			continue
		}
		for i := range got {
			if !sameItem(got[i], tt.changes[i]) {
				t.Errorf("%s: %+v, want %+v", name, got[i], tt.changes[i])
			}
		}
		// Done once, there is nothing more to do.
		if more := c.With(clone(got)).Changes(tt.wanted); len(more) != 0 {
			t.Errorf("%s: a second import changes %d", name, len(more))
		}
	}
}

func TestImportWritesWhatChangedAndExportGivesTheSameFile(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	if _, err := Seed(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	anything := func(_, _ *Catalog, _ []Item) error { return nil }
	run := func(document string, allow func(before, after *Catalog, changes []Item) error) (changes []Item, err error) {
		items, err := ParseDocument([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		err = postgres.InTx(t.Context(), db, func(tx pgx.Tx) error {
			changes, err = Import(t.Context(), tx, editor, items, allow)
			return err
		})
		return changes, err
	}
	exported := func() string {
		document, err := FormatDocument(load(t, db).Export(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		return string(document)
	}
	first := exported()
	if changes, err := run(first, anything); err != nil || len(changes) != 0 {
		t.Fatalf("its own export changes %d, %v", len(changes), err)
	}
	mended := strings.Replace(first, "вам может полагаться единое пособие. Вопросы", "вам, возможно, полагается единое пособие. Вопросы", 1)
	refusal := errors.New("no")
	var after *Catalog
	if _, err := run(mended, func(_, a *Catalog, changes []Item) error {
		after = a
		if len(changes) != 1 {
			t.Errorf("%d changes", len(changes))
		}
		return refusal
	}); !errors.Is(err, refusal) || exported() != first {
		t.Errorf("a refused import: %v", err)
	}
	if tmpl, _ := after.TemplateAt("S-01", time.Now()); tmpl.Version != 2 || !strings.Contains(tmpl.Body, "возможно") {
		t.Errorf("it would be %+v", tmpl)
	}
	changes, err := run(mended, anything)
	if err != nil || len(changes) != 1 || changes[0].Header().Code != "S-01" || changes[0].Header().Version != 2 || changes[0].Header().CreatedBy != "editor" {
		t.Fatalf("%v %v", changes, err)
	}
	if exported() != mended {
		t.Error("the export is not the file that was imported")
	}
	if old, ok := load(t, db).Template("S-01", 1); !ok || strings.Contains(old.Body, "возможно") {
		t.Error("the old version was changed")
	}
	if changes, err := run(mended, anything); err != nil || len(changes) != 0 {
		t.Errorf("again: %d changes, %v", len(changes), err)
	}
	// An empty catalogue takes the whole, the agencies that have ended too.
	empty := postgrestest.New(t)
	items, _ := ParseDocument([]byte(mended))
	if err := postgres.InTx(t.Context(), empty, func(tx pgx.Tx) error {
		_, err := Import(t.Context(), tx, editor, items, anything)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	db = empty
	if exported() != mended {
		t.Error("moved to another database it differs")
	}
}
