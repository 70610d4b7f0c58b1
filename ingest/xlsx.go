package ingest

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// xlsxReader reads one worksheet (ECMA-376 part 1, 18.3) as a stream. The part was inflated to its end, its CRC and closing tag
// checked and its rows counted before the first row is handed out, so that a damaged sheet is refused, not halved.
//
// It reads the parts by itself: excelize writes a part it finds large to the temporary folder, where nothing personal may lie, or holds
// the whole of it in memory.
type xlsxReader struct {
	dec     *xml.Decoder
	limits  Limits
	strings []string
	styles  []numberFormat
	date04  bool

	hidden map[int]bool // columns, from 0
	rows   int          // <row> elements handed out or skipped
	want   int          // <row> elements the check counted
	last   int          // number of the last row
	cells  []string
	long   bool
}

func openXLSX(file io.ReaderAt, size int64, limits Limits) (*xlsxReader, error) {
	book, err := openWorkbook(file, size, limits)
	if err != nil {
		return nil, err
	}
	sheet, err := book.firstVisibleSheet()
	if err != nil {
		return nil, err
	}
	r := &xlsxReader{limits: limits, date04: book.date04, hidden: map[int]bool{}}
	if r.strings, err = book.sharedStrings(); err != nil {
		return nil, err
	}
	if r.styles, err = book.numberFormats(); err != nil {
		return nil, err
	}
	if r.want, err = verifySheet(sheet, limits); err != nil {
		return nil, err
	}
	in, err := sheet.Open()
	if err != nil {
		return nil, ErrDamaged
	}
	r.dec = newDecoder(in)
	return r, nil
}

func isTrue(s string) bool { return s == "1" || s == "true" }

var rootTag = regexp.MustCompile(`<([A-Za-z_][\w.-]*:)?worksheet[\s>]`)

// verifySheet inflates the part to its end, which checks its size and CRC, demands </sheetData>, and counts the rows.
func verifySheet(f *zip.File, limits Limits) (rows int, err error) {
	in, err := f.Open()
	if err != nil {
		return 0, ErrDamaged
	}
	defer in.Close()
	const tail = 64 // longer than any tag looked for
	buf := make([]byte, 0, 256<<10)
	var rowTag, endTag []byte
	ended, self := false, false
	for first := true; ; first = false {
		n, err := io.ReadFull(in, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return 0, ErrDamaged
		}
		if first {
			m := rootTag.FindSubmatch(buf)
			if m == nil {
				return 0, ErrDamaged
			}
			rowTag = append([]byte("<"), append(m[1], "row"...)...)
			endTag = append([]byte("</"), append(m[1], "sheetData>"...)...)
			self = bytes.Contains(buf, append([]byte("<"), append(m[1], "sheetData/>"...)...))
		}
		if bytes.Contains(buf, []byte("<!DOCTYPE")) {
			return 0, ErrDoctype
		}
		// What starts within the tail is counted with the next piece.
		limit := len(buf)
		if !last {
			limit -= tail
		}
		for at := 0; ; {
			i := bytes.Index(buf[at:], rowTag)
			if i < 0 || at+i >= limit {
				break
			}
			at += i + len(rowTag)
			if at < len(buf) && bytes.IndexByte([]byte(" \t\r\n/>"), buf[at]) >= 0 {
				rows++
			}
		}
		ended = ended || bytes.Contains(buf, endTag)
		if last {
			break
		}
		buf = buf[:copy(buf[:cap(buf)], buf[limit:])]
	}
	if !ended && !(self && rows == 0) {
		return 0, ErrDamaged
	}
	if rows > limits.Rows+2_000_000 { // rows without a value are not counted against the limit, but have their own
		return 0, ErrTooManyRows.with(limits.Rows)
	}
	return rows, nil
}

