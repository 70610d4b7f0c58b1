package egisso

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonKind is what a JSON value is.
type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonFalse
	jsonTrue
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonValue is a JSON text as it was sent: nothing is repaired, and nothing lost.
type jsonValue struct {
	kind  jsonKind
	text  string // of a string: what it says; of a number: as it was written
	items []jsonValue
	names []string // of an object: the name of each item, none twice
}

// member is the object's value of that name.
func (v *jsonValue) member(name string) (*jsonValue, bool) {
	if i := slices.Index(v.names, name); i >= 0 {
		return &v.items[i], true
	}
	return nil, false
}

// What a message may cost before it is understood.
const (
	maxDepth  = 16      // of arrays and objects in each other
	maxValues = 200_000 // a full part has 1,000 rows of 200 values
	fewNames  = 16      // up to here names are compared one by one
)

// jsonReader reads one JSON text (RFC 8259) as I-JSON (RFC 7493) wants it: valid UTF-8 without lone surrogates, no name twice, numbers that
// a double holds. It is our own because the digest of a part needs the text as a tree anyway, and because the libraries let names
// come twice and repair, or pass on, what is no UTF-8.
type jsonReader struct {
	in     string
	at     int
	depth  int
	values int
	stack  []jsonValue // items of what is open
	names  []string
	fault  *Problem
}

func readJSON(in []byte) (jsonValue, *Problem) {
	if !utf8.Valid(in) {
		return jsonValue{}, problem(CodeUTF8, "", "Сообщение не в UTF-8. Сохраните его в UTF-8 и отправьте ещё раз.")
	}
	r := jsonReader{in: string(in)}
	v := r.value()
	r.blank()
	if r.fault == nil && r.at < len(r.in) {
		r.fail()
	}
	return v, r.fault
}

func (r *jsonReader) refuse(code, sentence string, args ...any) jsonValue {
	if r.fault == nil {
		r.fault = problem(code, "", sentence, args...)
	}
	return jsonValue{}
}

// fail says where the text stops being JSON.
func (r *jsonReader) fail() jsonValue {
	line := 1 + strings.Count(r.in[:r.at], "\n")
	column := 1 + utf8.RuneCountInString(r.in[strings.LastIndexByte(r.in[:r.at], '\n')+1:r.at])
	return r.refuse(CodeNotJSON, "Это не JSON: ошибка в строке %d текста, знак %d. Исправьте выгрузку.", line, column)
}

