package catalog

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNumber is above every sum and count that is told to a person.
const maxNumber = 999_999_999_999

// number is what a cell says: a whole part and hundredths, as written.
type number struct {
	whole    int64
	cents    int    // hundredths
	fraction string // its digits as written, without zeros at the end
}

// parseNumber reads 14506, 14 506,5, 14506.50 and sums with руб. or ₽ behind them. A comma that might divide thousands is refused,
// and so is what is negative.
func parseNumber(s string) (number, bool) {
	s = strings.TrimSpace(s)
	for _, unit := range []string{"₽", "рублей", "рубля", "рубль", "руб.", "руб", "р.", "RUB"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s = strings.TrimSpace(rest)
			break
		}
	}
	var n number
	groups := strings.FieldsFunc(s, unicode.IsSpace)
	if len(groups) == 0 {
		return n, false
	}
	last := len(groups) - 1
	mark := strings.IndexAny(groups[last], ".,")
	if mark >= 0 {
		groups[last], n.fraction = groups[last][:mark], groups[last][mark+1:]
		if n.fraction == "" || len(n.fraction) > 2 || !allDigits(n.fraction) {
			return n, false
		}
	}
	for i, g := range groups {
		if g == "" || !allDigits(g) || len(g) > 12 || i > 0 && len(g) != 3 || i == 0 && len(groups) > 1 && len(g) > 3 {
			return n, false
		}
	}
	whole := strings.Join(groups, "")
	if len(whole) > 1 && whole[0] == '0' || len(whole) > 12 {
		return n, false
	}
	n.whole, _ = strconv.ParseInt(whole, 10, 64)
	n.cents, _ = strconv.Atoi((n.fraction + "00")[:2])
	n.fraction = strings.TrimRight(n.fraction, "0")
	return n, n.whole <= maxNumber
}

func allDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

func (f *filter) number(dst []byte, start int) ([]byte, TemplateFault) {
	n, ok := parseNumber(string(dst[start:]))
	if !ok || f.kind == filterPluralWords && n.fraction != "" {
		return dst, FaultNumber
	}
	dst = dst[:start]
	switch f.kind {
	case filterMoney:
		dst = append(appendGrouped(dst, n.whole), " руб."...)
		if n.cents > 0 {
			dst = append(dst, ' ', byte('0'+n.cents/10), byte('0'+n.cents%10))
			dst = append(dst, " коп."...)
		}
	case filterMoneyWords:
		dst = append(appendCardinal(dst, n.whole, masculine), ' ')
		dst = append(dst, formOf(n.whole, &[3]string{"рубль", "рубля", "рублей"})...)
		if n.cents > 0 {
			dst = append(appendCardinal(append(dst, ' '), int64(n.cents), feminine), ' ')
			dst = append(dst, formOf(int64(n.cents), &[3]string{"копейка", "копейки", "копеек"})...)
		}
	case filterPlural:
		dst = appendGrouped(dst, n.whole)
		form := formOf(n.whole, &f.forms)
		if n.fraction != "" { // полтора года, 1,5 года
			dst = append(append(dst, ','), n.fraction...)
			form = f.forms[1]
		}
		dst = append(append(dst, ' '), form...)
	case filterPluralWords:
		dst = append(appendCardinal(dst, n.whole, genderOfNoun(f.forms[0])), ' ')
		dst = append(dst, formOf(n.whole, &f.forms)...)
	}
	return dst, ""
}

// formOf chooses among "год", "года", "лет".
func formOf(n int64, forms *[3]string) string {
	switch tens := n % 100; {
	case tens >= 11 && tens <= 14:
		return forms[2]
	case n%10 == 1:
		return forms[0]
	case n%10 >= 2 && n%10 <= 4:
		return forms[1]
	}
	return forms[2]
}

type nounGender uint8

const (
	masculine nounGender = iota
	feminine
	neuter
)

// genderOfNoun goes by the last letter of the word's first form; one in ь is taken for masculine, as день and рубль are.
func genderOfNoun(word string) nounGender {
	switch r, _ := utf8.DecodeLastRuneInString(word); r {
	case 'а', 'я':
		return feminine
	case 'о', 'е', 'ё':
		return neuter
	}
	return masculine
}

