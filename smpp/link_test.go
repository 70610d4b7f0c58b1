package smpp_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ekc/smpp"
	"ekc/smpp/smpptest"
)

const threeSegments = "Соцзащита: вам положена компенсация за ЖКУ как ветерану труда. Узнать больше: 8-800-100-00-01. Отказ: СТОП. " +
	"Это сообщение нарочно длинное, чтобы заняло три части"

func TestEveryMessageArrivesOnceWithItsReceipts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*smpp.Config)
		server func(*smpptest.Config)
	}{
		{"one transceiver", func(*smpp.Config) {}, nil},
		{"three transceivers, small windows", func(c *smpp.Config) { c.Binds, c.Window = 3, 3 }, nil},
		{"transmitters and receivers", func(c *smpp.Config) { c.Bind, c.Binds = smpp.TXRX, 2 }, nil},
		{"SAR", func(c *smpp.Config) { c.LongText = smpp.LongSAR }, nil},
		{"UCS-2 as 2", func(c *smpp.Config) { c.UCS2Coding = 2 }, nil},
		{"window of one", func(c *smpp.Config) { c.Window = 1 }, nil},
		{"hexadecimal ids, decimal receipts", func(c *smpp.Config) { c.MessageIDBase = smpp.IDHex }, func(c *smpptest.Config) { c.IDFormat, c.Dialect = smpptest.Hex, smpptest.TextOnly }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := smpptest.NewServer(t, smpptest.With(func(cfg *smpptest.Config) {
				if c.server != nil {
					c.server(cfg)
				}
			}))
			link := start(t, srv, func(cfg *smpp.Config, _ *smpp.Handlers) { c.change(cfg) })
			const n = 60
			link.send(messages(n, smpptest.OK, threeSegments))
			results := link.waitResults(3 * n)
			if v := verdicts(t, results); v[smpp.Accepted] != 3*n {
				t.Fatalf("%v", v)
			}
			link.wait("receipts", func() bool { return len(link.receipts) == 3*n })
			sent := map[string]bool{}
			for _, r := range results {
				sent[r.MessageID] = true
			}
			for _, r := range link.receipts {
				if !sent[r.MessageID] || r.State != smpp.ReceiptDelivered {
					t.Fatalf("receipt for %q %s matches no submit", r.MessageID, r.State)
				}
				delete(sent, r.MessageID)
			}
			s := srv.Stats()
			if s.Messages != n || s.Doubles != 0 || s.NotAdjacent != 0 || s.Incomplete != 0 {
				t.Fatalf("%+v", s)
			}
			for _, m := range srv.Messages() {
				if !strings.HasPrefix(m.Text, threeSegments) || m.Segments != 3 {
					t.Fatalf("shown as %d segments, %q", m.Segments, m.Text)
				}
			}
		})
	}
}

func TestPayloadGoesAsOne(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.LongText = smpp.LongPayload })
	link.Start([]smpp.Message{message(1, smpptest.OK, threeSegments)})
	if r := link.waitResults(1); r[0].Verdict != smpp.Accepted || r[0].Segments != 1 {
		t.Fatalf("%+v", r)
	}
	if m := srv.Messages(); len(m) != 1 || m[0].Text != threeSegments {
		t.Fatalf("%+v", m)
	}
}

func TestCollidingSequenceNumbersLoseNothing(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, nil)
	const n = 300
	link.send(messages(n, smpptest.SameSequence, "проверка"))
	if v := verdicts(t, link.waitResults(n)); v[smpp.Accepted] != n {
		t.Fatalf("%v", v)
	}
	link.wait("receipts", func() bool { return len(link.receipts) == n })
	waitServer(t, srv, "all acknowledged", func(s smpptest.Stats) bool { return s.ReceiptsAcked == n && s.Waiting() == 0 })
}

