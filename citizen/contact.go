package citizen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Trust says how far a contact can be relied on; the higher is tried first.
type Trust int16

const (
	TrustAgency  Trust = 1 // an agency has it in its files
	TrustCitizen Trust = 2 // the citizen has said so himself
)

// Contact is a phone by which a person can be reached.
type Contact struct {
	Phone  Phone
	Source string // the agency's code; "" = the operator of the system
	Trust  Trust
	By     string // account
	At     time.Time
}

// maxContacts bounds what is kept of one person.
const maxContacts = 10

// ErrContacts says that a person has as many contacts as are kept.
var ErrContacts = errors.New("the person has too many contacts")

const putContactSQL = `INSERT INTO contacts AS c (person, phone, sealed, data_key, source, trust, entered_by, at)
	SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE (SELECT count(*) FROM contacts WHERE person = ANY ($9)) < $10
		OR EXISTS (SELECT FROM contacts WHERE person = $1 AND phone = $2)
	ON CONFLICT (person, phone) DO UPDATE SET source = excluded.source, trust = excluded.trust, entered_by = excluded.entered_by, at = excluded.at`

// PutContact keeps a contact of the person, or what is newly said of one that is there, as part of tx.
func PutContact(ctx context.Context, tx pgx.Tx, keys *Keyring, snils SNILS, c Contact) error {
	persons, err := keys.Digests(DigestSNILS, snils.Digits())
	if err != nil {
		return err
	}
	phone, err := keys.PhoneDigest(c.Phone)
	if err != nil {
		return err
	}
	key, err := keys.ScopeKey(ctx, tx, "contacts/"+c.At.UTC().Format("2006-01"), "")
	if err != nil {
		return err
	}
	sealed := key.Seal(nil, []byte(snils.Digits()+c.Phone.Digits()), contactAAD)
	tag, err := tx.Exec(ctx, putContactSQL, persons[0][:], phone[:], sealed, key.ID, c.Source, c.Trust, c.By, c.At, digestBytes(persons), maxContacts)
	if err != nil {
		return fmt.Errorf("keep contact: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrContacts
	}
	return nil
}

// contactAAD binds blobs to their table. The person is in the blob, so that it fits no other row, and digests can be made anew under another
// index key.
var contactAAD = []byte("contacts")

const contactsSQL = `SELECT sealed, data_key, source, trust, entered_by, at FROM contacts WHERE person = ANY ($1) ORDER BY trust DESC, at DESC, id DESC`

// Contacts are those of a person, the most trusted first, then the newest.
func Contacts(ctx context.Context, db DB, keys *Keyring, snils SNILS) ([]Contact, error) {
	persons, err := keys.Digests(DigestSNILS, snils.Digits())
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, contactsSQL, digestBytes(persons))
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	type stored struct {
		Contact
		sealed []byte
		key    int64
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s stored, err error) {
		return s, row.Scan(&s.sealed, &s.key, &s.Source, &s.Trust, &s.By, &s.At)
	})
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	contacts := make([]Contact, 0, len(found))
	for _, s := range found {
		key, err := keys.Key(ctx, db, s.key)
		if errors.Is(err, ErrKeyDestroyed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		plain, err := key.Open(nil, s.sealed, contactAAD)
		if err != nil {
			return nil, fmt.Errorf("open contact: %w", err)
		}
		phone, ok := strings.CutPrefix(string(plain), snils.Digits())
		if !ok {
			return nil, fmt.Errorf("open contact: %w", ErrSealed)
		}
		if s.Phone, err = ParsePhone(phone); err != nil {
			return nil, fmt.Errorf("read contact: %w", err)
		}
		contacts = append(contacts, s.Contact)
	}
	return contacts, nil
}

// ContactsOf are the phones of Contacts.
func ContactsOf(ctx context.Context, db DB, keys *Keyring, snils SNILS) ([]Phone, error) {
	contacts, err := Contacts(ctx, db, keys, snils)
	if err != nil {
		return nil, err
	}
	phones := make([]Phone, len(contacts))
	for i := range contacts {
		phones[i] = contacts[i].Phone
	}
	return phones, nil
}
