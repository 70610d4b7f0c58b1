package ingest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// A large file, whose rows are not all remembered, gets the verdicts of a small one.
func TestLookingAheadChangesNoVerdict(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("Телефон;ФИО;Внешний номер;Текст\n")
	for i := range 5000 {
		id, phone := fmt.Sprint("дело-", i), fmt.Sprintf("+7903%07d", i)
		switch i % 100 {
		case 7:
			id = fmt.Sprint("дело-", i-5)
		case 9:
			id = ""
		case 50:
			phone = fmt.Sprintf("8 (903) %07d", i-1)
		}
		fmt.Fprintf(&file, "%s;Человек %d;%s;текст\n", phone, i, id)
	}
	verdicts := func(ahead bool) (all []string, k *checker) {
		open := func() (*header, rowReader) {
			r, err := openRows(strings.NewReader(file.String()), int64(file.Len()), testLimits, titles{})
			if err != nil {
				t.Fatal(err)
			}
			h, rows, err := readHeader(r, titles{})
			if err != nil {
				t.Fatal(err)
			}
			return h, rows
		}
		h, rows := open()
		k = testChecker(t, "Телефон", func(k *checker) { k.header = h })
		if ahead {
			_, again := open()
			if err := k.lookAhead(again, int64(file.Len())); err != nil {
				t.Fatal(err)
			}
		}
		for {
			row, err := rows.Next()
			if err != nil {
				return all, k
			}
			all = append(all, codes(k.check(row).messages))
		}
	}
	plain, _ := verdicts(false)
	ahead, k := verdicts(true)
	for i := range plain {
		if plain[i] != ahead[i] {
			t.Fatalf("row %d: %q, and %q after looking ahead", i+2, plain[i], ahead[i])
		}
	}
	if n := strings.Count(strings.Join(ahead, " "), "108"); n != 50 {
		t.Errorf("%d repeated ids", n)
	}
	if n := strings.Count(strings.Join(ahead, " "), "116"); n != 50 {
		t.Errorf("%d shared phones", n)
	}
	if n := k.ids.table.used + k.phones.table.used; n > 1000 {
		t.Errorf("%d of 10,000 values are remembered", n)
	}
	if len(plain) != 5000 {
		t.Errorf("%d rows", len(plain))
	}
}

// A workbook says how many rows it has; of other files only the size is known before they are read.
func TestOnlyAFileThatMayBeLargeIsReadTwice(t *testing.T) {
	t.Parallel()
	book := func(rows int) *listRows { return &listRows{rows: &xlsxReader{outline: sheetOutline{rows: rows}}} }
	text := &listRows{rows: &csvReader{}}
	for _, c := range []struct {
		rows *listRows
		size int64
		want bool
	}{{book(1_000_000), 60 << 20, true}, {book(everyRowOf + 1), 60 << 20, false}, {book(everyRowOf + 1), 1 << 20, true}, {text, 1 << 20, true}, {text, 60 << 20, false}} {
		if got := remembersAll(c.rows, c.size); got != c.want {
			t.Errorf("%T of %d bytes: %v", c.rows.rows, c.size, got)
		}
	}
	file := plainBook(t)
	r, err := openRows(bytes.NewReader(file), int64(len(file)), testLimits, titles{})
	if err != nil {
		t.Fatal(err)
	}
	_, rows, err := readHeader(r, titles{})
	if err != nil || !remembersAll(rows, 60<<20) {
		t.Errorf("a workbook on its way through the readers is not known as one: %v", err)
	}
}

func plainBook(t *testing.T) []byte {
	return book(t, func(f *excelize.File, sheet string) {
		set(t, f, sheet, []any{"Телефон", "Текст"}, []any{"+79030000001", "т"})
	})
}
