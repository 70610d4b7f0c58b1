package smpp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// submitter is what the writing goroutine of a session keeps for itself. It finishes one message before it begins the next, so the
// segments of a message are adjacent on this bind.
type submitter struct {
	msg  *outgoing // begun and not yet finished
	next int       // its next segment
	text []byte    // encoded
	pos  int       // where the next segment begins in text

	out      []byte
	batch    []uint32 // sequence numbers in out
	back     []SegmentResult
	deadline time.Time

	pdu      ShortMessage
	segment  []byte
	sar      [4]byte
	tlvs     [3]TLV
	validFor int64 // what validity was written for
	validity string
}

// write sends what there is to send as the limiter and the window let it, one write at a time.
func (s *session) write() error {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		wait, err := s.writeOnce()
		s.l.post(s.writer.back)
		s.writer.back = s.writer.back[:0]
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-s.done:
			return nil
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// writeOnce makes at most one write, and says when it is worth coming again.
func (s *session) writeOnce() (time.Duration, error) {
	w := &s.writer
	now := time.Now() // the socket's clock, not the link's
	if w.deadline.Sub(now) < s.l.cfg.ResponseTimeout/2 {
		w.deadline = now.Add(s.l.cfg.ResponseTimeout)
		if err := s.conn.SetWriteDeadline(w.deadline); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	w.out = append(w.out[:0], s.control...)
	s.control = s.control[:0]
	s.mu.Unlock()
	if s.sends {
		if err := s.submit(); err != nil {
			return 0, err
		}
	}
	if len(w.out) > 0 {
		if _, err := s.conn.Write(w.out); err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
	}
	if !s.sends {
		return forever, nil
	}
	return s.comeAgain(), nil
}

// submit encodes into out what may go now and stamps it: the write must follow at once.
func (s *session) submit() error {
	l, w := s.l, &s.writer
	w.batch = w.batch[:0]
	l.pace.Lock()
	defer l.pace.Unlock()
	now := l.now()
	allowed := l.limiter.allowed(now)
	l.publishPace()
	s.mu.Lock()
	free := s.window.free()
	quiet := s.quiet
	s.mu.Unlock()
	if quiet || s.stalled.Load() {
		return nil
	}
	s.gather(min(allowed, free))
	if len(w.batch) == 0 {
		return nil
	}
	// From here to the write nothing may wait for anybody: the mutex is taken before the question.
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.mayWrite() {
		return ErrFenced
	}
	stamp := l.clock()
	s.window.stamp(w.batch, stamp)
	if s.window.used == len(w.batch) { // nothing was unanswered before
		s.waiting = stamp
	}
	at := l.since(stamp)
	l.limiter.record(at, len(w.batch))
	l.stamped.Store(at)
	l.inFlight.Add(int64(len(w.batch)))
	l.stats.submitted.Add(uint64(len(w.batch)))
	return nil
}

func (l *Link) mayWrite() bool { return l.h.MayWrite == nil || l.h.MayWrite() }

func (l *Link) before(m *outgoing) bool { return l.h.Before == nil || l.h.Before(&m.Message) }

// comeAgain is how long until more can be written without a wake.
func (s *session) comeAgain() time.Duration {
	s.mu.Lock()
	more := s.writer.msg != nil || len(s.retry) > 0
	stuck := s.window.free() == 0 || s.quiet || s.stalled.Load()
	s.starved = stuck
	s.mu.Unlock()
	if stuck || !more && !s.l.queued() {
		return forever
	}
	s.l.pace.Lock()
	defer s.l.pace.Unlock()
	now := s.l.now()
	return time.Duration(s.l.limiter.next(now) - now)
}

// gather encodes up to n segments: the rest of the message begun, its throttled segments first; else what was throttled, else new
// messages.
func (s *session) gather(n int) {
	w := &s.writer
	for n > 0 {
		if sl, ok := s.popRetry(w.msg); ok {
			n -= s.again(sl)
			continue
		}
		if w.msg == nil {
			if !s.begin() {
				return
			}
			if w.msg == nil {
				continue
			}
		}
		if fate, refused := s.fate(w.msg); refused {
			w.back = appendFate(w.back, w.msg, w.next, fate)
			w.msg = nil
			continue
		}
		end := len(w.text)
		if w.msg.segments > 1 {
			end = nextCut(w.msg.enc, w.text, w.pos)
		}
		s.encode(w.msg, w.next, 0, w.text[w.pos:end])
		w.pos = end
		if w.next++; w.next == w.msg.segments {
			w.msg = nil
		}
		n--
	}
}

// begin takes the next message of the link, if there is one; msg stays nil when it is withheld.
func (s *session) begin() bool {
	l, w := s.l, &s.writer
	m := l.pop()
	if m == nil {
		return false
	}
	switch {
	case m.expired(l.clock()):
		w.back = appendFate(w.back, m, 0, SegmentResult{Verdict: Withheld, Reason: ReasonOutOfTime})
	case !l.before(m):
		w.back = appendFate(w.back, m, 0, SegmentResult{Verdict: Withheld, Reason: ReasonHeldBack})
	default:
		w.msg, w.next, w.pos = m, 0, 0
		w.text = appendText(w.text[:0], m.enc, m.Text)
		if m.segments > 1 {
			m.ref = l.ref.Add(1)
		}
		if l.cfg.LongText == LongPayload {
			if _, n := Segments(m.Text); n > 1 {
				l.limiter.owe(n)
			}
		}
	}
	return true
}

// fate is what the remaining segments of a message share with one that was refused.
func (s *session) fate(m *outgoing) (SegmentResult, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.fate, m.refused
}

// popRetry takes the first throttled segment, or the first of the message begun.
func (s *session) popRetry(begun *outgoing) (slot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sl := range s.retry {
		if begun == nil || sl.msg == begun {
			s.retry = append(s.retry[:i], s.retry[i+1:]...)
			return sl, true
		}
	}
	return slot{}, false
}

// again encodes a throttled segment once more, unless something has come between; it says how many segments that were.
func (s *session) again(sl slot) int {
	w, m := &s.writer, sl.msg
	fate, refused := s.fate(m)
	s.mu.Lock()
	untouched := m.accepted == 0
	s.mu.Unlock()
	var res SegmentResult
	switch {
	case refused:
		res = sl.result(fate.Verdict, fate.Reason)
	case m.expired(s.l.clock()):
		res = sl.result(Withheld, ReasonOutOfTime)
	case untouched && !s.l.before(m):
		res = sl.result(Withheld, ReasonHeldBack)
	default:
		w.text = appendText(w.text[:0], m.enc, m.Text)
		from, end := 0, len(w.text)
		if m.segments > 1 {
			end = nextCut(m.enc, w.text, 0)
			for range sl.segment {
				from, end = end, nextCut(m.enc, w.text, end)
			}
		}
		s.encode(m, sl.segment, sl.tries, w.text[from:end])
		return 1
	}
	res.Status = StatusThrottled
	w.back = append(w.back, res)
	return 0
}

// encode appends one submit_sm to out and takes its place in the window.
func (s *session) encode(m *outgoing, segment, tries int, data []byte) {
	cfg, w := &s.l.cfg, &s.writer
	s.mu.Lock()
	seq := s.window.open(m, segment, tries)
	s.mu.Unlock()
	w.batch = append(w.batch, seq)
	p := &w.pdu
	*p = ShortMessage{ServiceType: m.ServiceType, Source: m.From, Dest: m.To, ShortMessage: data}
	if p.ServiceType == "" {
		p.ServiceType = cfg.ServiceType
	}
	if m.enc == UCS2 {
		p.DataCoding = cfg.UCS2Coding
	}
	if m.RegisteredDelivery {
		p.RegisteredDelivery = cfg.RegisteredDelivery
	}
	if !m.ValidityUntil.IsZero() {
		p.ValidityPeriod = s.validityPeriod(m.ValidityUntil)
	}
	if m.segments > 1 {
		if cfg.LongText == LongSAR {
			binary.BigEndian.PutUint16(w.sar[:], uint16(m.ref))
			w.sar[2], w.sar[3] = byte(m.segments), byte(segment+1)
			w.tlvs = [3]TLV{{TagSARMsgRefNum, w.sar[:2]}, {TagSARTotalSegments, w.sar[2:3]}, {TagSARSegmentSeqnum, w.sar[3:]}}
			p.TLVs = w.tlvs[:]
		} else {
			p.ESMClass |= esmUDHI
			w.segment = append(w.segment[:0], 0x05, 0x00, 0x03, byte(m.ref), byte(m.segments), byte(segment+1))
			w.segment = append(w.segment, data...)
			p.ShortMessage = w.segment
		}
	}
	w.out = AppendSubmitSM(w.out, seq, p)
}

// mostValidity is the longest relative validity_period that is asked for.
const mostValidity = 30 * 24 * time.Hour

// validityPeriod writes the time format of SMPP 3.4 §7.1.1; messages of one second mostly share it.
func (s *session) validityPeriod(until time.Time) string {
	w := &s.writer
	if s.l.cfg.Validity == ValidityAbsolute {
		if at := until.Unix(); at != w.validFor {
			w.validFor, w.validity = at, absoluteTime(until.In(s.l.cfg.ReceiptTimeZone))
		}
		return w.validity
	}
	rest := min(until.Sub(s.l.clock()), mostValidity)
	if seconds := max(int64(rest/time.Second), 1); seconds != w.validFor {
		w.validFor, w.validity = seconds, relativeTime(seconds)
	}
	return w.validity
}

func absoluteTime(t time.Time) string {
	_, offset := t.Zone()
	sign := "+"
	if offset < 0 {
		sign, offset = "-", -offset
	}
	quarters := strconv.Itoa(offset / 900)
	if len(quarters) < 2 {
		quarters = "0" + quarters
	}
	return t.Format("060102150405") + "0" + quarters + sign
}

func relativeTime(seconds int64) string {
	return fmt.Sprintf("0000%02d%02d%02d%02d000R", seconds/86400, seconds/3600%24, seconds/60%60, seconds%60)
}
