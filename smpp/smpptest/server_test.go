package smpptest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"ekc/smpp"
)

func TestRefusedBinds(t *testing.T) {
	t.Parallel()
	s := NewServer(t, With(func(c *Config) { c.BindTimeout = 100 * time.Millisecond }))
	for _, r := range BindRefusals() {
		t.Run(r.SystemID, func(t *testing.T) {
			t.Parallel()
			c := dial(t, s)
			if r.silent || r.drop {
				c.send(smpp.AppendBind(nil, smpp.BindTransceiver, 1, &smpp.Bind{SystemID: r.SystemID}))
				c.wantClosed() // at once, or when the time to bind is over
				return
			}
			if got := c.bind(smpp.BindTransceiver, r.SystemID, ""); got != r.status {
				t.Fatalf("%s, want %s", got, r.status)
			}
			c.wantClosed()
		})
	}
}

func TestAccountsAndMaxBinds(t *testing.T) {
	t.Parallel()
	s := NewServer(t, With(func(c *Config) {
		c.Accounts = []Account{{SystemID: "one", Password: "p1", MaxBinds: 1}, {SystemID: "two", Password: "p2"}}
	}))
	for _, k := range []struct {
		id, password string
		want         smpp.Status
	}{
		{"one", "p2", smpp.StatusInvPaswd},
		{"three", "p1", smpp.StatusInvSysID},
		{"one", "p1", smpp.StatusOK},
		{"one", "p1", smpp.StatusAlyBnd},
		{"two", "p2", smpp.StatusOK},
		{"two", "p2", smpp.StatusOK},
	} {
		if got := dial(t, s).bind(smpp.BindTransceiver, k.id, k.password); got != k.want {
			t.Errorf("%s/%s: %s, want %s", k.id, k.password, got, k.want)
		}
	}
	s.RefuseBinds(smpp.StatusSysErr)
	if got := dial(t, s).bind(smpp.BindTransceiver, "two", "p2"); got != smpp.StatusSysErr {
		t.Errorf("while refusing: %s", got)
	}
	s.RefuseBinds(smpp.StatusOK)
	if got := dial(t, s).bind(smpp.BindTransceiver, "two", "p2"); got != smpp.StatusOK {
		t.Errorf("after refusing: %s", got)
	}
}

func TestUnboundConnectionIsClosed(t *testing.T) {
	t.Parallel()
	s := NewServer(t, With(func(c *Config) { c.BindTimeout = 50 * time.Millisecond }))
	dial(t, s).wantClosed()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server, client, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(t, With(func(c *Config) { c.TLS = server }))
	c := dialTLS(t, s, client)
	if st := c.bind(smpp.BindTransceiver, "ekc", ""); st != smpp.StatusOK {
		t.Fatal(st)
	}
	c.expectReceipts(c.accepted(message("79261234567", "раз")), "DELIVRD")
	s.DropLinks()
	c.wantClosed()
}

// Receipts go to the receiver, and submit_sm is refused there.
func TestSeparateTransmitterAndReceiver(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	tx, rx := bound(t, s, smpp.BindTransmitter, "ekc"), bound(t, s, smpp.BindReceiver, "ekc")
	if got := rx.refused(message("79261234567", "раз")); got != smpp.StatusInvBndSts {
		t.Fatal(got)
	}
	rx.expectReceipts(tx.accepted(message("79261234567", "раз")), "DELIVRD")
	tx.wantSilence(60 * time.Millisecond)
}

// With two binds of one system_id a receipt may come by either, and both are used.
func TestReceiptsComeByAllLinksInTurn(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	a, b := bound(t, s, smpp.BindTransceiver, "ekc"), bound(t, s, smpp.BindTransceiver, "ekc")
	for range 4 {
		a.accepted(message("79261234567", "раз"))
	}
	for _, c := range []*client{a, b, a, b} {
		c.receipt()
	}
	await(t, s, "acknowledged", func(st Stats) bool { return st.ReceiptsAcked == 4 && st.LinksOpen == 2 })
	a.header(smpp.Unbind, smpp.StatusOK, 99)
	a.want(smpp.UnbindResp)
	b.accepted(message("79261234567", "два"))
	b.receipt()
}

