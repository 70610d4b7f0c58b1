package ingest

import (
	"fmt"
	"strings"
	"testing"
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
