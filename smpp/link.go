package smpp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Message is one text to one phone.
type Message struct {
	ID       uint64 // the caller's own number; comes back in every result
	From, To Address
	Text     string
	// ValidityUntil ends the SMSC's tries; zero leaves it to the SMSC. A message whose time has passed is withheld.
	ValidityUntil time.Time
	// RegisteredDelivery asks for a receipt.
	RegisteredDelivery bool
	// ServiceType overrides Config.ServiceType when not empty.
	ServiceType string
	// Urgent overtakes what waits in the link and is not urgent.
	Urgent bool
}

// SegmentResult is the fate of one submit_sm. Every segment of every message given to Start gets one; one that was Uncertain because
// its response did not come in time gets a second, Late, if the response still comes.
type SegmentResult struct {
	ID       uint64
	Segment  int // from 0
	Segments int
	Written  bool      // it was handed to the socket, as a whole or in part
	At       time.Time // directly before the write that carried it; zero when not Written
	// AnsweredAt is when the response was read; zero when there was none.
	AnsweredAt time.Time
	Status     Status // of the response; StatusOK when there was none
	Verdict    Verdict
	Reason     Reason
	MessageID  string // in the form Receipt.MessageID has
	Late       bool
}

// Handlers is what a link asks and tells its caller. Nil ones are left out; without Receipts or Messages such PDUs are refused with
// ESME_RX_T_APPN, so that nothing is acknowledged that nobody stored. None may call back into the link but for Start and Room.
type Handlers struct {
	// Before is asked directly before a message's first segment is encoded, and again before a throttled one is sent once more as
	// long as nothing of its message was accepted. False gives Withheld. It must not wait.
	Before func(*Message) bool
	// MayWrite is asked directly before every write that carries a submit_sm. False: nothing is written, all sockets are closed
	// without a word, what was not written is NotSent, and Run returns ErrFenced. It must not wait.
	MayWrite func() bool
	// Results gets batches of at most 1000, never two calls at once.
	Results func([]SegmentResult)
	// Receipts and Messages get batches of at most 1000, or what came in 5 ms, each never two calls at once. done answers the whole
	// batch: ESME_ROK for nil, ESME_RX_T_APPN otherwise. It is called once, from any goroutine, at any later time; a handler that
	// returns before that gets the next batch.
	Receipts func(batch []Receipt, done func(error))
	Messages func(batch []Incoming, done func(error))
	// State is told each change of each bind, never two calls at once.
	State func(BindState)
}

// Phase is where a bind stands.
type Phase string

const (
	Connecting Phase = "connecting"
	Bound      Phase = "bound"
	Refused    Phase = "refused" // the SMSC said no to the bind
	Lost       Phase = "lost"    // no connection, or it broke
	Unbound    Phase = "unbound" // in good order, by either side
)

// BindState is news of one bind.
type BindState struct {
	Link, Bind string // "smsc-1", "trx-1"
	Phase      Phase
	Status     Status // of a refused bind
	Err        error  // why Refused or Lost
	Alarm      bool   // a person must see to it
	At         time.Time
	RetryAt    time.Time // zero while bound, and when there will be no more tries
}

// ErrFenced is what Run returns after MayWrite said no.
var ErrFenced = errors.New("smpp: no longer allowed to write")

// Link is one account at an SMS centre.
type Link struct {
	cfg   Config
	h     Handlers
	log   *slog.Logger
	clock func() time.Time
	epoch time.Time
	dial  dialer

	// pace is held from the question to the limiter until the stamp of the write is recorded; one bind at a time.
	pace    sync.Mutex
	limiter *limiter
	rate    atomic.Int64 // effective, for Room
	paused  atomic.Int64 // until, nanoseconds since epoch
	stamped atomic.Int64 // the last write, nanoseconds since epoch

	mu       sync.Mutex
	urgent   fifo
	queue    fifo
	sessions map[*session]struct{}
	senders  int // sessions that may submit
	draining bool

	// open counts segments taken by Start and not yet reported; inFlight those of them that are written.
	open, inFlight atomic.Int64
	idle           chan struct{} // open has come to zero
	ended          chan struct{} // Run has returned
	response       atomic.Int64  // smoothed response time, nanoseconds
	ref            atomic.Uint32

	results  *batcher[SegmentResult]
	receipts *batcher[delivery[Receipt]]
	messages *batcher[delivery[Incoming]]
	reader   receiptReader
	ids      messageIDs
	stats    counters
	stateMu  sync.Mutex
	refusals refusals
	binding  chan struct{} // one bind is tried at a time
}

