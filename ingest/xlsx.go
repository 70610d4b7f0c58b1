package ingest

import (
	"io"
	"strconv"
	"strings"
)

// xlsxReader reads one worksheet (ECMA-376 part 1, 18.3) as a stream. The part was inflated to its end, its CRC and its tags checked and
// its rows counted before the first row is handed out, so that a damaged sheet is refused, not halved.
//
// It reads the parts by itself: excelize writes a part it finds large to the temporary folder, where nothing personal may lie, or holds
// the whole of it in memory.
type xlsxReader struct {
	x       *xmlScanner
	limits  Limits
	strings *sharedStrings
	styles  []numberFormat
	date04  bool
	outline sheetOutline
	merged  mergedCells
	others  int // other sheets that are shown
	decoys  int // and that are not

	rows int // <row> elements handed out or skipped
	last int // number of the last row
	done bool

	cells []string
	text  []byte // values of the row that are not in the table of strings, one after another
	spans []span // where in text each lies, and its column
	value []byte
	long  bool
	wide  bool // a value stands further right than is read

	hiddenRows    int
	hiddenColumns map[int]bool // those that had a value
}

type span struct{ column, from, to int }

func openXLSX(file io.ReaderAt, size int64, limits Limits) (*xlsxReader, error) {
	book, err := openWorkbook(file, size, limits)
	if err != nil {
		return nil, err
	}
	if book.sheet == "" {
		return nil, ErrNoSheet
	}
	r := &xlsxReader{limits: limits, date04: book.date04, others: book.others, decoys: book.hidden, hiddenColumns: make(map[int]bool)}
	if r.strings, err = book.sharedStrings(); err != nil {
		return nil, err
	}
	if r.styles, err = book.numberFormats(); err != nil {
		return nil, err
	}
	if r.outline, err = book.verifySheet(); err != nil {
		return nil, err
	}
	r.merged.of(r.outline.merges, limits.Columns)
	r.x, err = book.open(book.sheet)
	return r, err
}

func isTrue(s string) bool { return s == "1" || s == "true" }

// Next returns the next row that has a value of its own and is not hidden.
func (r *xlsxReader) Next() (sheetRow, error) {
	for !r.done {
		if err := r.x.next(); err != nil {
			return sheetRow{}, err
		}
		switch {
		case r.x.kind == xmlEOF, r.x.kind == xmlEnd && r.x.is("sheetData"):
			r.done = true
			r.x.close()
			if r.rows != r.outline.rows {
				return sheetRow{}, ErrDamaged
			}
		case r.x.kind == xmlStart && r.x.is("row") && r.x.within("sheetData"):
			hidden := isTrue(r.x.attr("hidden"))
			no, err := r.rowNumber()
			if err != nil {
				return sheetRow{}, err
			}
			if err := r.readRow(); err != nil {
				return sheetRow{}, err
			}
			switch own := r.long || r.wide || r.spread(no); {
			case !own:
			case hidden:
				r.hiddenRows++
			case r.wide:
				return sheetRow{}, ErrTooManyColumns.with(r.limits.Columns)
			default:
				row := sheetRow{No: no, Cells: r.cells, Long: r.long}
				if no <= headerRows {
					row.Merged = r.merged.across(len(r.cells))
				}
				return row, nil
			}
		}
	}
	return sheetRow{}, io.EOF
}

func (r *xlsxReader) rowNumber() (int, error) {
	r.rows++
	no := r.last + 1
	if s := r.x.attr("r"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= r.last {
			return 0, ErrDamaged
		}
		no = n
	}
	if no > maxSheetRows {
		return 0, ErrDamaged
	}
	r.last = no
	return no, nil
}

// readRow reads the cells up to the row's end.
func (r *xlsxReader) readRow() error {
	r.cells, r.text, r.spans, r.long, r.wide = r.cells[:0], r.text[:0], r.spans[:0], false, false
	column, size := -1, 0
	for {
		if err := r.x.next(); err != nil {
			return err
		}
		switch {
		case r.x.kind == xmlEnd && r.x.is("row"):
			all := string(r.text)
			for _, s := range r.spans {
				r.cells[s.column] = all[s.from:s.to]
			}
			return nil
		case r.x.kind != xmlStart || !r.x.is("c"):
			continue
		}
		column++
		kind, style := cellNumber, 0
		for key, value, rest := nextAttr(r.x.attrs); key != nil; key, value, rest = nextAttr(rest) {
			switch string(key) {
			case "r":
				c, _, ok := cellOf(string(value))
				if !ok || c < column {
					return ErrDamaged
				}
				column = c
			case "s":
				style, _ = strconv.Atoi(string(value))
			case "t":
				kind = kindOf(value)
			}
		}
		from := len(r.text)
		shared, err := r.readCell(kind, style)
		if err != nil {
			return err
		}
		own := r.text[from:]
		n := len(own) + len(shared)
		switch {
		case n == 0:
		case column >= r.limits.Columns:
			r.wide = r.wide || !r.outline.hides(column) && !blankText(own, shared)
			r.text = r.text[:from]
		case n > r.limits.FieldBytes || size+n > r.limits.RowBytes:
			r.long = true
			r.text = r.text[:from]
		default:
			size += n
			for len(r.cells) <= column {
				r.cells = append(r.cells, "")
			}
			r.cells[column] = shared
			if len(own) > 0 {
				r.spans = append(r.spans, span{column, from, len(r.text)})
			}
		}
	}
}

func blankText(own []byte, shared string) bool {
	return strings.TrimSpace(shared) == "" && strings.TrimSpace(string(own)) == ""
}

