package smpptest

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"time"

	"ekc/smpp"
)

const (
	readBuffer = 64 << 10
	maxOut     = 1 << 20 // octets waiting for a client that does not read; its own PDUs wait meanwhile
	lingerTime = time.Second
)

// link is one connection. Fields below conn are guarded by Server.mu.
type link struct {
	s    *Server
	no   int // from 1, in order of connecting
	conn net.Conn

	acct   *account // nil until bound
	tx, rx bool

	out       []byte // PDUs the writer has not taken
	spare     []byte
	responses int        // submit_sm_resp among out
	work      *sync.Cond // the writer waits for out
	room      *sync.Cond // the reader waits for the writer
	closing   bool       // write what is in out, then close
	closed    bool
	unbinding bool

	seq         uint32               // of our own requests
	unacked     map[uint32]*delivery // deliver_sm without a response, by sequence_number
	outstanding int                  // submit_sm not answered on the wire
	heard       time.Time            // when anything last came
	open        concat               // the message whose segments are coming
	msg         smpp.ShortMessage    // reused by every PDU
}

func newLink(s *Server, no int, conn net.Conn) *link {
	return &link{
		s: s, no: no, conn: conn,
		work: sync.NewCond(&s.mu), room: sync.NewCond(&s.mu),
		unacked: map[uint32]*delivery{},
	}
}

func (l *link) raw() net.Conn {
	if c, ok := l.conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return l.conn
}

// read takes whatever has come, a batch under one hold of the mutex.
func (l *link) read() {
	defer l.s.wg.Done()
	defer l.gone()
	_ = l.conn.SetReadDeadline(time.Now().Add(l.s.cfg.BindTimeout))
	buf := make([]byte, readBuffer)
	have := 0
	for {
		n, err := l.conn.Read(buf[have:])
		have += n
		if n > 0 {
			used, need := l.take(buf[:have])
			have = copy(buf, buf[used:have])
			if need > len(buf) {
				buf = append(make([]byte, 0, need), buf[:have]...)[:need]
			}
		}
		if err != nil {
			return
		}
	}
}

// take handles the whole PDUs of b and says how many octets they were, and how long the PDU is that b only begins.
func (l *link) take(b []byte) (used, need int) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines != nil {
		defer func() { s.nudge(s.now.Add(flushEvery)) }()
	}
	for s.paused && !l.closed {
		s.resumed.Wait()
	}
	s.now = time.Now()
	l.heard = s.now
	for !l.closed && !l.closing {
		for len(l.out) > maxOut && !l.closed {
			l.room.Wait()
			s.now = time.Now()
		}
		if len(b)-used < smpp.HeaderLen {
			return used, smpp.HeaderLen
		}
		p := b[used:]
		n := binary.BigEndian.Uint32(p)
		seq := binary.BigEndian.Uint32(p[12:])
		if n < smpp.HeaderLen || n > smpp.MaxPDU {
			s.rec.stats.Malformed++
			l.header(smpp.GenericNack, smpp.StatusInvCmdLen, seq)
			l.finish()
			break
		}
		if int(n) > len(p) {
			return used, int(n)
		}
		l.handle(smpp.Header{
			Length:   n,
			Command:  smpp.CommandID(binary.BigEndian.Uint32(p[4:])),
			Status:   smpp.Status(binary.BigEndian.Uint32(p[8:])),
			Sequence: seq,
		}, p[smpp.HeaderLen:n])
		used += int(n)
	}
	return len(b), 0 // closing: the rest is read and thrown away, so that what was written still arrives
}

func (l *link) handle(h smpp.Header, body []byte) {
	s := l.s
	switch h.Command {
	case smpp.SubmitSM:
		l.submit(h.Sequence, body)
	case smpp.DeliverSMResp:
		l.answered(h.Sequence, h.Status)
	case smpp.EnquireLink:
		s.rec.stats.EnquireLinks++
		l.header(smpp.EnquireLinkResp, smpp.StatusOK, h.Sequence)
	case smpp.EnquireLinkResp:
	case smpp.BindReceiver, smpp.BindTransmitter, smpp.BindTransceiver:
		l.bind(h, body)
	case smpp.Unbind:
		l.header(smpp.UnbindResp, smpp.StatusOK, h.Sequence)
		l.finish()
	case smpp.UnbindResp:
		if l.unbinding {
			l.finish()
		}
	case smpp.GenericNack:
		s.rec.stats.NacksReceived++
		l.answered(h.Sequence, cmp.Or(h.Status, smpp.StatusUnknownErr))
	default:
		if !h.Command.IsResponse() {
			s.rec.stats.Malformed++
			l.header(smpp.GenericNack, smpp.StatusInvCmdID, h.Sequence)
		}
	}
}

