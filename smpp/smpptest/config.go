package smpptest

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Account is a system_id that may bind.
type Account struct {
	SystemID string
	Password string
	MaxBinds int // links at once, ESME_RALYBND above it; 0 is Config.MaxBinds
}

// IDFormat is how a message_id is written in submit_sm_resp. In flags and files it goes by its name.
type IDFormat uint8

// Formats of message_id.
const (
	Decimal   IDFormat = iota // dec: 1763790000123456
	Hex                       // hex: 6443F0A1B2C40
	UUID                      // uuid: 6f9619ff-8b86-4000-8000-6443f0a1b2c4
	Decimal64                 // dec64: above 2^63, nineteen digits
)

var idFormatNames = []string{"dec", "hex", "uuid", "dec64"}

// MarshalText gives the name.
func (f IDFormat) MarshalText() ([]byte, error) { return nameOf(idFormatNames, int(f)) }

// UnmarshalText takes the name.
func (f *IDFormat) UnmarshalText(b []byte) error {
	i, err := indexOf(idFormatNames, b)
	*f = IDFormat(i)
	return err
}

// Dialect is how a receipt is written. In flags and files it goes by its name.
type Dialect uint8

// Dialects of receipts met in the field.
const (
	Standard Dialect = iota // standard: text of SMPP 3.4 appendix B, and receipted_message_id, message_state, network_error_code
	TextOnly                // text: the text alone
	Seconds                 // seconds: the text alone, dates of twelve digits, "text:" in small letters
	TLVOnly                 // tlv: the parameters alone, an empty text
	Comma                   // comma: the text alone, fields separated by commas
)

var dialectNames = []string{"standard", "text", "seconds", "tlv", "comma"}

// MarshalText gives the name.
func (d Dialect) MarshalText() ([]byte, error) { return nameOf(dialectNames, int(d)) }

// UnmarshalText takes the name.
func (d *Dialect) UnmarshalText(b []byte) error {
	i, err := indexOf(dialectNames, b)
	*d = Dialect(i)
	return err
}

func nameOf(names []string, i int) ([]byte, error) {
	if i >= len(names) {
		return nil, fmt.Errorf("no name for %d", i)
	}
	return []byte(names[i]), nil
}

func indexOf(names []string, b []byte) (int, error) {
	if i := slices.Index(names, string(b)); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("not one of %s", strings.Join(names, ", "))
}

// Concat is how a long text is cut into segments.
type Concat uint8

// Ways to concatenate.
const (
	UDH8  Concat = iota // information element 0x00, 8-bit reference
	UDH16               // information element 0x08, 16-bit reference
	SAR                 // sar_msg_ref_num, sar_total_segments, sar_segment_seqnum
)

// Config of an SMS centre. The zero value listens on a free loopback port, lets any system_id in and answers at once.
type Config struct {
	Addr     string      // host:port to listen on; empty is a free port of 127.0.0.1
	TLS      *tls.Config // nil is plain TCP
	SystemID string      // what bind responses say; empty is SMSC
	Accounts []Account   // empty lets any system_id in but those of BindRefusals
	MaxBinds int         // links of one system_id at once; 0 is no limit

	BindTimeout time.Duration // a connection that does not bind in this time is closed; 0 is 10 s
	EnquireLink time.Duration // our own enquire_link, a link silent for two of them is closed; 0 sends none

	Latency      time.Duration // of every submit_sm_resp; 0 answers at once
	SlowResponse time.Duration // further delay of the slow behaviours; 0 is 300 ms
	Rate         int           // segments accepted from one system_id in any sliding second by arrival, ESME_RTHROTTLED above it; 0 is no limit
	Window       int           // submit_sm of one link unanswered, ESME_RTHROTTLED above it; 0 is no limit

	ReceiptDelay  time.Duration  // after submit_sm; 0 is 300 ms
	ReceiptJitter time.Duration  // added at random, uniform
	LateReceipt   time.Duration  // delay of late receipts; 0 is 5 s
	ReplyDelay    time.Duration  // of a citizen's reply after submit_sm; 0 is 600 ms
	RedeliverIn   time.Duration  // a refused deliver_sm is offered again after this; 0 is 2 s
	RedeliverIdle time.Duration  // an unanswered deliver_sm is offered again after this; 0 is 30 s
	DeliverWindow int            // deliver_sm of one link unanswered; 0 is 1000
	ReplyTo       string         // number a citizen writes to when the sender was alphanumeric; empty is 2442
	IDFormat      IDFormat       // of message_id
	FirstID       uint64         // 0 takes it from the clock, so that a restarted server repeats none
	Dialect       Dialect        // of receipts
	ReceiptZone   *time.Location // of the dates in them; nil is UTC

	Keep       bool   // keep every accepted segment in memory for Submitted and Messages; without it only counts and digests
	RecordFile string // appended to, a line for each event (recordfile.go says its form); empty writes none
	RecordText bool   // the lines carry the text itself, not its SHA-256
}

func (c Config) withDefaults() Config {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.SystemID == "" {
		c.SystemID = "SMSC"
	}
	if c.ReplyTo == "" {
		c.ReplyTo = "2442"
	}
	if c.DeliverWindow == 0 {
		c.DeliverWindow = 1000
	}
	if c.ReceiptZone == nil {
		c.ReceiptZone = time.UTC
	}
	or(&c.BindTimeout, 10*time.Second)
	or(&c.SlowResponse, 300*time.Millisecond)
	or(&c.ReceiptDelay, 300*time.Millisecond)
	or(&c.LateReceipt, 5*time.Second)
	or(&c.ReplyDelay, 600*time.Millisecond)
	or(&c.RedeliverIn, 2*time.Second)
	or(&c.RedeliverIdle, 30*time.Second)
	return c
}

// Option changes the Config of NewServer.
type Option func(*Config)

// With gives an Option any field of Config.
func With(change func(*Config)) Option { return change }

// TB is the part of testing.TB that NewServer needs; taking it by interface keeps package testing out of the product.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// NewServer starts an SMS centre on a free loopback port that keeps every accepted segment and is closed when the test ends. Delays are
// those of a test: receipts after 30 ms, refused ones again after 100 ms, late ones after 400 ms.
func NewServer(t TB, opts ...Option) *Server {
	t.Helper()
	cfg := Config{
		Keep:          true,
		ReceiptDelay:  30 * time.Millisecond,
		LateReceipt:   400 * time.Millisecond,
		ReplyDelay:    60 * time.Millisecond,
		SlowResponse:  100 * time.Millisecond,
		RedeliverIn:   100 * time.Millisecond,
		RedeliverIdle: time.Second,
	}
	for _, o := range opts {
		o(&cfg)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatalf("start SMSC: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}
