package catalog

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

type filterKind uint8

const (
	filterDefault filterKind = iota
	filterOptional
	filterTrim
	filterUpperFirst
	filterDate
	filterDateLong
	filterDateWords
	filterTime
	filterTimeWords
	filterMoney
	filterMoneyWords
	filterPlural
	filterPluralWords
	filterName
	filterFirstPatronymic
	filterInitials
	filterGender
	filterList
)

// maxFilters is how many may stand behind one parameter.
const maxFilters = 8

// argument is what a filter takes in quotes.
type argument uint8

const (
	argNone  argument = iota
	argText           // a text
	argThree          // three forms divided by /
	argMaybe          // a text, or nothing
)

// filterNames are the filters by kind, under their English and their Russian name.
var filterNames = [...]struct {
	english, russian string
	argument         argument
}{
	filterDefault:         {"default", "иначе", argText},
	filterOptional:        {"optional", "если-есть", argNone},
	filterTrim:            {"trim", "без-пробелов", argNone},
	filterUpperFirst:      {"upper-first", "с-большой-буквы", argNone},
	filterDate:            {"date", "дата", argNone},
	filterDateLong:        {"date-long", "дата-полностью", argNone},
	filterDateWords:       {"date-words", "дата-словами", argNone},
	filterTime:            {"time", "время", argNone},
	filterTimeWords:       {"time-words", "время-словами", argNone},
	filterMoney:           {"money", "деньги", argNone},
	filterMoneyWords:      {"money-words", "деньги-словами", argNone},
	filterPlural:          {"plural", "склонение", argThree},
	filterPluralWords:     {"plural-words", "склонение-словами", argThree},
	filterName:            {"name", "имя", argNone},
	filterFirstPatronymic: {"first-patronymic", "имя-отчество", argNone},
	filterInitials:        {"initials", "инициалы", argNone},
	filterGender:          {"gender", "род", argThree},
	filterList:            {"list", "список", argMaybe},
}

func filterNamed(name string) (filterKind, bool) {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	for kind := range filterNames {
		if f := &filterNames[kind]; f.english == name || f.russian == name {
			return filterKind(kind), true
		}
	}
	return 0, false
}

func (k filterKind) argument() argument { return filterNames[k].argument }

type filter struct {
	kind  filterKind
	arg   string
	forms [3]string // of argThree
}

// takeArgument is asked once, when the template is read.
func (f *filter) takeArgument(arg string) bool {
	f.arg = arg
	if f.kind.argument() != argThree {
		return true
	}
	forms := strings.Split(arg, "/")
	if len(forms) != len(f.forms) {
		return false
	}
	for i, form := range forms {
		if f.forms[i] = strings.TrimSpace(form); f.forms[i] == "" {
			return false
		}
	}
	return true
}

// apply changes the value that lies in dst from start to its end. A value that is not there stays so, but for a default and a gender.
func (f *filter) apply(dst []byte, start int) ([]byte, TemplateFault) {
	value := dst[start:]
	switch f.kind {
	case filterDefault:
		if len(value) == 0 {
			dst = append(dst, f.arg...)
		}
		return dst, ""
	case filterGender:
		return append(dst[:start], f.forms[genderOf(string(value))]...), ""
	}
	if len(bytes.TrimSpace(value)) == 0 {
		return dst[:start], ""
	}
	switch f.kind {
	case filterTrim:
		return append(dst[:start], bytes.TrimSpace(value)...), ""
	case filterUpperFirst:
		return upperFirst(dst, start), ""
	case filterDate, filterDateLong, filterDateWords:
		return f.date(dst, start)
	case filterTime, filterTimeWords:
		return f.time(dst, start)
	case filterMoney, filterMoneyWords, filterPlural, filterPluralWords:
		return f.number(dst, start)
	case filterName:
		return appendNames(dst[:start], strings.Fields(string(value))), ""
	case filterFirstPatronymic:
		words := strings.Fields(string(value))
		return appendNames(dst[:start], words[min(1, len(words)-1):]), ""
	case filterInitials:
		return appendInitials(dst[:start], strings.Fields(string(value))), ""
	case filterList:
		return f.list(dst[:start], string(value)), ""
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

// list writes "а; б; в" as "а, б и в". Items are divided by line ends, else by semicolons, else by commas.
func (f *filter) list(dst []byte, value string) []byte {
	divider := ","
	for _, d := range []string{"\n", ";"} {
		if strings.Contains(value, d) {
			divider = d
			break
		}
	}
	items := strings.Split(value, divider)
	items = slices.DeleteFunc(items, func(s string) bool { return strings.TrimSpace(s) == "" })
	and := f.arg
	if and == "" {
		and = "и"
	}
	for i, item := range items {
		switch {
		case i > 0 && i == len(items)-1:
			dst = append(append(append(dst, ' '), and...), ' ')
		case i > 0:
			dst = append(dst, ", "...)
		}
		dst = append(dst, strings.TrimSpace(item)...)
	}
	return dst
}