// Next returns the next row that has a value and is not hidden.
func (r *xlsxReader) Next() (sheetRow, error) {
	for {
		t, err := token(r.dec)
		if errors.Is(err, io.EOF) {
			if r.rows != r.want {
				return sheetRow{}, ErrDamaged
			}
			return sheetRow{}, io.EOF
		}
		if err != nil {
			return sheetRow{}, err
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "col":
			if isTrue(attr(e, "hidden")) {
				from, err1 := strconv.Atoi(attr(e, "min"))
				to, err2 := strconv.Atoi(attr(e, "max"))
				for c := from; err1 == nil && err2 == nil && c <= to && c <= r.limits.Columns; c++ {
					r.hidden[c-1] = true
				}
			}
		case "row":
			no, err := r.rowNumber(e)
			if err != nil {
				return sheetRow{}, err
			}
			if err := r.readRow(); err != nil {
				return sheetRow{}, err
			}
			if isTrue(attr(e, "hidden")) || !r.long && blank(r.cells) {
				continue
			}
			return sheetRow{No: no, Cells: r.cells, Long: r.long}, nil
		}
	}
}

func (r *xlsxReader) rowNumber(e xml.StartElement) (int, error) {
	r.rows++
	no := r.last + 1
	if s := attr(e, "r"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= r.last || n > 1<<20 {
			return 0, ErrDamaged
		}
		no = n
	}
	r.last = no
	return no, nil
}

// readRow reads the cells up to the row's end.
func (r *xlsxReader) readRow() error {
	r.cells, r.long = r.cells[:0], false
	column, size := -1, 0
	for {
		t, err := token(r.dec)
		if err != nil {
			return damagedAtEnd(err)
		}
		switch t := t.(type) {
		case xml.EndElement:
			if t.Name.Local == "row" {
				return nil
			}
		case xml.StartElement:
			if t.Name.Local != "c" {
				continue
			}
			column++
			if ref := attr(t, "r"); ref != "" {
				c, ok := columnOf(ref)
				if !ok || c < column {
					return ErrDamaged
				}
				column = c
			}
			value, err := r.readCell(t)
			if err != nil {
				return err
			}
			if column >= r.limits.Columns || r.hidden[column] || value == "" {
				continue
			}
			if len(value) > r.limits.FieldBytes || size+len(value) > r.limits.RowBytes {
				r.long = true
				continue
			}
			size += len(value)
			for len(r.cells) <= column {
				r.cells = append(r.cells, "")
			}
			r.cells[column] = value
		}
	}
}

// readCell returns what a person sees in the cell (18.3.1.4).
func (r *xlsxReader) readCell(cell xml.StartElement) (string, error) {
	kind, style := attr(cell, "t"), attr(cell, "s")
	var value []byte
	inValue, formula := false, false
	for {
		t, err := token(r.dec)
		if err != nil {
			return "", damagedAtEnd(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "v":
				inValue = true
			case "f":
				formula = true
			case "is":
				s, err := richText(r.dec, "is", r.limits.FieldBytes)
				if err != nil {
					return "", err
				}
				value = append(value, s...)
			}
		case xml.CharData:
			if inValue && len(value) <= r.limits.FieldBytes {
				value = append(value, t...)
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "v":
				inValue = false
			case "c":
				if formula && len(value) == 0 && kind != "str" {
					return errorCell, nil // saved by a program that does not compute
				}
				return r.shown(kind, style, string(value))
			}
		}
	}
}

// errorCell is what a cell shows whose formula has no value.
const errorCell = "#VALUE!"

func (r *xlsxReader) shown(kind, style, value string) (string, error) {
	switch kind {
	case "s":
		i, err := strconv.Atoi(strings.TrimSpace(value))
		if value == "" {
			return "", nil
		}
		if err != nil || i < 0 || i >= len(r.strings) {
			return "", ErrDamaged
		}
		return r.strings[i], nil
	case "inlineStr", "e":
		return value, nil
	case "str":
		return unescapeXML(value), nil
	case "b":
		if isTrue(value) {
			return "ИСТИНА", nil
		}
		return "ЛОЖЬ", nil
	case "d":
		return value, nil
	}
	if value == "" {
		return "", nil
	}
	var format numberFormat
	if i, err := strconv.Atoi(style); err == nil && i >= 0 && i < len(r.styles) {
		format = r.styles[i]
	}
	return format.show(value, r.date04), nil
}

// columnOf is the column of a cell reference, "C7" is 2.
func columnOf(ref string) (int, bool) {
	n := 0
	for i := 0; i < len(ref); i++ {
		c := ref[i] &^ 0x20
		if c < 'A' || c > 'Z' {
			return n - 1, i > 0
		}
		if n = n*26 + int(c-'A') + 1; n > 1<<14 {
			return 0, false
		}
	}
	return 0, false
}
