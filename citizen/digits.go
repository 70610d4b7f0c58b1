package citizen

import (
	"strings"
	"unicode/utf8"
)

// digitScan is what one pass over a cell finds: its digits as a number, and the place where it stopped being one.
type digitScan struct {
	n      uint64 // meaningful while count ≤ maxDigits
	count  int    // digits seen
	plus   bool   // a plus stood before the first digit
	dots   int    // full stops seen: group separators, or a decimal point
	groups int    // other separators between digits
	rest   string // from the first character that belongs in no number; empty when there is none
}

// maxDigits keeps n inside 64 bits; a longer number is counted, not computed.
const maxDigits = 18

// scanDigits reads s up to the first character that is neither digit, separator nor a leading plus.
func scanDigits(s string) digitScan {
	var r digitScan
	for i := 0; i < len(s); {
		c := s[i]
		if d := c - '0'; d <= 9 {
			if r.count < maxDigits {
				r.n = r.n*10 + uint64(d)
			}
			r.count++
			i++
			continue
		}
		if c < utf8.RuneSelf {
			switch c {
			case ' ', '\t', '\r', '\n':
			case '-', '(', ')':
				r.groups++
			case '.':
				r.dots++
			case '\'': // the mark by which a spreadsheet keeps a number as text
				if r.count > 0 || i > 0 {
					r.rest = s[i:]
					return r
				}
			case '+':
				if r.count > 0 || r.plus {
					r.rest = s[i:]
					return r
				}
				r.plus = true
			default:
				r.rest = s[i:]
				return r
			}
			i++
			continue
		}
		c4, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case isBlank(c4):
		case isDash(c4):
			r.groups++
		default:
			r.rest = s[i:]
			return r
		}
		i += size
	}
	return r
}

// isBlank tells the spaces and invisible marks that word processors, messengers and phone books leave around numbers.
func isBlank(c rune) bool {
	switch {
	case c == 0x00A0, c >= 0x2000 && c <= 0x200F, c >= 0x202A && c <= 0x202F, c >= 0x2060 && c <= 0x2069, c == 0x3000, c == 0xFEFF:
		return true
	}
	return false
}

// isDash tells the hyphens and dashes of Unicode that stand between groups of digits.
func isDash(c rune) bool {
	switch {
	case c == 0x00AD, c >= 0x2010 && c <= 0x2015, c == 0x2043, c == 0x2212, c == 0xFE58, c == 0xFE63, c == 0xFF0D:
		return true
	}
	return false
}

// spreadsheetNumber reads a whole number in the forms a spreadsheet saves it: "79036550550.0", "7.9036550550E+10", with a point or
// a comma. ok is false for anything else. rounded says that digits are missing from the mantissa, so that the number is not known.
func spreadsheetNumber(s string) (n uint64, count int, rounded, ok bool) {
	s = strings.TrimSpace(s)
	mantissa, exponent := s, -1
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		e := strings.TrimPrefix(s[i+1:], "+")
		if len(e) == 0 || len(e) > 3 {
			return 0, 0, false, false
		}
		exponent = 0
		for _, c := range []byte(e) {
			if c < '0' || c > '9' {
				return 0, 0, false, false
			}
			exponent = exponent*10 + int(c-'0')
		}
		if exponent >= maxDigits {
			return 0, 0, false, false
		}
	}
	point, digits, significant := -1, 0, 0
	for i := 0; i < len(mantissa); i++ {
		c := mantissa[i]
		if (c == '.' || c == ',') && point < 0 && digits > 0 {
			point = digits
			continue
		}
		if c < '0' || c > '9' || digits == maxDigits {
			return 0, 0, false, false
		}
		n = n*10 + uint64(c-'0')
		digits++
		if c != '0' {
			significant = digits
		}
	}
	if digits == 0 {
		return 0, 0, false, false
	}
	if exponent < 0 { // 79036550550.0
		if point < 0 || significant > point {
			return 0, 0, false, false
		}
		for ; digits > point; digits-- {
			n /= 10
		}
		return n, point, false, true
	}
	if point < 0 {
		point = digits
	}
	count = point + exponent
	if point != 1 || count > maxDigits || significant > count {
		return 0, 0, false, false
	}
	// A program that writes all it knows drops at most the zeros at the end; one that shows a narrow cell keeps six digits.
	rounded = digits < count-2
	for ; digits < count; digits++ {
		n *= 10
	}
	for ; digits > count; digits-- {
		n /= 10
	}
	return n, count, rounded, true
}
