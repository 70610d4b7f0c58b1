package citizen

import (
	"regexp"
	"strings"
)

// personalDigits is how many digits in a row of groups may belong to a person: a phone without its code has seven.
const personalDigits = 7

// hexCode is a command status or the like, at most 32 bits.
var hexCode = regexp.MustCompile(`^0x[0-9A-Fa-f]{1,8}\b`)

// MaskNumbers replaces in a text of somebody else's (a far side's reason, a header) every number of seven digits or more, grouped by
// single blanks, dashes, dots or brackets or not at all, by "***". It keeps codes (hexadecimal ones too) and times readable and phones, SNILS and documents
// out of what we store and log; a name in the text stays.
func MaskNumbers(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if code := hexCode.FindString(s[i:]); code != "" {
			b.WriteString(code)
			i += len(code)
			continue
		}
		if s[i] < '0' || s[i] > '9' {
			b.WriteByte(s[i])
			i++
			continue
		}
		end, digits, gap := i, 0, 0
		for j := i; j < len(s) && gap < 3; j++ {
			switch c := s[j]; {
			case c >= '0' && c <= '9':
				digits++
				end, gap = j+1, 0
			case c == ' ' || c == '-' || c == '.' || c == '(' || c == ')':
				gap++
			default:
				gap = 3
			}
		}
		if digits >= personalDigits {
			b.WriteString("***")
		} else {
			b.WriteString(s[i:end])
		}
		i = end
	}
	return b.String()
}

// numberRun is what a phone or a SNILS may look like inside other text.
var numberRun = regexp.MustCompile(`\+?\d[\d ()-]{8,16}\d`)

// uuidForm is what programs name things by; one in two hundred has digits that read as a phone or a SNILS.
var uuidForm = regexp.MustCompile(`\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b`)

// HoldsPersonal tells a mobile phone or a SNILS inside what is kept in the clear: a row's external id, a list's name, a reason. A
// landline or a free number is an office's more often than a person's and passes, and so does what is inside a UUID.
func HoldsPersonal(text string) bool {
	digits := 0
	for i := range len(text) {
		if c := text[i]; c >= '0' && c <= '9' {
			digits++
		}
	}
	if digits < 10 { // no phone, and no SNILS
		return false
	}
	if len(text) >= 36 {
		text = uuidForm.ReplaceAllString(text, "/")
	}
	for _, run := range numberRun.FindAllString(text, -1) {
		if p, err := ParsePhone(run); err == nil && p.Kind() == Mobile {
			return true
		}
		if n, padded, err := ParseSNILS(run); err == nil && !padded && !n.IsZero() {
			return true
		}
	}
	return false
}
