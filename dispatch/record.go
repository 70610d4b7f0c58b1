package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

const (
	recordMost   = 2000                  // results, decisions and receipts of one transaction
	recordFull   = 1000                  // enough to write without waiting for more
	recordWait   = 5 * time.Millisecond  // how long a few wait for company
	receiptsMost = 50000                 // receipts in memory before the wires are asked to wait
	earlyWait    = time.Second           // a receipt may overtake its submit_sm_resp by this much
	retryRecord  = 50 * time.Millisecond // first pause when the database does not answer; grows to two seconds
)

// recorder writes down what became of attempts: one transaction at a time, for as much as has come meanwhile. Nothing is acknowledged
// outwards, and nothing leaves memory, before its transaction is committed.
//
// A desk has two, so that claims wait for results only: one for what the channel and the claims say (results, decisions), one for what
// the far side says later (receipts, and those given up). They share refs and busy: what one transaction may change of a notification,
// the other leaves alone until it is over.
type recorder struct {
	d      *desk
	shared *shared

	mu        sync.Mutex
	room      sync.Cond // signalled when receipts are taken
	results   []Result
	decisions []decision
	receipts  []*pendingReceipt
	giveUps   []giveUp
	closed    bool
	more      chan struct{}
	expects   func() bool // whether it is worth waiting for more

	scratch scratch // only the recording goroutine
}

// shared is what the two recorders of a desk know together.
type shared struct {
	refs refs
	busy busy
	// matching is held by a transaction that may bring a message_id into the database, and by one that finds that a receipt has none:
	// a receipt is not kept as an orphan while its submit_sm_resp is being recorded.
	matching sync.Mutex
}

// scratch is memory for the plan of one transaction, used again for the next.
type scratch struct {
	entries  []journal.Entry
	attempts []attemptRow
	ends     []endRow
	keys     []outKey
}

// pendingReceipt is a receipt that is not stored yet.
type pendingReceipt struct {
	Receipt
	link  int16
	ack   *ack
	until time.Time // of an early one: when to stop waiting for its submit_sm_resp
}

// ack calls done when the last of a batch of receipts is stored.
type ack struct {
	left int
	done func(error)
}

func (a *ack) store() {
	if a.left--; a.left == 0 {
		a.done(nil)
	}
}

func newRecorder(d *desk, s *shared, expects func() bool) *recorder {
	r := &recorder{d: d, shared: s, more: make(chan struct{}, 1), expects: expects}
	r.room.L = &r.mu
	return r
}

func (r *recorder) signal() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// Settle takes results of attempts. The far side's words are made fit to be stored: one byte that is not would fail everybody's.
func (d *desk) Settle(results []Result) {
	d.reached(PointAnswered)
	back := int64(0)
	for i := range results {
		res := &results[i]
		if !res.Late {
			back++
		}
		res.Code = journal.Text(res.Code)
		for k := range res.Parts {
			res.Parts[k].MessageID, res.Parts[k].Code = journal.Text(res.Parts[k].MessageID), journal.Text(res.Parts[k].Code)
		}
	}
	d.rec.mu.Lock()
	d.rec.results = append(d.rec.results, results...)
	d.started.Add(-back)
	d.rec.mu.Unlock()
	d.rec.signal()
}

func (r *recorder) decide(decisions []decision) {
	r.mu.Lock()
	r.decisions = append(r.decisions, decisions...)
	r.mu.Unlock()
	r.signal()
}

// Receipts takes receipts; done is called once all of them are stored.
func (d *desk) Receipts(receipts []Receipt, done func(error)) {
	if len(receipts) == 0 {
		done(nil)
		return
	}
	r := d.heard
	a := &ack{left: len(receipts), done: done}
	pending := make([]pendingReceipt, len(receipts))
	r.mu.Lock()
	for len(r.receipts) > receiptsMost && !r.closed {
		r.room.Wait()
	}
	if r.closed {
		r.mu.Unlock()
		done(ErrFenced)
		return
	}
	for i := range receipts {
		rc := &receipts[i]
		rc.MessageID, rc.Alternate, rc.Code = journal.Text(rc.MessageID), journal.Text(rc.Alternate), journal.Text(rc.Code)
		pending[i] = pendingReceipt{Receipt: *rc, link: d.linkNo(rc.Link), ack: a}
		r.receipts = append(r.receipts, &pending[i])
	}
	r.mu.Unlock()
	r.signal()
}

// work is what one transaction records.
type work struct {
	results   []Result
	decisions []decision
	receipts  []*pendingReceipt
	giveUps   []giveUp
}

func (w *work) size() int {
	return len(w.results) + len(w.decisions) + len(w.receipts) + len(w.giveUps)
}

func (r *recorder) collect() work {
	r.mu.Lock()
	defer r.mu.Unlock()
	var w work
	w.results, r.results = split(r.results, recordMost)
	w.decisions, r.decisions = split(r.decisions, recordMost)
	w.receipts, r.receipts = split(r.receipts, recordMost)
	w.giveUps, r.giveUps = split(r.giveUps, recordMost)
	r.room.Broadcast()
	return w
}

func split[T any](all []T, n int) (first, rest []T) {
	if len(all) <= n {
		return all, nil
	}
	return all[:n:n], all[n:]
}

func (r *recorder) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.results) + len(r.decisions) + len(r.receipts) + len(r.giveUps)
}

