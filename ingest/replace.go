package ingest

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// Replace takes another file in place of the one of a list that is ready or rejected. What the header says of legal basis, order
// and columns is taken over; the rest stays as it was.
func (s *Service) Replace(ctx context.Context, p journal.Principal, id uuid.UUID, h Header, file io.Reader) (Ref, error) {
	if !mayLoad(p) {
		return Ref{}, ErrForbidden
	}
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return Ref{}, err
	}
	switch {
	case l.Kind == KindFile && (l.State == Approved || l.State == Running || l.State == Paused || l.State == Completed):
		title, _ := s.title("list", string(l.State))
		return Ref{}, ErrCorrectList.with(title)
	case l.State != Ready && l.State != Rejected || l.Kind != KindFile:
		return Ref{}, s.wrongState(l)
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	if err != nil {
		return Ref{}, err
	}
	last, old, err := s.lastFile(ctx, l.No, key)
	if err != nil {
		return Ref{}, err
	}
	old.Again = h.Again
	if h.LegalBasis != nil {
		old.LegalBasis = h.LegalBasis
	}
	if h.OrderedBy != "" {
		old.OrderedBy = h.OrderedBy
	}
	old.Mapping = catalog.MergeColumns(old.Mapping, h.Mapping)
	e, template, err := s.complete(p, old.Header)
	if err != nil {
		return Ref{}, err
	}
	u := upload{s: s, list: l.No, file: last + 1, key: key, envelope: e}
	err = u.store(ctx, file)
	if err == nil {
		err = s.replace(ctx, p, id, &u, template, h.Again)
	}
	if err != nil {
		s.drop(ctx, &u, false)
		return Ref{}, err
	}
	s.poke()
	return Ref{ID: id, No: l.No, State: Checking}, nil
}

const (
	lastFileSQL = `SELECT coalesce(max(file_no), 0) FROM list_files WHERE list_no = $1`
	resetSQL    = `UPDATE lists SET state = 'checking', state_reason = '', rows = 0, accepted = 0, rejected = 0, warnings = 0, segments = 0,
		skipped = 0, suppressed = 0, own_ids = false, rows_digest = NULL,
		digest = NULL, loaded_by = @loaded_by, legal_basis = @legal_basis, ordered_by = @ordered_by, template_version = @template_version
		WHERE no = @no`
	// The ordinals of a file that was replaced are never given again: the persons index may still lead to them.
	forgetPartsSQL = `WITH old AS (DELETE FROM list_parts WHERE list_no = $1 RETURNING first_ordinal + accepted AS next)
		INSERT INTO list_parts (list_no, part, digest, rows, accepted, first_ordinal)
		SELECT $1, -($2::integer), '', 0, 0, coalesce(max(next), 1) FROM old`
)

// lastFile returns the number of the last file and the envelope of the last complete one.
func (s *Service) lastFile(ctx context.Context, list int64, key *citizen.DataKey) (last int32, e envelope, err error) {
	if err := s.cfg.DB.QueryRow(ctx, lastFileSQL, list).Scan(&last); err != nil {
		return 0, e, fmt.Errorf("find file: %w", err)
	}
	var file int32
	err = s.cfg.DB.QueryRow(ctx, `SELECT coalesce(max(file_no), 0) FROM list_files WHERE list_no = $1 AND complete`, list).Scan(&file)
	if err != nil {
		return 0, e, fmt.Errorf("find file: %w", err)
	}
	e, err = s.readEnvelope(ctx, s.cfg.DB, list, file, key)
	return last, e, err
}

func (s *Service) replace(ctx context.Context, p journal.Principal, id uuid.UUID, u *upload, template *catalog.Template, again bool) error {
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		l, err := find(ctx, tx, p, id, true)
		if err != nil {
			return err
		}
		if l.State != Ready && l.State != Rejected {
			return s.wrongState(l)
		}
		if err := s.onlyCorrection(ctx, tx, l.No); err != nil {
			return err
		}
		reason, err := s.sameFile(ctx, tx, p.Agency, u, again)
		if err != nil {
			return err
		}
		if err := s.completeFile(ctx, tx, u); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, patientlySQL); err != nil {
			return fmt.Errorf("set time limit: %w", err)
		}
		if err := s.cfg.Admission.Discard(ctx, tx, l.No); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, forgetPartsSQL, l.No, u.file); err != nil {
			return fmt.Errorf("forget parts: %w", err)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM rejections WHERE list_no = $1`, l.No); err != nil {
			return fmt.Errorf("forget rejections: %w", err)
		}
		args, err := headerArgs(u.envelope, template)
		if err != nil {
			return err
		}
		args["no"], args["loaded_by"] = l.No, p.Account
		if _, err := tx.Exec(ctx, resetSQL, args); err != nil {
			return fmt.Errorf("reset list: %w", err)
		}
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.ListFile, ListNo: l.No, Agency: l.Agency, State: string(Checking),
			From: string(l.State), Reason: reason, Data: journal.Fields("format", u.format, "bytes", fmt.Sprint(u.size), "file", fmt.Sprint(u.file))})
	})
}