func (l *link) bind(h smpp.Header, body []byte) {
	s, resp := l.s, h.Command.Response()
	var b smpp.Bind
	if err := b.Decode(body); err != nil {
		s.rec.stats.Malformed++
		l.refuseBind(resp, smpp.StatusInvMsgLen, h.Sequence)
		return
	}
	if l.acct != nil {
		l.out = smpp.AppendBindResp(l.out, resp, h.Sequence, smpp.StatusAlyBnd, "")
		l.work.Signal()
		return
	}
	if r := refusalOf(b.SystemID); r != nil {
		switch {
		case r.silent:
			s.rec.stats.BindsRefused++
		case r.drop:
			s.rec.stats.BindsRefused++
			l.finish()
		default:
			l.refuseBind(resp, r.status, h.Sequence)
		}
		return
	}
	limit := s.cfg.MaxBinds
	if len(s.cfg.Accounts) > 0 {
		i := slices.IndexFunc(s.cfg.Accounts, func(a Account) bool { return a.SystemID == b.SystemID })
		if i < 0 {
			l.refuseBind(resp, smpp.StatusInvSysID, h.Sequence)
			return
		}
		if s.cfg.Accounts[i].Password != b.Password {
			l.refuseBind(resp, smpp.StatusInvPaswd, h.Sequence)
			return
		}
		limit = cmp.Or(s.cfg.Accounts[i].MaxBinds, limit)
	}
	if s.refuse != smpp.StatusOK {
		l.refuseBind(resp, s.refuse, h.Sequence)
		return
	}
	a := s.account(b.SystemID)
	if limit > 0 && len(a.links) >= limit {
		l.refuseBind(resp, smpp.StatusAlyBnd, h.Sequence)
		return
	}
	l.acct = a
	l.tx = h.Command != smpp.BindReceiver
	l.rx = h.Command != smpp.BindTransmitter
	a.links = append(a.links, l)
	s.rec.stats.Binds++
	_ = l.conn.SetReadDeadline(time.Time{})
	l.out = smpp.AppendBindResp(l.out, resp, h.Sequence, smpp.StatusOK, s.cfg.SystemID)
	l.work.Signal()
	if l.rx {
		for _, d := range s.orphans {
			d.account = a
			a.waiting.push(d)
		}
		s.orphans = nil
		a.pump(s)
		s.after(s.cfg.RedeliverIdle/2, task{f: l.sweep})
	}
	if s.cfg.EnquireLink > 0 {
		s.after(s.cfg.EnquireLink, task{f: l.enquire})
	}
}

func (l *link) refuseBind(resp smpp.CommandID, status smpp.Status, seq uint32) {
	l.s.rec.stats.BindsRefused++
	l.out = smpp.AppendBindResp(l.out, resp, seq, status, "")
	l.finish()
}

func (l *link) header(cmd smpp.CommandID, status smpp.Status, seq uint32) {
	l.out = smpp.AppendHeaderOnly(l.out, cmd, status, seq)
	l.work.Signal()
}

func (l *link) nextSeq() uint32 {
	for {
		l.seq = l.seq%0x7FFFFFFF + 1
		if l.unacked[l.seq] == nil {
			return l.seq
		}
	}
}

func (l *link) unbind() {
	if l.acct == nil || l.closed || l.unbinding {
		return
	}
	l.unbinding = true
	l.header(smpp.Unbind, smpp.StatusOK, l.nextSeq())
	l.s.after(lingerTime, task{f: l.finish})
}

func (l *link) enquire() {
	s := l.s
	if l.closed || l.closing {
		return
	}
	if !s.paused {
		if s.now.Sub(l.heard) > 2*s.cfg.EnquireLink {
			l.finish()
			return
		}
		l.header(smpp.EnquireLink, smpp.StatusOK, l.nextSeq())
	}
	s.after(s.cfg.EnquireLink, task{f: l.enquire})
}

// sweep offers again what the client has left unanswered for too long.
func (l *link) sweep() {
	s := l.s
	if l.closed || l.closing {
		return
	}
	if !s.paused {
		for seq, d := range l.unacked {
			if s.since()-d.offered >= s.cfg.RedeliverIdle {
				delete(l.unacked, seq)
				s.rec.stats.Unanswered++
				l.acct.waiting.push(d)
			}
		}
		l.acct.pump(s)
	}
	s.after(s.cfg.RedeliverIdle/2, task{f: l.sweep})
}

// finish closes the link once what is in out has been written; nothing that comes after is handled.
func (l *link) finish() {
	if !l.closing && !l.closed {
		l.closing = true
		l.leave()
		l.work.Signal()
	}
}

// stop ends the link at once; the caller closes the connection.
func (l *link) stop() {
	if !l.closed {
		l.closed = true
		l.leave()
		l.work.Broadcast()
		l.room.Broadcast()
		l.s.resumed.Broadcast()
	}
}

// leave takes the link off its account and hands back what the client has not acknowledged, oldest first.
func (l *link) leave() {
	a := l.acct
	if a == nil {
		return
	}
	a.links = slices.DeleteFunc(a.links, func(o *link) bool { return o == l })
	seqs := make([]uint32, 0, len(l.unacked))
	for seq := range l.unacked {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		a.waiting.push(l.unacked[seq])
	}
	clear(l.unacked)
	a.pump(l.s)
}

// gone is the reader's last act.
func (l *link) gone() {
	l.s.lock()
	l.stop()
	delete(l.s.links, l)
	l.s.mu.Unlock()
	l.conn.Close()
}

// write sends what has gathered, one write for all of it.
func (l *link) write() {
	s := l.s
	defer s.wg.Done()
	for {
		s.mu.Lock()
		for !l.closed && (s.paused || len(l.out) == 0 && !l.closing) {
			l.work.Wait()
		}
		if l.closed {
			s.mu.Unlock()
			return
		}
		b, responses, last := l.out, l.responses, l.closing
		l.out, l.spare, l.responses = l.spare[:0], nil, 0
		s.mu.Unlock()

		_ = l.conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
		_, err := l.conn.Write(b)

		s.mu.Lock()
		l.spare = b[:0]
		l.outstanding -= responses
		last = last && len(l.out) == 0
		l.room.Broadcast()
		s.mu.Unlock()
		if err != nil {
			l.conn.Close() // the reader sees it and cleans up
			return
		}
		if last {
			// A close with unread octets would reset the connection and may take our last PDUs with it: say we have
			// finished, and let the reader drain until the client closes too.
			if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
			_ = l.conn.SetReadDeadline(time.Now().Add(lingerTime))
			return
		}
	}
}