func TestReceiptBeforeResponseAndTwice(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.SlowResponse = 50 * time.Millisecond }))
	link := start(t, srv, nil)
	link.Start([]smpp.Message{message(1, smpptest.ReceiptFirst, "раз"), message(2, smpptest.ReceiptTwice, "два"), message(3, smpptest.ReceiptForeign, "три")})
	results := link.waitResults(3)
	link.wait("receipts", func() bool { return len(link.receipts) >= 4 })
	if v := verdicts(t, results); v[smpp.Accepted] != 3 {
		t.Fatalf("%v", v)
	}
	for _, r := range results {
		for _, rec := range link.receipts {
			if r.ID == 1 && rec.MessageID == r.MessageID && !rec.At.Before(r.AnsweredAt) {
				t.Error("the receipt did not come first; the test shows nothing")
			}
		}
	}
}

func TestSlowHandlerDelaysNoResponse(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) {
		c.ReceiptDelay, c.EnquireLink = time.Millisecond, 200*time.Millisecond
	}))
	release := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	entered := make(chan struct{}, 1000)
	var answers atomic.Int64
	link := start(t, srv, func(c *smpp.Config, h *smpp.Handlers) {
		h.Receipts = func(r []smpp.Receipt, done func(error)) {
			entered <- struct{}{}
			<-release
			answers.Add(int64(len(r)))
			done(nil)
		}
	})
	t.Cleanup(goOn) // before the link's own: it ends with its handlers
	link.send(messages(1, smpptest.OK, "первое"))
	<-entered // the handler is stuck from here on
	link.send(messages(500, smpptest.OK, "проверка"))
	for _, r := range link.waitResults(501) {
		if r.Verdict != smpp.Accepted {
			t.Fatalf("%+v", r)
		}
	}
	time.Sleep(500 * time.Millisecond) // two of the SMSC's enquire_link, after which it closes a link that says nothing
	if srv.Stats().LinksOpen != 1 {
		t.Fatal("the link was closed over an unanswered enquire_link")
	}
	if s := srv.Stats(); s.ReceiptsAcked != 0 {
		t.Fatalf("%d receipts acknowledged that nobody stored", s.ReceiptsAcked)
	}
	goOn()
	waitServer(t, srv, "acknowledged in the end", func(s smpptest.Stats) bool { return s.ReceiptsAcked == 501 })
}

func TestRefusedReceiptIsOfferedAgain(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	var calls atomic.Int64
	link := start(t, srv, func(c *smpp.Config, h *smpp.Handlers) {
		h.Receipts = func(r []smpp.Receipt, done func(error)) {
			if calls.Add(1) == 1 {
				go done(errors.New("the database is away"))
				return
			}
			done(nil)
		}
	})
	link.Start([]smpp.Message{message(1, smpptest.OK, "раз")})
	waitServer(t, srv, "refused, then acknowledged", func(s smpptest.Stats) bool { return s.ReceiptsRefused == 1 && s.ReceiptsAcked == 1 })
}

func TestLinkLostAfterSubmitIsUncertain(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, nil)
	batch := []smpp.Message{message(1, smpptest.NoResponse, "раз"), message(2, smpptest.NoResponse, threeSegments), message(3, smpptest.DropAfterSubmit, "три")}
	link.Start(batch)
	results := link.waitResults(5)
	for _, r := range results {
		if r.Written != (r.Verdict == smpp.Uncertain) || r.Verdict != smpp.Uncertain && r.Verdict != smpp.NotSent {
			t.Errorf("%+v", r)
		}
		if r.Written && r.At.IsZero() {
			t.Error("written without a stamp")
		}
	}
	written := 0
	for _, r := range results {
		if r.Written {
			written++
		}
	}
	if got := srv.Stats().Submitted; written < got {
		t.Fatalf("%d reached the SMSC, only %d are uncertain", got, written)
	}
	link.wait("bound again", func() bool { return link.count(smpp.Bound) == 2 })
	link.Start([]smpp.Message{message(4, smpptest.OK, "снова")})
	if r := link.waitResults(6)[5]; r.Verdict != smpp.Accepted {
		t.Fatalf("%+v", r)
	}
}

