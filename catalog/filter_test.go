package catalog

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// filtered renders {{ a | filter }} with one value.
func filtered(t *testing.T, filter, value string) (string, error) {
	t.Helper()
	text, err := ParseText("{{ a | " + filter + " }}")
	if err != nil {
		t.Fatalf("%s: %v", filter, err)
	}
	got, err := text.Render(nil, values("a", value))
	return string(got), err
}

func TestFilters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		filter, value, want string
		fault               TemplateFault
	}{
		{"date-long", "05.03.2027", "5 марта 2027 года", ""},
		{"дата-полностью", "2027-12-31", "31 декабря 2027 года", ""},
		{"date-words", "15.03.2027", "пятнадцатого марта две тысячи двадцать седьмого года", ""},
		{"date-words", "30.05.2000", "тридцатого мая двухтысячного года", ""},
		{"date-words", "31.08.1999", "тридцать первого августа тысяча девятьсот девяносто девятого года", ""},
		{"date-words", "01.01.1900", "первого января тысяча девятисотого года", ""},
		{"date-words", "02.01.2100", "второго января две тысячи сотого года", ""},
		{"date-words", "20.01.2040", "двадцатого января две тысячи сорокового года", ""},
		{"date-words", "завтра", "", FaultDate},

		{"time", "9:05", "9:05", ""},
		{"time", "09:05:30", "9:05", ""},
		{"time", "10.30", "10:30", ""},
		{"time", "10-30", "10:30", ""},
		{"time", "0.4375", "10:30", ""},
		{"time", "0.5", "12:00", ""},
		{"time", "15.03.2027 10:30", "10:30", ""},
		{"time", "2027-03-15T23:59:00+03:00", "23:59", ""},
		{"время-словами", "10:30", "десять часов тридцать минут", ""},
		{"time-words", "21:01", "двадцать один час одна минута", ""},
		{"time-words", "14:00", "четырнадцать часов", ""},
		{"time-words", "0:42", "ноль часов сорок две минуты", ""},
		{"time", "0.25", "", FaultTime}, // six o'clock, or 25 minutes past midnight
		{"time", "24:00", "", FaultTime},
		{"time", "10:60", "", FaultTime},
		{"time", "10:3", "", FaultTime},
		{"time", "0.9999999", "", FaultTime}, // midnight of the next day
		{"time", "10", "", FaultTime},
		{"time", "утром", "", FaultTime},

		{"money", "14506,00", "14 506 руб.", ""},
		{"money", "14506.5", "14 506 руб. 50 коп.", ""},
		{"деньги", "14 506,05 руб.", "14 506 руб. 05 коп.", ""},
		{"money", "1\u00a0234\u202f567 ₽", "1 234 567 руб.", ""},
		{"money", "0", "0 руб.", ""},
		{"money-words", "14506,51", "четырнадцать тысяч пятьсот шесть рублей пятьдесят одна копейка", ""},
		{"money-words", "1", "один рубль", ""},
		{"money-words", "2001", "две тысячи один рубль", ""},
		{"money-words", "11", "одиннадцать рублей", ""},
		{"money-words", "1000000", "один миллион рублей", ""},
		{"money-words", "999999999999", "девятьсот девяносто девять миллиардов девятьсот девяносто девять миллионов девятьсот девяносто девять тысяч девятьсот девяносто девять рублей", ""},
		{"money", "1000000000000", "", FaultNumber},
		{"money", "-5", "", FaultNumber},
		{"money", "1,234", "", FaultNumber}, // a thousand, or one and a bit
		{"money", "1 23", "", FaultNumber},
		{"money", "12.345", "", FaultNumber},
		{"money", "05", "", FaultNumber},
		{"money", "много", "", FaultNumber},
		{"money", "руб.", "", FaultNumber},
		{"money", ",50", "", FaultNumber},

		{`plural "год/года/лет"`, "1", "1 год", ""},
		{`plural "год/года/лет"`, "2", "2 года", ""},
		{`plural "год/года/лет"`, "5", "5 лет", ""},
		{`plural "год/года/лет"`, "11", "11 лет", ""},
		{`plural "год/года/лет"`, "14", "14 лет", ""},
		{`plural "год/года/лет"`, "21", "21 год", ""},
		{`plural "год/года/лет"`, "111", "111 лет", ""},
		{`plural "год/года/лет"`, "122", "122 года", ""},
		{`plural "год/года/лет"`, "1,5", "1,5 года", ""},
		{`plural "год/года/лет"`, "2,00", "2 года", ""},
		{`склонение «рубль / рубля / рублей»`, "2500", "2 500 рублей", ""},
		{`plural "год/года/лет"`, "пять", "", FaultNumber},
		{`plural-words "год/года/лет"`, "61", "шестьдесят один год", ""},
		{`plural-words "неделя/недели/недель"`, "22", "двадцать две недели", ""},
		{`plural-words "пособие/пособия/пособий"`, "1", "одно пособие", ""},
		{`plural-words "год/года/лет"`, "0", "ноль лет", ""},
		{`plural-words "год/года/лет"`, "1,5", "", FaultNumber},

		{"list", "паспорт", "паспорт", ""},
		{"list", "паспорт, СНИЛС", "паспорт и СНИЛС", ""},
		{"list", "паспорт; справка, форма 1; СНИЛС;", "паспорт, справка, форма 1 и СНИЛС", ""},
		{"список «или»", "паспорт\nСНИЛС\n\nсправка", "паспорт, СНИЛС или справка", ""},
		{"list", ";;", "", FaultMissing},
	} {
		got, err := filtered(t, tt.filter, tt.value)
		var fault *TemplateError
		switch {
		case tt.fault == "" && err != nil, tt.fault != "" && (!errors.As(err, &fault) || fault.Fault != tt.fault):
			t.Errorf("%s of %q: %v, want %s", tt.filter, tt.value, err, tt.fault)
		case got != tt.want:
			t.Errorf("%s of %q: %q, want %q", tt.filter, tt.value, got, tt.want)
		case fault != nil && strings.Contains(fault.Error()+fault.Sentence(), "«"+tt.value+"»"):
			t.Errorf("%s of %q: the error shows the value", tt.filter, tt.value)
		}
	}
}

