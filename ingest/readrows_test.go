package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func readAll(text string, mapping map[string]string) (rows []InputRow, err error) {
	err = ReadRows(strings.NewReader(text), int64(len(text)), mapping, func(r InputRow) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func TestRowsOfASpreadsheetAreThoseOfJSON(t *testing.T) {
	t.Parallel()
	rows, err := readAll("Список граждан\nВнешний номер;Тел.;Телефон 2;ФИО;СНИЛС;Дата рождения;Канал;Возраст;ЕКЦ: код;Отправить до\n"+
		"А-1;8 903 000-00-01;89030000002;Мамин-Сибиряков Пётр Гейдар оглы;000-000-131 10;17.07.1966;СМС, затем звонок;60;101;31.12.2026\n"+
		";9030000003;;О;;;голубь;;;\n", nil)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	want := InputRow{ExternalID: "А-1", Phone: "8 903 000-00-01", Phones: []string{"89030000002"}, SNILS: "000-000-131 10", FamilyName: "Мамин-Сибиряков", FirstName: "Пётр",
		Patronymic: "Гейдар оглы", BirthDate: "17.07.1966", Channels: []string{"sms", "voice"}, ValidUntil: "31.12.2026",
		Data: map[string]string{"ФИО": "Мамин-Сибиряков Пётр Гейдар оглы", "Возраст": "60"}}
	if got := fmt.Sprintf("%+v", rows[0]); got != fmt.Sprintf("%+v", want) {
		t.Errorf("%s\n%+v", got, want)
	}
	if r := rows[1]; r.ExternalID != "4" || r.FamilyName != "О" || fmt.Sprint(r.Channels) != "[голубь]" || len(r.Data) != 1 {
		t.Errorf("%+v", r)
	}
	rows, err = readAll("Контакт;Телефон;Имя\n9030000003;рабочий;Ян\n", map[string]string{"Контакт": "phone", "Телефон": ""})
	if err != nil || rows[0].Phone != "9030000003" || rows[0].Data["Телефон"] != "рабочий" || rows[0].FirstName != "Ян" {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestAFileThatCannotBeReadGivesNoRows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{"": ErrEmptyFile, "Фамилия;Имя\nО;Ян\n": ErrNoPhoneColumn, "a;b\n1;2\n": ErrNoHeader} {
		if _, err := readAll(text, nil); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := readAll("Телефон\n9030000001\n", map[string]string{"Телефон": "fone"}); !errors.Is(err, ErrMapping) {
		t.Error(err)
	}
	stop := errors.New("stop")
	text := []byte("Телефон\n9030000001\n9030000002\n")
	if err := ReadRows(bytes.NewReader(text), int64(len(text)), nil, func(InputRow) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	var fault *Fault
	if _, err := readAll("Телефон;Текст\n9030000001;"+strings.Repeat("й", 20_000)+"\n", nil); !errors.As(err, &fault) || fault.Code != "row_too_long" {
		t.Error(err)
	}
}
