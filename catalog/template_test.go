package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func values(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[Fold(pairs[i])] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestRender(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		values     []string
		want       string
		fault      TemplateFault
	}{
		{"no parameter", "СФР: добрый день", nil, "СФР: добрый день", ""},
		{"cyrillic name", "Вам {{Имя}}.", []string{"Имя", "Анна"}, "Вам Анна.", ""},
		{"name with spaces", "до {{ Дата окончания }}!", []string{"Дата окончания", "завтра"}, "до завтра!", ""},
		{"case, ё, spaces, punctuation", "{{ СЧЁТ № }}", []string{"счет_№", "5"}, "5", ""},
		{"latin look-alikes", "{{ Teл }}", []string{"Тел.", "1"}, "1", ""},
		{"at both ends", "{{a}}-{{b}}", []string{"a", "1", "b", "2"}, "1-2", ""},
		{"twice", "{{a}}{{ A }}", []string{"a", "1"}, "11", ""},
		{"single brackets are text", "{a} } {", nil, "{a} } {", ""},
		{"value with brackets stays as it is", "{{a}}", []string{"a", "{{ b }}"}, "{{ b }}", ""},
		{"value as the text of a filter stays as it is", "{{a}}", []string{"a", `x | default "y"`}, `x | default "y"`, ""},
		{"missing", "{{a}}", nil, "", FaultMissing},
		{"empty", "{{a}}", []string{"a", ""}, "", FaultMissing},
		{"only spaces", "{{a}}", []string{"a", " \u00a0\t"}, "", FaultMissing},
		{"default for missing", `{{a | default "скоро"}}`, nil, "скоро", ""},
		{"default for empty", `{{a|default "скоро"}}`, []string{"a", " "}, "скоро", ""},
		{"default not needed", `{{a | default "скоро"}}`, []string{"a", "5"}, "5", ""},
		{"default in office quotes", "{{a | default «скоро»}} {{a | default “там”}}", nil, "скоро там", ""},
		{"default with brackets inside", `{{a | default "}} | {{"}}`, nil, "}} | {{", ""},
		{"default only for its own use", `{{a | default "x"}} {{a}}`, nil, "", FaultMissing},
		{"date, iso", "{{a | date}}", []string{"a", "2027-03-15"}, "15.03.2027", ""},
		{"date, iso with time and zone", "{{a | date}}", []string{"a", "2027-03-15T23:59:00+03:00"}, "15.03.2027", ""},
		{"date, russian", "{{a | date}}", []string{"a", "15.03.2027"}, "15.03.2027", ""},
		{"date, one digit", "{{a | date}}", []string{"a", "5.3.2027"}, "05.03.2027", ""},
		{"date, with midnight", "{{a | date}}", []string{"a", "15.03.2027 0:00:00"}, "15.03.2027", ""},
		{"date, serial", "{{a | date}}", []string{"a", "46461"}, "15.03.2027", ""},
		{"date, serial with time", "{{a | date}}", []string{"a", "46461.75"}, "15.03.2027", ""},
		{"date, leap day", "{{a | date}}", []string{"a", "29.02.2028"}, "29.02.2028", ""},
		{"date, spaces around", "{{a | date}}", []string{"a", " 15.03.2027 "}, "15.03.2027", ""},
		{"date, no such day", "{{a | date}}", []string{"a", "29.02.2027"}, "", FaultDate},
		{"date, a year is no serial", "{{a | date}}", []string{"a", "2031"}, "", FaultDate},
		{"date, month first", "{{a | date}}", []string{"a", "03/15/2027"}, "", FaultDate},
		{"date, two digits of year", "{{a | date}}", []string{"a", "15.03.27"}, "", FaultDate},
		{"date, more behind it", "{{a | date}}", []string{"a", "15.03.2027 и далее"}, "", FaultDate},
		{"date, word", "{{a | date}}", []string{"a", "завтра"}, "", FaultDate},
		{"date, missing", "{{a | date}}", nil, "", FaultMissing},
		{"date, missing with default", `{{a | date | default "скоро"}}`, nil, "скоро", ""},
		{"trim", "[{{a | trim}}]", []string{"a", "\u00a0 x y \n"}, "[x y]", ""},
		{"upper-first", "{{a | upper-first}}", []string{"a", "ёлка"}, "Ёлка", ""},
		{"upper-first after trim", "{{a | trim | upper-first}}", []string{"a", "  анна"}, "Анна", ""},
		{"upper-first of a letter that grows", "{{a | upper-first}}!", []string{"a", "ɐbc"}, "Ɐbc!", ""},
		{"upper-first of a letter that shrinks", "{{a | upper-first}}!", []string{"a", "ıbc"}, "Ibc!", ""},
		{"longest value", "{{a}}", []string{"a", strings.Repeat("я", MaxParameter)}, strings.Repeat("я", MaxParameter), ""},
		{"value too long", "{{a}}", []string{"a", strings.Repeat("я", MaxParameter+1)}, "", FaultParameterTooLong},
		{"longest text", strings.Repeat("{{a}}", 5), []string{"a", strings.Repeat("я", 1000)}, strings.Repeat("я", MaxText), ""},
		{"text too long", strings.Repeat("{{a}}", 5) + "!", []string{"a", strings.Repeat("я", 1000)}, "", FaultTextTooLong},
		{"text far too long", strings.Repeat("{{a}}", 900), []string{"a", strings.Repeat("я", 1000)}, "", FaultTextTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, err := ParseText(tt.body)
			if err != nil {
				t.Fatal(err)
			}
			check := func(how string, got []byte, err error) {
				t.Helper()
				var fault *TemplateError
				switch {
				case tt.fault == "" && err != nil:
					t.Errorf("%s: %v", how, err)
				case tt.fault != "" && (!errors.As(err, &fault) || fault.Fault != tt.fault):
					t.Errorf("%s: error %v, want %s", how, err, tt.fault)
				case tt.fault != "" && fault.Fault != FaultTextTooLong && fault.Parameter != "a":
					t.Errorf("%s: the error names %q", how, fault.Parameter)
				case string(got) != "before:"+tt.want:
					t.Errorf("%s: %q, want %q", how, got, tt.want)
				}
				if fault != nil {
					for i := 1; i < len(tt.values); i += 2 {
						if v := strings.TrimSpace(tt.values[i]); v != "" && strings.Contains(fault.Error()+fault.Sentence(), v) {
							t.Errorf("%s: the error shows the value", how)
						}
					}
				}
			}
			got, err := text.Render([]byte("before:"), values(tt.values...))
			check("by name", got, err)

			var titles, row []string
			for i := 0; i < len(tt.values); i += 2 {
				titles, row = append(titles, tt.values[i]), append(row, tt.values[i+1])
			}
			bound, err := text.Bind(titles)
			if err != nil {
				if tt.fault != FaultMissing || tt.values != nil {
					t.Fatal(err)
				}
				return
			}
			got, err = bound.Render([]byte("before:"), row)
			check("by column", got, err)
		})
	}
}

func TestParseTextRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		fault      TemplateFault
		position   int
	}{
		{"empty", " \n", FaultEmpty, 0},
		{"too long", strings.Repeat("я", MaxBody+1), FaultBodyTooLong, 0},
		{"invalid UTF-8", "a\xff", FaultCharacters, 0},
		{"control character", "яя\x00", FaultCharacters, 3},
		{"not closed", "да {{ Имя", FaultUnclosed, 4},
		{"closed by one", "да {{ Имя } а", FaultUnclosed, 4},
		{"stray close", "да }} {{a}}", FaultStrayClose, 4},
		{"stray close at the end", "{{a}} }}", FaultStrayClose, 7},
		{"no name", "{{ }}", FaultName, 1},
		{"no name before the filter", "{{ | trim }}", FaultName, 1},
		{"name of punctuation", "{{ - }}", FaultName, 1},
		{"nested", "{{ a {{ b }} }}", FaultName, 1},
		{"three brackets", "{{{ a }}}", FaultName, 1},
		{"name too long", "{{" + strings.Repeat("я", 101) + "}}", FaultName, 1},
		{"unknown filter", "{{ a | html }}", FaultFilter, 8},
		{"no filter", "{{ a | }}", FaultFilter, 8},
		{"default without text", "{{ a | default }}", FaultArgument, 16},
		{"default without quotes", "{{ a | default скоро }}", FaultArgument, 16},
		{"default empty", `{{ a | default "" }}`, FaultArgument, 16},
		{"default not closed", `{{ a | default "скоро }}`, FaultArgument, 16},
		{"forms, two of three", `{{ a | plural "год/года" }}`, FaultArgument, 15},
		{"forms, one empty", `{{ a | gender "он//оно" }}`, FaultArgument, 15},
		{"too many filters", "{{ a" + strings.Repeat(" | trim", 9) + " }}", FaultTooManyFilters, 62},
		{"argument where none is taken", `{{ a | trim "x" }}`, FaultUnclosed, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseText(tt.body)
			var fault *TemplateError
			if !errors.As(err, &fault) {
				t.Fatalf("error %v", err)
			}
			if fault.Fault != tt.fault || fault.Position != tt.position {
				t.Errorf("%s at %d, want %s at %d", fault.Fault, fault.Position, tt.fault, tt.position)
			}
			if s := fault.Sentence(); !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "}}.") || s == (&TemplateError{}).Sentence() {
				t.Errorf("sentence %q", s)
			}
		})
	}
}

