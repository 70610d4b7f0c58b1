package dispatch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"ekc/journal"
	"ekc/postgres"
)

// writing is the plan of one transaction, made inside it.
type writing struct {
	d       *desk
	shared  *shared
	careful bool // look up the standing of every notification
	now     time.Time
	began   time.Time // by the machine's clock
	rules   *Rules
	ended   bool // the process is stopping: early receipts are not waited for

	standing  map[NotificationID]standing
	entries   []journal.Entry
	gone      outKeys
	back      []outRow
	attempts  []attemptRow
	ends      []endRow
	endOf     map[NotificationID]int // index into ends
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
	again     work // what has to wait for another transaction
	newRefs   []newRef
	own       map[refKey]found // accepted in this very transaction, where a receipt may have come first
	dropRefs  []refKey
	held      []NotificationID // in busy
	matching  bool             // it holds shared.matching
	freshOnly bool             // every end is of a notification that should have none: COPY, which refuses if one has
	assumed   bool             // some end is of a notification that was not looked up
	xid       string
	// firstEntry is the id of the first entry it writes, which is that of a row of the journal; 0 = it writes none.
	firstEntry int64
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

// A server that crashed before any of a transaction was on disk gives its number to another one: committed is believed only if the
// first of its entries is there, whose id nobody else gets.
const happenedSQL = `SELECT pg_xact_status($1::text::xid8), $2 = 0 OR EXISTS (SELECT FROM journal WHERE first_id = $2)`

// happened looks whether a transaction whose commit was in doubt took place. known is false while the server cannot be asked, or
// still works at it.
func (w *writing) happened(ctx context.Context, d *desk) (done, known bool) {
	var status *string
	var there bool
	err := d.db.QueryRow(ctx, happenedSQL, w.xid, w.firstEntry).Scan(&status, &there)
	var refused *pgconn.PgError
	switch {
	case err == nil && status != nil:
		return *status == "committed" && there, *status != "in progress"
	case errors.As(err, &refused) && !postgres.IsUnavailable(err):
		return false, true // the number lies ahead of this server: it, or a standby in its place, never saw it
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
	for i := range w.ends {
		m.Ends.WithLabelValues(w.d.channel, w.ends[i].state.String()).Inc()
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
	w.shared.refs.change(w.newRefs, w.dropRefs, w.parts)
	for _, p := range w.stored {
		p.ack.store()
	}
	for _, c := range w.told {
		close(c)
	}
	d.wakeClaimers()
}

// overdue says of a receipt whose message_id nobody knows that its submit_sm_resp is not waited for any more.
func (w *writing) overdue(p *pendingReceipt) bool {
	return w.ended || !p.until.IsZero() && !w.began.Before(p.until)
}

// hold takes a notification for this transaction; false while the other recorder's has it. What neither of them may change but for one
// transaction in turn is not asked for: a first attempt belongs to its result, and then, being of one segment, to its receipt.
func (w *writing) hold(id NotificationID) bool {
	ok, first := w.shared.busy.take(id, w)
	if first {
		w.held = append(w.held, id)
	}
	return ok
}

// release ends what the transaction held.
func (w *writing) release() {
	w.shared.busy.release(w.held)
	w.held = nil
	if w.matching {
		w.matching = false
		w.shared.matching.Unlock()
	}
}
