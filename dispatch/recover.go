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
func (d *desk) recoverLeases(ctx context.Context) (marked int, err error) {
	for {
		n, more, err := d.recoverLease(ctx)
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

func (d *desk) recoverLease(ctx context.Context) (marked int, more bool, err error) {
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
		return d.markUncertain(ctx, tx, r, batch, left, since)
	})
	return marked, more, err
}

// markUncertain explains rows of one lease: an attempt of state uncertain, and a wait for late receipts.
func (d *desk) markUncertain(ctx context.Context, tx pgx.Tx, r *run, batch int64, rows []*claimed, since time.Time) error {
	now := d.now()
	w := &writing{d: d, now: now, rules: d.rules(), wake: map[int32]time.Time{}}
	due := now.Add(w.rules.UncertainWait)
	w.entry(journal.Entry{Kind: journal.LeaseRecovered, At: now, Agency: r.agency, ListNo: r.listNo, Channel: r.channel, Link: d.name,
		Count: len(rows), Reason: string(ReasonProcessDied)})
	for _, c := range rows {
		a, err := d.open(ctx, r, c)
		if err != nil {
			return err
		}
		if a == nil {
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
			Reason: string(ReasonProcessDied), Commitment: a.commitment[:]})
		w.attempts = append(w.attempts, attemptRow{id: c.id, at: now, entry: e, run: r.id, no: a.No, sequence: st.sequence, segment: 1,
			segments: 1, state: AttemptUncertain})
		w.putLater(outRow{run: c.run, tries: a.No, sequence: st.sequence, due: due, id: c.id})
		w.uncertain = append(w.uncertain, uncertainRow{a: a, due: due, sequence: st.sequence, since: since})
	}
	if err := w.carryOut(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM leases WHERE batch = $1`, batch); err != nil {
		return fmt.Errorf("close lease: %w", err)
	}
	return nil
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
