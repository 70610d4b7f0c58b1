package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// Recall is a cancel that came by the feed: of a whole list, or of rows. It may come before its list, which is then told of it.
type Recall struct {
	Principal   journal.Principal
	ListID      uuid.UUID // zero for facts, which are found by their external ids alone
	ExternalIDs []string
	All         bool
	Reason      string // termination, correction, death, duplicate, recalled
	OccurredAt  time.Time
}

// recallReasons are the contract's.
var recallReasons = []string{"termination", "correction", "death", "duplicate", "recalled"}

// ErrRecall refuses a cancel that names nothing, or both.
var ErrRecall = &Fault{FaultInvalid, "bad_cancel", "Укажите в отмене либо all: true, либо от 1 до 1000 external_ids, и причину из договора."}

// recallKept is how long a cancel waits for its list.
const recallKept = 30 * 24 * time.Hour

// TakeRecall ends what has not left of what is named; each row that has left or ended is answered by journal.RecallTooLate. What is not here
// yet, or not checked, is remembered, and ends when it is. A *Fault says that the message is refused.
func (s *Service) TakeRecall(ctx context.Context, r Recall) error {
	if err := checkRecall(&r); err != nil {
		return err
	}
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		if err := lockRecalls(ctx, tx, r.ListID); err != nil {
			return err
		}
		l, source, err := s.recalled(ctx, tx, r.ListID)
		switch {
		case err != nil:
			return err
		case l == nil:
			if r.ExternalIDs, err = s.remember(ctx, tx, &r); err != nil || r.ListID != uuid.Nil || len(r.ExternalIDs) == 0 {
				return err
			}
			return s.recallFacts(ctx, tx, &r)
		case source != r.Principal.Source || l.Agency != r.Principal.Agency:
			return ErrForeignList
		}
		// Remembered also when it is done at once: a message that is read again does and answers nothing more.
		if r.ExternalIDs, err = s.remember(ctx, tx, &r); err != nil || len(r.ExternalIDs) == 0 {
			return err
		}
		return s.recall(ctx, tx, r.Principal, l, &r)
	})
}

func checkRecall(r *Recall) error {
	if !mayLoad(r.Principal) {
		return ErrForbidden
	}
	if r.All != (len(r.ExternalIDs) == 0) || r.All && r.ListID == uuid.Nil || len(r.ExternalIDs) > PartRows || !slices.Contains(recallReasons, r.Reason) {
		return ErrRecall
	}
	for _, id := range r.ExternalIDs {
		if id == "" || !utf8.ValidString(id) || utf8.RuneCountInString(id) > maxExternalID || badCharacters(id) || citizen.HoldsPersonal(id) {
			return ErrRecall
		}
	}
	return nil
}

const recalledSQL = `SELECT l.no, coalesce(f.source, '') FROM lists l LEFT JOIN feed_lists f ON f.list_no = l.no WHERE l.id = $1 FOR NO KEY UPDATE OF l`

// recalled locks the list; nil when it is not here.
func (s *Service) recalled(ctx context.Context, tx pgx.Tx, id uuid.UUID) (l *List, source string, err error) {
	var no int64
	err = tx.QueryRow(ctx, recalledSQL, id).Scan(&no, &source)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("find the list of a cancel: %w", err)
	}
	l, err = s.lockList(ctx, tx, no)
	return l, source, err
}

const rememberSQL = `INSERT INTO recalls (source, list_id, external_id, agency, reason, occurred_at, at)
	SELECT $1, $2, id, $4, $5, $6, $7 FROM unnest($3::text[]) AS id ON CONFLICT DO NOTHING RETURNING external_id`

// remember keeps a cancel, and returns what of it was not said before; "" is the whole list.
func (s *Service) remember(ctx context.Context, tx pgx.Tx, r *Recall) (news []string, err error) {
	ids := r.ExternalIDs
	if r.All {
		ids = []string{""}
	}
	rows, err := tx.Query(ctx, rememberSQL, r.Principal.Source, r.ListID, ids, r.Principal.Agency, r.Reason, r.OccurredAt, s.cfg.Now())
	if err != nil {
		return nil, fmt.Errorf("remember a cancel: %w", err)
	}
	if news, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, fmt.Errorf("remember a cancel: %w", err)
	}
	if len(news) == 0 {
		return nil, nil
	}
	return news, s.append(ctx, tx, r.Principal, journal.Entry{Kind: journal.RecallReceived, Agency: r.Principal.Agency, Reason: r.Reason, Count: len(news),
		Data: journal.Fields("list_id", r.ListID.String(), "source", r.Principal.Source)})
}

const lockRecallSQL = `SELECT pg_advisory_xact_lock(hashtextextended('recall/' || $1, 0))`

// lockRecalls keeps a cancel and the end of its list's check from passing each other unseen. It is taken before the list's row; the one of
// facts (zero) before that of a list.
func lockRecalls(ctx context.Context, tx pgx.Tx, list uuid.UUID) error {
	if _, err := tx.Exec(ctx, lockRecallSQL, list.String()); err != nil {
		return fmt.Errorf("lock cancels: %w", err)
	}
	return nil
}

