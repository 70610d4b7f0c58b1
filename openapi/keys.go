package openapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

// Key is what may be shown of a key: never its secret, which is not kept.
type Key struct {
	ID        int64      `json:"id"`
	Login     string     `json:"login"`
	Prefix    string     `json:"prefix" doc:"The part of the key that may be shown" example:"k7f2q9xw3m"`
	Test      bool       `json:"test" doc:"A test key: its lists go to the built-in simulators only"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

const (
	prefixLength = 10
	secretLength = 52 // 256 bits in base32 without padding
)

var secretEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// token is a bearer taken apart: ekc_live_<prefix>_<secret> or ekc_test_….
type token struct {
	test           bool
	prefix, secret string
}

func parseToken(bearer string) (token, bool) {
	rest, ok := strings.CutPrefix(bearer, "ekc_")
	kind, rest, ok2 := strings.Cut(rest, "_")
	prefix, secret, ok3 := strings.Cut(rest, "_")
	if !ok || !ok2 || !ok3 || kind != "live" && kind != "test" || len(prefix) != prefixLength || len(secret) != secretLength {
		return token{}, false
	}
	for _, c := range []byte(prefix + secret) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return token{}, false
		}
	}
	return token{test: kind == "test", prefix: prefix, secret: secret}, true
}

func (t token) String() string {
	if t.test {
		return "ekc_test_" + t.prefix + "_" + t.secret
	}
	return "ekc_live_" + t.prefix + "_" + t.secret
}

const insertKeySQL = `INSERT INTO keys (login, prefix, hash, test, created_at, created_by, expires_at)
	VALUES (@login, @prefix, @hash, @test, @at, @by, @expires) RETURNING id`

// NewKey is what is decided about a key.
type NewKey struct {
	Login   string
	Test    bool      // its lists go to the built-in simulators only
	Expires time.Time // zero: works until it is revoked
}

// CreateKey makes a key for an account p may administer, or for p's own. The whole key is returned once and cannot be had again.
func (a *Accounts) CreateKey(ctx context.Context, p journal.Principal, n NewKey) (key Key, secret string, err error) {
	if !n.Expires.IsZero() && !n.Expires.After(a.now()) {
		return Key{}, "", invalid("body.expires_at", "expected a time in the future")
	}
	if p.Test && !n.Test { // what only reaches the simulators does not turn itself into the real thing
		return Key{}, "", problem(CodeGrantBeyond)
	}
	err = postgres.InTx(ctx, a.db, func(tx pgx.Tx) error {
		acc, err := account(ctx, tx, n.Login, `FOR SHARE`)
		if err != nil {
			return err
		}
		switch own := acc.Login == p.Account; {
		case !own && !mayAdminister(p, acc):
			return problem(CodeNotFound)
		case !own && !mayGrant(p, acc.Roles, acc.Agency):
			return problem(CodeGrantBeyond)
		case acc.BlockedAt != nil:
			return problem(CodeBlocked)
		}
		key, secret, err = a.insertKey(ctx, tx, p, acc, n)
		return err
	})
	if err != nil {
		return Key{}, "", fmt.Errorf("create key: %w", err)
	}
	return key, secret, nil
}

func (a *Accounts) insertKey(ctx context.Context, tx pgx.Tx, p journal.Principal, acc Account, n NewKey) (Key, string, error) {
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	t := token{test: n.Test, prefix: strings.ToLower(rand.Text()[:prefixLength]), secret: secretEncoding.EncodeToString(secret[:])}
	hash := sha256.Sum256([]byte(t.secret))
	key := Key{Login: acc.Login, Prefix: t.prefix, Test: n.Test, CreatedAt: a.now().UTC().Truncate(time.Microsecond), CreatedBy: p.Account}
	if !n.Expires.IsZero() {
		expires := n.Expires.UTC()
		key.ExpiresAt = &expires
	}
	err := tx.QueryRow(ctx, insertKeySQL, pgx.NamedArgs{
		"login": key.Login, "prefix": key.Prefix, "hash": hash[:], "test": key.Test, "at": key.CreatedAt, "by": key.CreatedBy, "expires": key.ExpiresAt,
	}).Scan(&key.ID)
	if err != nil {
		return Key{}, "", err
	}
	return key, t.String(), a.record(ctx, tx, p, journal.KeyCreated, acc.Agency, "login", acc.Login, "key", key.Prefix, "test", strconv.FormatBool(n.Test))
}

const revokeKeySQL = `UPDATE keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL`

// RevokeKey ends a key of an account p may administer, or of p's own; in every process within AccountsConfig.Remember.
// To revoke what is revoked is right and changes nothing.
func (a *Accounts) RevokeKey(ctx context.Context, p journal.Principal, id int64) error {
	err := postgres.InTx(ctx, a.db, func(tx pgx.Tx) error {
		var login, prefix string
		if err := tx.QueryRow(ctx, `SELECT login, prefix FROM keys WHERE id = $1 FOR UPDATE`, id).Scan(&login, &prefix); err != nil {
			return err
		}
		acc, err := account(ctx, tx, login, ``)
		if err != nil {
			return err
		}
		switch own := acc.Login == p.Account; {
		case !own && !mayAdminister(p, acc):
			return problem(CodeNotFound)
		case !own && !mayGrant(p, acc.Roles, acc.Agency):
			return problem(CodeGrantBeyond)
		}
		tag, err := tx.Exec(ctx, revokeKeySQL, id, a.now().UTC())
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return a.record(ctx, tx, p, journal.KeyRevoked, acc.Agency, "login", login, "key", prefix)
	})
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	a.forget()
	return nil
}

const keysSQL = `SELECT k.id, k.login, k.prefix, k.test, k.created_at, k.created_by, k.expires_at, k.revoked_at
	FROM keys k JOIN accounts a USING (login)
	WHERE k.id > $1 AND ($2 = '' OR a.agency = $2) AND ($3 = '' OR k.login = $3) ORDER BY k.id LIMIT $4`

// Keys lists keys of accounts p may see, oldest first, those after the given id; login narrows to one account when set.
func (a *Accounts) Keys(ctx context.Context, p journal.Principal, login string, after int64, limit int) ([]Key, error) {
	if p.Agency == "" && !p.Sees("") {
		return nil, nil
	}
	rows, err := a.db.Query(ctx, keysSQL, after, p.Agency, login, limit)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Key])
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

// remembered is a key that was found good.
type remembered struct {
	principal journal.Principal
	until     time.Time
}

// rememberedMost bounds the memory of keys; past it everything is looked up again.
const rememberedMost = 4096

const authenticateSQL = `SELECT k.hash, k.test, k.expires_at, k.revoked_at IS NOT NULL OR a.blocked_at IS NOT NULL,
		a.login, a.agency, a.region, a.roles, a.source
	FROM keys k JOIN accounts a USING (login) WHERE k.prefix = $1`

// Authenticate says on whose behalf a bearer speaks. Any doubt is CodeUnauthorized, with no hint at what was wrong; a database
// that does not answer is its own error.
func (a *Accounts) Authenticate(ctx context.Context, bearer string) (journal.Principal, error) {
	sum := sha256.Sum256([]byte(bearer))
	if a.hasAdmin && sameSecret(sum, a.adminKey) {
		return a.authenticateAdminKey(ctx)
	}
	t, ok := parseToken(bearer)
	if !ok {
		return journal.Principal{}, problem(CodeUnauthorized)
	}
	now := a.now()
	a.mu.Lock()
	found, ok := a.known[sum]
	a.mu.Unlock()
	if ok && now.Before(found.until) {
		return found.principal, nil
	}

	var (
		p       journal.Principal
		hash    []byte
		test    bool
		expires *time.Time
		ended   bool
		roles   []string
	)
	err := a.db.QueryRow(ctx, authenticateSQL, t.prefix).Scan(&hash, &test, &expires, &ended, &p.Account, &p.Agency, &p.Region, &roles, &p.Source)
	if errors.Is(err, pgx.ErrNoRows) {
		return journal.Principal{}, problem(CodeUnauthorized)
	}
	if err != nil {
		return journal.Principal{}, fmt.Errorf("look up key: %w", err)
	}
	presented := sha256.Sum256([]byte(t.secret))
	if subtle.ConstantTimeCompare(presented[:], hash) != 1 || test != t.test || ended || expires != nil && !now.Before(*expires) {
		return journal.Principal{}, problem(CodeUnauthorized)
	}
	p.Roles, p.Test = rolesOf(roles), test
	until := now.Add(a.remember)
	if expires != nil && expires.Before(until) {
		until = *expires
	}
	a.mu.Lock()
	if len(a.known) >= rememberedMost {
		clear(a.known)
	}
	a.known[sum] = remembered{p, until}
	a.mu.Unlock()
	return p, nil
}

func (a *Accounts) authenticateAdminKey(ctx context.Context) (journal.Principal, error) {
	used, err := adminKeyUsed(ctx, a.db)
	switch {
	case err != nil:
		return journal.Principal{}, err
	case used:
		return journal.Principal{}, problem(CodeAdminKeyUsed)
	}
	return journal.Principal{Account: adminKeyAccount}, nil
}

func (a *Accounts) forget() {
	a.mu.Lock()
	clear(a.known)
	a.mu.Unlock()
}
