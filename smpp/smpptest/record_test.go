package smpptest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ekc/smpp"
)

func TestHistoryIsForPeople(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	c.accepted(message("79261234567", "первое"))
	c.accepted(message(Number(1, EnrouteDelivered), "второе"))
	c.accepted(message(Number(1, NoReceipt), "третье"))
	for range 3 {
		c.receipt()
	}
	await(t, s, "acknowledged", func(st Stats) bool { return st.Waiting() == 0 })
	var out strings.Builder
	if err := s.WriteHistory(&out, 2); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ENROUTE, DELIVRD", "второе", "третье", "нет"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "первое") {
		t.Error("more than asked")
	}
	counts := map[string]int{}
	for to, n := range s.Counts {
		counts[to] = n
	}
	if len(counts) != 3 || counts["79261234567"] != 1 {
		t.Error(counts)
	}
}

func TestRecordFaultIsTold(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("no /dev/full here")
	}
	s := NewServer(t, With(func(c *Config) { c.RecordFile = full }))
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	c.accepted(message("79261234567", "раз"))
	s.Close()
	if s.RecordErr() == nil {
		t.Fatal("a full disk went unnoticed")
	}
}

func TestSegmentsAreCheckedAndPutTogether(t *testing.T) {
	t.Parallel()
	const a, b = "79261234567", "79267654321"
	long := strings.Repeat("длинный ", 20)
	parts := func(to string, ref uint16, how Concat) []smpp.ShortMessage {
		return Incoming{From: "EKC", To: to, Text: long, Concat: how}.segments(ref)
	}
	for _, k := range []struct {
		name                             string
		send                             []smpp.ShortMessage
		messages, notAdjacent, doubles   int
		doubleSegments, incomplete, link int
	}{
		{name: "in order", send: append(parts(a, 1, UDH8), parts(b, 1, UDH8)...), messages: 2},
		{name: "16 bits", send: parts(a, 300, UDH16), messages: 1},
		{name: "sar", send: parts(a, 300, SAR), messages: 1},
		{name: "interleaved", send: func() []smpp.ShortMessage {
			x, y := parts(a, 1, UDH8), parts(b, 2, UDH8)
			return []smpp.ShortMessage{x[0], y[0], x[1], y[1], x[2], y[2]}
		}(), messages: 2, notAdjacent: 5},
		{name: "another reference", send: append(parts(a, 1, UDH8)[:2], parts(a, 2, UDH8)[2]), notAdjacent: 1, incomplete: 2},
		{name: "twice", send: append(parts(a, 1, UDH8), parts(a, 2, UDH8)...), messages: 2, doubles: 1, doubleSegments: 3},
		{name: "half, then whole", send: append(parts(a, 1, UDH8)[:2], parts(a, 2, UDH8)...), messages: 1, notAdjacent: 1, doubleSegments: 2, incomplete: 1},
		{name: "single twice", send: []smpp.ShortMessage{*message(a, "раз"), *message(a, "раз"), *message(b, "раз")}, messages: 3, doubles: 1},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := NewServer(t)
			c := bound(t, s, smpp.BindTransceiver, "ekc")
			for i := range k.send {
				c.accepted(&k.send[i])
			}
			st := s.Stats()
			if st.Messages != k.messages || st.NotAdjacent != k.notAdjacent || st.Doubles != k.doubles ||
				st.DoubleSegments != k.doubleSegments || st.Incomplete != k.incomplete {
				t.Errorf("%+v", st)
			}
			got := s.Messages()
			if len(got) != k.messages {
				t.Fatalf("%d messages put together", len(got))
			}
			for _, m := range got {
				if m.Text != long && m.Text != "раз" {
					t.Errorf("text %q", m.Text)
				}
				if len(m.MessageIDs) != m.Segments || m.From != "EKC" {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}

// A segment refused in the middle may come again alone; that is no fault of the client.
func TestRefusedSegmentMayComeAgain(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	parts := Incoming{From: "EKC", To: Number(0, ThrottledOnce), Text: strings.Repeat("Ж", 180)}.segments(9)
	for i := range parts {
		if got := c.refused(&parts[i]); got != smpp.StatusThrottled {
			t.Fatal(got)
		}
	}
	c.accepted(message("79261234567", "между"))
	for i := range parts {
		c.accepted(&parts[len(parts)-1-i])
	}
	if st := s.Stats(); st.NotAdjacent != 0 || st.Messages != 2 {
		t.Fatalf("%+v", st)
	}

	// Or the whole message may.
	c = bound(t, s, smpp.BindTransceiver, "ekc")
	parts = Incoming{From: "EKC", To: Number(1, ThrottledOnce), Text: strings.Repeat("Ж", 180)}.segments(9)
	c.refused(&parts[0])
	for i := range parts {
		c.submit(&parts[i])
		c.want(smpp.SubmitSMResp)
	}
	if st := s.Stats(); st.NotAdjacent != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestRecordFile(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "record")
		s := NewServer(t, With(func(c *Config) { c.RecordFile, c.RecordText = path, text }))
		c := bound(t, s, smpp.BindTransceiver, "ekc")
		parts := Incoming{From: "EKC", To: "79261234567", Text: strings.Repeat("Ж\t\n", 40)}.segments(9)
		var ids []string
		for i := range parts {
			parts[i].RegisteredDelivery = 1
			ids = append(ids, c.accepted(&parts[i]))
		}
		for range parts {
			c.receipt()
		}
		await(t, s, "acknowledged", func(st Stats) bool { return st.ReceiptsAcked == len(parts) })
		var lines []Line
		await(t, s, "flushed while it runs", func(Stats) bool {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			lines = nil
			if err := ReadRecord(f, func(l Line) error { lines = append(lines, l); return nil }); err != nil {
				t.Fatal(err)
			}
			return len(lines) == 3*len(parts)
		})
		for i, l := range lines[:len(parts)] {
			if l.Kind != lineSubmit || l.MessageID != ids[i] || l.To != "79261234567" || l.From != "EKC" || l.Segment != i+1 ||
				l.Segments != len(parts) || l.Ref != 9 || l.ESMClass != 0x40 || l.SystemID != "ekc" || time.Since(l.At) > time.Minute {
				t.Fatalf("%+v", l)
			}
			if want := s.Submitted()[i].Text; text && l.Text != want || !text && len(l.Text) != 64 {
				t.Fatalf("text %q, want %q", l.Text, want)
			}
		}
		if l := lines[len(lines)-1]; l.Kind != lineAnswered || l.State != "DELIVRD" || l.Status != smpp.StatusOK {
			t.Fatalf("%+v", l)
		}
		if !strings.Contains(s.Summary(), "принято сегментов") {
			t.Fatal(s.Summary())
		}
	}
}

func TestSlidingRate(t *testing.T) {
	t.Parallel()
	var r slidingRate
	for i := range 1000 {
		r.add(time.Duration(i) * 10 * time.Millisecond)
	}
	if r.maxSecond != 100 || r.maxTenth != 10 {
		t.Fatalf("%d a second, %d a tenth, want 100 and 10", r.maxSecond, r.maxTenth)
	}
	if n := r.count(20 * time.Second); n != 0 {
		t.Fatalf("%d left after the second", n)
	}
}