// spread gives merged cells their value in every place, takes away what stands in hidden columns, and reports whether the row has a value
// that is not of the rows above.
func (r *xlsxReader) spread(no int) (own bool) {
	r.cells, own = r.merged.spread(no, r.cells)
	if r.outline.hidden == nil || !own {
		return own
	}
	for i, value := range r.cells {
		if value != "" && r.outline.hides(i) {
			if strings.TrimSpace(value) != "" {
				r.hiddenColumns[i] = true
			}
			r.cells[i] = ""
		}
	}
	return !blank(r.cells)
}

// readCell reads what a person sees in the cell (18.3.1.4): the string of the table, or else what it adds to r.text.
func (r *xlsxReader) readCell(kind cellKind, style int) (shared string, err error) {
	if kind == cellInline {
		text, ok := r.x.plain("<is><t>", "</t></is></c>")
		if !ok {
			text, ok = r.x.plain(`<is><t xml:space="preserve">`, "</t></is></c>")
		}
		if ok {
			r.text = append(r.text, unescapeXML(text)...)
			return "", nil
		}
	} else if text, ok := r.x.plain("<v>", "</v></c>"); ok {
		r.value = append(r.value[:0], text...)
		return r.show(kind, style)
	}
	r.value = r.value[:0]
	from := len(r.text)
	inValue, formula := false, false
	for {
		if err := r.x.next(); err != nil {
			return "", err
		}
		switch r.x.kind {
		case xmlEOF:
			return "", ErrDamaged
		case xmlStart:
			inValue = r.x.is("v")
			switch {
			case r.x.is("f"):
				formula = true
			case r.x.is("is"):
				if r.value, err = r.x.richText(r.value[:0], "is", r.limits.FieldBytes); err != nil {
					return "", err
				}
				r.text = append(r.text[:from], r.value...)
				r.value = r.value[:0]
			}
		case xmlText:
			if inValue && len(r.value) <= r.limits.FieldBytes {
				if r.value, err = r.x.appendText(r.value); err != nil {
					return "", err
				}
				r.value = r.value[:min(len(r.value), r.limits.FieldBytes+1)]
			}
		case xmlEnd:
			inValue = false
			if !r.x.is("c") {
				continue
			}
			if formula && len(r.value) == 0 && len(r.text) == from && kind != cellFormula {
				r.text = append(r.text, errorCell...) // saved by a program that does not compute
				return "", nil
			}
			return r.show(kind, style)
		}
	}
}

// errorCell is what a cell shows whose formula has no value.
const errorCell = "#VALUE!"

// cellKind is the type of a cell (18.18.11).
type cellKind uint8

const (
	cellNumber cellKind = iota
	cellShared
	cellInline
	cellFormula // a string that a formula gave
	cellBool
	cellError
	cellDate
)

func kindOf(t []byte) cellKind {
	switch string(t) {
	case "s":
		return cellShared
	case "inlineStr":
		return cellInline
	case "str":
		return cellFormula
	case "b":
		return cellBool
	case "e":
		return cellError
	case "d":
		return cellDate
	}
	return cellNumber
}

// show adds what the cell shows to r.text, or returns the string of the table.
func (r *xlsxReader) show(kind cellKind, style int) (string, error) {
	if len(r.value) == 0 {
		return "", nil
	}
	switch kind {
	case cellShared:
		i, err := strconv.Atoi(strings.TrimSpace(string(r.value)))
		if err != nil || i < 0 || i >= len(r.strings.at) {
			return "", ErrDamaged
		}
		return r.strings.get(i), nil
	case cellInline:
		r.text = append(r.text, r.value...)
	case cellFormula:
		r.text = append(r.text, unescapeXML(r.value)...)
	case cellBool:
		if isTrue(string(r.value)) {
			r.text = append(r.text, "ИСТИНА"...)
		} else {
			r.text = append(r.text, "ЛОЖЬ"...)
		}
	case cellError:
		if s := string(r.value); isCellError(s) {
			r.text = append(r.text, s...)
		} else {
			r.text = append(r.text, errorCell...) // one that came after us
		}
	case cellDate:
		r.text = append(r.text, isoDate(string(r.value))...)
	default:
		if style == 0 && len(r.value) <= 15 && allDigits(r.value) {
			r.text = append(r.text, r.value...)
			return "", nil
		}
		var format numberFormat
		if style >= 0 && style < len(r.styles) {
			format = r.styles[style]
		}
		r.text = append(r.text, format.show(string(r.value), r.date04)...)
	}
	return "", nil
}

// allDigits tells a whole number that is shown as it is stored.
func allDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) == 1 || b[0] != '0'
}

// notes are what its sender should know of the sheet beside its rows; whole only after the last row.
func (r *xlsxReader) notes() []Note {
	var all []Note
	add := func(n int, code, report string) {
		if n > 0 {
			all = append(all, noteOf(code, report, n))
		}
	}
	add(r.others, "other_sheets", "Прочитан только первый видимый лист, других видимых листов: %d. Если люди есть и на них, загрузите каждый лист отдельным файлом.")
	add(r.decoys, "hidden_sheets", "Скрытых листов пропущено: %d.")
	add(r.hiddenRows, "hidden_rows", "Скрытых строк пропущено: %d. Если этих людей тоже надо известить, покажите строки (снимите фильтр) и загрузите файл ещё раз.")
	add(len(r.hiddenColumns), "hidden_columns", "Скрытых столбцов пропущено: %d.")
	if r.done && r.outline.stated > max(r.last, 1) {
		add(r.outline.stated-r.last, "fewer_rows", "В файле записано, что таблица длиннее на %d строк. Проверьте, все ли люди есть в списке.")
	}
	return all
}
