package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// recoverLeases marks as uncertain whatever a process that is gone had claimed and not recorded: it may have left. It runs before the
// channel opens, so that receipts find the marks.
func (d *desk) recoverLeases(ctx context.Context, m mark) (marked int, err error) {
	for {
		n, more, err := d.recoverLease(ctx, m)
		if err != nil {
			return marked, err
		}
		marked += n
		if !more {
			return marked, nil
		}
	}
}

const leaseSQL = `
SELECT batch, run, ids, first_due, first_id, last_due, last_id, at FROM leases
WHERE pool = $1 AND fence < $2 ORDER BY batch LIMIT 1`

const leasedSQL = `
SELECT o.tries, o.sequence, o.due_at, o.id, n.sealed
FROM outbox o JOIN notifications n ON n.id = o.id
WHERE o.run = $1 AND (o.due_at, o.id) >= ($2, $3) AND (o.due_at, o.id) <= ($4, $5) AND o.id = ANY($6)`

func (d *desk) recoverLease(ctx context.Context, m mark) (marked int, more bool, err error) {
	err = postgres.InTx(ctx, d.db, func(tx pgx.Tx) error {
		var fenced error
		var b pgx.Batch
		d.hold.queueFence(&b, func(err error) { fenced = err })
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		if fenced != nil {
			return fenced
		}
		var batch, firstID, lastID int64
		var runID int32
		var ids []int64
		var firstDue, lastDue, since time.Time
		err := tx.QueryRow(ctx, leaseSQL, d.hold.pool, d.hold.fence).Scan(&batch, &runID, &ids, &firstDue, &firstID, &lastDue, &lastID, &since)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read lease: %w", err)
		}
		more = true
		r, err := d.runOrLoad(ctx, tx, runID)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, leasedSQL, runID, firstDue, firstID, lastDue, lastID, ids)
		if err != nil {
			return fmt.Errorf("read leased rows: %w", err)
		}
		left, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*claimed, error) {
			c := &claimed{run: runID}
			return c, row.Scan(&c.tries, &c.sequence, &c.due, (*int64)(&c.id), &c.sealed)
		})
		if err != nil {
			return fmt.Errorf("read leased rows: %w", err)
		}
		marked = len(left)
		if m.since.IsZero() || since.Before(m.since) {
			m.since = since
		}
		if err := d.markUncertain(ctx, tx, r, left, m); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM leases WHERE batch = $1`, batch); err != nil {
			return fmt.Errorf("close lease: %w", err)
		}
		return nil
	})
	return marked, more, err
}

// mark says why rows may have left, since when, and when they are decided.
type mark struct {
	reason Reason
	since  time.Time // zero: since they were claimed
	due    time.Time
}

// markUncertain explains rows that may have left: an attempt of state uncertain, and a wait for late receipts.
func (d *desk) markUncertain(ctx context.Context, tx pgx.Tx, r *run, rows []*claimed, m mark) error {
	now := d.now()
	w := &writing{d: d, now: now, rules: d.rules(), wake: map[int32]time.Time{}}
	w.entry(journal.Entry{Kind: journal.LeaseRecovered, At: now, Agency: r.agency, ListNo: r.listNo, Channel: r.channel, Link: d.name,
		Count: len(rows), Reason: string(m.reason)})
	opener := d.opener(len(rows))
	for _, c := range rows {
		a, err := opener.open(ctx, r, c)
		if err != nil && !errors.Is(err, citizen.ErrKeyLocked) {
			return err
		}
		if a == nil { // not to be read, or not now: it is marked all the same
			a = &Attempt{ID: c.id, No: c.tries + 1, run: r, row: c, digest: citizen.Digest{}}
		}
		st := standing{state: Pending, sequence: c.sequence}
		if c.tries > 0 {
			if err := w.loadOne(ctx, tx, c.id, &st); err != nil {
				return err
			}
		}
		w.gone.add(c.run, c.due, c.id)
		if st.state.Final() {
			continue
		}
		st.sequence++
		e := w.entry(journal.Entry{Kind: journal.Attempt, At: now, Agency: r.agency, ListNo: r.listNo, Notification: int64(c.id),
			Sequence: int(st.sequence), Attempt: int(a.No), Channel: r.channel, State: Uncertain.String(), From: st.state.String(),
			Reason: string(m.reason), Commitment: a.commitment[:]})
		w.attempts = append(w.attempts, attemptRow{id: c.id, at: now, entry: e, run: r.id, no: a.No, sequence: st.sequence, segment: 1,
			segments: 1, state: AttemptUncertain})
		w.putLater(outRow{run: c.run, tries: a.No, sequence: st.sequence, due: m.due, id: c.id})
		w.uncertain = append(w.uncertain, uncertainRow{a: a, due: m.due, sequence: st.sequence, since: m.since})
	}
	return w.carryOut(ctx, tx)
}

// Restored is what was found in a database that is older than what was seen of it.
type Restored struct {
	Marked  int     // notifications that may have gone after the backup: held, each waits for a person
	Waiting []int64 // lists that were not started yet at the backup, and may have been since: check before approving them
}

// Recover makes a restored or failed-over database safe to send from: everything that was due in it may have gone already, so it is
// marked as uncertain and held for a person. No process may be sending; whoever still believes to hold a pool is fenced off.
func (c *Core) Recover(ctx context.Context, pools []Pool) (found Restored, err error) {
	for _, p := range pools {
		if err := EnsurePool(ctx, c.DB, p.Name, p.Channel, p.Links); err != nil {
			return found, err
		}
		if _, err := c.DB.Exec(ctx, `DELETE FROM pool_holders WHERE pool = (SELECT no FROM pools WHERE name = $1)`, p.Name); err != nil {
			return found, fmt.Errorf("free pool %s: %w", p.Name, err)
		}
		hold, err := take(ctx, c.DB, p.Name, c.Process)
		if err != nil {
			return found, err
		}
		if hold == nil {
			return found, fmt.Errorf("pool %s was taken by another process: stop every `ekc serve` first", p.Name)
		}
		n, err := c.recoverPool(ctx, p, hold)
		hold.release(ctx, c.DB)
		if err != nil {
			return found, err
		}
		found.Marked += n
	}
	rows, err := c.DB.Query(ctx, `SELECT DISTINCT list_no FROM runs WHERE state = 'waiting' ORDER BY 1`)
	if err == nil {
		found.Waiting, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return found, fmt.Errorf("look for lists not started: %w", err)
	}
	return found, nil
}

func (c *Core) recoverPool(ctx context.Context, p Pool, hold *holding) (marked int, err error) {
	d, err := c.newDesk(ctx, p, hold, c.Log)
	if err != nil {
		return 0, err
	}
	now := d.now()
	m := mark{reason: ReasonRestored, since: now.Add(-restoredSince), due: held}
	if marked, err = d.recoverLeases(ctx, m); err != nil {
		return marked, err
	}
	rows, err := c.DB.Query(ctx, `SELECT id FROM runs WHERE pool = $1 AND state IN ('active', 'paused') ORDER BY id`, hold.pool)
	if err != nil {
		return marked, fmt.Errorf("read runs: %w", err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return marked, fmt.Errorf("read runs: %w", err)
	}
	for _, id := range runs {
		for {
			n, err := d.holdSlice(ctx, id, now, m)
			if err != nil {
				return marked, err
			}
			if marked += n; n == 0 {
				break
			}
		}
	}
	return marked, nil
}

// restoredSince is how far back receipts of messages sent before the restore are looked for.
const restoredSince = 72 * time.Hour

// holdSlice marks up to a thousand rows of a run that were due; marked rows are due no more.
func (d *desk) holdSlice(ctx context.Context, runID int32, now time.Time, m mark) (n int, err error) {
	err = postgres.InTx(ctx, d.db, func(tx pgx.Tx) error {
		r, err := d.runOrLoad(ctx, tx, runID)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT o.tries, o.sequence, o.due_at, o.id, n.sealed FROM outbox o JOIN notifications n ON n.id = o.id
			WHERE o.run = $1 AND o.due_at <= $2 ORDER BY o.due_at, o.id LIMIT 1000`, runID, now)
		if err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
		due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*claimed, error) {
			c := &claimed{run: runID}
			return c, row.Scan(&c.tries, &c.sequence, &c.due, (*int64)(&c.id), &c.sealed)
		})
		if err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
		if n = len(due); n == 0 {
			return nil
		}
		return d.markUncertain(ctx, tx, r, due, m)
	})
	return n, err
}

func (w *writing) loadOne(ctx context.Context, tx pgx.Tx, id NotificationID, st *standing) error {
	found, err := loadStanding(ctx, tx, []int64{int64(id)})
	if err != nil {
		return err
	}
	if s, ok := found[id]; ok {
		s.sequence = max(s.sequence, st.sequence)
		*st = s
	}
	return nil
}