func TestNamesOfFormats(t *testing.T) {
	t.Parallel()
	for i, name := range idFormatNames {
		var f IDFormat
		if err := f.UnmarshalText([]byte(name)); err != nil || int(f) != i {
			t.Errorf("%s: %d, %v", name, f, err)
		}
	}
	for i, name := range dialectNames {
		var d Dialect
		if err := d.UnmarshalText([]byte(name)); err != nil || int(d) != i {
			t.Errorf("%s: %d, %v", name, d, err)
		}
		if b, err := d.MarshalText(); err != nil || string(b) != name {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	if new(Dialect).UnmarshalText([]byte("latin")) == nil {
		t.Error("an unknown name was taken")
	}
}

func TestReceiptIsOfferedUntilItIsAcknowledged(t *testing.T) {
	t.Parallel()
	const to = "79261234567"
	s := NewServer(t)
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	id := c.accepted(message(to, "раз"))

	// Refused for now.
	p := c.want(smpp.DeliverSM)
	c.send(smpp.AppendDeliverSMResp(nil, p.Sequence, smpp.StatusTempAppErr))
	// Not answered in time.
	p = c.want(smpp.DeliverSM)
	if again := c.want(smpp.DeliverSM); again.Sequence == p.Sequence || !bytes.Equal(again.body, p.body) {
		t.Fatal("the unanswered receipt came otherwise than the first time")
	}
	// The link is lost.
	s.DropLinks()
	c.wantClosed()
	other := bound(t, s, smpp.BindTransceiver, "another")
	other.wantSilence(60 * time.Millisecond)
	tx := bound(t, s, smpp.BindTransmitter, "ekc")
	tx.wantSilence(60 * time.Millisecond)
	c = bound(t, s, smpp.BindReceiver, "ekc")
	c.expectReceipts(id, "DELIVRD")
	await(t, s, "acknowledged", func(st Stats) bool { return st.ReceiptsAcked == 1 && st.Waiting() == 0 })
	st := s.Stats()
	if st.Receipts != 1 || st.ReceiptsOffered != 4 || st.ReceiptsRefused != 1 || st.Unanswered != 1 {
		t.Fatalf("%+v", st)
	}
	if r := s.Receipts(); len(r) != 1 || r[0].MessageID != id || r[0].Offers != 4 || !r[0].Done {
		t.Fatalf("%+v", r)
	}
	c.wantSilence(150 * time.Millisecond)

	// Refused for good.
	if n := s.Redeliver(to); n != 1 {
		t.Fatalf("%d redelivered", n)
	}
	p = c.want(smpp.DeliverSM)
	c.send(smpp.AppendDeliverSMResp(nil, p.Sequence, smpp.StatusRejectAppErr))
	await(t, s, "rejected", func(st Stats) bool { return st.ReceiptsRejected == 1 && st.Waiting() == 0 })
	c.wantSilence(150 * time.Millisecond)
}

func TestDeliverWindowHoldsReceiptsBack(t *testing.T) {
	t.Parallel()
	s := NewServer(t, With(func(c *Config) { c.DeliverWindow = 2; c.RedeliverIdle = time.Minute }))
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	for range 5 {
		c.accepted(message("79261234567", "раз"))
	}
	first, second := c.want(smpp.DeliverSM), c.want(smpp.DeliverSM)
	c.wantSilence(80 * time.Millisecond)
	for _, p := range []pdu{first, second} {
		c.send(smpp.AppendDeliverSMResp(nil, p.Sequence, smpp.StatusOK))
	}
	for range 3 {
		c.receipt()
	}
	await(t, s, "all", func(st Stats) bool { return st.ReceiptsAcked == 5 })
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	s.Pause()
	seq := c.submit(message("79261234567", "раз"))
	c.wantSilence(100 * time.Millisecond)
	if n := s.Stats().Accepted; n != 0 {
		t.Fatalf("%d accepted while paused", n)
	}
	s.Resume()
	if p := c.want(smpp.SubmitSMResp); p.Sequence != seq {
		t.Fatal(p.Sequence)
	}
	s.Pause() // Close must not wait for Resume
}

func TestUnbindFromEitherSide(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	s.Unbind()
	p := c.want(smpp.Unbind)
	c.header(smpp.UnbindResp, smpp.StatusOK, p.Sequence)
	c.wantClosed()
	c = bound(t, s, smpp.BindTransceiver, "ekc")
	c.header(smpp.Unbind, smpp.StatusOK, 77)
	if p := c.want(smpp.UnbindResp); p.Sequence != 77 {
		t.Fatal(p.Sequence)
	}
	c.wantClosed()
	await(t, s, "no links", func(st Stats) bool { return st.LinksOpen == 0 })
}

func TestEnquireLinkBothWays(t *testing.T) {
	t.Parallel()
	s := NewServer(t, With(func(c *Config) { c.EnquireLink = 50 * time.Millisecond }))
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	c.header(smpp.EnquireLink, smpp.StatusOK, 5)
	if p := c.want(smpp.EnquireLinkResp); p.Sequence != 5 {
		t.Fatal(p.Sequence)
	}
	for range 4 { // answered, the link lives past two intervals
		c.header(smpp.EnquireLinkResp, smpp.StatusOK, c.want(smpp.EnquireLink).Sequence)
	}
	c.wantClosed() // not answered
}

func TestRateAndWindowLimits(t *testing.T) {
	t.Parallel()
	s := NewServer(t, With(func(c *Config) { c.Rate = 5 }))
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	for i := range 7 {
		want := smpp.StatusOK
		if i >= 5 {
			want = smpp.StatusThrottled
		}
		if got := c.refused(message("79261234567", "раз")); got != want {
			t.Fatalf("message %d: %s, want %s", i, got, want)
		}
	}
	if st := s.Stats(); st.MaxPerSecond != 7 || st.Refused[smpp.StatusThrottled] != 2 {
		t.Fatalf("%+v", st)
	}

	s = NewServer(t, With(func(c *Config) { c.Window = 3; c.Latency = 100 * time.Millisecond }))
	c = bound(t, s, smpp.BindTransceiver, "ekc")
	for range 5 {
		c.submit(message("79261234567", "раз"))
	}
	var statuses []smpp.Status
	for range 5 {
		statuses = append(statuses, c.want(smpp.SubmitSMResp).Status)
	}
	if statuses[2] != smpp.StatusOK || statuses[3] != smpp.StatusThrottled || statuses[4] != smpp.StatusThrottled {
		t.Fatal(statuses)
	}
	if st := s.Stats(); st.MaxOutstanding != 5 {
		t.Fatalf("max outstanding %d", st.MaxOutstanding)
	}
	await(t, s, "answered", func(Stats) bool { return c.refused(message("79261234567", "два")) == smpp.StatusOK })
}

func TestIncoming(t *testing.T) {
	t.Parallel()
	const from, to = "79261234567", "2442"
	for _, k := range []struct {
		name   string
		in     Incoming
		count  int
		coding byte
	}{
		{"empty", Incoming{}, 1, 0},
		{"latin 160", Incoming{Text: strings.Repeat("a", 160)}, 1, 0},
		{"latin 161", Incoming{Text: strings.Repeat("a", 161)}, 2, 0},
		{"latin 306", Incoming{Text: strings.Repeat("a", 306)}, 2, 0},
		{"latin 305 in 16 bits", Incoming{Text: strings.Repeat("a", 305), Concat: UDH16}, 3, 0},
		{"extension at the cut", Incoming{Text: strings.Repeat("a", 152) + "€" + strings.Repeat("b", 20)}, 2, 0},
		{"cyrillic 70", Incoming{Text: strings.Repeat("ё", 70)}, 1, 8},
		{"cyrillic 71", Incoming{Text: strings.Repeat("ё", 71)}, 2, 8},
		{"emoji at the cut", Incoming{Text: strings.Repeat("ё", 66) + "😀" + strings.Repeat("ё", 66)}, 3, 8},
		{"sar", Incoming{Text: strings.Repeat("ё", 201), Concat: SAR, Shuffle: true}, 3, 8},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := NewServer(t)
			k.in.From, k.in.To = from, to
			if n := s.Deliver(k.in); n != k.count { // nobody has bound yet
				t.Fatalf("%d segments, want %d", n, k.count)
			}
			c := bound(t, s, smpp.BindTransceiver, "ekc")
			texts := make([]string, k.count)
			for range k.count {
				_, m := c.receipt()
				g, ok := segmentOf(&m)
				if !ok || m.Source.Addr != from || m.Dest.Addr != to || m.DataCoding != k.coding || len(m.ShortMessage) > 160 {
					t.Fatalf("%+v", m)
				}
				if k.coding == 8 && len(m.ShortMessage) > 140 {
					t.Fatalf("%d octets", len(m.ShortMessage))
				}
				texts[g.seq-1] = decodeText(m.DataCoding, g.text)
			}
			if got := strings.Join(texts, ""); got != k.in.Text {
				t.Fatalf("%q", got)
			}
			await(t, s, "acknowledged", func(st Stats) bool { return st.IncomingAcked == k.count && st.Waiting() == 0 })
		})
	}
	s := NewServer(t)
	if n := s.Deliver(Incoming{From: from, To: to, Text: strings.Repeat("ё", 201), Hold: 2, SystemID: "ekc"}); n != 2 {
		t.Fatalf("%d segments of a message with one held back", n)
	}
}

