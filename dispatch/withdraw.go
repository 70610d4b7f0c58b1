package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
)

// Withdrawal takes back notifications of one list that have not left.
type Withdrawal struct {
	Agency string
	Actor  string
	At     time.Time
	Why    string // a slug for the journal; "" = none given
	IDs    []NotificationID
}

const (
	waitingRowsSQL = `SELECT DISTINCT o.run, r.pool, o.due_at, o.id FROM runs r JOIN outbox o ON o.run = r.id WHERE r.list_no = $1 AND o.id = ANY($2)`
	// A row that is leased may be on the wire.
	withdrawSQL = `DELETE FROM outbox o USING unnest($1::integer[], $2::timestamptz[], $3::bigint[]) AS w(run, due_at, id)
		WHERE o.run = w.run AND o.due_at = w.due_at AND o.id = w.id
		AND NOT EXISTS (SELECT FROM leases l WHERE l.run = o.run AND o.id = ANY(l.ids)) RETURNING o.id, o.tries, o.sequence`
	withdrawnSQL = `INSERT INTO outcomes (id, at, entry, state, sequence, attempt, reason)
		SELECT id, $1, entry, $2, sequence, tries, $3 FROM unnest($4::bigint[], $5::bigint[], $6::smallint[], $7::smallint[]) AS u(id, entry, sequence, tries)`
)

// Withdraw ends what has not left as cancelled, as part of tx, and returns those for which it was too late: they have left, are leaving, or
// have ended. It waits for the settling transactions of the pools, so that no process has any of them in hand unnoticed.
func Withdraw(ctx context.Context, tx pgx.Tx, w *journal.Writer, of Withdrawal) (late []NotificationID, err error) {
	if len(of.IDs) == 0 {
		return nil, nil
	}
	aside, err := takeAside(ctx, tx, of.IDs)
	if err != nil {
		return nil, fmt.Errorf("withdraw: %w", err)
	}
	left := slices.Clone(of.IDs)
	drop := func(taken []withdrawn) (gone []NotificationID, err error) {
		if gone, err = endWithdrawn(ctx, tx, w, of, taken); err != nil {
			return nil, fmt.Errorf("withdraw: %w", err)
		}
		left = slices.DeleteFunc(left, func(id NotificationID) bool { return slices.Contains(gone, id) })
		return gone, nil
	}
	if _, err := drop(aside); err != nil {
		return nil, err
	}
	// The outbox is searched before the pools are held: the list may have a million rows, and nothing settles meanwhile. What moves in
	// between (it was tried, and waits again) is found by another look.
	for range 3 {
		if len(left) == 0 {
			break
		}
		taken, err := takeWaiting(ctx, tx, left)
		if err != nil {
			return nil, fmt.Errorf("withdraw: %w", err)
		}
		gone, err := drop(taken)
		if err != nil {
			return nil, err
		}
		if len(gone) == 0 {
			break
		}
	}
	return left, nil
}

// withdrawn is a row that was taken out of where it waited.
type withdrawn struct {
	ID              int64
	Tries, Sequence int16
}

type waitingRows struct {
	runs  []int32
	dues  []time.Time
	ids   []int64
	pools []int16
}

func lookForWaiting(ctx context.Context, tx pgx.Tx, ids []NotificationID) (w waitingRows, err error) {
	rows, err := tx.Query(ctx, waitingRowsSQL, ids[0].List(), rawIDs(ids))
	if err != nil {
		return w, err
	}
	var run int32
	var pool int16
	var due time.Time
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&run, &pool, &due, &id}, func() error {
		w.runs, w.dues, w.ids = append(w.runs, run), append(w.dues, due), append(w.ids, id)
		if !slices.Contains(w.pools, pool) {
			w.pools = append(w.pools, pool)
		}
		return nil
	})
	slices.Sort(w.pools)
	return w, err
}

// takeWaiting takes rows of one list out of the outbox, but those that are leased.
func takeWaiting(ctx context.Context, tx pgx.Tx, ids []NotificationID) ([]withdrawn, error) {
	waiting, err := lookForWaiting(ctx, tx, ids)
	if err != nil || len(waiting.ids) == 0 {
		return nil, err
	}
	for _, pool := range waiting.pools {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, poolLock(pool)); err != nil {
			return nil, err
		}
	}
	rows, err := tx.Query(ctx, withdrawSQL, waiting.runs, waiting.dues, waiting.ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[withdrawn])
}

// endWithdrawn writes down the ends of rows that were taken out, and returns those that had not ended before.
func endWithdrawn(ctx context.Context, tx pgx.Tx, w *journal.Writer, of Withdrawal, taken []withdrawn) (gone []NotificationID, err error) {
	slices.SortFunc(taken, func(a, b withdrawn) int { return cmp.Compare(a.ID, b.ID) })
	raw := make([]int64, len(taken))
	for i := range taken {
		raw[i] = taken[i].ID
	}
	standing, err := loadStanding(ctx, tx, raw)
	if err != nil {
		return nil, err
	}
	var entries []journal.Entry
	var end []int64
	var sequences, tries []int16
	for _, r := range taken {
		id := NotificationID(r.ID)
		st := standing[id]
		if st.state.Final() {
			continue // the row waited for nothing
		}
		gone = append(gone, id)
		sequence := max(r.Sequence, st.sequence) + 1
		entries = append(entries,
			journal.Entry{Kind: journal.NotificationCancelled, At: of.At, Agency: of.Agency, Actor: of.Actor, ListNo: id.List(), Notification: r.ID,
				Data: journal.Fields("why", of.Why)},
			journal.Entry{Kind: journal.Outcome, At: of.At, Agency: of.Agency, ListNo: id.List(), Notification: r.ID, Sequence: int(sequence), Attempt: int(r.Tries),
				State: Cancelled.String(), From: st.state.String(), Reason: string(ReasonCancelled)})
		end, sequences, tries = append(end, r.ID), append(sequences, sequence), append(tries, r.Tries)
	}
	if len(entries) == 0 {
		return gone, nil
	}
	entryIDs, err := w.Append(ctx, tx, entries)
	if err != nil {
		return nil, err
	}
	ends := make([]int64, len(end))
	for i := range ends {
		ends[i] = entryIDs[2*i+1]
	}
	_, err = tx.Exec(ctx, withdrawnSQL, of.At, int16(Cancelled), string(ReasonCancelled), end, ends, sequences, tries)
	return gone, err
}