func (r *jsonReader) blank() {
	for r.at < len(r.in) {
		switch r.in[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// next is the next character that is no blank; 0 at the end.
func (r *jsonReader) next() byte {
	if r.blank(); r.at < len(r.in) {
		return r.in[r.at]
	}
	return 0
}

func (r *jsonReader) value() jsonValue {
	if r.values++; r.values > maxValues {
		return r.refuse(CodeTooMany, "В сообщении слишком много значений (больше %d). Разделите список на части по 1000 строк.", maxValues)
	}
	switch c := r.next(); {
	case c == '{' || c == '[':
		if r.depth++; r.depth > maxDepth {
			return r.refuse(CodeDepth, "Вложенность больше %d уровней. Упростите сообщение.", maxDepth)
		}
		r.at++
		v := r.container(c)
		r.depth--
		return v
	case c == '"':
		return jsonValue{kind: jsonString, text: r.string()}
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	}
	for kind, word := range [...]string{jsonNull: "null", jsonFalse: "false", jsonTrue: "true"} {
		if strings.HasPrefix(r.in[r.at:], word) {
			r.at += len(word)
			return jsonValue{kind: jsonKind(kind)}
		}
	}
	return r.fail()
}

// container reads what is behind an opening bracket, up to the closing one.
func (r *jsonReader) container(open byte) jsonValue {
	v, end := jsonValue{kind: jsonArray}, byte(']')
	if open == '{' {
		v.kind, end = jsonObject, '}'
	}
	first, firstName := len(r.stack), len(r.names)
	if r.next() == end {
		r.at++
		return v
	}
	var seen map[string]bool // where there are more than a few names
	for {
		if open == '{' {
			if r.next() != '"' {
				return r.fail()
			}
			name := r.string()
			if r.fault != nil {
				return v
			}
			var again bool
			switch n := len(r.names) - firstName; {
			case n < fewNames:
				again = slices.Contains(r.names[firstName:], name)
			case seen == nil:
				seen = make(map[string]bool)
				for _, n := range r.names[firstName:] {
					seen[n] = true
				}
				fallthrough
			default:
				again = seen[name]
				seen[name] = true
			}
			if again {
				return r.refuse(CodeDuplicateName, "Одно имя дважды в одном объекте (знак %d сообщения). Оставьте одно значение.", r.at)
			}
			r.names = append(r.names, name)
			if r.next() != ':' {
				return r.fail()
			}
			r.at++
		}
		item := r.value()
		if r.fault != nil {
			return v
		}
		r.stack = append(r.stack, item)
		switch r.next() {
		case ',':
			r.at++
		case end:
			r.at++
			v.items = slices.Clone(r.stack[first:])
			r.stack = r.stack[:first]
			if open == '{' {
				v.names = slices.Clone(r.names[firstName:])
				r.names = r.names[:firstName]
			}
			return v
		default:
			return r.fail()
		}
	}
}

// string reads a string from its opening quote.
func (r *jsonReader) string() string {
	r.at++
	start := r.at
	for r.at < len(r.in) {
		switch c := r.in[r.at]; {
		case c == '"':
			r.at++
			return r.in[start : r.at-1]
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			r.fail()
			return ""
		}
		r.at++
	}
	r.fail()
	return ""
}

// escaped goes on with a string in which there are escapes.
func (r *jsonReader) escaped(start int) string {
	b := append(make([]byte, 0, r.at-start+32), r.in[start:r.at]...)
	for r.at < len(r.in) {
		c := r.in[r.at]
		switch {
		case c == '"':
			r.at++
			return string(b)
		case c < 0x20:
			r.fail()
			return ""
		case c != '\\':
			b = append(b, c)
			r.at++
			continue
		}
		if r.at+1 >= len(r.in) {
			break
		}
		if c = r.in[r.at+1]; c == 'u' {
			char, ok := r.unicode()
			if !ok {
				r.fail()
				return ""
			}
			b = utf8.AppendRune(b, char)
			continue
		}
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			break
		}
		b = append(b, "\"\\/\b\f\n\r\t"[i])
		r.at += 2
	}
	r.fail()
	return ""
}

// unicode reads \uXXXX, or two of them that are one character. A half without its other half is none.
func (r *jsonReader) unicode() (rune, bool) {
	hex := func() (rune, bool) {
		if len(r.in) < r.at+6 || r.in[r.at] != '\\' || r.in[r.at+1] != 'u' {
			return 0, false
		}
		n := rune(0)
		for _, c := range []byte(r.in[r.at+2 : r.at+6]) {
			switch {
			case c >= '0' && c <= '9':
				c -= '0'
			case c|0x20 >= 'a' && c|0x20 <= 'f':
				c = c | 0x20 - 'a' + 10
			default:
				return 0, false
			}
			n = n<<4 | rune(c)
		}
		r.at += 6
		return n, true
	}
	char, ok := hex()
	if !ok || !utf16.IsSurrogate(char) {
		return char, ok
	}
	low, ok := hex()
	char = utf16.DecodeRune(char, low)
	return char, ok && char != utf8.RuneError
}

// number reads a number and holds it against what a double can say of it (RFC 7493, 2.2).
func (r *jsonReader) number() jsonValue {
	start := r.at
	digits := func() int {
		n := r.at
		for r.at < len(r.in) && r.in[r.at] >= '0' && r.in[r.at] <= '9' {
			r.at++
		}
		return r.at - n
	}
	skip := func(set string) bool {
		if r.at < len(r.in) && strings.IndexByte(set, r.in[r.at]) >= 0 {
			r.at++
			return true
		}
		return false
	}
	skip("-")
	whole := r.at
	if n := digits(); n == 0 || n > 1 && r.in[whole] == '0' {
		r.at = start
		return r.fail()
	}
	if skip(".") && digits() == 0 {
		return r.fail()
	}
	mantissa := r.in[whole:r.at]
	if skip("eE") {
		skip("+-")
		if digits() == 0 {
			return r.fail()
		}
	}
	v := jsonValue{kind: jsonNumber, text: r.in[start:r.at]}
	f := v.float()
	significant := strings.Trim(strings.Replace(mantissa, ".", "", 1), "0")
	if math.IsInf(f, 0) || len(significant) > 17 || f == 0 && significant != "" || math.Abs(f) >= 1<<53 && f == math.Trunc(f) && len(significant) > 15 {
		return r.refuse(CodeNumber, "Число (знак %d сообщения) точно не передаётся: слишком длинное или слишком большое. Передайте его строкой.", start+1)
	}
	return v
}

// float is the double nearest to a number.
func (v *jsonValue) float() float64 {
	f, _ := strconv.ParseFloat(v.text, 64)
	return f
}
