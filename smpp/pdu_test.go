package smpp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutlv"
)

// TestSameOctetsAsGoSMPP writes random short messages with both codecs and reads each with the other.
func TestSameOctetsAsGoSMPP(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		m := randomMessage(rnd)
		seq := 1 + rnd.Uint32N(1<<31-1)
		for _, kind := range []struct {
			name string
			ours []byte
			new  func() pdu.Body
		}{
			{"submit_sm", AppendSubmitSM(nil, seq, &m), func() pdu.Body { return pdu.NewSubmitSM(nil) }},
			// NewDeliverSM writes an octet too many before the text, which its own reader does not expect; the layout is submit_sm's.
			{"deliver_sm", AppendDeliverSM(nil, seq, &m), func() pdu.Body {
				p := pdu.NewSubmitSM(nil)
				p.Header().ID = pdu.DeliverSMID
				return p
			}},
		} {
			theirs := kind.new()
			theirs.Header().Seq = seq
			setFields(theirs.Fields(), &m)
			for _, tlv := range m.TLVs {
				if err := theirs.TLVFields().Set(pdutlv.Tag(tlv.Tag), tlv.Value); err != nil {
					t.Fatal(err)
				}
			}
			var b bytes.Buffer
			if err := theirs.SerializeTo(&b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), kind.ours) {
				t.Fatalf("%s %d:\nours   %x\ntheirs %x", kind.name, i, kind.ours, b.Bytes())
			}
			var back ShortMessage
			if err := back.Decode(b.Bytes()[HeaderLen:]); err != nil {
				t.Fatal(err)
			}
			if len(back.ShortMessage) == 0 {
				back.ShortMessage = m.ShortMessage
			}
			if !reflect.DeepEqual(back, m) {
				t.Fatalf("%s %d: read back\n%+v\nwritten\n%+v", kind.name, i, back, m)
			}
			read, err := pdu.Decode(bytes.NewReader(kind.ours))
			if err != nil {
				t.Fatalf("%s %d: go-smpp cannot read ours: %v", kind.name, i, err)
			}
			for name, body := range theirs.Fields() {
				if got := read.Fields()[name]; got == nil || !bytes.Equal(got.Bytes(), body.Bytes()) {
					t.Fatalf("%s %d: go-smpp reads another %s", kind.name, i, name)
				}
			}
		}

		id := randomString(rnd, 65)
		theirs := pdu.NewSubmitSMResp()
		theirs.Header().Seq = seq
		_ = theirs.Fields().Set(pdufield.MessageID, id)
		var b bytes.Buffer
		if err := theirs.SerializeTo(&b); err != nil {
			t.Fatal(err)
		}
		if ours := AppendSubmitSMResp(nil, seq, StatusOK, id); !bytes.Equal(ours, b.Bytes()) {
			t.Fatalf("submit_sm_resp:\nours   %x\ntheirs %x", ours, b.Bytes())
		}
		if got, err := DecodeMessageID(b.Bytes()[HeaderLen:]); err != nil || got != id {
			t.Fatalf("message_id %q, %v, not %q", got, err, id)
		}
	}
}

func setFields(f pdufield.Map, m *ShortMessage) {
	for name, v := range map[pdufield.Name]any{
		pdufield.ServiceType: m.ServiceType, pdufield.SourceAddrTON: m.Source.TON, pdufield.SourceAddrNPI: m.Source.NPI,
		pdufield.SourceAddr: m.Source.Addr, pdufield.DestAddrTON: m.Dest.TON, pdufield.DestAddrNPI: m.Dest.NPI,
		pdufield.DestinationAddr: m.Dest.Addr, pdufield.ESMClass: m.ESMClass, pdufield.ProtocolID: m.ProtocolID,
		pdufield.PriorityFlag: m.PriorityFlag, pdufield.ScheduleDeliveryTime: m.ScheduleDeliveryTime,
		pdufield.ValidityPeriod: m.ValidityPeriod, pdufield.RegisteredDelivery: m.RegisteredDelivery,
		pdufield.ReplaceIfPresentFlag: m.ReplaceIfPresent, pdufield.DataCoding: m.DataCoding,
		pdufield.SMDefaultMsgID: m.SMDefaultMsgID, pdufield.ShortMessage: m.ShortMessage,
	} {
		if err := f.Set(name, v); err != nil {
			panic(err)
		}
	}
}

func randomMessage(rnd *rand.Rand) ShortMessage {
	octet := func() byte { return byte(rnd.Uint32()) }
	m := ShortMessage{
		ServiceType: randomString(rnd, 5), Source: Address{octet(), octet(), randomString(rnd, 20)},
		Dest: Address{octet(), octet(), randomString(rnd, 20)}, ESMClass: octet() &^ 0x40, ProtocolID: octet(), PriorityFlag: octet(),
		ScheduleDeliveryTime: randomString(rnd, 16), ValidityPeriod: randomString(rnd, 16),
		RegisteredDelivery: octet(), ReplaceIfPresent: octet(), DataCoding: octet(), SMDefaultMsgID: octet(),
		ShortMessage: randomOctets(rnd, 254),
	}
	if rnd.IntN(2) == 0 { // one only: go-smpp writes several in any order
		m.TLVs = []TLV{{Tag: TagUserMessageRef, Value: randomOctets(rnd, 40)}}
	}
	return m
}

