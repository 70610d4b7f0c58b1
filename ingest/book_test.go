package ingest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/xuri/excelize/v2"
)

// A sheet ends at its last row, the rows do not.
func TestRowsThatHaveNoRoomOnASheetGoOnOnAnother(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := newBook(&out, sheetPlan{name: "Строки", header: 2}, sheetPlan{name: "Итог"})
	b.rows = 5
	b.next()
	b.line(styleText, "над заголовком")
	b.line(styleTitle, "Номер")
	for no := 3; no <= 14; no++ {
		if no != 6 { // a hidden row leaves a gap
			b.rowAt(no, styleText, []string{fmt.Sprint(no)})
		}
	}
	b.line(styleText, "последняя")
	b.next()
	b.line(styleTitle, "Всего")
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, sheet := range f.GetSheetList() {
		rows, err := f.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintf("%s%v ", sheet, rows)
	}
	if want := "Строки[[над заголовком] [Номер] [3] [4] [5]] Строки (2)[[Номер] [7] [8] [9] [10]] Строки (3)[[Номер] [11] [12] [13] [14]] Строки (4)[[Номер] [последняя]] Итог[[Всего]] "; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
