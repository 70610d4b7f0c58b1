// Package sms is dispatch's SMS channel: it puts attempts on the SMSC links of one pool and turns segments' fates back into results.
// A message goes whole over one link, in the agency's own sender; what a link gives back unsent is claimed again and finds another
// link of the pool. When anything leaves is dispatch's business, how PDUs travel smpp's.
package sms

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/smpp"
)

// Sender is what a link may put in source_addr, and for whom.
type Sender struct {
	Name     string // as it is registered at the SMSC: "SFR", "79010000000"
	Agency   string // whose it is; "" = anybody's
	TON, NPI byte
	TwoWay   bool // people can answer to it
}

// Link is one SMSC account of the pool.
type Link struct {
	SMPP             smpp.Config
	Senders          []Sender
	DestTON, DestNPI byte
	// Unrecorded is this link's part of the pool's Unrecorded: how many messages it may hold at once, so that one whose SMSC does not
	// answer leaves the others theirs. A quarter of it is for single messages only. 0 = no bound.
	Unrecorded int
}

// Config is one pool of links.
type Config struct {
	Links []Link
	// Messages takes what citizens write; done answers deliver_sm once it is registered. Nil refuses them for now.
	Messages func(messages []smpp.Incoming, done func(error))
	Log      *slog.Logger
}

// Open returns what dispatch calls each time this process takes the pool.
func Open(cfg Config) func(dispatch.Desk) dispatch.Channel {
	return func(desk dispatch.Desk) dispatch.Channel {
		c := &channel{desk: desk, waiting: map[uint64]*waiting{}}
		for _, l := range cfg.Links {
			c.links = append(c.links, c.open(l, cfg))
		}
		return c
	}
}

type channel struct {
	desk  dispatch.Desk
	links []*link

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*waiting // by smpp.Message.ID
}

type link struct {
	Link
	wire *smpp.Link
	held int // messages it was given and has not reported; under channel.mu

	mu    sync.Mutex
	binds []dispatch.BindState
}

// waiting is a message some of whose segments have no result yet. One that ended as uncertain stays for a while: its response may
// still come.
type waiting struct {
	attempt *dispatch.Attempt
	link    *link
	parts   []smpp.SegmentResult
	single  [1]smpp.SegmentResult // what parts is of a message of one segment
	left    int
	ended   time.Time // it was reported as uncertain; zero otherwise
}

// lateFor is how long a response is looked for after its submit_sm was given up.
const lateFor = 2 * time.Minute

func (c *channel) open(l Link, cfg Config) *link {
	k := &link{Link: l}
	k.wire = smpp.NewLink(l.SMPP, smpp.Handlers{
		Before:   func(m *smpp.Message) bool { return c.allowed(k, m.ID) },
		MayWrite: c.desk.MayWrite,
		Results:  func(r []smpp.SegmentResult) { c.results(k, r) },
		Receipts: func(r []smpp.Receipt, done func(error)) { c.desk.Receipts(receipts(r), done) },
		Messages: cfg.Messages,
		State:    func(s smpp.BindState) { k.bound(s) },
	}, cfg.Log, time.Now)
	return k
}

// Run keeps all links up. It returns when ctx ends and every link has left politely, or when the pool is lost.
func (c *channel) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, k := range c.links {
		g.Go(func() error {
			err := k.wire.Run(ctx)
			if errors.Is(err, smpp.ErrFenced) {
				return dispatch.ErrFenced
			}
			return err
		})
	}
	reporting, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); c.report(reporting) }()
	err := g.Wait()
	stop()
	<-done
	return err
}

// Room is how many one-segment messages the links can put on the wire within one second.
func (c *channel) Room() int {
	room := 0
	for _, k := range c.links {
		room += c.room(k)
	}
	return room
}

func (c *channel) room(k *link) int {
	if c.desk.Stopped(k.SMPP.Name) {
		return 0
	}
	room := k.wire.Room()
	if k.Unrecorded > 0 {
		c.mu.Lock()
		room = min(room, max(0, k.Unrecorded-k.held))
		c.mu.Unlock()
	}
	return room
}

// full says that the link holds as much of this kind as it may; c.mu is held.
func (k *link) full(a *dispatch.Attempt) bool {
	most := k.Unrecorded
	if !a.Single {
		most -= most / 4
	}
	return k.Unrecorded > 0 && k.held >= most
}

