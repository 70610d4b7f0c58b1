package smpp

import (
	"math/big"
	"strconv"
	"strings"
	"sync/atomic"
)

// IDBase says how an account writes message_id in submit_sm_resp and in receipts.
type IDBase string

const (
	// IDAuto finds out by itself from the letters in the ids; until it has, a receipt carries both readings.
	IDAuto IDBase = "auto"
	// IDHex: hexadecimal in submit_sm_resp, decimal in the text of receipts.
	IDHex IDBase = "hex"
	// IDDec: the same in both.
	IDDec IDBase = "dec"
)

// messageIDs brings the ids of responses and receipts to one form: that of the response, in capitals, without leading zeros. The form
// does not depend on the setting, so ids already stored stay good when it is changed.
type messageIDs struct {
	base IDBase
	// What IDAuto has seen: a letter in the number of a response, of a receipt.
	responseHex, receiptHex atomic.Bool
}

// response is the form of an id from submit_sm_resp.
func (m *messageIDs) response(id string) string {
	kind := numberKind(id)
	if kind == hexNumber && !m.responseHex.Load() {
		m.responseHex.Store(true)
	}
	return canonicalID(id, kind)
}

// receipt is the form of an id from a receipt's text, its receipted_message_id, or both.
func (m *messageIDs) receipt(text, tlv string) (id, alternate string) {
	text, tlv = strings.TrimSpace(text), strings.TrimSpace(tlv)
	if m.base == IDDec {
		if tlv == "" {
			tlv = text
		}
		return canonicalID(tlv, numberKind(tlv)), ""
	}
	// The parameter is by the standard the very id of the response (SMPP 3.4 §5.3.2.12). When the text says the same digits, the
	// parameter was copied from the text and says no more than it.
	id = canonicalID(tlv, numberKind(tlv))
	if tlv != "" && id != canonicalID(text, numberKind(text)) {
		if text == "" && m.base == IDAuto {
			return id, otherBase(id, tlv)
		}
		return id, ""
	}
	kind := numberKind(text)
	raw := canonicalID(text, kind)
	if kind != decimalNumber {
		if kind == hexNumber && !m.receiptHex.Load() {
			m.receiptHex.Store(true)
		}
		if kind == hexNumber && m.base == IDAuto && !m.responseHex.Load() {
			return raw, hexToDecimal(raw) // no response has shown a letter: it may write the same number in figures
		}
		return raw, ""
	}
	converted := decimalToHex(text)
	switch {
	case m.base == IDHex:
		return converted, ""
	case converted == raw:
		return raw, ""
	case m.responseHex.Load() && !m.receiptHex.Load():
		return converted, raw
	}
	return raw, converted
}

func otherBase(id, written string) string {
	if numberKind(written) != decimalNumber {
		return ""
	}
	if other := decimalToHex(written); other != id {
		return other
	}
	return ""
}

type idKind uint8

const (
	notNumber idKind = iota
	decimalNumber
	hexNumber // has a letter
)

func numberKind(id string) idKind {
	if id == "" || len(id) > 40 {
		return notNumber
	}
	kind := decimalNumber
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9':
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			kind = hexNumber
		default:
			return notNumber
		}
	}
	return kind
}

func canonicalID(id string, kind idKind) string {
	if kind == notNumber {
		return id
	}
	if kind == hexNumber {
		id = strings.ToUpper(id)
	}
	for len(id) > 1 && id[0] == '0' {
		id = id[1:]
	}
	return id
}

func hexToDecimal(id string) string {
	n, ok := new(big.Int).SetString(id, 16)
	if !ok {
		return ""
	}
	return n.String()
}

func decimalToHex(id string) string {
	if n, err := strconv.ParseUint(id, 10, 64); err == nil {
		return strings.ToUpper(strconv.FormatUint(n, 16))
	}
	n, ok := new(big.Int).SetString(id, 10)
	if !ok {
		return id
	}
	return strings.ToUpper(n.Text(16))
}
