package smpp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// CommandID names a PDU (SMPP 3.4 §5.1.2.1).
type CommandID uint32

const (
	BindReceiver        CommandID = 0x00000001
	BindTransmitter     CommandID = 0x00000002
	QuerySM             CommandID = 0x00000003
	SubmitSM            CommandID = 0x00000004
	DeliverSM           CommandID = 0x00000005
	Unbind              CommandID = 0x00000006
	ReplaceSM           CommandID = 0x00000007
	CancelSM            CommandID = 0x00000008
	BindTransceiver     CommandID = 0x00000009
	Outbind             CommandID = 0x0000000B
	EnquireLink         CommandID = 0x00000015
	SubmitMulti         CommandID = 0x00000021
	AlertNotification   CommandID = 0x00000102
	DataSM              CommandID = 0x00000103
	GenericNack         CommandID = 0x80000000
	BindReceiverResp    CommandID = 0x80000001
	BindTransmitterResp CommandID = 0x80000002
	QuerySMResp         CommandID = 0x80000003
	SubmitSMResp        CommandID = 0x80000004
	DeliverSMResp       CommandID = 0x80000005
	UnbindResp          CommandID = 0x80000006
	ReplaceSMResp       CommandID = 0x80000007
	CancelSMResp        CommandID = 0x80000008
	BindTransceiverResp CommandID = 0x80000009
	EnquireLinkResp     CommandID = 0x80000015
	SubmitMultiResp     CommandID = 0x80000021
	DataSMResp          CommandID = 0x80000103
)

// IsResponse tells a response from a request; generic_nack is a response.
func (c CommandID) IsResponse() bool { return c&0x80000000 != 0 }

// Response is the command that answers c.
func (c CommandID) Response() CommandID { return c | 0x80000000 }

func (c CommandID) String() string {
	switch c &^ 0x80000000 {
	case 0:
		if c == GenericNack {
			return "generic_nack"
		}
	case BindReceiver:
		return c.named("bind_receiver")
	case BindTransmitter:
		return c.named("bind_transmitter")
	case QuerySM:
		return c.named("query_sm")
	case SubmitSM:
		return c.named("submit_sm")
	case DeliverSM:
		return c.named("deliver_sm")
	case Unbind:
		return c.named("unbind")
	case ReplaceSM:
		return c.named("replace_sm")
	case CancelSM:
		return c.named("cancel_sm")
	case BindTransceiver:
		return c.named("bind_transceiver")
	case Outbind:
		return c.named("outbind")
	case EnquireLink:
		return c.named("enquire_link")
	case SubmitMulti:
		return c.named("submit_multi")
	case AlertNotification:
		return c.named("alert_notification")
	case DataSM:
		return c.named("data_sm")
	}
	return "0x" + strconv.FormatUint(uint64(c), 16)
}

func (c CommandID) named(name string) string {
	if c.IsResponse() {
		return name + "_resp"
	}
	return name
}

// Tags of optional parameters (SMPP 3.4 §5.3.2) that this package reads or writes.
const (
	TagPayloadType        uint16 = 0x0019
	TagReceiptedMessageID uint16 = 0x001E
	TagUserMessageRef     uint16 = 0x0204
	TagSARMsgRefNum       uint16 = 0x020C
	TagSARTotalSegments   uint16 = 0x020E
	TagSARSegmentSeqnum   uint16 = 0x020F
	TagSCInterfaceVersion uint16 = 0x0210
	TagNetworkErrorCode   uint16 = 0x0423
	TagMessagePayload     uint16 = 0x0424
	TagMessageState       uint16 = 0x0427
)

const (
	// HeaderLen is the size of every PDU's header (SMPP 3.4 §3.2).
	HeaderLen = 16
	// MaxPDU is the longest PDU that is read: a message_payload of 64 KiB and everything around it. A longer one is skipped.
	MaxPDU = HeaderLen + 64<<10 + 1024
	// maxSkip is the longest PDU that is skipped; a greater length means that the stream is not SMPP, or that its framing is lost.
	maxSkip = 1 << 20
	// maxShortMessage is the longest short_message; a longer text goes into message_payload (SMPP 3.4 §4.4.1).
	maxShortMessage = 254
)

var (
	// ErrTooLong is a PDU above MaxPDU. It has been read past, so the next one can be read.
	ErrTooLong = errors.New("smpp: PDU too long")
	// ErrFraming is a length no PDU can have; what follows on this connection cannot be understood.
	ErrFraming = errors.New("smpp: framing lost")
	// ErrMalformed is a PDU whose body does not agree with its length. The next one can be read.
	ErrMalformed = errors.New("smpp: malformed PDU")
)

