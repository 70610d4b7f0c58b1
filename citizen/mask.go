package citizen

import (
	"regexp"
)

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
