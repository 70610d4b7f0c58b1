package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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

// recorder writes down what became of attempts: one transaction at a time, for as many as have come meanwhile. Nothing is
// acknowledged outwards, and nothing leaves memory, before its transaction is committed.
type recorder struct {
	d *desk

	mu        sync.Mutex
	room      sync.Cond // signalled when receipts are taken
	results   []Result
	decisions []decision
	receipts  []*pendingReceipt
	giveUps   []giveUp
	closed    bool
	more      chan struct{}

	refs refs // only the recording goroutine
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

func newRecorder(d *desk) *recorder {
	r := &recorder{d: d, more: make(chan struct{}, 1), refs: newRefs()}
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
	for i := range results {
		res := &results[i]
		res.Code = journal.Text(res.Code)
		for k := range res.Parts {
			res.Parts[k].MessageID, res.Parts[k].Code = journal.Text(res.Parts[k].MessageID), journal.Text(res.Parts[k].Code)
		}
	}
	d.rec.mu.Lock()
	d.rec.results = append(d.rec.results, results...)
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
	r := d.rec
	a := &ack{left: len(receipts), done: done}
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
		r.receipts = append(r.receipts, &pendingReceipt{Receipt: *rc, link: d.linkNo(receipts[i].Link), ack: a})
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

// run records until ctx ends and everything that came by then is written, or the pool is lost.
func (r *recorder) run(ctx context.Context) error {
	defer r.close()
	var early []*pendingReceipt
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-r.more:
			for deadline := time.Now().Add(recordWait); r.waiting() < recordFull && ctx.Err() == nil; {
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
			if len(early) == 0 {
				continue
			}
		}
		w := r.collect()
		w.receipts = append(early, w.receipts...)
		early = nil
		if w.size() > 0 {
			var err error
			if early, err = r.write(ctx, w); err != nil {
				return err
			}
		}
		if r.waiting() > 0 {
			r.signal()
		} else if ended {
			return nil
		}
	}
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
// written if nobody has taken the pool meanwhile. It returns the receipts that came before the response they
// belong to.
func (r *recorder) write(ctx context.Context, w work) (early []*pendingReceipt, err error) {
	pause := retryRecord
	careful := false
	var doubt *writing // its commit may have taken place: nothing is planned anew before that is known
	stopping := r.d.stopping
	var overdue <-chan time.Time
	for {
		plan := &writing{d: r.d, refs: &r.refs, careful: careful, now: r.d.now(), rules: r.d.rules(), ended: ctx.Err() != nil}
		began := time.Now()
		txCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		if doubt == nil {
			err = postgres.InTx(txCtx, r.d.hot, func(tx pgx.Tx) error { return plan.write(txCtx, tx, w) })
			if errors.Is(err, postgres.ErrInDoubt) {
				doubt = plan
			}
		}
		if doubt != nil {
			if done, known := doubt.happened(txCtx, r.d); known && done {
				plan, doubt, err = doubt, nil, nil
			} else if known {
				doubt = nil
			}
		}
		cancel()
		switch {
		case err == nil:
			plan.committed()
			plan.count(w, time.Since(began))
			return plan.early, nil
		case errors.Is(err, ErrFenced):
			refuse(w.receipts)
			return nil, err
		case errors.Is(err, errNotFresh) && !careful:
			careful = true
			continue
		case postgres.IsUnavailable(err) || errors.Is(err, postgres.ErrInDoubt):
			r.d.log.Warn("results wait for the database", slog.Int("waiting", w.size()), slog.Any("err", err))
		default:
			refuse(w.receipts)
			return nil, fmt.Errorf("record: %w", err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		case <-overdue:
			refuse(w.receipts)
			return nil, fmt.Errorf("record before the process ends: %w", err)
		case <-stopping:
			// What is not written within the drain time stays leased: the next holder marks it as uncertain.
			stopping, overdue = nil, time.After(r.d.drain)
		}
	}
}

// errNotFresh says that a notification thought to be fresh has an outcome already: the work is planned again with a look at
// everything.
var errNotFresh = errors.New("an outcome was there already")

// writing is the plan of one transaction, made inside it.
type writing struct {
	d       *desk
	refs    *refs
	careful bool // look up the standing of every notification
	now     time.Time
	rules   *Rules
	ended   bool // the process is stopping: early receipts are not waited for

	standing  map[NotificationID]standing
	entries   []journal.Entry
	gone      outKeys
	back      []outRow
	attempts  []attemptRow
	ends      map[NotificationID]*endRow
	endOrder  []*endRow
	uncertain []uncertainRow
	moved     []outRow // uncertain rows that wait elsewhere in the outbox now
	proven    []int64  // ended by what the far side said: no longer matched with receipts
	parts     map[NotificationID][]AttemptState
	orphans   []*pendingReceipt
	adopted   []adoption
	wake      map[int32]time.Time

	settled   []*claimed // recorded: out of this process's hands
	released  []*claimed // not sent after all: where they were
	batches   map[*batch]int
	stored    []*pendingReceipt
	told      []chan<- struct{}
	early     []*pendingReceipt
	dropRefs  []refKey
	freshOnly bool // every end is of a notification that should have none: COPY, which refuses if one has
	assumed   bool // some end is of a notification that was not looked up
	xid       string
}

// outKeys are rows of the outbox, by ranges of ids that follow each other.
type outKeys struct {
	keys []outKey
}

type outKey struct {
	run int32
	due time.Time
	id  NotificationID
}

func (k *outKeys) add(run int32, due time.Time, id NotificationID) {
	k.keys = append(k.keys, outKey{run, due, id})
}

// ranges are the arguments of the statement that deletes them.
func (k *outKeys) ranges() (runs []int32, dues []time.Time, first, last []int64) {
	slices.SortFunc(k.keys, func(a, b outKey) int {
		return cmp.Or(cmp.Compare(a.run, b.run), a.due.Compare(b.due), cmp.Compare(a.id, b.id))
	})
	for i, o := range k.keys {
		n := len(last) - 1
		if i > 0 && runs[n] == o.run && dues[n].Equal(o.due) && last[n] >= int64(o.id)-1 {
			last[n] = int64(o.id)
			continue
		}
		runs, dues, first, last = append(runs, o.run), append(dues, o.due), append(first, int64(o.id)), append(last, int64(o.id))
	}
	return runs, dues, first, last
}

type outRow struct {
	run      int32
	tries    int16
	sequence int16
	due      time.Time
	id       NotificationID
}

type attemptRow struct {
	id                 NotificationID
	at                 time.Time
	entry              int // index into entries
	run                int32
	link, no, sequence int16
	segment, segments  int16
	state              AttemptState
	messageID, code    string
}

type endRow struct {
	id                      NotificationID
	at                      time.Time
	entry                   int
	state                   State
	sequence, attempt, link int16
	reason                  Reason
	code                    string
}

type uncertainRow struct {
	a        *Attempt
	link     int16
	due      time.Time
	sequence int16
	since    time.Time
}

// happened looks whether a transaction whose commit was in doubt took place. known is false while the server cannot be asked, or
// still works at it.
func (w *writing) happened(ctx context.Context, d *desk) (done, known bool) {
	var status *string
	err := d.db.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8)`, w.xid).Scan(&status)
	var refused *pgconn.PgError
	switch {
	case err == nil && status != nil:
		return *status == "committed", *status != "in progress"
	case errors.As(err, &refused) && !postgres.IsUnavailable(err):
		return false, true // the number lies ahead of this server: a standby that never saw it
	}
	return false, false
}

// count tells the metrics what was recorded.
func (w *writing) count(all work, took time.Duration) {
	m, name := w.d.metrics, w.d.name
	m.Record.Observe(took.Seconds())
	for i := range all.results {
		m.Results.WithLabelValues(name, all.results[i].Verdict.String()).Inc()
	}
	orphans := len(w.orphans)
	m.Receipts.WithLabelValues(name, "orphan").Add(float64(orphans))
	m.Receipts.WithLabelValues(name, "settled").Add(float64(len(w.stored) - orphans))
	for _, e := range w.endOrder {
		m.Ends.WithLabelValues(w.d.channel, e.state.String()).Inc()
	}
	w.d.mu.Lock()
	m.Unrecorded.WithLabelValues(name).Set(float64(len(w.d.inHand)))
	w.d.mu.Unlock()
}

// committed is called once the transaction is durable.
func (w *writing) committed() {
	d := w.d
	d.reached(PointRecorded)
	d.mu.Lock()
	for _, c := range w.settled {
		d.forget(c, false)
	}
	again := d.now().Add(restRun)
	for _, c := range w.released {
		d.forget(c, true)
		if r := d.runs[c.run]; r != nil {
			r.idleUntil = again // the link that had no place for it will not have one at once
		}
	}
	for b, n := range w.batches {
		b.left -= n
	}
	d.mu.Unlock()
	for id, states := range w.parts {
		w.refs.parts[id] = states
	}
	for _, k := range w.dropRefs {
		w.refs.drop(k)
	}
	for _, p := range w.stored {
		p.ack.store()
	}
	for _, c := range w.told {
		close(c)
	}
	d.wakeClaimers()
}
