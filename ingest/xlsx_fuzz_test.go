package ingest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/xuri/excelize/v2"

	"ekc/fixtures/corpus"
)

// FuzzXLSXSheet reads any sheet: rows are in order and bounded, and the first pass finds the same whether it looks at every tag or not.
func FuzzXLSXSheet(f *testing.F) {
	whole := parts(f, book(f, func(b *excelize.File, sheet string) { set(f, b, sheet, []any{"Телефон", 1, 2.5}) }))
	f.Add(whole["xl/worksheets/sheet1.xml"], whole["xl/styles.xml"])
	f.Add(`<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row></sheetData></worksheet>`, "")
	for _, name := range []string{"merged-header.xlsx", "merged-nonsense.xlsx", "hidden-columns.xlsx", "rich-text.xlsx", "prefixes.xlsx", "comments-and-instructions.xlsx",
		"dates.xlsx", "formulas.xlsx"} {
		file, err := corpus.Make(name, corpusSeed)
		if err != nil {
			f.Fatal(err)
		}
		p := parts(f, file.Bytes)
		f.Add(p["xl/worksheets/sheet1.xml"], p["xl/styles.xml"])
	}
	limits := testLimits
	limits.FieldBytes, limits.Columns = 1024, 64
	f.Fuzz(func(t *testing.T, sheet, styles string) {
		p := maps.Clone(whole)
		p["xl/worksheets/sheet1.xml"], p["xl/styles.xml"] = sheet, styles
		file := zipped(t, p)
		r, err := openXLSX(bytes.NewReader(file), int64(len(file)), limits)
		if err != nil {
			return
		}
		var slow sheetOutline
		if err := slow.read(newXMLScanner(io.NopCloser(strings.NewReader(sheet))), false); err == nil && (slow.rows != r.outline.rows || slow.stated != r.outline.stated) {
			t.Fatalf("%d rows by every tag, %d by the table alone", slow.rows, r.outline.rows)
		}
		last := 0
		for {
			row, err := r.Next()
			if err != nil {
				var fault *Fault
				if err != io.EOF && !errors.As(err, &fault) {
					t.Fatal(err)
				}
				return
			}
			if row.No <= last || len(row.Cells) > limits.Columns || row.Merged != nil && len(row.Merged) != len(row.Cells) {
				t.Fatalf("row %d after %d, %d cells, %d of them merged", row.No, last, len(row.Cells), len(row.Merged))
			}
			for i, first := range row.Merged {
				if first < 0 || first > i {
					t.Fatalf("column %d begins in %d", i, first)
				}
			}
			last = row.No
		}
	})
}

// FuzzWorkbook reads any bytes that may be a zip.
func FuzzWorkbook(f *testing.F) {
	for _, name := range corpus.Names() {
		if strings.HasPrefix(name, "bomb-") || strings.HasPrefix(name, "million-") || !strings.HasSuffix(name, ".xlsx") {
			continue
		}
		file, err := corpus.Make(name, corpusSeed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes)
	}
	limits := testLimits
	limits.UnpackedBytes, limits.StringBytes = 4<<20, 1<<20
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := openRows(bytes.NewReader(file), int64(len(file)), limits, titles{})
		if err == nil {
			_, r, err = readHeader(r, titles{})
		}
		var fault *Fault
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF && !errors.As(err, &fault) {
			t.Fatal(err)
		}
	})
}

// FuzzXMLScanner holds the scanner against encoding/xml: what both take reads the same.
func FuzzXMLScanner(f *testing.F) {
	for _, s := range []string{`<a b="c>d"><x:e/>т&lt;&#1103;&#x2F;<![CDATA[<i>]]]]><!-- - --></a>`, "\uFEFF<?xml version='1.0'?>\r\n<a>\r\r\n</a >", `<a><b></a></b>`,
		`<a x='1' y="&amp;"></a><!-- end -->`, `<a><![CDATA[]]]]]></a>`, "<a><![CDATA[1\r\n\r]\r\n]]></a>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, part string) {
		ours, err := xmlByUs(strings.NewReader(part))
		bits, bitsErr := xmlByUs(iotest.OneByteReader(strings.NewReader(part)))
		if ours != bits || (err == nil) != (bitsErr == nil) {
			t.Fatalf("whole %q, %v; byte by byte %q, %v", ours, err, bits, bitsErr)
		}
		if err != nil {
			return
		}
		theirs, err := xmlByThem(part)
		if err == nil && ours != theirs {
			t.Fatalf("ours %q, theirs %q", ours, theirs)
		}
	})
}

// oneLine evens out the line ends of attributes, which encoding/xml makes the same and no part of a sheet has.
var oneLine = strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ", "\t", " ")

func xmlByUs(part io.Reader) (string, error) {
	x := newXMLScanner(io.NopCloser(part))
	var out []byte
	for {
		if err := x.next(); err != nil {
			return "", err
		}
		switch x.kind {
		case xmlEOF:
			return string(out), nil
		case xmlStart:
			out = append(append(append(out, '<'), x.name...), '>')
			for key, value, rest := nextAttr(x.attrs); key != nil; key, value, rest = nextAttr(rest) {
				out = append(append(out, '='), oneLine.Replace(string(attrValue(value)))...)
			}
		case xmlEnd:
			out = append(append(append(out, '<', '/'), x.name...), '>')
		case xmlText:
			var err error
			if out, err = x.appendText(out); err != nil {
				return "", err
			}
		}
	}
}

func xmlByThem(part string) (string, error) {
	d := xml.NewDecoder(strings.NewReader(part))
	var out []byte
	deep := 0
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			return string(out), nil
		}
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.StartElement:
			deep++
			out = append(out, "<"+token.Name.Local+">"...)
			for _, a := range token.Attr {
				out = append(out, "="+oneLine.Replace(a.Value)...)
			}
		case xml.EndElement:
			deep--
			out = append(out, "</"+token.Name.Local+">"...)
		case xml.CharData:
			if deep > 0 {
				out = append(out, token...)
			}
		case xml.Directive:
			return "", errors.New("directive")
		}
	}
}
