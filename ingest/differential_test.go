package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
)

// agreement is one way in which a cell of ours and of excelize may differ and mean the same, with the reason for ours.
type agreement struct {
	why  string
	same func(ours string, theirs excelizeCell) bool
}

// excelizeCell is a cell as excelize has it: as it is stored, and as excelize would show it.
type excelizeCell struct {
	raw, shown string
	date1904   bool
}

var agreements = []agreement{
	{"the same", func(ours string, theirs excelizeCell) bool { return ours == theirs.raw || ours == theirs.shown }},
	{"our decimals have a comma, as people here write them", func(ours string, theirs excelizeCell) bool {
		point := strings.Replace(ours, ",", ".", 1)
		return point == theirs.shown || point == theirs.raw
	}},
	{"we write digits where a number is stored or shown by an exponent, so that a phone can be read; and no more than fifteen", func(ours string, theirs excelizeCell) bool {
		a, err1 := strconv.ParseFloat(strings.Replace(ours, ",", ".", 1), 64)
		b, err2 := strconv.ParseFloat(theirs.raw, 64)
		return err1 == nil && err2 == nil && significant(a) == significant(b)
	}},
	{"excelize shows dates as Americans do, or in English words; we as people here", func(ours string, theirs excelizeCell) bool {
		days, err := strconv.ParseFloat(theirs.raw, 64)
		if err != nil {
			return false
		}
		at, err := excelize.ExcelDateToTime(days, theirs.date1904)
		return err == nil && ours == dateShown(at)
	}},
	{"a cell of type d is shown by us like any date", func(ours string, theirs excelizeCell) bool {
		at, err := time.Parse("2006-01-02T15:04:05", (theirs.raw + "T00:00:00")[:min(19, len(theirs.raw)+9)])
		return err == nil && ours == dateShown(at)
	}},
	{"true and false in Russian", func(ours string, theirs excelizeCell) bool {
		return ours == map[string]string{"1": "ИСТИНА", "0": "ЛОЖЬ", "TRUE": "ИСТИНА", "FALSE": "ЛОЖЬ"}[theirs.raw]
	}},
	{"no thousands and no currency, which belong into a template", func(ours string, theirs excelizeCell) bool {
		bare := strings.TrimSpace(strings.NewReplacer(",", "", "₽", "").Replace(theirs.shown))
		return strings.Replace(ours, ",", ".", 1) == bare
	}},
	{"excelize gives a formula without a value as an empty cell: a row would go out without it", func(ours string, theirs excelizeCell) bool {
		return ours == errorCell && theirs.raw == ""
	}},
	{"errors that came after us are one error", func(ours string, theirs excelizeCell) bool {
		return ours == errorCell && strings.HasPrefix(theirs.raw, "#")
	}},
}

// Over the whole corpus our reader sees what a reader sees that is built on excelize, cell by cell. Every difference is one of the
// agreements, or the manifest says why excelize is wrong about the file.
func TestCorpusIsReadAsByExcelize(t *testing.T) {
	t.Parallel()
	files, err := corpusFiles()
	if err != nil {
		t.Fatal(err)
	}
	want := expectations(t)
	met := make([]int, len(agreements))
	compared := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name, ".xlsx") {
			continue
		}
		why := want[f.Name].Excelize
		if strings.HasPrefix(why, "slow") {
			continue
		}
		ours, err := cellsOf(f.Bytes)
		if err != nil {
			continue // refused: the manifest's test looks after it
		}
		compared++
		theirs, err := excelizeCells(f.Bytes)
		differences := compare(ours, theirs, met)
		if err != nil {
			differences = append(differences, err.Error())
		}
		if (len(differences) > 0) != (why != "") {
			t.Errorf("%s: %d differences, reason %q: %.400q", f.Name, len(differences), why, differences)
		}
	}
	if compared < 30 {
		t.Errorf("only %d files were compared", compared)
	}
	for i, n := range met {
		if n == 0 {
			t.Errorf("nothing in the corpus needs: %s", agreements[i].why)
		}
	}
}

