package catalog

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold makes the key by which titles of columns, names of template parameters and names of events are compared: without case,
// spaces and punctuation, ё as е, Latin letters that look Cyrillic as Cyrillic. It is a key, not a text: never show it.
func Fold(s string) string {
	var buf [96]byte
	key := buf[:0]
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= 'А' && r <= 'Я':
		case r >= 'а' && r <= 'я':
			r -= 'а' - 'А'
		case r >= 'a' && r <= 'z':
			r = lookalike(r - ('a' - 'A'))
		case r >= 'A' && r <= 'Z':
			r = lookalike(r)
		case r == 'ё' || r == 'Ё':
			r = 'Е'
		case r < utf8.RuneSelf:
			continue
		default:
			return foldAny(s)
		}
		key = utf8.AppendRune(key, r)
	}
	return string(key)
}

// foldAny is Fold for letters beyond Russian and English, and for letters written in two characters.
func foldAny(s string) string {
	var key []byte
	for _, r := range norm.NFC.String(s) {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			key = utf8.AppendRune(key, lookalike(unicode.ToUpper(r)))
		}
	}
	return string(key)
}

// lookalike returns the Cyrillic capital that a Latin capital is mistaken for, and the letter itself where there is none.
func lookalike(r rune) rune {
	switch r {
	case 'A':
		return 'А'
	case 'B':
		return 'В'
	case 'C':
		return 'С'
	case 'E', 'Ё', 'Ë':
		return 'Е'
	case 'H':
		return 'Н'
	case 'K':
		return 'К'
	case 'M':
		return 'М'
	case 'O':
		return 'О'
	case 'P':
		return 'Р'
	case 'T':
		return 'Т'
	case 'X':
		return 'Х'
	case 'Y':
		return 'У'
	}
	return r
}
