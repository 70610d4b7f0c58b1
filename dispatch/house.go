package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

const (
	houseEvery  = 200 * time.Millisecond
	strayEvery  = 15 * time.Second
	strayAfter  = time.Minute
	giveUpEvery = time.Second
	giveUpMost  = 1000
)

// house does the holder's housekeeping: runs that have nothing due are put to sleep, and what was accepted and never confirmed is
// ended when its time is over.
func (d *desk) house(ctx context.Context) error {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	var swept, strays time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		d.forgetRuns()
		if time.Since(strays) >= strayEvery {
			strays = time.Now()
			if err := d.closeStrays(ctx, strayAfter); err != nil && ctx.Err() == nil {
				d.log.Warn("housekeeping failed", slog.Any("err", err))
			}
		}
		if err := d.sleepRuns(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("housekeeping failed", slog.Any("err", err))
		}
		if err := d.endCancelled(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("housekeeping failed", slog.Any("err", err))
		}
		if time.Since(swept) < giveUpEvery || d.draining.Load() {
			continue
		}
		swept = time.Now()
		if err := d.sweepUnconfirmed(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("housekeeping failed", slog.Any("err", err))
		}
	}
}

// endCancelled ends what waits of cancelled lists while the channel has no room: none of it is going to leave, so it needs none. What is
// in hand for it is a quarter of the budget at most, since the claims of others count it.
func (d *desk) endCancelled(ctx context.Context) error {
	snap := d.control.fresh()
	if snap == nil || d.ch.Room() > 0 || !d.hold.mayWrite(time.Now()) || d.draining.Load() {
		return nil
	}
	due, err := d.dueRuns(ctx, []int16{LaneSingle, LaneNormal, LaneBulk})
	if err != nil {
		return err
	}
	now, rules := d.now(), d.rules()
	due = slices.DeleteFunc(due, func(r *run) bool { return r.state != "cancelling" || !d.ready(ctx, r, snap, rules, now) })
	turn := 0
	rows, err := d.take(ctx, choose(due, d.budget.singles, &turn))
	if err != nil || len(rows) == 0 {
		return err
	}
	_, decisions, err := d.judge(ctx, rows, snap, rules, now) // of a cancelled run nothing is let through
	if err != nil {
		d.putBack(rows)
		return err
	}
	d.rec.decide(decisions)
	return nil
}

// sleepRuns sets the next due time of runs that gave nothing to a claim. The run's row is locked first and the outbox read after, so
// that whoever puts a row in meanwhile either is seen here or lowers the time afterwards.
func (d *desk) sleepRuns(ctx context.Context) error {
	d.mu.Lock()
	ids := d.empty
	d.empty = nil
	d.mu.Unlock()
	seen := make(map[int32]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		err := postgres.InTx(ctx, d.db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `SELECT FROM runs WHERE id = $1 FOR UPDATE`, id); err != nil {
				return err
			}
			// What is being cancelled is due at once, also what waits for a later time.
			_, err := tx.Exec(ctx, `UPDATE runs r SET next_due = CASE WHEN state = 'cancelling' AND o.due_at IS NOT NULL THEN '-infinity'
					ELSE coalesce(o.due_at, 'infinity') END,
				state = CASE WHEN o.due_at IS NULL AND state = 'active'
					AND NOT EXISTS (SELECT FROM leases l WHERE l.run = r.id) THEN 'done' ELSE state END
				FROM (SELECT min(due_at) AS due_at FROM outbox WHERE run = $1) o
				WHERE r.id = $1 AND r.state IN ('active', 'cancelling')`, id)
			return err
		})
		if err != nil {
			return fmt.Errorf("put run %d to sleep: %w", id, err)
		}
		d.mu.Lock()
		if r := d.runs[id]; r != nil && r.claimed == 0 {
			delete(d.runs, id)
		}
		d.mu.Unlock()
	}
	return nil
}

// closeStrays deletes leases of this holding none of whose rows is in hand: their commit was answered by a broken connection, so the claim
// was put back. Left alone they would keep their run from being done, and mark at the next takeover what never left.
func (d *desk) closeStrays(ctx context.Context, age time.Duration) error {
	rows, err := d.db.Query(ctx, `SELECT batch, ids FROM leases WHERE pool = $1 AND fence = $2 AND at < clock_timestamp() - $3::interval`,
		d.hold.pool, d.hold.fence, age)
	if err != nil {
		return fmt.Errorf("look for stray leases: %w", err)
	}
	var stray []int64
	var batch int64
	var ids []int64
	if _, err := pgx.ForEachRow(rows, []any{&batch, &ids}, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, id := range ids {
			if d.inHand[NotificationID(id)] != nil {
				return nil
			}
		}
		stray = append(stray, batch)
		return nil
	}); err != nil {
		return fmt.Errorf("look for stray leases: %w", err)
	}
	if len(stray) == 0 {
		return nil
	}
	if _, err := d.db.Exec(ctx, `DELETE FROM leases WHERE batch = ANY($1) AND fence = $2`, stray, d.hold.fence); err != nil {
		return fmt.Errorf("close stray leases: %w", err)
	}
	return nil
}

// knownRuns bounds the runs kept in memory: receipts speak of many that are long over.
const knownRuns = 20000

// forgetRuns lets go of runs nothing is claimed of, once there are many; they are read again when they are needed.
func (d *desk) forgetRuns() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.runs) < knownRuns {
		return
	}
	for id, r := range d.runs {
		if r.claimed == 0 {
			delete(d.runs, id)
		}
	}
}

