package smpptest

import (
	"slices"
	"unicode/utf16"

	"ekc/smpp"
)

// Incoming is an SMS a citizen writes.
type Incoming struct {
	From     string // the citizen's number, digits
	To       string // the agency's number
	Text     string // GSM 7-bit when it can be, UCS-2 otherwise; cut into segments when it is long
	SystemID string // who gets it; empty is the first system_id with a receiving link, now or later
	Concat   Concat // how a long one is cut
	Shuffle  bool   // the last segment first
	Hold     int    // this segment (from 1) is never sent: the message stays incomplete
}

// part is a deliver_sm of a citizen's SMS, ready but for its sequence_number.
type part struct{ msg smpp.ShortMessage }

// Deliver hands in a citizen's SMS, now or at the next bind, and says of how many segments it is made.
func (s *Server) Deliver(in Incoming) int {
	s.lock()
	defer s.mu.Unlock()
	var a *account
	if in.SystemID != "" {
		a = s.account(in.SystemID)
	} else {
		for _, l := range s.openLinks() {
			if l.acct != nil && l.rx && !l.closing && !l.unbinding {
				a = l.acct
				break
			}
		}
	}
	return s.deliver(a, in)
}

// deliver with no account keeps the SMS for the first that binds.
func (s *Server) deliver(a *account, in Incoming) int {
	s.moRef++
	parts := in.segments(s.moRef)
	n := 0
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	if in.Shuffle {
		slices.Reverse(order)
	}
	for _, i := range order {
		if i+1 == in.Hold {
			continue
		}
		n++
		d := &delivery{account: a, part: &part{msg: parts[i]}}
		s.rec.created(d)
		if a == nil {
			s.orphans = append(s.orphans, d)
			continue
		}
		a.offer(s, d)
	}
	return n
}

// segments cuts the text: 160 and 153 septets, 70 and 67 UTF-16 units, one less with a 16-bit reference.
func (in Incoming) segments(ref uint16) []smpp.ShortMessage {
	base := smpp.ShortMessage{
		Source: smpp.Address{TON: tonInternational, NPI: npiISDN, Addr: in.From},
		Dest:   smpp.Address{NPI: npiISDN, Addr: in.To},
	}
	units, ok := encodeGSM(in.Text) // one element a character, so that nothing is cut inside one
	whole, each, width := 160, 153, 1
	if !ok {
		base.DataCoding = 8
		units, whole, each, width = encodeUCS2(in.Text), 70, 67, 2
	}
	if in.Concat == UDH16 {
		each--
	}
	size := 0
	for _, u := range units {
		size += len(u) / width
	}
	var texts [][]byte
	if size <= whole {
		texts = [][]byte{slices.Concat(units...)}
	} else {
		var cur []byte
		for _, u := range units {
			if (len(cur)+len(u))/width > each {
				texts = append(texts, cur)
				cur = nil
			}
			cur = append(cur, u...)
		}
		texts = append(texts, cur)
	}
	out := make([]smpp.ShortMessage, len(texts))
	for i, t := range texts {
		m := base
		m.ShortMessage = t
		if total, seq := byte(len(texts)), byte(i+1); total > 1 {
			switch in.Concat {
			case UDH8:
				m.ESMClass = 0x40
				m.ShortMessage = append([]byte{5, 0, 3, byte(ref), total, seq}, t...)
			case UDH16:
				m.ESMClass = 0x40
				m.ShortMessage = append([]byte{6, 8, 4, byte(ref >> 8), byte(ref), total, seq}, t...)
			case SAR:
				m.TLVs = []smpp.TLV{
					{Tag: smpp.TagSARMsgRefNum, Value: []byte{byte(ref >> 8), byte(ref)}},
					{Tag: smpp.TagSARTotalSegments, Value: []byte{total}},
					{Tag: smpp.TagSARSegmentSeqnum, Value: []byte{seq}},
				}
			}
		}
		out[i] = m
	}
	return out
}

// The GSM 7-bit default alphabet and its extension, 3GPP TS 23.038 §6.2.1. Written here once more, and not taken from smpp, so that one
// mistake there cannot agree with itself.
const (
	gsmBasic    = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f\x0a^\x14{\x28}\x29\\\x2f[\x3c~\x3d]\x3e|\x40€\x65" // character and its septet, in pairs
)

var gsmBasicRunes, gsmExtendedRunes = []rune(gsmBasic), []rune(gsmExtended)

func encodeGSM(text string) (units [][]byte, ok bool) {
	for _, r := range text {
		if i := slices.Index(gsmBasicRunes, r); i >= 0 && r != 0x1b {
			units = append(units, []byte{byte(i)})
			continue
		}
		found := false
		for i := 0; i < len(gsmExtendedRunes); i += 2 {
			if gsmExtendedRunes[i] == r {
				units, found = append(units, []byte{0x1b, byte(gsmExtendedRunes[i+1])}), true
				break
			}
		}
		if !found {
			return nil, false
		}
	}
	return units, true
}

func encodeUCS2(text string) (units [][]byte) {
	for _, r := range text {
		var u []byte
		for _, c := range utf16.Encode([]rune{r}) {
			u = append(u, byte(c>>8), byte(c))
		}
		units = append(units, u)
	}
	return units
}

// decodeText reads data_coding 0 (GSM 7-bit, an octet a septet), 1 and 3 (ASCII, Latin-1), 8 and 2 (UCS-2; 2 as one provider has it).
func decodeText(coding byte, b []byte) string {
	switch coding {
	case 2, 8:
		u := make([]uint16, len(b)/2)
		for i := range u {
			u[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		return string(utf16.Decode(u))
	case 0:
		var out []rune
		for i := 0; i < len(b); i++ {
			if b[i] == 0x1b && i+1 < len(b) {
				i++
				for k := 0; k < len(gsmExtendedRunes); k += 2 {
					if byte(gsmExtendedRunes[k+1]) == b[i] {
						out = append(out, gsmExtendedRunes[k])
					}
				}
				continue
			}
			if int(b[i]) < len(gsmBasicRunes) {
				out = append(out, gsmBasicRunes[b[i]])
			}
		}
		return string(out)
	}
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return string(out)
}
