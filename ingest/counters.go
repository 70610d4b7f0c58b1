package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// countersFollower is the name under which the counters keep their position in the journal.
const countersFollower = "list_counters"

// positionsAtOnce bounds one transaction of the follower.
const positionsAtOnce = 20_000

// count follows the journal until ctx ends. Several processes may: the one that is not first rolls back.
func (s *Service) count(ctx context.Context) error {
	pause := s.cfg.Poll / 4
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var backoff postgres.Backoff
	for {
		more, err := s.countSome(ctx)
		switch {
		case errors.Is(err, journal.ErrFollowerMoved) || ctx.Err() != nil:
		case err != nil:
			s.cfg.Log.Warn("counting lists failed, it will be repeated", slog.Any("err", err))
			_ = backoff.Wait(ctx)
		case more:
			backoff.Reset()
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tally is what some entries change of one list.
type tally struct {
	reset  bool // all that was counted before is void: another file, or none
	states map[dispatch.State]int64
	sent   time.Time // of the earliest attempt
	ended  bool      // some notification came to an end
}

// countSome takes in the next entries; more says that there may be others behind them.
func (s *Service) countSome(ctx context.Context) (more bool, err error) {
	from, err := journal.FollowerPosition(ctx, s.cfg.DB, countersFollower)
	if err != nil {
		return false, err
	}
	entries, next, err := journal.Follow(ctx, s.cfg.DB, from, positionsAtOnce, journal.PartAdmitted, journal.ListFile, journal.ListRejected,
		journal.ListStarted, journal.ListCancelled, journal.Attempt, journal.Outcome)
	if err != nil || next == from {
		return false, err
	}
	tallies := make(map[int64]*tally)
	for i := range entries {
		e := &entries[i].Entry
		if e.ListNo == 0 {
			continue
		}
		t := tallies[e.ListNo]
		if t == nil {
			t = &tally{states: make(map[dispatch.State]int64)}
			tallies[e.ListNo] = t
		}
		t.take(e)
	}
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		if err := journal.SaveFollower(ctx, tx, countersFollower, from, next); err != nil {
			return err
		}
		for _, no := range slices.Sorted(maps.Keys(tallies)) {
			if err := s.apply(ctx, tx, no, tallies[no]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if head, err := journal.Head(ctx, s.cfg.DB); err == nil {
		s.metrics.countersLag.Set(float64(head - next))
	}
	return true, nil
}

func (t *tally) take(e *journal.Entry) {
	switch e.Kind {
	case journal.PartAdmitted:
		t.states[dispatch.Pending] += int64(e.Count)
	case journal.ListFile, journal.ListRejected:
		t.reset = true
		clear(t.states)
	case journal.ListStarted, journal.ListCancelled:
		t.ended = true
	default:
		if e.Kind == journal.Attempt && (t.sent.IsZero() || e.At.Before(t.sent)) {
			t.sent = e.At
		}
		from, ok1 := dispatch.ParseState(e.From)
		to, ok2 := dispatch.ParseState(e.State)
		if !ok1 || !ok2 || from == to {
			return
		}
		t.states[from]--
		t.states[to]++
		t.ended = t.ended || to.Final()
	}
}

// final is by how many notifications with an end the tally makes more.
func (t *tally) final() (n int64) {
	for state, k := range t.states {
		if state.Final() {
			n += k
		}
	}
	return n
}

const (
	lockStateSQL = `SELECT state, accepted, coalesce(start_at, approved_at, created_at), first_sent_at IS NOT NULL, agency FROM lists WHERE no = $1 FOR NO KEY UPDATE`
	addCountsSQL = `INSERT INTO list_counters AS c (list_no, state, n) SELECT $1, s, k FROM unnest($2::smallint[], $3::bigint[]) AS u(s, k)
		ON CONFLICT (list_no, state) DO UPDATE SET n = c.n + excluded.n`
	firstSentSQL  = `UPDATE lists SET first_sent_at = $2 WHERE no = $1`
	finalCountSQL = `SELECT coalesce(sum(n), 0) FROM list_counters WHERE list_no = $1 AND state >= $2`
)

// apply adds a tally to the counters of its list, and ends the list when nothing of it is left to do. The list's row is locked before
// its counters are, as in every other change of a list.
func (s *Service) apply(ctx context.Context, tx pgx.Tx, no int64, t *tally) error {
	var state State
	var accepted int64
	var due time.Time
	var sent bool
	var agency string
	err := tx.QueryRow(ctx, lockStateSQL, no).Scan(&state, &accepted, &due, &sent, &agency)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock list %d: %w", no, err)
	}
	if t.reset {
		if _, err := tx.Exec(ctx, `DELETE FROM list_counters WHERE list_no = $1`, no); err != nil {
			return fmt.Errorf("reset counters: %w", err)
		}
	}
	var states []int16
	var counts []int64
	for _, st := range slices.Sorted(maps.Keys(t.states)) {
		if n := t.states[st]; n != 0 {
			states, counts = append(states, int16(st)), append(counts, n)
		}
	}
	if len(states) > 0 {
		if _, err := tx.Exec(ctx, addCountsSQL, no, states, counts); err != nil {
			return fmt.Errorf("add counters: %w", err)
		}
	}
	if !sent && !t.sent.IsZero() {
		if _, err := tx.Exec(ctx, firstSentSQL, no, t.sent); err != nil {
			return fmt.Errorf("set first_sent_at: %w", err)
		}
		s.metrics.approvedToSent.Observe(max(t.sent.Sub(due).Seconds(), 0))
	}
	if !t.ended {
		return nil
	}
	var final int64
	if err := tx.QueryRow(ctx, finalCountSQL, no, int16(dispatch.Suppressed)).Scan(&final); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	if final < accepted {
		return nil
	}
	to, kind := Completed, journal.ListCompleted
	switch state {
	case Running, Paused:
	case Cancelling:
		to, kind = Cancelled, journal.ListCancelled
	case Cancelled, Refused: // before it was started: its state came first, the ends of its rows after it
		if kind = journal.ListCancelled; state == Refused {
			kind = journal.ListRefused
		}
		if final-t.final() >= accepted {
			return nil // they had ended before
		}
		return s.append(ctx, tx, journal.System("ingest"), journal.Entry{Kind: kind, ListNo: no, Agency: agency, State: string(state), From: string(state),
			Count: int(accepted)})
	default:
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE lists SET state = $2, ended_at = $3 WHERE no = $1`, no, to, s.cfg.Now()); err != nil {
		return fmt.Errorf("end list: %w", err)
	}
	return s.append(ctx, tx, journal.System("ingest"), journal.Entry{Kind: kind, ListNo: no, Agency: agency, State: string(to), From: string(state),
		Count: int(accepted)})
}
