package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

const (
	overdueSQL = `SELECT f.list_no, f.parts - f.received FROM feed_lists f JOIN lists l ON l.no = f.list_no
		WHERE f.received < f.parts AND f.last_at < $1 AND NOT f.overdue AND l.state = 'receiving' ORDER BY f.list_no LIMIT 100`
	setOverdueSQL = `WITH late AS (UPDATE feed_lists SET overdue = true WHERE list_no = $1 AND received < parts AND last_at < $2 AND NOT overdue RETURNING list_no)
		UPDATE lists SET state_reason = $3 WHERE no = (SELECT list_no FROM late) AND state = 'receiving' RETURNING agency`
)

// missParts complains of lists whose parts have stopped coming before all were here. They go on as soon as the parts come.
func (s *Service) missParts(ctx context.Context) error {
	before := s.cfg.Now().Add(-s.cfg.PartsTimeout)
	rows, err := s.cfg.DB.Query(ctx, overdueSQL, before)
	if err != nil {
		return fmt.Errorf("look for missing parts: %w", err)
	}
	type late struct {
		List    int64
		Missing int
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[late])
	if err != nil {
		return fmt.Errorf("look for missing parts: %w", err)
	}
	for _, l := range all {
		err := postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
			var agency string
			reason := fmt.Sprintf("Не пришли части списка: %d. Список не проверяется, пока источник их не отправит.", l.Missing)
			err := tx.QueryRow(ctx, setOverdueSQL, l.List, before, reason).Scan(&agency)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("complain of missing parts: %w", err)
			}
			return s.append(ctx, tx, journal.System("ingest"), journal.Entry{Kind: journal.PartsMissing, ListNo: l.List, Agency: agency,
				State: string(Receiving), Count: l.Missing})
		})
		if err != nil {
			return err
		}
	}
	var n int64
	if err := s.cfg.DB.QueryRow(ctx, `SELECT count(*) FROM feed_lists WHERE received < parts AND overdue`).Scan(&n); err != nil {
		return fmt.Errorf("count lists with missing parts: %w", err)
	}
	s.metrics.incomplete.Set(float64(n))
	return nil
}

// crowdedBytes is how much of the feed may wait to be checked.
const crowdedBytes = 256 << 20

// Crowded says that so much of the feed waits to be checked that no more should be taken now; single events are always taken.
func (s *Service) Crowded(ctx context.Context) (bool, error) {
	var waiting int64
	err := s.cfg.DB.QueryRow(ctx, `SELECT coalesce(sum(f.size), 0) FROM lists l JOIN list_files f ON f.list_no = l.no
		WHERE l.state = 'checking' AND l.kind = 'feed'`).Scan(&waiting)
	if err != nil {
		return false, fmt.Errorf("look what waits to be checked: %w", err)
	}
	return waiting > crowdedBytes, nil
}

const (
	holdSQL    = `INSERT INTO source_holds (source, reason, at) VALUES ($1, $2, $3) ON CONFLICT (source) DO NOTHING`
	goingOnSQL = `SELECT no FROM lists WHERE source = $1 AND state IN ('approved', 'running') ORDER BY no`
	heldSQL    = `SELECT EXISTS (SELECT FROM source_holds WHERE source = $1)`
	letGoSQL   = `DELETE FROM source_holds WHERE source = $1`
)

// HoldSource makes what came from a source wait: lists that run are paused, those that are checked later need a person. Something is wrong
// with its producer, and nobody knows yet what was meant to be sent.
func (s *Service) HoldSource(ctx context.Context, source, reason string) error {
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, holdSQL, source, reason, s.cfg.Now())
		if err != nil {
			return fmt.Errorf("hold source: %w", err)
		}
		hub := journal.System("feed")
		if tag.RowsAffected() > 0 {
			if err := s.append(ctx, tx, hub, journal.Entry{Kind: journal.SourceChanged, Data: journal.Fields("source", source, "what", "held", "why", reason)}); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, goingOnSQL, source)
		if err != nil {
			return fmt.Errorf("find lists of the source: %w", err)
		}
		nos, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return fmt.Errorf("find lists of the source: %w", err)
		}
		for _, no := range nos {
			l, err := s.lockList(ctx, tx, no)
			if err != nil {
				return err
			}
			if l.State != Running && l.State != Approved {
				continue
			}
			if err := s.cfg.Admission.Pause(ctx, tx, no); err != nil {
				return err
			}
			if err := s.move(ctx, tx, hub, l, Paused, journal.ListPaused); err != nil {
				return err
			}
		}
		return nil
	})
}

// LetSourceGo ends a hold. Lists that it paused, or kept from starting, are for an approver of their agency.
func (s *Service) LetSourceGo(ctx context.Context, p journal.Principal, source string) error {
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, letGoSQL, source)
		if err != nil {
			return fmt.Errorf("let source go: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.SourceChanged, Data: journal.Fields("source", source, "what", "let_go")})
	})
}

// HeldSources are the sources that are held, with the reasons.
func (s *Service) HeldSources(ctx context.Context) (map[string]string, error) {
	rows, err := s.cfg.DB.Query(ctx, `SELECT source, reason FROM source_holds`)
	if err != nil {
		return nil, fmt.Errorf("read held sources: %w", err)
	}
	held := make(map[string]string)
	var source, reason string
	_, err = pgx.ForEachRow(rows, []any{&source, &reason}, func() error { held[source] = reason; return nil })
	if err != nil {
		return nil, fmt.Errorf("read held sources: %w", err)
	}
	return held, nil
}

func (s *Service) held(ctx context.Context, tx pgx.Tx, source string) (held bool, err error) {
	if err := tx.QueryRow(ctx, heldSQL, source).Scan(&held); err != nil {
		return false, fmt.Errorf("look for a hold: %w", err)
	}
	return held, nil
}