func TestFormsOfIDsAndReceipts(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name   string
		change func(*Config)
		id     string
		text   string // up to the dates
		end    string
		tlv    bool
	}{
		{"decimal", func(c *Config) {}, "1234567891", "id:1234567891 sub:001 dlvrd:001 submit date:", " stat:DELIVRD err:000 Text:", true},
		{"hex", func(c *Config) { c.IDFormat = Hex }, "499602D3", "id:499602D3 ", "", true},
		{"64 bits", func(c *Config) { c.IDFormat = Decimal64 }, "9223372038089343699", "id:9223372038089343699 ", "", true},
		{"uuid", func(c *Config) { c.IDFormat = UUID }, "6f9619ff-8b86-4000-8000-0000499602d3", "id:6f9619ff-8b86-4000-8000-0000499602d3 ", "", true},
		{"text only", func(c *Config) { c.Dialect = TextOnly }, "1234567891", "id:1234567891 ", " err:000 Text:", false},
		{"seconds", func(c *Config) { c.Dialect = Seconds }, "1234567891", "id:1234567891 ", " stat:DELIVRD err:000 text:", false},
		{"comma", func(c *Config) { c.Dialect = Comma }, "1234567891", "id:1234567891,sub:001,dlvrd:001,submit date:", ",stat:DELIVRD,err:000,Text:", false},
		{"parameters", func(c *Config) { c.Dialect = TLVOnly }, "1234567891", "", "", true},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := NewServer(t, func(c *Config) { c.FirstID = 1234567890 }, k.change)
			c := bound(t, s, smpp.BindTransceiver, "ekc")
			if id := c.accepted(message("79261234567", "раз")); id != k.id {
				t.Fatalf("id %s, want %s", id, k.id)
			}
			_, m := c.receipt()
			if text := string(m.ShortMessage); !strings.HasPrefix(text, k.text) || !strings.HasSuffix(text, k.end) || k.text == "" && text != "" {
				t.Fatalf("%q", text)
			}
			v, ok := m.TLV(smpp.TagReceiptedMessageID)
			if ok != k.tlv || ok && string(v) != k.id+"\x00" {
				t.Fatalf("receipted_message_id %q", v)
			}
		})
	}
}

