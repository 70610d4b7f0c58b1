package catalog

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A name may be any: of one word or of five, of one letter, with a hyphen, with «оглы» behind it, in Latin letters. What a filter
// cannot find in it, it leaves out; it never guesses.

// particles stay small inside a name.
var particles = []string{"оглы", "оглу", "кызы", "кизи", "гызы", "улы", "угли", "фон", "ван", "дер", "де", "да", "ибн", "бин", "аль"}

// appendNames writes the words of a name with one space between them. A word that is all capitals or all small is given a capital.
func appendNames(dst []byte, words []string) []byte {
	for i, word := range words {
		if i > 0 {
			dst = append(dst, ' ')
		}
		lower := strings.ToLower(word)
		switch {
		case i > 0 && slices.Contains(particles, lower):
			dst = append(dst, lower...)
		case word == lower || word == strings.ToUpper(word):
			start := true
			for _, r := range lower {
				if start {
					r = unicode.ToUpper(r)
				}
				dst = utf8.AppendRune(dst, r)
				start = !unicode.IsLetter(r) && !unicode.IsMark(r)
			}
		default:
			dst = append(dst, word...)
		}
	}
	return dst
}

// appendInitials writes "Иванова М. П." of a name that begins with the family name.
func appendInitials(dst []byte, words []string) []byte {
	dst = appendNames(dst, words[:1])
	for _, word := range words[1:] {
		r, _ := utf8.DecodeRuneInString(word)
		if !unicode.IsLetter(r) || slices.Contains(particles, strings.ToLower(word)) {
			continue
		}
		dst = append(utf8.AppendRune(append(dst, ' '), unicode.ToUpper(r)), '.')
	}
	return dst
}

// The forms of a gender filter.
const (
	male = iota
	female
	unknownGender
)

// genderOf reads a column of genders, or a full name by its patronymic. Family and first names say nothing: Рабинович may be a woman,
// and Саша either. Signs of both are no sign.
func genderOf(value string) int {
	words := strings.Fields(strings.ToLower(value))
	if len(words) == 1 {
		switch strings.Trim(words[0], ".") {
		case "м", "муж", "мужской", "мужчина", "male", "m":
			return male
		case "ж", "жен", "женский", "женщина", "female", "f":
			return female
		}
	}
	if len(words) < 3 {
		return unknownGender
	}
	var signs [2]bool
	for i, word := range words[1:] {
		switch {
		case slices.Contains([]string{"оглы", "оглу", "улы", "угли"}, word), strings.HasSuffix(word, "вич"), i > 0 && strings.HasSuffix(word, "ьич"),
			i > 0 && strings.HasSuffix(word, "мич"):
			signs[male] = true
		case slices.Contains([]string{"кызы", "кизи", "гызы"}, word), strings.HasSuffix(word, "овна"), strings.HasSuffix(word, "евна"),
			strings.HasSuffix(word, "ёвна"), strings.HasSuffix(word, "ична"):
			signs[female] = true
		}
	}
	switch {
	case signs[male] == signs[female]:
		return unknownGender
	case signs[male]:
		return male
	}
	return female
}
