package citizen

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Name is a part of a person's name. Everything that prints, logs or encodes it gets the initial, "И."; the name leaves by Reveal.
type Name string

// Reveal is the name itself.
func (n Name) Reveal() string { return string(n) }

// String is the mask: the first letter and a full stop, empty for an empty name.
func (n Name) String() string {
	for _, c := range string(n) {
		if unicode.IsLetter(c) {
			return string(unicode.ToUpper(c)) + "."
		}
	}
	if n != "" {
		return "*"
	}
	return ""
}

// Format writes the mask whatever the verb.
func (n Name) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.String()) }

// LogValue logs the mask.
func (n Name) LogValue() slog.Value { return slog.StringValue(n.String()) }

// MarshalText encodes the mask, for JSON too.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// Person is what a row says of the one to be told. Any part may be missing: foreigners have one word or no SNILS.
type Person struct {
	SNILS      SNILS
	Family     Name
	First      Name
	Patronymic Name
	BirthDate  BirthDate
}

// SplitName divides a full name written family name first. «Оглы», «Кызы» and their like belong to the patronymic; a single word is
// kept as the family name; what stands after the third word goes to the patronymic too. Blanks of any kind count as one.
func SplitName(full string) (family, first, patronymic Name) {
	words := strings.FieldsFunc(full, func(c rune) bool { return unicode.IsSpace(c) || isBlank(c) })
	switch len(words) {
	case 0:
		return "", "", ""
	case 1:
		return Name(words[0]), "", ""
	case 2:
		return Name(words[0]), Name(words[1]), ""
	}
	return Name(words[0]), Name(words[1]), Name(strings.Join(words[2:], " "))
}

// FullName is the name as one line, family name first.
func (p Person) FullName() Name {
	var b strings.Builder
	for _, part := range []Name{p.Family, p.First, p.Patronymic} {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(part))
	}
	return Name(b.String())
}

// Initials masks the whole name: "И. М. П.".
func (p Person) Initials() string {
	var parts []string
	for _, part := range []Name{p.Family, p.First, p.Patronymic} {
		if s := part.String(); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}

// String is Initials: a person prints as nothing more.
func (p Person) String() string { return p.Initials() }

// Format writes the initials whatever the verb.
func (p Person) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.Initials()) }

// LogValue logs the initials.
func (p Person) LogValue() slog.Value { return slog.StringValue(p.Initials()) }

// Identity is what makes two rows speak of one person, to be digested and never stored or shown: the SNILS, else the normalised full
// name with the birth date, else the phone with the name. Kind says which; without a SNILS, a name and a phone it is empty.
func (p Person) Identity(phone Phone) (kind DigestKind, normalized string) {
	if !p.SNILS.IsZero() {
		return DigestSNILS, p.SNILS.Digits()
	}
	switch name := NormalizeName(p.FullName()); {
	case name != "" && p.BirthDate != (BirthDate{}):
		return DigestNameBirth, name + "\n" + Date(p.BirthDate).String()
	case !phone.IsZero():
		return DigestPhoneName, phone.Digits() + "\n" + name
	}
	return "", ""
}

// NameBirth is the normalised name and birth date for a search, empty unless both are there.
func (p Person) NameBirth() string {
	name := NormalizeName(p.FullName())
	if name == "" || p.BirthDate == (BirthDate{}) {
		return ""
	}
	return name + "\n" + Date(p.BirthDate).String()
}

// NormalizeName folds what is written differently for one person: case, ё and е, Latin look-alikes in a Cyrillic word, hyphens and
// blanks of any kind. It is for comparison only, never for text.
func NormalizeName(n Name) string {
	words := strings.FieldsFunc(foldRussian(string(n)), func(c rune) bool {
		if isRussian(c) {
			return false
		}
		return unicode.IsSpace(c) || isBlank(c) || isDash(c) || c == '-' || c == '.' || c == ','
	})
	return strings.Join(words, " ")
}

// foldRussian lowers the case, replaces ё by е, drops stress marks and, in every word that has a Cyrillic letter or no
// other letters, replaces Latin letters by the Cyrillic ones that look the same.
func foldRussian(s string) string {
	if strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf && !isRussian(c) }) {
		s = norm.NFKC.String(s)
	}
	var b strings.Builder
	b.Grow(len(s))
	for start := 0; start < len(s); {
		end, cyrillic, shared := start, false, true
		for end < len(s) {
			c, size := utf8.DecodeRuneInString(s[end:])
			if isRussian(c) {
				cyrillic = true
			} else if c < utf8.RuneSelf {
				if c|0x20 < 'a' || c|0x20 > 'z' {
					break
				}
				shared = shared && lookAlike[c] != 0
			} else {
				if !unicode.IsLetter(c) && !unicode.IsMark(c) {
					break
				}
				cyrillic, shared = cyrillic || unicode.Is(unicode.Cyrillic, c), false
			}
			end += size
		}
		if end == start {
			_, size := utf8.DecodeRuneInString(s[start:])
			b.WriteString(s[start : start+size])
			start += size
			continue
		}
		for _, c := range s[start:end] {
			// Before the case is lowered: H is the shape of Н, h of nothing.
			if c < utf8.RuneSelf && lookAlike[c] != 0 && (cyrillic || shared) {
				c = lookAlike[c]
			}
			switch {
			case c == 'ё' || c == 'Ё':
				b.WriteRune('е')
			case c >= 'а' && c <= 'я':
				b.WriteRune(c)
			case c >= 'А' && c <= 'Я':
				b.WriteRune(c + ('а' - 'А'))
			case c < utf8.RuneSelf:
				b.WriteRune(c | 0x20)
			case !unicode.IsMark(c):
				b.WriteRune(unicode.ToLower(c))
			}
		}
		start = end
	}
	return b.String()
}

func isRussian(c rune) bool { return c >= 'А' && c <= 'я' || c == 'ё' || c == 'Ё' }

// lookAlike pairs Latin letters with the Cyrillic ones of the same shape; zero for a letter without one.
var lookAlike = [utf8.RuneSelf]rune{
	'A': 'А', 'B': 'В', 'C': 'С', 'E': 'Е', 'H': 'Н', 'K': 'К', 'M': 'М', 'O': 'О', 'P': 'Р', 'T': 'Т', 'X': 'Х', 'Y': 'У',
	'a': 'а', 'c': 'с', 'e': 'е', 'o': 'о', 'p': 'р', 'x': 'х', 'y': 'у', 'k': 'к',
}
