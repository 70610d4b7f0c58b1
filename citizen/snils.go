package citizen

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// SNILS is an insurance number whose control number was checked. Everything that prints, logs or encodes it gets "***-***-445 95";
// the digits leave by Digits and Grouped. The zero value is no number. SNILS compare with ==.
type SNILS struct {
	hidden uint64 // the complement of the eleven digits, zero for none; why, see Phone
}

// What ParseSNILS refuses. None of them repeats the value.
var (
	ErrSNILSEmpty    = errors.New("snils: no digits")
	ErrSNILSFormat   = errors.New("snils: characters that are not of a number")
	ErrSNILSLength   = errors.New("snils: not eleven digits")
	ErrSNILSChecksum = errors.New("snils: wrong control number")
	ErrSNILSZero     = errors.New("snils: all zeros")
	ErrSNILSRounded  = errors.New("snils: rounded by a spreadsheet")
)

const (
	// uncheckedSNILS is the last number that carries no control number, 001-001-998.
	uncheckedSNILS = 1_001_998
	// shortestSNILS is how many digits a number that lost its leading zeros must still have.
	shortestSNILS = 6
)

// ParseSNILS reads eleven digits with any spaces and dashes. A bare number of fewer digits, as a spreadsheet leaves it, is padded with
// zeros and padded is true; such a number must have a right control number even where others need none.
func ParseSNILS(s string) (n SNILS, padded bool, err error) {
	r := scanDigits(s)
	if r.rest != "" || r.dots == 1 && r.groups == 0 {
		if v, count, rounded, ok := spreadsheetNumber(s); ok {
			if rounded {
				return SNILS{}, false, ErrSNILSRounded
			}
			r = digitScan{n: v, count: count}
		} else if r.rest != "" && r.count > 0 || strings.ContainsAny(r.rest, "0123456789") {
			return SNILS{}, false, ErrSNILSFormat
		}
	}
	switch {
	case r.plus:
		return SNILS{}, false, ErrSNILSFormat
	case r.count == 0:
		return SNILS{}, false, ErrSNILSEmpty
	case r.n == 0 && r.count <= maxDigits, r.n/100 == 0 && r.count == 11:
		return SNILS{}, false, ErrSNILSZero
	case r.count == 11:
	case r.count < 11 && r.count >= shortestSNILS && r.groups == 0 && r.dots == 0:
		padded = true
	default:
		return SNILS{}, false, ErrSNILSLength
	}
	number, control := r.n/100, r.n%100
	if (number > uncheckedSNILS || padded) && controlNumber(number) != control {
		return SNILS{}, false, ErrSNILSChecksum
	}
	return SNILS{^r.n}, padded, nil
}

// controlNumber is the sum of the nine digits times 9…1, modulo 101, where 100 counts as 0.
func controlNumber(number uint64) uint64 {
	var sum uint64
	for weight := uint64(1); weight <= 9; weight++ {
		sum += number % 10 * weight
		number /= 10
	}
	return sum % 101 % 100
}

// IsZero reports whether there is no number.
func (n SNILS) IsZero() bool { return n.hidden == 0 }

// Digits is the eleven digits without separators, as ЕГИССО writes it. Empty when there is none.
func (n SNILS) Digits() string {
	if n.hidden == 0 {
		return ""
	}
	var digits [11]byte
	for i, rest := len(digits)-1, ^n.hidden; i >= 0; i, rest = i-1, rest/10 {
		digits[i] = '0' + byte(rest%10)
	}
	return string(digits[:])
}

// Grouped is the number as people write it, "112-233-445 95". Empty when there is none.
func (n SNILS) Grouped() string {
	if n.hidden == 0 {
		return ""
	}
	d := n.Digits()
	return d[:3] + "-" + d[3:6] + "-" + d[6:9] + " " + d[9:]
}

// String is the mask: "***-***-445 95", empty when there is no number.
func (n SNILS) String() string {
	if n.hidden == 0 {
		return ""
	}
	return "***-***-" + n.Grouped()[8:]
}

// Format writes the mask whatever the verb.
func (n SNILS) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.String()) }

// LogValue logs the mask.
func (n SNILS) LogValue() slog.Value { return slog.StringValue(n.String()) }

// MarshalText encodes the mask, for JSON too.
func (n SNILS) MarshalText() ([]byte, error) { return []byte(n.String()), nil }
