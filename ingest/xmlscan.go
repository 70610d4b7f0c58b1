package ingest

import (
	"bytes"
	"io"
	"runtime"
)

// xmlScanner reads one part of a workbook as XML 1.0 without a DTD, tag by tag. It holds one window of the part and never more, whatever
// the part says; a part that is not well-formed to its end is ErrDamaged. encoding/xml holds each text and each tag whole, which is as
// much memory as the sender likes, and takes ten times as long.
type xmlScanner struct {
	in  io.ReadCloser
	err error // of in, once it has one

	buf  []byte // buf[at:end] is what was read and not yet looked at
	at   int
	end  int
	open []byte // the names of the elements that are open, each followed by its length
	deep int
	root bool // a root element was seen

	begun bool // the byte order mark is passed

	kind  xmlKind
	name  []byte // of the tag, without its prefix
	attrs []byte // of the start tag, as they stand
	data  []byte // of the text, as it stands
	cdata bool   // data is of a CDATA section
	inCD  bool   // its section goes on
	empty bool   // the start tag was <x/>: its end comes next
}

type xmlKind uint8

const (
	xmlEOF xmlKind = iota
	xmlStart
	xmlEnd
	xmlText // a piece of text: one text may come in several
)

const (
	// xmlWindow bounds a tag with its attributes.
	xmlWindow = 64 << 10
	// xmlDepth is more than any part of a workbook has.
	xmlDepth = 64
	// xmlReference is longer than any reference to a character.
	xmlReference = 12
)

func newXMLScanner(in io.ReadCloser) *xmlScanner {
	return &xmlScanner{in: in, buf: make([]byte, xmlWindow)}
}

func (x *xmlScanner) close() { _ = x.in.Close() }

