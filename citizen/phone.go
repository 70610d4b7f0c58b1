package citizen

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
)

// Phone is a number of the Russian plan, +7 and ten digits. Everything that prints, logs or encodes it gets "+7 903 ***-**-50"; the
// digits leave by E164, Digits and National. The zero value is no phone. Phones compare with ==.
type Phone struct {
	// hidden is the complement of the eleven digits, zero for none: fmt prints unexported fields of an enclosing struct without
	// asking their methods, and must find no number there.
	hidden uint64
}

// PhoneKind says what may be done with a number: only Mobile takes an SMS, and TollFree takes nothing from us.
type PhoneKind uint8

const (
	NoPhone  PhoneKind = iota
	Mobile             // DEF codes, 9xx
	Landline           // ABC codes, 3xx, 4xx, 8xx
	TollFree           // 800 and 804
)

func (k PhoneKind) String() string {
	switch k {
	case Mobile:
		return "mobile"
	case Landline:
		return "landline"
	case TollFree:
		return "toll_free"
	default:
		return "none"
	}
}

// What ParsePhone refuses. None of them repeats the value. ErrForeign is a number of another country, +7 6xx and 7xx (Kazakhstan)
// and 840, 940 (Abkhazia) among them; all others are numbers nobody can be reached by.
var (
	ErrForeign        = errors.New("phone: number of another country")
	ErrPhoneEmpty     = errors.New("phone: no digits")
	ErrPhoneFormat    = errors.New("phone: characters that are not of a number")
	ErrPhoneLength    = errors.New("phone: not ten digits after +7 or 8")
	ErrPhoneCode      = errors.New("phone: no such code in the numbering plan")
	ErrPhoneExtension = errors.New("phone: has an extension")
	ErrPhoneSeveral   = errors.New("phone: several numbers in one cell")
	ErrPhoneRounded   = errors.New("phone: rounded by a spreadsheet")
)

// PhoneLengthError is ErrPhoneLength with the number of digits that were there.
type PhoneLengthError struct{ Digits int }

func (e PhoneLengthError) Error() string {
	return "phone: " + strconv.Itoa(e.Digits) + " digits, not ten after +7 or 8"
}
func (e PhoneLengthError) Unwrap() error { return ErrPhoneLength }

const (
	countryCode = 7 * trunk      // +7 before ten digits
	trunk       = 1_000_000_0000 // 8 times this is the prefix of calls inside the country
	subscriber  = 1_000_0000     // what divides a national number into its code and the rest
)

// ParsePhone reads a number as agencies write it: +7, 8 or ten digits, any spaces, dashes and brackets, and the forms in which
// spreadsheets save numbers.
func ParsePhone(s string) (Phone, error) {
	r := scanDigits(s)
	if r.rest != "" || r.dots == 1 && r.groups == 0 {
		if n, count, rounded, ok := spreadsheetNumber(s); ok && count >= 10 {
			if rounded {
				return Phone{}, ErrPhoneRounded
			}
			r = digitScan{n: n, count: count}
		} else if r.rest != "" {
			return Phone{}, phoneRest(r)
		}
	}
	switch {
	case r.count == 11 && r.n/trunk == 7:
		return phoneOf(r.n - countryCode)
	case r.plus && r.count > 0:
		return Phone{}, plusFault(r)
	case r.count == 11 && r.n/trunk == 8:
		return phoneOf(r.n - 8*trunk)
	case r.count == 10:
		if top := r.n / 1_0000_0000; top == 79 || top == 89 { // no such codes: an eleven-digit number that lost its end
			return Phone{}, PhoneLengthError{10}
		}
		return phoneOf(r.n)
	case r.count == 0:
		return Phone{}, ErrPhoneEmpty
	case neighbour(r):
		return Phone{}, ErrForeign
	case r.count >= 20:
		return Phone{}, ErrPhoneSeveral
	default:
		return Phone{}, PhoneLengthError{r.count}
	}
}