// retryEvery is how often what could not be recorded yet is looked at again: receipts that came before their submit_sm_resp, and what
// the other recorder was busy with.
const retryEvery = 25 * time.Millisecond

// run records until ctx ends and everything that came by then is written, or the pool is lost.
func (r *recorder) run(ctx context.Context) error {
	defer r.close()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-r.more:
			for deadline := time.Now().Add(recordWait); r.waiting() < recordFull && r.expects() && ctx.Err() == nil; {
				left := time.Until(deadline)
				if left <= 0 {
					break
				}
				select {
				case <-r.more:
				case <-time.After(left):
				}
			}
		case <-tick.C:
		}
		full := r.waiting() > recordMost
		if w := r.collect(); w.size() > 0 {
			again, err := r.write(ctx, w)
			if err != nil {
				return err
			}
			r.putBack(again)
		}
		if full {
			r.signal()
		} else if ended && r.waiting() == 0 {
			return nil
		}
	}
}

// putBack keeps what could not be recorded yet for the next transaction, before what has come meanwhile.
func (r *recorder) putBack(w work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.results = append(w.results, r.results...)
	r.decisions = append(w.decisions, r.decisions...)
	r.receipts = append(w.receipts, r.receipts...)
	r.giveUps = append(w.giveUps, r.giveUps...)
}

// close gives back what could not be stored any more: receipts are refused, so that the far side offers them again.
func (r *recorder) close() {
	r.mu.Lock()
	r.closed = true
	left := r.receipts
	r.receipts = nil
	r.room.Broadcast()
	r.mu.Unlock()
	refuse(left)
}

func refuse(receipts []*pendingReceipt) {
	told := make(map[*ack]bool)
	for _, p := range receipts {
		if !told[p.ack] && p.ack.left > 0 {
			told[p.ack] = true
			p.ack.left = 0
			p.ack.done(ErrFenced)
		}
	}
}

// write records one work, again and again while the database is away, also after the right to send has run out: what came back is
// written if nobody has taken the pool meanwhile. It returns what has to wait for another transaction.
func (r *recorder) write(ctx context.Context, w work) (again work, err error) {
	pause := retryRecord
	careful := false
	var doubt *writing // its commit may have taken place: nothing is planned anew before that is known
	stopping := r.d.stopping
	var overdue <-chan time.Time
	for {
		plan := doubt
		if plan == nil {
			plan = r.plan(w, careful, ctx.Err() != nil)
		}
		began := time.Now()
		txCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		if doubt == nil {
			err = postgres.InTx(txCtx, r.d.hot, func(tx pgx.Tx) error { return plan.write(txCtx, tx, w) })
			if errors.Is(err, postgres.ErrInDoubt) {
				doubt = plan
			}
		}
		if doubt != nil {
			if done, known := doubt.happened(txCtx, r.d); known {
				doubt = nil
				if done {
					err = nil
				}
			}
		}
		cancel()
		if err == nil {
			plan.committed()
			plan.count(w, time.Since(began))
		}
		if doubt == nil {
			r.over(plan)
		}
		switch {
		case err == nil:
			return plan.again, nil
		case errors.Is(err, ErrFenced):
			r.abandon(doubt)
			refuse(w.receipts)
			return work{}, err
		case errors.Is(err, errNotFresh) && !careful:
			careful = true
			continue
		case postgres.IsUnavailable(err) || errors.Is(err, postgres.ErrInDoubt):
			r.d.log.Warn("results wait for the database", slog.Int("waiting", w.size()), slog.Any("err", err))
		default:
			refuse(w.receipts)
			return work{}, fmt.Errorf("record: %w", err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		case <-overdue:
			r.abandon(doubt)
			refuse(w.receipts)
			return work{}, fmt.Errorf("record before the process ends: %w", err)
		case <-stopping:
			// What is not written within the drain time stays leased: the next holder marks it as uncertain.
			stopping, overdue = nil, time.After(r.d.drain)
		}
	}
}

// plan begins the plan of one transaction.
func (r *recorder) plan(w work, careful, ended bool) *writing {
	plan := &writing{d: r.d, shared: r.shared, careful: careful, now: r.d.now(), began: time.Now(), rules: r.d.rules(), ended: ended,
		entries: r.scratch.entries[:0], attempts: r.scratch.attempts[:0], ends: r.scratch.ends[:0],
		gone: outKeys{r.scratch.keys[:0]}}
	plan.entries = slices.Grow(plan.entries, w.size())
	plan.matching = len(w.results) > 0 || slices.ContainsFunc(w.receipts, plan.overdue)
	if plan.matching { // before the transaction: who waits for it in the middle may be waited for in the database
		r.shared.matching.Lock()
	}
	return plan
}

// over lets go of what the transaction of a plan held, whatever became of it.
func (r *recorder) over(plan *writing) {
	clear(plan.entries) // the strings in them
	clear(plan.attempts)
	clear(plan.ends)
	r.scratch = scratch{plan.entries[:0], plan.attempts[:0], plan.ends[:0], plan.gone.keys[:0]}
	plan.release()
}

func (r *recorder) abandon(doubt *writing) {
	if doubt != nil {
		doubt.release()
	}
}

// errNotFresh says that a notification thought to be fresh has an outcome already: the work is planned again with a look at
// everything.
var errNotFresh = errors.New("an outcome was there already")