// Header begins every PDU (SMPP 3.4 §3.2).
type Header struct {
	Length   uint32 // of the whole PDU, octets
	Command  CommandID
	Status   Status // zero in requests
	Sequence uint32
}

// Address is a number or a sender's name with its type of number and numbering plan (SMPP 3.4 §5.2.5, §5.2.6).
type Address struct {
	TON, NPI byte
	Addr     string
}

// TLV is one optional parameter. A value read from the wire lies in the buffer it was read into.
type TLV struct {
	Tag   uint16
	Value []byte
}

// ShortMessage is the body of submit_sm and of deliver_sm (SMPP 3.4 §4.4.1, §4.6.1), which are the same, and of data_sm.
type ShortMessage struct {
	ServiceType          string
	Source               Address
	Dest                 Address
	ESMClass             byte
	ProtocolID           byte
	PriorityFlag         byte
	ScheduleDeliveryTime string
	ValidityPeriod       string
	RegisteredDelivery   byte
	ReplaceIfPresent     byte
	DataCoding           byte
	SMDefaultMsgID       byte
	ShortMessage         []byte // over 254 octets it is written as message_payload
	TLVs                 []TLV
}

// TLV is the value of the first optional parameter with this tag.
func (m *ShortMessage) TLV(tag uint16) ([]byte, bool) {
	for i := range m.TLVs {
		if m.TLVs[i].Tag == tag {
			return m.TLVs[i].Value, true
		}
	}
	return nil, false
}

// Payload is the message itself, wherever it stands: short_message, or message_payload when that is empty (SMPP 3.4 §5.3.2.32).
func (m *ShortMessage) Payload() []byte {
	if len(m.ShortMessage) > 0 {
		return m.ShortMessage
	}
	v, _ := m.TLV(TagMessagePayload)
	return v
}

// Bind is the body of bind_transmitter, bind_receiver and bind_transceiver (SMPP 3.4 §4.1).
type Bind struct {
	SystemID, Password, SystemType string
	InterfaceVersion               byte
	AddrTON, AddrNPI               byte
	AddressRange                   string
}

// AppendSubmitSM appends a whole submit_sm to dst.
func AppendSubmitSM(dst []byte, seq uint32, m *ShortMessage) []byte {
	return appendShortMessage(dst, SubmitSM, seq, m)
}

// AppendDeliverSM appends a whole deliver_sm to dst.
func AppendDeliverSM(dst []byte, seq uint32, m *ShortMessage) []byte {
	return appendShortMessage(dst, DeliverSM, seq, m)
}

// AppendSubmitSMResp appends a submit_sm_resp; without a message_id a refusal has no body (SMPP 3.4 §4.4.2).
func AppendSubmitSMResp(dst []byte, seq uint32, status Status, messageID string) []byte {
	return appendIDResp(dst, SubmitSMResp, seq, status, messageID)
}

// AppendDataSMResp appends a data_sm_resp (SMPP 3.4 §4.7.2).
func AppendDataSMResp(dst []byte, seq uint32, status Status, messageID string) []byte {
	return appendIDResp(dst, DataSMResp, seq, status, messageID)
}

// AppendDeliverSMResp appends a deliver_sm_resp, whose message_id is always empty (SMPP 3.4 §4.6.2).
func AppendDeliverSMResp(dst []byte, seq uint32, status Status) []byte {
	return append(appendHeader(dst, HeaderLen+1, DeliverSMResp, status, seq), 0)
}

// AppendHeaderOnly appends a PDU without a body: enquire_link, unbind, their responses, generic_nack.
func AppendHeaderOnly(dst []byte, cmd CommandID, status Status, seq uint32) []byte {
	return appendHeader(dst, HeaderLen, cmd, status, seq)
}

// AppendBind appends a bind request of the kind cmd names.
func AppendBind(dst []byte, cmd CommandID, seq uint32, b *Bind) []byte {
	start := len(dst)
	dst = appendHeader(dst, 0, cmd, 0, seq)
	dst = appendCString(dst, b.SystemID)
	dst = appendCString(dst, b.Password)
	dst = appendCString(dst, b.SystemType)
	dst = append(dst, b.InterfaceVersion, b.AddrTON, b.AddrNPI)
	dst = appendCString(dst, b.AddressRange)
	return setLength(dst, start)
}