// outgoing is a message on its way through one session; accepted, refused and fate are under that session's mutex.
type outgoing struct {
	Message
	enc      Encoding
	segments int
	ref      uint32
	accepted int
	refused  bool
	fate     SegmentResult
}

const (
	// roomMost bounds the queue of a link that has no rate.
	roomMost = 20000
	// resultsBehind is how many results may wait for their handler before Room says that there is none.
	resultsBehind = 10000
	// usualResponse is taken for the response time until there was one.
	usualResponse = 100 * time.Millisecond
	batchOfCalls  = 1000
	lingerOfCalls = 5 * time.Millisecond
)

// NewLink prepares a link; nothing is dialled before Run. now is the clock of stamps and must be monotonic, as time.Now is.
func NewLink(cfg Config, h Handlers, log *slog.Logger, now func() time.Time) *Link {
	cfg = cfg.withDefaults()
	l := &Link{
		cfg: cfg, h: h, log: log.With("link", cfg.Name), clock: now, epoch: now(), dial: dialNet,
		limiter:  newLimiter(cfg.Rate),
		sessions: map[*session]struct{}{},
		idle:     make(chan struct{}, 1),
		ended:    make(chan struct{}),
		results:  newBatcher[SegmentResult](batchOfCalls, 0),
		receipts: newBatcher[delivery[Receipt]](batchOfCalls, lingerOfCalls),
		messages: newBatcher[delivery[Incoming]](batchOfCalls, lingerOfCalls),
		binding:  make(chan struct{}, 1),
	}
	l.ids.base = cfg.MessageIDBase
	l.reader = receiptReader{link: cfg.Name, zone: cfg.ReceiptTimeZone, errors: cfg.ErrorMap, ids: &l.ids}
	l.ref.Store(rand.Uint32())
	l.publishPace()
	return l
}

// Run keeps the binds up until ctx is cancelled, then unbinds and returns nil once everything has been reported; or it returns
// ErrFenced. It returns no sooner than a second after the last write, so that whoever takes the account over keeps its rate by
// starting afresh. A link runs once; after ErrFenced a new one is made.
func (l *Link) Run(ctx context.Context) error {
	defer close(l.ended)
	l.log.Info("link starts", "passport", l.Passport())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.refusals.started = l.clock()

	handlersStop := make(chan struct{})
	var handlers, binds sync.WaitGroup
	handlers.Go(func() { l.results.run(handlersStop, l.handleResults) })
	handlers.Go(func() { handleDeliveries(l.receipts, handlersStop, l.h.Receipts) })
	handlers.Go(func() { handleDeliveries(l.messages, handlersStop, l.h.Messages) })
	for _, b := range l.bindNames() {
		binds.Go(func() { l.keepBound(ctx, cancel, b) })
	}
	binds.Wait()
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	l.returnQueue(ReasonDraining)
	close(handlersStop)
	handlers.Wait()
	l.restBeforeHandover()
	if err := context.Cause(ctx); errors.Is(err, ErrFenced) {
		return ErrFenced
	}
	return nil
}

func (l *Link) restBeforeHandover() {
	last := l.stamped.Load()
	if last == 0 || l.cfg.Rate == 0 {
		return
	}
	if rest := time.Second - time.Duration(l.now()-last); rest > 0 {
		<-time.After(rest)
	}
}

// Room is how many segments the link can put on the wire within one second, less what it already holds: rate, windows, bound binds
// and throttling counted. Zero means that a message given to Start now would come back.
func (l *Link) Room() int {
	l.mu.Lock()
	senders, draining := l.senders, l.draining
	l.mu.Unlock()
	if senders == 0 || draining || l.results.waiting() > resultsBehind {
		return 0
	}
	return max(0, l.capacity(senders)-int(l.open.Load()-l.inFlight.Load()))
}