func TestBindNamesEveryColumnThatLacks(t *testing.T) {
	t.Parallel()
	text, err := ParseText(`{{ Имя }} {{ Дата }} {{ Место | default "дома" }} {{ Год }}`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = text.Bind([]string{"ГОД", "год ", "Телефон"})
	var fault *BindError
	if !errors.As(err, &fault) {
		t.Fatalf("error %v", err)
	}
	if !slices.Equal(fault.Unknown, []string{"Имя", "Дата"}) || !slices.Equal(fault.Ambiguous, []string{"Год"}) {
		t.Errorf("unknown %q, ambiguous %q", fault.Unknown, fault.Ambiguous)
	}
	want := "В файле нет колонок, которых требует шаблон: «Имя», «Дата». Добавьте их. В файле несколько колонок с одним названием: «Год». Оставьте одну."
	if fault.Sentence() != want {
		t.Errorf("sentence %q", fault.Sentence())
	}
}

func TestBoundRowShorterThanItsTitles(t *testing.T) {
	t.Parallel()
	text, _ := ParseText(`{{ a }}{{ b | default "-" }}`)
	bound, err := text.Bind([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bound.Render(nil, []string{"1"}); err != nil || string(got) != "1-" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := bound.Render(nil, nil); err == nil {
		t.Error("an empty row rendered")
	}
}

func TestParameterIsAlsoFoundByItsTitle(t *testing.T) {
	t.Parallel()
	tmpl := &Template{Head: Head{Code: "T"}, Title: "т", Channel: "sms", Language: "ru", Body: "до {{ date | date }}",
		Params: []Param{{Name: "date", Title: "Дата окончания"}}}
	if err := Validate(tmpl); err != nil {
		t.Fatal(err)
	}
	for _, titles := range [][]string{{"DATE", "дата окончания"}, {"x", "date"}, {"x", "Дата  окончания"}} {
		bound, err := tmpl.Text().Bind(titles)
		if err != nil {
			t.Errorf("%q: %v", titles, err)
			continue
		}
		row := []string{"01.01.2027", "02.01.2027"}
		want := "до 02.01.2027"
		if titles[0] == "DATE" {
			want = "до 01.01.2027" // its own name first
		}
		if got, err := bound.Render(nil, row); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", titles, got, err)
		}
	}
	if got, err := tmpl.Text().Render(nil, values("Дата окончания", "02.01.2027")); err != nil || string(got) != "до 02.01.2027" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	same := [][]string{
		{"Телефон", " телефон ", "ТЕЛЕФОН.", "тeлeфoн" /* Latin e, o */},
		{"СНИЛС", "C Н И Л C"},
		{"Моб. тел.", "моб тел", "МОБ_ТЕЛ"},
		{"Учёт", "учет", "уче\u0308т"},
		{"Телефон 2", "телефон2", "Телефон № 2"},
		{"Край", "кра\u0438\u0306"},
		{"external_id", "External ID"},
	}
	for i, group := range same {
		for _, s := range group {
			if Fold(s) != Fold(group[0]) {
				t.Errorf("%q and %q differ", s, group[0])
			}
			if other := same[(i+1)%len(same)][0]; Fold(s) == Fold(other) {
				t.Errorf("%q and %q are the same", s, other)
			}
		}
	}
	for _, r := range "09 AZazАЯаяЁё_-.\u00a0№«" {
		if one := "я" + string(r) + "b"; Fold(one) != foldAny(one) {
			t.Errorf("%q: the short way gives %q, the long one %q", one, Fold(one), foldAny(one))
		}
	}
	if Fold("Телефон 2") == Fold("Телефон 3") || Fold("Край") == Fold("Краи") {
		t.Error("what differs is the same")
	}
}

func FuzzRender(f *testing.F) {
	f.Add(`СФР: {{ Имя | trim | upper-first }} до {{ date | date | default "скоро" }}`, "анна", "46461")
	f.Add("{{a}}{{b}}", "{{a}}", " ")
	f.Add("{{ a | default «x» }} }", "", "15.03.2027 0:00")
	f.Add(`{{ ФИО | имя-отчество | если-есть }}, {{ Лет | plural-words "год/года/лет" }}, {{ Документы | список «или» }}`, "АЛИЕВ ГЕЙДАР оглы", "21")
	f.Fuzz(func(t *testing.T, body, one, two string) {
		text, err := ParseText(body)
		if err != nil {
			var fault *TemplateError
			if !errors.As(err, &fault) || fault.Position > utf8.RuneCountInString(body)+1 {
				t.Fatalf("error %v", err)
			}
			return
		}
		names := text.Names()
		get := func(name string) (string, bool) {
			if len(names) > 0 && name == Fold(names[0]) {
				return one, true
			}
			return two, true
		}
		got, err := text.Render([]byte("+"), get)
		if got[0] != '+' || err != nil && len(got) != 1 {
			t.Fatal("what stood in dst was touched")
		}
		if err == nil && utf8.RuneCount(got[1:]) > MaxText {
			t.Fatal("text over the limit")
		}
		if err == nil && utf8.ValidString(one) && utf8.ValidString(two) && !utf8.Valid(got) {
			t.Fatal("valid values made an invalid text")
		}
		bound, bindErr := text.Bind(names)
		if bindErr != nil {
			t.Fatalf("own names do not bind: %v", bindErr)
		}
		row := make([]string, len(names))
		for i, name := range names {
			row[i], _ = get(Fold(name))
		}
		same, sameErr := bound.Render([]byte("+"), row)
		if string(same) != string(got) || fmt.Sprint(sameErr) != fmt.Sprint(err) {
			t.Fatalf("by column %q %v, by name %q %v", same, sameErr, got, err)
		}
	})
}

func TestRenderDoesNotAllocate(t *testing.T) {
	bound, row := benchTemplate(t)
	get := func(name string) (string, bool) { return row[0], true }
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst, _ = bound.Render(dst[:0], row) }); n != 0 {
		t.Errorf("by column: %v allocations", n)
	}
	plain, _ := ParseText(`{{ a | trim | upper-first | default "x" }} {{ b }}`)
	if n := testing.AllocsPerRun(100, func() { dst, _ = plain.Render(dst[:0], get) }); n != 0 {
		t.Errorf("by name: %v allocations", n)
	}
}

