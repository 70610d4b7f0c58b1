package smpp

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errUnboundByPeer = errors.New("the SMSC unbound")
	errDeadPeer      = errors.New("no answer to enquire_link")
	errNotBound      = errors.New("ESME_RINVBNDSTS to submit_sm")
	errPeerNotRead   = errors.New("the SMSC does not read what it is sent")
)

const (
	// unansweredMost is how many deliver_sm of one bind may wait for their handler before the bind is read no further.
	unansweredMost = 10000
	// controlMost bounds the answers that wait to be written.
	controlMost = 1 << 20
	// throttledMost is how often one segment is sent again after ESME_RTHROTTLED.
	throttledMost = 5
	forever       = time.Hour
	// stallAfter is how long what was written may go without any answer before the link stops counting on the bind; a bind whose
	// answers usually take longer gets four times as long as usual.
	stallAfter = 3 * time.Second
)

// session is one bound connection: a reader, a writer, and a keeper of its timeouts.
type session struct {
	l     *Link
	bind  bindName
	sends bool // may submit
	conn  net.Conn
	r     *bufio.Reader

	counted bool        // is one of Link.senders, unless it is stalled; under Link.mu
	stalled atomic.Bool // nothing that was written is answered: nothing more is written; changed under Link.mu

	done        chan struct{} // closed when the session is over
	once        sync.Once
	cause       error
	wake        chan struct{} // there is something to write
	unbindAsked chan struct{} // closed when the SMSC sends unbind
	unbound     chan struct{} // closed when it answers ours
	credit      chan struct{} // one for each unanswered deliver_sm
	heard       atomic.Int64  // when the last PDU was read, by Link.now
	held        atomic.Bool   // the reader waits for a credit: silence is ours, not the SMSC's

	mu       sync.Mutex
	window   window
	control  []byte    // answers and requests other than submit_sm
	retry    []slot    // throttled, to be sent again first
	quiet    bool      // no more submit_sm
	starved  bool      // the writer waits for a free place
	waiting  time.Time // since when no submit_sm was answered, while some are unanswered
	enquired time.Time
	asking   bool // an enquire_link waits for its answer

	writer submitter // the writer's own
	reader receiver  // the reader's own
}

func newSession(l *Link, b bindName, conn net.Conn, r *bufio.Reader) *session {
	s := &session{
		l: l, bind: b, sends: b.cmd != BindReceiver, conn: conn, r: r,
		done: make(chan struct{}), wake: make(chan struct{}, 1),
		unbindAsked: make(chan struct{}), unbound: make(chan struct{}),
		credit:   make(chan struct{}, unansweredMost),
		window:   newWindow(l.cfg.Window),
		enquired: l.clock(),
	}
	s.heard.Store(l.now())
	return s
}

// serve runs a session that has joined its link until it ends, and then reports everything it held.
func (s *session) serve(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { s.fail(s.read()) })
	parts.Go(func() { s.fail(s.write()) })
	parts.Go(func() { s.fail(s.keep()) })
	select {
	case <-s.done:
	case <-s.unbindAsked:
		s.wait(s.done, s.done)
		s.fail(errUnboundByPeer)
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), ErrFenced) {
			s.sendUnbind()
			s.wait(s.unbound, s.done)
		}
		s.fail(context.Cause(ctx))
	}
	s.conn.Close()
	parts.Wait()
	reason := ReasonLinkLost
	if errors.Is(s.cause, ErrFenced) {
		reason = ReasonFenced
	}
	s.l.post(s.remains(reason))
	s.l.left(s, reason)
	return s.cause
}

func (s *session) wait(a, b <-chan struct{}) {
	t := time.NewTimer(unbindTimeout)
	defer t.Stop()
	select {
	case <-a:
	case <-b:
	case <-t.C:
	}
}

// fail ends the session; the first cause stands, and nil is none.
func (s *session) fail(err error) {
	if err == nil {
		return
	}
	s.once.Do(func() {
		s.cause = err
		close(s.done)
	})
}

// remains is the fate of everything the session held when it ended: written is uncertain, the rest was not sent.
func (s *session) remains(reason Reason) []SegmentResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []SegmentResult
	s.window.clear(func(sl slot) {
		if sl.at.IsZero() {
			all = append(all, sl.result(NotSent, reason))
			return
		}
		s.l.inFlight.Add(-1)
		all = append(all, sl.result(Uncertain, ReasonLinkLost))
	})
	for _, sl := range s.retry {
		r := sl.result(Temporary, ReasonThrottled)
		r.Status = StatusThrottled
		all = append(all, r)
	}
	s.retry = nil
	if w := &s.writer; w.msg != nil {
		all = appendFate(all, w.msg, w.next, SegmentResult{Verdict: NotSent, Reason: reason})
		w.msg = nil
	}
	return all
}

