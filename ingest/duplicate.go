package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/postgres"
)

// sameDigest is of what makes a row the same as another: who is told of which event, measure and date.
func (s *Service) sameDigest(l *List, c *checked) (citizen.Digest, error) {
	_, identity := c.row.Content.Person.Identity(c.row.Content.Phones[0])
	return s.cfg.Keys.Digest(digestDuplicate, l.Agency+"\n"+identity+"\n"+c.row.LifeEvent+"\n"+c.measure+"\n"+c.event.String())
}

const (
	// OFFSET 0 keeps the order of the joins: from each digest to its rows, whatever the planner believes of tables it saw empty. Of a person who
	// is in a list a thousand times the newest rows are enough: with all of them such a list would take the square of its rows.
	earlierFromSQL = `
FROM unnest(@digests::bytea[]) AS d(digest)
	CROSS JOIN LATERAL (SELECT ref FROM persons_index WHERE digest = d.digest AND ref_kind = 1 ORDER BY ref DESC LIMIT 50) p
	CROSS JOIN LATERAL (SELECT no, state FROM lists WHERE no = p.ref >> 24 AND (created_at >= @since OR no = ANY (@also)) AND tests IS NULL AND test = @test
		AND state NOT IN ('rejected', 'refused', 'cancelled') OFFSET 0) l
	CROSS JOIN LATERAL (SELECT row_no FROM notifications WHERE id = p.ref OFFSET 0) n`
	earlierSQL = `SELECT d.digest, p.ref, false ` + earlierFromSQL

	// toldSQL leaves out what tells nobody: lists that are being cancelled, rows that ended before anybody knew (all ends but 7,
	// unconfirmed, and 10, delivered), and those whose phone has refused (111). For a row that is set aside it gives the one for whose sake.
	toldSQL = `SELECT d.digest, coalesce(a.earlier, p.ref), a.earlier IS NOT NULL ` + earlierFromSQL + `
	LEFT JOIN LATERAL (SELECT earlier FROM duplicates WHERE id = p.ref AND NOT ended OFFSET 0) a ON true
WHERE l.state <> 'cancelling' AND NOT EXISTS (SELECT FROM outcomes WHERE id = p.ref AND state NOT IN (7, 10))
	AND NOT EXISTS (SELECT FROM rejections WHERE list_no = l.no AND row_no = n.row_no AND rule_code = 111)`
)

// earlier finds rows of this list and of others of its agency that are the same as those with these digests: lists within the period of the
// rules, and those named in also. aside says that a row was set aside for the sake of the one with this id. It sorts the digests.
func (s *Service) earlier(ctx context.Context, tx pgx.Tx, sql string, l *List, digests [][]byte, also []int64, found func(d citizen.Digest, id dispatch.NotificationID, aside bool)) error {
	rules, err := s.cfg.Catalog().Rules(l.CreatedAt)
	if err != nil {
		return err
	}
	slices.SortFunc(digests, bytes.Compare) // neighbours lie on the same pages of the index
	digests = slices.CompactFunc(digests, bytes.Equal)
	rows, err := tx.Query(ctx, sql, pgx.NamedArgs{"digests": digests, "since": l.CreatedAt.Add(-rules.DuplicatePeriod), "also": also, "test": l.Test})
	if err != nil {
		return fmt.Errorf("look for duplicates: %w", err)
	}
	var one []byte
	var id int64
	var aside bool
	if _, err = pgx.ForEachRow(rows, []any{&one, &id, &aside}, func() error {
		found(citizen.Digest(one), dispatch.NotificationID(id), aside)
		return nil
	}); err != nil {
		return fmt.Errorf("look for duplicates: %w", err)
	}
	return nil
}

// Two lists of an agency are let through it by turns, so that each sees what the other has admitted.
const lockAgencySQL = `SELECT pg_advisory_xact_lock(hashtextextended('ekc/duplicates/' || $1::text, 0))`

// duplicates looks for rows whose person, event, measure and date stand in an earlier row of the list or in an earlier list of the agency.
// They are warned of, and with suppress set aside in favour of the earlier one, provided that it is told itself. Who has confirmed that a
// file is to go again has decided about earlier lists.
func (s *Service) duplicates(ctx context.Context, tx pgx.Tx, l *List, e envelope, sl *slice, suppress bool) error {
	sql := earlierSQL
	if suppress {
		sql = toldSQL
		if _, err := tx.Exec(ctx, lockAgencySQL, l.Agency); err != nil {
			return fmt.Errorf("lock agency: %w", err)
		}
	}
	digests := make([][]byte, len(sl.good))
	for i, row := range sl.good {
		d := row.same()
		digests[i] = d[:]
	}
	// For each digest the earliest row that is told, one of this very list before any other's; else the one that rows wait for.
	type teller struct {
		id   dispatch.NotificationID
		rank int
	}
	seen := make(map[citizen.Digest]teller)
	if sl.before != nil && !suppress { // it may not be committed yet
		for _, row := range sl.before.good {
			seen[row.same()] = teller{id: dispatch.MakeID(l.No, row.row.Ordinal)}
		}
	}
	first := dispatch.MakeID(l.No, sl.first)
	err := s.earlier(ctx, tx, sql, l, digests, nil, func(d citizen.Digest, id dispatch.NotificationID, aside bool) {
		one := teller{id, 1}
		switch {
		case aside:
			one.rank = 2
		case id.List() == l.No && id >= first:
			return
		case id.List() == l.No:
			one.rank = 0
		}
		if was, again := seen[d]; !again || one.rank < was.rank || one.rank == was.rank && one.id < was.id {
			seen[d] = one
		}
	})
	if err != nil {
		return err
	}
	for _, row := range sl.good {
		earlier, again := seen[row.same()]
		if again && suppress && (earlier.id.List() == l.No || !e.Again) {
			row.row.Earlier = earlier.id
			row.add(RuleSuppressed, 0)
			continue
		}
		if again {
			row.add(RuleDuplicate, 0)
		}
		if suppress && row.says(RuleOptOut) {
			continue // it is sent to nobody: whoever comes after it tells
		}
		seen[row.same()] = teller{id: dispatch.MakeID(l.No, row.row.Ordinal)}
	}
	return nil
}

