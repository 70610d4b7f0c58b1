package smpptest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ekc/smpp"
)

func stateOf(t *testing.T, m smpp.ShortMessage) (id string, state string) {
	t.Helper()
	text := string(m.ShortMessage)
	id, rest, ok := strings.Cut(strings.TrimPrefix(text, "id:"), " ")
	_, rest, ok2 := strings.Cut(rest, "stat:")
	if !ok || !ok2 {
		t.Fatalf("not a receipt: %q", text)
	}
	state, _, _ = strings.Cut(rest, " ")
	v, ok := m.TLV(smpp.TagMessageState)
	if !ok || State(v[0]).String() != state {
		t.Fatalf("message_state %v, text says %s", v, state)
	}
	return id, state
}

// expectReceipts takes the receipts of one message of one segment, in order.
func (c *client) expectReceipts(id string, states ...string) {
	c.t.Helper()
	for _, want := range states {
		_, m := c.receipt()
		gotID, got := stateOf(c.t, m)
		if gotID != id || got != want {
			c.t.Fatalf("receipt %s %s, want %s %s", gotID, got, id, want)
		}
	}
}

// Every row of the table is played over a socket; a row without a script here fails the test.
func TestEachBehaviour(t *testing.T) {
	t.Parallel()
	const sys = "ekc"
	refuse := func(status smpp.Status) func(*testing.T, *Server, *client, string) {
		return func(t *testing.T, s *Server, c *client, to string) {
			for range 2 {
				if got := c.refused(message(to, "раз")); got != status {
					t.Fatalf("%s, want %s", got, status)
				}
			}
			if n := s.Stats().Accepted; n != 0 {
				t.Fatalf("%d accepted", n)
			}
		}
	}
	once := func(status smpp.Status) func(*testing.T, *Server, *client, string) {
		return func(t *testing.T, s *Server, c *client, to string) {
			if got := c.refused(message(to, "раз")); got != status {
				t.Fatalf("%s, want %s", got, status)
			}
			c.expectReceipts(c.accepted(message(to, "раз")), "DELIVRD")
		}
	}
	receipts := func(states ...string) func(*testing.T, *Server, *client, string) {
		return func(t *testing.T, s *Server, c *client, to string) {
			c.expectReceipts(c.accepted(message(to, "раз")), states...)
			c.wantSilence(80 * time.Millisecond)
		}
	}
	failure := func(code string) func(*testing.T, *Server, *client, string) {
		return func(t *testing.T, s *Server, c *client, to string) {
			c.accepted(message(to, "раз"))
			_, m := c.receipt()
			if _, state := stateOf(t, m); state != "UNDELIV" || !bytes.Contains(m.ShortMessage, []byte("err:"+code)) {
				t.Fatalf("%q", m.ShortMessage)
			}
			n, _ := strconv.Atoi(code)
			if v, _ := m.TLV(smpp.TagNetworkErrorCode); !bytes.Equal(v, []byte{3, 0, byte(n)}) {
				t.Fatalf("network_error_code %v", v)
			}
		}
	}
	threeSegments := func(t *testing.T, c *client, to string) (ids []string) {
		t.Helper()
		parts := Incoming{From: "EKC", To: to, Text: strings.Repeat("Ж", 180)}.segments(7)
		if len(parts) != 3 {
			t.Fatalf("%d segments", len(parts))
		}
		for i := range parts {
			parts[i].RegisteredDelivery = 1
			ids = append(ids, c.accepted(&parts[i]))
		}
		return ids
	}
	drop := func(accepted int, states ...string) func(*testing.T, *Server, *client, string) {
		return func(t *testing.T, s *Server, c *client, to string) {
			earlier := c.submit(message("79261234567", "до"))
			c.submit(message(to, "раз"))
			if p := c.want(smpp.SubmitSMResp); p.Sequence != earlier || p.Status != smpp.StatusOK {
				t.Fatalf("the response before the drop was lost")
			}
			c.wantClosed()
			if n := s.MessagesTo(to); n != accepted {
				t.Fatalf("%d accepted, want %d", n, accepted)
			}
			c = bound(t, s, smpp.BindTransceiver, sys)
			c.accepted(message(to, "раз")) // the second copy is not dropped
			var got []string
			for range 1 + len(states) {
				_, m := c.receipt()
				if string(m.Source.Addr) == to {
					_, state := stateOf(t, m)
					got = append(got, state)
				}
			}
			if !slices.Equal(got, states) {
				t.Fatalf("receipts %v, want %v", got, states)
			}
			if n := s.Stats().Doubles; n != accepted {
				t.Fatalf("%d doubles, want %d", n, accepted)
			}
		}
	}
	replies := func(want string) func(*testing.T, *Server, *client, string) {
		return func(t *testing.T, s *Server, c *client, to string) {
			c.expectReceipts(c.accepted(message(to, "раз")), "DELIVRD")
			var parts []smpp.ShortMessage
			total := 1
			for len(parts) < total {
				_, m := c.receipt()
				if m.Source.Addr != to || m.Dest.Addr != "2442" || m.ESMClass&0x3C != 0 {
					t.Fatalf("reply from %s to %s, esm_class %#x", m.Source.Addr, m.Dest.Addr, m.ESMClass)
				}
				g, ok := segmentOf(&m)
				if !ok {
					t.Fatal("bad segment")
				}
				total = int(g.total)
				if len(parts) == 0 && total > 1 && int(g.seq) != total {
					t.Fatal("a long reply comes last segment first")
				}
				parts = append([]smpp.ShortMessage{m}, parts...)
			}
			text := ""
			for i := range parts {
				g, _ := segmentOf(&parts[i])
				text += decodeText(parts[i].DataCoding, g.text)
			}
			if text != want {
				t.Fatalf("reply %q, want %q", text, want)
			}
		}
	}

	scripts := map[Code]func(*testing.T, *Server, *client, string){
		OK:                   receipts("DELIVRD"),
		ThrottledOnce:        once(smpp.StatusThrottled),
		QueueFullOnce:        once(smpp.StatusMsgQFul),
		SystemErrorOnce:      once(smpp.StatusSysErr),
		Throttled:            refuse(smpp.StatusThrottled),
		QueueFull:            refuse(smpp.StatusMsgQFul),
		SystemError:          refuse(smpp.StatusSysErr),
		InvalidDestination:   refuse(smpp.StatusInvDstAdr),
		InvalidSource:        refuse(smpp.StatusInvSrcAdr),
		SubmitFailed:         refuse(smpp.StatusSubmitFail),
		Undelivered:          failure("006"),
		Expired:              receipts("EXPIRED"),
		Rejected:             receipts("REJECTD"),
		Deleted:              receipts("DELETED"),
		Unknown:              receipts("UNKNOWN"),
		NoReceipt:            receipts(),
		EnrouteDelivered:     receipts("ENROUTE", "DELIVRD"),
		AcceptedDelivered:    receipts("ACCEPTD", "DELIVRD"),
		UndeliveredDelivered: receipts("UNDELIV", "DELIVRD"),
		DeliveredUndelivered: receipts("DELIVRD", "UNDELIV"),
		ReceiptTwice:         receipts("DELIVRD", "DELIVRD"),
		SIMReplaced:          failure("219"),
		NoSuchNumber:         failure("001"),
		ReceiptFirst: func(t *testing.T, s *Server, c *client, to string) {
			c.submit(message(to, "раз"))
			first, second := c.next(), c.next()
			if first.Command != smpp.DeliverSM || second.Command != smpp.SubmitSMResp {
				t.Fatalf("%s, then %s", first.Command, second.Command)
			}
			id, _ := smpp.DecodeMessageID(second.body)
			if got, _ := stateOf(t, first.short(t)); got != id {
				t.Fatalf("receipt of %s, response %s", got, id)
			}
		},
		SameSequence: func(t *testing.T, s *Server, c *client, to string) {
			c.seq = 4000
			seq := c.submit(message(to, "раз"))
			first, second := c.next(), c.next()
			if first.Command != smpp.DeliverSM || first.Sequence != seq || second.Command != smpp.SubmitSMResp || second.Sequence != seq {
				t.Fatalf("%s %d, then %s %d, want both under %d", first.Command, first.Sequence, second.Command, second.Sequence, seq)
			}
		},
		ReceiptOtherBase: func(t *testing.T, s *Server, c *client, to string) {
			id := c.accepted(message(to, "раз"))
			_, m := c.receipt()
			got, _ := stateOf(t, m)
			n, err := strconv.ParseUint(got, 16, 64)
			if err != nil || strconv.FormatUint(n, 10) != id || got == id {
				t.Fatalf("receipt of %s, response %s", got, id)
			}
		},
		ReceiptLate: func(t *testing.T, s *Server, c *client, to string) {
			id := c.accepted(message(to, "раз"))
			c.wantSilence(150 * time.Millisecond)
			c.expectReceipts(id, "DELIVRD")
		},
		ReceiptForeign: func(t *testing.T, s *Server, c *client, to string) {
			id := c.accepted(message(to, "раз"))
			_, m := c.receipt()
			if got, _ := stateOf(t, m); got == id {
				t.Fatal("the first receipt is not foreign")
			}
			c.expectReceipts(id, "DELIVRD")
		},
		LastSegmentLate: func(t *testing.T, s *Server, c *client, to string) {
			ids := threeSegments(t, c, to)
			c.expectReceipts(ids[0], "DELIVRD")
			c.expectReceipts(ids[1], "DELIVRD")
			c.wantSilence(150 * time.Millisecond)
			c.expectReceipts(ids[2], "DELIVRD")
		},
		SegmentUndelivered: func(t *testing.T, s *Server, c *client, to string) {
			ids := threeSegments(t, c, to)
			c.expectReceipts(ids[0], "DELIVRD")
			c.expectReceipts(ids[1], "UNDELIV")
			c.expectReceipts(ids[2], "DELIVRD")
		},
		DropAfterSubmit:  drop(1, "DELIVRD", "DELIVRD"),
		DropWithoutTrace: drop(1, "DELIVRD"),
		DropBeforeAccept: drop(0, "DELIVRD"),
		NoResponse: func(t *testing.T, s *Server, c *client, to string) {
			c.submit(message(to, "раз"))
			if _, state := stateOf(t, c.next().short(t)); state != "DELIVRD" {
				t.Fatal(state)
			}
			c.wantSilence(150 * time.Millisecond)
		},
		NoResponseNoTrace: func(t *testing.T, s *Server, c *client, to string) {
			c.submit(message(to, "раз"))
			c.wantSilence(150 * time.Millisecond)
			if s.MessagesTo(to) != 1 {
				t.Fatal("not accepted")
			}
			c.expectReceipts(c.accepted(message(to, "раз")), "DELIVRD")
		},
		SlowResponse: func(t *testing.T, s *Server, c *client, to string) {
			start := time.Now()
			c.accepted(message(to, "раз"))
			if d := time.Since(start); d < 90*time.Millisecond {
				t.Fatalf("answered in %v", d)
			}
		},
		Nack: func(t *testing.T, s *Server, c *client, to string) {
			seq := c.submit(message(to, "раз"))
			if p := c.next(); p.Command != smpp.GenericNack || p.Sequence != seq || p.Status == smpp.StatusOK {
				t.Fatalf("%s %d %s", p.Command, p.Sequence, p.Status)
			}
			if n := s.Stats().Accepted; n != 0 {
				t.Fatalf("%d accepted", n)
			}
		},
		UnbindAfter: func(t *testing.T, s *Server, c *client, to string) {
			id := c.accepted(message(to, "раз"))
			p := c.want(smpp.Unbind)
			c.header(smpp.UnbindResp, smpp.StatusOK, p.Sequence)
			c.wantClosed()
			bound(t, s, smpp.BindTransceiver, sys).expectReceipts(id, "DELIVRD")
		},
		ReplyStop:     replies("СТОП"),
		ReplyStopWord: replies(" stop. "),
		ReplyYes:      replies("Да"),
		ReplyLong:     replies(longReply),
		ReplyLong16:   replies(longReply),
		ReplyLongSAR:  replies(longReply),
		ReplyEmpty:    replies(""),
	}
	for _, b := range Behaviours() {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			script := scripts[b.Code]
			if script == nil {
				t.Fatal("no script for this row")
			}
			s := NewServer(t)
			script(t, s, bound(t, s, smpp.BindTransceiver, sys), Number(17, b.Code))
		})
	}
}

