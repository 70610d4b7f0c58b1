package smpptest

import (
	"fmt"
	"strconv"
	"time"

	"ekc/smpp"
)

const (
	tonInternational = 1
	tonAlphanumeric  = 5
	npiISDN          = 1

	esmReceipt      = 0x04 // SMPP 3.4 §5.2.12
	esmIntermediate = 0x20
)

// delivery is one deliver_sm, a receipt or a segment of a citizen's SMS (part), from its making until ESME_ROK. It is small, for a
// million of them may wait.
type delivery struct {
	account   *account
	from      *sender // of the message the receipt is for
	part      *part
	to        uint64 // the citizen
	id        uint64
	submitted int64         // unix seconds
	offered   time.Duration // last time, since the start of the server
	sameAs    uint32        // sequence_number to take, 0 for the next one
	err       uint16
	offers    uint16
	state     State
	ton, npi  byte
	segment   uint8
	total     uint8
	otherBase bool
	done      bool // ESME_ROK, or refused for good
	status    smpp.Status
}

// queue is first in, first out.
type queue struct {
	items []*delivery
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(d *delivery) { q.items = append(q.items, d) }

func (q *queue) pop() *delivery {
	d := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 1024 && q.head > len(q.items)/2:
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return d
}

// offer sends d on any receiving link of the account, or keeps it until there is one with room.
func (a *account) offer(s *Server, d *delivery) {
	a.waiting.push(d)
	a.pump(s)
}

// offerOn prefers the link the message came by.
func (a *account) offerOn(s *Server, l *link, d *delivery) {
	if l.rx && len(l.unacked) < s.cfg.DeliverWindow {
		s.send(l, d)
		return
	}
	a.offer(s, d)
}

func (a *account) pump(s *Server) {
	for a.waiting.len() > 0 {
		l := a.pick(s.cfg.DeliverWindow)
		if l == nil {
			return
		}
		s.send(l, a.waiting.pop())
	}
}

// pick takes receiving links in turn, so that a receipt comes by another link than its message whenever there is one.
func (a *account) pick(window int) *link {
	for range a.links {
		a.turn++
		if l := a.links[a.turn%len(a.links)]; l.rx && !l.unbinding && len(l.unacked) < window {
			return l
		}
	}
	return nil
}

func (s *Server) send(l *link, d *delivery) {
	seq := d.sameAs
	if seq == 0 || l.unacked[seq] != nil {
		seq = l.nextSeq()
	}
	d.sameAs = 0
	d.offers++
	d.offered = s.since()
	l.unacked[seq] = d
	if d.part != nil {
		l.out = smpp.AppendDeliverSM(l.out, seq, &d.part.msg)
		s.rec.stats.IncomingOffered++
	} else {
		m := s.receipt(d)
		l.out = smpp.AppendDeliverSM(l.out, seq, &m)
		s.rec.stats.ReceiptsOffered++
		if s.lines != nil {
			s.lines.receipt(lineOffered, l, s.messageID(d.id, false), d, smpp.StatusOK, s.now)
		}
	}
	l.work.Signal()
}

// answered takes deliver_sm_resp, or generic_nack in its place.
func (l *link) answered(seq uint32, status smpp.Status) {
	s := l.s
	d := l.unacked[seq]
	if d == nil {
		return
	}
	delete(l.unacked, seq)
	st := &s.rec.stats
	d.status = status
	good := status == smpp.StatusOK
	final := good || status == smpp.StatusPermAppErr || status == smpp.StatusRejectAppErr
	acked, refused, rejected := &st.ReceiptsAcked, &st.ReceiptsRefused, &st.ReceiptsRejected
	if d.part != nil {
		acked, refused, rejected = &st.IncomingAcked, &st.IncomingRefused, &st.IncomingRejected
	} else if s.lines != nil {
		s.lines.receipt(lineAnswered, l, s.messageID(d.id, false), d, status, s.now)
	}
	switch {
	case good:
		*acked++
	case final:
		*rejected++
	default:
		*refused++
		s.after(s.cfg.RedeliverIn, task{d: d})
	}
	d.done = final
	l.acct.pump(s)
}

func (s *Server) since() time.Duration { return s.now.Sub(s.wheel.start) }

// messageID writes an id in the configured form, or in the other numeral base.
func (s *Server) messageID(id uint64, otherBase bool) string {
	var b [20]byte
	base := 10
	switch s.cfg.IDFormat {
	case UUID:
		return fmt.Sprintf("6f9619ff-8b86-4%03x-8%03x-%012x", id>>52&0xFFF, id>>48&0xFFF, id&0xFFFFFFFFFFFF)
	case Hex:
		base = 16
	case Decimal64:
		id |= 1 << 63
	}
	if otherBase {
		base = 26 - base
	}
	out := strconv.AppendUint(b[:0], id, base)
	if base == 16 {
		for i, c := range out {
			if c >= 'a' {
				out[i] = c - 'a' + 'A'
			}
		}
	}
	return string(out)
}

// receipt writes SMPP 3.4 appendix B in the configured dialect.
func (s *Server) receipt(d *delivery) smpp.ShortMessage {
	id := s.messageID(d.id, d.otherBase)
	m := smpp.ShortMessage{
		Source:   smpp.Address{TON: d.ton, NPI: d.npi, Addr: string(appendDigits(make([]byte, 0, 18), d.to))},
		Dest:     d.from.Address,
		ESMClass: esmReceipt,
	}
	if d.state == StateEnroute {
		m.ESMClass = esmIntermediate
	}
	if s.cfg.Dialect != TLVOnly {
		m.ShortMessage = s.appendReceiptText(make([]byte, 0, 128), id, d)
	}
	if s.cfg.Dialect == Standard || s.cfg.Dialect == TLVOnly {
		m.TLVs = []smpp.TLV{
			{Tag: smpp.TagReceiptedMessageID, Value: append([]byte(id), 0)},
			{Tag: smpp.TagMessageState, Value: []byte{byte(d.state)}},
		}
		if d.err != 0 {
			m.TLVs = append(m.TLVs, smpp.TLV{Tag: smpp.TagNetworkErrorCode, Value: []byte{3, byte(d.err >> 8), byte(d.err)}}) // 3 is GSM
		}
	}
	return m
}

func (s *Server) appendReceiptText(b []byte, id string, d *delivery) []byte {
	sep, layout, text := byte(' '), "0601021504", "Text:"
	switch s.cfg.Dialect {
	case Seconds:
		layout, text = "060102150405", "text:"
	case Comma:
		sep = ','
	}
	delivered := "001"
	if d.state != StateDelivered {
		delivered = "000"
	}
	b = append(append(b, "id:"...), id...)
	b = append(append(b, sep), "sub:001"...)
	b = append(append(append(b, sep), "dlvrd:"...), delivered...)
	b = append(append(b, sep), "submit date:"...)
	b = time.Unix(d.submitted, 0).In(s.cfg.ReceiptZone).AppendFormat(b, layout)
	b = append(append(b, sep), "done date:"...)
	b = s.now.In(s.cfg.ReceiptZone).AppendFormat(b, layout)
	b = append(append(append(b, sep), "stat:"...), d.state.String()...)
	b = append(append(b, sep), "err:"...)
	b = append(b, byte('0'+d.err/100%10), byte('0'+d.err/10%10), byte('0'+d.err%10))
	return append(append(b, sep), text...)
}
