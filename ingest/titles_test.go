package ingest

import (
	"errors"
	"strings"
	"testing"
)

func headerOf(file string) (*header, rowReader, error) {
	r, err := openCSV(strings.NewReader(file), int64(len(file)), testLimits, titles{})
	if err != nil {
		return nil, nil, err
	}
	return readHeader(r, titles{})
}

// Every title of the contract, and the ways agencies spell them.
func TestTitlesOfTheContract(t *testing.T) {
	t.Parallel()
	for title, name := range map[string]string{
		"Телефон": "phone", "Тел.": "phone", "Номер телефона": "phone", "Мобильный": "phone", "Моб. тел.": "phone", "ТЕЛЕФОН": "phone",
		" телефон : ": "phone", "Teлeфoн": "phone", "phone": "phone",
		"Телефон 2": "phone_2", "Телефон3": "phone_3", "СНИЛС": "snils", "CНИЛC": "snils", "снилс.": "snils",
		"ФИО": "full_name", "Ф.И.О.": "full_name", "Фамилия": "family_name", "Имя": "first_name", "Отчество": "patronymic",
		"Дата рождения": "birth_date", "Дата_рождения": "birth_date", "Код события": "life_event", "Событие": "life_event",
		"Дата события": "event_date", "Код меры": "measure", "Мера": "measure", "Код территории": "oktmo", "ОКТМО": "oktmo", "OKTMO": "oktmo",
		"Регион": "oktmo", "Текст": "text", "Текст сообщения": "text", "Код шаблона": "template", "Шаблон": "template", "Канал": "channels",
		"Отправить до": "valid_until", "Отправить после": "not_before", "Уведомить до": "inform_by", "Язык": "language", "Внешний номер": "external_id",
		"Срок": "", "Дата": "", "Примечание": "", "Телефон 4": "", "e-mail": "", "ЕКЦ: результат": "",
	} {
		file := "Сотовый;" + title + "\n1;2\n"
		if name == "phone" {
			file = "Дата рождения;" + title + "\n1;2\n"
		}
		h, _, err := headerOf(file)
		if err != nil {
			t.Errorf("%q: %v", title, err)
			continue
		}
		if got := h.columns[1].Name; got != name {
			t.Errorf("%q is taken for %q, want %q", title, got, name)
		}
	}
}

func TestHeaderIsFoundWithinTenRows(t *testing.T) {
	t.Parallel()
	title := "Список на информирование\nот 01.11.2026\n\n"
	h, rest, err := headerOf(title + "Телефон;ФИО\n1;а\n2;б\n")
	if err != nil || h.row != 4 {
		t.Fatalf("%+v %v", h, err)
	}
	if row, err := rest.Next(); err != nil || row.No != 5 {
		t.Fatalf("rows read ahead are lost: %+v, %v", row, err)
	}
	if _, _, err := headerOf(strings.Repeat("строка\n", 9) + "Телефон;ФИО\n1;а\n"); err != nil {
		t.Errorf("in row 10: %v", err)
	}
	_, _, err = headerOf(strings.Repeat("строка\n", 10) + "Телефон;ФИО\n1;а\n")
	wantFault(t, err, ErrNoHeader)
	_, _, err = headerOf("79030000001;Иванова\n79030000002;Петрова\n")
	wantFault(t, err, ErrNoHeader)
	_, _, err = headerOf("СНИЛС;ФИО\n1;а\n")
	wantFault(t, err, ErrNoPhoneColumn)
	_, _, err = headerOf("Телефон;ФИО;Тел.\n1;а;2\n")
	wantFault(t, err, ErrColumnTwice)
	var fault *Fault
	if errors.As(err, &fault) && !strings.Contains(fault.Detail, "«Телефон»") || !strings.Contains(fault.Detail, "1 и 3") {
		t.Errorf("%s", fault.Detail)
	}
	if _, _, err = headerOf("Телефон;Примечание;Примечание\n1;а;2\n"); err != nil {
		t.Errorf("two equal titles of the sender's own: %v", err)
	}
}