// Start gives each message to the link with the most room among those that have a sender for its agency; what none of them may hold
// comes back.
func (c *channel) Start(attempts []*dispatch.Attempt) {
	room := make([]int, len(c.links))
	for i, k := range c.links {
		room[i] = c.room(k)
	}
	batches := make([][]smpp.Message, len(c.links))
	var back []dispatch.Result
	made := make([]waiting, len(attempts)) // one piece of memory for all
	c.mu.Lock()
	for i, a := range attempts {
		best, from := -1, Sender{}
		for at, k := range c.links {
			if s, ok := k.sender(a); ok && (best < 0 || c.links[best].full(a) || room[at] > room[best] && !k.full(a)) {
				best, from = at, s
			}
		}
		if best < 0 {
			back = append(back, dispatch.Result{Attempt: a, Verdict: dispatch.VerdictPermanent, Reason: dispatch.ReasonNoSender})
			continue
		}
		k := c.links[best]
		if k.full(a) {
			back = append(back, dispatch.Result{Attempt: a, Verdict: dispatch.VerdictWithheld})
			continue
		}
		k.held++
		_, n := smpp.Segments(a.Text)
		if k.SMPP.LongText == smpp.LongPayload {
			n = 1
		}
		room[best] -= n
		c.last++
		w := &made[i]
		*w = waiting{attempt: a, link: k, left: n}
		if w.parts = w.single[:]; n > 1 {
			w.parts = make([]smpp.SegmentResult, n)
		}
		c.waiting[c.last] = w
		if batches[best] == nil {
			batches[best] = make([]smpp.Message, 0, len(attempts)-i)
		}
		batches[best] = append(batches[best], smpp.Message{
			ID: c.last, Text: a.Text, ValidityUntil: a.Until, RegisteredDelivery: true, Urgent: a.Single,
			From: smpp.Address{TON: from.TON, NPI: from.NPI, Addr: from.Name},
			To:   smpp.Address{TON: k.DestTON, NPI: k.DestNPI, Addr: a.To.Digits()},
		})
	}
	c.mu.Unlock()
	if len(back) > 0 {
		c.desk.Settle(back)
	}
	for i, b := range batches {
		c.links[i].wire.Start(b)
	}
}

// sender chooses the named sender, else the agency's own, else one that is anybody's.
func (k *link) sender(a *dispatch.Attempt) (Sender, bool) {
	common := -1
	for i, s := range k.Senders {
		switch {
		case a.Sender != "" && s.Name == a.Sender && (s.Agency == "" || s.Agency == a.Agency):
			return s, true
		case a.Sender == "" && s.Agency == a.Agency:
			return s, true
		case s.Agency == "" && common < 0:
			common = i
		}
	}
	if a.Sender == "" && common >= 0 {
		return k.Senders[common], true
	}
	return Sender{}, false
}

func (c *channel) allowed(k *link, id uint64) bool {
	c.mu.Lock()
	w := c.waiting[id]
	c.mu.Unlock()
	return w != nil && !c.desk.Stopped(k.SMPP.Name) && c.desk.Allowed(w.attempt)
}

// results gathers the segments of each message; the last one makes the result.
func (c *channel) results(k *link, segments []smpp.SegmentResult) {
	settled := make([]dispatch.Result, 0, len(segments))
	c.mu.Lock()
	for i := range segments {
		s := &segments[i]
		w := c.waiting[s.ID]
		if w == nil || s.Segment >= len(w.parts) {
			continue
		}
		if s.Late {
			w.parts[s.Segment] = *s
			if res, ok := w.late(k.SMPP.Name); ok {
				delete(c.waiting, s.ID)
				settled = append(settled, res)
			}
			continue
		}
		w.parts[s.Segment] = *s
		if w.left--; w.left > 0 {
			continue
		}
		res := w.result(k.SMPP.Name)
		settled = append(settled, res)
		k.held--
		if res.Verdict == dispatch.VerdictUncertain {
			w.ended = time.Now()
		} else {
			delete(c.waiting, s.ID)
		}
	}
	c.mu.Unlock()
	if len(settled) > 0 {
		c.desk.Settle(settled)
	}
}

// result is what the fates of all segments make of the message.
func (w *waiting) result(linkName string) dispatch.Result {
	res := dispatch.Result{Attempt: w.attempt, Link: linkName, Parts: make([]dispatch.Part, len(w.parts))}
	var worst *smpp.SegmentResult
	accepted := 0
	for i := range w.parts {
		s := &w.parts[i]
		res.Parts[i] = dispatch.Part{State: dispatch.AttemptRefused, Code: code(s.Status)}
		if s.Verdict == smpp.Accepted {
			accepted++
			res.Parts[i] = dispatch.Part{State: dispatch.AttemptAccepted, MessageID: s.MessageID}
		} else if worst == nil || gravity[s.Verdict] > gravity[worst.Verdict] {
			worst = s
		}
		if !s.At.IsZero() && (res.At.IsZero() || s.At.Before(res.At)) {
			res.At = s.At
		}
	}
	if worst == nil {
		res.Verdict = dispatch.VerdictAccepted
		return res
	}
	res.Reason, res.Code = dispatch.Reason(worst.Reason), code(worst.Status)
	switch {
	case worst.Verdict == smpp.Uncertain:
		res.Verdict = dispatch.VerdictUncertain
	case accepted > 0 && worst.Verdict == smpp.Permanent:
		res.Verdict = dispatch.VerdictAccepted // some segments are out and the rest never will be: dispatch ends it as partial
		return res
	case accepted > 0:
		res.Verdict = dispatch.VerdictUncertain // a torso is out: the whole has to go once more, and be marked
	case worst.Verdict == smpp.Permanent:
		res.Verdict = dispatch.VerdictPermanent
	case worst.Verdict == smpp.Withheld || worst.Verdict == smpp.NotSent:
		res.Verdict = dispatch.VerdictWithheld
	default: // what another time, or a mended configuration, may let through
		res.Verdict = dispatch.VerdictTemporary
	}
	res.Parts = nil
	return res
}

