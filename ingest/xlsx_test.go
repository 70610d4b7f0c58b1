package ingest

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
)

// book makes a workbook by excelize.
func book(t testing.TB, build func(f *excelize.File, sheet string)) []byte {
	t.Helper()
	f := excelize.NewFile()
	build(f, "Sheet1")
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func set(t testing.TB, f *excelize.File, sheet string, rows ...[]any) {
	t.Helper()
	for i, row := range rows {
		if err := f.SetSheetRow(sheet, fmt.Sprintf("A%d", i+1), &row); err != nil {
			t.Fatal(err)
		}
	}
}

func TestXLSXIsReadAsItsSenderSeesIt(t *testing.T) {
	t.Parallel()
	file := book(t, func(f *excelize.File, sheet string) {
		set(t, f, sheet, []any{"Телефон", "СНИЛС", "Дата рождения", "Число", "Да", "Пусто", "Время"},
			[]any{79030000001, 11223344595, time.Date(1960, 3, 15, 0, 0, 0, 0, time.UTC), 12.5, true, nil, time.Date(2026, 3, 15, 10, 30, 0, 0, time.UTC)},
			[]any{"+7 903 000-00-02", "112-233-445 95", "15.03.1960", 1e11, false, " ", "x"})
		if err := f.SetCellValue(sheet, "A6", "последняя"); err != nil {
			t.Fatal(err)
		}
		mask, err := f.NewStyle(&excelize.Style{CustomNumFmt: ptr(`000\-000\-000\ 00`)})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.SetCellStyle(sheet, "B2", "B2", mask); err != nil {
			t.Fatal(err)
		}
	})
	got, err := rowsOf(file, testLimits)
	want := []string{
		"1: Телефон|СНИЛС|Дата рождения|Число|Да|Пусто|Время",
		"2: 79030000001|112-233-445 95|15.03.1960|12,5|ИСТИНА||15.03.2026 10:30",
		"3: +7 903 000-00-02|112-233-445 95|15.03.1960|100000000000|ЛОЖЬ| |x",
		"6: последняя",
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

func ptr[T any](v T) *T { return &v }

func TestHiddenRowsColumnsAndSheetsAreSkipped(t *testing.T) {
	t.Parallel()
	file := book(t, func(f *excelize.File, sheet string) {
		set(t, f, sheet, []any{"приманка"})
		second, err := f.NewSheet("Список")
		if err != nil {
			t.Fatal(err)
		}
		f.SetActiveSheet(second) // the active one cannot be hidden
		set(t, f, "Список", []any{"Телефон", "Тайна", "Имя"}, []any{"1", "x", "а"}, []any{"2", "y", "б"}, []any{"3", "z", "в"})
		for _, err := range []error{f.SetSheetVisible(sheet, false), f.SetRowVisible("Список", 3, false), f.SetColVisible("Список", "B", false)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	got, err := rowsOf(file, testLimits)
	want := []string{"1: Телефон||Имя", "2: 1||а", "4: 3||в"}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, %v", got, err)
	}
}

// What our reader says of a plain workbook is what excelize says of it.
func TestPlainRowsAgreeWithExcelize(t *testing.T) {
	t.Parallel()
	file := book(t, func(f *excelize.File, sheet string) {
		w, err := f.NewStreamWriter(sheet)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			row := []any{fmt.Sprintf("+7903%07d", i), i, fmt.Sprintf("Имя & <%d> \"ё\"", i), "строка\nвторая", nil, float64(i) + 0.0}
			if err := w.SetRow(fmt.Sprintf("A%d", i+1), row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	got, err := rowsOf(file, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := f.GetRows("Sheet1")
	if err != nil || len(want) != len(got) {
		t.Fatalf("%d rows, excelize has %d, %v", len(got), len(want), err)
	}
	for i := range want {
		if s := fmt.Sprintf("%d: %s", i+1, strings.Join(want[i], "|")); s != got[i] {
			t.Fatalf("got %q, excelize has %q", got[i], s)
		}
	}
}

func parts(t testing.TB, file []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(b)
	}
	return all
}

func zipped(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, parts[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWorkbooksThatAreRefused(t *testing.T) {
	t.Parallel()
	whole := book(t, func(f *excelize.File, sheet string) {
		var rows [][]any
		for i := range 500 {
			rows = append(rows, []any{"Телефон", "Имя", i})
		}
		set(t, f, sheet, rows...)
	})
	const sheet = "xl/worksheets/sheet1.xml"
	change := func(f func(p map[string]string)) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			p := parts(t, whole)
			f(p)
			return zipped(t, p)
		}
	}
	liar := func(t *testing.T) []byte {
		// The directory says that the sheet is shorter than it is.
		file := bytes.Clone(whole)
		at := bytes.LastIndex(file, []byte(sheet)) - 46
		file[at+24] ^= 0x10
		return file
	}
	crc := func(t *testing.T) []byte {
		file := bytes.Clone(whole)
		at := bytes.LastIndex(file, []byte(sheet)) - 46
		file[at+16] ^= 0xFF
		return file
	}
	for name, c := range map[string]struct {
		file func(t *testing.T) []byte
		want *Fault
	}{
		"cut in the middle":   {func(*testing.T) []byte { return whole[:len(whole)/2] }, ErrDamaged},
		"sheet cut half-way":  {change(func(p map[string]string) { p[sheet] = p[sheet][:len(p[sheet])/2] }), ErrDamaged},
		"broken tag half-way": {change(func(p map[string]string) { p[sheet] = strings.Replace(p[sheet], `<row r="250"`, `<row r="250" <`, 1) }), ErrDamaged},
		"size that lies":      {liar, ErrDamaged},
		"wrong checksum":      {crc, ErrDamaged},
		"rows out of order":   {change(func(p map[string]string) { p[sheet] = strings.Replace(p[sheet], `<row r="250"`, `<row r="3"`, 1) }), ErrDamaged},
		"shared string missing": {change(func(p map[string]string) {
			p["xl/sharedStrings.xml"] = `<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"/>`
		}), ErrDamaged},
		"macros":             {change(func(p map[string]string) { p["xl/vbaProject.bin"] = "x" }), ErrMacros},
		"links":              {change(func(p map[string]string) { p["xl/externalLinks/externalLink1.xml"] = "<x/>" }), ErrLinks},
		"doctype":            {change(func(p map[string]string) { p[sheet] = `<!DOCTYPE x [<!ENTITY a "b">]>` + p[sheet] }), ErrDoctype},
		"doctype in strings": {change(func(p map[string]string) { p["xl/sharedStrings.xml"] = `<!DOCTYPE x>` + p["xl/sharedStrings.xml"] }), ErrDoctype},
		"path upwards":       {change(func(p map[string]string) { p["../evil"] = "x" }), ErrPaths},
		"no sheet shown": {change(func(p map[string]string) {
			p["xl/workbook.xml"] = strings.Replace(p["xl/workbook.xml"], "<sheet ", `<sheet state="veryHidden" `, 1)
		}), ErrNoSheet},
		"binary book": {change(func(p map[string]string) { p["xl/workbook.bin"] = "x" }), ErrFormatXLSB},
		"ods":         {change(func(p map[string]string) { p["content.xml"] = "x"; p["mimetype"] = "y" }), ErrFormatODS},
		"other zip":   {func(t *testing.T) []byte { return zipped(t, map[string]string{"a.txt": "x"}) }, ErrFormatOther},
		"bomb": {change(func(p map[string]string) {
			p[sheet] = strings.Replace(p[sheet], "</sheetData>", strings.Repeat(" ", 9<<20)+"</sheetData>", 1)
		}), ErrZipBomb},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := testLimits
			limits.UnpackedBytes = 8 << 20
			rows, err := rowsOf(c.file(t), limits)
			if err == nil {
				t.Fatalf("%d rows were read", len(rows))
			}
			wantFault(t, err, c.want)
		})
	}
}

func TestOddWorkbooksThatAreTaken(t *testing.T) {
	t.Parallel()
	const head = `<?xml version="1.0" encoding="UTF-8"?>`
	whole := parts(t, book(t, func(f *excelize.File, sheet string) { set(t, f, sheet, []any{"x"}) }))
	for name, c := range map[string]struct {
		sheet string
		want  []string
	}{
		"prefixes": {head + `<x:worksheet xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><x:sheetData><x:row r="1"><x:c r="A1" t="inlineStr"><x:is><x:t>Телефон</x:t></x:is></x:c></x:row></x:sheetData></x:worksheet>`,
			[]string{"1: Телефон"}},
		"other quotes and no references": {`<worksheet xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main'><sheetData><row><c t='str'><v>а</v></c><c><v>7.9030000001E10</v></c></row><row><c><v>1</v></c></row></sheetData></worksheet>`,
			[]string{"1: а|79030000001", "2: 1"}},
		"runs, phonetics, cdata and escapes": {`<worksheet><sheetData><row r="2"><c r="B2" t="inlineStr"><is><r><t>Ива</t></r><r><t xml:space="preserve">нова </t></r><rPh><t>нет</t></rPh><r><t><![CDATA[<М>]]>_x000D_</t></r></is></c></row></sheetData></worksheet>`,
			[]string{"2: |Иванова <М>\r"}},
		"a formula without its value": {`<worksheet><sheetData><row r="1"><c r="A1"><f>B1+1</f></c><c r="B1" t="e"><v>#N/A</v></c></row></sheetData></worksheet>`,
			[]string{"1: #VALUE!|#N/A"}},
		"empty":                {`<worksheet><sheetData/></worksheet>`, nil},
		"a space in the abyss": {`<worksheet><sheetData><row r="1"><c r="A1" t="str"><v>а</v></c></row><row r="1048576"><c r="XFD1048576" t="str"><v> </v></c></row></sheetData></worksheet>`, []string{"1: а"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := maps.Clone(whole)
			p["xl/worksheets/sheet1.xml"] = c.sheet
			got, err := rowsOf(zipped(t, p), testLimits)
			if err != nil || strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestNumberFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code, value, want string
		date04            bool
	}{
		{"General", "12.5", "12,5", false},
		{"General", "79030000001", "79030000001", false},
		{"General", "0.1", "0,1", false},
		{"0", "12.4", "12", false},
		{"#,##0.00", "1234.5", "1234,50", false},
		{"00000000000", "112233445", "00112233445", false},
		{`000\-000\-000\ 00`, "11223344595", "112-233-445 95", false},
		{`"+"0\ (000)\ 000\-00\-00`, "79030000001", "+7 (903) 000-00-01", false},
		{"dd.mm.yyyy", "45000", "15.03.2023", false},
		{"[$-419]d\\ mmmm\\ yyyy;@", "45000.5", "15.03.2023 12:00", false},
		{"h:mm", "0.4375", "10:30", false},
		{"dd.mm.yyyy", "60", "01.03.1900", false}, // the day that never was is shown as the next one
		{"dd.mm.yyyy", "59", "28.02.1900", false},
		{"dd.mm.yyyy", "1", "02.01.1904", true},
		{"[Red]0.0%", "0.5", "50,0%", false},
		{"dd.mm.yyyy", "не число", "не число", false},
	} {
		if got := parseFormat(c.code).show(c.value, c.date04); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.code, c.value, got, c.want)
		}
	}
}

// TestUnpackingLetsOthersGoFirst counts how often another goroutine has its turn on the one processor there is, while a small workbook unpacks
// to a large one. It may not run beside other tests.
func TestUnpackingLetsOthersGoFirst(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	sheet := `<worksheet><sheetData>` + strings.Repeat("<row><c/></row>", 4<<20) + `</sheetData></worksheet>`
	whole := parts(t, book(t, func(f *excelize.File, sheet string) { set(t, f, sheet, []any{"x"}) }))
	whole["xl/worksheets/sheet1.xml"] = sheet
	file := zipped(t, whole)
	turns := 0
	var ended atomic.Bool
	go func() {
		defer ended.Store(true)
		if n, err := CountRows(bytes.NewReader(file), int64(len(file))); n != 0 || err == nil {
			t.Errorf("%d rows, %v", n, err)
		}
	}()
	for ; !ended.Load(); turns++ {
		runtime.Gosched()
	}
	if windows := len(sheet) / xmlWindow; turns < windows {
		t.Errorf("%d turns while %d windows were unpacked", turns, windows)
	}
}
