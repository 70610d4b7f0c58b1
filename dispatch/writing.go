package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"ekc/citizen"
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
	contacts  []byte   // for pool_contacts
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

// happened looks whether a transaction whose commit was in doubt took place. known is false while the server cannot be asked, or
// still works at it. A server that crashed before any of a transaction was on disk gives its number to another one: committed is
// believed only if the first of its entries is there.
func (w *writing) happened(ctx context.Context, d *desk) (done, known bool) {
	var status *string
	err := d.db.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8)`, w.xid).Scan(&status)
	var refused *pgconn.PgError
	switch {
	case err == nil && status != nil && *status == "committed" && w.firstEntry != 0:
		done, err = journal.Has(ctx, d.db, w.firstEntry)
		return done, err == nil
	case err == nil && status != nil:
		return *status == "committed", *status != "in progress"
	case errors.As(err, &refused) && !postgres.IsUnavailable(err):
		return false, true // the number lies ahead of this server: it, or a standby in its place, never saw it
	}
	return false, false
}

// count tells the metrics what was recorded.
func (w *writing) count(all work, took time.Duration) {
	m, name := w.d.metrics, w.d.name
	m.Record.Observe(took.Seconds())
	var verdicts [VerdictWithheld + 1]int
	for i := range all.results {
		verdicts[all.results[i].Verdict]++
	}
	for v, n := range verdicts {
		if n > 0 {
			m.Results.WithLabelValues(name, Verdict(v).String()).Add(float64(n))
		}
	}
	orphans := len(w.orphans)
	m.Receipts.WithLabelValues(name, "orphan").Add(float64(orphans))
	m.Receipts.WithLabelValues(name, "settled").Add(float64(len(w.stored) - orphans))
	ends := map[State]int{}
	for i := range w.ends {
		ends[w.ends[i].state]++
	}
	for state, n := range ends {
		m.Ends.WithLabelValues(w.d.channel, state.String()).Add(float64(n))
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

const (
	copyAttemptsSQL = `COPY attempts (notification, at, entry, run, link, no, sequence, segment, segments, state, message_id, code) FROM STDIN BINARY`
	copyOutcomesSQL = `COPY outcomes (id, at, entry, state, sequence, attempt, link, reason, code) FROM STDIN BINARY`
)

// carryOut writes the plan: journal first, so that rows can name their entries, then everything else in one pipeline and two copies.
func (w *writing) carryOut(ctx context.Context, tx pgx.Tx) error {
	if w.assumed && !w.freshOnly {
		return errNotFresh // an upsert would hide what COPY would refuse: an end whose entry says what never was
	}
	ids, err := w.d.journal.Append(ctx, tx, w.entries)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		w.firstEntry = slices.Min(ids)
	}
	var b pgx.Batch
	if len(w.gone.keys) > 0 {
		runs, dues, first, last := w.gone.ranges()
		b.Queue(`DELETE FROM outbox o USING unnest($1::int[], $2::timestamptz[], $3::bigint[], $4::bigint[]) AS u(run, due_at, first, last)
			WHERE o.run = u.run AND o.due_at = u.due_at AND o.id BETWEEN u.first AND u.last`, runs, dues, first, last)
	}
	for _, o := range w.back {
		b.Queue(`INSERT INTO outbox (run, tries, sequence, due_at, id) VALUES ($1, $2, $3, $4, $5)`, o.run, o.tries, o.sequence, o.due, int64(o.id))
	}
	for _, u := range w.uncertain {
		b.Queue(`INSERT INTO uncertain (notification, digest, pool, run, due_at, link, no, sequence, since, at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (notification) DO UPDATE SET due_at = excluded.due_at, no = excluded.no, sequence = excluded.sequence, run = excluded.run,
				decided = false`, // what a person said was of the attempt before
			int64(u.a.ID), u.a.digest[:], w.d.hold.pool, u.a.run.id, u.due, u.link, u.a.No, u.sequence, u.since, w.now)
	}
	for _, m := range w.moved {
		b.Queue(`UPDATE uncertain SET run = $2, due_at = $3 WHERE notification = $1`, int64(m.id), m.run, m.due)
	}
	if len(w.proven) > 0 {
		b.Queue(`DELETE FROM uncertain WHERE notification = ANY($1)`, w.proven)
	}
	if len(w.contacts) > 0 {
		b.Queue(`INSERT INTO pool_contacts (pool, at, phones) VALUES ($1, $2, $3)`, w.d.hold.pool, w.now, w.contacts)
	}
	var over []int64
	for bt, n := range w.batches {
		if bt.left == n {
			over = append(over, bt.no)
		}
	}
	if len(over) > 0 {
		b.Queue(`DELETE FROM leases WHERE batch = ANY($1)`, over)
	}
	// Without a condition: the row's lock is what keeps sleepRuns from looking between this insert and its commit.
	for _, run := range slices.Sorted(maps.Keys(w.wake)) {
		b.Queue(`UPDATE runs SET next_due = least(next_due, $2), state = CASE state WHEN 'done' THEN 'active' ELSE state END WHERE id = $1`,
			run, w.wake[run])
	}
	w.queueOrphans(&b)
	if !w.freshOnly {
		for i := range w.ends {
			e := &w.ends[i]
			b.Queue(`INSERT INTO outcomes AS o (id, at, entry, state, sequence, attempt, link, reason, code)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
				ON CONFLICT (id) DO UPDATE SET at = excluded.at, entry = excluded.entry, state = excluded.state, sequence = excluded.sequence,
					attempt = excluded.attempt, link = excluded.link, reason = excluded.reason, code = excluded.code
				WHERE excluded.state > o.state`,
				int64(e.id), e.at, ids[e.entry], int16(e.state), e.sequence, e.attempt, e.link, string(e.reason), e.code)
		}
	}
	if b.Len() > 0 {
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
	}
	if len(w.attempts) > 0 {
		err := postgres.CopyIn(ctx, tx, copyAttemptsSQL, len(w.attempts), func(row *postgres.CopyRow, i int) {
			a := &w.attempts[i]
			row.Fields(12)
			row.Bigint(int64(a.id))
			row.Timestamptz(a.at)
			row.Bigint(ids[a.entry])
			row.Integer(a.run)
			row.Smallint(a.link)
			row.Smallint(a.no)
			row.Smallint(a.sequence)
			row.Smallint(a.segment)
			row.Smallint(a.segments)
			row.Smallint(int16(a.state))
			row.Text(a.messageID)
			row.Text(a.code)
		})
		if err != nil {
			return fmt.Errorf("copy attempts: %w", err)
		}
	}
	if w.freshOnly && len(w.ends) > 0 {
		err := postgres.CopyIn(ctx, tx, copyOutcomesSQL, len(w.ends), func(row *postgres.CopyRow, i int) {
			e := &w.ends[i]
			row.Fields(9)
			row.Bigint(int64(e.id))
			row.Timestamptz(e.at)
			row.Bigint(ids[e.entry])
			row.Smallint(int16(e.state))
			row.Smallint(e.sequence)
			row.Smallint(e.attempt)
			row.Smallint(e.link)
			row.Text(string(e.reason))
			row.Text(e.code)
		})
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23505" {
			return errNotFresh
		}
		if err != nil {
			return fmt.Errorf("copy outcomes: %w", err)
		}
	}
	return nil
}

// adoption says that orphan receipts for a phone ended a notification: n of them, those of the state first.
type adoption struct {
	id     NotificationID
	digest citizen.Digest
	state  AttemptState
	n      int16
}

const adoptedSQL = `UPDATE orphan_receipts SET notification = $1 WHERE id IN (
	SELECT id FROM orphan_receipts WHERE digest = $2 AND notification IS NULL AND state > 4 ORDER BY state = $3 DESC, id DESC LIMIT $4)`

// queueOrphans stores receipts whose message_id nobody knows: they may settle what is, or will be, uncertain.
func (w *writing) queueOrphans(b *pgx.Batch) {
	for _, a := range w.adopted {
		b.Queue(adoptedSQL, int64(a.id), a.digest[:], int16(a.state), a.n)
	}
	for _, p := range w.orphans {
		d, err := w.d.keyring.PhoneDigest(p.To)
		if err != nil {
			d = citizen.Digest{}
		}
		var submitted any
		if !p.SubmittedAt.IsZero() {
			submitted = p.SubmittedAt
		}
		b.Queue(`INSERT INTO orphan_receipts (link, message_id, digest, state, code, submitted_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			p.link, p.MessageID, d[:], int16(p.State), p.Code, submitted)
	}
}
