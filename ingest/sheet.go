package ingest

import (
	"errors"
	"strconv"
	"strings"
)

// cellOf is the column and the row of a reference, both from 0: "C7" is 2 and 6. The row is -1 when it is not given.
func cellOf(ref string) (column, row int, ok bool) {
	n, i := 0, 0
	for ; i < len(ref); i++ {
		c := ref[i] &^ 0x20
		if c < 'A' || c > 'Z' {
			break
		}
		if n = n*26 + int(c-'A') + 1; n > maxSheetColumns {
			return 0, 0, false
		}
	}
	if i == 0 || i > len(ref) {
		return 0, 0, false
	}
	row, err := strconv.Atoi(ref[i:])
	if i == len(ref) {
		row, err = 0, nil
	}
	if err != nil || row < 0 || row > maxSheetRows {
		return 0, 0, false
	}
	return n - 1, row - 1, true
}

// The largest sheet there is.
const (
	maxSheetRows    = 1 << 20
	maxSheetColumns = 1 << 14
)

// sheetOutline is what the first pass over a sheet finds.
type sheetOutline struct {
	rows   int    // <row> elements
	stated int    // number of the last row by <dimension>, which programs write as they like; 0 when it is not there
	hidden []bool // columns, from 0; nil when none is
	merges []mergedCell
}

func (o *sheetOutline) hides(column int) bool { return column < len(o.hidden) && o.hidden[column] }

// verifySheet reads the part to its end, which checks its size, its CRC and that the table is closed, and takes down what must be known
// before the first row. The tags inside the table are looked at twice only where it has to be: reading it looks at each.
func (b *workbook) verifySheet() (o sheetOutline, err error) {
	for _, fast := range [...]bool{true, false} {
		o = sheetOutline{}
		x, err := b.open(b.sheet)
		if err != nil {
			return o, err
		}
		if x == nil {
			return o, ErrDamaged
		}
		err = o.read(x, fast)
		x.close()
		if !errors.Is(err, errTooFast) {
			return o, err
		}
	}
	return o, ErrDamaged
}

// errTooFast says that the table holds what looks like tags.
var errTooFast = errors.New("the table cannot be skipped")

func (o *sheetOutline) read(x *xmlScanner, fast bool) error {
	columns, data := 0, false
	err := x.elements(func() error {
		switch {
		case x.deep == 1 && !x.is("worksheet"):
			return ErrDamaged
		case x.is("sheetData") && x.deep == 2:
			if data {
				return ErrDamaged
			}
			if data = true; !fast || x.empty {
				return nil
			}
			n, ok := x.skipTable()
			if !ok {
				return errTooFast
			}
			o.rows = n
			return nil
		case x.is("row"):
			if x.within("sheetData") {
				o.rows++
			}
		case x.is("c"), x.is("v"): // nothing of these; they are most of a sheet
		case x.is("dimension"):
			if _, last, ok := strings.Cut(x.attr("ref"), ":"); ok {
				if _, row, ok := cellOf(last); ok {
					o.stated = row + 1
				}
			}
		case x.is("col") && x.within("cols"):
			if columns++; columns > maxSheetColumns {
				return ErrDamaged
			}
			o.hide(x)
		case x.is("mergeCell"):
			if m, ok := parseMerge(x.attr("ref")); ok {
				o.merges = append(o.merges, m)
			}
			if len(o.merges) > maxMerges {
				return ErrTooManyMerges
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !data, o.rows > maxSheetRows:
		return ErrDamaged
	}
	return nil
}

func (o *sheetOutline) hide(x *xmlScanner) {
	if !isTrue(x.attr("hidden")) {
		return
	}
	from, err1 := strconv.Atoi(x.attr("min"))
	to, err2 := strconv.Atoi(x.attr("max"))
	if err := errors.Join(err1, err2); err != nil || from < 1 {
		return
	}
	if o.hidden == nil {
		o.hidden = make([]bool, maxSheetColumns)
	}
	for c := from; c <= min(to, maxSheetColumns); c++ {
		o.hidden[c-1] = true
	}
}
