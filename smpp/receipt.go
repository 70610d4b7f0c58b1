package smpp

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// ReceiptState is a receipt's news in four words.
type ReceiptState string

const (
	ReceiptAccepted    ReceiptState = "accepted" // still on its way: ENROUTE, ACCEPTED, UNKNOWN
	ReceiptDelivered   ReceiptState = "delivered"
	ReceiptExpired     ReceiptState = "expired"
	ReceiptUndelivered ReceiptState = "undelivered" // UNDELIVERABLE, DELETED, REJECTED
)

// Receipt is an SMSC delivery receipt (SMPP 3.4 Appendix B). It may come before the submit_sm_resp it belongs to, more than once, or
// for a message nobody knows.
type Receipt struct {
	Link string    // Config.Name
	At   time.Time // when it was read from the wire
	// MessageID is in the form SegmentResult.MessageID has. AlternateID is the same id read in the other base, empty when there is
	// no doubt; a match by it is to be believed only if the phone agrees too. Both empty: the receipt names no message.
	MessageID, AlternateID string
	State                  ReceiptState
	Stat                   string // the SMSC's word, "DELIVRD"; at most 16 characters
	Reason                 Reason // why not delivered
	Code                   string // network_error_code, or err of the text; at most 16 characters
	// Submitted and Done are by the SMSC's clock in the account's zone, zero when not given or not readable.
	Submitted, Done time.Time
	From            Address // the recipient's phone
	To              Address // our sender
}

// maxReceiptText bounds what of a receipt's text is looked at; the quoted message at its end is never needed.
const maxReceiptText = 1024

// receiptReader reads receipts as one account writes them.
type receiptReader struct {
	link   string
	zone   *time.Location
	errors ErrorMap
	ids    *messageIDs
}

// isReceipt follows esm_class, and for SMSCs that leave it zero the parameter only receipts have.
func isReceipt(m *ShortMessage) bool {
	if t := m.ESMClass & esmTypeMask; t == esmReceipt || t == esmIntermediate {
		return true
	}
	_, ok := m.TLV(TagReceiptedMessageID)
	return ok
}

func (r *receiptReader) read(m *ShortMessage, at time.Time) Receipt {
	rec := Receipt{Link: r.link, At: at, From: m.Source, To: m.Dest, State: ReceiptAccepted}
	text := parseReceiptText(receiptText(m))
	tlvID := ""
	if v, ok := m.TLV(TagReceiptedMessageID); ok {
		tlvID, _, _ = strings.Cut(string(v[:min(len(v), 255)]), "\x00")
	}
	rec.MessageID, rec.AlternateID = r.ids.receipt(text.id, tlvID)
	rec.State, rec.Stat = stateOfStat(text.stat)
	if v, ok := m.TLV(TagMessageState); ok && len(v) == 1 {
		if state, stat, known := stateOfTLV(v[0]); known {
			rec.State, rec.Stat = state, stat
		}
	}
	rec.Code = text.err
	if v, ok := m.TLV(TagNetworkErrorCode); ok && len(v) == 3 {
		if code := binary.BigEndian.Uint16(v[1:]); code != 0 || rec.Code == "" {
			rec.Code = strconv.Itoa(int(code))
		}
	}
	rec.Submitted = parseReceiptDate(text.submitted, r.zone)
	rec.Done = parseReceiptDate(text.done, r.zone)
	if rec.State == ReceiptExpired || rec.State == ReceiptUndelivered {
		rec.Reason = reasonOfStat(rec.Stat)
		if own, ok := r.errors.receiptReason(rec.Code); ok && rec.Code != "" {
			rec.Reason = own
		}
	}
	return rec
}

// receiptText is the text as ASCII: receipts are written so whatever the alphabet, except in UCS-2.
func receiptText(m *ShortMessage) string {
	payload := m.Payload()
	if m.ESMClass&esmUDHI != 0 {
		_, payload = splitUDH(payload)
	}
	payload = payload[:min(len(payload), maxReceiptText)]
	if m.DataCoding == CodingUCS2 {
		text, _ := decodeUCS2(payload)
		return text
	}
	return string(payload)
}

type receiptFields struct {
	id, stat, err, submitted, done string
}

// receiptKeys are the fields of the text; "text" ends it.
var receiptKeys = [...]string{"id", "submit date", "sub", "dlvrd", "done date", "stat", "err", "text"}

