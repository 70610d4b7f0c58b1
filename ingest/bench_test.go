package ingest

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"ekc/citizen"
	"ekc/fixtures"

	"github.com/xuri/excelize/v2"
)

func generated(b *testing.B, n int, seed uint64) []byte {
	b.Helper()
	var file bytes.Buffer
	if err := fixtures.CSV(&file, n, seed); err != nil {
		b.Fatal(err)
	}
	return file.Bytes()
}

// BenchmarkCheckAndAdmit is the whole way: upload, verdicts, sealing, COPY.
func BenchmarkCheckAndAdmit(b *testing.B) {
	const rows = 50_000
	h := newHub(b, func(c *Config) { c.SliceRows = 10_000 })
	done := 0
	for b.Loop() {
		b.StopTimer()
		file := generated(b, rows, uint64(1000+done))
		b.StartTimer()
		if _, err := h.Submit(b.Context(), loader, listHeader(), bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
		h.checkAll()
		done += rows
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
	if n := h.number(`SELECT count(*) FROM notifications`); n != int64(done) {
		b.Fatalf("%d notifications of %d rows", n, done)
	}
}

// BenchmarkVerdicts is reading and checking alone, without a database.
func BenchmarkVerdicts(b *testing.B) {
	const rows = 50_000
	file := generated(b, rows, 1)
	done := 0
	for b.Loop() {
		done += verdicts(b, file)
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
}

func verdicts(b *testing.B, file []byte) int {
	b.Helper()
	r, err := openRows(bytes.NewReader(file), int64(len(file)), testLimits, titles{})
	if err != nil {
		b.Fatal(err)
	}
	h, r, err := readHeader(r, titles{})
	if err != nil {
		b.Fatal(err)
	}
	k := testChecker(b, "Телефон", func(k *checker) { k.header, k.region = h, citizen.Region("22") })
	n := 0
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			b.Fatal(err)
		}
		if k.check(row).ok {
			n++
		}
	}
}

// BenchmarkXLSX reads a workbook, its check included, beside excelize's Rows on the same one.
func BenchmarkXLSX(b *testing.B) {
	const rows = 20_000
	f := excelize.NewFile()
	w, err := f.NewStreamWriter("Sheet1")
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for p := range fixtures.Persons(1) {
		i++
		cell, _ := excelize.CoordinatesToCellName(1, i)
		if err := w.SetRow(cell, []any{p.Phone, p.SNILS, p.Family, p.First, p.Patronymic, p.BirthDate, p.OKTMO, i, "СФР: выплата назначена.", "OP-04"}); err != nil {
			b.Fatal(err)
		}
		if i == rows {
			break
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	var file bytes.Buffer
	if err := f.Write(&file); err != nil {
		b.Fatal(err)
	}
	b.Run("own", func(b *testing.B) {
		done := 0
		for b.Loop() {
			r, err := openRows(bytes.NewReader(file.Bytes()), int64(file.Len()), testLimits, titles{})
			if err != nil {
				b.Fatal(err)
			}
			for {
				if _, err := r.Next(); err != nil {
					break
				}
				done++
			}
		}
		b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("excelize", func(b *testing.B) {
		done := 0
		for b.Loop() {
			f, err := excelize.OpenReader(bytes.NewReader(file.Bytes()), excelize.Options{UnzipXMLSizeLimit: 1 << 30, RawCellValue: true})
			if err != nil {
				b.Fatal(err)
			}
			r, err := f.Rows("Sheet1")
			if err != nil {
				b.Fatal(err)
			}
			for r.Next() {
				if _, err := r.Columns(); err != nil {
					b.Fatal(err)
				}
				done++
			}
			_ = r.Close()
			_ = f.Close()
		}
		b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
	})
}
