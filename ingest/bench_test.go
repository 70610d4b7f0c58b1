package ingest

import (
	"archive/zip"
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
		file := generated(b, rows, uint64(done/rows)) // a longer seed would make ids that look like a СНИЛС
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

// BenchmarkLookAhead is what is paid, before the first row, for a file of which not everything is remembered.
func BenchmarkLookAhead(b *testing.B) {
	const rows = 50_000
	var book bytes.Buffer
	if err := fixtures.XLSX(&book, rows, 1, true); err != nil {
		b.Fatal(err)
	}
	for name, file := range map[string][]byte{"csv": generated(b, rows, 1), "xlsx": book.Bytes()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := openRows(bytes.NewReader(file), int64(len(file)), testLimits, titles{})
				if err != nil {
					b.Fatal(err)
				}
				h, again, err := readHeader(r, titles{})
				if err != nil {
					b.Fatal(err)
				}
				k := testChecker(b, "Телефон", func(k *checker) { k.header = h })
				if err := k.lookAhead(again, int64(len(file))); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
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

// BenchmarkXLSX reads a workbook, its check included, beside inflating the same sheet once, which is the limit, and beside excelize's Rows.
func BenchmarkXLSX(b *testing.B) {
	const rows = 100_000
	for _, shared := range []bool{false, true} {
		name := map[bool]string{false: "inline", true: "shared"}[shared]
		var file bytes.Buffer
		if err := fixtures.XLSX(&file, rows, 1, shared); err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/inflate", func(b *testing.B) {
			for b.Loop() {
				z, err := zip.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
				if err != nil {
					b.Fatal(err)
				}
				for _, f := range z.File {
					in, err := f.Open()
					if err == nil {
						_, err = io.Copy(io.Discard, in)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
		})
		b.Run(name+"/own", func(b *testing.B) {
			b.ReportAllocs()
			done := 0
			for b.Loop() {
				r, err := openRows(bytes.NewReader(file.Bytes()), int64(file.Len()), testLimits, titles{})
				if err != nil {
					b.Fatal(err)
				}
				for {
					if _, err = r.Next(); err != nil {
						break
					}
					done++
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
		})
		b.Run(name+"/excelize", func(b *testing.B) {
			done := 0
			for b.Loop() {
				f, err := excelize.OpenReader(bytes.NewReader(file.Bytes()), excelize.Options{UnzipXMLSizeLimit: 1 << 30, RawCellValue: true})
				if err != nil {
					b.Fatal(err)
				}
				r, err := f.Rows("Список")
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
}

// BenchmarkProtocolFile is the way back: the stored file read anew, joined with its verdicts, written as a workbook.
func BenchmarkProtocolFile(b *testing.B) {
	const rows = 50_000
	h := newHub(b, func(c *Config) { c.SliceRows = 10_000 })
	l := h.load(listHeader(), string(generated(b, rows, 1)))
	done := 0
	for b.Loop() {
		d, err := h.ProtocolFile(b.Context(), loader, l.ID)
		if err != nil {
			b.Fatal(err)
		}
		if err := d(io.Discard); err != nil {
			b.Fatal(err)
		}
		done += rows
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
}