func TestNothingIsWrittenOnceMayWriteSaysNo(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	var allowed atomic.Int64
	allowed.Store(1 << 30)
	link := start(t, srv, func(c *smpp.Config, h *smpp.Handlers) {
		c.Rate, c.Binds = 50, 2
		h.MayWrite = func() bool { return allowed.Add(-1) >= 0 }
	})
	link.send(messages(40, smpptest.OK, threeSegments))
	link.waitResults(10)
	allowed.Store(0)
	select {
	case <-link.ended:
	case <-time.After(patience):
		t.Fatal("the link goes on")
	}
	if !errors.Is(link.err, smpp.ErrFenced) {
		t.Fatalf("%v", link.err)
	}
	results := link.waitResults(120)
	v, written := verdicts(t, results), 0
	for _, r := range results {
		if r.Written {
			written++
		}
	}
	if v[smpp.NotSent] == 0 || v[smpp.NotSent]+v[smpp.Accepted]+v[smpp.Uncertain] != 120 {
		t.Fatalf("%v", v)
	}
	if got := srv.Stats().Submitted; got > written {
		t.Fatalf("%d at the SMSC, %d reported as written", got, written)
	}
	for i := len(results) - 1; i >= 0 && results[i].Verdict == smpp.NotSent; i-- {
		if results[i].Reason != smpp.ReasonFenced {
			t.Fatalf("%+v", results[i])
		}
	}
}

func TestRateHoldsOverAllBinds(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	const rate = 60
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.Rate, c.Binds = rate, 3 })
	link.send(messages(50, smpptest.OK, threeSegments))
	results := link.waitResults(150)
	smpp.CheckStamps(t, results, rate)
	if s := srv.Stats(); s.NotAdjacent != 0 {
		t.Fatalf("%d segments not adjacent", s.NotAdjacent)
	}
	first, last := results[0].At, results[0].At
	for _, r := range results {
		if r.At.Before(first) {
			first = r.At
		}
		if r.At.After(last) {
			last = r.At
		}
	}
	if took := last.Sub(first); took > 4*time.Second {
		t.Errorf("150 segments at %d/s took %v", rate, took)
	}
}

func TestThrottledMessageGoesFirst(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.Window, c.Rate = 1, 100 })
	batch := append([]smpp.Message{message(1, smpptest.ThrottledOnce, "раз")}, message(2, smpptest.OK, "два"), message(3, smpptest.OK, "три"))
	link.Start(batch)
	results := link.waitResults(3)
	if v := verdicts(t, results); v[smpp.Accepted] != 3 {
		t.Fatalf("%v", v)
	}
	if first := srv.Submitted()[0]; first.Text != "раз" {
		t.Fatalf("%q went before the throttled message", first.Text)
	}
	if s := link.Stats(); s.Throttled != 1 || s.Rate >= 100 {
		t.Fatalf("%d throttled, rate %d", s.Throttled, s.Rate)
	}
}