func randomString(rnd *rand.Rand, most int) string {
	b := make([]byte, rnd.IntN(most+1))
	for i := range b {
		b[i] = byte(1 + rnd.IntN(255))
	}
	return string(b)
}

func randomOctets(rnd *rand.Rand, most int) []byte {
	b := make([]byte, rnd.IntN(most+1))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func TestTextOver254OctetsGoesIntoPayload(t *testing.T) {
	t.Parallel()
	text := bytes.Repeat([]byte{0x04, 0x10}, 200)
	wire := AppendSubmitSM(nil, 1, &ShortMessage{ShortMessage: text})
	var m ShortMessage
	if err := m.Decode(wire[HeaderLen:]); err != nil {
		t.Fatal(err)
	}
	if len(m.ShortMessage) != 0 || !bytes.Equal(m.Payload(), text) {
		t.Fatalf("short_message %d octets, payload %d", len(m.ShortMessage), len(m.Payload()))
	}
}

func TestBindRoundTrip(t *testing.T) {
	t.Parallel()
	want := Bind{SystemID: "ekc", Password: "secret", SystemType: "t", InterfaceVersion: 0x34, AddrTON: 1, AddrNPI: 1, AddressRange: "^7"}
	wire := AppendBind(nil, BindTransceiver, 7, &want)
	theirs, err := pdu.Decode(bytes.NewReader(wire))
	if err != nil || theirs.Fields()[pdufield.SystemID].String() != "ekc" {
		t.Fatalf("go-smpp: %v", err)
	}
	var got Bind
	if err := got.Decode(wire[HeaderLen:]); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestReadPDUPassesOverWhatIsTooLong(t *testing.T) {
	t.Parallel()
	long := make([]byte, MaxPDU+100)
	binary.BigEndian.PutUint32(long, uint32(len(long)))
	wire := append(long, AppendHeaderOnly(nil, EnquireLink, 0, 5)...)
	r := bufio.NewReader(bytes.NewReader(wire))
	if _, _, err := ReadPDU(r, nil); !errors.Is(err, ErrTooLong) {
		t.Fatalf("%v, not ErrTooLong", err)
	}
	h, _, err := ReadPDU(r, nil)
	if err != nil || h.Command != EnquireLink || h.Sequence != 5 {
		t.Fatalf("after it: %+v, %v", h, err)
	}
	if _, _, err := ReadPDU(r, nil); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
}

func TestReadPDUKnowsALostStream(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string][]byte{
		"shorter than a header": {0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"gigabytes":             {0x48, 0x54, 0x54, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, _, err := ReadPDU(bufio.NewReader(bytes.NewReader(wire)), nil); !errors.Is(err, ErrFraming) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cut := AppendSubmitSM(nil, 1, &ShortMessage{ShortMessage: []byte("x")})
	if _, _, err := ReadPDU(bufio.NewReader(bytes.NewReader(cut[:20])), nil); err != io.ErrUnexpectedEOF {
		t.Errorf("cut short: %v", err)
	}
}

func TestDecodeKeepsWhatStandsBeforeABadTLV(t *testing.T) {
	t.Parallel()
	wire := AppendDeliverSM(nil, 1, &ShortMessage{ShortMessage: []byte("x"), TLVs: []TLV{{Tag: TagMessageState, Value: []byte{2}}}})
	wire = append(wire, 0x04, 0x24, 0xFF, 0xFF, 1)
	var m ShortMessage
	if err := m.Decode(wire[HeaderLen:]); err != nil || len(m.TLVs) != 1 || string(m.ShortMessage) != "x" {
		t.Fatalf("%+v, %v", m, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(AppendSubmitSM(nil, 1, &ShortMessage{Source: Address{5, 0, "EKC"}, Dest: Address{1, 1, "79030000000"}, ShortMessage: []byte("text")})[HeaderLen:])
	f.Add(AppendBind(nil, BindTransceiver, 1, &Bind{SystemID: "ekc"})[HeaderLen:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var m ShortMessage
		if m.Decode(body) == nil {
			again := AppendSubmitSM(nil, 1, &m)
			var back ShortMessage
			if err := back.Decode(again[HeaderLen:]); err != nil {
				t.Fatalf("what was read cannot be written and read: %v", err)
			}
			if !bytes.Equal(back.Payload(), m.Payload()) || back.Dest != m.Dest {
				t.Fatal("changed on the way")
			}
		}
		_ = m.DecodeDataSM(body)
		var b Bind
		_ = b.Decode(body)
		_, _ = DecodeMessageID(body)
	})
}

func FuzzReadPDU(f *testing.F) {
	f.Add(AppendHeaderOnly(nil, EnquireLink, 0, 1))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bufio.NewReader(bytes.NewReader(wire))
		for range len(wire)/HeaderLen + 1 {
			h, body, err := ReadPDU(r, nil)
			if err != nil && !errors.Is(err, ErrTooLong) {
				return
			}
			if err == nil && len(body) != int(h.Length)-HeaderLen {
				t.Fatal("a body of another length than the header says")
			}
		}
	})
}
