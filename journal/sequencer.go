package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/postgres"
)

// Sequencer gives committed entries their positions. Any number may run; one at a time works, by an advisory lock of its own
// session, and all it does goes through that session: who has lost the lock cannot write any more. It places whatever is
// committed, in the order the transactions said they were done, and so never waits for one that is left open elsewhere.
type Sequencer struct {
	pool *pgxpool.Pool
	log  *slog.Logger
}

func NewSequencer(pool *pgxpool.Pool, log *slog.Logger) *Sequencer {
	return &Sequencer{pool: pool, log: log}
}

const (
	sequencerLock = 0x656b63_0101 // key of the advisory lock

	busyTick = 20 * time.Millisecond
	idleTick = 50 * time.Millisecond
	// longestTick is well below the time a session may be idle (postgres.Alone).
	longestTick = 2 * time.Second
	// A damaged entry stops the roots, not the positions; an engineer may mend it while we run.
	damagedRootsPause = time.Minute

	transactionsPerPass = 10_000
	rootsPerPass        = 64
)

// Run works until ctx ends, and then returns nil. A database that is away is waited for.
func (s *Sequencer) Run(ctx context.Context) error {
	return postgres.Alone{Pool: s.pool, Log: s.log, What: "place the journal's entries", Key: sequencerLock}.Run(ctx, s.work)
}

// work places entries until the session fails. It calls healthy whenever the session has done what it is for.
func (s *Sequencer) work(ctx context.Context, conn *pgx.Conn, healthy func()) error {
	head, err := Head(ctx, conn)
	if err != nil {
		return err
	}
	s.log.Info("this process places the journal's entries", "position", head)
	var rootsAfter time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		begin := time.Now()
		placed, err := place(ctx, conn)
		if err != nil {
			return err
		}
		healthy()
		head = max(head, placed)
		var more bool
		if begin.After(rootsAfter) {
			more, err = computeRoots(ctx, conn, head)
			if fault, ok := errors.AsType[*Fault](err); ok {
				s.log.Error("the journal is damaged: its roots stop here, run `ekc journal verify`", "position", fault.Position, "err", fault)
				rootsAfter = begin.Add(damagedRootsPause)
			} else if err != nil {
				return err
			}
		}
		// Many dead rows, kept by a snapshot open elsewhere, make a pass slow: then it runs less often.
		wait := idleTick
		if placed > 0 {
			wait = busyTick
		}
		if more {
			wait = 0
		}
		timer.Reset(max(wait, min(4*time.Since(begin), longestTick)))
	}
}

// placeSQL moves rows of unplaced to the end of ranges. Transactions whose ids follow each other become one range, within one
// block of ids. Of two sessions that did it at once, one would fail on the key of ranges.
const placeSQL = `
	WITH taken AS (
		DELETE FROM unplaced WHERE ctid = ANY (ARRAY(SELECT ctid FROM unplaced ORDER BY at, first_id LIMIT $1))
		RETURNING first_id, count, at
	), marked AS (
		SELECT first_id, count, at,
			first_id IS DISTINCT FROM lag(first_id + count) OVER (ORDER BY at, first_id) OR first_id % 1048576 = 0 AS fresh
		FROM taken
	), numbered AS (
		SELECT first_id, count, count(*) FILTER (WHERE fresh) OVER (ORDER BY at, first_id) AS no FROM marked
	), joined AS (
		SELECT no, min(first_id) AS first_id, sum(count)::integer AS count FROM numbered GROUP BY no
	), placed AS (
		INSERT INTO ranges (position, first_id, count)
		SELECT coalesce((` + headSQL + `), 0) + sum(count) OVER (ORDER BY no) - count, first_id, count FROM joined
		RETURNING position + count AS head
	)
	SELECT coalesce(max(head), 0) FROM placed`

// place gives positions to what is committed and returns the new head, 0 when there was nothing.
func place(ctx context.Context, q Querier) (head int64, err error) {
	if err := q.QueryRow(ctx, placeSQL, transactionsPerPass).Scan(&head); err != nil {
		return 0, fmt.Errorf("place journal entries: %w", err)
	}
	return head, nil
}

const (
	nextRootSQL   = `SELECT coalesce(max(no) + 1, 0) FROM roots`
	insertRootSQL = `INSERT INTO roots (no, root) SELECT no, root FROM unnest($1::bigint[], $2::bytea[]) AS r (no, root)`
)

// session is the sequencer's connection.
type session interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// computeRoots adds the roots of full blocks below head that are not there yet, at most rootsPerPass of them; more says that it
// should be called again.
func computeRoots(ctx context.Context, db session, head int64) (more bool, err error) {
	var next int64
	if err := db.QueryRow(ctx, nextRootSQL).Scan(&next); err != nil {
		return false, fmt.Errorf("read last journal root: %w", err)
	}
	end := min(head/rootSize, next+rootsPerPass)
	if next >= end {
		return false, nil
	}
	leaves, err := readLeaves(ctx, db, next*rootSize, end*rootSize)
	if err != nil {
		return false, err
	}
	var nos []int64
	var roots [][]byte
	for no := next; no < end; no++ {
		nos = append(nos, no)
		roots = append(roots, rootOf(leaves[(no-next)*rootSize:][:rootSize]))
	}
	if _, err := db.Exec(ctx, insertRootSQL, nos, roots); err != nil {
		return false, fmt.Errorf("write journal roots: %w", err)
	}
	return end < head/rootSize, nil
}

const oldestSQL = `SELECT coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 FROM unplaced`

// OldestUnplaced returns how long the oldest committed entry has been waiting for its position, 0 when none waits.
func OldestUnplaced(ctx context.Context, q Querier) (time.Duration, error) {
	var seconds float64
	if err := q.QueryRow(ctx, oldestSQL).Scan(&seconds); err != nil {
		return 0, fmt.Errorf("read age of unplaced journal entries: %w", err)
	}
	return max(0, time.Duration(seconds*float64(time.Second))), nil
}
