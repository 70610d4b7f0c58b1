package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// csvReader reads records as spreadsheets write them (RFC 4180 and its looser kin): a quote counts only at the start of a field, and
// what follows a closing quote is taken as it stands. Memory is bounded by the limits whatever the file holds.
type csvReader struct {
	in     *bufio.Reader
	comma  byte
	eol    byte
	limits Limits

	row  int // records read
	line int // lines read; differs from row once a field has a line break in it

	buf   []byte // the fields of one record, one after another
	ends  []int  // where each field ends in buf
	cells []string
	long  bool
	wide  bool // a value stands further right than is read
}

func openCSV(file io.ReaderAt, size int64, limits Limits, t titles) (*csvReader, error) {
	enc, err := detectEncoding(io.NewSectionReader(file, 0, size))
	if err != nil {
		return nil, err
	}
	open := func() io.Reader { return decodeText(io.NewSectionReader(file, 0, size), enc) }
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(open(), head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	head = head[:n]
	if len(bytes.TrimSpace(head)) == 0 && n < 64<<10 {
		return nil, ErrEmptyFile
	}
	if bytes.Count(head, []byte{0})*4 > n {
		return nil, ErrFormatOther
	}
	r := newCSVReader(open(), sniffEOL(head), limits)
	rest, comma, stated := statedComma(head)
	if !stated {
		r.comma = sniffComma(head, r.eol, limits, t)
		return r, nil
	}
	// The line "sep=;" is for Excel, which shows the next one as row 1.
	if _, err := r.in.Discard(n - len(rest)); err != nil {
		return nil, err
	}
	r.comma, r.line = comma, 1
	return r, nil
}

func newCSVReader(in io.Reader, eol byte, limits Limits) *csvReader {
	return &csvReader{in: bufio.NewReaderSize(in, 64<<10), comma: ';', eol: eol, limits: limits}
}

// Next returns the next record that has a value.
func (r *csvReader) Next() (sheetRow, error) {
	for {
		if err := r.record(); err != nil {
			return sheetRow{}, err
		}
		if r.wide {
			return sheetRow{}, ErrTooManyColumns.with(r.limits.Columns)
		}
		r.row++
		all := string(r.buf)
		if !utf8.ValidString(all) {
			// Byte positions shift when bad bytes are replaced, so each field is mended by itself.
			r.cells = r.cells[:0]
			start := 0
			for _, end := range r.ends {
				r.cells = append(r.cells, strings.ToValidUTF8(all[start:end], "\uFFFD"))
				start = end
			}
		} else {
			r.cells = r.cells[:0]
			start := 0
			for _, end := range r.ends {
				r.cells = append(r.cells, asText(all[start:end]))
				start = end
			}
		}
		if r.long || !blank(r.cells) {
			return sheetRow{No: r.row, Cells: r.cells, Long: r.long}, nil
		}
	}
}

// asText takes off ="…", by which exports keep Excel from reading digits as a number.
func asText(cell string) string {
	if len(cell) >= 3 && strings.HasPrefix(cell, `="`) && strings.HasSuffix(cell, `"`) {
		return cell[2 : len(cell)-1]
	}
	return cell
}

// record reads one record into buf and ends.
func (r *csvReader) record() error {
	r.buf, r.ends, r.long = r.buf[:0], r.ends[:0], false
	quoted := false // inside quotes
	opened := 0     // the line of the opening quote
	start := true   // at the start of a field
	spread := false // the quoted field has a line break in it
	field := 0      // where the field starts in buf
	any := false
	for {
		chunk, err := r.in.ReadSlice(r.eol)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return err
		}
		any = any || len(chunk) > 0
		ended := len(chunk) > 0 && chunk[len(chunk)-1] == r.eol
		if ended {
			r.line++
		}
		full := chunk
		if ended {
			chunk = chunk[:len(chunk)-1]
			if r.eol == '\n' && len(chunk) > 0 && chunk[len(chunk)-1] == '\r' {
				chunk = chunk[:len(chunk)-1]
			}
		}
		for i := 0; i < len(chunk); {
			c := chunk[i]
			switch {
			case quoted:
				j := bytes.IndexByte(chunk[i:], '"')
				if j < 0 {
					j = len(chunk) - i
					r.take(chunk[i:i+j], field)
					i += j
					continue
				}
				r.take(chunk[i:i+j], field)
				i += j + 1
				// A doubled quote is one; a chunk never ends between the two, since a quote at its end is looked at with what follows.
				if i < len(chunk) && chunk[i] == '"' {
					r.take(chunk[i:i+1], field)
					i++
					continue
				}
				if i == len(chunk) && !ended && err != nil && errors.Is(err, bufio.ErrBufferFull) {
					if next, _ := r.in.Peek(1); len(next) == 1 && next[0] == '"' {
						_, _ = r.in.Discard(1)
						r.take([]byte{'"'}, field)
						continue
					}
				}
				quoted = false
			case c == r.comma:
				r.endField()
				field, start, spread = len(r.buf), true, false
				i++
			case spread && c != ' ':
				// The quote that seemed to close the field opens another one: rows between them were swallowed.
				return ErrOpenQuote.with(opened)
			case c == '"' && start:
				quoted, start, opened = true, false, r.line
				if !ended {
					opened++
				}
				i++
			default:
				j := bytes.IndexByte(chunk[i:], r.comma)
				if j < 0 {
					j = len(chunk) - i
				}
				// Spaces before an opening quote are not a value.
				if q := bytes.IndexByte(chunk[i:i+j], '"'); start && q > 0 && len(bytes.TrimSpace(chunk[i:i+q])) == 0 {
					i += q
					continue
				}
				start = false
				r.take(chunk[i:i+j], field)
				i += j
			}
		}
		switch {
		case quoted && (len(r.buf)-field >= r.limits.FieldBytes || errors.Is(err, io.EOF)):
			return ErrOpenQuote.with(opened)
		case quoted && ended:
			r.take(full[len(full)-1:], field)
			spread = true
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && !any:
			return io.EOF
		}
		r.endField()
		return nil
	}
}

