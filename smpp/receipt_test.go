package smpp

import (
	"strings"
	"testing"
	"time"
)

func readerOf(base IDBase, zone *time.Location, own ErrorMap) *receiptReader {
	return &receiptReader{link: "smsc", zone: zone, errors: own, ids: &messageIDs{base: base}}
}

func TestReceiptText(t *testing.T) {
	t.Parallel()
	moscow := time.FixedZone("MSK", 3*3600)
	minute := time.Date(2026, 11, 22, 5, 32, 0, 0, moscow)
	second := time.Date(2026, 11, 22, 5, 32, 7, 0, moscow)
	own, err := ParseErrorMap(map[string]string{"err 219": "sim_replaced", "err 001": "unknown_number"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		want       Receipt
	}{
		{"standard", "id:1234567890 sub:001 dlvrd:001 submit date:2611220532 done date:2611220532 stat:DELIVRD err:000 Text:id:9 stat:UNDELIV",
			Receipt{MessageID: "1234567890", State: ReceiptDelivered, Stat: "DELIVRD", Code: "000", Submitted: minute, Done: minute}},
		{"seconds, small letters", "id:77 sub:1 dlvrd:0 submit date:261122053207 done date:261122053207 stat:UNDELIV err:219 text:",
			Receipt{MessageID: "77", State: ReceiptUndelivered, Stat: "UNDELIV", Code: "219", Reason: ReasonSIMReplaced, Submitted: second, Done: second}},
		{"commas", "id:77,sub:001,dlvrd:001,submit date:2611220532,done date:2611220532,stat:EXPIRED,err:012,text:x",
			Receipt{MessageID: "77", State: ReceiptExpired, Stat: "EXPIRED", Code: "012", Reason: ReasonExpired, Submitted: minute, Done: minute}},
		{"commas and blanks, no zeros", "id:77, stat:REJECTD, err:1",
			Receipt{MessageID: "77", State: ReceiptUndelivered, Stat: "REJECTD", Code: "1", Reason: ReasonUnknownNumber}},
		{"underscores and capitals", "ID:AB-1 SUBMIT_DATE:2611220532 DONEDATE:2611220532 STAT:DELETED ERR:",
			Receipt{MessageID: "AB-1", State: ReceiptUndelivered, Stat: "DELETED", Reason: ReasonDeleted, Submitted: minute, Done: minute}},
		{"a phone where a code belongs", "id:77 stat:UNDELIV err:9657431209", Receipt{MessageID: "77", State: ReceiptUndelivered, Stat: "UNDELIV", Reason: ReasonUndelivered}},
		{"blank after the colon", "id: 77 stat: DELIVRD err: 000", Receipt{MessageID: "77", State: ReceiptDelivered, Stat: "DELIVRD", Code: "000"}},
		{"empty id", "id: sub:001 stat:DELIVRD", Receipt{State: ReceiptDelivered, Stat: "DELIVRD"}},
		{"long word", "id:77 stat:DELIVERED", Receipt{MessageID: "77", State: ReceiptDelivered, Stat: "DELIVERED"}},
		{"enroute", "id:77 stat:ENROUTE", Receipt{MessageID: "77", State: ReceiptAccepted, Stat: "ENROUTE"}},
		{"accepted", "id:77 stat:ACCEPTD", Receipt{MessageID: "77", State: ReceiptAccepted, Stat: "ACCEPTD"}},
		{"unknown", "id:77 stat:UNKNOWN", Receipt{MessageID: "77", State: ReceiptAccepted, Stat: "UNKNOWN"}},
		{"impossible dates", "id:77 submit date:2613320532 done date:26112205 stat:DELIVRD", Receipt{MessageID: "77", State: ReceiptDelivered, Stat: "DELIVRD"}},
		{"no fields", "что это?", Receipt{State: ReceiptAccepted}},
		{"unknown fields", "foo:1 id:77 bar stat:DELIVRD", Receipt{MessageID: "77", State: ReceiptDelivered, Stat: "DELIVRD"}},
		{"unprintable", "id:7\x017 stat:DELIVRD\x7f", Receipt{MessageID: "7", State: ReceiptDelivered, Stat: "DELIVRD"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := readerOf(IDDec, moscow, own).read(&ShortMessage{ESMClass: 4, ShortMessage: []byte(c.text)}, time.Time{})
			c.want.Link = "smsc"
			if !got.Submitted.Equal(c.want.Submitted) || !got.Done.Equal(c.want.Done) {
				t.Errorf("dates %v %v, not %v %v", got.Submitted, got.Done, c.want.Submitted, c.want.Done)
			}
			got.Submitted, got.Done, c.want.Submitted, c.want.Done = time.Time{}, time.Time{}, time.Time{}, time.Time{}
			if got != c.want {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestReceiptParametersBeatText(t *testing.T) {
	t.Parallel()
	m := ShortMessage{ESMClass: 4, ShortMessage: []byte("id:26 stat:ENROUTE err:001"), TLVs: []TLV{
		{TagReceiptedMessageID, []byte("1A\x00")}, {TagMessageState, []byte{5}}, {TagNetworkErrorCode, []byte{3, 0, 219}},
	}}
	got := readerOf(IDAuto, time.UTC, ErrorMap{}).read(&m, time.Time{})
	if got.MessageID != "1A" || got.AlternateID != "" || got.State != ReceiptUndelivered || got.Stat != "UNDELIV" || got.Code != "219" {
		t.Fatalf("%+v", got)
	}
	if !isReceipt(&ShortMessage{TLVs: m.TLVs}) || isReceipt(&ShortMessage{ShortMessage: []byte("id:1")}) || !isReceipt(&ShortMessage{ESMClass: 0x20}) {
		t.Fatal("what is a receipt")
	}
}

func TestReceiptInUCS2(t *testing.T) {
	t.Parallel()
	m := ShortMessage{ESMClass: 4, DataCoding: 8, ShortMessage: appendText(nil, UCS2, "id:5 stat:DELIVRD text:привет")}
	if got := readerOf(IDDec, time.UTC, ErrorMap{}).read(&m, time.Time{}); got.MessageID != "5" || got.State != ReceiptDelivered {
		t.Fatalf("%+v", got)
	}
}

func TestEveryMessageState(t *testing.T) {
	t.Parallel()
	want := map[byte]ReceiptState{1: ReceiptAccepted, 2: ReceiptDelivered, 3: ReceiptExpired, 4: ReceiptUndelivered,
		5: ReceiptUndelivered, 6: ReceiptAccepted, 7: ReceiptAccepted, 8: ReceiptUndelivered}
	for state := range byte(255) {
		got, stat, known := stateOfTLV(state)
		if known != (want[state] != "") || got != want[state] {
			t.Errorf("%d: %q", state, got)
		}
		if byText, _ := stateOfStat(stat); known && byText != got {
			t.Errorf("%d: text %q says %q", state, stat, byText)
		}
	}
}

func TestMessageIDsMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		base           IDBase
		seen           string // an earlier response
		response       string
		text, tlv      string
		by             string // "id" or "alternate"
		noAlternateFor bool
	}{
		{"decimal", IDDec, "", "0012345", "12345", "", "id", true},
		{"decimal padded in the receipt", IDDec, "", "12345", "0000012345", "", "id", true},
		{"hex and decimal", IDHex, "", "1a2b3c", "1715004", "", "id", true},
		{"hex without letters and decimal", IDHex, "", "00000016", "22", "", "id", true},
		{"hex in the parameter", IDHex, "", "16", "22", "16", "id", true},
		{"decimal in both of the receipt", IDHex, "", "16", "22", "22", "id", true},
		{"hex in the parameter alone", IDHex, "", "0000001A", "", "1a", "id", true},
		{"hex twenty digits", IDHex, "", "FFFFFFFFFFFFFFFF", "18446744073709551615", "", "id", true},
		{"hex beyond 64 bits", IDHex, "", "10000000000000000", "18446744073709551616", "", "id", true},
		{"auto, same", IDAuto, "", "12345", "12345", "", "id", false},
		{"auto, other base, nothing seen", IDAuto, "", "16", "22", "", "alternate", false},
		{"auto, other base, letters seen", IDAuto, "1A", "16", "22", "", "id", false},
		{"auto, hexadecimal in the receipt only", IDAuto, "", "1715004", "1a2b3c", "", "alternate", false},
		{"auto, letters in both", IDAuto, "1A", "2B", "2b", "", "id", true},
		{"auto, text confirms the parameter", IDAuto, "", "16", "22", "16", "id", true},
		{"uuid", IDAuto, "", "6f9619ff-8b86-4000", "6f9619ff-8b86-4000", "", "id", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ids := messageIDs{base: c.base}
			if c.seen != "" {
				ids.response(c.seen)
			}
			want := ids.response(c.response)
			id, alternate := ids.receipt(c.text, c.tlv)
			if c.by == "id" && id != want || c.by == "alternate" && alternate != want {
				t.Fatalf("response %q, receipt %q or %q", want, id, alternate)
			}
			if c.noAlternateFor && alternate != "" {
				t.Fatalf("doubt where there is none: %q", alternate)
			}
		})
	}
}

func TestReceiptsInHexAreLearnt(t *testing.T) {
	t.Parallel()
	ids := messageIDs{base: IDAuto}
	ids.response("1A")
	ids.receipt("1a", "")
	if id, _ := ids.receipt("22", ""); id != "22" {
		t.Fatalf("%q: an SMSC that writes hexadecimal in receipts too was not noticed", id)
	}
}

func FuzzReceipt(f *testing.F) {
	f.Add("id:1234567890 sub:001 dlvrd:001 submit date:2611220532 done date:2611220532 stat:DELIVRD err:000 Text:x", "1A\x00", byte(4))
	f.Add("id:,stat:,err:", "", byte(8))
	f.Fuzz(func(t *testing.T, text, tlv string, coding byte) {
		m := ShortMessage{ESMClass: 4, DataCoding: coding, ShortMessage: []byte(text), TLVs: []TLV{
			{TagReceiptedMessageID, []byte(tlv)}, {TagMessageState, []byte(tlv)}, {TagNetworkErrorCode, []byte(tlv)},
		}}
		for _, base := range []IDBase{IDAuto, IDHex, IDDec} {
			r := readerOf(base, time.UTC, ErrorMap{}).read(&m, time.Time{})
			if len(r.MessageID) > 255 || len(r.Stat) > 16 || len(r.Code) > 16 || strings.ContainsAny(r.Stat+r.Code, " \n\x00") || r.State == "" {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func TestIncomingParts(t *testing.T) {
	t.Parallel()
	text := appendText(nil, UCS2, "длинный 😀 ответ")
	mid := 2*8 + 2 // inside the pair
	udh8 := func(seq byte, part []byte) []byte { return append([]byte{5, 0, 3, 0xAB, 2, seq}, part...) }
	udh16 := func(seq byte, part []byte) []byte { return append([]byte{6, 8, 4, 0x01, 0xAB, 2, seq}, part...) }
	sar := func(seq byte) []TLV {
		return []TLV{{TagSARMsgRefNum, []byte{1, 0xAB}}, {TagSARTotalSegments, []byte{2}}, {TagSARSegmentSeqnum, []byte{seq}}}
	}
	for _, c := range []struct {
		name  string
		parts [2]ShortMessage
		ref   uint16
	}{
		{"8-bit reference", [2]ShortMessage{{ESMClass: 0x40, DataCoding: 8, ShortMessage: udh8(1, text[:mid])}, {ESMClass: 0x40, DataCoding: 8, ShortMessage: udh8(2, text[mid:])}}, 0xAB},
		{"16-bit reference", [2]ShortMessage{{ESMClass: 0x40, DataCoding: 8, ShortMessage: udh16(1, text[:mid])}, {ESMClass: 0x40, DataCoding: 8, ShortMessage: udh16(2, text[mid:])}}, 0x1AB},
		{"SAR", [2]ShortMessage{{DataCoding: 2, ShortMessage: text[:mid], TLVs: sar(1)}, {DataCoding: 2, ShortMessage: text[mid:], TLVs: sar(2)}}, 0x1AB},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var parts []Incoming
			for i := range c.parts {
				in := newIncoming("smsc", time.Time{}, 2, &c.parts[i])
				if want := (Concat{Ref: c.ref, Total: 2, Seq: uint8(i + 1)}); in.Concat != want {
					t.Fatalf("%+v, not %+v", in.Concat, want)
				}
				parts = append(parts, in)
			}
			if got, exact := JoinParts(parts); got != "длинный 😀 ответ" || !exact {
				t.Fatalf("%q %t", got, exact)
			}
		})
	}
	broken := ShortMessage{ESMClass: 0x40, ShortMessage: []byte{200, 1, 2}}
	if in := newIncoming("smsc", time.Time{}, 8, &broken); in.Concat != (Concat{}) {
		t.Fatalf("%+v", in)
	}
}
