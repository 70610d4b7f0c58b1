package ingest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// takes is what a checker looks for. One is kept free for small lists, and one for single events, which no file may delay: a small
// workbook can unpack to a very large one.
type takes struct {
	most    int64 // octets of the file as it was sent
	express bool  // single events only
}

var (
	takesAny     = takes{most: 1 << 62}
	takesSmall   = takes{most: chunkSize}
	takesExpress = takes{most: chunkSize, express: true}
)

// Run checks lists that wait, starts approved ones when their time has come, and keeps the counters, until ctx ends. Any number of
// processes may run it.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.checkers(ctx, takesExpress) })
	g.Go(func() error { return s.checkers(ctx, takesSmall) })
	for range s.cfg.Checkers {
		g.Go(func() error { return s.checkers(ctx, takesAny) })
	}
	g.Go(func() error { return s.repeat(ctx, "start approved lists", s.startDue) })
	g.Go(func() error { return s.repeat(ctx, "end duplicates", s.endDuplicates) })
	g.Go(func() error { return s.repeat(ctx, "remove unfinished uploads", s.sweep) })
	g.Go(func() error { return s.repeat(ctx, "look for missing parts", s.missParts) })
	g.Go(func() error { return s.repeat(ctx, "forget old cancels", s.forgetRecalls) })
	g.Go(func() error { return s.count(ctx) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// poke lets an idle checker of this process look at once.
func (s *Service) poke() {
	for range cap(s.wake) {
		select {
		case s.wake <- struct{}{}:
		default:
			return
		}
	}
}

func (s *Service) repeat(ctx context.Context, what string, do func(context.Context) error) error {
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	var backoff postgres.Backoff
	for {
		if err := do(ctx); err == nil {
			backoff.Reset()
		} else if ctx.Err() == nil {
			s.cfg.Log.Warn("background work failed, it will be repeated", "work", what, "err", err)
			_ = backoff.Wait(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Service) checkers(ctx context.Context, what takes) error {
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	var backoff postgres.Backoff
	for ctx.Err() == nil {
		found, err := s.checkNext(ctx, what)
		switch {
		case err == nil:
			backoff.Reset()
		case ctx.Err() == nil:
			s.cfg.Log.Warn("checking was interrupted, it will be resumed", "err", err)
			_ = backoff.Wait(ctx)
		}
		if found && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-tick.C:
		}
	}
	return nil
}

// claim is the right to check one list, held by a lease.
type claim struct {
	list   int64
	file   int32
	format string
	size   int64
	at     time.Time // when the file came
	token  string
}

const claimListSQL = `
UPDATE list_files f SET checked_by = @token, checked_until = clock_timestamp() + @lease
FROM (SELECT w.list_no, w.file_no FROM list_files w JOIN lists l ON l.no = w.list_no
	WHERE l.state = 'checking' AND w.complete AND w.size <= @most AND (l.kind = 'express' OR NOT @express)
		AND (w.checked_until IS NULL OR w.checked_until < clock_timestamp())
		AND w.file_no = (SELECT max(file_no) FROM list_files m WHERE m.list_no = w.list_no AND m.complete)
	ORDER BY l.kind <> 'express', w.size > 65536, l.no LIMIT 1 FOR UPDATE OF w SKIP LOCKED) next
WHERE f.list_no = next.list_no AND f.file_no = next.file_no
RETURNING f.list_no, f.file_no, f.format, f.size, f.at`

// checkNext takes one waiting list and checks it; found is false when none waits.
func (s *Service) checkNext(ctx context.Context, what takes) (found bool, err error) {
	c := claim{token: s.process + "/" + rand.Text()}
	err = s.cfg.DB.QueryRow(ctx, claimListSQL, pgx.NamedArgs{"token": c.token, "lease": s.cfg.Lease, "most": what.most, "express": what.express}).
		Scan(&c.list, &c.file, &c.format, &c.size, &c.at)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim a list to check: %w", err)
	}
	started := s.cfg.Now()
	err = s.checkList(ctx, c)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errLeaseLost) {
		// Whoever looks next tries again, but not at once.
		_, _ = s.cfg.DB.Exec(ctx, releaseSQL, c.list, c.file, c.token)
	}
	s.metrics.checked.Observe(s.cfg.Now().Sub(started).Seconds())
	if err != nil {
		return true, fmt.Errorf("check list %d: %w", c.list, err)
	}
	return true, nil
}

const (
	releaseSQL = `UPDATE list_files SET checked_until = clock_timestamp() + interval '3 s'
		WHERE list_no = $1 AND file_no = $2 AND checked_by = $3`
	renewSQL = `UPDATE list_files SET checked_until = clock_timestamp() + $4 WHERE list_no = $1 AND file_no = $2 AND checked_by = $3`
)

var errLeaseLost = errors.New("another process checks the list")

// renew keeps the lease while reading takes long.
func (s *Service) renew(ctx context.Context, c claim) error {
	tick := time.NewTicker(s.cfg.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if tag, err := s.cfg.DB.Exec(ctx, renewSQL, c.list, c.file, c.token, s.cfg.Lease); err == nil && tag.RowsAffected() == 0 {
				return errLeaseLost
			}
		}
	}
}

// checkList reads the file from its beginning, gives each row its verdict, and admits the slices that are not admitted yet.
func (s *Service) checkList(ctx context.Context, c claim) error {
	l, key, err := s.listOf(ctx, c.list)
	if err != nil {
		return err
	}
	if l.State != Checking {
		return nil
	}
	e, err := s.readEnvelope(ctx, s.cfg.DB, c.list, c.file, key)
	if err != nil {
		return err
	}
	parts, err := s.admitted(ctx, c.list)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	stop, cancel := context.WithCancel(ctx)
	g.Go(func() error { return s.renew(stop, c) })
	slices := make(chan *slice, 1)
	var total totals
	g.Go(func() error {
		defer close(slices)
		file := &sealedFile{ctx: ctx, db: s.cfg.DB, key: key, list: c.list, file: c.file, size: c.size}
		t, err := s.read(ctx, l, e, c, file, parts, slices)
		total = t
		return file.cause(err)
	})
	g.Go(func() error {
		defer cancel()
		return s.admitAll(ctx, c, l, e, key, slices)
	})
	err = g.Wait()
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		return s.reject(context.WithoutCancel(ctx), c, l, fault, total)
	case err != nil:
		return err
	}
	rules, err := s.cfg.Catalog().Rules(c.at)
	if err != nil {
		return err
	}
	fault = total.fault(rules.BadShare)
	ended := context.WithoutCancel(ctx)
	if fault != nil {
		return s.reject(ended, c, l, fault, total)
	}
	return s.ready(ended, c, l, e, total)
}

