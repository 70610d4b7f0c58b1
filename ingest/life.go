package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/journal"
	"ekc/postgres"
)

// wrongState names the state in which the list stands, as the catalogue calls it.
func (s *Service) wrongState(l *List) error {
	title, _ := s.title("list", string(l.State))
	return ErrState.with(title)
}

// change runs one act of a person on a list: the list is locked, the act and its journal entry are one transaction.
func (s *Service) change(ctx context.Context, p journal.Principal, id uuid.UUID, do func(tx pgx.Tx, l *List) error) (*List, error) {
	err := postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		l, err := find(ctx, tx, p, id, true)
		if err != nil {
			return err
		}
		if p.Test && !l.Test {
			return ErrForbidden
		}
		return do(tx, l)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, p, id)
}

// lockList reads a list for a change by the hub itself. Nobody locks lists for more than NO KEY UPDATE: slices that are being admitted, one
// after another without a gap, hold the keys of theirs (list_parts).
func (s *Service) lockList(ctx context.Context, tx pgx.Tx, no int64) (*List, error) {
	rows, err := tx.Query(ctx, `SELECT `+listColumns+` FROM lists WHERE no = $1 FOR NO KEY UPDATE`, no)
	if err != nil {
		return nil, fmt.Errorf("lock list %d: %w", no, err)
	}
	l, err := pgx.CollectExactlyOneRow(rows, scanList)
	if err != nil {
		return nil, fmt.Errorf("lock list %d: %w", no, err)
	}
	return l, nil
}

// Expected is what an approver saw: what is approved must be exactly that.
type Expected struct {
	Accepted int
	Digest   string // hexadecimal, as List.DigestString
}

// DigestString is the digest of what would be sent, as approve takes it; empty before the list is checked.
func (l *List) DigestString() string { return hex.EncodeToString(l.Digest) }

// Approve lets a ready list go, now or at startAt. Only an approver of the same agency may, and never for a list that he loaded himself.
func (s *Service) Approve(ctx context.Context, p journal.Principal, id uuid.UUID, want Expected, startAt time.Time) (*List, error) {
	return s.change(ctx, p, id, func(tx pgx.Tx, l *List) error {
		switch {
		case !mayApprove(p):
			return ErrForbidden
		case l.LoadedBy == p.Account:
			return ErrOwnList
		case l.State != Ready:
			return s.wrongState(l)
		case want.Accepted != l.Accepted || want.Digest != l.DigestString():
			return ErrChanged
		case l.LegalBasis == nil || l.LegalBasis.Code == "" || l.LegalBasis.Document == "":
			return ErrNoBasis
		case l.OrderedBy == "":
			return ErrNoOrder
		}
		return s.approve(ctx, tx, p, l, startAt, nil)
	})
}

const approveSQL = `UPDATE lists SET state = @state, approved_by = @by, approved_at = @now, start_at = @start WHERE no = @no`

func (s *Service) approve(ctx context.Context, tx pgx.Tx, p journal.Principal, l *List, startAt time.Time, data []journal.Field) error {
	now := s.cfg.Now()
	later := startAt.After(now)
	state, start := Running, now
	if later {
		state, start = Approved, startAt
	}
	if _, err := tx.Exec(ctx, approveSQL, pgx.NamedArgs{"no": l.No, "state": state, "by": p.Account, "now": now, "start": start}); err != nil {
		return fmt.Errorf("approve list: %w", err)
	}
	if data == nil {
		data = basisFields(l.LegalBasis, l.OrderedBy)
	}
	err := s.append(ctx, tx, p, journal.Entry{Kind: journal.ListApproved, ListNo: l.No, Agency: l.Agency, State: string(Approved),
		From: string(l.State), Count: l.Accepted, Data: data})
	if err != nil {
		return err
	}
	if later {
		return s.cfg.Admission.Start(ctx, tx, l.No, startAt)
	}
	if err := s.cfg.Admission.Start(ctx, tx, l.No, time.Time{}); err != nil {
		return err
	}
	return s.append(ctx, tx, journal.System("ingest"), journal.Entry{Kind: journal.ListStarted, ListNo: l.No, Agency: l.Agency,
		State: string(Running), From: string(Approved)})
}

func basisFields(b *catalog.LegalBasis, orderedBy string) []journal.Field {
	if b == nil {
		return nil
	}
	return journal.Fields("basis_code", b.Code, "basis_document", b.Document, "basis_date", b.Date, "ordered_by", orderedBy)
}

// Refuse says no to a ready list; its rows end as cancelled.
func (s *Service) Refuse(ctx context.Context, p journal.Principal, id uuid.UUID, reason string) (*List, error) {
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	return s.change(ctx, p, id, func(tx pgx.Tx, l *List) error {
		switch {
		case !mayApprove(p):
			return ErrForbidden
		case l.LoadedBy == p.Account:
			return ErrOwnList
		case l.State != Ready:
			return s.wrongState(l)
		}
		return s.end(ctx, tx, p, l, Refused, journal.ListRefused, reason)
	})
}

