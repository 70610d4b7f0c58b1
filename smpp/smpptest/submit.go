package smpptest

import (
	"time"

	"ekc/smpp"
)

// segment is what a submit_sm says of its place in a message; total is 1 when it stands alone.
type segment struct {
	concat     Concat
	ref        uint16
	total, seq uint8
	text       []byte // without the user data header
}

// segmentOf reads the user data header or the sar_* parameters; false when they make no sense.
func segmentOf(m *smpp.ShortMessage) (segment, bool) {
	g := segment{total: 1, seq: 1, text: m.Payload()}
	if m.ESMClass&0x40 != 0 { // SMPP 3.4 §5.2.12: UDHI
		if len(g.text) == 0 || int(g.text[0]) >= len(g.text) {
			return g, false
		}
		head := g.text[1 : 1+int(g.text[0])]
		g.text = g.text[1+len(head):]
		for len(head) >= 2 { // 3GPP TS 23.040 §9.2.3.24
			id, n := head[0], int(head[1])
			if 2+n > len(head) {
				return g, false
			}
			v := head[2 : 2+n]
			switch {
			case id == 0x00 && n == 3:
				g.concat, g.ref, g.total, g.seq = UDH8, uint16(v[0]), v[1], v[2]
			case id == 0x08 && n == 4:
				g.concat, g.ref, g.total, g.seq = UDH16, uint16(v[0])<<8|uint16(v[1]), v[2], v[3]
			}
			head = head[2+n:]
		}
	} else if ref, ok := m.TLV(smpp.TagSARMsgRefNum); ok {
		total, okTotal := m.TLV(smpp.TagSARTotalSegments)
		seq, okSeq := m.TLV(smpp.TagSARSegmentSeqnum)
		if !okTotal || !okSeq || len(ref) != 2 || len(total) != 1 || len(seq) != 1 {
			return g, false
		}
		g.concat, g.ref, g.total, g.seq = SAR, uint16(ref[0])<<8|uint16(ref[1]), total[0], seq[0]
	}
	return g, g.seq >= 1 && g.seq <= g.total
}