// parseReceiptText reads "id:… sub:… dlvrd:… submit date:… done date:… stat:… err:… text:…" in any case, with blanks, commas or
// semicolons between, any field missing.
func parseReceiptText(s string) receiptFields {
	var f receiptFields
	for s != "" {
		if separates(s[0]) {
			s = s[1:]
			continue
		}
		key, rest, ok := cutReceiptKey(s)
		if !ok {
			_, s = cutReceiptValue(s)
			continue
		}
		if key == "text" {
			break
		}
		rest = strings.TrimLeft(rest, " ")
		var value string
		if _, _, next := cutReceiptKey(rest); !next {
			value, rest = cutReceiptValue(rest)
		}
		switch key {
		case "id":
			f.id = clip(value, 255)
		case "stat":
			f.stat = word(value)
		case "err":
			f.err = word(value)
		case "submit date":
			f.submitted = value
		case "done date":
			f.done = value
		}
		s = rest
	}
	return f
}

func separates(c byte) bool {
	return c == ' ' || c == ',' || c == ';' || c == '\t' || c == '\r' || c == '\n'
}

func cutReceiptValue(s string) (value, rest string) {
	for i := range len(s) {
		if separates(s[i]) {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// cutReceiptKey takes a key and its colon off the front of s; "submit date" may also be written with an underscore or in one word.
func cutReceiptKey(s string) (key, rest string, ok bool) {
	for _, key := range receiptKeys {
		if s == "" || s[0]|0x20 != key[0] {
			continue
		}
		rest := s
		matched := true
		for i := 0; i < len(key) && matched; i++ {
			switch {
			case key[i] == ' ' && rest != "" && (rest[0] == ' ' || rest[0] == '_'):
				rest = rest[1:]
			case key[i] == ' ':
			case rest != "" && rest[0]|0x20 == key[i]:
				rest = rest[1:]
			default:
				matched = false
			}
		}
		if !matched {
			continue
		}
		if rest, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), ":"); ok {
			return key, rest, true
		}
	}
	return "", s, false
}

// word is a state or an error code as the SMSC writes it, at most 16 characters. With nine digits or more it is no code but may be
// somebody's phone, and is not kept.
func word(s string) string {
	s = clip(s, 16)
	digits := 0
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			digits++
		}
	}
	if digits > 8 {
		return ""
	}
	return s
}

// clip keeps the printable ASCII of s, at most n characters: what is kept may be shown.
func clip(s string, n int) string {
	s = s[:min(len(s), n)]
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7E {
			return s[:i]
		}
	}
	return s
}

// stateOfStat reads stat (SMPP 3.4 Appendix B); longer spellings ("DELIVERED") begin alike.
func stateOfStat(stat string) (ReceiptState, string) {
	s := strings.ToUpper(stat)
	switch {
	case strings.HasPrefix(s, "DELIV"):
		return ReceiptDelivered, s
	case strings.HasPrefix(s, "EXPIR"):
		return ReceiptExpired, s
	case strings.HasPrefix(s, "UNDEL"), strings.HasPrefix(s, "DELET"), strings.HasPrefix(s, "REJEC"):
		return ReceiptUndelivered, s
	}
	return ReceiptAccepted, s
}

// stateOfTLV reads message_state (SMPP 3.4 §5.2.28).
func stateOfTLV(state byte) (ReceiptState, string, bool) {
	switch state {
	case 1:
		return ReceiptAccepted, "ENROUTE", true
	case 2:
		return ReceiptDelivered, "DELIVRD", true
	case 3:
		return ReceiptExpired, "EXPIRED", true
	case 4:
		return ReceiptUndelivered, "DELETED", true
	case 5:
		return ReceiptUndelivered, "UNDELIV", true
	case 6:
		return ReceiptAccepted, "ACCEPTD", true
	case 7:
		return ReceiptAccepted, "UNKNOWN", true
	case 8:
		return ReceiptUndelivered, "REJECTD", true
	}
	return "", "", false
}

func reasonOfStat(stat string) Reason {
	switch {
	case strings.HasPrefix(stat, "EXPIR"):
		return ReasonExpired
	case strings.HasPrefix(stat, "DELET"):
		return ReasonDeleted
	case strings.HasPrefix(stat, "REJEC"):
		return ReasonRejected
	}
	return ReasonUndelivered
}

// parseReceiptDate reads YYMMDDhhmm with or without seconds; anything else is no date.
func parseReceiptDate(s string, zone *time.Location) time.Time {
	var layout string
	switch len(s) {
	case 10:
		layout = "0601021504"
	case 12:
		layout = "060102150405"
	default:
		return time.Time{}
	}
	t, err := time.ParseInLocation(layout, s, zone)
	if err != nil {
		return time.Time{}
	}
	return t
}