func TestVerdictOfEachAnswer(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, nil)
	want := map[smpptest.Code]smpp.SegmentResult{
		smpptest.QueueFull:          {Verdict: smpp.TemporaryTail, Reason: smpp.ReasonQueueFull, Status: smpp.StatusMsgQFul},
		smpptest.SystemError:        {Verdict: smpp.Temporary, Reason: smpp.ReasonSystemError, Status: smpp.StatusSysErr},
		smpptest.InvalidDestination: {Verdict: smpp.Permanent, Reason: smpp.ReasonInvalidNumber, Status: smpp.StatusInvDstAdr},
		smpptest.InvalidSource:      {Verdict: smpp.Misconfigured, Reason: smpp.ReasonInvalidSender, Status: smpp.StatusInvSrcAdr},
		smpptest.SubmitFailed:       {Verdict: smpp.Temporary, Reason: smpp.ReasonSubmitFailed, Status: smpp.StatusSubmitFail},
	}
	for code := range want {
		link.Start([]smpp.Message{message(uint64(code), code, "x")})
	}
	link.Start([]smpp.Message{message(uint64(smpptest.Nack), smpptest.Nack, "x")})
	for _, r := range link.waitResults(len(want) + 1) {
		if r.ID == uint64(smpptest.Nack) {
			if r.Verdict == smpp.Accepted || r.Verdict == smpp.Uncertain || r.Status == smpp.StatusOK {
				t.Errorf("generic_nack: %+v", r)
			}
			continue
		}
		w := want[smpptest.Code(r.ID)]
		if r.Verdict != w.Verdict || r.Reason != w.Reason || r.Status != w.Status || r.AnsweredAt.IsZero() {
			t.Errorf("%d: %+v", r.ID, r)
		}
	}
}

func TestRestOfARefusedMessageIsNotWritten(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.Window = 1 })
	link.Start([]smpp.Message{message(1, smpptest.InvalidDestination, threeSegments)})
	for _, r := range link.waitResults(3) {
		if r.Verdict != smpp.Permanent || r.Reason != smpp.ReasonInvalidNumber || r.Written != (r.Segment == 0) {
			t.Errorf("%+v", r)
		}
	}
	if n := srv.Stats().Submitted; n != 1 {
		t.Errorf("%d segments written", n)
	}
}

func TestOddPDUDoesNotDropTheLink(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, nil)
	long := make([]byte, smpp.MaxPDU+5000)
	copy(long, smpp.AppendHeaderOnly(nil, smpp.DeliverSM, 0, 77))
	long[0], long[1], long[2], long[3] = 0, byte(len(long)>>16), byte(len(long)>>8), byte(len(long))
	truncated := smpp.AppendHeaderOnly(nil, smpp.DeliverSM, 0, 78)
	for name, pdu := range map[string][]byte{
		"unknown command":     smpp.AppendHeaderOnly(nil, 0x0BAD, 0, 71),
		"query_sm":            smpp.AppendHeaderOnly(nil, smpp.QuerySM, 0, 72),
		"submit_sm":           smpp.AppendSubmitSM(nil, 73, &smpp.ShortMessage{}),
		"alert_notification":  smpp.AppendHeaderOnly(nil, smpp.AlertNotification, 0, 74),
		"outbind":             smpp.AppendHeaderOnly(nil, smpp.Outbind, 0, 75),
		"stray response":      smpp.AppendSubmitSMResp(nil, 4000, smpp.StatusOK, "x"),
		"stray generic_nack":  smpp.AppendHeaderOnly(nil, smpp.GenericNack, smpp.StatusInvCmdID, 0),
		"empty deliver_sm":    truncated,
		"longer than allowed": long,
	} {
		srv.Inject(pdu)
		link.Start([]smpp.Message{message(1, smpptest.OK, name)})
	}
	if v := verdicts(t, link.waitResults(9)[:1]); v[smpp.Accepted] != 1 {
		t.Fatalf("%v", v)
	}
	for _, r := range link.waitResults(9) {
		if r.Verdict != smpp.Accepted {
			t.Fatalf("%+v", r)
		}
	}
	waitServer(t, srv, "generic_nack for what cannot be served", func(s smpptest.Stats) bool { return s.NacksReceived == 4 })
	if link.count(smpp.Bound) != 1 {
		t.Fatal("the link was dropped")
	}
}

func TestUnbindFromTheSMSC(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, nil)
	link.Start([]smpp.Message{message(1, smpptest.NoResponse, "раз")})
	waitServer(t, srv, "submitted", func(s smpptest.Stats) bool { return s.Submitted == 1 })
	srv.Unbind()
	if r := link.waitResults(1)[0]; r.Verdict != smpp.Uncertain || r.Reason != smpp.ReasonLinkLost {
		t.Fatalf("%+v", r)
	}
	link.wait("bound again", func() bool { return link.count(smpp.Bound) == 2 })
}

