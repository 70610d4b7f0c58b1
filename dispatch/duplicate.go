package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

const copyDuplicatesSQL = `COPY duplicates (id, earlier, run, due_at) FROM STDIN BINARY`

// setAside keeps rows out of the outbox whose person is told the same by an earlier one.
func setAside(ctx context.Context, tx pgx.Tx, list int64, rows []*Row, aside []int, runOf []int32) error {
	if len(aside) == 0 {
		return nil
	}
	err := postgres.CopyIn(ctx, tx, copyDuplicatesSQL, len(aside), func(row *postgres.CopyRow, i int) {
		r := rows[aside[i]]
		row.Fields(4)
		row.Bigint(int64(MakeID(list, r.Ordinal)))
		row.Bigint(int64(r.Earlier))
		row.Integer(runOf[aside[i]])
		row.Timestamptz(firstDue(r))
	})
	if err != nil {
		return fmt.Errorf("set duplicates aside: %w", err)
	}
	return nil
}

// Duplicate is a row that was set aside.
type Duplicate struct {
	ID      NotificationID
	Earlier NotificationID // the one that tells the person the same
	// Told says that the earlier one is there and has not ended, or ended so that the person knows or may know.
	Told bool
}

const (
	openDuplicatesSQL = `
SELECT id, earlier, EXISTS (SELECT FROM notifications WHERE id = d.earlier)
	AND NOT EXISTS (SELECT FROM outcomes WHERE id = d.earlier AND state NOT IN ($4, $5))
FROM duplicates d WHERE id >= $1 AND id < $2 AND NOT ended ORDER BY id LIMIT $3 FOR UPDATE OF d`

	// One step for each list that has any, however many there are.
	duplicateListsSQL = `
WITH RECURSIVE l AS (
	(SELECT id >> 24 AS no FROM duplicates WHERE NOT ended ORDER BY id LIMIT 1)
	UNION ALL
	SELECT (SELECT id >> 24 FROM duplicates WHERE NOT ended AND id >= (l.no + 1) << 24 ORDER BY id LIMIT 1) FROM l WHERE l.no IS NOT NULL)
SELECT no FROM l WHERE no IS NOT NULL`

	// Two passes at once would wait for each other's rows.
	duplicatesLockSQL = `SELECT pg_try_advisory_xact_lock(hashtextextended('ekc/duplicates', 0))`
)

// DuplicateLists are the numbers of lists that have rows set aside which are neither told nor ended.
func (a *Admission) DuplicateLists(ctx context.Context, tx pgx.Tx) ([]int64, error) {
	rows, err := tx.Query(ctx, duplicateListsSQL)
	if err != nil {
		return nil, fmt.Errorf("find duplicates: %w", err)
	}
	lists, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("find duplicates: %w", err)
	}
	return lists, nil
}

// Duplicates locks the next rows of a list that were set aside and have not ended. It finds none while another process is at it.
func (a *Admission) Duplicates(ctx context.Context, tx pgx.Tx, listNo int64, limit int) ([]Duplicate, error) {
	var mine bool
	if err := tx.QueryRow(ctx, duplicatesLockSQL).Scan(&mine); err != nil || !mine {
		return nil, err
	}
	rows, err := tx.Query(ctx, openDuplicatesSQL, int64(MakeID(listNo, 0)), int64(MakeID(listNo+1, 0)), limit, int16(Delivered), int16(Unconfirmed))
	if err != nil {
		return nil, fmt.Errorf("read duplicates of list %d: %w", listNo, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Duplicate])
	if err != nil {
		return nil, fmt.Errorf("read duplicates of list %d: %w", listNo, err)
	}
	return all, nil
}

const (
	insertOutcomesSQL = `INSERT INTO outcomes (id, at, entry, state, sequence, attempt, reason)
		SELECT id, $3, entry, $4, 1, 0, $5 FROM unnest($1::bigint[], $2::bigint[]) AS u(id, entry)`
	duplicateEndedSQL = `UPDATE duplicates SET ended = true WHERE id = ANY ($1)`
)

