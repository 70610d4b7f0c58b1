package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const headSQL = `SELECT position + count FROM ranges ORDER BY position DESC LIMIT 1`

// Head returns how many entries have a position: the next one gets this.
func Head(ctx context.Context, q Querier) (int64, error) {
	var head int64
	err := q.QueryRow(ctx, headSQL).Scan(&head)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read journal head: %w", err)
	}
	return head, nil
}

// Follow reads at most limit positions beginning with from, and returns the entries of the given kinds (of all, when none is
// given) and the position to go on from; it is from itself when there is nothing new. A follower begins with 0, acts on the
// entries and saves next, both in one transaction.
func Follow(ctx context.Context, q Querier, from int64, limit int, kinds ...Kind) (entries []Placed, next int64, err error) {
	spans, err := readSpans(ctx, q, from, from+int64(limit))
	if err != nil || len(spans) == 0 {
		return nil, from, err
	}
	rows, err := readRows(ctx, q, spans, filter{kinds: kinds})
	if err != nil {
		return nil, from, err
	}
	err = walk(spans, rows, len(kinds) == 0, func(position, id int64, _ *row, b []byte) error {
		p, err := decodeAt(position, id, b)
		entries = append(entries, p)
		return err
	})
	if err != nil {
		return nil, from, err
	}
	last := spans[len(spans)-1]
	return entries, last.position + last.count, nil
}

// ErrFollowerMoved says that somebody else moved the follower meanwhile: what was done for these entries must be rolled back.
var ErrFollowerMoved = errors.New("another process has followed the journal further")

const followerSQL = `SELECT position FROM followers WHERE name = $1`

// FollowerPosition returns what SaveFollower saved last, 0 for a new name.
func FollowerPosition(ctx context.Context, q Querier, name string) (int64, error) {
	var position int64
	if err := q.QueryRow(ctx, followerSQL, name).Scan(&position); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read position of follower %s: %w", name, err)
	}
	return position, nil
}

const (
	beginFollowerSQL = `INSERT INTO followers (name, position) VALUES ($1, 0) ON CONFLICT DO NOTHING`
	saveFollowerSQL  = `UPDATE followers SET position = $3 WHERE name = $1 AND position = $2`
)

// SaveFollower moves the follower from one position to the next as part of tx, or returns ErrFollowerMoved: of two processes
// that act on the same entries only one commits.
func SaveFollower(ctx context.Context, tx pgx.Tx, name string, from, next int64) error {
	if from == 0 {
		if _, err := tx.Exec(ctx, beginFollowerSQL, name); err != nil {
			return fmt.Errorf("begin follower %s: %w", name, err)
		}
	}
	tag, err := tx.Exec(ctx, saveFollowerSQL, name, from, next)
	if err != nil {
		return fmt.Errorf("save position of follower %s: %w", name, err)
	}
	if tag.RowsAffected() != 1 {
		return fmt.Errorf("save position of follower %s: %w", name, ErrFollowerMoved)
	}
	return nil
}

const startFollowerSQL = `INSERT INTO followers (name, position) VALUES ($1, $2)`

// StartFollower begins a follower at a position that is not the first, as part of tx.
func StartFollower(ctx context.Context, tx pgx.Tx, name string, at int64) error {
	if _, err := tx.Exec(ctx, startFollowerSQL, name, at); err != nil {
		return fmt.Errorf("start follower %s: %w", name, err)
	}
	return nil
}

const endFollowerSQL = `DELETE FROM followers WHERE name = $1 AND position = $2`

// EndFollower forgets a follower that stands at a position, as part of tx, or returns ErrFollowerMoved.
func EndFollower(ctx context.Context, tx pgx.Tx, name string, at int64) error {
	tag, err := tx.Exec(ctx, endFollowerSQL, name, at)
	if err != nil {
		return fmt.Errorf("end follower %s: %w", name, err)
	}
	if tag.RowsAffected() != 1 {
		return fmt.Errorf("end follower %s: %w", name, ErrFollowerMoved)
	}
	return nil
}

const followersSQL = `SELECT name, position FROM followers WHERE starts_with(name, $1)`

// Followers returns the positions of all followers whose name begins with prefix.
func Followers(ctx context.Context, q Querier, prefix string) (map[string]int64, error) {
	rows, err := q.Query(ctx, followersSQL, prefix)
	if err != nil {
		return nil, fmt.Errorf("read followers %s: %w", prefix, err)
	}
	all := make(map[string]int64)
	var name string
	var position int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &position}, func() error { all[name] = position; return nil }); err != nil {
		return nil, fmt.Errorf("read followers %s: %w", prefix, err)
	}
	return all, nil
}

const lastRecoveredSQL = `SELECT max(at) FROM journal WHERE actor = $1 AND kind = $2`

// LastRecovered is when a person last put a restored database to work (`ekc recover`), the zero time if nobody has.
func LastRecovered(ctx context.Context, q Querier) (time.Time, error) {
	var at *time.Time
	if err := q.QueryRow(ctx, lastRecoveredSQL, Recovery().Account, Recovered).Scan(&at); err != nil {
		return time.Time{}, fmt.Errorf("look for the last recovery: %w", err)
	}
	if at == nil {
		return time.Time{}, nil
	}
	return *at, nil
}