// phoneOf checks the code of a national number of ten digits.
func phoneOf(national uint64) (Phone, error) {
	p := Phone{^(national + countryCode)}
	code := national / subscriber
	if code >= 900 && code != 940 || abcRegion[code] != 0 || code == 800 || code == 804 {
		return p, nil
	}
	if code >= 600 && code < 800 || code == 840 || code == 940 {
		return Phone{}, ErrForeign
	}
	return Phone{}, ErrPhoneCode
}

// plusFault says what is wrong with a number that has a plus and is not +7 with ten digits.
func plusFault(r digitScan) error {
	first := r.n
	for first >= 10 {
		first /= 10
	}
	switch {
	case first == 7:
		return PhoneLengthError{r.count}
	case first == 9 && r.count == 10: // +9xx of ten digits: a plus before a number of this country
		return ErrPhoneFormat
	case first == 8 && r.count == 11: // +8 is nobody's country code of eleven digits
		return ErrPhoneFormat
	case r.count < 8:
		return PhoneLengthError{r.count}
	default:
		return ErrForeign
	}
}

// neighbour tells numbers of nearby countries written without a plus: 375…, 380…, 373…, 374…, 99x….
func neighbour(r digitScan) bool {
	if r.count != 11 && r.count != 12 {
		return false
	}
	top := r.n / 1_000_000_000
	if r.count == 12 {
		top /= 10
	}
	return top == 37 || top == 38 || top == 99
}

// phoneRest says why a cell with something after the digits is refused.
func phoneRest(r digitScan) error {
	if r.count >= 10 {
		rest := strings.ToLower(strings.TrimLeft(r.rest, ",; "))
		for _, mark := range []string{"доб", "вн", "ext", "#", "*", "x", "х"} {
			if strings.HasPrefix(rest, mark) {
				return ErrPhoneExtension
			}
		}
		more := 0
		for _, c := range []byte(rest) {
			if c >= '0' && c <= '9' {
				more++
			}
		}
		switch {
		case more >= 6:
			return ErrPhoneSeveral
		case more > 0 && r.rest[0] == ',': // a comma is how phones store the pause before an extension
			return ErrPhoneExtension
		}
		return ErrPhoneFormat
	}
	if r.count == 0 && strings.IndexFunc(r.rest, unicode.IsDigit) < 0 {
		return ErrPhoneEmpty
	}
	return ErrPhoneFormat
}

// IsZero reports whether there is no number.
func (p Phone) IsZero() bool { return p.hidden == 0 }

// E164 is the whole number with its plus: "+79036550550". Empty when there is none.
func (p Phone) E164() string {
	if p.hidden == 0 {
		return ""
	}
	return "+" + strconv.FormatUint(^p.hidden, 10)
}

// Digits is the whole number without the plus, as SMPP wants it with TON 1 and NPI 1: "79036550550". Empty when there is none.
func (p Phone) Digits() string {
	if p.hidden == 0 {
		return ""
	}
	return strconv.FormatUint(^p.hidden, 10)
}

// code is the ABC or DEF code, zero when there is no number.
func (p Phone) code() uint64 {
	if p.hidden == 0 {
		return 0
	}
	return (^p.hidden - countryCode) / subscriber
}

// Kind tells mobile from landline by the code. Portability moves numbers between operators, never between kinds.
func (p Phone) Kind() PhoneKind {
	switch code := p.code(); {
	case code == 0:
		return NoPhone
	case code >= 900:
		return Mobile
	case code == 800 || code == 804:
		return TollFree
	default:
		return Landline
	}
}

// String is the mask: "+7 903 ***-**-50", empty when there is no number.
func (p Phone) String() string {
	if p.hidden == 0 {
		return ""
	}
	mask := []byte("+7 000 ***-**-00")
	code, tail := p.code(), ^p.hidden%100
	mask[3], mask[4], mask[5] = byte('0'+code/100), byte('0'+code/10%10), byte('0'+code%10)
	mask[14], mask[15] = byte('0'+tail/10), byte('0'+tail%10)
	return string(mask)
}

// Format writes the mask whatever the verb.
func (p Phone) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LogValue logs the mask.
func (p Phone) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText encodes the mask, for JSON too.
func (p Phone) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
