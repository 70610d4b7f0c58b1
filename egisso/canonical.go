package egisso

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Canonical is a JSON text in the one form of RFC 8785: two texts that say the same have the same bytes. The text must be I-JSON.
func Canonical(text []byte) ([]byte, error) {
	v, fault := readJSON(text)
	if fault != nil {
		return nil, fault
	}
	return appendCanonical(make([]byte, 0, len(text)), &v), nil
}

// digestOf is SHA-256 of the value in canonical JSON, of an object without the members named. size is about how long that is.
func digestOf(v *jsonValue, size int, without ...string) [32]byte {
	if len(without) > 0 {
		rest := jsonValue{kind: v.kind}
		for i, name := range v.names {
			if !slices.Contains(without, name) {
				rest.names, rest.items = append(rest.names, name), append(rest.items, v.items[i])
			}
		}
		v = &rest
	}
	return sha256.Sum256(appendCanonical(make([]byte, 0, size), v))
}

func appendCanonical(dst []byte, v *jsonValue) []byte {
	switch v.kind {
	case jsonNull:
		return append(dst, "null"...)
	case jsonFalse:
		return append(dst, "false"...)
	case jsonTrue:
		return append(dst, "true"...)
	case jsonNumber:
		return appendNumber(dst, v.float())
	case jsonString:
		return appendString(dst, v.text)
	case jsonArray:
		dst = append(dst, '[')
		for i := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendCanonical(dst, &v.items[i])
		}
		return append(dst, ']')
	}
	order := make([]int, len(v.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compareNames(v.names[a], v.names[b]) })
	dst = append(dst, '{')
	for n, i := range order {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, v.names[i]), ':')
		dst = appendCanonical(dst, &v.items[i])
	}
	return append(dst, '}')
}

// compareNames orders by UTF-16 units (RFC 8785, 3.2.3), which differs from the order of bytes where one name has a character above U+FFFF.
func compareNames(a, b string) int {
	for a != "" && b != "" {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x != y {
			unit := func(c rune) rune {
				if high, _ := utf16.EncodeRune(c); high != utf8.RuneError {
					return high
				}
				return c
			}
			return cmp.Or(cmp.Compare(unit(x), unit(y)), cmp.Compare(x, y))
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

// appendNumber writes a finite number as ECMAScript does (RFC 8785, 3.2.2.3).
func appendNumber(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // of -0 too
	}
	if size := math.Abs(f); size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') { // 1e-07
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// appendString escapes what must be and nothing else (RFC 8785, 3.2.2.2).
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\r':
			dst = append(dst, `\r`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		}
	}
	return append(append(dst, s[start:]...), '"')
}

// digestOfJSON is the same of a value of ours.
func digestOfJSON(v any) [32]byte {
	b, _ := json.Marshal(v)
	if canonical, err := Canonical(b); err == nil {
		b = canonical
	}
	return sha256.Sum256(b)
}