// gravity orders verdicts: what may have left outweighs what certainly has not.
var gravity = map[smpp.Verdict]int{smpp.NotSent: 1, smpp.Withheld: 2, smpp.Throttle: 3, smpp.TemporaryTail: 3, smpp.Temporary: 3,
	smpp.Misconfigured: 4, smpp.Permanent: 5, smpp.Uncertain: 6}

// late is the result of an uncertain message all of whose responses have come after all; ok is false until then.
func (w *waiting) late(linkName string) (dispatch.Result, bool) {
	res := dispatch.Result{Attempt: w.attempt, Verdict: dispatch.VerdictAccepted, Link: linkName, Late: true}
	for i := range w.parts {
		s := &w.parts[i]
		if s.Verdict != smpp.Accepted {
			return res, false
		}
		res.Parts = append(res.Parts, dispatch.Part{State: dispatch.AttemptAccepted, MessageID: s.MessageID})
		res.At = s.At
	}
	return res, w.left == 0
}

func code(s smpp.Status) string {
	if s == smpp.StatusOK {
		return ""
	}
	return s.String()
}

func receipts(in []smpp.Receipt) []dispatch.Receipt {
	out := make([]dispatch.Receipt, len(in))
	for i := range in {
		r := &in[i]
		to, _ := citizen.ParsePhone(r.From.Addr) // unreadable: it matches by message_id alone
		out[i] = dispatch.Receipt{Link: r.Link, MessageID: r.MessageID, Alternate: r.AlternateID, State: receiptState(r.State),
			Reason: dispatch.Reason(r.Reason), Code: cmp.Or(r.Code, r.Stat), To: to, SubmittedAt: r.Submitted}
	}
	return out
}

func receiptState(s smpp.ReceiptState) dispatch.AttemptState {
	switch s {
	case smpp.ReceiptDelivered:
		return dispatch.AttemptDelivered
	case smpp.ReceiptExpired:
		return dispatch.AttemptExpired
	case smpp.ReceiptUndelivered:
		return dispatch.AttemptUndelivered
	default:
		return dispatch.AttemptAccepted
	}
}

func (k *link) bound(s smpp.BindState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := dispatch.BindState{Name: s.Bind, State: string(s.Phase), Alarm: s.Alarm, Since: s.At, Retry: s.RetryAt}
	if s.Phase == smpp.Refused {
		b.Code = s.Status.String()
	}
	i := slices.IndexFunc(k.binds, func(have dispatch.BindState) bool { return have.Name == s.Bind })
	if i < 0 {
		k.binds = append(k.binds, b)
	} else {
		k.binds[i] = b
	}
}

const reportEvery = 2 * time.Second

// report keeps the links page up to date, and forgets uncertain messages whose response is not looked for any more.
func (c *channel) report(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		for _, k := range c.links {
			c.desk.Report(k.state())
		}
		c.mu.Lock()
		for id, w := range c.waiting {
			if !w.ended.IsZero() && time.Since(w.ended) > lateFor {
				delete(c.waiting, id)
			}
		}
		c.mu.Unlock()
	}
}

func (k *link) state() dispatch.LinkState {
	st := k.wire.Stats()
	s := dispatch.LinkState{Link: k.SMPP.Name, Rate: st.Rate, Queued: st.Queued, InFlight: st.InFlight, Submitted: st.Submitted,
		Throttled: st.Throttled, Uncertain: st.Uncertain, Codes: map[string]int{}, Receipts: map[string]int{},
		ResponseMS: [2]int64{st.ResponseP50.Milliseconds(), st.ResponseP99.Milliseconds()}}
	for status, n := range st.Responses {
		s.Codes[status.String()] = int(n)
	}
	for state, n := range st.Receipts {
		s.Receipts[string(state)] = int(n)
	}
	k.mu.Lock()
	s.Binds = slices.Clone(k.binds)
	k.mu.Unlock()
	return s
}
