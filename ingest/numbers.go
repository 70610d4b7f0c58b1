package ingest

import (
	"encoding/xml"
	"errors"
	"io"
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
	mask     string // digits put into a mask, as for СНИЛС: "000-000-000 00"
}

// numberFormats reads the cell styles (18.8.10) in the order cells refer to them.
func (b *workbook) numberFormats() ([]numberFormat, error) {
	d, ok, err := b.decoder("xl/styles.xml")
	if err != nil || !ok {
		return nil, err
	}
	custom := make(map[int]string)
	var styles []numberFormat
	inCells := false
	for {
		t, err := token(d)
		if errors.Is(err, io.EOF) {
			return styles, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "numFmt":
				if id, err := strconv.Atoi(attr(t, "numFmtId")); err == nil {
					custom[id] = attr(t, "formatCode")
				}
			case "cellXfs":
				inCells = true
			case "xf":
				if !inCells {
					continue
				}
				id, err := strconv.Atoi(attr(t, "numFmtId"))
				if err != nil {
					id = 0
				}
				styles = append(styles, formatOf(id, custom))
			}
		case xml.EndElement:
			if t.Name.Local == "cellXfs" {
				inCells = false
			}
		}
	}
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
	}
	return numberFormat{}
}

// parseFormat reads the first section of a format code.
func parseFormat(code string) numberFormat {
	var mask strings.Builder
	quoted, plain := false, true
	digits, zeros, decimals := 0, 0, -1
	date := false
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
		case c == ' ' || c == '-' || c == '(' || c == ')' || c == '+' || c == '/':
			mask.WriteByte(c)
		default: // thousands, per cent, exponent, General, text of any kind
			plain = false
			mask.WriteByte(c)
		}
	}
	switch {
	case date && digits == 0:
		return numberFormat{date: true}
	case plain && decimals < 0 && (zeros > 1 || digits > 4):
		return numberFormat{mask: mask.String()}
	case digits > 0 && decimals >= 0 && !strings.ContainsAny(code, "%Ee"):
		return numberFormat{fixed: true, decimals: decimals}
	case digits > 0 && !strings.ContainsAny(code, "%Ee"):
		return numberFormat{fixed: true}
	}
	return numberFormat{}
}

// show writes the stored number as the cell shows it, in the forms of this country: 01.02.2026, 12,5.
func (f numberFormat) show(value string, date1904 bool) string {
	n, err := strconv.ParseFloat(value, 64)
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
	case f.fixed:
		return comma(strconv.FormatFloat(n, 'f', f.decimals, 64))
	}
	if whole {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return comma(strconv.FormatFloat(n, 'f', -1, 64))
}

func comma(s string) string { return strings.Replace(s, ".", ",", 1) }

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
	if seconds == 0 {
		return at.Format("02.01.2006"), true
	}
	return at.Format("02.01.2006 15:04"), true
}