// capacity is what the bound sessions can write in one second.
func (l *Link) capacity(senders int) int {
	window := senders * l.cfg.Window
	rtt := l.response.Load()
	if rtt == 0 {
		rtt = int64(usualResponse)
	}
	byWindow := int64(window) * int64(time.Second) / max(rtt, int64(time.Millisecond))
	most := min(max(byWindow, int64(window)), roomMost)
	if l.cfg.Rate > 0 {
		most = min(most, l.rate.Load())
	}
	if pause := l.paused.Load() - l.now(); pause > 0 {
		most = most * max(0, int64(time.Second)-pause) / int64(time.Second)
	}
	return int(most)
}

// Start takes messages and never waits. What there is no room for comes back at once as NotSent through Results; a message of
// several segments is taken if there is room for one.
func (l *Link) Start(messages []Message) {
	if len(messages) == 0 {
		return
	}
	now := l.clock()
	slab := make([]outgoing, len(messages))
	var back []SegmentResult
	l.mu.Lock()
	room := int64(l.capacity(l.senders))
	if l.results.waiting() > resultsBehind {
		room = 0
	}
	for i := range messages {
		m := &slab[i]
		m.Message = messages[i]
		m.enc, m.segments = Segments(m.Text)
		verdict, reason := l.admit(m, now)
		switch {
		case reason != ReasonNone:
		case l.draining:
			verdict, reason = NotSent, ReasonDraining
		case l.senders == 0:
			verdict, reason = NotSent, ReasonNotBound
		case l.open.Load()-l.inFlight.Load() >= room:
			verdict, reason = NotSent, ReasonNoRoom
		}
		if l.cfg.LongText == LongPayload {
			m.segments = 1
		}
		l.open.Add(int64(m.segments))
		if reason != ReasonNone {
			back = appendFate(back, m, 0, SegmentResult{Verdict: verdict, Reason: reason})
			continue
		}
		if m.Urgent {
			l.urgent.push(m)
		} else {
			l.queue.push(m)
		}
	}
	for s := range l.sessions {
		signal(s.wake)
	}
	l.mu.Unlock()
	l.post(back)
}

// admit refuses what could not be a submit_sm at all (SMPP 3.4 §4.4.1).
func (l *Link) admit(m *outgoing, now time.Time) (Verdict, Reason) {
	switch {
	case m.segments > MaxSegments:
		return Permanent, ReasonMessageTooLong
	case m.To.Addr == "" || len(m.To.Addr) > 20:
		return Permanent, ReasonInvalidNumber
	case len(m.From.Addr) > 20:
		return Misconfigured, ReasonInvalidSender
	case m.expired(now):
		return Withheld, ReasonOutOfTime
	}
	return "", ReasonNone
}

func (m *outgoing) expired(now time.Time) bool {
	return !m.ValidityUntil.IsZero() && m.ValidityUntil.Sub(now) < time.Second
}

// appendFate appends the same result for the segments of m from the first one on.
func appendFate(to []SegmentResult, m *outgoing, first int, r SegmentResult) []SegmentResult {
	r.ID, r.Segments = m.ID, m.segments
	for r.Segment = first; r.Segment < m.segments; r.Segment++ {
		to = append(to, r)
	}
	return to
}

// Drain takes no more messages, gives back those of which nothing was written, and waits until every written segment is answered or
// uncertain, or Run has returned. Receipts and messages go on coming.
func (l *Link) Drain() {
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	l.returnQueue(ReasonDraining)
	defer signal(l.idle) // for another caller of Drain
	for l.open.Load() > 0 {
		select {
		case <-l.idle:
		case <-l.ended:
			return
		}
	}
}

// pop takes the next message for a session to write; nil when there is none.
func (l *Link) pop() *outgoing {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.urgent.pop(); m != nil {
		return m
	}
	return l.queue.pop()
}

