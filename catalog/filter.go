package catalog

import (
	"bytes"
	"time"
	"unicode"
	"unicode/utf8"
)

type filterKind uint8

const (
	filterDefault filterKind = iota + 1
	filterDate
	filterTrim
	filterUpperFirst
)

type filter struct {
	kind filterKind
	arg  string
}

func filterNamed(name string) (filterKind, bool) {
	switch name {
	case "default":
		return filterDefault, true
	case "date":
		return filterDate, true
	case "trim":
		return filterTrim, true
	case "upper-first", "upper_first":
		return filterUpperFirst, true
	}
	return 0, false
}

// apply changes the value that lies in dst from start to its end.
func (f filter) apply(dst []byte, start int) ([]byte, TemplateFault) {
	value := dst[start:]
	switch f.kind {
	case filterDefault:
		if len(value) == 0 {
			dst = append(dst, f.arg...)
		}
	case filterTrim:
		dst = append(dst[:start], bytes.TrimSpace(value)...)
	case filterUpperFirst:
		return upperFirst(dst, start), ""
	case filterDate:
		if len(value) == 0 {
			return dst, ""
		}
		y, m, d, ok := parseDate(bytes.TrimSpace(value))
		if !ok {
			return dst, FaultDate
		}
		dst = append(dst[:start], byte('0'+d/10), byte('0'+d%10), '.', byte('0'+m/10), byte('0'+m%10), '.',
			byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10))
	}
	return dst, ""
}

func upperFirst(dst []byte, start int) []byte {
	r, size := utf8.DecodeRune(dst[start:])
	upper := unicode.ToUpper(r)
	if r == utf8.RuneError || upper == r {
		return dst
	}
	var buf [utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], upper)
	end := len(dst)
	if n > size {
		dst = append(dst, buf[:n-size]...)
	}
	copy(dst[start+n:], dst[start+size:end])
	copy(dst[start:], buf[:n])
	return dst[:end-size+n]
}

// parseDate reads 2027-03-15 and 15.03.2027, with or without a time of day behind them, and the five digits by which spreadsheets
// number the days 18.05.1927 to 13.10.2173. Any other number is refused: a year is not a day, and a wrong date is worse than none.
func parseDate(b []byte) (year, month, day int, ok bool) {
	if len(b) == 5 || len(b) > 5 && b[5] == '.' {
		if serial, n := digits(b, 5); n == 5 && serial >= 10000 && len(b) <= 25 {
			if rest := b[5:]; len(rest) > 0 {
				if _, n := digits(rest[1:], len(rest)); n == 0 || n != len(rest)-1 {
					return 0, 0, 0, false
				}
			}
			t := time.Date(1899, 12, 30+serial, 0, 0, 0, 0, time.UTC)
			return t.Year(), int(t.Month()), t.Day(), true
		}
	}
	first, n := digits(b, 4)
	switch {
	case n == 4 && len(b) >= 10 && b[4] == '-' && b[7] == '-':
		m, mn := digits(b[5:], 2)
		d, dn := digits(b[8:], 2)
		if mn != 2 || dn != 2 {
			return 0, 0, 0, false
		}
		year, month, day, b = first, m, d, b[10:]
	case n == 1 || n == 2:
		day, b = first, b[n:]
		if len(b) == 0 || b[0] != '.' {
			return 0, 0, 0, false
		}
		month, n = digits(b[1:], 2)
		b = b[1+n:]
		if n == 0 || len(b) == 0 || b[0] != '.' {
			return 0, 0, 0, false
		}
		if year, n = digits(b[1:], 4); n != 4 {
			return 0, 0, 0, false
		}
		b = b[5:]
	default:
		return 0, 0, 0, false
	}
	if !timeOfDay(b) || year < 1900 || year > 2199 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, 0, 0, false
	}
	return year, month, day, true
}

// digits reads at most limit digits from the start of b and says how many there were.
func digits(b []byte, limit int) (value, n int) {
	for n < len(b) && n < limit && b[n] >= '0' && b[n] <= '9' {
		if n < 9 {
			value = value*10 + int(b[n]-'0')
		}
		n++
	}
	return value, n
}

// timeOfDay accepts nothing, or a space or T with a time such as 0:00:00 or 09:30:00.5+03:00 behind it.
func timeOfDay(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if (b[0] != ' ' && b[0] != 'T') || len(b) < 5 || len(b) > 36 {
		return false
	}
	colons := 0
	for _, c := range b[1:] {
		switch {
		case c == ':':
			colons++
		case (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' && c != 'Z':
			return false
		}
	}
	return colons > 0
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
