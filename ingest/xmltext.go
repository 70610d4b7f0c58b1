package ingest

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// attr is the value of an attribute without a prefix; empty when there is none.
func (x *xmlScanner) attr(name string) string { return string(x.rawAttr(name, false)) }

// prefixed is the value of an attribute that has this name behind any prefix.
func (x *xmlScanner) prefixed(name string) string { return string(x.rawAttr(name, true)) }

// rawAttr is valid until the next tag.
func (x *xmlScanner) rawAttr(name string, prefixed bool) []byte {
	for key, value, rest := nextAttr(x.attrs); key != nil; key, value, rest = nextAttr(rest) {
		if prefixed {
			if bytes.IndexByte(key, ':') < 0 {
				continue
			}
			key = local(key)
		}
		if string(key) == name {
			return attrValue(value)
		}
	}
	return nil
}

// nextAttr takes the first attribute off the rest of a start tag, its value as it stands; key is nil when there is none.
func nextAttr(attrs []byte) (key, value, rest []byte) {
	eq := 0
	for eq < len(attrs) && attrs[eq] != '=' {
		eq++
	}
	if eq == len(attrs) {
		return nil, nil, nil
	}
	key = trimSpace(attrs[:eq])
	from := eq + 1
	for from < len(attrs) && attrs[from] <= ' ' {
		from++
	}
	if from == len(attrs) {
		return nil, nil, nil
	}
	to := from + 1
	for to < len(attrs) && attrs[to] != attrs[from] {
		to++
	}
	if to == len(attrs) {
		return nil, nil, nil
	}
	return key, attrs[from+1 : to], attrs[to+1:]
}

func attrValue(raw []byte) []byte {
	if bytes.IndexByte(raw, '&') < 0 {
		return raw
	}
	value, _ := appendXML(nil, raw)
	return value
}

// appendText adds the piece of text to dst as it reads: references and line ends resolved.
func (x *xmlScanner) appendText(dst []byte) ([]byte, error) {
	if bytes.IndexByte(x.data, '\r') < 0 && (x.cdata || bytes.IndexByte(x.data, '&') < 0) {
		return append(dst, x.data...), nil
	}
	data := bytes.ReplaceAll(bytes.ReplaceAll(x.data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	if x.cdata {
		return append(dst, data...), nil
	}
	dst, ok := appendXML(dst, data)
	if !ok {
		return dst, ErrDamaged
	}
	return dst, nil
}

// appendXML resolves references (XML 1.0, 4.1 and 4.6); ok is false for one that nobody has declared.
func appendXML(dst, text []byte) (_ []byte, ok bool) {
	for {
		i := bytes.IndexByte(text, '&')
		if i < 0 {
			return append(dst, text...), true
		}
		dst, text = append(dst, text[:i]...), text[i+1:]
		end := bytes.IndexByte(text[:min(len(text), xmlReference)], ';')
		if end < 1 {
			return dst, false
		}
		name := text[:end]
		text = text[end+1:]
		switch string(name) {
		case "amp":
			dst = append(dst, '&')
		case "lt":
			dst = append(dst, '<')
		case "gt":
			dst = append(dst, '>')
		case "quot":
			dst = append(dst, '"')
		case "apos":
			dst = append(dst, '\'')
		default:
			c, err := strconv.ParseUint(string(bytes.TrimPrefix(name, []byte("#"))), 10, 32)
			if bytes.HasPrefix(name, []byte("#x")) {
				c, err = strconv.ParseUint(string(name[2:]), 16, 32)
			}
			if name[0] != '#' || err != nil || c > utf8.MaxRune {
				return dst, false
			}
			dst = utf8.AppendRune(dst, rune(c))
		}
	}
}
