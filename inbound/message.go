package inbound

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/smpp"
)

// Kind is what registering alone can tell of a message.
type Kind string

const (
	KindMessage Kind = "message"
	KindOptOut  Kind = "opt_out" // an opt-out word and nothing else, from a phone of this country
)

// Message is one contact in the clear. It prints and logs as its number.
type Message struct {
	No       int64
	Channel  string
	Link     string
	At       time.Time // read from the wire; of several parts the first that came
	Kind     Kind
	Parts    int  // that came
	Complete bool // all parts came
	Content
}

// Content is what lies sealed in a message.
type Content struct {
	From, To smpp.Address
	// Text is what could be read; "…" stands where parts are missing.
	Text  string
	Exact bool // false: something that came could not be read
	// Raw are the parts as they came when Exact is false.
	Raw  []RawPart
	Salt citizen.Salt // for the commitment that the journal keeps in place of the text
}

// RawPart is a part as it came, without its user data header.
type RawPart struct {
	Seq    uint8
	Coding byte
	Octets []byte
}

// Format writes the number whatever the verb.
func (m Message) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "inbound message %d", m.No) }

// LogValue logs the number.
func (m Message) LogValue() slog.Value { return slog.Int64Value(m.No) }

// Format writes nothing of the content, whatever the verb.
func (c Content) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// LogValue logs nothing of the content.
func (c Content) LogValue() slog.Value { return slog.StringValue("***") }

// ErrNotFound says that there is no message of that number.
var ErrNotFound = errors.New("no such inbound message")

const selectMessage = `SELECT channel, link, at, parts, complete, kind, data_key, sealed FROM inbound_messages WHERE no = @no`

// Load opens a message. Who shows it to a person has journalled that before.
func Load(ctx context.Context, db citizen.DB, keyring *citizen.Keyring, no int64) (Message, error) {
	m := Message{No: no}
	var keyID int64
	var sealed []byte
	err := db.QueryRow(ctx, selectMessage, pgx.NamedArgs{"no": no}).
		Scan(&m.Channel, &m.Link, &m.At, &m.Parts, &m.Complete, &m.Kind, &keyID, &sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return m, fmt.Errorf("%d: %w", no, ErrNotFound)
	}
	if err != nil {
		return m, fmt.Errorf("load inbound message %d: %w", no, err)
	}
	key, err := keyring.Key(ctx, db, keyID)
	if err != nil {
		return m, fmt.Errorf("load inbound message %d: %w", no, err)
	}
	plain, err := key.Open(nil, sealed, citizen.RowAAD("inbound_messages", no))
	if err != nil {
		return m, fmt.Errorf("load inbound message %d: %w", no, err)
	}
	if err := m.decode(plain); err != nil {
		return m, fmt.Errorf("load inbound message %d: %w", no, err)
	}
	return m, nil
}

const contentVersion = 1

// encode appends the stored form: version, salt, both addresses, text, exact, then the raw parts, strings led by their length.
func (c *Content) encode(b []byte) []byte {
	b = append(b, contentVersion)
	b = append(b, c.Salt[:]...)
	b = appendAddress(appendAddress(b, c.From), c.To)
	b = appendBytes(b, c.Text)
	exact := byte(0)
	if c.Exact {
		exact = 1
	}
	b = binary.AppendUvarint(append(b, exact), uint64(len(c.Raw)))
	for _, p := range c.Raw {
		b = appendBytes(append(b, p.Seq, p.Coding), p.Octets)
	}
	return b
}

var errContent = errors.New("sealed content is not of a known form")

// decode reads the stored form.
func (c *Content) decode(b []byte) error {
	r := reading{b: b}
	if r.byte() != contentVersion {
		return errContent
	}
	copy(c.Salt[:], r.take(uint64(len(c.Salt))))
	c.From, c.To = r.address(), r.address()
	c.Text = string(r.bytes())
	c.Exact = r.byte() == 1
	n := r.uvarint()
	if n > smpp.MaxSegments {
		return errContent
	}
	c.Raw = nil
	for range n {
		c.Raw = append(c.Raw, RawPart{Seq: r.byte(), Coding: r.byte(), Octets: r.bytes()})
	}
	if r.bad || len(r.b) > 0 {
		return errContent
	}
	return nil
}

// encodePart is the stored form of what is personal about a part: version, both addresses, coding, octets.
func encodePart(b []byte, in *smpp.Incoming) []byte {
	b = appendAddress(appendAddress(append(b, contentVersion), in.From), in.To)
	return appendBytes(append(b, in.Coding), in.Octets)
}

func decodePart(b []byte) (in smpp.Incoming, err error) {
	r := reading{b: b}
	if r.byte() != contentVersion {
		return in, errContent
	}
	in.From, in.To, in.Coding, in.Octets = r.address(), r.address(), r.byte(), r.bytes()
	if r.bad || len(r.b) > 0 {
		return in, errContent
	}
	in.Text, in.Exact = smpp.DecodeText(in.Coding, in.Octets)
	return in, nil
}

func appendAddress(b []byte, a smpp.Address) []byte {
	return appendBytes(append(b, a.TON, a.NPI), a.Addr)
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reading takes a stored form apart; bad stays true once something was missing.
type reading struct {
	b   []byte
	bad bool
}

func (r *reading) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	var taken []byte
	taken, r.b = r.b[:n:n], r.b[n:]
	return taken
}

func (r *reading) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reading) uvarint() uint64 {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reading) bytes() []byte { return r.take(r.uvarint()) }

func (r *reading) address() smpp.Address {
	return smpp.Address{TON: r.byte(), NPI: r.byte(), Addr: string(r.bytes())}
}