// admitters is how many slices of a list are written at once: the server works at one while another is made ready for it.
const admitters = 2

func (s *Service) admitAll(ctx context.Context, c claim, l *List, e envelope, key *citizen.DataKey, slices <-chan *slice) error {
	g, ctx := errgroup.WithContext(ctx)
	for range admitters {
		g.Go(func() error {
			for sl := range slices {
				if err := s.admit(ctx, c, l, e, key, sl); err != nil {
					return err
				}
				if s.afterSlice != nil {
					if err := s.afterSlice(sl.part); err != nil {
						return err
					}
				}
				sl.before = nil
				close(sl.admitted)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Service) listOf(ctx context.Context, no int64) (*List, *citizen.DataKey, error) {
	rows, err := s.cfg.DB.Query(ctx, `SELECT `+listColumns+` FROM lists WHERE no = $1`, no)
	if err != nil {
		return nil, nil, fmt.Errorf("read list %d: %w", no, err)
	}
	l, err := pgx.CollectExactlyOneRow(rows, scanList)
	if err != nil {
		return nil, nil, fmt.Errorf("read list %d: %w", no, err)
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	return l, key, err
}

// part is one slice that was admitted.
type part struct {
	rows, accepted int
	first          int32
}

type partsDone struct {
	of   map[int]part
	next int32 // ordinal of the first row of part 1

	skipped map[int32]bool // rows of these parts that were taken before
}

func (s *Service) admitted(ctx context.Context, list int64) (partsDone, error) {
	done := partsDone{of: make(map[int]part), next: 1}
	rows, err := s.cfg.DB.Query(ctx, `SELECT part, rows, accepted, first_ordinal FROM list_parts WHERE list_no = $1`, list)
	if err != nil {
		return done, fmt.Errorf("read parts: %w", err)
	}
	var no int
	var p part
	_, err = pgx.ForEachRow(rows, []any{&no, &p.rows, &p.accepted, &p.first}, func() error {
		if no < 0 {
			done.next = max(done.next, p.first)
			return nil
		}
		done.of[no] = p
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("read parts: %w", err)
	}
	if len(done.of) > 0 {
		done.skipped, err = s.skippedRows(ctx, list)
	}
	return done, err
}

const outlineSQL = `UPDATE list_files SET outline = $3 WHERE list_no = $1 AND file_no = $2`

// keepOutline stores what there is to say of the file beside its rows.
func (s *Service) keepOutline(ctx context.Context, tx pgx.Tx, c claim, o *Outline) error {
	if o == nil {
		return nil
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode outline: %w", err)
	}
	if _, err := tx.Exec(ctx, outlineSQL, c.list, c.file, b); err != nil {
		return fmt.Errorf("store outline: %w", err)
	}
	return nil
}

const rejectSQL = `UPDATE lists SET state = 'rejected', state_reason = @reason, rows = @rows, accepted = 0, rejected = @rejected, skipped = @skipped, segments = 0, suppressed = 0,
	digest = NULL WHERE no = @no AND state = 'checking'`

// reject ends a list as a whole: nothing of it is kept but its file and its faults.
func (s *Service) reject(ctx context.Context, c claim, l *List, fault *Fault, t totals) error {
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		if err := s.holds(ctx, tx, c); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, patientlySQL); err != nil {
			return fmt.Errorf("set time limit: %w", err)
		}
		if err := s.cfg.Admission.Discard(ctx, tx, l.No); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, rejectSQL, pgx.NamedArgs{"no": l.No, "reason": fault.Detail, "rows": t.rows, "rejected": t.bad(), "skipped": t.skipped})
		if err != nil {
			return fmt.Errorf("reject list: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		if err := s.keepOutline(ctx, tx, c, t.outline); err != nil {
			return err
		}
		return s.append(ctx, tx, journal.System("ingest"), journal.Entry{Kind: journal.ListRejected, ListNo: l.No, Agency: l.Agency,
			State: string(Rejected), From: string(Checking), Reason: fault.Code, Count: t.rows})
	})
}

const readySQL = `UPDATE lists SET state = 'ready', digest = @digest, own_ids = @own_ids, rows_digest = @rows_digest WHERE no = @no AND state = 'checking'`

// ready closes the check. A list that its source's profile vouches for goes on at once.
func (s *Service) ready(ctx context.Context, c claim, l *List, e envelope, t totals) error {
	var same *Fault
	err := postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		if err := s.holds(ctx, tx, c); err != nil {
			return err
		}
		if err := e.Feed.lockRecalls(ctx, tx, l.ID); err != nil {
			return err
		}
		if err := lockDeaths(ctx, tx); err != nil {
			return err
		}
		var content []byte
		if byTitle(c.format) { // lists by the interface are told apart by their Idempotency-Key
			var err error
			if content, same, err = s.sameRows(ctx, tx, l, t); err != nil {
				return err
			}
			if same != nil && !e.Again {
				return same
			}
		}
		digest, err := s.listDigest(ctx, tx, l.No)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, readySQL, pgx.NamedArgs{"no": l.No, "digest": digest, "own_ids": t.named, "rows_digest": content})
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		if l, err = s.lockList(ctx, tx, l.No); err != nil {
			return err
		}
		if err := s.keepOutline(ctx, tx, c, t.outline); err != nil {
			return err
		}
		if err := s.rememberMapping(ctx, tx, l, e); err != nil {
			return err
		}
		hub := journal.System("ingest")
		err = s.append(ctx, tx, hub, journal.Entry{Kind: journal.ListChecked, ListNo: l.No, Agency: l.Agency, State: string(Ready),
			From: string(Checking), Count: l.Accepted, Data: journal.Fields("rows", fmt.Sprint(l.Rows), "rejected", fmt.Sprint(l.Rejected),
				"warnings", fmt.Sprint(l.Warnings), "skipped", fmt.Sprint(l.Skipped), "suppressed", fmt.Sprint(l.Suppressed), "segments", fmt.Sprint(l.Segments))})
		if err != nil {
			return err
		}
		if l.Tests != uuid.Nil {
			return s.approveTest(ctx, tx, l)
		}
		if err := s.endDeceased(ctx, tx, c, l); err != nil {
			return err
		}
		if e.Feed != nil {
			if all, err := s.recallChecked(ctx, tx, l); err != nil || all {
				return err
			}
			if held, err := s.held(ctx, tx, l.Source); err != nil || held {
				return err
			}
		}
		source, ok := s.cfg.Catalog().Source(e.Source, c.at)
		if !e.Trusted || !ok || !source.AutoApproved() || l.LegalBasis == nil || l.OrderedBy == "" {
			return nil
		}
		hub.Account = "source/" + source.Code
		return s.approve(ctx, tx, hub, l, time.Time{}, journal.Fields("document", source.AutoApproval.Document, "date", source.AutoApproval.Date,
			"by", source.AutoApproval.By))
	})
	if same != nil && errors.Is(err, same) {
		return s.reject(ctx, c, l, same, t)
	}
	if err != nil {
		return fmt.Errorf("close the check: %w", err)
	}
	s.cfg.Log.Info("list checked", slog.Int64("list_no", l.No))
	return nil
}

