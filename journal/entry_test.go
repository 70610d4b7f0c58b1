package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2025, 11, 22, 12, 0, 0, 123_456_000, time.UTC)

// an attempt as dispatch writes it by the million.
func attempt(list, ordinal int64) Entry {
	return Entry{
		Kind: Attempt, At: noon, Agency: "SFR77", ListNo: list, Notification: list<<24 | ordinal, Sequence: 1, Attempt: 1,
		Channel: "sms", Link: "mts-1", State: "accepted", Segments: 2,
	}
}

func full() Entry {
	return Entry{
		Kind: Outcome, At: noon, Agency: "SFR77", Actor: "petrova", Purpose: "complaint: 12-345/25", ListNo: 7, Notification: 7<<24 | 9,
		Sequence: 3, Attempt: 2, Channel: "sms", Link: "mts-1", State: "delivered", From: "expired", Reason: "late_receipt",
		Code: "000", Segment: 1, Segments: 2, Count: 5, Commitment: bytes.Repeat([]byte{0xab}, 32),
		Data: Fields("zone", "+10", "name", "Владивосток", "none", ""),
	}
}

func TestEntryGoldenBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		entry Entry
		want  string
	}{
		{"the least", Entry{Kind: OptIn, At: time.UnixMicro(1)}, "01" + "066f70745f696e" + "0000000000000001" + "00"},
		{"an attempt", Entry{Kind: Attempt, At: time.UnixMicro(1), Agency: "A", ListNo: 300, State: "x"},
			"01" + "07617474656d7074" + "0000000000000001" + "8301" + "0141" + "ac02" + "0178"},
		{"data", Entry{Kind: OptIn, At: time.UnixMicro(1), Data: Fields("b", "2", "a", "1")},
			"01" + "066f70745f696e" + "0000000000000001" + "808008" + "02" + "01610131" + "01620132"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := c.entry.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(b); got != c.want {
				t.Errorf("version 1 is on disk and in checkpoints for ever\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestEntryComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Entry{"attempt": attempt(3, 4), "all fields": full()} {
		b, err := want.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b[len("before"):])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

func TestAttemptIsSmall(t *testing.T) {
	t.Parallel()
	e := attempt(123_456, 654_321)
	b, err := e.AppendBinary(nil)
	if err != nil || len(b) > 64 {
		t.Errorf("%d bytes, %v: the journal is half of all the writing there is", len(b), err)
	}
}

func TestEveryFieldIsKept(t *testing.T) {
	t.Parallel()
	e := reflect.ValueOf(full())
	for i := range e.NumField() {
		if e.Field(i).IsZero() {
			t.Fatalf("%s is not set in full()", e.Type().Field(i).Name)
		}
		changed := full()
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if e.Type().Field(i).Name == "Kind" {
			changed.Kind = OptIn
		}
		a, b := full(), changed
		x, err1 := a.AppendBinary(nil)
		y, err2 := b.AppendBinary(nil)
		if err1 != nil || err2 != nil || bytes.Equal(x, y) {
			t.Errorf("%s can be changed without changing the bytes (%v, %v)", e.Type().Field(i).Name, err1, err2)
		}
	}
}

func TestEntriesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Entry){
		"no kind":              func(e *Entry) { e.Kind = "" },
		"control character":    func(e *Entry) { e.Code = "a\nb" },
		"NUL":                  func(e *Entry) { e.Reason = "a\x00" },
		"broken UTF-8":         func(e *Entry) { e.Link = "\xff" },
		"long text":            func(e *Entry) { e.State = strings.Repeat("x", maxText+1) },
		"negative number":      func(e *Entry) { e.Attempt = -1 },
		"year 10000":           func(e *Entry) { e.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"far past":             func(e *Entry) { e.At = time.Unix(-1<<60, 0) },
		"unsorted data":        func(e *Entry) { e.Data = []Field{{"b", ""}, {"a", ""}} },
		"a name twice":         func(e *Entry) { e.Data = []Field{{"a", "1"}, {"a", "2"}} },
		"a field with no name": func(e *Entry) { e.Data = []Field{{"", "1"}} },
		"long commitment":      func(e *Entry) { e.Commitment = make([]byte, maxCommitment+1) },
	} {
		t.Run(name, func(t *testing.T) {
			e := full()
			change(&e)
			b, err := e.AppendBinary([]byte("kept"))
			if !errors.Is(err, ErrEntry) || string(b) != "kept" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

func TestBytesThatAreNotCanonical(t *testing.T) {
	t.Parallel()
	const head = "01" + "066f70745f696e" + "0000000000000001"
	for name, text := range map[string]string{
		"empty":               "",
		"another version":     "02" + head[2:] + "00",
		"no kind":             "01" + "00" + "0000000000000001" + "00",
		"cut short":           head,
		"trailing byte":       head + "00" + "00",
		"long form of zero":   head + "8000",
		"unknown field":       head + "80808001",
		"present but zero":    head + "02" + "00",
		"present but empty":   head + "01" + "00",
		"number over 63 bits": head + "02" + "ffffffffffffffffff01",
		"number over 64 bits": head + "02" + "ffffffffffffffffff7f",
		"text past the end":   head + "01" + "05" + "41",
		"control character":   head + "01" + "01" + "0a",
		"time out of range":   "01" + "066f70745f696e" + "7fffffffffffffff" + "00",
		"data not sorted":     head + "808008" + "02" + "01620132" + "01610131",
		"no data":             head + "808008" + "00",
	} {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := Decode(b); !errors.Is(err, ErrEntry) {
				t.Errorf("got %+v, %v", e, err)
			}
		})
	}
}

func TestTextFits(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"DELIVRD":                "DELIVRD",
		"a\r\nb\x00":             "a??b?",
		"\xff":                   "?",
		strings.Repeat("я", 200): strings.Repeat("я", 127),
	} {
		if got := Text(in); got != want || !fits(got, maxText) {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range []Entry{attempt(1, 2), full(), {Kind: OptOut, At: noon}} {
		b, err := e.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		again, err := e.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("decoded %x, encoded %x, %v: an entry must have one form", b, again, err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("attempt", int64(1), "SFR77", int64(1), 3, "code", []byte{1}, "name", "value")
	f.Fuzz(func(t *testing.T, kind string, at int64, agency string, list int64, count int, code string, commitment []byte, name, value string) {
		e := Entry{Kind: Kind(kind), At: time.UnixMicro(at).UTC(), Agency: agency, ListNo: list, Count: count, Code: Text(code), Data: Fields(name, value)}
		if len(commitment) > 0 {
			e.Commitment = commitment
		}
		b, err := e.AppendBinary(nil)
		if err != nil {
			return
		}
		again, err := Decode(b)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v came back as %+v, %v", e, again, err)
		}
	})
}

func FuzzSplitRow(f *testing.F) {
	f.Add([]byte{1, 'a', 2, 'b', 'c'}, 2)
	f.Add([]byte{0x81, 0, 'a'}, 1)
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		entries, err := splitRow(nil, b, count%1000)
		if err == nil && count > 0 && len(entries) != count%1000 {
			t.Errorf("%d entries, want %d", len(entries), count)
		}
	})
}
