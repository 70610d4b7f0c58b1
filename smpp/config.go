package smpp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"
)

// BindMode is how an account is bound.
type BindMode string

const (
	// TRX binds transceivers, TXRX pairs of a transmitter and a receiver.
	TRX  BindMode = "trx"
	TXRX BindMode = "tx+rx"
)

// LongText is how a text of more than one segment is written.
type LongText string

const (
	LongUDH     LongText = "udh"     // user data header with an 8-bit reference, esm_class 0x40
	LongSAR     LongText = "sar"     // sar_ parameters
	LongPayload LongText = "payload" // one submit_sm with message_payload; the SMSC cuts it
)

// Validity is how validity_period is written (SMPP 3.4 §7.1.1).
type Validity string

const (
	ValidityRelative Validity = "relative"
	ValidityAbsolute Validity = "absolute" // in the zone of the account, with its offset
)

// Config is one account at an SMS centre. The zero value of a field means its default.
type Config struct {
	// Name is the account's name in results, states and logs. Required.
	Name string
	// Addr is the SMSC's host:port. Required.
	Addr string
	// TLS is used for the connection when not nil; ServerName defaults to the host of Addr.
	TLS *tls.Config
	// SystemID, Password and SystemType are what the SMSC gave with the account. The last two may be empty. The standard ends the
	// password at 8 characters, SMSCs do not.
	SystemID, Password, SystemType string
	// Bind is TRX by default.
	Bind BindMode
	// Binds is how many transceivers, or pairs, are kept up at once; 1 by default.
	Binds int
	// Window is how many submit_sm of one bind may wait for their response; 10 by default.
	Window int
	// Rate is segments a second for all binds together; 0 means that nothing limits them but the windows.
	Rate int
	// EnquireLink is the time between enquire_link requests on each bind; 30 s by default. SMSCs ask for no less than 10 s.
	EnquireLink time.Duration
	// ResponseTimeout is how long a response is waited for, that of bind and enquire_link too; 30 s by default. A submit_sm that is
	// not answered by then leaves the window.
	ResponseTimeout time.Duration
	// ServiceType is written in each submit_sm whose message names none; empty is the SMSC's default.
	ServiceType string
	// UCS2Coding is the data_coding of UCS-2: 8 by default, 2 at some SMSCs.
	UCS2Coding byte
	// LongText is LongUDH by default.
	LongText LongText
	// RegisteredDelivery is what is written for a message that asks a receipt; 1 by default, success and failure.
	RegisteredDelivery byte
	// MessageIDBase is IDAuto by default.
	MessageIDBase IDBase
	// ReceiptTimeZone is the zone of the dates in receipts and of an absolute validity; UTC by default.
	ReceiptTimeZone *time.Location
	// Validity is ValidityRelative by default.
	Validity Validity
	// ErrorMap is the account's own reading of statuses and receipt errors; empty is the standard's.
	ErrorMap ErrorMap
}

const (
	connectTimeout = 10 * time.Second
	// unbindTimeout is how long unbind_resp is waited for, and how long responses may still come after the SMSC's own unbind.
	unbindTimeout = time.Second
	// leastEnquireLink is the shortest interval SMSCs put up with.
	leastEnquireLink = 10 * time.Second
)

func (c Config) withDefaults() Config {
	setDefault(&c.Bind, TRX)
	setDefault(&c.Binds, 1)
	setDefault(&c.Window, 10)
	setDefault(&c.EnquireLink, 30*time.Second)
	setDefault(&c.ResponseTimeout, 30*time.Second)
	setDefault(&c.UCS2Coding, CodingUCS2)
	setDefault(&c.LongText, LongUDH)
	setDefault(&c.RegisteredDelivery, 1)
	setDefault(&c.MessageIDBase, IDAuto)
	setDefault(&c.ReceiptTimeZone, time.UTC)
	setDefault(&c.Validity, ValidityRelative)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports all faults of the settings at once. NewLink does not call it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Name == "", "name is missing")
	fault(c.Addr == "", "addr is missing")
	fault(c.SystemID == "", "system_id is missing")
	fault(len(c.SystemID) > 15, "system_id is longer than 15 characters")
	fault(len(c.SystemType) > 12, "system_type is longer than 12 characters")
	fault(len(c.ServiceType) > 5, "service_type is longer than 5 characters")
	fault(c.Bind != TRX && c.Bind != TXRX, "bind is %q, not trx or tx+rx", c.Bind)
	fault(c.Binds < 0 || c.Binds > 100, "binds is %d, not 1 to 100", c.Binds)
	fault(c.Window < 0 || c.Window > maxWindow, "window is %d, not 1 to %d", c.Window, maxWindow)
	fault(c.Rate < 0, "rate is %d, below zero", c.Rate)
	fault(c.EnquireLink < leastEnquireLink, "enquire_link is %v, under %v", c.EnquireLink, leastEnquireLink)
	fault(c.ResponseTimeout < time.Second, "response_timeout is %v, under 1s", c.ResponseTimeout)
	fault(c.LongText != LongUDH && c.LongText != LongSAR && c.LongText != LongPayload, "long_text is %q, not udh, sar or payload", c.LongText)
	fault(c.MessageIDBase != IDAuto && c.MessageIDBase != IDHex && c.MessageIDBase != IDDec, "message_id_base is %q, not auto, hex or dec", c.MessageIDBase)
	fault(c.Validity != ValidityRelative && c.Validity != ValidityAbsolute, "validity is %q, not relative or absolute", c.Validity)
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("smsc %q: %w", c.Name, err)
	}
	return nil
}

// Passport says in one line what is set for each bind, for the log at start; it holds no secret.
func (l *Link) Passport() string {
	c := l.cfg
	rate := "unlimited"
	if c.Rate > 0 {
		rate = fmt.Sprintf("%d/s, %d in any 100ms", c.Rate, c.Rate/10+1)
	}
	parts := []string{
		"link=" + c.Name,
		"addr=" + c.Addr,
		fmt.Sprintf("tls=%t", c.TLS != nil),
		"system_id=" + c.SystemID,
		"system_type=" + c.SystemType,
		"service_type=" + c.ServiceType,
		fmt.Sprintf("bind=%s*%d", c.Bind, c.Binds),
		fmt.Sprintf("window=%d", c.Window),
		"rate=" + rate,
		fmt.Sprintf("enquire_link=%v", c.EnquireLink),
		fmt.Sprintf("response_timeout=%v", c.ResponseTimeout),
		fmt.Sprintf("ucs2_coding=%d", c.UCS2Coding),
		"long_text=" + string(c.LongText),
		fmt.Sprintf("registered_delivery=%d", c.RegisteredDelivery),
		"message_id_base=" + string(c.MessageIDBase),
		"receipt_time_zone=" + c.ReceiptTimeZone.String(),
		"validity=" + string(c.Validity),
		fmt.Sprintf("error_map=%d", len(c.ErrorMap.statuses)+len(c.ErrorMap.receipts)),
	}
	return strings.Join(parts, " ")
}
