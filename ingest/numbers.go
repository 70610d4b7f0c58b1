package ingest

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// numberFormat is how a style shows a number (18.8.30), as far as lists need it. The zero value is General.
type numberFormat struct {
	date     bool
	fixed    bool   // a fixed number of decimals
	decimals int    // with fixed
	percent  bool   // with fixed
	mask     string // digits put into a mask, as for СНИЛС: "000-000-000 00"
}

// maxStyles is above what Excel itself allows, 65,490.
const maxStyles = 100_000

// numberFormats reads the cell styles (18.8.10) in the order cells refer to them.
func (b *workbook) numberFormats() ([]numberFormat, error) {
	x, err := b.open(b.stylesPart)
	if err != nil || x == nil {
		return nil, err
	}
	defer x.close()
	custom := make(map[int]string)
	var styles []numberFormat
	err = x.elements(func() error {
		switch {
		case x.is("numFmt"):
			if id, err := strconv.Atoi(x.attr("numFmtId")); err == nil {
				custom[id] = x.attr("formatCode")
			}
		case x.is("xf") && x.within("cellXfs"):
			id, _ := strconv.Atoi(x.attr("numFmtId"))
			styles = append(styles, formatOf(id, custom))
		}
		if len(styles)+len(custom) > maxStyles {
			return ErrZipBomb
		}
		return nil
	})
	return styles, err
}

func formatOf(id int, custom map[int]string) numberFormat {
	if code, ok := custom[id]; ok {
		return parseFormat(code)
	}
	switch {
	case id >= 14 && id <= 22, id >= 27 && id <= 36, id >= 45 && id <= 47, id >= 50 && id <= 58:
		return numberFormat{date: true}
	case id == 1 || id == 3:
		return numberFormat{fixed: true}
	case id == 2 || id == 4:
		return numberFormat{fixed: true, decimals: 2}
	case id == 9 || id == 10:
		return numberFormat{fixed: true, percent: true, decimals: 2 * (id - 9)}
	case id == 37 || id == 38:
		return numberFormat{fixed: true}
	case id == 39 || id == 40:
		return numberFormat{fixed: true, decimals: 2}
	}
	return numberFormat{}
}

// maxFormat is the longest code that Excel takes.
const maxFormat = 255

// parseFormat reads the first section of a format code.
func parseFormat(code string) numberFormat {
	if len(code) > 4*maxFormat {
		return numberFormat{}
	}
	var mask strings.Builder
	quoted, plain := false, true
	digits, zeros, decimals := 0, 0, -1
	date, percent, exponent := false, false, false
	for i := 0; i < len(code); i++ {
		c := code[i]
		switch {
		case quoted:
			if c == '"' {
				quoted = false
			} else {
				mask.WriteByte(c)
			}
		case c == ';':
			i = len(code)
		case c == '"':
			quoted = true
		case c == '\\':
			if i++; i < len(code) {
				mask.WriteByte(code[i])
			}
		case c == '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 {
				return numberFormat{}
			}
			if in := strings.ToLower(code[i+1 : i+end]); in == "h" || in == "hh" || in == "m" || in == "mm" || in == "s" || in == "ss" {
				date = true
			}
			i += end
		case c == '_' || c == '*':
			i++
		case c == '0' || c == '#' || c == '?':
			digits++
			if c == '0' {
				zeros++
			}
			if decimals >= 0 {
				decimals++
			}
			mask.WriteByte(c)
		case c == '.':
			decimals = 0
		case strings.IndexByte("dDmMyYhHsS", c) >= 0:
			date = true
		case c == '%':
			percent, plain = true, false
		case c == 'E' || c == 'e':
			exponent, plain = true, false
		case c == ' ' || c == '-' || c == '(' || c == ')' || c == '+' || c == '/':
			mask.WriteByte(c)
		default: // thousands, per cent, exponent, General, text of any kind
			plain = false
			mask.WriteByte(c)
		}
	}
	switch {
	case date: // with digits, too: the thousandths of a second
		return numberFormat{date: true}
	case exponent: // it hides digits that the reader of a phone needs
		return numberFormat{}
	case plain && decimals < 0 && (zeros > 1 || digits > 4):
		return numberFormat{mask: mask.String()}
	case digits > 0:
		return numberFormat{fixed: true, percent: percent, decimals: min(max(decimals, 0), 30)}
	}
	return numberFormat{}
}