// EndDuplicates ends rows that were set aside as suppressed.
func (a *Admission) EndDuplicates(ctx context.Context, tx pgx.Tx, w *journal.Writer, agency string, ids []NotificationID, now time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	entries := make([]journal.Entry, len(ids))
	for i, id := range ids {
		entries[i] = journal.Entry{Kind: journal.Outcome, At: now, Agency: agency, ListNo: id.List(), Notification: int64(id), Sequence: 1,
			State: Suppressed.String(), From: Pending.String(), Reason: string(ReasonDuplicate)}
	}
	written, err := w.Append(ctx, tx, entries)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, insertOutcomesSQL, rawIDs(ids), written, now, int16(Suppressed), string(ReasonDuplicate)); err != nil {
		return fmt.Errorf("end duplicates: %w", err)
	}
	if _, err := tx.Exec(ctx, duplicateEndedSQL, rawIDs(ids)); err != nil {
		return fmt.Errorf("end duplicates: %w", err)
	}
	return nil
}

const (
	releaseSQL = `WITH released AS (DELETE FROM duplicates WHERE id = ANY ($1) RETURNING run, due_at, id)
		INSERT INTO outbox (run, due_at, id) SELECT run, due_at, id FROM released RETURNING run`
	wakeReleasedSQL = `UPDATE runs SET next_due = '-infinity', state = CASE state WHEN 'done' THEN 'active' ELSE state END
		WHERE id = ANY ($1) AND state IN ('active', 'done')`
	exchangeSQL = `WITH out AS (DELETE FROM outbox o USING unnest($1::bigint[], $2::bigint[]) AS u(id, earlier)
			WHERE o.run IN (SELECT id FROM runs WHERE list_no = ANY ($3) AND state = 'waiting') AND o.id = u.id RETURNING o.id, u.earlier, o.run, o.due_at)
		INSERT INTO duplicates (id, earlier, run, due_at) SELECT id, earlier, run, due_at FROM out`
	followSQL = `UPDATE duplicates d SET earlier = u.id FROM unnest($1::bigint[], $2::bigint[]) AS u(id, earlier)
		WHERE d.earlier = u.earlier AND NOT d.ended`
)

// ReleaseDuplicates puts rows of a started list that were set aside into the outbox after all; one for each earlier row. Others that were
// set aside for the same one are now for its sake. Where the earlier row belongs to a list that waits for its start (of those in waiting),
// it is set aside in turn; the caller has locked that list.
func (a *Admission) ReleaseDuplicates(ctx context.Context, tx pgx.Tx, released []Duplicate, waiting []int64) error {
	if len(released) == 0 {
		return nil
	}
	ids, earlier := make([]int64, len(released)), make([]int64, len(released))
	for i, d := range released {
		ids[i], earlier[i] = int64(d.ID), int64(d.Earlier)
	}
	rows, err := tx.Query(ctx, releaseSQL, ids)
	if err != nil {
		return fmt.Errorf("release duplicates: %w", err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return fmt.Errorf("release duplicates: %w", err)
	}
	if _, err := tx.Exec(ctx, wakeReleasedSQL, runs); err != nil {
		return fmt.Errorf("wake runs: %w", err)
	}
	if len(waiting) > 0 {
		if _, err := tx.Exec(ctx, exchangeSQL, earlier, ids, waiting); err != nil {
			return fmt.Errorf("set duplicates aside: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, followSQL, ids, earlier); err != nil {
		return fmt.Errorf("set duplicates aside: %w", err)
	}
	return nil
}

// takeAside ends rows that were set aside, as part of tx: somebody takes them back.
func takeAside(ctx context.Context, tx pgx.Tx, ids []NotificationID) ([]withdrawn, error) {
	raw := make([]int64, len(ids))
	for i, id := range ids {
		raw[i] = int64(id)
	}
	rows, err := tx.Query(ctx, `UPDATE duplicates SET ended = true WHERE id = ANY ($1) AND NOT ended RETURNING id, 0::smallint, 0::smallint`, raw)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[withdrawn])
}

const asideSQL = `SELECT r.state FROM duplicates d JOIN runs r ON r.id = d.run WHERE d.id = $1 AND NOT d.ended`

// aside is the gate of a row that was set aside: the start of its list, and then its end.
func (l *onlooker) aside(ctx context.Context, id NotificationID, start time.Time) (w Waiting, err error) {
	var run string
	err = l.DB.QueryRow(ctx, asideSQL, int64(id)).Scan(&run)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return w, nil
	case err != nil:
		return w, fmt.Errorf("read duplicates: %w", err)
	case run == "waiting":
		return Waiting{Gate: GateApproval}, nil
	case run == "paused":
		return Waiting{Gate: GatePaused}, nil
	case start.After(l.now):
		return Waiting{Gate: GateStart, Until: start}, nil
	}
	return Waiting{Gate: GateEnding, Reason: ReasonDuplicate}, nil
}