// result is what is known of a segment that has a place in the window.
func (sl *slot) result(v Verdict, reason Reason) SegmentResult {
	return SegmentResult{
		ID: sl.msg.ID, Segment: sl.segment, Segments: sl.msg.segments,
		Written: !sl.at.IsZero(), At: sl.at, Verdict: v, Reason: reason,
	}
}

// reply queues a PDU without a body.
func (s *session) reply(cmd CommandID, status Status, seq uint32) {
	s.mu.Lock()
	s.control = AppendHeaderOnly(s.control, cmd, status, seq)
	s.mu.Unlock()
	signal(s.wake)
}

func (s *session) sendUnbind() {
	s.mu.Lock()
	s.quiet = true
	s.control = AppendHeaderOnly(s.control, Unbind, StatusOK, s.window.next())
	s.mu.Unlock()
	signal(s.wake)
	s.l.silent(s, ReasonDraining)
}

// keep gives up what is not answered in time, asks whether the SMSC is there, and ends the session when it is not.
func (s *session) keep() error {
	every := min(s.l.cfg.EnquireLink, s.l.cfg.ResponseTimeout) / 8
	tick := time.NewTicker(min(max(every, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.done:
			return nil
		}
		now := s.l.clock()
		if s.held.Load() {
			s.heard.Store(s.l.since(now))
			s.mu.Lock()
			s.waiting = now
			s.mu.Unlock()
		} else {
			s.giveUp(now)
			s.l.stall(s, s.unanswered(now))
		}
		if err := s.enquire(now); err != nil {
			return err
		}
	}
}

func (s *session) giveUp(now time.Time) {
	var late []SegmentResult
	s.mu.Lock()
	s.window.expire(now.Add(-s.l.cfg.ResponseTimeout), func(sl slot) {
		late = append(late, sl.result(Uncertain, ReasonNoResponse))
	})
	s.mu.Unlock()
	if len(late) > 0 {
		s.l.inFlight.Add(-int64(len(late)))
		s.l.post(late)
		signal(s.wake)
	}
}

// unanswered says that the SMSC has had submit_sm for too long without answering any.
func (s *session) unanswered(now time.Time) bool {
	most := max(stallAfter, 4*time.Duration(s.l.response.Load()))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.used > 0 && !s.waiting.IsZero() && now.Sub(s.waiting) > most
}

func (s *session) enquire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.control) > controlMost {
		return errPeerNotRead
	}
	if s.asking {
		if s.heard.Load() >= s.l.since(s.enquired) {
			s.asking = false
		} else if now.Sub(s.enquired) >= s.l.cfg.ResponseTimeout {
			return errDeadPeer
		}
	}
	if !s.asking && now.Sub(s.enquired) >= s.l.cfg.EnquireLink {
		s.asking, s.enquired = true, now
		s.control = AppendHeaderOnly(s.control, EnquireLink, StatusOK, s.window.next())
		signal(s.wake)
	}
	return nil
}

// acknowledge answers deliver_sm and data_sm that came on this session. After its end there is nobody to answer.
func (s *session) acknowledge(resp CommandID, status Status, seqs []uint32) {
	s.mu.Lock()
	for _, seq := range seqs {
		if resp == DataSMResp {
			s.control = AppendDataSMResp(s.control, seq, status, "")
		} else {
			s.control = AppendDeliverSMResp(s.control, seq, status)
		}
	}
	s.mu.Unlock()
	for range seqs {
		select {
		case <-s.credit:
		default:
		}
	}
	signal(s.wake)
}

// delivery is one deliver_sm or data_sm on its way to a handler.
type delivery[T any] struct {
	s     *session
	seq   uint32
	resp  CommandID
	value T
}

// handleDeliveries gives a handler its batches and answers them as it says.
func handleDeliveries[T any](b *batcher[delivery[T]], stop <-chan struct{}, handle func([]T, func(error))) {
	b.run(stop, func(batch []delivery[T]) {
		var once sync.Once
		done := func(err error) { once.Do(func() { answerDeliveries(batch, err) }) }
		if handle == nil {
			done(errors.New("nobody takes it"))
			return
		}
		values := make([]T, len(batch))
		for i := range batch {
			values[i] = batch[i].value
		}
		handle(values, done)
	})
}

func answerDeliveries[T any](batch []delivery[T], err error) {
	status := StatusOK
	if err != nil {
		status = StatusTempAppErr
	}
	for from := 0; from < len(batch); {
		first := &batch[from]
		seqs := []uint32{first.seq}
		to := from + 1
		for ; to < len(batch) && batch[to].s == first.s && batch[to].resp == first.resp; to++ {
			seqs = append(seqs, batch[to].seq)
		}
		first.s.acknowledge(first.resp, status, seqs)
		from = to
	}
}

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}
