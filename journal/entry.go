package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"
	"unicode/utf8"
)

// Entry is one thing that happened. Zero fields are absent and cost nothing. No field ever holds personal data or a digest of
// any: no phone, SNILS, name, birth date, text, nor anything computed from them without the sealed salt. What people said or were
// told is committed to by Commitment; who they are is found through Notification, whose row can be purged.
type Entry struct {
	Kind    Kind
	At      time.Time // when it happened, by our clock; kept in UTC microseconds
	Agency  string    // whose it is; "" = the operator of the system
	Actor   string    // Principal.Account of a person or system; "" = the hub by itself
	Purpose string    // Purpose.String, where personal data was looked at

	ListNo       int64
	Notification int64
	Sequence     int // of what is told about this notification, grows by one
	Attempt      int // 1 for the first
	Channel      string
	Link         string
	State        string // the state reached
	From         string // the state left
	Reason       string // a slug from a closed list
	Code         string // the far side's own word; Text makes it fit
	Segment      int    // 1-based, where an entry is about one SMS segment
	Segments     int
	Count        int // of rows, where an entry stands for many

	Commitment []byte // HMAC of the content under a random salt that is sealed beside it
	Data       []Field
}

// Field is one more fact; Data is sorted by Name, and a name occurs once.
type Field struct{ Name, Value string }

const (
	version = 1

	maxText       = 255  // bytes of a string
	maxValue      = 2048 // bytes of Field.Value
	maxFields     = 64
	maxCommitment = 64
	maxEntry      = 16 << 10
)

// Bits of the field map, in the order the fields are written. The common ones come first: the map of an attempt is two bytes.
const (
	hasAgency = iota
	hasListNo
	hasNotification
	hasSequence
	hasAttempt
	hasChannel
	hasLink
	hasState
	hasCode
	hasSegment
	hasSegments
	hasFrom
	hasReason
	hasActor
	hasPurpose
	hasCount
	hasCommitment
	hasData
	fieldsEnd
)

// Times that are kept: the years 1 to 9999, as RFC 3339 can write them.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
)

// ErrEntry is wrapped by every refusal of an entry or of its bytes.
var ErrEntry = errors.New("not a canonical journal entry")

// AppendBinary appends the canonical bytes: version, kind, time, the map of present fields, then these in the order of their
// bits. Numbers are minimal uvarints, the time is 8 bytes big-endian, strings and lists are led by their length. One entry has
// one form, so equal hashes mean equal entries.
func (e *Entry) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	if e.At.Unix() < minTime.Unix() || e.At.Unix() > maxTime.Unix() {
		return b, fmt.Errorf("%w: %s: time out of range", ErrEntry, e.Kind)
	}
	if e.Kind == "" {
		return b, fmt.Errorf("%w: no kind", ErrEntry)
	}
	var w writer
	w.b = append(b, version)
	w.text("kind", string(e.Kind))
	w.b = binary.BigEndian.AppendUint64(w.b, uint64(e.At.UnixMicro()))
	w.b = binary.AppendUvarint(w.b, e.fields())
	w.text("agency", e.Agency)
	w.number("list_no", e.ListNo)
	w.number("notification", e.Notification)
	w.number("sequence", int64(e.Sequence))
	w.number("attempt", int64(e.Attempt))
	w.text("channel", e.Channel)
	w.text("link", e.Link)
	w.text("state", e.State)
	w.text("code", e.Code)
	w.number("segment", int64(e.Segment))
	w.number("segments", int64(e.Segments))
	w.text("from", e.From)
	w.text("reason", e.Reason)
	w.text("actor", e.Actor)
	w.text("purpose", e.Purpose)
	w.number("count", int64(e.Count))
	if n := len(e.Commitment); n > 0 {
		if n > maxCommitment {
			w.fault = "commitment"
		}
		w.b = append(binary.AppendUvarint(w.b, uint64(n)), e.Commitment...)
	}
	if n := len(e.Data); n > 0 {
		if n > maxFields {
			w.fault = "data"
		}
		w.b = binary.AppendUvarint(w.b, uint64(n))
		for i, f := range e.Data {
			if f.Name == "" || i > 0 && f.Name <= e.Data[i-1].Name || !fits(f.Name, maxText) || !fits(f.Value, maxValue) {
				w.fault = "data"
			}
			w.b = append(binary.AppendUvarint(w.b, uint64(len(f.Name))), f.Name...)
			w.b = append(binary.AppendUvarint(w.b, uint64(len(f.Value))), f.Value...)
		}
	}
	switch {
	case w.fault != "":
		return w.b[:start], fmt.Errorf("%w: %s: %s", ErrEntry, e.Kind, w.fault)
	case len(w.b)-start > maxEntry:
		return w.b[:start], fmt.Errorf("%w: %s: too long", ErrEntry, e.Kind)
	}
	return w.b, nil
}