const (
	// Two lists with the same rows are closed one after the other, so that the second finds the first.
	lockRowsSQL = `SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 0))`
	sameRowsSQL = `SELECT id, created_at FROM lists WHERE rows_digest = ANY ($1) AND agency = $2 AND test = $3 AND no <> $4 AND tests IS NULL
		AND state NOT IN ('receiving', 'checking', 'rejected', 'refused', 'cancelled') ORDER BY no DESC LIMIT 1`
)

// sameRows returns the digest of what a list says, and a fault when a list of the agency has said it before.
func (s *Service) sameRows(ctx context.Context, tx pgx.Tx, l *List, t totals) (digest []byte, same *Fault, err error) {
	all, err := s.cfg.Keys.Digests(digestRows, string(t.content.Sum(nil)))
	if err != nil {
		return nil, nil, err
	}
	digests := make([][]byte, len(all))
	for i := range all {
		digests[i] = all[i][:]
	}
	if _, err := tx.Exec(ctx, lockRowsSQL, digests[0]); err != nil {
		return nil, nil, fmt.Errorf("lock rows: %w", err)
	}
	var id uuid.UUID
	var at time.Time
	err = tx.QueryRow(ctx, sameRowsSQL, digests, l.Agency, l.Test, l.No).Scan(&id, &at)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return digests[0], nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("look for the same rows: %w", err)
	}
	return digests[0], ErrSameRows.with(at.In(moscow()).Format("02.01.2006 в 15:04")+" (МСК)", id), nil
}