// giveUp is an accepted attempt that was never confirmed.
type giveUp struct {
	id       NotificationID
	run      int32
	no       int16
	sequence int16
	link     int16
	message  string // its message_id: no receipt is waited for any more
	done     chan<- struct{}
}

const unconfirmedSQL = `
SELECT a.notification, a.run, a.no, a.sequence, a.link, a.message_id, a.at
FROM attempts a
WHERE a.at > $1 AND a.at <= $2 AND a.state = 4 AND a.link = ANY($3)
	AND NOT EXISTS (SELECT FROM outcomes o WHERE o.id = a.notification)
ORDER BY a.at FETCH FIRST $4 ROWS WITH TIES`

// sweepUnconfirmed ends what was accepted longer ago than the rule's give-up time. Its cursor is kept with the journal's followers, so
// that another holder goes on from there.
func (d *desk) sweepUnconfirmed(ctx context.Context) error {
	name := "dispatch/give_up/" + d.name
	at, err := journal.FollowerPosition(ctx, d.db, name)
	if err != nil {
		return err
	}
	wait := d.rules().GiveUp
	until := d.now().Add(-wait)
	rows, err := d.db.Query(ctx, unconfirmedSQL, time.UnixMicro(at), until, d.own, giveUpMost)
	if err != nil {
		return fmt.Errorf("look for the unconfirmed: %w", err)
	}
	var g giveUp
	var last time.Time
	var found []giveUp
	_, err = pgx.ForEachRow(rows, []any{(*int64)(&g.id), &g.run, &g.no, &g.sequence, &g.link, &g.message, &last}, func() error {
		found = append(found, g)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for the unconfirmed: %w", err)
	}
	if len(found) < giveUpMost {
		// Nothing older is left. What was stamped within the last minute may still be committing.
		last = until.Add(-max(0, time.Minute-wait))
	}
	if len(found) > 0 {
		done := make(chan struct{})
		found[len(found)-1].done = done
		d.heard.mu.Lock()
		d.heard.giveUps = append(d.heard.giveUps, found...)
		d.heard.mu.Unlock()
		d.heard.signal()
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if last.UnixMicro() <= at {
		return nil
	}
	return postgres.InTx(ctx, d.db, func(tx pgx.Tx) error { return journal.SaveFollower(ctx, tx, name, at, last.UnixMicro()) })
}

func (w *writing) giveUp(ctx context.Context, tx pgx.Tx, all []giveUp) error {
	ids := make([]int64, len(all))
	for i, g := range all {
		ids[i] = int64(g.id)
	}
	if err := w.load(ctx, tx, ids); err != nil {
		return err
	}
	for _, g := range all {
		if g.done != nil {
			w.told = append(w.told, g.done)
		}
		w.dropRefs = append(w.dropRefs, w.shared.refs.key(g.link, g.message))
		st := w.standing[g.id]
		if _, ended := w.endOf[g.id]; ended || st.state != Accepted || st.attempts != g.no {
			continue // ended meanwhile, or tried again since
		}
		r, err := w.d.runOrLoad(ctx, tx, g.run)
		if err != nil {
			return err
		}
		w.end(r, st, endRow{id: g.id, at: w.now, state: Unconfirmed, attempt: g.no, link: g.link, reason: ReasonNoReceipt})
	}
	return nil
}

// sweep removes what is too old to be matched, once at the start and then every hour.
func (c *Core) sweep(ctx context.Context) error {
	for {
		if err := c.sweepMatched(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("old receipts could not be swept", slog.Any("err", err))
		}
		if err := c.sweepContacts(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("old contacts could not be swept", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Hour):
		}
	}
}

// matchFor is how long orphan receipts and uncertain attempts are kept to be matched with each other.
const matchFor = 7 * 24 * time.Hour

// sweepMatched removes what can no longer be matched, or is over: both tables hold digests of phones.
func (c *Core) sweepMatched(ctx context.Context) error {
	before := c.Now().Add(-matchFor)
	for _, q := range [...]string{
		`DELETE FROM orphan_receipts WHERE at < $1`,
		`DELETE FROM uncertain u WHERE at < $1 AND EXISTS (SELECT FROM outcomes o WHERE o.id = u.notification)`,
	} {
		if _, err := c.DB.Exec(ctx, q, before); err != nil {
			return err
		}
	}
	return nil
}

// A pool that a process of the version before held, and nobody holds any more, is known from now on. Should it be taken meanwhile, its fence
// is another one.
const knowIdleSQL = `
UPDATE pools p SET contacts_fence = was.fence, contacts_since = clock_timestamp()
FROM pools was
WHERE was.no = p.no AND was.fence = p.fence AND p.contacts_fence <> was.fence
	AND NOT EXISTS (SELECT FROM pool_holders h WHERE h.pool = p.no AND h.renewed_at > clock_timestamp() - interval '1 hour')`

// sweepContacts removes the contacts that no cap looks back to any more.
func (c *Core) sweepContacts(ctx context.Context) error {
	if _, err := c.DB.Exec(ctx, `DELETE FROM pool_contacts WHERE at < $1`, c.Now().Add(-contactsLast)); err != nil {
		return err
	}
	_, err := c.DB.Exec(ctx, knowIdleSQL)
	return err
}
