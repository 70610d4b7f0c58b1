package smpp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// receiver is what the reading goroutine of a session keeps for itself: results and deliveries of what has already arrived, handed on
// together before it waits for more.
type receiver struct {
	buf      []byte
	sm       ShortMessage
	results  []SegmentResult
	receipts []delivery[Receipt]
	messages []delivery[Incoming]
	answered int64
}

// read takes PDUs until the connection ends. It never waits for a handler, but for unansweredMost.
func (s *session) read() error {
	r := &s.reader
	r.buf = make([]byte, 4096)
	for {
		if !s.buffered() {
			s.handOn()
		}
		h, body, err := ReadPDU(s.r, r.buf)
		if err != nil && !errors.Is(err, ErrTooLong) {
			s.handOn()
			return fmt.Errorf("read: %w", err)
		}
		now := s.l.clock()
		s.heard.Store(s.l.since(now))
		if err != nil {
			s.odd(h, StatusInvCmdLen)
			continue
		}
		if cap(body) > cap(r.buf) {
			r.buf = body[:0]
		}
		if err := s.take(h, body, now); err != nil {
			s.handOn()
			return err
		}
	}
}

// buffered says whether a whole PDU can be read without waiting.
func (s *session) buffered() bool {
	n := s.r.Buffered()
	if n < HeaderLen {
		return false
	}
	head, _ := s.r.Peek(4)
	return uint64(binary.BigEndian.Uint32(head)) <= uint64(n)
}

// handOn passes what was gathered to the handlers' goroutines.
func (s *session) handOn() {
	r := &s.reader
	s.l.receipts.add(r.receipts...)
	s.l.messages.add(r.messages...)
	r.receipts, r.messages = r.receipts[:0], r.messages[:0]
	if r.answered > 0 {
		s.l.inFlight.Add(-r.answered)
		r.answered = 0
		s.mu.Lock()
		starved := s.starved
		s.starved = false
		s.mu.Unlock()
		if starved {
			signal(s.wake)
		}
	}
	if len(r.results) > 0 {
		s.l.stall(s, false)
	}
	s.l.post(r.results)
	r.results = r.results[:0]
}

func (s *session) take(h Header, body []byte, now time.Time) error {
	switch h.Command {
	case SubmitSMResp:
		id, err := DecodeMessageID(body)
		if err != nil {
			s.l.stats.odd.Add(1)
		}
		return s.answer(h.Sequence, h.Status, id, now)
	case GenericNack:
		if h.Status == StatusOK {
			h.Status = StatusUnknownErr
		}
		return s.answer(h.Sequence, h.Status, "", now)
	case DeliverSM, DataSM:
		return s.deliver(h, body, now)
	case EnquireLink:
		s.reply(EnquireLinkResp, StatusOK, h.Sequence)
	case EnquireLinkResp:
	case Unbind:
		s.mu.Lock()
		s.quiet = true
		s.mu.Unlock()
		s.reply(UnbindResp, StatusOK, h.Sequence)
		s.l.silent(s, ReasonLinkLost)
		closeOnce(s.unbindAsked)
	case UnbindResp:
		closeOnce(s.unbound)
	case AlertNotification, Outbind: // have no response (SMPP 3.4 §4.12, §4.1.7)
		s.l.stats.odd.Add(1)
	default:
		s.odd(h, StatusInvCmdID)
	}
	return nil
}

// odd answers a request that cannot be served (SMPP 3.4 §4.3); a stray response is only counted.
func (s *session) odd(h Header, status Status) {
	s.l.stats.odd.Add(1)
	if !h.Command.IsResponse() {
		s.reply(GenericNack, status, h.Sequence)
	}
}

