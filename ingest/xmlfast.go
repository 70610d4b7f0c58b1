package ingest

import (
	"bytes"
	"strings"
)

// What follows makes the scanner quick on sheets as they mostly are; next does the same, more slowly, for all of them.

// plain takes the rest of the element that was just opened where it is written as programs mostly do: before, text without anything to
// resolve, after. ok is false, and nothing is taken, where it is not, or not all of it is in the window.
func (x *xmlScanner) plain(before, after string) (text []byte, ok bool) {
	window := x.buf[x.at:x.end]
	name := x.open[len(x.open)-1-int(x.open[len(x.open)-1]) : len(x.open)-1]
	if x.empty || len(window) < len(before) || string(window[:len(before)]) != before || !strings.HasSuffix(after, "</"+string(name)+">") {
		return nil, false
	}
	text = window[len(before):]
	end := bytes.IndexByte(text, '<')
	if end < 0 || len(text)-end < len(after) || string(text[end:end+len(after)]) != after {
		return nil, false
	}
	text = text[:end]
	if bytes.IndexByte(text, '&') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return nil, false
	}
	x.at += len(before) + end + len(after)
	x.kind = xmlEnd
	x.pop()
	return text, true
}

// skipTable moves behind the end of the sheetData that was just opened and counts its rows, without looking at anything else: ok is false, and the scanner of no more use, where that cannot be done: comments or CDATA may hold what looks like tags,
// and the end was not found as it is mostly written.
func (x *xmlScanner) skipTable() (n int, ok bool) {
	whole := x.open[len(x.open)-1-int(x.open[len(x.open)-1]) : len(x.open)-1]
	prefix := string(whole[:len(whole)-len(local(whole))])
	end, tag := "</"+string(whole)+">", "<"+prefix+"row"
	for {
		window := x.buf[x.at:x.end]
		if indexBy(window, "<!", '!') >= 0 {
			return 0, false
		}
		over := indexBy(window, end, 'D')
		if over >= 0 {
			window = window[:over]
		}
		from := 0
		for {
			i := indexBy(window[from:], tag, 'w')
			if i < 0 || from+i+len(tag) == len(window) { // what follows the name may not be there yet
				break
			}
			from += i + len(tag)
			if c := window[from]; c <= ' ' || c == '>' || c == '/' {
				n++
			}
		}
		if over >= 0 {
			x.at += over + len(end)
			x.kind = xmlEnd
			x.name = local(whole)
			x.pop()
			return n, true
		}
		// What may have begun in the last bytes is looked at again with what follows.
		from = max(from, len(window)-max(len(end), len(tag)))
		if i := bytes.LastIndexByte(window[from:], '<'); i >= 0 {
			from += i
		} else {
			from = len(window)
		}
		x.at += from
		if !x.fill() {
			return n, false
		}
	}
}

// indexBy is bytes.Index that looks for a byte of the pattern that is rare in a sheet; "<" is every third.
func indexBy(b []byte, pattern string, rare byte) int {
	in := strings.IndexByte(pattern, rare)
	if in < 0 {
		return bytes.Index(b, []byte(pattern))
	}
	for from := in; from < len(b); from++ {
		i := bytes.IndexByte(b[from:], rare)
		if i < 0 {
			return -1
		}
		from += i
		if at := from - in; len(b)-at >= len(pattern) && string(b[at:at+len(pattern)]) == pattern {
			return at
		}
	}
	return -1
}