func checkReason(reason string) error {
	if len(reason) > 1000 || badCharacters(reason) {
		return ErrHeaderField.with("reason")
	}
	return nil
}

// mayDrive are those who pause and cancel a list of their agency: approvers, and the loader his own.
func mayDrive(p journal.Principal, l *List) bool {
	own := p.Account == l.LoadedBy && (p.Has(journal.RoleListLoader) || p.Has(journal.RoleSourceSystem))
	return p.Agency == l.Agency && (p.Has(journal.RoleListApprover) || own)
}

// Pause holds a list that is approved or runs; nothing of it is started from the moment this returns, in any process, but what is being
// written.
func (s *Service) Pause(ctx context.Context, p journal.Principal, id uuid.UUID) (*List, error) {
	return s.change(ctx, p, id, func(tx pgx.Tx, l *List) error {
		switch {
		case !mayDrive(p, l):
			return ErrForbidden
		case l.State != Running && l.State != Approved:
			return s.wrongState(l)
		}
		if err := s.cfg.Admission.Pause(ctx, tx, l.No); err != nil {
			return err
		}
		return s.move(ctx, tx, p, l, Paused, journal.ListPaused)
	})
}

// Resume lets a paused list go on. The loader may not: to let a list go is the approver's.
func (s *Service) Resume(ctx context.Context, p journal.Principal, id uuid.UUID) (*List, error) {
	return s.change(ctx, p, id, func(tx pgx.Tx, l *List) error {
		switch {
		case !mayApprove(p):
			return ErrForbidden
		case l.LoadedBy == p.Account:
			return ErrOwnList
		case l.State != Paused:
			return s.wrongState(l)
		}
		if err := s.cfg.Admission.Resume(ctx, tx, l.No); err != nil {
			return err
		}
		to := Running
		if l.StartAt.After(s.cfg.Now()) {
			to = Approved
		}
		return s.move(ctx, tx, p, l, to, journal.ListResumed)
	})
}

// Cancel ends a list: what has not left does not leave. What is on the wire is let finish, and the list is cancelled after it.
func (s *Service) Cancel(ctx context.Context, p journal.Principal, id uuid.UUID, reason string) (*List, error) {
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	return s.change(ctx, p, id, func(tx pgx.Tx, l *List) error {
		if !mayDrive(p, l) {
			return ErrForbidden
		}
		switch l.State {
		case Receiving: // of the feed: its missing parts are not waited for any more
			if l.Kind == KindFeed || l.Kind == KindExpress {
				return s.end(ctx, tx, p, l, Cancelled, journal.ListCancelled, reason)
			}
		case Ready, Approved:
			return s.end(ctx, tx, p, l, Cancelled, journal.ListCancelled, reason)
		case Running, Paused:
			return s.end(ctx, tx, p, l, Cancelling, journal.ListCancelled, reason)
		}
		return s.wrongState(l)
	})
}

const endSQL = `UPDATE lists SET state = @state, state_reason = @reason, ended_at = CASE WHEN @ended THEN @now ELSE ended_at END WHERE no = @no`

// end stops a list for good, and ends its rows. The reason is free text: it stays beside the list and out of the journal.
func (s *Service) end(ctx context.Context, tx pgx.Tx, p journal.Principal, l *List, to State, kind journal.Kind, reason string) error {
	if err := s.cfg.Admission.Cancel(ctx, tx, l.No); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, endSQL, pgx.NamedArgs{"no": l.No, "state": to, "reason": reason, "ended": to != Cancelling, "now": s.cfg.Now()})
	if err != nil {
		return fmt.Errorf("end list: %w", err)
	}
	return s.append(ctx, tx, p, journal.Entry{Kind: kind, ListNo: l.No, Agency: l.Agency, State: string(to), From: string(l.State)})
}

func (s *Service) move(ctx context.Context, tx pgx.Tx, p journal.Principal, l *List, to State, kind journal.Kind) error {
	if _, err := tx.Exec(ctx, `UPDATE lists SET state = $2 WHERE no = $1`, l.No, to); err != nil {
		return fmt.Errorf("set list to %s: %w", to, err)
	}
	return s.append(ctx, tx, p, journal.Entry{Kind: kind, ListNo: l.No, Agency: l.Agency, State: string(to), From: string(l.State)})
}

const dueListsSQL = `SELECT no FROM lists WHERE state = 'approved' AND start_at <= $1 ORDER BY no LIMIT 100`

// startDue shows lists as running whose hour has come; dispatch has known the hour since they were approved.
func (s *Service) startDue(ctx context.Context) error {
	rows, err := s.cfg.DB.Query(ctx, dueListsSQL, s.cfg.Now())
	if err != nil {
		return fmt.Errorf("find approved lists: %w", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("find approved lists: %w", err)
	}
	var all error
	for _, no := range due {
		all = errors.Join(all, postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
			l, err := s.lockList(ctx, tx, no)
			if err != nil || l.State != Approved || l.StartAt.After(s.cfg.Now()) {
				return err
			}
			return s.move(ctx, tx, journal.System("ingest"), l, Running, journal.ListStarted)
		}))
	}
	return all
}
