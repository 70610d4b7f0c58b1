package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

var testLimits = Limits{}.withDefaults()

// rowsOf reads a whole file; each row is its number and its cells joined by "|".
func rowsOf(file []byte, limits Limits) ([]string, error) {
	r, err := openRows(bytes.NewReader(file), int64(len(file)), limits, titles{})
	if err != nil {
		return nil, err
	}
	var out []string
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		s := fmt.Sprintf("%d: %s", row.No, strings.Join(row.Cells, "|"))
		if row.Long {
			s = fmt.Sprintf("%d: long", row.No)
		}
		out = append(out, s)
	}
}

func encoded(t testing.TB, e interface {
	Bytes([]byte) ([]byte, error)
}, s string) string {
	t.Helper()
	b, err := e.Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCSVIsReadAsItsSenderSeesIt(t *testing.T) {
	t.Parallel()
	const plain = "Телефон;Имя\n79030000001;Ёлка\n"
	want := []string{"1: Телефон|Имя", "2: 79030000001|Ёлка"}
	cp1251 := charmap.Windows1251.NewEncoder()
	late := "phone;text\n" + strings.Repeat("79030000001;latin only, nothing else\n", 5000)
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"utf-8":                      {plain, want},
		"utf-8 with mark":            {"\uFEFF" + plain, want},
		"cp1251":                     {encoded(t, cp1251, plain), want},
		"utf-16 le with mark":        {encoded(t, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder(), plain), want},
		"utf-16 be with mark":        {encoded(t, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder(), plain), want},
		"utf-16 le without mark":     {encoded(t, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder(), plain), want},
		"utf-16 be without mark":     {encoded(t, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder(), plain), want},
		"comma":                      {strings.ReplaceAll(plain, ";", ","), want},
		"tab":                        {strings.ReplaceAll(plain, ";", "\t"), want},
		"crlf":                       {strings.ReplaceAll(plain, "\n", "\r\n"), want},
		"cr":                         {strings.ReplaceAll(plain, "\n", "\r"), want},
		"no end of last line":        {strings.TrimSuffix(plain, "\n"), want},
		"sep line":                   {"sep=,\r\n" + strings.ReplaceAll(plain, ";", ","), want},
		"commas in texts do not win": {"Телефон;Текст\n79030000001;а, б, в, г\n", []string{"1: Телефон|Текст", "2: 79030000001|а, б, в, г"}},
		"blank rows are counted":     {"Телефон\n\n ; ;\n79030000001\n", []string{"1: Телефон", "4: 79030000001"}},
		"quotes":                     {"Телефон;Текст\n\"79030000001\";\"ООО \"\"Ромашка\"\"; завтра\"\n", []string{"1: Телефон|Текст", "2: 79030000001|ООО \"Ромашка\"; завтра"}},
		"quote inside a field":       {"Телефон;Текст\n1;ООО \"Ромашка\"\n", []string{"1: Телефон|Текст", "2: 1|ООО \"Ромашка\""}},
		"line break in a field":      {"Телефон;Текст\n1;\"две\r\nстроки\"\n2;б\n", []string{"1: Телефон|Текст", "2: 1|две\nстроки", "3: 2|б"}},
		"digits as text":             {"Телефон;СНИЛС\n=\"79030000001\";=\"00112233445\"\n", []string{"1: Телефон|СНИЛС", "2: 79030000001|00112233445"}},
		"one bad byte in a row":      {"Телефон;Имя\n1;Ма\xD0рия\n2;Анна Андреевна Ахматова\n", []string{"1: Телефон|Имя", "2: 1|Ма\uFFFDрия", "3: 2|Анна Андреевна Ахматова"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := rowsOf([]byte(c.file), testLimits)
			if err != nil || strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, %v\nwant %q", got, err, c.want)
			}
		})
	}
	got, err := rowsOf([]byte(late+encoded(t, cp1251, "79030000002;Поздняя кириллица\n")), testLimits)
	if err != nil || got[len(got)-1] != "5002: 79030000002|Поздняя кириллица" {
		t.Errorf("cyrillic that begins late: %v", err)
	}
}

func TestOpenQuoteNamesItsLine(t *testing.T) {
	t.Parallel()
	rows := strings.Repeat("79030000001;обычная строка\n", 5000)
	for name, c := range map[string]struct {
		file string
		line int
	}{
		"to the end of the file":    {"Телефон;Текст\n1;а\n2;\"открыта\n3;б\n", 3},
		"swallows the file":         {"Телефон;Текст\n1;\"открыта\n" + rows, 2},
		"closed by another's quote": {"Телефон;Текст\n1;\"открыта\n2;б\n3;\"закрыта\"\n", 2},
		"after a quoted line break": {"Телефон;Текст\n1;\"две\nстроки\"\n2;\"открыта\n", 4},
		"on the first line":         {"Телефон;\"Текст\n1;а\n", 1},
		"without the end of a line": {"Телефон;Текст\n1;\"", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rowsOf([]byte(c.file), testLimits)
			var fault *Fault
			if !errors.As(err, &fault) || fault.Code != ErrOpenQuote.Code || !strings.Contains(fault.Detail, fmt.Sprintf("в строке %d ", c.line)) {
				t.Errorf("got %v %v, want line %d", err, fault, c.line)
			}
		})
	}
}