// AppendBindResp appends the response cmd (not the request it answers); a refusal has no body.
func AppendBindResp(dst []byte, cmd CommandID, seq uint32, status Status, systemID string) []byte {
	start := len(dst)
	dst = appendHeader(dst, HeaderLen, cmd, status, seq)
	if status != StatusOK {
		return dst
	}
	dst = appendCString(dst, systemID)
	dst = append(dst, byte(TagSCInterfaceVersion>>8), byte(TagSCInterfaceVersion&0xFF), 0, 1, 0x34)
	return setLength(dst, start)
}

func appendIDResp(dst []byte, cmd CommandID, seq uint32, status Status, messageID string) []byte {
	start := len(dst)
	dst = appendHeader(dst, HeaderLen, cmd, status, seq)
	if status != StatusOK && messageID == "" {
		return dst
	}
	return setLength(appendCString(dst, messageID), start)
}

func appendShortMessage(dst []byte, cmd CommandID, seq uint32, m *ShortMessage) []byte {
	start := len(dst)
	dst = appendHeader(dst, 0, cmd, 0, seq)
	dst = appendCString(dst, m.ServiceType)
	dst = appendAddress(dst, &m.Source)
	dst = appendAddress(dst, &m.Dest)
	dst = append(dst, m.ESMClass, m.ProtocolID, m.PriorityFlag)
	dst = appendCString(dst, m.ScheduleDeliveryTime)
	dst = appendCString(dst, m.ValidityPeriod)
	dst = append(dst, m.RegisteredDelivery, m.ReplaceIfPresent, m.DataCoding, m.SMDefaultMsgID)
	if n := len(m.ShortMessage); n <= maxShortMessage {
		dst = append(dst, byte(n))
		dst = append(dst, m.ShortMessage...)
	} else {
		dst = append(dst, 0)
		dst = appendTLV(dst, TagMessagePayload, m.ShortMessage)
	}
	for i := range m.TLVs {
		dst = appendTLV(dst, m.TLVs[i].Tag, m.TLVs[i].Value)
	}
	return setLength(dst, start)
}

func appendHeader(dst []byte, length uint32, cmd CommandID, status Status, seq uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, length)
	dst = binary.BigEndian.AppendUint32(dst, uint32(cmd))
	dst = binary.BigEndian.AppendUint32(dst, uint32(status))
	return binary.BigEndian.AppendUint32(dst, seq)
}

func setLength(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// appendCString ends the string at a NUL inside it, since the far side would.
func appendCString(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == 0 {
			s = s[:i]
			break
		}
	}
	return append(append(dst, s...), 0)
}

func appendAddress(dst []byte, a *Address) []byte {
	return appendCString(append(dst, a.TON, a.NPI), a.Addr)
}

// appendTLV cuts a value at what a 16-bit length can say.
func appendTLV(dst []byte, tag uint16, value []byte) []byte {
	value = value[:min(len(value), 0xFFFF)]
	dst = binary.BigEndian.AppendUint16(dst, tag)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...)
}

