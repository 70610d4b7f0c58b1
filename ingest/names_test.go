package ingest

import (
	"strings"
	"testing"

	"ekc/catalog"
)

// A template's «ФИО», «Имя» and the like are found whether the file has the name in one column or in three.
func TestNamesOfATemplateFollowFromTheColumnsThereAre(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, titles, row, body, want string }{
		{"whole from three", "Телефон;Фамилия;Имя;Отчество;Шаблон", "9030000001;Петрова;Анна;Ивановна;N", "{{ ФИО }}!", "Петрова Анна Ивановна!"},
		{"whole from two", "Телефон;Фамилия;Имя;Шаблон", "9030000001;Ян;Ли;N", "{{ ФИО }}!", "Ян Ли!"},
		{"parts from one", "Телефон;ФИО;Шаблон", "9030000001;Петрова Анна Ивановна;N", "{{ Имя }} {{ Отчество }}, {{ Фамилия }}!", "Анна Ивановна, Петрова!"},
		{"a patronymic of two words", "Телефон;ФИО;Шаблон", "9030000001;Гасанов Али Вели Оглы;N", "{{ Отчество }}!", "Вели Оглы!"},
		{"under another title of ours", "Телефон;ФИО получателя;Шаблон", "9030000001;Петрова Анна;N", "{{ ФИО }}!", "Петрова Анна!"},
		{"a column of that title goes first", "Телефон;ФИО;Имя;Шаблон", "9030000001;Петрова Анна;Нюра;N", "{{ Имя }}!", "Нюра!"},
		{"short rows", "Телефон;Шаблон;Фамилия;Имя;Примечание", "9030000001;N;Ли;Ян", "{{ ФИО }}!", "Ли Ян!"},
		{"nobody", "Телефон;ФИО;Шаблон", "9030000001;;N", "{{ Имя }}!", "104:Имя"},
		{"one name only", "Телефон;ФИО;Шаблон", "9030000001;Ян;N", "{{ Имя }}!", "104:Имя"},
		{"with a default", "Телефон;ФИО;Шаблон", "9030000001;Ян;N", `{{ Имя | default "получатель" }}!`, "получатель!"},
		{"no column tells it", "Телефон;Фамилия;Шаблон", "9030000001;Ли;N", "{{ Отчество }}!", "104:Отчество"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := testChecker(t, c.titles, func(k *checker) {
				items, err := catalog.SeedItems()
				if err != nil {
					t.Fatal(err)
				}
				n := &catalog.Template{Head: catalog.Head{Code: "N", Version: 1}, Title: "Имя", Channel: "sms", Language: "ru", Body: c.body}
				for _, name := range []string{"ФИО", "Фамилия", "Имя", "Отчество"} {
					if strings.Contains(c.body, name) {
						n.Params = append(n.Params, catalog.Param{Name: name, Example: "Ян"})
					}
				}
				if err := catalog.Validate(n); err != nil {
					t.Fatal(err)
				}
				k.catalog = catalog.New(append(items, n))
			})
			got := k.check(sheetRow{No: 2, Cells: strings.Split(c.row, ";")})
			said := got.row.Content.Text
			if !got.ok {
				said = codes(got.messages)
			}
			if said != c.want {
				t.Errorf("%q, want %q", said, c.want)
			}
		})
	}
}
