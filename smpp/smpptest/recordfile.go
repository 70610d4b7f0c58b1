package smpptest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"ekc/smpp"
)

// Kinds of lines in the record file.
const (
	lineSubmit   = "submit"   // an accepted submit_sm
	lineOffered  = "offered"  // a receipt sent
	lineAnswered = "answered" // its deliver_sm_resp, Status says how
)

// Line is one line of Config.RecordFile; its fields stand in this order, separated by tabs. Those after MessageID are for submit, State and
// Status for receipts.
type Line struct {
	Kind      string
	At        time.Time // nanoseconds since 1970
	Link      int
	SystemID  string
	Sequence  uint32
	MessageID string // as submit_sm_resp gave it
	To        string

	From     string
	ESMClass byte
	Ref      uint16
	Segment  int
	Segments int
	Text     string // SHA-256 of the segment's octets in hexadecimal, or the quoted text with Config.RecordText

	State  string
	Status smpp.Status
}

// lineWriter appends lines; guarded by Server.mu. The first fault stops it and stays in err.
type lineWriter struct {
	f       *os.File
	w       *bufio.Writer
	text    bool
	buf     []byte
	flushed time.Time
	err     error
}

func openLines(path string, text bool) (*lineWriter, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	return &lineWriter{f: f, w: bufio.NewWriterSize(f, 64<<10), text: text}, nil
}

func (w *lineWriter) head(kind string, l *link, seq uint32, id string, to uint64, now time.Time) {
	b := append(append(w.buf[:0], kind...), '\t')
	b = append(strconv.AppendInt(b, now.UnixNano(), 10), '\t')
	b = append(strconv.AppendInt(b, int64(l.no), 10), '\t')
	b = append(strconv.AppendQuote(b, l.acct.systemID), '\t')
	b = append(strconv.AppendUint(b, uint64(seq), 10), '\t')
	b = append(append(b, id...), '\t')
	w.buf = append(appendDigits(b, to), '\t')
}

func (w *lineWriter) submit(l *link, seq uint32, id string, to uint64, from *sender, m *smpp.ShortMessage, g segment, now time.Time) {
	w.head(lineSubmit, l, seq, id, to, now)
	b := append(strconv.AppendQuote(w.buf, from.Addr), '\t')
	for _, n := range [...]uint64{uint64(m.ESMClass), uint64(g.ref), uint64(g.seq), uint64(g.total)} {
		b = append(strconv.AppendUint(b, n, 10), '\t')
	}
	if w.text {
		b = strconv.AppendQuote(b, decodeText(m.DataCoding, g.text))
	} else {
		sum := sha256.Sum256(g.text)
		b = hex.AppendEncode(b, sum[:])
	}
	w.end(b)
}

func (w *lineWriter) receipt(kind string, l *link, id string, d *delivery, status smpp.Status, now time.Time) {
	w.head(kind, l, 0, id, d.to, now)
	b := append(append(w.buf, d.state.String()...), '\t')
	w.end(strconv.AppendUint(b, uint64(status), 10))
}

func (w *lineWriter) end(b []byte) {
	w.buf = append(b, '\n')
	_, _ = w.w.Write(w.buf) // bufio keeps the first fault
}

// flushIfDue says whether lines are still waiting.
func (w *lineWriter) flushIfDue(now time.Time) bool {
	if w.w.Buffered() > 0 && now.Sub(w.flushed) >= flushEvery {
		w.flushed = now
		w.flush()
	}
	return w.err == nil && w.w.Buffered() > 0
}

func (w *lineWriter) flush() {
	if err := w.w.Flush(); err != nil && w.err == nil {
		w.err = fmt.Errorf("write record: %w", err)
	}
}

func (w *lineWriter) close() {
	w.flush()
	if err := w.f.Close(); err != nil && w.err == nil {
		w.err = fmt.Errorf("close record: %w", err)
	}
}

// RecordErr is why Config.RecordFile is not complete; nil while it is. Ask after Close.
func (s *Server) RecordErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines == nil {
		return nil
	}
	return s.lines.err
}

// ReadRecord gives every whole line of a record file; a last line without its end is left out, as a kill leaves it.
func ReadRecord(r io.Reader, each func(Line) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		s, err := in.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read record: %w", err)
		}
		l, err := parseLine(strings.TrimSuffix(s, "\n"))
		if err != nil {
			return fmt.Errorf("record line %d: %w", n, err)
		}
		if err := each(l); err != nil {
			return err
		}
	}
}

func parseLine(s string) (l Line, err error) {
	f := strings.Split(s, "\t")
	num := func(i, bits int) uint64 {
		n, e := strconv.ParseUint(f[i], 10, bits)
		if e != nil && err == nil {
			err = e
		}
		return n
	}
	quoted := func(i int) string {
		t, e := strconv.Unquote(f[i])
		if e != nil && err == nil {
			err = e
		}
		return t
	}
	if want := map[string]int{lineSubmit: 13, lineOffered: 9, lineAnswered: 9}[f[0]]; want == 0 || len(f) != want {
		return l, fmt.Errorf("not a record line")
	}
	l = Line{
		Kind: f[0], At: time.Unix(0, int64(num(1, 63))), Link: int(num(2, 31)), SystemID: quoted(3),
		Sequence: uint32(num(4, 32)), MessageID: f[5], To: f[6],
	}
	if l.Kind == lineSubmit {
		l.From, l.ESMClass, l.Ref, l.Segment, l.Segments, l.Text = quoted(7), byte(num(8, 8)), uint16(num(9, 16)), int(num(10, 8)), int(num(11, 8)), f[12]
		if strings.HasPrefix(l.Text, `"`) {
			l.Text = quoted(12)
		}
		return l, err
	}
	l.State, l.Status = f[7], smpp.Status(num(8, 32))
	return l, err
}
