package ingest

import (
	"os"
	"strings"
	"testing"
)

// What LibreOffice itself has written (testdata/libreoffice) is read as it is shown there. In CSV it shortens the years of dates, as its
// Russian settings show them: nobody's age is guessed, and the sentence says what to do.
func TestFilesOfLibreOfficeAreReadAsTheirSenderSeesThem(t *testing.T) {
	t.Parallel()
	const (
		head = "1: Список получателей|||||\n2: Тел.|СНИЛС|ФИО|Дата рождения|Внешний номер|Текст\n"
		csv  = head + "3: 89031234501|163028|Иванова Мария Петровна|08.10.61|1|СФР: выплата назначена.\n" +
			"4: +7 903 123-45-02|000-001-644 34|Ли Ян|05.04.62|12|СФР: выплата «за ноябрь»; назначена.\n" +
			"5: 9031234503|163028|Мамина-Сибирякова Ия|28/07/1969|0013|СФР: выплата назначена.\n" +
			"6: +79031234504||О Анна|01.02.70|4|две\nстроки\n7: 79031234505||скрытая||5|скрыта\n8: 8 (903) 123-45-06||Оглы Гейдар|15.03.80|6|#DIV/0!"
	)
	title := strings.Repeat("Список получателей|", 6)
	book := strings.NewReplacer("Список получателей|||||", title[:len(title)-1], ".61|", ".1961|", ".62|", ".1962|", ".70|", ".1970|", ".80|", ".1980|",
		"7: 79031234505||скрытая||5|скрыта\n", "").Replace(csv)
	for name, want := range map[string]string{"list.xlsx": book, "list-utf8.csv": csv, "list-1251.csv": csv, "list-tab-utf16.csv": csv} {
		rows, err := rowsOf(libreOffice(t, name), testLimits)
		if got := strings.Join(rows, "\n"); err != nil || got != want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, want)
		}
	}
	for name, want := range map[string]*Fault{"list.xls": ErrFormatXLS, "list.ods": ErrFormatODS} {
		_, err := rowsOf(libreOffice(t, name), testLimits)
		wantFault(t, err, want)
	}
	s := dryService(t)
	run, err := dry(t, s, listHeader(), libreOffice(t, "list.xlsx"))
	if err != nil || run.Fault != nil || run.Protocol.RecordNum != 5 || run.Protocol.RecordNumSuccess != 3 {
		t.Errorf("list.xlsx: %v, %+v", err, run)
	}
	run, err = dry(t, s, listHeader(), libreOffice(t, "list-utf8.csv"))
	if err != nil || run.Protocol.RecordNumSuccess != 1 || !strings.Contains(run.Protocol.ErrorRecords[1].Messages[0].Report, "загрузите список как XLSX") {
		t.Errorf("list-utf8.csv: %v, %+v", err, run)
	}
}

func libreOffice(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.ReadFile("testdata/libreoffice/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
