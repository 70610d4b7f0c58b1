package citizen_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ekc/citizen"
)

func TestSplitName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ full, family, first, patronymic, initials string }{
		{"Иванова Мария Петровна", "Иванова", "Мария", "Петровна", "И. М. П."},
		{"  Иванова\u00a0 Мария\tПетровна ", "Иванова", "Мария", "Петровна", "И. М. П."},
		{"Алиев Гейдар Алирза оглы", "Алиев", "Гейдар", "Алирза оглы", "А. Г. А."},
		{"Алиева Лейла Гасан Кызы", "Алиева", "Лейла", "Гасан Кызы", "А. Л. Г."},
		{"Петрова-Водкина Анна-Мария", "Петрова-Водкина", "Анна-Мария", "", "П. А."},
		{"О Ирина", "О", "Ирина", "", "О. И."},
		{"Сухарто", "Сухарто", "", "", "С."},
		{"'t Hooft Gerard", "'t", "Hooft", "Gerard", "T. H. G."},
		{"", "", "", "", ""},
	} {
		var p citizen.Person
		p.Family, p.First, p.Patronymic = citizen.SplitName(c.full)
		if p.Family.Reveal() != c.family || p.First.Reveal() != c.first || p.Patronymic.Reveal() != c.patronymic || p.Initials() != c.initials {
			t.Errorf("%q: %q %q %q, %s", c.full, p.Family.Reveal(), p.First.Reveal(), p.Patronymic.Reveal(), p.Initials())
		}
	}
}

func TestNormalizeNameFoldsWhatIsWrittenDifferently(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"Королёва Алёна", "королева алена", "КОРОЛЕВА  АЛЕНА", "Королева\u00a0Алена", "Короле\u0308ва Але\u0308на"},
		{"Петрова-Водкина Анна", "Петрова Водкина Анна", "Петрова – Водкина Анна", "Петрова‑Водкина Анна"},
		{"Сорокин Андрей", "Cорокин Aндрей", "CОРОКИН AНДРЕЙ", "Сорокин Андреи\u0306"},
		{"Соха Ася", "Coxa Ася"},
		{"John Smith", "JOHN SMITH"},
	} {
		for _, name := range same[1:] {
			if got, want := citizen.NormalizeName(citizen.Name(name)), citizen.NormalizeName(citizen.Name(same[0])); got != want || got == "" {
				t.Errorf("%q gives %q, %q gives %q", name, got, same[0], want)
			}
		}
	}
	for _, other := range [][2]string{{"Андрей", "Андреи"}, {"Иванова Мария", "Иванов Мария"}, {"Семен", "Семён Ли"}} {
		if citizen.NormalizeName(citizen.Name(other[0])) == citizen.NormalizeName(citizen.Name(other[1])) {
			t.Errorf("%q and %q are one", other[0], other[1])
		}
	}
}

func TestIdentityInTheOrderOfTheContract(t *testing.T) {
	t.Parallel()
	snils, _, err := citizen.ParseSNILS("112-233-445 95")
	if err != nil {
		t.Fatal(err)
	}
	phone, born := must(citizen.ParsePhone("89036550550")), citizen.BirthDate{Year: 1957, Month: 3, Day: 1}
	whole := citizen.Person{SNILS: snils, Family: "Иванова", First: "Мария", BirthDate: born}
	named := whole
	named.SNILS = citizen.SNILS{}
	short := citizen.Person{Family: "Иванова", First: "Мария"}
	for _, c := range []struct {
		name   string
		person citizen.Person
		phone  citizen.Phone
		want   citizen.DigestKind
	}{
		{"snils", whole, phone, citizen.DigestSNILS},
		{"name and birth date", named, phone, citizen.DigestNameBirth},
		{"phone and name", short, phone, citizen.DigestPhoneName},
		{"phone alone", citizen.Person{}, phone, citizen.DigestPhoneName},
		{"birth date alone", citizen.Person{BirthDate: born}, phone, citizen.DigestPhoneName},
		{"nothing", short, citizen.Phone{}, ""},
	} {
		if kind, text := c.person.Identity(c.phone); kind != c.want || (text == "") != (kind == "") {
			t.Errorf("%s: %s", c.name, kind)
		}
	}
	_, a := short.Identity(phone)
	_, b := citizen.Person{Family: "Иванова", First: "Мария", Patronymic: "Петровна"}.Identity(phone)
	if a == b {
		t.Error("two persons at one phone are one")
	}
}

func TestPersonPrintsInitialsOnly(t *testing.T) {
	t.Parallel()
	snils, _, err := citizen.ParseSNILS("112-233-445 95")
	if err != nil {
		t.Fatal(err)
	}
	p := citizen.Person{SNILS: snils, Family: "Иванова", First: "Мария", Patronymic: "Петровна", BirthDate: citizen.BirthDate{Year: 1957, Month: 3, Day: 1}}
	encoded := must(json.Marshal(struct {
		Person citizen.Person
		Born   citizen.BirthDate
	}{p, p.BirthDate}))
	shown := string(encoded) + p.LogValue().String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, p); got != "И. М. П." {
			t.Errorf("%s gives %s", verb, got)
		}
		shown += fmt.Sprintf(verb, &p) + fmt.Sprintf(verb, p.Family) + fmt.Sprintf(verb, p.BirthDate) + fmt.Sprintf(verb, p.FullName())
	}
	for _, leak := range []string{"ванова", "ария", "етровна", "1957", "11223344595", fmt.Sprintf("%x", "ванова")} {
		if strings.Contains(shown, leak) {
			t.Errorf("shows %s", leak)
		}
	}
}

func FuzzNormalizeName(f *testing.F) {
	for _, s := range []string{"Королёва-Ли  Алёна", "Coxa", "и\u0306\u0306", "\xff", "О'Нил", "ﬁ", "İ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := citizen.NormalizeName(citizen.Name(s))
		if strings.Contains(once, "  ") || strings.TrimSpace(once) != once {
			t.Fatalf("%q keeps blanks: %q", s, once)
		}
		_ = citizen.Name(s).String()
		_ = citizen.IsStop(s)
	})
}