// show writes the stored number as the cell shows it, in the forms of this country: 01.02.2026, 12,5.
func (f numberFormat) show(value string, date1904 bool) string {
	n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return value
	}
	whole := n == math.Trunc(n) && math.Abs(n) < 1e15
	switch {
	case f.date:
		if s, ok := serialDate(n, date1904); ok {
			return s
		}
	case f.mask != "" && whole && n >= 0:
		return fillMask(f.mask, strconv.FormatFloat(n, 'f', 0, 64))
	case f.fixed && f.percent:
		return comma(rounded(n*100, f.decimals)) + "%"
	case f.fixed:
		return comma(rounded(n, f.decimals))
	}
	if whole {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return comma(strconv.FormatFloat(significant(n), 'f', -1, 64))
}

// significant keeps the fifteen digits that spreadsheets compute with.
func significant(n float64) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(n, 'g', 15, 64), 64)
	if err != nil {
		return n
	}
	return v
}

// rounded rounds halves away from zero, as spreadsheets do.
func rounded(n float64, decimals int) string {
	if scale := math.Pow10(decimals); math.Abs(n)*scale < 1e15 {
		n = math.Round(significant(n*scale)) / scale
	}
	return strconv.FormatFloat(n, 'f', decimals, 64)
}

func comma(s string) string { return strings.Replace(s, ".", ",", 1) }

// isoDate writes what a cell of type d holds (18.17.4) as other dates are shown.
func isoDate(value string) string {
	for _, layout := range [...]string{time.DateOnly, "2006-01-02T15:04:05", "2006-01-02T15:04", time.RFC3339} {
		if at, err := time.Parse(layout, value); err == nil { // fractions of a second are taken, too
			return dateShown(at)
		}
	}
	return value
}

func dateShown(at time.Time) string {
	if at.Hour() == 0 && at.Minute() == 0 && at.Second() == 0 {
		return at.Format("02.01.2006")
	}
	return at.Format("02.01.2006 15:04")
}

// fillMask puts digits into the places of a mask from the right; what does not fit goes into the first place.
func fillMask(mask, digits string) string {
	first := strings.IndexAny(mask, "0#?")
	var out []byte
	for i := len(mask) - 1; i >= 0; i-- {
		switch c := mask[i]; c {
		case '0', '#', '?':
			switch {
			case i == first && digits != "":
				for k := len(digits) - 1; k >= 0; k-- {
					out = append(out, digits[k])
				}
				digits = ""
			case digits != "":
				out = append(out, digits[len(digits)-1])
				digits = digits[:len(digits)-1]
			case c == '0':
				out = append(out, '0')
			}
		default:
			out = append(out, c)
		}
	}
	for i, k := 0, len(out)-1; i < k; i, k = i+1, k-1 {
		out[i], out[k] = out[k], out[i]
	}
	return string(out)
}

// serialDate turns days since the workbook's epoch into a date, with the time when there is one (18.17.4.1). Day 60 of the 1900 system
// is the 29.02.1900 that never was.
func serialDate(n float64, date1904 bool) (string, bool) {
	if n < 0 || n >= 2_958_466 { // 31.12.9999
		return "", false
	}
	days := math.Floor(n)
	seconds := int(math.Round((n - days) * 86_400))
	if days == 0 && seconds > 0 {
		return time.Unix(int64(seconds), 0).UTC().Format("15:04"), true
	}
	start := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	switch {
	case date1904:
		start = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	case days < 61:
		start = time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	at := start.AddDate(0, 0, int(days)).Add(time.Duration(seconds) * time.Second)
	return dateShown(at), true
}