// fill reads on; false when nothing more comes or the window is full. Before each window it lets others go first: the scheduler alone takes
// a processor from an unpacking after 10 ms, and a single event waits for one many times on its way.
func (x *xmlScanner) fill() bool {
	runtime.Gosched()
	if x.at > 0 {
		x.end = copy(x.buf, x.buf[x.at:x.end])
		x.at = 0
	}
	if x.err != nil || x.end == len(x.buf) {
		return false
	}
	for range 100 {
		n, err := x.in.Read(x.buf[x.end:])
		x.end += n
		x.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	x.err = io.ErrNoProgress
	return false
}

// have reports whether the window holds n more bytes, after reading on where it can.
func (x *xmlScanner) have(n int) bool {
	for x.end-x.at < n {
		if !x.fill() {
			return false
		}
	}
	return true
}

// next moves to the next tag or piece of text. Its error is a *Fault.
func (x *xmlScanner) next() error {
	if x.empty {
		x.empty, x.kind = false, xmlEnd
		x.pop()
		return nil
	}
	if !x.begun {
		x.begun = true
		if x.have(3) && string(x.buf[x.at:x.at+3]) == "\uFEFF" {
			x.at += 3
		}
	}
	for {
		if x.inCD {
			if done, err := x.section(); done || err != nil {
				return err
			}
			continue
		}
		if x.at == x.end && !x.fill() {
			if x.err != io.EOF || x.deep > 0 || !x.root {
				return ErrDamaged
			}
			x.kind = xmlEOF
			return nil
		}
		if x.buf[x.at] != '<' {
			if done, err := x.text(); done || err != nil {
				return err
			}
			continue
		}
		if !x.have(len("<![CDATA[")) && !x.have(2) {
			return ErrDamaged
		}
		switch x.buf[x.at+1] {
		case '?', '!':
			if err := x.declaration(); err != nil {
				return err
			}
		case '/':
			return x.endTag()
		default:
			return x.startTag()
		}
	}
}

// text takes the text up to the next tag, or as much of it as is there.
func (x *xmlScanner) text() (done bool, err error) {
	piece := x.buf[x.at:x.end]
	if i := bytes.IndexByte(piece, '<'); i >= 0 {
		piece = piece[:i]
	} else if x.err == nil {
		// A reference, or a line end of two characters, is not cut in two.
		tail := piece[max(0, len(piece)-xmlReference):]
		if i := bytes.LastIndexByte(tail, '&'); i >= 0 && bytes.IndexByte(tail[i:], ';') < 0 {
			piece = piece[:len(piece)-len(tail)+i]
		} else if piece[len(piece)-1] == '\r' {
			piece = piece[:len(piece)-1]
		}
		if len(piece) == 0 {
			if !x.fill() && x.err == nil {
				return false, ErrDamaged
			}
			return false, nil
		}
	}
	x.at += len(piece)
	if x.deep == 0 {
		if len(trimSpace(piece)) > 0 {
			return false, ErrDamaged
		}
		return false, nil
	}
	x.kind, x.data, x.cdata = xmlText, piece, false
	return true, nil
}

// section takes a piece of the CDATA section that is open.
func (x *xmlScanner) section() (done bool, err error) {
	piece := x.buf[x.at:x.end]
	if i := bytes.Index(piece, []byte("]]>")); i >= 0 {
		piece = piece[:i]
		x.at += i + 3
		x.inCD = false
	} else {
		held := max(0, len(piece)-2)
		if held > 0 && piece[held-1] == '\r' && piece[held] == '\n' { // a line end is not cut in two
			held++
		}
		piece = piece[:held]
		x.at += len(piece)
		if len(piece) == 0 {
			if !x.fill() {
				return false, ErrDamaged
			}
			return false, nil
		}
	}
	x.kind, x.data, x.cdata = xmlText, piece, true
	return len(piece) > 0, nil
}

// declaration passes over what is not an element, and refuses what a workbook has no use for.
func (x *xmlScanner) declaration() error {
	head := x.buf[x.at:x.end]
	switch {
	case bytes.HasPrefix(head, []byte("<!--")):
		x.at += 4
		return x.skip("-->")
	case bytes.HasPrefix(head, []byte("<![CDATA[")) && x.deep > 0:
		x.at += len("<![CDATA[")
		x.inCD = true
		return nil
	case bytes.HasPrefix(head, []byte("<!DOC")):
		return ErrDoctype
	case bytes.HasPrefix(head, []byte("<?")):
		x.at += 2
		return x.skip("?>")
	}
	return ErrDamaged
}

func (x *xmlScanner) skip(end string) error {
	for {
		if i := bytes.Index(x.buf[x.at:x.end], []byte(end)); i >= 0 {
			x.at += i + len(end)
			return nil
		}
		x.at = max(x.at, x.end-len(end)+1)
		if !x.fill() {
			return ErrDamaged
		}
	}
}

// tag finds the whole of the tag that begins at x.at, which ends with a ">" outside quotes, and moves behind it.
func (x *xmlScanner) tag() ([]byte, error) {
	quote := byte(0)
	for i := 1; ; i++ {
		rest := x.buf[x.at:x.end]
		for i < len(rest) && !marksTag[rest[i]] {
			i++
		}
		if i == len(rest) {
			if !x.fill() {
				return nil, ErrDamaged
			}
			i-- // looked at once more
			continue
		}
		switch c := rest[i]; {
		case c == '<': // not inside quotes either (XML 1.0, 3.1): a quote that is not closed would swallow rows
			return nil, ErrDamaged
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			x.at += i + 1
			return rest[1:i], nil
		default:
			quote = c
		}
	}
}

// marksTag are the bytes that tag looks at.
var marksTag = [256]bool{'>': true, '<': true, '"': true, '\'': true}

func (x *xmlScanner) startTag() error {
	if x.deep == 0 && x.root {
		return ErrDamaged
	}
	tag, err := x.tag()
	if err != nil {
		return err
	}
	if n := len(tag); n > 0 && tag[n-1] == '/' {
		tag, x.empty = tag[:n-1], true
	}
	n := 0
	for n < len(tag) && tag[n] > ' ' {
		n++
	}
	if n == 0 || n > 255 || tag[0] == ':' || x.deep == xmlDepth {
		return ErrDamaged
	}
	x.kind, x.attrs, x.root = xmlStart, tag[n:], true
	x.open = append(append(x.open, tag[:n]...), byte(n))
	x.deep++
	if x.name = local(tag[:n]); len(x.name) == 0 {
		return ErrDamaged
	}
	return nil
}

func (x *xmlScanner) endTag() error {
	tag, err := x.tag()
	if err != nil {
		return err
	}
	tag = trimSpace(tag[1:])
	x.kind = xmlEnd
	if n := len(x.open); n == 0 || !bytes.Equal(x.open[n-1-int(x.open[n-1]):n-1], tag) {
		return ErrDamaged
	}
	x.name = local(tag)
	x.pop()
	return nil
}

func (x *xmlScanner) pop() {
	n := len(x.open)
	x.open = x.open[:n-1-int(x.open[n-1])]
	x.deep--
}

// trimSpace takes off what XML calls white space. bytes.Trim makes a table of its cutset for every call.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && b[0] <= ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// local is a name without its prefix.
func local(name []byte) []byte { return name[bytes.IndexByte(name, ':')+1:] }

// is reports whether the tag has this name.
func (x *xmlScanner) is(name string) bool { return string(x.name) == name }

// within reports whether the start tag stands directly inside an element of this name.
func (x *xmlScanner) within(name string) bool {
	n := len(x.open)
	n -= 1 + int(x.open[n-1]) // its own
	return n > 0 && string(local(x.open[n-1-int(x.open[n-1]):n-1])) == name
}

// elements calls each for every start tag of a part. The scanner may be moved on to the element's end, not past it.
func (x *xmlScanner) elements(each func() error) error {
	for {
		if err := x.next(); err != nil {
			return err
		}
		switch x.kind {
		case xmlEOF:
			return nil
		case xmlStart:
			if err := each(); err != nil {
				return err
			}
		}
	}
}