// ReadPDU reads one PDU. body lies in buf, or in a larger buffer of its own when it does not fit there, and is good until buf is used
// again. ErrTooLong comes with the header of a PDU that has been skipped; any other error ends the connection.
func ReadPDU(r *bufio.Reader, buf []byte) (h Header, body []byte, err error) {
	head, err := r.Peek(HeaderLen)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return h, nil, err
	}
	h = decodeHeader(head)
	if h.Length < HeaderLen || h.Length > maxSkip {
		return h, nil, fmt.Errorf("%w: command_length %d", ErrFraming, h.Length)
	}
	if _, err = r.Discard(HeaderLen); err != nil {
		return h, nil, err
	}
	n := int(h.Length) - HeaderLen
	if h.Length > MaxPDU {
		if _, err = r.Discard(n); err != nil {
			return h, nil, unexpected(err)
		}
		return h, nil, ErrTooLong
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	body = buf[:n]
	if _, err = io.ReadFull(r, body); err != nil {
		return h, nil, unexpected(err)
	}
	return h, body, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func decodeHeader(b []byte) Header {
	_ = b[HeaderLen-1]
	return Header{
		Length:   binary.BigEndian.Uint32(b),
		Command:  CommandID(binary.BigEndian.Uint32(b[4:])),
		Status:   Status(binary.BigEndian.Uint32(b[8:])),
		Sequence: binary.BigEndian.Uint32(b[12:]),
	}
}

// DecodeMessageID reads the body of submit_sm_resp or data_sm_resp; an absent body is an empty id. A missing NUL is forgiven.
func DecodeMessageID(body []byte) (string, error) {
	n := 0
	for n < len(body) && body[n] != 0 {
		n++
	}
	if n > 255 {
		return "", fmt.Errorf("%w: message_id of %d octets", ErrMalformed, n)
	}
	return string(body[:n]), nil
}

// Decode reads the body of a bind request.
func (b *Bind) Decode(body []byte) error {
	*b = Bind{}
	d := decoder{body: body, text: string(body)}
	b.SystemID = d.cstring()
	b.Password = d.cstring()
	b.SystemType = d.cstring()
	b.InterfaceVersion = d.octet()
	b.AddrTON = d.octet()
	b.AddrNPI = d.octet()
	b.AddressRange = d.cstring()
	return d.err("bind")
}

// Decode reads the body of submit_sm or deliver_sm. ShortMessage and the values of TLVs lie in body; the slice of m.TLVs is reused.
// Optional parameters that do not agree with their length are left out, and what stands before them is kept.
func (m *ShortMessage) Decode(body []byte) error {
	tlvs := m.TLVs[:0]
	*m = ShortMessage{}
	d := decoder{body: body, text: string(body[:min(len(body), maxFixed)])}
	m.ServiceType = d.cstring()
	m.Source = d.address()
	m.Dest = d.address()
	m.ESMClass = d.octet()
	m.ProtocolID = d.octet()
	m.PriorityFlag = d.octet()
	m.ScheduleDeliveryTime = d.cstring()
	m.ValidityPeriod = d.cstring()
	m.RegisteredDelivery = d.octet()
	m.ReplaceIfPresent = d.octet()
	m.DataCoding = d.octet()
	m.SMDefaultMsgID = d.octet()
	m.ShortMessage = d.octets(int(d.octet()))
	m.TLVs = d.tlvs(tlvs)
	return d.err("short message")
}

// DecodeDataSM reads the body of data_sm (SMPP 3.4 §4.7.1), whose text can only stand in message_payload.
func (m *ShortMessage) DecodeDataSM(body []byte) error {
	tlvs := m.TLVs[:0]
	*m = ShortMessage{}
	d := decoder{body: body, text: string(body[:min(len(body), maxFixed)])}
	m.ServiceType = d.cstring()
	m.Source = d.address()
	m.Dest = d.address()
	m.ESMClass = d.octet()
	m.RegisteredDelivery = d.octet()
	m.DataCoding = d.octet()
	m.TLVs = d.tlvs(tlvs)
	return d.err("data_sm")
}

// maxFixed bounds the part of a body that is copied for its strings: the longest mandatory fields of data_sm (addresses of 65 octets)
// with room for the careless.
const maxFixed = 384

// decoder walks a body; after the first fault everything it gives is empty. Strings are cut from one copy, one allocation a PDU.
type decoder struct {
	body []byte
	text string
	pos  int
	bad  bool
}

func (d *decoder) err(what string) error {
	if d.bad {
		return fmt.Errorf("%w: %s cut short at octet %d", ErrMalformed, what, d.pos)
	}
	return nil
}

func (d *decoder) octet() byte {
	if d.bad || d.pos >= len(d.body) {
		d.bad = true
		return 0
	}
	b := d.body[d.pos]
	d.pos++
	return b
}

func (d *decoder) cstring() string {
	if d.bad {
		return ""
	}
	for i := d.pos; i < len(d.text); i++ {
		if d.text[i] == 0 {
			s := d.text[d.pos:i]
			d.pos = i + 1
			return s
		}
	}
	d.bad = true
	return ""
}

func (d *decoder) address() Address {
	return Address{TON: d.octet(), NPI: d.octet(), Addr: d.cstring()}
}

func (d *decoder) octets(n int) []byte {
	if d.bad || n > len(d.body)-d.pos {
		d.bad = true
		return nil
	}
	b := d.body[d.pos : d.pos+n : d.pos+n]
	d.pos += n
	return b
}

func (d *decoder) tlvs(to []TLV) []TLV {
	for !d.bad && len(d.body)-d.pos >= 4 {
		tag := binary.BigEndian.Uint16(d.body[d.pos:])
		n := int(binary.BigEndian.Uint16(d.body[d.pos+2:]))
		if n > len(d.body)-d.pos-4 {
			break
		}
		d.pos += 4
		to = append(to, TLV{Tag: tag, Value: d.octets(n)})
	}
	return to
}
