package ingest

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// TakeDeaths is told who has died. What was to be told them, in whosever list, and has not left, ends as cancelled; rows that come later are
// taken with a warning and end so too, since to a family such a message is harm.
func (s *Service) TakeDeaths(ctx context.Context, p journal.Principal, people []citizen.SNILS) error {
	if !mayLoad(p) {
		return ErrForbidden
	}
	var persons, current []citizen.Digest
	for _, snils := range people {
		all, err := s.cfg.Keys.Digests(citizen.DigestSNILS, snils.Digits())
		if err != nil {
			return err
		}
		persons, current = append(persons, all...), append(current, all[0])
	}
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, deathsLock); err != nil {
			return fmt.Errorf("lock deaths: %w", err)
		}
		added, err := citizen.AddDeceased(ctx, tx, current, s.cfg.Now())
		if err != nil || len(added) == 0 { // read again: all of it was done with the first
			return err
		}
		err = s.append(ctx, tx, p, journal.Entry{Kind: journal.DeathsReceived, Agency: p.Agency, Count: len(added), Data: journal.Fields("source", p.Source)})
		if err != nil {
			return err
		}
		return s.withdrawDeceased(ctx, tx, persons, 0)
	})
}

// deathsLock keeps news of deaths and the end of a list's check from passing each other unseen: the first takes it alone, the second shared.
const deathsLock = 0x656b63_0002_0000

const openListsSQL = `SELECT no, agency FROM lists WHERE no = ANY ($1) AND state IN ('ready', 'approved', 'running', 'paused') ORDER BY no`

// withdrawDeceased ends what was to be told the people, in one list, or with zero in all that are checked and not over.
func (s *Service) withdrawDeceased(ctx context.Context, tx pgx.Tx, persons []citizen.Digest, list int64) error {
	if len(persons) == 0 {
		return nil
	}
	refs, err := citizen.LookupIndex(ctx, tx, persons)
	if err != nil {
		return err
	}
	byList := make(map[int64][]dispatch.NotificationID)
	var nos []int64
	for _, ref := range refs {
		id := dispatch.NotificationID(ref.ID)
		if ref.Kind != citizen.RefNotification || list != 0 && id.List() != list {
			continue
		}
		if byList[id.List()] == nil {
			nos = append(nos, id.List())
		}
		byList[id.List()] = append(byList[id.List()], id)
	}
	if len(nos) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, openListsSQL, nos)
	if err != nil {
		return fmt.Errorf("find lists of the deceased: %w", err)
	}
	type open struct {
		No     int64
		Agency string
	}
	lists, err := pgx.CollectRows(rows, pgx.RowToStructByPos[open])
	if err != nil {
		return fmt.Errorf("find lists of the deceased: %w", err)
	}
	for _, l := range lists {
		if err := s.withdrawDead(ctx, tx, l.Agency, byList[l.No]); err != nil {
			return err
		}
	}
	return nil
}

// warnOfDeaths says of rows of a slice that their people have died.
func (s *Service) warnOfDeaths(ctx context.Context, tx pgx.Tx, sl *slice) error {
	some, err := citizen.AnyDeceased(ctx, tx)
	if err != nil || !some {
		return err
	}
	var persons []citizen.Digest
	of := make(map[citizen.Digest][]*checked)
	for _, row := range sl.good {
		snils := row.row.Content.Person.SNILS
		if snils.IsZero() {
			continue
		}
		all, err := s.cfg.Keys.Digests(citizen.DigestSNILS, snils.Digits())
		if err != nil {
			return err
		}
		for _, d := range all {
			persons, of[d] = append(persons, d), append(of[d], row)
		}
	}
	dead, err := citizen.Deceased(ctx, tx, persons)
	if err != nil {
		return err
	}
	for _, d := range dead {
		for _, row := range of[d] {
			row.add(RuleDeceased, fieldSNILS)
		}
	}
	return nil
}

const warnedRowsSQL = `SELECT DISTINCT row_no FROM rejections WHERE list_no = $1 AND rule_code = $2`

// endDeceased ends, as a list's check is closed, the rows of people who have died: those that the check has warned of, and those of whom it was
// said meanwhile.
func (s *Service) endDeceased(ctx context.Context, tx pgx.Tx, c claim, l *List) error {
	some, err := citizen.AnyDeceased(ctx, tx)
	if err != nil || !some {
		return err
	}
	rows, err := tx.Query(ctx, warnedRowsSQL, l.No, int16(RuleDeceased))
	if err != nil {
		return fmt.Errorf("find rows of the deceased: %w", err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return fmt.Errorf("find rows of the deceased: %w", err)
	}
	warned, err := dispatch.ByRowNo(ctx, tx, l.No, numbers)
	if err != nil {
		return err
	}
	if err := s.withdrawDead(ctx, tx, l.Agency, warned); err != nil {
		return err
	}
	since, err := citizen.DeceasedSince(ctx, tx, c.at)
	if err != nil {
		return err
	}
	return s.withdrawDeceased(ctx, tx, since, l.No)
}

func (s *Service) withdrawDead(ctx context.Context, tx pgx.Tx, agency string, ids []dispatch.NotificationID) error {
	_, err := dispatch.Withdraw(ctx, tx, s.cfg.Journal, dispatch.Withdrawal{Agency: agency, Actor: journal.System("ingest").Account, At: s.cfg.Now(),
		Why: "death", IDs: ids})
	return err
}

func lockDeaths(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1)`, deathsLock); err != nil {
		return fmt.Errorf("lock deaths: %w", err)
	}
	return nil
}
