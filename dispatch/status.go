package dispatch

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/journal"
)

// Status is what is known of one notification. Nothing personal is in it.
type Status struct {
	ID         NotificationID
	RowNo      int32 // as its sender counts
	Part       int32
	Segments   int16
	ExternalID string
	InformBy   *time.Time
	State      State
	Sequence   int16 // of the last change that was told
	Attempt    int16 // 0 before the first
	Channel    string
	Reason     Reason
	Code       string
	At         time.Time // of the state; zero while nothing happened
	Possible   bool      // sent again after an attempt whose answer was lost
	Attempts   []AttemptStatus
}

// AttemptStatus is one try: of all its segments the one that got least far.
type AttemptStatus struct {
	No      int16
	Channel string
	Link    string
	State   AttemptState
	Code    string
	At      time.Time
}

const (
	endsSQL = `SELECT n.id, n.row_no, n.part, n.segments, n.external_id, n.inform_by,
			coalesce(o.state, 0), coalesce(o.sequence, 0), coalesce(o.attempt, 0), coalesce(o.reason, ''), coalesce(o.code, ''), o.at
		FROM notifications n LEFT JOIN outcomes o ON o.id = n.id `
	statusSQL   = endsSQL + `WHERE n.id = ANY ($1) ORDER BY n.id`
	endsPageSQL = endsSQL + `WHERE n.id > $1 AND n.id < $2 ORDER BY n.id LIMIT $3`

	// The states of an attempt's segments rise; of the segments the lowest says how far the message got.
	attemptsSQL = `SELECT DISTINCT ON (notification, no) notification, no, sequence, link, channel, state, code, at FROM (
			SELECT DISTINCT ON (a.notification, a.no, a.segment) a.notification, a.no, a.segment, max(a.sequence) OVER (PARTITION BY a.notification, a.no) AS sequence,
				coalesce(l.name, '') AS link, coalesce(r.channel, '') AS channel, a.state, a.code, a.at
			FROM attempts a LEFT JOIN links l ON l.no = a.link LEFT JOIN runs r ON r.id = a.run
			WHERE a.notification = ANY ($1) AND a.at >= $2
			ORDER BY a.notification, a.no, a.segment, a.state DESC, a.at) segments
		ORDER BY notification, no, state, at DESC`
)

// ReadStatus tells what became of notifications, in the order of their ids. No attempt of theirs is older than since.
func ReadStatus(ctx context.Context, db *pgxpool.Pool, ids []NotificationID, since time.Time) ([]Status, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	raw := rawIDs(ids)
	var found []Status
	at := make(map[NotificationID]int, len(ids))
	var b pgx.Batch
	b.Queue(statusSQL, raw).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, scanStatus)
		for i := range found {
			at[found[i].ID] = i
		}
		return err
	})
	b.Queue(attemptsSQL, raw, since).Query(func(rows pgx.Rows) error {
		var id NotificationID
		var a AttemptStatus
		var sequence int16
		_, err := pgx.ForEachRow(rows, []any{(*int64)(&id), &a.No, &sequence, &a.Link, &a.Channel, &a.State, &a.Code, &a.At}, func() error {
			if i, ok := at[id]; ok {
				found[i].take(a, sequence)
			}
			return nil
		})
		return err
	})
	if err := db.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	return found, nil
}

func scanStatus(row pgx.CollectableRow) (s Status, err error) {
	var ended *time.Time
	err = row.Scan((*int64)(&s.ID), &s.RowNo, &s.Part, &s.Segments, &s.ExternalID, &s.InformBy, &s.State, &s.Sequence, &s.Attempt, &s.Reason,
		&s.Code, &ended)
	if ended != nil {
		s.At = *ended
	}
	return s, err
}

// Ends hands out every notification of a list with its end, if it has one, in the order of their ids; attempts are not looked at. Memory
// does not grow with the list.
func Ends(ctx context.Context, db *pgxpool.Pool, listNo int64) iter.Seq2[Status, error] {
	const page = 5000
	return func(yield func(Status, error) bool) {
		after, next := MakeID(listNo, 0), MakeID(listNo+1, 0)
		for {
			rows, err := db.Query(ctx, endsPageSQL, int64(after), int64(next), page)
			var found []Status
			if err == nil {
				found, err = pgx.CollectRows(rows, scanStatus)
			}
			if err != nil {
				yield(Status{}, fmt.Errorf("read ends of list %d: %w", listNo, err))
				return
			}
			for _, s := range found {
				after = s.ID
				if !yield(s, nil) {
					return
				}
			}
			if len(found) < page {
				return
			}
		}
	}
}

// take adds the next attempt. An end stands above all attempts; before it an accepted attempt stands above an uncertain one.
func (s *Status) take(a AttemptStatus, sequence int16) {
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].State == AttemptUncertain {
		s.Possible = true
	}
	s.Attempts = append(s.Attempts, a)
	if s.State.Final() {
		s.Channel = a.Channel
		return
	}
	reached := Pending
	switch a.State {
	case AttemptAccepted, AttemptExpired, AttemptUndelivered, AttemptDelivered:
		reached = Accepted // some segments are still under way
	case AttemptUncertain:
		reached = Uncertain
	}
	if s.State == Accepted && reached != Accepted || s.State == Uncertain && reached == Pending {
		return
	}
	s.State, s.Sequence, s.Attempt, s.Channel, s.Code, s.At = reached, max(s.Sequence, sequence), a.No, a.Channel, a.Code, a.At
}