func (l *Link) queued() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.urgent.empty() || !l.queue.empty()
}

// fifo is a queue whose memory is used again.
type fifo struct {
	items []*outgoing
	head  int
}

func (q *fifo) empty() bool { return q.head == len(q.items) }

func (q *fifo) push(m *outgoing) { q.items = append(q.items, m) }

// pop is nil when there is nothing.
func (q *fifo) pop() *outgoing {
	if q.empty() {
		return nil
	}
	m := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.empty() {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 1024 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return m
}

func (l *Link) returnQueue(reason Reason) {
	var back []SegmentResult
	for m := l.pop(); m != nil; m = l.pop() {
		back = appendFate(back, m, 0, SegmentResult{Verdict: NotSent, Reason: reason})
	}
	l.post(back)
}

// post reports results; those that are not Late close their segments.
func (l *Link) post(results []SegmentResult) {
	if len(results) == 0 {
		return
	}
	closed := int64(0)
	for i := range results {
		l.stats.result(&results[i])
		if !results[i].Late {
			closed++
		}
	}
	l.results.add(results...)
	if closed > 0 && l.open.Add(-closed) == 0 {
		signal(l.idle)
	}
}

func (l *Link) handleResults(batch []SegmentResult) {
	if l.h.Results != nil {
		l.h.Results(batch)
	}
}

// now is nanoseconds since the link was made, never zero.
func (l *Link) now() int64 { return l.since(l.clock()) }

func (l *Link) since(t time.Time) int64 { return int64(t.Sub(l.epoch)) + 1 }

// publishPace tells Room what the limiter holds; pace is held, or the link is not running yet.
func (l *Link) publishPace() {
	l.rate.Store(int64(l.limiter.effective()))
	l.paused.Store(l.limiter.pausedTill)
}

func (l *Link) joined(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions[s] = struct{}{}
	if s.sends {
		s.counted = true
		l.senders++
	}
	l.stats.bound.Add(1)
}

// silent stops counting on a session as a sender; with the last one the queue goes back to the caller, who may have another link.
func (l *Link) silent(s *session, reason Reason) {
	l.mu.Lock()
	last := false
	if s.counted {
		s.counted = false
		if !s.stalled.Load() {
			l.senders--
			last = l.senders == 0
		}
	}
	l.mu.Unlock()
	if last {
		l.returnQueue(reason)
	}
}

// stall does not count on a session while nothing it has written is answered; when there is no other, the queue goes back.
func (l *Link) stall(s *session, stalled bool) {
	if s.stalled.Load() == stalled { // mostly
		return
	}
	l.mu.Lock()
	last := false
	switch changed := s.stalled.Swap(stalled) != stalled; {
	case !changed || !s.counted:
	case stalled:
		l.senders--
		last = l.senders == 0
	default:
		l.senders++
	}
	l.mu.Unlock()
	if last {
		l.returnQueue(ReasonNoRoom)
	}
	signal(s.wake)
}

func (l *Link) left(s *session, reason Reason) {
	l.mu.Lock()
	delete(l.sessions, s)
	l.mu.Unlock()
	l.stats.bound.Add(-1)
	l.silent(s, reason)
}

func (l *Link) tell(s BindState) {
	s.Link, s.At = l.cfg.Name, l.clock()
	level := slog.LevelInfo
	switch {
	case s.Alarm:
		level = slog.LevelError
	case s.Phase == Lost || s.Phase == Refused:
		level = slog.LevelWarn
	case s.Phase == Connecting:
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("bind", s.Bind), slog.String("state", string(s.Phase))}
	if s.Phase == Refused {
		attrs = append(attrs, slog.String("code", s.Status.String()))
	}
	if s.Err != nil {
		attrs = append(attrs, slog.Any("err", s.Err))
	}
	if !s.RetryAt.IsZero() {
		attrs = append(attrs, slog.Duration("retry_in", s.RetryAt.Sub(s.At)))
	}
	l.log.LogAttrs(context.Background(), level, "bind changed", attrs...)
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if l.h.State != nil {
		l.h.State(s)
	}
}