func (e *Entry) fields() uint64 {
	var m uint64
	set := func(bit int, present bool) {
		if present {
			m |= 1 << bit
		}
	}
	set(hasAgency, e.Agency != "")
	set(hasListNo, e.ListNo != 0)
	set(hasNotification, e.Notification != 0)
	set(hasSequence, e.Sequence != 0)
	set(hasAttempt, e.Attempt != 0)
	set(hasChannel, e.Channel != "")
	set(hasLink, e.Link != "")
	set(hasState, e.State != "")
	set(hasCode, e.Code != "")
	set(hasSegment, e.Segment != 0)
	set(hasSegments, e.Segments != 0)
	set(hasFrom, e.From != "")
	set(hasReason, e.Reason != "")
	set(hasActor, e.Actor != "")
	set(hasPurpose, e.Purpose != "")
	set(hasCount, e.Count != 0)
	set(hasCommitment, len(e.Commitment) > 0)
	set(hasData, len(e.Data) > 0)
	return m
}

// writer appends present fields and remembers the first that does not fit.
type writer struct {
	b     []byte
	fault string
}

func (w *writer) text(name, s string) {
	if s == "" {
		return
	}
	if !fits(s, maxText) && w.fault == "" {
		w.fault = name
	}
	w.b = append(binary.AppendUvarint(w.b, uint64(len(s))), s...)
}

func (w *writer) number(name string, n int64) {
	if n == 0 {
		return
	}
	if n < 0 && w.fault == "" {
		w.fault = name
	}
	w.b = binary.AppendUvarint(w.b, uint64(n))
}

// fits reports whether s may stand in an entry: UTF-8 without control characters, which PostgreSQL and logs take as well.
func fits(s string, most int) bool {
	if len(s) > most {
		return false
	}
	ascii := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(s)
}

// Text makes words of the far side fit a field: control characters and broken UTF-8 become '?', and the rest is cut.
func Text(s string) string { return text(s, maxText) }