// duplicatesAtOnce bounds one transaction of endDuplicates.
const duplicatesAtOnce = 5000

// endDuplicates decides what becomes of rows that were set aside, once their list goes or is off.
func (s *Service) endDuplicates(ctx context.Context) error {
	for {
		more, err := s.endSomeDuplicates(ctx)
		if err != nil || !more {
			return err
		}
	}
}

const (
	decidedListsSQL = `SELECT no, agency FROM lists WHERE no = ANY ($1) AND state IN ('running', 'cancelling', 'cancelled', 'refused') ORDER BY no LIMIT 1`
	// In the order in which everybody locks lists; a slice that is being admitted has a key lock of its own.
	lockListsSQL = `SELECT no, state FROM lists WHERE no = ANY ($1) ORDER BY no FOR NO KEY UPDATE`
)

func (s *Service) endSomeDuplicates(ctx context.Context) (more bool, err error) {
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		open, err := s.cfg.Admission.DuplicateLists(ctx, tx)
		if err != nil || len(open) == 0 {
			return err
		}
		var no int64
		var agency string
		err = tx.QueryRow(ctx, decidedListsSQL, open).Scan(&no, &agency)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find lists with duplicates: %w", err)
		}
		if _, err := tx.Exec(ctx, lockAgencySQL, agency); err != nil {
			return fmt.Errorf("lock agency: %w", err)
		}
		rows, err := s.cfg.Admission.Duplicates(ctx, tx, no, duplicatesAtOnce)
		if err != nil || len(rows) == 0 {
			return err
		}
		more = true
		return s.decideDuplicates(ctx, tx, no, agency, rows)
	})
	return more && err == nil, err
}

// decideDuplicates ends rows as suppressed whose earlier ones are told. The others are told themselves: where the earlier row was refused,
// cancelled, replaced or did not reach its person, and where its list still waits for somebody's approval; then that row is set aside.
func (s *Service) decideDuplicates(ctx context.Context, tx pgx.Tx, no int64, agency string, rows []dispatch.Duplicate) error {
	states, err := s.lockStates(ctx, tx, no, rows)
	if err != nil {
		return err
	}
	var end []dispatch.NotificationID
	var released []dispatch.Duplicate
	var waiting []int64
	replaced := make(map[dispatch.NotificationID]bool) // earlier rows in whose place one is told now
	for _, d := range rows {
		var going bool
		switch states[d.Earlier.List()] {
		case Checking, Ready:
			waiting = append(waiting, d.Earlier.List())
		case Refused, Cancelled, Cancelling:
		default:
			going = d.Told
		}
		switch states[no] {
		case Running:
			if going || replaced[d.Earlier] {
				end = append(end, d.ID)
				continue
			}
			replaced[d.Earlier] = true
			released = append(released, d)
		case Cancelling, Cancelled, Refused:
			end = append(end, d.ID)
		default: // it was changed before it was locked
			return nil
		}
	}
	if err := s.cfg.Admission.EndDuplicates(ctx, tx, s.cfg.Journal, agency, end, s.cfg.Now()); err != nil {
		return err
	}
	return s.cfg.Admission.ReleaseDuplicates(ctx, tx, released, waiting)
}

// lockStates locks a list and those of the earlier rows.
func (s *Service) lockStates(ctx context.Context, tx pgx.Tx, no int64, rows []dispatch.Duplicate) (map[int64]State, error) {
	states := map[int64]State{no: ""}
	for _, d := range rows {
		states[d.Earlier.List()] = ""
	}
	found, err := tx.Query(ctx, lockListsSQL, slices.Collect(maps.Keys(states)))
	if err != nil {
		return nil, fmt.Errorf("lock lists: %w", err)
	}
	var of int64
	var state State
	if _, err := pgx.ForEachRow(found, []any{&of, &state}, func() error { states[of] = state; return nil }); err != nil {
		return nil, fmt.Errorf("lock lists: %w", err)
	}
	return states, nil
}
