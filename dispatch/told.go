package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/journal"
)

// toldAgain stands in the entry of an attempt that brought its notification to the state it was in already, and is told all the same:
// a second channel accepted it too, a second attempt is uncertain too. It sorts after what else such an entry has.
var toldAgain = journal.Field{Name: "told", Value: "again"}

// Told is the state that an entry of the journal tells the sender of its notification: acceptance, uncertainty, an end or its raise. ok
// is false for an entry that tells him nothing.
func Told(e *journal.Entry) (state State, ok bool) {
	state, ok = ParseState(e.State)
	switch {
	case !ok || e.Notification == 0:
		return state, false
	case e.Kind == journal.Outcome:
		return state, true
	case e.Kind != journal.Attempt || state != Accepted && state != Uncertain:
		return state, false
	}
	return state, e.From != e.State || e.Get(toldAgain.Name) == toldAgain.Value
}

// RowRef is a notification in the terms of its sender.
type RowRef struct {
	ID         NotificationID
	RowNo      int32 // in the whole list
	Part       int32
	Segments   int16
	ExternalID string
	InformBy   *time.Time
}

const rowRefsSQL = `SELECT id, row_no, part, segments, external_id, inform_by FROM notifications WHERE id = ANY ($1) ORDER BY id`

// RowsOf reads what notifications are called by their senders, in the order of their ids.
func RowsOf(ctx context.Context, db *pgxpool.Pool, ids []NotificationID) ([]RowRef, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := db.Query(ctx, rowRefsSQL, rawIDs(ids))
	if err != nil {
		return nil, fmt.Errorf("read rows of notifications: %w", err)
	}
	refs := make([]RowRef, 0, len(ids))
	var r RowRef
	_, err = pgx.ForEachRow(rows, []any{(*int64)(&r.ID), &r.RowNo, &r.Part, &r.Segments, &r.ExternalID, &r.InformBy}, func() error {
		refs = append(refs, r)
		r.InformBy = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rows of notifications: %w", err)
	}
	return refs, nil
}

// state 2 = uncertain
const doubtedSQL = `SELECT notification, min(no) FROM attempts WHERE notification = ANY ($1) AND at >= $2 AND state = 2 GROUP BY notification`

// Doubted finds the first uncertain attempt of each notification that has one: what was attempted after it may be a duplicate. No attempt
// of theirs is older than since.
func Doubted(ctx context.Context, db *pgxpool.Pool, ids []NotificationID, since time.Time) (map[NotificationID]int16, error) {
	first := make(map[NotificationID]int16)
	if len(ids) == 0 {
		return first, nil
	}
	rows, err := db.Query(ctx, doubtedSQL, rawIDs(ids), since)
	if err != nil {
		return nil, fmt.Errorf("look for uncertain attempts: %w", err)
	}
	var id NotificationID
	var no int16
	if _, err := pgx.ForEachRow(rows, []any{(*int64)(&id), &no}, func() error { first[id] = no; return nil }); err != nil {
		return nil, fmt.Errorf("look for uncertain attempts: %w", err)
	}
	return first, nil
}