func TestCodeOfLeavesOrdinaryNumbersAlone(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]Code{
		"79170000040":  ReplyStop,
		"+79170000040": ReplyStop,
		"89170000040":  ReplyStop,
		"9170000040":   ReplyStop,
		"79170000000":  OK,
		"79170000099":  OK, // no such row
		"79171000040":  OK,
		"79170001040":  OK,
		"74950000040":  OK, // not a mobile number
		"77010000040":  OK, // Kazakhstan
		"179170000040": OK,
		"40":           OK,
		"":             OK,
		"EKC":          OK,
	} {
		if got := CodeOf(number); got != want {
			t.Errorf("%q: %d, want %d", number, got, want)
		}
	}
	seen := map[string]bool{}
	for _, b := range Behaviours() {
		if b.Russian == "" || b.English == "" || b.Name == "" || seen[b.Name] {
			t.Errorf("row %d lacks a title or repeats a name", b.Code)
		}
		seen[b.Name] = true
		if got := CodeOf(Number(999, b.Code)); got != b.Code {
			t.Errorf("Number(%d) asks for %d", b.Code, got)
		}
	}
	var ru, en strings.Builder
	if err := WriteTable(&ru, false); err != nil {
		t.Fatal(err)
	}
	if err := WriteTable(&en, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(ru.String(), "СТОП") || !strings.Contains(en.String(), "the link closes") || strings.Count(ru.String(), "\n") != len(behaviours)+len(bindRefusals)+3 {
		t.Error(fmt.Sprint("table is incomplete:\n", ru.String()))
	}
}
