package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
)

// recentRows is how many of the latest rows about a person are looked through for a phone.
const recentRows = 50

// contactsOf is what is known of how to reach a person: phones he or an agency has entered in his profile, the most trusted first, then that
// of the latest accepted row about him. A row is a contact for as long as it is kept: nothing is copied. A phone on which the last message
// did not arrive is left out.
func (s *Service) contactsOf(ctx context.Context, tx pgx.Tx, snils citizen.SNILS) ([]citizen.Phone, error) {
	phones, err := citizen.ContactsOf(ctx, tx, s.cfg.Keys, snils)
	if err != nil || len(phones) > 0 {
		return phones, err
	}
	digests, err := s.cfg.Keys.Digests(citizen.DigestSNILS, snils.Digits())
	if err != nil {
		return nil, err
	}
	refs, err := citizen.LookupIndex(ctx, tx, digests)
	if err != nil {
		return nil, err
	}
	var ids []dispatch.NotificationID
	for _, ref := range slices.Backward(refs) { // the newest lists have the highest numbers
		if ref.Kind == citizen.RefNotification && len(ids) < recentRows {
			ids = append(ids, dispatch.NotificationID(ref.ID))
		}
	}
	if ids, err = s.reachable(ctx, tx, ids); err != nil {
		return nil, err
	}
	known, err := dispatch.Contents(ctx, tx, s.cfg.Keys, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if c, ok := known[id]; ok && c.Person.SNILS == snils && len(c.Phones) > 0 {
			return c.Phones[:1], nil
		}
	}
	return nil, nil
}

const reachableSQL = `SELECT u.id FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, place) JOIN lists l ON l.no = u.id >> 24 LEFT JOIN outcomes o ON o.id = u.id
	WHERE l.tests IS NULL AND NOT l.test AND l.state NOT IN ('rejected', 'refused') AND (o.state IS NULL OR o.state <> ALL ($2)) ORDER BY u.place`

// reachable leaves out rows of lists that came to nothing, and those whose message did not arrive.
func (s *Service) reachable(ctx context.Context, tx pgx.Tx, ids []dispatch.NotificationID) ([]dispatch.NotificationID, error) {
	raw := make([]int64, len(ids))
	for i := range ids {
		raw[i] = int64(ids[i])
	}
	rows, err := tx.Query(ctx, reachableSQL, raw, []int16{int16(dispatch.Undelivered), int16(dispatch.Refused)})
	if err != nil {
		return nil, fmt.Errorf("look for contacts: %w", err)
	}
	left, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id dispatch.NotificationID, err error) {
		return id, row.Scan((*int64)(&id))
	})
	if err != nil {
		return nil, fmt.Errorf("look for contacts: %w", err)
	}
	return left, nil
}

// feedMessage opens the message a list was made from.
func (s *Service) feedMessage(ctx context.Context, l *List) ([]byte, error) {
	var sealed []byte
	err := s.cfg.DB.QueryRow(ctx, `SELECT sealed FROM feed_messages WHERE list_no = $1`, l.No).Scan(&sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	if err != nil {
		return nil, err
	}
	plain, err := key.Open(nil, sealed, citizen.RowAAD("feed_messages", l.No))
	if err != nil {
		return nil, fmt.Errorf("open message of list %d: %w", l.No, err)
	}
	return plain[len(citizen.Salt{}):], nil
}