// take appends to the field that starts at field, as far as the limits let it.
func (r *csvReader) take(b []byte, field int) {
	room := min(r.limits.FieldBytes-(len(r.buf)-field), r.limits.RowBytes-len(r.buf))
	if len(b) > room {
		r.long = true
		b = b[:max(room, 0)]
	}
	r.buf = append(r.buf, b...)
}

// endField closes the field; one further right than is read must be blank.
func (r *csvReader) endField() {
	if len(r.ends) < r.limits.Columns {
		r.ends = append(r.ends, len(r.buf))
		return
	}
	last := r.ends[len(r.ends)-1]
	r.wide = r.wide || len(bytes.TrimSpace(r.buf[last:])) > 0
	r.buf = r.buf[:last]
}

type textEncoding uint8

const (
	utf8Text textEncoding = iota
	cp1251Text
	utf16LE
	utf16BE
)

// detectEncoding reads the whole text once: a file whose Cyrillic begins late must not be misread from there on.
func detectEncoding(in io.Reader) (textEncoding, error) {
	buf := make([]byte, 0, 64<<10)
	first := true
	var good, bad int // sequences of several bytes that are UTF-8; bytes that are not
	for {
		n, err := io.ReadFull(in, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if first {
			first = false
			if enc, ok := utf16By(buf); ok {
				return enc, nil
			}
			if bytes.HasPrefix(buf, []byte("\xEF\xBB\xBF")) {
				return utf8Text, nil
			}
		}
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return 0, err
		}
		i := 0
		for i < len(buf) && (last || utf8.FullRune(buf[i:])) {
			if buf[i] < utf8.RuneSelf {
				i++
				continue
			}
			c, size := utf8.DecodeRune(buf[i:])
			if c == utf8.RuneError && size == 1 {
				bad++
			} else {
				good++
			}
			i += size
		}
		if last {
			break
		}
		buf = buf[:copy(buf[:cap(buf)], buf[i:])]
	}
	if bad > good/8 {
		return cp1251Text, nil
	}
	return utf8Text, nil
}

// utf16By tells UTF-16 by its mark, or by the zero bytes that digits and separators have in it.
func utf16By(head []byte) (textEncoding, bool) {
	switch {
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}):
		return utf16LE, true
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}):
		return utf16BE, true
	}
	head = head[:min(len(head), 4096)]
	var zeros [2]int
	for i, c := range head {
		if c == 0 {
			zeros[i%2]++
		}
	}
	pairs := len(head) / 2
	switch {
	case pairs >= 8 && zeros[1]*5 > pairs && zeros[0]*50 < pairs:
		return utf16LE, true
	case pairs >= 8 && zeros[0]*5 > pairs && zeros[1]*50 < pairs:
		return utf16BE, true
	}
	return 0, false
}

func decodeText(in io.Reader, enc textEncoding) io.Reader {
	switch enc {
	case cp1251Text:
		return transform.NewReader(in, charmap.Windows1251.NewDecoder())
	case utf16LE:
		return transform.NewReader(in, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder())
	case utf16BE:
		return transform.NewReader(in, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder())
	default:
		b := bufio.NewReader(in)
		if mark, err := b.Peek(3); err == nil && string(mark) == "\xEF\xBB\xBF" {
			_, _ = b.Discard(3)
		}
		return b
	}
}

// sniffEOL returns the byte that ends a line: carriage return only where the file has no line feed at all.
func sniffEOL(head []byte) byte {
	if bytes.IndexByte(head, '\n') < 0 && bytes.IndexByte(head, '\r') >= 0 {
		return '\r'
	}
	return '\n'
}

// statedComma reads the line "sep=;" that Excel understands, and returns what follows it.
func statedComma(head []byte) (rest []byte, comma byte, ok bool) {
	if len(head) < 5 || !bytes.EqualFold(head[:4], []byte("sep=")) {
		return head, 0, false
	}
	comma = head[4]
	rest = bytes.TrimPrefix(head[5:], []byte("\r"))
	if comma != ';' && comma != ',' && comma != '\t' || len(rest) == 0 || rest[0] != '\n' {
		return head, 0, false
	}
	return rest[1:], comma, true
}

// sniffComma chooses the separator under which the header's titles are recognised; failing that, the one that splits rows most evenly.
func sniffComma(head []byte, eol byte, limits Limits, t titles) byte {
	best, bestNamed, bestWidth := byte(';'), 0, 0
	for _, comma := range []byte{';', ',', '\t'} {
		r := newCSVReader(bytes.NewReader(head), eol, limits)
		r.comma = comma
		named, width, rows := 0, 0, 0
		for rows < headerRows {
			row, err := r.Next()
			if err != nil {
				break
			}
			rows++
			named = max(named, t.count(row.Cells))
			if len(row.Cells) > 1 {
				width += len(row.Cells)
			}
		}
		if named > bestNamed || named == bestNamed && width > bestWidth {
			best, bestNamed, bestWidth = comma, named, width
		}
	}
	return best
}
