package citizen

import (
	"container/list"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is a pool, a connection or a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var (
	// ErrKeyDestroyed says that a data key was destroyed, and with it for good whatever it sealed.
	ErrKeyDestroyed = errors.New("data key was destroyed")
	// ErrKeyLocked says that the provider does not open a data key that is there: it was wrapped by a key set that this process has
	// not, or it is damaged. The right key set opens it.
	ErrKeyLocked = errors.New("data key cannot be opened with this key set")
)

// Keyring hands out data keys and keyed digests. It keeps the data keys last used open, so that a provider is asked once for each;
// one destroyed by another process stays usable here until it falls out. It is safe for concurrent use.
type Keyring struct {
	provider Provider
	capacity int

	mu    sync.Mutex
	byID  map[int64]*list.Element // of *DataKey
	queue *list.List              // the one used last in front
}

// NewKeyring makes a keyring that holds at most capacity data keys open.
func NewKeyring(provider Provider, capacity int) *Keyring {
	return &Keyring{provider: provider, capacity: max(capacity, 1), byID: make(map[int64]*list.Element), queue: list.New()}
}

const insertDataKey = `
INSERT INTO data_keys (scope, agency, wrapped) VALUES (@scope, @agency, @wrapped)
ON CONFLICT (scope) DO NOTHING RETURNING id`

const selectDataKeyByScope = `SELECT id, wrapped FROM data_keys WHERE scope = @scope`

// ScopeKey gives the data key of a scope, made now if there is none: "list/<uuid>", "express/<agency>/<date>", "inbound/<month>".
// Its row is as durable as the transaction db is; one made by a transaction that rolls back must not be used further.
func (r *Keyring) ScopeKey(ctx context.Context, db DB, scope, agency string) (*DataKey, error) {
	key, err := r.byScope(ctx, db, scope)
	if !errors.Is(err, pgx.ErrNoRows) {
		return key, err
	}
	aead, wrapped, err := r.provider.NewDataKey(scope)
	if err != nil {
		return nil, err
	}
	var id int64
	err = db.QueryRow(ctx, insertDataKey, pgx.NamedArgs{"scope": scope, "agency": agency, "wrapped": wrapped}).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) { // somebody else made it meanwhile
		return r.byScope(ctx, db, scope)
	}
	if err != nil {
		return nil, fmt.Errorf("store data key: %w", err)
	}
	return r.keep(id, aead), nil
}

func (r *Keyring) byScope(ctx context.Context, db DB, scope string) (*DataKey, error) {
	var id int64
	var wrapped []byte
	if err := db.QueryRow(ctx, selectDataKeyByScope, pgx.NamedArgs{"scope": scope}).Scan(&id, &wrapped); err != nil {
		return nil, fmt.Errorf("find data key: %w", err)
	}
	return r.unwrap(id, scope, wrapped)
}

const selectDataKey = `SELECT scope, wrapped FROM data_keys WHERE id = @id`

// Key opens a data key by its number; ErrKeyDestroyed when it is gone, ErrKeyLocked when this process cannot.
func (r *Keyring) Key(ctx context.Context, db DB, id int64) (*DataKey, error) {
	if key := r.open(id); key != nil {
		return key, nil
	}
	var scope string
	var wrapped []byte
	if err := db.QueryRow(ctx, selectDataKey, pgx.NamedArgs{"id": id}).Scan(&scope, &wrapped); err != nil {
		return nil, fmt.Errorf("find data key %d: %w", id, err)
	}
	return r.unwrap(id, scope, wrapped)
}

func (r *Keyring) unwrap(id int64, scope string, wrapped []byte) (*DataKey, error) {
	if wrapped == nil {
		r.forget(id)
		return nil, fmt.Errorf("data key %d: %w", id, ErrKeyDestroyed)
	}
	if key := r.open(id); key != nil {
		return key, nil
	}
	aead, err := r.provider.OpenDataKey(wrapped, scope)
	if err != nil {
		return nil, fmt.Errorf("data key %d: %w: %w", id, ErrKeyLocked, err)
	}
	return r.keep(id, aead), nil
}

const destroyDataKey = `UPDATE data_keys SET wrapped = NULL, destroyed_at = clock_timestamp() WHERE id = @id AND wrapped IS NOT NULL`

// DestroyKey makes whatever the key sealed unreadable for good, backups of the rows included once the backups of data_keys expire.
func (r *Keyring) DestroyKey(ctx context.Context, db DB, id int64) error {
	if _, err := db.Exec(ctx, destroyDataKey, pgx.NamedArgs{"id": id}); err != nil {
		return fmt.Errorf("destroy data key %d: %w", id, err)
	}
	r.forget(id)
	return nil
}

func (r *Keyring) open(id int64) *DataKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[id]
	if e == nil {
		return nil
	}
	r.queue.MoveToFront(e)
	return e.Value.(*DataKey)
}

func (r *Keyring) keep(id int64, aead cipher.AEAD) *DataKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil { // opened twice at once
		r.queue.MoveToFront(e)
		return e.Value.(*DataKey)
	}
	key := &DataKey{ID: id, aead: aead}
	r.byID[id] = r.queue.PushFront(key)
	for r.queue.Len() > r.capacity {
		oldest := r.queue.Back()
		delete(r.byID, oldest.Value.(*DataKey).ID)
		r.queue.Remove(oldest)
	}
	return key
}

func (r *Keyring) forget(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil {
		delete(r.byID, id)
		r.queue.Remove(e)
	}
}

// Digest is the keyed digest new rows are written with.
func (r *Keyring) Digest(kind DigestKind, normalized string) (Digest, error) {
	return r.provider.Digest(digestInput(kind, normalized))
}

// Digests are all keyed digests a row may have been written with, for a search; the current one first.
func (r *Keyring) Digests(kind DigestKind, normalized string) ([]Digest, error) {
	return r.provider.Digests(digestInput(kind, normalized))
}

// PhoneDigest is the digest of a phone, for opt-outs, caps, late receipts and replies.
func (r *Keyring) PhoneDigest(p Phone) (Digest, error) { return r.Digest(DigestPhone, p.Digits()) }

// PhoneDigests are all digests a phone may have been written with.
func (r *Keyring) PhoneDigests(p Phone) ([]Digest, error) { return r.Digests(DigestPhone, p.Digits()) }

// PersonDigests are what persons_index gets for a row: phones, SNILS, name with birth date, each as far as it is there. They are
// appended to dst.
func (r *Keyring) PersonDigests(dst []Digest, p Person, phones ...Phone) ([]Digest, error) {
	add := func(kind DigestKind, normalized string) error {
		if normalized == "" {
			return nil
		}
		d, err := r.Digest(kind, normalized)
		if err == nil {
			dst = append(dst, d)
		}
		return err
	}
	for _, phone := range phones {
		if err := add(DigestPhone, phone.Digits()); err != nil {
			return dst, err
		}
	}
	if err := add(DigestSNILS, p.SNILS.Digits()); err != nil {
		return dst, err
	}
	return dst, add(DigestNameBirth, p.NameBirth())
}