var (
	units = [...]string{"", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять", "одиннадцать", "двенадцать",
		"тринадцать", "четырнадцать", "пятнадцать", "шестнадцать", "семнадцать", "восемнадцать", "девятнадцать"}
	tens     = [...]string{"", "", "двадцать", "тридцать", "сорок", "пятьдесят", "шестьдесят", "семьдесят", "восемьдесят", "девяносто"}
	hundreds = [...]string{"", "сто", "двести", "триста", "четыреста", "пятьсот", "шестьсот", "семьсот", "восемьсот", "девятьсот"}
	scales   = [...]struct {
		size   int64
		gender nounGender
		forms  [3]string
	}{
		{1_000_000_000, masculine, [3]string{"миллиард", "миллиарда", "миллиардов"}},
		{1_000_000, masculine, [3]string{"миллион", "миллиона", "миллионов"}},
		{1_000, feminine, [3]string{"тысяча", "тысячи", "тысяч"}},
	}
	// Ordinals in the genitive: of the day, of the year.
	unitsOf = [...]string{"нулевого", "первого", "второго", "третьего", "четвёртого", "пятого", "шестого", "седьмого", "восьмого", "девятого", "десятого",
		"одиннадцатого", "двенадцатого", "тринадцатого", "четырнадцатого", "пятнадцатого", "шестнадцатого", "семнадцатого", "восемнадцатого", "девятнадцатого"}
	tensOf = [...]string{"", "", "двадцатого", "тридцатого", "сорокового", "пятидесятого", "шестидесятого", "семидесятого", "восьмидесятого", "девяностого"}
	manyOf = [...]string{"", "", "двух", "трёх", "четырёх", "пяти", "шести", "семи", "восьми", "девяти"}
)

// appendCardinal writes a number below 10^12 in words.
func appendCardinal(dst []byte, n int64, g nounGender) []byte {
	if n == 0 {
		return append(dst, "ноль"...)
	}
	start := len(dst)
	for _, s := range scales {
		if count := n / s.size; count > 0 {
			dst = appendBelowThousand(dst, start, int(count), s.gender)
			dst = append(append(dst, ' '), formOf(count, &s.forms)...)
			n %= s.size
		}
	}
	return appendBelowThousand(dst, start, int(n), g)
}

// appendBelowThousand puts a space between its words, and before them unless they are the first since start.
func appendBelowThousand(dst []byte, start, n int, g nounGender) []byte {
	word := func(s string) {
		if s == "" {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(dst, s...)
	}
	word(hundreds[n/100])
	if n %= 100; n >= 20 {
		word(tens[n/10])
		n %= 10
	}
	switch {
	case n == 1 && g == feminine:
		word("одна")
	case n == 1 && g == neuter:
		word("одно")
	case n == 2 && g == feminine:
		word("две")
	default:
		word(units[n])
	}
	return dst
}

// appendOrdinalOf writes an ordinal from 1 to 2999 in the genitive: "первого", "две тысячи двадцать седьмого".
func appendOrdinalOf(dst []byte, n int) []byte {
	switch {
	case n == 1000:
		return append(dst, "тысячного"...)
	case n%1000 == 0:
		return append(append(dst, manyOf[n/1000]...), "тысячного"...)
	case n > 2000:
		dst = append(dst, "две тысячи "...)
	case n > 1000:
		dst = append(dst, "тысяча "...)
	}
	n %= 1000
	switch {
	case n == 100:
		return append(dst, "сотого"...)
	case n%100 == 0:
		return append(append(dst, manyOf[n/100]...), "сотого"...)
	case n > 100:
		dst = append(append(dst, hundreds[n/100]...), ' ')
	}
	n %= 100
	switch {
	case n < 20:
		return append(dst, unitsOf[n]...)
	case n%10 == 0:
		return append(dst, tensOf[n/10]...)
	}
	return append(append(append(dst, tens[n/10]...), ' '), unitsOf[n%10]...)
}

func appendInt(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) }

// appendGrouped writes 1 234 567.
func appendGrouped(dst []byte, n int64) []byte {
	if n >= 1000 {
		dst = append(appendGrouped(dst, n/1000), ' ')
		n %= 1000
		return append(dst, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
	}
	return strconv.AppendInt(dst, n, 10)
}