// benchTemplate makes an SMS of two segments out of five parameters.
func benchTemplate(t testing.TB) (*Bound, []string) {
	text, err := ParseText("{{ Имя }}, вам назначена {{ Мера }} с {{ Дата начала }}. Адрес: {{ Отделение }}, вход {{ Вход }}. Вопросы: 8-800-100-00-01")
	if err != nil {
		t.Fatal(err)
	}
	bound, err := text.Bind([]string{"Телефон", "Имя", "Мера", "Дата начала", "Отделение", "Вход"})
	if err != nil {
		t.Fatal(err)
	}
	return bound, []string{"+70000000000", "Анна Петровна", "страховая пенсия", "15.03.2027", "ул. Ленина, 1", "2"}
}

// BenchmarkRender reports as of_hand how much of the speed of appending by hand a bound template reaches.
func BenchmarkRender(b *testing.B) {
	bound, row := benchTemplate(b)
	dst := make([]byte, 0, 1024)
	byHand := func(dst []byte, row []string) []byte {
		dst = append(dst, row[1]...)
		dst = append(dst, ", вам назначена "...)
		dst = append(dst, row[2]...)
		dst = append(dst, " с "...)
		dst = append(dst, row[3]...)
		dst = append(dst, ". Адрес: "...)
		dst = append(dst, row[4]...)
		dst = append(dst, ", вход "...)
		dst = append(dst, row[5]...)
		return append(dst, ". Вопросы: 8-800-100-00-01"...)
	}
	// Turn and turn about, so that a busy machine slows both.
	const turn = 200
	var hand, own time.Duration
	for b.Loop() {
		start := time.Now()
		for range turn {
			dst = byHand(dst[:0], row)
		}
		middle := time.Now()
		for range turn {
			dst, _ = bound.Render(dst[:0], row)
		}
		hand += middle.Sub(start)
		own += time.Since(middle)
	}
	b.ReportMetric(float64(hand)/float64(own), "of_hand")
	b.ReportMetric(float64(own.Nanoseconds())/float64(b.N*turn), "ns/render")
}