// People without a patronymic, without Russian papers, with names of one letter are people: each is addressed by what he has.
func TestEveryPersonIsAddressedByWhatThereIs(t *testing.T) {
	t.Parallel()
	const gender = `gender "Уважаемый/Уважаемая/Здравствуйте,"`
	for _, tt := range []struct{ who, full, name, firstPatronymic, initials, greeting string }{
		{"woman", "Иванова Мария Петровна", "Иванова Мария Петровна", "Мария Петровна", "Иванова М. П.", "Уважаемая"},
		{"man", "Соколов Пётр Кузьмич", "Соколов Пётр Кузьмич", "Пётр Кузьмич", "Соколов П. К.", "Уважаемый"},
		{"all capitals", "СОЛОВЬЁВА-ЦОЙ АННА ИЛЬИНИЧНА", "Соловьёва-Цой Анна Ильинична", "Анна Ильинична", "Соловьёва-Цой А. И.", "Уважаемая"},
		{"all small", "жукова зоя фёдоровна", "Жукова Зоя Фёдоровна", "Зоя Фёдоровна", "Жукова З. Ф.", "Уважаемая"},
		{"no patronymic, a man or not", "Рабинович Саша", "Рабинович Саша", "Саша", "Рабинович С.", "Здравствуйте,"},
		{"no patronymic", "Петрова-Водкина Анна-Мария", "Петрова-Водкина Анна-Мария", "Анна-Мария", "Петрова-Водкина А.", "Здравствуйте,"},
		{"one letter", "О Ирина", "О Ирина", "Ирина", "О И.", "Здравствуйте,"},
		{"one letter each", "Э Ю Я", "Э Ю Я", "Ю Я", "Э Ю. Я.", "Здравствуйте,"},
		{"оглы", "Алиев Гейдар Алирза оглы", "Алиев Гейдар Алирза оглы", "Гейдар Алирза оглы", "Алиев Г. А.", "Уважаемый"},
		{"Кызы, capitals", "АЛИЕВА ЛЕЙЛА ГАСАН КЫЗЫ", "Алиева Лейла Гасан кызы", "Лейла Гасан кызы", "Алиева Л. Г.", "Уважаемая"},
		{"one word", "Сухарто", "Сухарто", "Сухарто", "Сухарто", "Здравствуйте,"},
		{"Vietnamese", "Нгуен Тхи Лан", "Нгуен Тхи Лан", "Тхи Лан", "Нгуен Т. Л.", "Здравствуйте,"},
		{"Latin letters", "Müller John Peter", "Müller John Peter", "John Peter", "Müller J. P.", "Здравствуйте,"},
		{"apostrophe, capitals", "O'NEIL MARY", "O'Neil Mary", "Mary", "O'Neil M.", "Здравствуйте,"},
		{"particle", "фон Бек Анна Карловна", "Фон Бек Анна Карловна", "Бек Анна Карловна", "Фон Б. А. К.", "Уважаемая"},
		{"family name like a patronymic", "Рабинович Анна Марковна", "Рабинович Анна Марковна", "Анна Марковна", "Рабинович А. М.", "Уважаемая"},
		{"family name last: signs of both are no sign", "Анна Марковна Рабинович", "Анна Марковна Рабинович", "Марковна Рабинович", "Анна М. Р.", "Здравствуйте,"},
		{"hyphen of its own", "Иванова - Мария", "Иванова - Мария", "- Мария", "Иванова М.", "Здравствуйте,"},
		{"spaces of all kinds", "  Иванова\u00a0 Мария\tПетровна ", "Иванова Мария Петровна", "Мария Петровна", "Иванова М. П.", "Уважаемая"},
	} {
		for filter, want := range map[string]string{"name": tt.name, "имя-отчество": tt.firstPatronymic, "инициалы": tt.initials, gender: tt.greeting} {
			if got, err := filtered(t, filter, tt.full); err != nil || got != want {
				t.Errorf("%s, %s: %q %v, want %q", tt.who, filter, got, err, want)
			}
		}
	}
	for value, want := range map[string]string{"М": "он", "муж.": "он", "Male": "он", "ж": "она", "ЖЕНСКИЙ": "она", "F": "она", "U": "человек", "": "человек", "?": "человек"} {
		if got, err := filtered(t, `род "он/она/человек"`, value); err != nil || got != want {
			t.Errorf("gender %q: %q %v", value, got, err)
		}
	}
	// A patronymic in a column of its own is left out with the space before it, and its column may be missing altogether.
	text, err := ParseText("СФР: {{ Имя | name }} {{ Отчество | если-есть | name }}, вам назначена выплата")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range [][]string{{"ЛИ", ""}, {"ЛИ", " "}, {"ЛИ"}} {
		bound, err := text.Bind([]string{"Имя", "Отчество"}[:len(row)])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := bound.Render(nil, row); err != nil || string(got) != "СФР: Ли, вам назначена выплата" {
			t.Errorf("%q: %q %v", row, got, err)
		}
	}
	if got, err := text.Render(nil, values("имя", "анна", "отчество", "петровна")); err != nil || string(got) != "СФР: Анна Петровна, вам назначена выплата" {
		t.Errorf("%q %v", got, err)
	}
}

func TestEveryFilterHasTwoNamesOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for kind, f := range filterNames {
		for _, name := range []string{f.english, f.russian, strings.ToUpper(f.russian), strings.ReplaceAll(f.english, "-", "_")} {
			if got, ok := filterNamed(name); !ok || int(got) != kind {
				t.Errorf("%q is %d, want %d", name, got, kind)
			}
		}
		if seen[f.english] || seen[f.russian] || f.english == "" || f.russian == "" {
			t.Errorf("filter %d: %q, %q", kind, f.english, f.russian)
		}
		seen[f.english], seen[f.russian] = true, true
	}
}

func TestEveryFilterAndRuleIsInTheAuthorsGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{LintBody, LintExample, LintLink, LintDataRequest, LintPaidNumber, LintAgencyFirst, LintCentreNumber, LintDisclosure, LintSegments, LintTwoWay,
		LintVariant, LintWording}
	for _, f := range filterNames {
		want = append(want, f.russian)
		if !strings.Contains(string(guide), "| `"+f.english) {
			t.Errorf("the guide has no row for %s", f.english)
		}
	}
	for _, name := range want {
		if !strings.Contains(string(guide), "`"+name+"`") {
			t.Errorf("the guide does not speak of %s", name)
		}
	}
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{"15.03.2027 10:30", "0.4375", "14 506,50 руб.", "1,5", "ИВАНОВА-Ли анна оглы", "а; б\nв", " ", "\xff", "999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if utf8.RuneCountInString(value) > MaxParameter {
			return
		}
		for kind, named := range filterNames {
			filter := filter{kind: filterKind(kind)}
			if arg := "год/года/лет"; named.argument != argNone && !filter.takeArgument(arg) {
				t.Fatal(named.english)
			}
			got, fault := filter.apply(append([]byte("+"), value...), 1)
			switch {
			case got[0] != '+':
				t.Fatalf("%s: what stood in dst was touched", named.english)
			case fault != "":
				continue
			case utf8.ValidString(value) && !utf8.Valid(got):
				t.Fatalf("%s: a valid value made an invalid text", named.english)
			case len(got) > 400+16*len(value):
				t.Fatalf("%s: %d bytes of %d", named.english, len(got), len(value))
			}
		}
	})
}

// BenchmarkFilters is what the filters of a voice text cost.
func BenchmarkFilters(b *testing.B) {
	text, err := ParseText(`{{ ФИО | first-patronymic }}, вам исполняется {{ Лет | plural-words "год/года/лет" }} {{ Дата | date-words }}, сумма {{ Сумма | money }}.`)
	if err != nil {
		b.Fatal(err)
	}
	bound, err := text.Bind([]string{"ФИО", "Лет", "Дата", "Сумма"})
	if err != nil {
		b.Fatal(err)
	}
	row, dst := []string{"Иванова Мария Петровна", "60", "15.03.2027", "14506,50"}, make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = bound.Render(dst[:0], row); err != nil {
			b.Fatal(err)
		}
	}
}