// Term is how a notification stands against the time by which the person was to be informed.
type Term string

const (
	NoTerm      Term = "no_term"
	InTerm      Term = "in_term"
	Late        Term = "late"
	NotInformed Term = "not_informed"
	TermOpen    Term = "open" // the term has not passed, and there is no end yet
)

// TermOf answers whether a person was informed by a time, nil = none was set, when the notification reached its state at at; now decides
// while there is no end.
func TermOf(state State, at time.Time, informBy *time.Time, now time.Time) Term {
	switch {
	case informBy == nil:
		return NoTerm
	case state == Delivered && !at.After(*informBy):
		return InTerm
	case state == Delivered:
		return Late
	case state.Final(), now.After(*informBy):
		return NotInformed
	}
	return TermOpen
}

// Statements that page through the ids of a list, first those after $1 and before $2. Those of ended states follow an index.
// For what has not ended there is none: they look at a window of ids at a time.
const (
	idsSQL       = `SELECT id FROM notifications WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3`
	endedSQL     = `SELECT id FROM outcomes WHERE id > $1 AND id < $2 AND state = $4 AND state <> 10 ORDER BY id LIMIT $3`
	deliveredSQL = `SELECT id FROM outcomes WHERE id > $1 AND id < $2 AND state = $4 ORDER BY id LIMIT $3`
	openSQL      = `SELECT n.id FROM notifications n
		LEFT JOIN LATERAL (SELECT bool_or(a.state >= 4) AS accepted, bool_or(a.state = 2) AS uncertain FROM attempts a
			WHERE a.notification = n.id AND a.at >= $5) a ON true
		WHERE n.id > $1 AND n.id < $2 AND NOT EXISTS (SELECT FROM outcomes o WHERE o.id = n.id)
			AND CASE WHEN a.accepted THEN 1 WHEN a.uncertain THEN 2 ELSE 0 END = $4
		ORDER BY n.id LIMIT $3`
)

// What has not ended is looked for so many ids at a time, for so long a page.
const (
	idWindow  = 2048
	pageTakes = 500 * time.Millisecond
)

// PageIDs returns up to limit ids of a list after the given one, of one state or, with nil, of any; next is where the next page begins,
// 0 when there is none. A page of a state that is no end may be short, even empty, and still have a next one.
func PageIDs(ctx context.Context, db *pgxpool.Pool, listNo int64, state *State, after NotificationID, limit int, since time.Time) (ids []NotificationID, next NotificationID, err error) {
	first, end := MakeID(listNo, 0), MakeID(listNo+1, 0)
	after = max(after, first)
	sql, args := idsSQL, []any{}
	switch {
	case state == nil:
	case *state == Delivered:
		sql, args = deliveredSQL, []any{int16(*state)}
	case state.Final():
		sql, args = endedSQL, []any{int16(*state)}
	default:
		return openIDs(ctx, db, listNo, *state, after, limit, since)
	}
	if ids, err = readIDs(ctx, db, sql, append([]any{int64(after), int64(end), limit + 1}, args...)...); err != nil {
		return nil, 0, err
	}
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	return ids, next, nil
}

// openIDs looks through windows of ids for what has not ended.
func openIDs(ctx context.Context, db *pgxpool.Pool, listNo int64, state State, after NotificationID, limit int, since time.Time) (ids []NotificationID, next NotificationID, err error) {
	var last *int64
	err = db.QueryRow(ctx, `SELECT max(id) FROM notifications WHERE id > $1 AND id < $2`, int64(MakeID(listNo, 0)), int64(MakeID(listNo+1, 0))).Scan(&last)
	if err != nil {
		return nil, 0, fmt.Errorf("find the last notification: %w", err)
	}
	for started := time.Now(); time.Since(started) < pageTakes; {
		if last == nil || int64(after) >= *last {
			return ids, 0, nil
		}
		end := min(int64(after)+idWindow, *last) + 1
		some, err := readIDs(ctx, db, openSQL, int64(after), end, limit-len(ids)+1, int16(state), since)
		if err != nil {
			return nil, 0, err
		}
		ids = append(ids, some...)
		if len(ids) > limit {
			return ids[:limit], ids[limit-1], nil
		}
		after = NotificationID(end - 1)
	}
	return ids, after, nil
}

func readIDs(ctx context.Context, q journal.Querier, sql string, args ...any) ([]NotificationID, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("find notifications: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[NotificationID])
	if err != nil {
		return nil, fmt.Errorf("find notifications: %w", err)
	}
	return ids, nil
}

func rawIDs(ids []NotificationID) []int64 {
	raw := make([]int64, len(ids))
	for i, id := range ids {
		raw[i] = int64(id)
	}
	return raw
}

// EntriesOf are the ids of the journal's entries about notifications, none of whose attempts is older than since.
func EntriesOf(ctx context.Context, db *pgxpool.Pool, ids []NotificationID, since time.Time) ([]int64, error) {
	rows, err := db.Query(ctx, `SELECT entry FROM attempts WHERE notification = ANY ($1) AND at >= $2
		UNION SELECT entry FROM outcomes WHERE id = ANY ($1)`, rawIDs(ids), since)
	if err != nil {
		return nil, fmt.Errorf("find entries of notifications: %w", err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("find entries of notifications: %w", err)
	}
	return entries, nil
}
