package smpp

import (
	"encoding/binary"
	"time"
)

// Incoming is a message from a phone: one deliver_sm or data_sm that is not a receipt, possibly one part of a longer message.
type Incoming struct {
	Link     string    // Config.Name
	At       time.Time // when it was read from the wire
	From, To Address
	// Text is this part as it can be read alone; Exact is false when something in it could not be read.
	Text  string
	Exact bool
	// Coding and Octets are the part as it came, without its user data header, for JoinParts.
	Coding byte
	Octets []byte
	Concat Concat
}

// Concat places a part in its message; Total is zero or one for a message that came whole. Ref is only good together with both addresses.
type Concat struct {
	Ref   uint16
	Total uint8
	Seq   uint8 // from 1
}

// JoinParts reads a message whose parts are given in their order: a character cut between two parts is read whole.
func JoinParts(parts []Incoming) (text string, exact bool) {
	if len(parts) == 1 {
		return parts[0].Text, parts[0].Exact
	}
	exact = true
	for i := 0; i < len(parts); {
		coding, octets := parts[i].Coding, append([]byte(nil), parts[i].Octets...)
		for i++; i < len(parts) && parts[i].Coding == coding; i++ {
			octets = append(octets, parts[i].Octets...)
		}
		t, ok := DecodeText(coding, octets)
		text, exact = text+t, exact && ok
	}
	return text, exact
}

// esm_class of deliver_sm (SMPP 3.4 §5.2.12).
const (
	esmTypeMask     byte = 0x3C
	esmReceipt      byte = 0x04
	esmIntermediate byte = 0x20
	esmUDHI         byte = 0x40
)

// newIncoming copies out of m what outlives its buffer. ucs2 is the account's own data_coding of UCS-2.
func newIncoming(link string, at time.Time, ucs2 byte, m *ShortMessage) Incoming {
	in := Incoming{Link: link, At: at, From: m.Source, To: m.Dest, Coding: m.DataCoding}
	if ucs2 != 0 && m.DataCoding == ucs2 {
		in.Coding = CodingUCS2
	}
	payload := m.Payload()
	if m.ESMClass&esmUDHI != 0 {
		in.Concat, payload = splitUDH(payload)
	} else {
		in.Concat = sarConcat(m)
	}
	in.Octets = append([]byte(nil), payload...)
	in.Text, in.Exact = DecodeText(in.Coding, in.Octets)
	return in
}

// splitUDH parts the user data header from the text and finds the concatenation in it (3GPP TS 23.040 §9.2.3.24: 0x00 with an 8-bit
// reference, 0x08 with 16 bits). A header longer than the message is taken for text.
func splitUDH(payload []byte) (Concat, []byte) {
	if len(payload) == 0 || int(payload[0]) > len(payload)-1 {
		return Concat{}, payload
	}
	header, text := payload[1:1+int(payload[0])], payload[1+int(payload[0]):]
	var c Concat
	for len(header) >= 2 {
		id, n := header[0], int(header[1])
		if n > len(header)-2 {
			break
		}
		v := header[2 : 2+n]
		switch {
		case id == 0x00 && n == 3:
			c = validConcat(uint16(v[0]), v[1], v[2])
		case id == 0x08 && n == 4:
			c = validConcat(binary.BigEndian.Uint16(v), v[2], v[3])
		}
		header = header[2+n:]
	}
	return c, text
}

// sarConcat reads the three sar_ parameters (SMPP 3.4 §5.3.2.22 to §5.3.2.24); all must be there.
func sarConcat(m *ShortMessage) Concat {
	ref, ok1 := m.TLV(TagSARMsgRefNum)
	total, ok2 := m.TLV(TagSARTotalSegments)
	seq, ok3 := m.TLV(TagSARSegmentSeqnum)
	if !ok1 || !ok2 || !ok3 || len(ref) != 2 || len(total) != 1 || len(seq) != 1 {
		return Concat{}
	}
	return validConcat(binary.BigEndian.Uint16(ref), total[0], seq[0])
}

// validConcat is no concatenation at all if the part is not one of its message (TS 23.040 §9.2.3.24.1 says to ignore it).
func validConcat(ref uint16, total, seq uint8) Concat {
	if total == 0 || seq == 0 || seq > total {
		return Concat{}
	}
	return Concat{Ref: ref, Total: total, Seq: seq}
}