func TestLongRowsAreFaultsOfTheirOwn(t *testing.T) {
	t.Parallel()
	file := "Телефон;Текст\n1;" + strings.Repeat("я", 40_000) + "\n2;б\n3;" + strings.Repeat("в;", 200_000) + "\n4;г\n"
	limits := testLimits
	limits.Columns = 1 << 20
	got, err := rowsOf([]byte(file), limits)
	want := []string{"1: Телефон|Текст", "2: long", "3: 2|б", "4: long", "5: 4|г"}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %.200q, %v", got, err)
	}
}

func TestFormatsThatGetASentence(t *testing.T) {
	t.Parallel()
	ole := make([]byte, 4096)
	copy(ole, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")
	ole[30] = 9
	ole[48] = 1
	sealed := bytes.Clone(ole)
	for i, c := range []byte("EncryptedPackage") {
		sealed[1024+2*i] = c
	}
	dbf := make([]byte, 97+2*10)
	copy(dbf, []byte{0x03, 124, 5, 17, 2, 0, 0, 0, 97, 0, 10, 0})
	for name, c := range map[string]struct {
		file []byte
		want *Fault
	}{
		"nothing":          {nil, ErrEmptyFile},
		"only spaces":      {[]byte(" \r\n\r\n"), ErrEmptyFile},
		"only the mark":    {[]byte("\xEF\xBB\xBF"), ErrEmptyFile},
		"xls":              {ole, ErrFormatXLS},
		"password":         {sealed, ErrPassword},
		"cut ole":          {ole[:20], ErrFormatXLS},
		"dbf":              {dbf, ErrFormatDBF},
		"html":             {[]byte("\r\n<html><table><tr><td>Телефон</td></tr></table></html>"), ErrFormatHTML},
		"html with a mark": {[]byte("\xEF\xBB\xBF<!DOCTYPE html><html>"), ErrFormatHTML},
		"web archive":      {[]byte("MIME-Version: 1.0\r\n"), ErrFormatHTML},
		"xml spreadsheet":  {[]byte("<?xml version=\"1.0\"?><Workbook/>"), ErrFormatXML},
		"pdf":              {[]byte("%PDF-1.7"), ErrFormatOther},
		"rtf":              {[]byte("{\\rtf1}"), ErrFormatOther},
		"empty zip":        {[]byte("PK\x05\x06" + strings.Repeat("\x00", 18)), ErrFormatOther},
		"picture":          {[]byte("\x89PNG\r\n\x1a\n"), ErrFormatOther},
		"binary":           {bytes.Repeat([]byte{0, 0, 7, 0}, 100), ErrFormatOther},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rowsOf(c.file, testLimits)
			wantFault(t, err, c.want)
		})
	}
	small := testLimits
	small.FileBytes = 10
	_, err := rowsOf([]byte("Телефон;Текст"), small)
	wantFault(t, err, ErrTooLarge)
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("Телефон;Имя\n1;\"а\"\"б\"\n"))
	f.Add([]byte("\xFF\xFEТ\x04;\x00"))
	f.Add([]byte("sep=,\na,\"b\nc\",d\r\n"))
	f.Add([]byte("a\tb\rc\td\r\"e"))
	limits := testLimits
	limits.FieldBytes, limits.RowBytes, limits.Columns = 512, 2048, 32
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := openCSV(bytes.NewReader(file), int64(len(file)), limits, titles{})
		if err != nil {
			return
		}
		last := 0
		for {
			row, err := r.Next()
			if err != nil {
				return
			}
			if row.No <= last {
				t.Fatalf("row %d after %d", row.No, last)
			}
			last = row.No
			if len(row.Cells) > limits.Columns {
				t.Fatalf("%d columns", len(row.Cells))
			}
			for _, c := range row.Cells {
				if !utf8.ValidString(c) || len(c) > 3*limits.FieldBytes {
					t.Fatalf("cell of %d bytes, valid %v", len(c), utf8.ValidString(c))
				}
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("Телефон;Имя\n1;2\n")
	f.Add("Список\n\nТел.,Тел.\n")
	f.Add("телeфон 2;ТЕЛЕФОН;e-mail\n")
	f.Fuzz(func(t *testing.T, file string) {
		r, err := openCSV(strings.NewReader(file), int64(len(file)), testLimits, titles{})
		if err != nil {
			return
		}
		h, _, err := readHeader(r, titles{})
		if err != nil {
			var fault *Fault
			if !errors.As(err, &fault) {
				t.Fatal(err)
			}
			return
		}
		if !h.has(fieldPhone) || h.row > headerRows {
			t.Fatalf("a header without a phone, or in row %d", h.row)
		}
		for f, at := range h.at {
			if at >= len(h.columns) || at >= 0 && h.columns[at].Name != fieldNames[f] {
				t.Fatalf("field %d at %d of %d", f, at, len(h.columns))
			}
		}
	})
}
