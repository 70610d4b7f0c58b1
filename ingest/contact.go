package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
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
	var latest []int64
	for _, ref := range slices.Backward(refs) { // the newest lists have the highest numbers
		if ref.Kind == citizen.RefNotification && len(latest) < recentRows {
			latest = append(latest, ref.ID)
		}
	}
	ids, err := s.reachable(ctx, tx, latest)
	if err != nil {
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

const countingSQL = `SELECT u.id FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, place) JOIN lists l ON l.no = u.id >> 24
	WHERE l.tests IS NULL AND NOT l.test AND l.state NOT IN ('rejected', 'refused') ORDER BY u.place`

// reachable leaves out rows of lists that came to nothing, and those whose message did not arrive.
func (s *Service) reachable(ctx context.Context, tx pgx.Tx, ids []int64) ([]dispatch.NotificationID, error) {
	rows, err := tx.Query(ctx, countingSQL, ids)
	if err != nil {
		return nil, fmt.Errorf("look for contacts: %w", err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[dispatch.NotificationID])
	if err != nil {
		return nil, fmt.Errorf("look for contacts: %w", err)
	}
	failed, err := dispatch.Failed(ctx, tx, left)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(left, func(id dispatch.NotificationID) bool { return slices.Contains(failed, id) }), nil
}

// FeedMessages are ЕГИССО's own messages from which lists were made, by their numbers, for the history's answer. The caller has the right to
// look, and has journalled the look. What cannot be opened any more is left out.
func (s *Service) FeedMessages(ctx context.Context, lists []int64) (map[int64][]byte, error) {
	rows, err := s.cfg.DB.Query(ctx, `SELECT m.list_no, m.sealed, l.data_key FROM feed_messages m JOIN lists l ON l.no = m.list_no WHERE m.list_no = ANY ($1)`, lists)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	type stored struct {
		List   int64
		Sealed []byte
		Key    int64
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[stored])
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	messages := make(map[int64][]byte, len(found))
	for _, m := range found {
		key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, m.Key)
		if errors.Is(err, citizen.ErrKeyDestroyed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		plain, err := key.Open(nil, m.Sealed, citizen.RowAAD("feed_messages", m.List))
		if err != nil {
			return nil, fmt.Errorf("open message of list %d: %w", m.List, err)
		}
		messages[m.List] = plain[len(citizen.Salt{}):]
	}
	return messages, nil
}

// Refusals about a person's profile.
var (
	ErrProfileSNILS = &Fault{FaultInvalid, "bad_snils", "Укажите СНИЛС: 11 цифр с верным контрольным числом."}
	ErrProfilePhone = &Fault{FaultInvalid, "bad_phone", "Укажите один российский номер: +7 и 10 цифр."}
	ErrProfileFull  = &Fault{FaultConflict, "too_many_contacts", "У этого человека уже записано столько телефонов, сколько хранится."}
)

// Profile tells how a person can be reached. The look is in the journal; the principal has a purpose.
func (s *Service) Profile(ctx context.Context, p journal.Principal, snils string) ([]citizen.Contact, error) {
	id, _, err := citizen.ParseSNILS(snils)
	if err != nil {
		return nil, ErrProfileSNILS
	}
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.PersonSearched, Agency: p.Agency, Data: journal.Fields("by", "snils", "what", "profile")})
	})
	if err != nil {
		return nil, err
	}
	return citizen.Contacts(ctx, s.cfg.DB, s.cfg.Keys, id)
}

// KeepContact writes a phone into a person's profile: what an agency has of him, or what he said himself.
func (s *Service) KeepContact(ctx context.Context, p journal.Principal, snils, phone string, trust citizen.Trust) error {
	id, _, err := citizen.ParseSNILS(snils)
	if err != nil {
		return ErrProfileSNILS
	}
	number, err := citizen.ParsePhone(phone)
	if err != nil || number.Kind() == citizen.TollFree {
		return ErrProfilePhone
	}
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		contact := citizen.Contact{Phone: number, Source: p.Agency, Trust: trust, By: p.Account, At: s.cfg.Now()}
		if err := citizen.PutContact(ctx, tx, s.cfg.Keys, id, contact); err != nil {
			return err
		}
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.ProfileChanged, Agency: p.Agency, Data: journal.Fields("what", "contact", "trust", fmt.Sprint(trust))})
	})
	if errors.Is(err, citizen.ErrContacts) {
		return ErrProfileFull
	}
	return err
}