func text(s string, most int) string {
	if fits(s, most) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	for len(s) > most {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// Fields makes Data of names and values in turn: sorted, empty values left out, values made to fit as Text does. It panics on an odd
// number of strings.
func Fields(pairs ...string) []Field {
	if len(pairs)%2 != 0 {
		panic("journal.Fields: a name without a value")
	}
	fields := make([]Field, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		fields = append(fields, Field{pairs[i], text(pairs[i+1], maxValue)})
		for k := len(fields) - 1; k > 0 && fields[k].Name < fields[k-1].Name; k-- {
			fields[k], fields[k-1] = fields[k-1], fields[k]
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return fields
}

// Get returns the value of a field of Data, "" when it is not there.
func (e *Entry) Get(name string) string {
	for _, f := range e.Data {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Decode reads the canonical bytes of one entry, all of b, and refuses every other form. The entry keeps nothing of b.
func Decode(b []byte) (Entry, error) {
	if len(b) > maxEntry {
		return Entry{}, fmt.Errorf("%w: too long", ErrEntry)
	}
	r := reader{s: string(b)}
	if v := r.byte(); v != version && r.fault == "" {
		return Entry{}, fmt.Errorf("%w: version %d", ErrEntry, v)
	}
	var e Entry
	e.Kind = Kind(r.text(maxText, false))
	at := r.time()
	e.At = time.UnixMicro(at).UTC()
	m := r.uvarint()
	if m>>fieldsEnd != 0 {
		r.fail("unknown field")
	}
	text := func(bit int, s *string) {
		if m&(1<<bit) != 0 {
			*s = r.text(maxText, false)
		}
	}
	number := func(bit int, n *int64) {
		if m&(1<<bit) != 0 {
			*n = r.number(math.MaxInt64)
		}
	}
	count := func(bit int, n *int) {
		if m&(1<<bit) != 0 {
			*n = int(r.number(math.MaxInt))
		}
	}
	text(hasAgency, &e.Agency)
	number(hasListNo, &e.ListNo)
	number(hasNotification, &e.Notification)
	count(hasSequence, &e.Sequence)
	count(hasAttempt, &e.Attempt)
	text(hasChannel, &e.Channel)
	text(hasLink, &e.Link)
	text(hasState, &e.State)
	text(hasCode, &e.Code)
	count(hasSegment, &e.Segment)
	count(hasSegments, &e.Segments)
	text(hasFrom, &e.From)
	text(hasReason, &e.Reason)
	text(hasActor, &e.Actor)
	text(hasPurpose, &e.Purpose)
	count(hasCount, &e.Count)
	if m&(1<<hasCommitment) != 0 {
		e.Commitment = []byte(r.take(int(r.number(maxCommitment))))
	}
	if m&(1<<hasData) != 0 {
		e.Data = r.data()
	}
	if r.fault == "" && len(r.s) > 0 {
		r.fail("trailing bytes")
	}
	if r.fault != "" {
		return Entry{}, fmt.Errorf("%w: %s", ErrEntry, r.fault)
	}
	return e, nil
}

// reader takes fields off the front; after the first fault everything reads as zero.
type reader struct {
	s     string
	fault string
}

func (r *reader) fail(what string) {
	if r.fault == "" {
		r.fault = what
	}
	r.s = ""
}

func (r *reader) take(n int) string {
	if n > len(r.s) {
		r.fail("cut short")
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) byte() byte {
	s := r.take(1)
	if s == "" {
		return 0
	}
	return s[0]
}

func (r *reader) time() int64 {
	s := r.take(8)
	if s == "" {
		return 0
	}
	var n uint64
	for i := range 8 {
		n = n<<8 | uint64(s[i])
	}
	if at := int64(n); at >= minTime.UnixMicro() && at <= maxTime.UnixMicro() {
		return at
	}
	r.fail("time out of range")
	return 0
}

// uvarint refuses forms longer than needed.
func (r *reader) uvarint() uint64 {
	var n uint64
	for i := range len(r.s) {
		c := r.s[i]
		if i == 9 && c > 1 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if i != (max(bits.Len64(n), 1)-1)/7 {
				break
			}
			r.s = r.s[i+1:]
			return n
		}
		if i == 9 {
			break
		}
	}
	r.fail("number")
	return 0
}

// number reads what is present and therefore not zero.
func (r *reader) number(most uint64) int64 {
	n := r.uvarint()
	if n == 0 || n > most {
		r.fail("number")
		return 0
	}
	return int64(n)
}

func (r *reader) text(most int, mayBeEmpty bool) string {
	n := r.uvarint()
	if n == 0 && !mayBeEmpty || n > uint64(most) {
		r.fail("text")
		return ""
	}
	s := r.take(int(n))
	if !fits(s, most) {
		r.fail("text")
		return ""
	}
	return s
}

func (r *reader) data() []Field {
	n := int(r.number(maxFields))
	fields := make([]Field, 0, n)
	for i := range n {
		f := Field{Name: r.text(maxText, false), Value: r.text(maxValue, true)}
		if i > 0 && f.Name <= fields[i-1].Name {
			r.fail("data not sorted")
		}
		if r.fault != "" {
			return nil
		}
		fields = append(fields, f)
	}
	return fields
}