// answer settles the submit_sm with this sequence number, or sends it again if the link was throttled.
func (s *session) answer(seq uint32, status Status, id string, now time.Time) error {
	r := &s.reader
	verdict, reason := s.l.cfg.ErrorMap.Verdict(status)
	s.mu.Lock()
	sl, ok := s.window.take(seq)
	if !ok {
		sl, ok = s.window.takeLate(seq)
		s.mu.Unlock()
		if !ok {
			s.l.stats.odd.Add(1)
			return nil
		}
		if verdict == Throttle {
			verdict = Temporary
		}
		late := sl.answered(verdict, reason, status, now)
		late.MessageID, late.Late = s.l.ids.response(id), true
		r.results = append(r.results, late)
		return nil
	}
	s.waiting = now
	throttled, again := verdict == Throttle, false
	switch {
	case throttled && sl.tries < throttledMost && !s.quiet:
		sl.tries++
		s.retry = append(s.retry, sl)
		again = true
	case verdict == Accepted:
		sl.msg.accepted++
	default:
		if throttled {
			verdict = Temporary
		}
		sl.msg.refused = true
		sl.msg.fate = SegmentResult{Verdict: verdict, Reason: reason, Status: status}
	}
	s.mu.Unlock()
	r.answered++
	took := now.Sub(sl.at)
	s.l.stats.answer(status, took)
	s.l.smooth(took)
	if throttled {
		s.l.throttled(sl.at, now)
		signal(s.wake)
	}
	if again {
		return nil
	}
	res := sl.answered(verdict, reason, status, now)
	res.MessageID = s.l.ids.response(id)
	r.results = append(r.results, res)
	if status == StatusInvBndSts {
		return errNotBound
	}
	return nil
}

func (sl *slot) answered(v Verdict, reason Reason, status Status, now time.Time) SegmentResult {
	res := sl.result(v, reason)
	res.AnsweredAt, res.Status = now, status
	return res
}

func (l *Link) throttled(sent, now time.Time) {
	l.stats.throttled.Add(1)
	l.pace.Lock()
	l.limiter.throttled(l.since(sent), l.since(now))
	l.publishPace()
	silent := l.limiter.pause
	l.pace.Unlock()
	if silent > time.Second { // Room is none: what waits may go by another link
		l.returnQueue(ReasonNoRoom)
	}
}

// smooth keeps a running mean of response times for Room.
func (l *Link) smooth(took time.Duration) {
	mean := l.response.Load()
	if mean == 0 {
		l.response.Store(int64(took))
		return
	}
	l.response.Store(mean + (int64(took)-mean)/32)
}

// deliver takes a receipt or a message. One whose body cannot be read is refused for good, or the SMSC would offer it for ever.
func (s *session) deliver(h Header, body []byte, now time.Time) error {
	r := &s.reader
	var err error
	if h.Command == DataSM {
		err = r.sm.DecodeDataSM(body)
	} else {
		err = r.sm.Decode(body)
	}
	if err != nil {
		s.l.stats.odd.Add(1)
		s.mu.Lock()
		if h.Command == DataSM {
			s.control = AppendDataSMResp(s.control, h.Sequence, StatusPermAppErr, "")
		} else {
			s.control = AppendDeliverSMResp(s.control, h.Sequence, StatusPermAppErr)
		}
		s.mu.Unlock()
		signal(s.wake)
		return nil
	}
	select {
	case s.credit <- struct{}{}:
	default:
		s.handOn()
		s.held.Store(true)
		select {
		case s.credit <- struct{}{}:
		case <-s.done:
			return nil
		}
		s.heard.Store(s.l.now())
		s.held.Store(false)
	}
	if isReceipt(&r.sm) {
		rec := s.l.reader.read(&r.sm, now)
		s.l.stats.receipt(rec.State)
		r.receipts = append(r.receipts, delivery[Receipt]{s, h.Sequence, h.Command.Response(), rec})
		return nil
	}
	s.l.stats.messages.Add(1)
	in := newIncoming(s.l.cfg.Name, now, s.l.cfg.UCS2Coding, &r.sm)
	r.messages = append(r.messages, delivery[Incoming]{s, h.Sequence, h.Command.Response(), in})
	return nil
}