func compare(ours map[int][]string, theirs map[int][]excelizeCell, met []int) (differences []string) {
	for no, cells := range ours {
		if theirs[no] == nil {
			differences = append(differences, fmt.Sprintf("row %d is ours alone", no))
		}
		for i := range max(len(cells), len(theirs[no])) {
			var a string
			var b excelizeCell
			if i < len(cells) {
				a = cells[i]
			}
			if i < len(theirs[no]) {
				b = theirs[no][i]
			}
			agreed := false
			for k := range agreements {
				if agreed = agreements[k].same(a, b); agreed {
					met[k]++
					break
				}
			}
			if !agreed {
				differences = append(differences, fmt.Sprintf("row %d, column %d: %q, excelize has %q, shown as %q", no, i+1, a, b.raw, b.shown))
			}
		}
	}
	for no := range theirs {
		if ours[no] == nil {
			differences = append(differences, fmt.Sprintf("row %d is excelize's alone", no))
		}
	}
	return differences
}

func cellsOf(file []byte) (map[int][]string, error) {
	r, err := openRows(bytes.NewReader(file), int64(len(file)), testLimits, titles{})
	if err != nil {
		return nil, err
	}
	rows := make(map[int][]string)
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		rows[row.No] = keep(row).Cells
	}
}

// excelizeCells is what a person sees of the first visible sheet, by excelize.
func excelizeCells(file []byte) (map[int][]excelizeCell, error) {
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sheet := ""
	for _, name := range f.GetSheetList() {
		if visible, err := f.GetSheetVisible(name); err == nil && visible && sheet == "" {
			sheet = name
		}
	}
	raw, err := f.GetRows(sheet, excelize.Options{RawCellValue: true})
	if err != nil {
		return nil, err
	}
	shown, err := f.GetRows(sheet)
	if err != nil {
		return nil, err
	}
	properties, err := f.GetWorkbookProps()
	if err != nil {
		return nil, err
	}
	date1904 := properties.Date1904 != nil && *properties.Date1904
	cells := make(map[int][]excelizeCell)
	at := func(no, i int) (c excelizeCell) {
		c.date1904 = date1904
		if no <= len(raw) && i < len(raw[no-1]) {
			c.raw = raw[no-1][i]
		}
		if no <= len(shown) && i < len(shown[no-1]) {
			c.shown = shown[no-1][i]
		}
		return c
	}
	for no := 1; no <= len(raw); no++ {
		for i := range raw[no-1] {
			cells[no] = append(cells[no], at(no, i))
		}
	}
	above := make(map[[2]int]bool) // places whose value comes from a row above
	merged, err := f.GetMergeCells(sheet)
	if err != nil {
		return nil, err
	}
	for _, m := range merged {
		left, top, err1 := excelize.CellNameToCoordinates(m.GetStartAxis())
		right, bottom, err2 := excelize.CellNameToCoordinates(m.GetEndAxis())
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		for no := top; no <= min(bottom, top+100); no++ {
			for i := left - 1; i < min(right, left+100); i++ {
				for len(cells[no]) <= i {
					cells[no] = append(cells[no], excelizeCell{})
				}
				cells[no][i] = at(top, left-1)
				above[[2]int{no, i}] = no > top
			}
		}
	}
	for no, row := range cells {
		visible, err := f.GetRowVisible(sheet, no)
		if err != nil {
			return nil, err
		}
		own := false
		for i := range row {
			column, err := excelize.ColumnNumberToName(i + 1)
			if err != nil {
				return nil, err
			}
			shown, err := f.GetColVisible(sheet, column)
			if err != nil {
				return nil, err
			}
			if !shown {
				row[i] = excelizeCell{}
			}
			own = own || strings.TrimSpace(row[i].raw) != "" && !above[[2]int{no, i}] || strings.TrimSpace(row[i].shown) != "" && !above[[2]int{no, i}]
		}
		if !visible || !own {
			delete(cells, no)
		}
	}
	return cells, nil
}