func TestRubbishEndsOrIsAnswered(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	header := func(length, cmd, seq uint32) []byte {
		b := make([]byte, 16)
		binary.BigEndian.PutUint32(b, length)
		binary.BigEndian.PutUint32(b[4:], cmd)
		binary.BigEndian.PutUint32(b[12:], seq)
		return b
	}
	for name, b := range map[string][]byte{
		"http":      []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"too short": header(8, uint32(smpp.SubmitSM), 1),
		"too long":  header(1<<30, uint32(smpp.SubmitSM), 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := bound(t, s, smpp.BindTransceiver, "ekc")
			c.send(b)
			if p := c.next(); p.Command != smpp.GenericNack || p.Status != smpp.StatusInvCmdLen {
				t.Fatalf("%s %s", p.Command, p.Status)
			}
			c.wantClosed()
		})
	}
	c := bound(t, s, smpp.BindTransceiver, "ekc")
	c.send(header(16, 0x00010203, 41))
	if p := c.next(); p.Command != smpp.GenericNack || p.Sequence != 41 || p.Status != smpp.StatusInvCmdID {
		t.Fatalf("%s %s", p.Command, p.Status)
	}
	c.send(append(header(20, uint32(smpp.SubmitSM), 42), 0, 1, 1, '7'))
	if p := c.next(); p.Command != smpp.SubmitSMResp || p.Status != smpp.StatusInvMsgLen {
		t.Fatalf("%s %s", p.Command, p.Status)
	}
	for name, k := range map[string]struct {
		change func(*smpp.ShortMessage)
		want   smpp.Status
	}{
		"destination": {func(m *smpp.ShortMessage) { m.Dest.Addr = "восемь" }, smpp.StatusInvDstAdr},
		"validity":    {func(m *smpp.ShortMessage) { m.ValidityPeriod = "tomorrow" }, smpp.StatusInvExpiry},
		"schedule":    {func(m *smpp.ShortMessage) { m.ScheduleDeliveryTime = "261122" }, smpp.StatusInvSched},
		"user data":   {func(m *smpp.ShortMessage) { m.ESMClass = 0x40; m.ShortMessage = []byte{200, 1, 2} }, smpp.StatusInvESMClass},
		"segment 3/2": {func(m *smpp.ShortMessage) { m.ESMClass = 0x40; m.ShortMessage = []byte{5, 0, 3, 1, 2, 3} }, smpp.StatusInvESMClass},
	} {
		m := message("79261234567", "раз")
		k.change(m)
		if got := c.refused(m); got != k.want {
			t.Errorf("%s: %s, want %s", name, got, k.want)
		}
	}
	if got := dial(t, s).refused(message("79261234567", "раз")); got != smpp.StatusInvBndSts {
		t.Errorf("unbound: %s", got)
	}
	c.accepted(message("79261234567", "жив")) // and the link has survived it all
	s.Inject(header(16, 0x00000102, 3))
	if p := c.want(smpp.AlertNotification); p.Sequence != 3 {
		t.Error("not injected")
	}
}

func TestWheelFiresInTimeAcrossRounds(t *testing.T) {
	t.Parallel()
	start := time.Now()
	w := wheel{start: start}
	var fired []time.Duration
	for _, d := range []time.Duration{0, 5, 5, 700, 8191, 8192, 8193, 30_000} {
		d *= time.Millisecond
		w.add(start, d, task{f: func() { fired = append(fired, d) }})
	}
	for now := start; len(fired) < 8; {
		next, ok := w.next()
		if !ok {
			t.Fatal("nothing left")
		}
		if !next.After(now) {
			t.Fatal("time stands")
		}
		now = next
		before := len(fired)
		w.fire(now, func(t task) { t.f() })
		for _, d := range fired[before:] {
			if late := now.Sub(start) - d; late < 0 || late > 2*time.Millisecond {
				t.Fatalf("%v fired at %v", d, now.Sub(start))
			}
		}
	}
	if _, ok := w.next(); ok {
		t.Fatal("something left")
	}
	w.add(start, time.Minute, task{f: func() { fired = nil }})
	w.fire(start.Add(time.Hour), func(t task) { t.f() }) // after a long sleep of the process
	if fired != nil {
		t.Fatal("lost in a long sleep")
	}
}
