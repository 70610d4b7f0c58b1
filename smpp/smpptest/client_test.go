package smpptest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"ekc/smpp"
)

// client is the least ESME that can see what the server does; it answers nothing by itself.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	seq  uint32
	kept []pdu // read while another was waited for
}

type pdu struct {
	smpp.Header
	body []byte
}

func (p pdu) short(t *testing.T) smpp.ShortMessage {
	t.Helper()
	var m smpp.ShortMessage
	if err := m.Decode(p.body); err != nil {
		t.Fatalf("decode %s: %v", p.Command, err)
	}
	return m
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func newClient(t *testing.T, conn net.Conn) *client {
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// bound is a client that has bound as cmd.
func bound(t *testing.T, s *Server, cmd smpp.CommandID, systemID string) *client {
	t.Helper()
	c := dial(t, s)
	if st := c.bind(cmd, systemID, "secret"); st != smpp.StatusOK {
		t.Fatalf("bind: %s", st)
	}
	return c
}

func (c *client) bind(cmd smpp.CommandID, systemID, password string) smpp.Status {
	c.t.Helper()
	c.seq++
	c.send(smpp.AppendBind(nil, cmd, c.seq, &smpp.Bind{SystemID: systemID, Password: password, InterfaceVersion: 0x34}))
	return c.want(cmd.Response()).Status
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) header(cmd smpp.CommandID, st smpp.Status, seq uint32) {
	c.t.Helper()
	c.send(smpp.AppendHeaderOnly(nil, cmd, st, seq))
}

func message(to, text string) *smpp.ShortMessage {
	m := Incoming{From: "EKC", To: to, Text: text}.segments(1)[0]
	m.Source.TON, m.RegisteredDelivery = tonAlphanumeric, 1
	return &m
}

func (c *client) submit(m *smpp.ShortMessage) uint32 {
	c.t.Helper()
	c.seq++
	c.send(smpp.AppendSubmitSM(nil, c.seq, m))
	return c.seq
}

func (c *client) read() (pdu, error) {
	if len(c.kept) > 0 {
		p := c.kept[0]
		c.kept = c.kept[1:]
		return p, nil
	}
	h, body, err := smpp.ReadPDU(c.r, nil)
	return pdu{h, body}, err
}

// next is the next PDU, whatever it is.
func (c *client) next() pdu {
	c.t.Helper()
	p, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return p
}

// want is the next PDU of this command; others wait for their turn.
func (c *client) want(cmd smpp.CommandID) pdu {
	c.t.Helper()
	var passed []pdu
	defer func() { c.kept = append(passed, c.kept...) }()
	for {
		p := c.next()
		if p.Command == cmd {
			return p
		}
		passed = append(passed, p)
	}
}

// accepted submits and gives back the message_id.
func (c *client) accepted(m *smpp.ShortMessage) string {
	c.t.Helper()
	seq := c.submit(m)
	p := c.want(smpp.SubmitSMResp)
	if p.Sequence != seq || p.Status != smpp.StatusOK {
		c.t.Fatalf("submit_sm_resp %d %s, want %d OK", p.Sequence, p.Status, seq)
	}
	id, err := smpp.DecodeMessageID(p.body)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *client) refused(m *smpp.ShortMessage) smpp.Status {
	c.t.Helper()
	c.submit(m)
	return c.want(smpp.SubmitSMResp).Status
}

// receipt takes the next deliver_sm and acknowledges it.
func (c *client) receipt() (seq uint32, m smpp.ShortMessage) {
	c.t.Helper()
	p := c.want(smpp.DeliverSM)
	c.send(smpp.AppendDeliverSMResp(nil, p.Sequence, smpp.StatusOK))
	return p.Sequence, p.short(c.t)
}

func (c *client) wantClosed() {
	c.t.Helper()
	for {
		p, err := c.read()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Fatal("the link stayed open")
			}
			return
		}
		c.t.Logf("before the end: %s", p.Command)
	}
}

// wantSilence fails when a PDU comes within d.
func (c *client) wantSilence(d time.Duration) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(d))
	p, err := c.read()
	if err == nil {
		c.t.Fatalf("unexpected %s", p.Command)
	}
	if errors.Is(err, io.EOF) {
		c.t.Fatal("the link closed")
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
}

func await(t *testing.T, s *Server, what string, ok func(Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Wait(ctx, ok); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, s.Summary())
	}
}

func dialTLS(t *testing.T, s *Server, cfg *tls.Config) *client {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Addr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}