// validTime is a time of SMPP 3.4 §7.1.1 by its form: YYMMDDhhmmsstnn and + or - (absolute) or R (relative).
func validTime(s string) bool {
	if s == "" {
		return true
	}
	if len(s) != 16 {
		return false
	}
	for i := range 15 {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s[15] == '+' || s[15] == '-' || s[15] == 'R'
}

// concat is the message of many segments that a link is in the middle of.
type concat struct {
	to     uint64
	from   *sender
	concat Concat
	ref    uint16
	total  uint8
	next   uint8 // 0 when none is open
	broken bool  // we refused a segment of it: the client may begin again
}

// follows checks promise "all segments of a message on one link, adjacent, one reference" and keeps the state for it.
func (c *concat) follows(to uint64, from *sender, g segment) bool {
	open := c.next != 0
	if g.seq == 1 {
		fine := !open || c.broken
		*c = concat{}
		if g.total > 1 {
			*c = concat{to: to, from: from, concat: g.concat, ref: g.ref, total: g.total, next: 2}
		}
		return fine
	}
	if !open || c.to != to || c.from != from || c.concat != g.concat || c.ref != g.ref || c.total != g.total || c.next != g.seq {
		*c = concat{}
		return false
	}
	if c.next++; g.seq == g.total {
		*c = concat{}
	}
	return true
}

// refuseSegment notes that the client is free to send this segment alone, or its message from the beginning.
func (l *link) refuseSegment(digest uint64, g segment) {
	if g.total > 1 {
		l.open.broken = true
		l.s.rec.again[digest] = struct{}{}
	}
}

func (l *link) submit(seq uint32, body []byte) {
	s, m := l.s, &l.msg
	st := &s.rec.stats
	if l.acct == nil || !l.tx {
		l.respond(seq, smpp.StatusInvBndSts, 0, 0)
		return
	}
	st.Submitted++
	l.outstanding++
	st.MaxOutstanding = max(st.MaxOutstanding, l.outstanding)
	a := l.acct
	a.rate.add(s.since())
	st.MaxPerSecond = max(st.MaxPerSecond, a.rate.maxSecond)
	st.MaxPer100ms = max(st.MaxPer100ms, a.rate.maxTenth)

	if m.Decode(body) != nil {
		st.Malformed++
		l.respond(seq, smpp.StatusInvMsgLen, 0, 0)
		return
	}
	addr := m.Dest.Addr
	if len(addr) > 0 && addr[0] == '+' {
		addr = addr[1:]
	}
	to, ok := packDigits([]byte(addr))
	if !ok {
		l.respond(seq, smpp.StatusInvDstAdr, 0, 0)
		return
	}
	g, ok := segmentOf(m)
	if !ok {
		l.respond(seq, smpp.StatusInvESMClass, 0, 0)
		return
	}
	switch {
	case !validTime(m.ScheduleDeliveryTime):
		l.respond(seq, smpp.StatusInvSched, 0, 0)
		return
	case !validTime(m.ValidityPeriod):
		l.respond(seq, smpp.StatusInvExpiry, 0, 0)
		return
	}
	from := s.sender(m.Source)
	digest := s.digest(to, from, g)
	if !l.open.follows(to, from, g) && !s.rec.wasRefused(digest, g) {
		st.NotAdjacent++
	}

	if s.cfg.Window > 0 && l.outstanding > s.cfg.Window || s.cfg.Rate > 0 && a.accepted.count(s.since()) >= s.cfg.Rate {
		l.refuseSegment(digest, g)
		l.respond(seq, smpp.StatusThrottled, 0, 0)
		return
	}
	b := behaviourOf(to)
	if b.once && s.rec.met(digest) {
		b = byCode[OK]
	}
	switch {
	case b.refuse != smpp.StatusOK:
		l.refuseSegment(digest, g)
		l.respond(seq, b.refuse, 0, 0)
		return
	case b.answer == answerNack:
		l.refuseSegment(digest, g)
		st.Nacked++
		l.outstanding--
		l.header(smpp.GenericNack, smpp.StatusSysErr, seq)
		return
	case b.answer == answerDropUnseen:
		l.refuseSegment(digest, g)
		l.finish()
		return
	}

	a.accepted.add(s.since())
	s.nextID++
	id := s.nextID
	s.rec.accept(l, seq, id, to, from, m, g, digest, s.now)
	if s.lines != nil {
		s.lines.submit(l, seq, s.messageID(id, false), to, from, m, g, s.now)
	}
	if m.RegisteredDelivery&0x03 != 0 {
		s.receipts(l, b, seq, id, to, from, m, g)
	}
	if b.reply != nil && g.seq == g.total {
		in := Incoming{From: string(appendDigits(nil, to)), To: from.Addr, Text: b.reply.text, Concat: b.reply.concat, Shuffle: true}
		if from.TON == tonAlphanumeric {
			in.To = s.cfg.ReplyTo
		}
		s.after(s.cfg.ReplyDelay, task{f: func() { s.deliver(a, in) }})
	}
	switch b.answer {
	case answerAfterReceipt, answerSlow:
		l.respond(seq, smpp.StatusOK, id, s.cfg.SlowResponse)
	case answerNever:
		l.outstanding-- // or Config.Window would be eaten up for good
	case answerDrop:
		l.finish()
	case answerUnbind:
		l.respond(seq, smpp.StatusOK, id, 0)
		l.unbind()
	default:
		l.respond(seq, smpp.StatusOK, id, 0)
	}
}

// respond answers a submit_sm after the usual latency and this one more.
func (l *link) respond(seq uint32, status smpp.Status, id uint64, more time.Duration) {
	s := l.s
	if status != smpp.StatusOK {
		s.rec.refusals[status]++
	}
	if wait := s.cfg.Latency + more; wait > 0 {
		s.after(wait, task{f: func() { l.writeResponse(seq, status, id) }})
		return
	}
	l.writeResponse(seq, status, id)
}

func (l *link) writeResponse(seq uint32, status smpp.Status, id uint64) {
	if l.closed || l.closing {
		return
	}
	word := ""
	if status == smpp.StatusOK {
		word = l.s.messageID(id, false)
	}
	l.out = smpp.AppendSubmitSMResp(l.out, seq, status, word)
	l.responses++
	l.work.Signal()
}

// receipts schedules what the row asks for.
func (s *Server) receipts(l *link, b *Behaviour, seq uint32, id, to uint64, from *sender, m *smpp.ShortMessage, g segment) {
	wait := time.Duration(0)
	for _, p := range b.steps {
		d := &delivery{
			account: l.acct, from: from, to: to, ton: m.Dest.TON, npi: m.Dest.NPI, id: id, submitted: s.now.Unix(),
			state: p.state, err: p.err, otherBase: p.otherBase, segment: g.seq, total: g.total,
		}
		if p.only != 0 {
			if g.seq == min(2, g.total) {
				d.state = p.only
			} else {
				d.err = 0
			}
		}
		if p.foreign {
			d.id += 1 << 52
		}
		s.rec.created(d)
		if b.answer == answerAfterReceipt {
			if p.same {
				d.sameAs = seq
			}
			l.acct.offerOn(s, l, d)
			continue
		}
		if p.when != afterPrevious {
			wait = 0
		}
		if p.when == late || p.when == lastLate && g.seq == g.total {
			wait += s.cfg.LateReceipt
		} else {
			wait += s.cfg.ReceiptDelay
		}
		if s.cfg.ReceiptJitter > 0 {
			wait += time.Duration(s.rng.Int64N(int64(s.cfg.ReceiptJitter)))
		}
		s.after(wait, task{d: d})
	}
}