// listDigest commits to everything that would be sent, in order.
func (s *Service) listDigest(ctx context.Context, tx pgx.Tx, list int64) ([]byte, error) {
	rows, err := tx.Query(ctx, `SELECT digest FROM list_parts WHERE list_no = $1 AND part > 0 ORDER BY part`, list)
	if err != nil {
		return nil, fmt.Errorf("read parts: %w", err)
	}
	var all, one []byte
	if _, err = pgx.ForEachRow(rows, []any{&one}, func() error { all = append(all, one...); return nil }); err != nil {
		return nil, fmt.Errorf("read parts: %w", err)
	}
	d, err := s.cfg.Keys.Digest(digestList, string(all))
	return d[:], err
}

// holds renews the lease as part of tx, and fails when another process has taken the list meanwhile.
func (s *Service) holds(ctx context.Context, tx pgx.Tx, c claim) error {
	tag, err := tx.Exec(ctx, renewSQL, c.list, c.file, c.token, s.cfg.Lease)
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errLeaseLost
	}
	return nil
}

const unfinishedSQL = `SELECT f.list_no, f.file_no, l.state = 'receiving' FROM list_files f JOIN lists l ON l.no = f.list_no
	WHERE NOT f.complete AND f.format <> '` + formatFeed + `' AND f.at < $1 LIMIT 20`

// unfinishedAfter is how long an upload may take before its process is taken for dead.
const unfinishedAfter = 2 * time.Hour

// sweep removes uploads that never came to their end.
func (s *Service) sweep(ctx context.Context) error {
	rows, err := s.cfg.DB.Query(ctx, unfinishedSQL, s.cfg.Now().Add(-unfinishedAfter))
	if err != nil {
		return fmt.Errorf("find unfinished uploads: %w", err)
	}
	type left struct {
		List  int64
		File  int32
		Whole bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[left])
	if err != nil {
		return fmt.Errorf("find unfinished uploads: %w", err)
	}
	for _, u := range all {
		err := postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error { return s.removeFile(ctx, tx, u.List, u.File, u.Whole) })
		if err != nil {
			return err
		}
	}
	return nil
}