func TestLateResponseIsStillReported(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.SlowResponse = 600 * time.Millisecond }))
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.ResponseTimeout = 150 * time.Millisecond })
	link.Start([]smpp.Message{message(1, smpptest.SlowResponse, "раз")})
	r := link.waitResults(2)
	if r[0].Verdict != smpp.Uncertain || r[0].Reason != smpp.ReasonNoResponse || r[0].Late || !r[0].Written {
		t.Fatalf("%+v", r[0])
	}
	if r[1].Verdict != smpp.Accepted || !r[1].Late || r[1].MessageID == "" || r[1].ID != 1 {
		t.Fatalf("%+v", r[1])
	}
}

func TestDeadPeerIsNoticed(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) {
		c.EnquireLink, c.ResponseTimeout = 50*time.Millisecond, 300*time.Millisecond
	})
	waitServer(t, srv, "enquire_link", func(s smpptest.Stats) bool { return s.EnquireLinks >= 3 })
	if link.count(smpp.Lost) != 0 {
		t.Fatal("an answering peer was given up")
	}
	srv.Pause()
	link.wait("lost", func() bool { return link.count(smpp.Lost) == 1 })
	srv.Resume()
	link.wait("bound again", func() bool { return link.count(smpp.Bound) == 2 })
}

func TestBeforeWithholds(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, func(_ *smpp.Config, h *smpp.Handlers) {
		h.Before = func(m *smpp.Message) bool { return m.ID != 2 }
	})
	late := message(4, smpptest.OK, "поздно")
	late.ValidityUntil = time.Now().Add(-time.Minute)
	link.Start([]smpp.Message{message(1, smpptest.OK, "раз"), message(2, smpptest.OK, threeSegments), message(3, smpptest.OK, "три"), late})
	for _, r := range link.waitResults(6) {
		want, reason := smpp.Accepted, smpp.ReasonNone
		switch r.ID {
		case 2:
			want, reason = smpp.Withheld, smpp.ReasonHeldBack
		case 4:
			want, reason = smpp.Withheld, smpp.ReasonOutOfTime
		}
		if r.Verdict != want || r.Reason != reason || r.Written != (want == smpp.Accepted) {
			t.Errorf("%+v", r)
		}
	}
	if n := srv.Stats().Submitted; n != 2 {
		t.Fatalf("%d submitted", n)
	}
}

func TestDrainFinishesWhatIsWritten(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.Latency = 200 * time.Millisecond }))
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.Window = 4 })
	link.Start(messages(4, smpptest.OK, "раз"))
	waitServer(t, srv, "on the wire", func(s smpptest.Stats) bool { return s.Submitted == 4 })
	link.Start(messages(2, smpptest.OK, "в очереди"))
	link.Drain()
	if link.Room() != 0 {
		t.Fatal("room while draining")
	}
	link.Start([]smpp.Message{message(9, smpptest.OK, "после")})
	var accepted, back int
	for _, r := range link.waitResults(7) {
		switch {
		case r.Verdict == smpp.Accepted && r.Written:
			accepted++
		case r.Verdict == smpp.NotSent && (r.Reason == smpp.ReasonDraining || r.Reason == smpp.ReasonNoRoom):
			back++
		default:
			t.Errorf("%+v", r)
		}
	}
	if accepted != 4 || back != 3 {
		t.Fatalf("%d accepted, %d came back", accepted, back)
	}
	link.stop()
	<-link.ended
	if link.err != nil || srv.Stats().LinksOpen != 0 {
		t.Fatalf("%v", link.err)
	}
}

func TestRoomBoundsTheQueue(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.Rate, c.Window = 10, 1000 })
	if room := link.Room(); room != 10 {
		t.Fatalf("room %d", room)
	}
	link.Start(messages(50, smpptest.OK, "раз"))
	v := verdicts(t, link.waitResults(50))
	if v[smpp.NotSent] < 35 || v[smpp.NotSent]+v[smpp.Accepted] != 50 {
		t.Fatalf("%v", v)
	}
}