// recall applies a cancel to a list that is here and locked.
func (s *Service) recall(ctx context.Context, tx pgx.Tx, p journal.Principal, l *List, r *Recall) error {
	if l.State == Receiving || l.State == Checking {
		return nil // it is remembered
	}
	if !r.All {
		return s.recallRows(ctx, tx, p, l, r.Reason, r.ExternalIDs)
	}
	switch l.State {
	case Ready, Approved, Running, Paused: // cancelled once each of its rows is: then its source gets the summary
		return s.end(ctx, tx, p, l, Cancelling, journal.ListCancelled, recallTitle)
	}
	// Nothing is left of it to take back.
	return s.append(ctx, tx, p, journal.Entry{Kind: journal.RecallTooLate, ListNo: l.No, Agency: l.Agency, State: string(l.State), Reason: r.Reason})
}

const recallTitle = "Отозван источником."

// recallRows ends rows of a list that is checked.
func (s *Service) recallRows(ctx context.Context, tx pgx.Tx, p journal.Principal, l *List, reason string, externalIDs []string) error {
	ids, err := dispatch.ByExternalID(ctx, tx, l.No, externalIDs)
	if err != nil || len(ids) == 0 { // none: they were not accepted, and the protocol said so
		return err
	}
	of := dispatch.Withdrawal{Agency: l.Agency, Actor: p.Account, At: s.cfg.Now(), Why: reason, IDs: ids}
	late, err := dispatch.Withdraw(ctx, tx, s.cfg.Journal, of)
	if err != nil || len(late) == 0 {
		return err
	}
	entries := make([]journal.Entry, len(late))
	for i, id := range late {
		entries[i] = journal.Entry{Kind: journal.RecallTooLate, At: s.cfg.Now(), Agency: l.Agency, Actor: p.Account, ListNo: l.No, Notification: int64(id),
			Reason: reason}
	}
	_, err = s.cfg.Journal.Append(ctx, tx, entries)
	return err
}

const factListsSQL = `SELECT f.list_no, array_agg(f.external_id) FROM feed_facts f JOIN lists l ON l.no = f.list_no
	WHERE f.source = $1 AND f.external_id = ANY ($2) AND l.agency = $3 GROUP BY f.list_no ORDER BY f.list_no`

// recallFacts takes back rows by their external ids, in whatever lists of the source they are.
func (s *Service) recallFacts(ctx context.Context, tx pgx.Tx, r *Recall) error {
	rows, err := tx.Query(ctx, factListsSQL, r.Principal.Source, r.ExternalIDs, r.Principal.Agency)
	if err != nil {
		return fmt.Errorf("find facts to take back: %w", err)
	}
	type found struct {
		List int64
		IDs  []string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[found])
	if err != nil {
		return fmt.Errorf("find facts to take back: %w", err)
	}
	for _, f := range all {
		l, err := s.lockList(ctx, tx, f.List)
		if err != nil {
			return err
		}
		if l.State == Receiving || l.State == Checking {
			continue
		}
		if err := s.recallRows(ctx, tx, r.Principal, l, r.Reason, f.IDs); err != nil {
			return err
		}
	}
	return nil
}

const pendingRecallsSQL = `SELECT r.external_id, r.reason FROM recalls r WHERE r.source = $1 AND r.list_id = $2 AND r.at > $4
	UNION SELECT r.external_id, r.reason FROM recalls r JOIN feed_facts f ON f.source = r.source AND f.external_id = r.external_id
	WHERE r.source = $1 AND r.list_id = $5 AND f.list_no = $3 AND r.at > $4`

// recallChecked applies to a list that was just checked what its source has said of it before; all tells that it is taken back as a whole.
func (s *Service) recallChecked(ctx context.Context, tx pgx.Tx, l *List) (all bool, err error) {
	rows, err := tx.Query(ctx, pendingRecallsSQL, l.Source, l.ID, l.No, s.cfg.Now().Add(-recallKept), uuid.Nil)
	if err != nil {
		return false, fmt.Errorf("read cancels: %w", err)
	}
	byReason := make(map[string][]string)
	var id, reason string
	_, err = pgx.ForEachRow(rows, []any{&id, &reason}, func() error {
		all = all || id == ""
		byReason[reason] = append(byReason[reason], id)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("read cancels: %w", err)
	}
	p := journal.Principal{Account: "source/" + l.Source, Agency: l.Agency}
	if all {
		return true, s.end(ctx, tx, p, l, Cancelling, journal.ListCancelled, recallTitle)
	}
	for _, reason := range recallReasons {
		if ids := byReason[reason]; len(ids) > 0 {
			if err := s.recallRows(ctx, tx, p, l, reason, ids); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// forgetRecalls removes cancels whose list never came.
func (s *Service) forgetRecalls(ctx context.Context) error {
	if _, err := s.cfg.DB.Exec(ctx, `DELETE FROM recalls WHERE at < $1`, s.cfg.Now().Add(-recallKept)); err != nil {
		return fmt.Errorf("forget cancels: %w", err)
	}
	return nil
}
