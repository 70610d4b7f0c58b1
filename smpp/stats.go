package smpp

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Stats are a link's counts since it was made.
type Stats struct {
	BindsUp   int // bound now, receivers counted too
	Submitted uint64
	Responses map[Status]uint64 // to submit_sm; statuses of 0x100 and above together under OtherStatus
	Throttled uint64            // ESME_RTHROTTLED answers, sent again or not
	Uncertain uint64
	NotSent   uint64
	Late      uint64 // responses after their submit was given up
	Receipts  map[ReceiptState]uint64
	Messages  uint64 // other deliver_sm and data_sm
	Odd       uint64 // PDUs that could not be read, or were not expected
	Refused   uint64 // binds
	// ResponseP50 and ResponseP99 are of submit_sm, within a quarter of their value; zero before the first.
	ResponseP50, ResponseP99 time.Duration
	// Queued is taken and not written, InFlight written and not answered; both in segments.
	Queued, InFlight int
	Rate             int // in use now, segments a second; zero: no limit
}

// OtherStatus stands in Stats for all statuses outside the standard.
const OtherStatus Status = 0x100

type counters struct {
	bound                                   atomic.Int64
	submitted, throttled, uncertain         atomic.Uint64
	notSent, late, messages, odd, refused   atomic.Uint64
	delivered, accepted, expired, undeliver atomic.Uint64
	codes                                   [OtherStatus + 1]atomic.Uint64
	times                                   [160]atomic.Uint64
}

func (c *counters) result(r *SegmentResult) {
	switch {
	case r.Late:
		c.late.Add(1)
	case r.Verdict == Uncertain:
		c.uncertain.Add(1)
	case r.Verdict == NotSent:
		c.notSent.Add(1)
	}
}

func (c *counters) answer(status Status, took time.Duration) {
	c.codes[min(status, OtherStatus)].Add(1)
	us := uint64(max(took/time.Microsecond, 4))
	exp := bits.Len64(us) - 1
	i := exp*4 + int(us>>(exp-2)&3)
	c.times[min(i, len(c.times)-1)].Add(1)
}

func (c *counters) receipt(state ReceiptState) {
	switch state {
	case ReceiptDelivered:
		c.delivered.Add(1)
	case ReceiptExpired:
		c.expired.Add(1)
	case ReceiptUndelivered:
		c.undeliver.Add(1)
	default:
		c.accepted.Add(1)
	}
}

// quantile is the upper edge of the bucket that holds it.
func (c *counters) quantile(q float64) time.Duration {
	var total uint64
	for i := range c.times {
		total += c.times[i].Load()
	}
	if total == 0 {
		return 0
	}
	rest := uint64(q * float64(total))
	for i := range c.times {
		n := c.times[i].Load()
		if n > rest {
			return time.Duration((uint64(i%4)+5)<<(i/4-2)) * time.Microsecond
		}
		rest -= n
	}
	return 0
}

// Stats reads the counts; they are not of one instant.
func (l *Link) Stats() Stats {
	c := &l.stats
	s := Stats{
		BindsUp: int(c.bound.Load()), Submitted: c.submitted.Load(), Throttled: c.throttled.Load(), Uncertain: c.uncertain.Load(),
		NotSent: c.notSent.Load(), Late: c.late.Load(), Messages: c.messages.Load(), Odd: c.odd.Load(), Refused: c.refused.Load(),
		Responses: map[Status]uint64{},
		Receipts: map[ReceiptState]uint64{
			ReceiptAccepted: c.accepted.Load(), ReceiptDelivered: c.delivered.Load(),
			ReceiptExpired: c.expired.Load(), ReceiptUndelivered: c.undeliver.Load(),
		},
		ResponseP50: c.quantile(0.5), ResponseP99: c.quantile(0.99),
		InFlight: int(l.inFlight.Load()),
	}
	s.Queued = max(0, int(l.open.Load())-s.InFlight)
	if l.cfg.Rate > 0 {
		s.Rate = int(l.rate.Load())
	}
	for i := range c.codes {
		if n := c.codes[i].Load(); n > 0 {
			s.Responses[Status(i)] = n
		}
	}
	return s
}