func TestNothingIsTakenWhileUnbound(t *testing.T) {
	t.Parallel()
	got := make(chan []smpp.SegmentResult, 1)
	link := smpp.NewLink(smpp.Config{Name: "smsc", Addr: "127.0.0.1:1"}, smpp.Handlers{Results: func(r []smpp.SegmentResult) { got <- r }}, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = link.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	if link.Room() != 0 {
		t.Fatal("room without a bind")
	}
	link.Start([]smpp.Message{message(1, smpptest.OK, "раз")})
	if r := <-got; r[0].Verdict != smpp.NotSent || r[0].Reason != smpp.ReasonNotBound {
		t.Fatalf("%+v", r)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server, client, err := smpptest.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	srv := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.TLS = server }))
	link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) { c.TLS = client })
	link.Start([]smpp.Message{message(1, smpptest.OK, "раз")})
	if r := link.waitResults(1); r[0].Verdict != smpp.Accepted {
		t.Fatalf("%+v", r)
	}
}

func TestIncomingMessages(t *testing.T) {
	t.Parallel()
	srv := smpptest.NewServer(t)
	link := start(t, srv, nil)
	n := srv.Deliver(smpptest.Incoming{From: "79031234567", To: "2442", Text: threeSegments, Concat: smpptest.UDH16})
	link.wait("parts", func() bool { return len(link.messages) == n })
	waitServer(t, srv, "acknowledged", func(s smpptest.Stats) bool { return s.IncomingAcked == n })
	if text, exact := smpp.JoinParts(link.messages); text != threeSegments || !exact || link.messages[0].From.Addr != "79031234567" {
		t.Fatalf("%q", text)
	}
}

func TestValidityIsWritten(t *testing.T) {
	t.Parallel()
	for validity, want := range map[smpp.Validity]string{smpp.ValidityRelative: "000001015959000R", smpp.ValidityAbsolute: "310203040506012+"} {
		srv := smpptest.NewServer(t)
		now := time.Now()
		link := start(t, srv, func(c *smpp.Config, _ *smpp.Handlers) {
			c.Validity, c.ReceiptTimeZone = validity, time.FixedZone("MSK", 3*3600)
		})
		m := message(1, smpptest.OK, "раз")
		m.ValidityUntil = now.Add(26 * time.Hour)
		if validity == smpp.ValidityAbsolute {
			m.ValidityUntil = time.Date(2031, 2, 3, 1, 5, 6, 0, time.UTC)
			want = "310203040506012+"
		}
		link.Start([]smpp.Message{m})
		link.waitResults(1)
		if got := srv.Submitted()[0].ValidityPeriod; got != want {
			t.Errorf("%s: %q, not %q", validity, got, want)
		}
	}
}

func TestValidateTellsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	err := smpp.Config{Bind: "rx", Window: -1, EnquireLink: time.Second, LongText: "x", MessageIDBase: "y", Validity: "z"}.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, word := range []string{"name", "addr", "system_id", "bind", "window", "enquire_link", "long_text", "message_id_base", "validity"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s is not told", word)
		}
	}
	if err := (smpp.Config{Name: "a", Addr: "b:1", SystemID: "c"}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestPassportHoldsNoSecret(t *testing.T) {
	t.Parallel()
	link := smpp.NewLink(smpp.Config{Name: "smsc", Addr: "a:1", SystemID: "ekc", Password: "hunter22", Rate: 30}, smpp.Handlers{}, slog.New(slog.DiscardHandler), time.Now)
	p := link.Passport()
	if strings.Contains(p, "hunter22") || !strings.Contains(p, "rate=30/s") || !strings.Contains(p, "window=10") {
		t.Fatal(p)
	}
}
