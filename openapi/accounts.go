package openapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/journal"
	"ekc/postgres"
)

// Kinds of account.
const (
	Person  = "person"
	Machine = "system"
)

// Account is a person or a system that may ask. Its login is never reused or renamed: it is the journal's actor.
type Account struct {
	Login     string         `json:"login" doc:"Never reused, never renamed" example:"ivanova.mp"`
	Kind      string         `json:"kind" enum:"person,system"`
	Title     string         `json:"title" doc:"Who it is, for people"`
	Agency    string         `json:"agency" doc:"Code of the agency; empty: the operator of the system"`
	Region    string         `json:"region" doc:"Narrows to one region when set"`
	Roles     []journal.Role `json:"roles"`
	Source    string         `json:"source" doc:"Of a system: its entry in the catalogue of sources"`
	CreatedAt time.Time      `json:"created_at"`
	CreatedBy string         `json:"created_by"`
	BlockedAt *time.Time     `json:"blocked_at,omitempty"`
}

// NewAccount is what an administrator decides about an account.
type NewAccount struct {
	Login  string
	Kind   string
	Title  string
	Agency string
	Region string
	Roles  []journal.Role
	Source string
}

// AccountsConfig sets what Accounts needs beside the database.
type AccountsConfig struct {
	// AdminKey makes one account with role security_admin, once; then it is refused. Empty: there is no such key.
	AdminKey string
	// Remember is for how long a key that was found good is not looked up again: a revoked key or a blocked account stops
	// working within this time in every process. Zero means 1s, the most is 2s.
	Remember time.Duration
}

// Accounts keeps accounts and keys and says who a bearer is. Every change is in the journal, in the same transaction. Its
// methods may be called concurrently.
type Accounts struct {
	db       *pgxpool.Pool
	journal  *journal.Writer
	now      func() time.Time
	adminKey [sha256.Size]byte
	hasAdmin bool
	remember time.Duration

	mu    sync.Mutex
	known map[[sha256.Size]byte]remembered
}

// NewAccounts returns Accounts on the database; now is the clock.
func NewAccounts(db *pgxpool.Pool, w *journal.Writer, now func() time.Time, c AccountsConfig) *Accounts {
	if c.Remember <= 0 {
		c.Remember = time.Second
	}
	return &Accounts{
		db: db, journal: w, now: now, adminKey: sha256.Sum256([]byte(c.AdminKey)), hasAdmin: c.AdminKey != "",
		remember: min(c.Remember, 2*time.Second), known: make(map[[sha256.Size]byte]remembered),
	}
}

// adminKeyAccount is the actor of whoever presents the administrator's first key. No login can look like it.
const adminKeyAccount = "system/admin_key"

var loginForm = regexp.MustCompile(`^[a-z][a-z0-9._-]{1,62}[a-z0-9]$`)

// Roles by who appoints them (order 442н, section 16): the participant's, held within its agency; a machine's.
var (
	agencyRoles = []journal.Role{
		journal.RoleSegmentCoordinator, journal.RoleSupervisor, journal.RoleSegmentAdmin, journal.RoleKBEditor,
		journal.RoleOperatorL1, journal.RoleOperatorL2, journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem,
	}
	machineRoles = []journal.Role{journal.RoleSourceSystem, journal.RoleASVSystem}
	// segmentGrants is what an agency's administrator gives to its staff (442н, пп. 14–15).
	segmentGrants = []journal.Role{
		journal.RoleSegmentCoordinator, journal.RoleSupervisor, journal.RoleKBEditor, journal.RoleOperatorL1,
		journal.RoleOperatorL2, journal.RoleListLoader, journal.RoleListApprover,
	}
)

// mayGrant reports whether p may give (and take) every one of the roles in the agency.
func mayGrant(p journal.Principal, roles []journal.Role, agency string) bool {
	switch {
	case p.Has(journal.RoleSystem):
		return true
	case p.Has(journal.RoleSecurityAdmin):
		return p.Sees(agency)
	}
	return !slices.ContainsFunc(roles, func(r journal.Role) bool {
		switch {
		case p.Has(journal.RoleEKCAdmin) && p.Agency == "" && r == journal.RoleSegmentAdmin:
			return false
		case p.Has(journal.RoleSegmentAdmin) && p.Agency != "" && p.Agency == agency && slices.Contains(segmentGrants, r):
			return false
		}
		return true
	}) && len(roles) > 0
}

// checkRoles refuses roles that do not fit the kind of account or its agency.
func checkRoles(a NewAccount) error {
	if len(a.Roles) == 0 {
		return invalid("body.roles", "expected array length >= 1")
	}
	for _, r := range a.Roles {
		ofAgency, ofMachine := slices.Contains(agencyRoles, r), slices.Contains(machineRoles, r)
		switch {
		case !slices.Contains(journal.Roles(), r):
			return invalid("body.roles", "expected roles of the list")
		case ofMachine != (a.Kind == Machine):
			return problem(CodeRoleScope)
		case ofAgency && a.Agency == "", !ofAgency && r != journal.RoleAuditor && a.Agency != "":
			return problem(CodeRoleScope)
		}
	}
	return nil
}

func (a NewAccount) check() error {
	switch {
	case !loginForm.MatchString(a.Login):
		return invalid("body.login", "expected string to match pattern "+loginForm.String())
	case a.Kind != Person && a.Kind != Machine:
		return invalid("body.kind", `expected value to be one of "person, system"`)
	case a.Source != "" && a.Kind != Machine:
		return invalid("body.source", "a source belongs to an account of kind system")
	case slices.Contains(a.Roles, journal.RoleSourceSystem) && a.Source == "":
		return invalid("body.source", "a source_system needs its entry in the catalogue of sources")
	}
	return checkRoles(a)
}

const insertAccountSQL = `INSERT INTO accounts (login, kind, title, agency, region, roles, source, created_at, created_by)
	VALUES (@login, @kind, @title, @agency, @region, @roles, @source, @at, @by)`

// CreateAccount makes an account on behalf of p, who must be allowed to give every role it has.
func (a *Accounts) CreateAccount(ctx context.Context, p journal.Principal, n NewAccount) (Account, error) {
	n.Roles = sortedRoles(n.Roles)
	if err := n.check(); err != nil {
		return Account{}, err
	}
	if n.Login == p.Account {
		return Account{}, problem(CodeSelfGrant)
	}
	if !mayGrant(p, n.Roles, n.Agency) {
		return Account{}, problem(CodeGrantBeyond)
	}
	var made Account
	err := postgres.InTx(ctx, a.db, func(tx pgx.Tx) (err error) {
		made, err = a.insertAccount(ctx, tx, p, n)
		return err
	})
	if err != nil {
		return Account{}, fmt.Errorf("create account: %w", err)
	}
	return made, nil
}

// CreateFirst is what the administrator's first key is for: one account of a person with role security_admin and its key, in one
// transaction, once. From then on the first key is refused.
func (a *Accounts) CreateFirst(ctx context.Context, p journal.Principal, n NewAccount) (made Account, key Key, secret string, err error) {
	n.Roles = sortedRoles(n.Roles)
	if err := n.check(); err != nil {
		return Account{}, Key{}, "", err
	}
	if p.Account != adminKeyAccount || n.Kind != Person || !slices.Equal(n.Roles, []journal.Role{journal.RoleSecurityAdmin}) {
		return Account{}, Key{}, "", problem(CodeGrantBeyond)
	}
	err = postgres.InTx(ctx, a.db, func(tx pgx.Tx) (err error) {
		if err := a.useAdminKey(ctx, tx); err != nil {
			return err
		}
		if made, err = a.insertAccount(ctx, tx, p, n); err != nil {
			return err
		}
		key, secret, err = a.insertKey(ctx, tx, p, made, NewKey{})
		return err
	})
	if err != nil {
		return Account{}, Key{}, "", fmt.Errorf("create first account: %w", err)
	}
	return made, key, secret, nil
}

func (a *Accounts) insertAccount(ctx context.Context, tx pgx.Tx, p journal.Principal, n NewAccount) (Account, error) {
	made := Account{Login: n.Login, Kind: n.Kind, Title: n.Title, Agency: n.Agency, Region: n.Region, Roles: n.Roles, Source: n.Source,
		CreatedAt: a.now().UTC().Truncate(time.Microsecond), CreatedBy: p.Account}
	_, err := tx.Exec(ctx, insertAccountSQL, pgx.NamedArgs{
		"login": n.Login, "kind": n.Kind, "title": n.Title, "agency": n.Agency, "region": n.Region, "roles": roleNames(n.Roles),
		"source": n.Source, "at": made.CreatedAt, "by": p.Account,
	})
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" { // unique_violation
		return Account{}, problem(CodeExists)
	}
	if err != nil {
		return Account{}, err
	}
	return made, a.record(ctx, tx, p, journal.AccountCreated, n.Agency,
		"login", n.Login, "kind", n.Kind, "roles", strings.Join(roleNames(n.Roles), " "), "source", n.Source)
}

// useAdminKey lets the administrator's first key through as long as it has made nobody; the lock makes two at once one after
// the other.
func (a *Accounts) useAdminKey(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE`); err != nil {
		return err
	}
	used, err := adminKeyUsed(ctx, tx)
	if err != nil {
		return err
	}
	if used {
		return problem(CodeAdminKeyUsed)
	}
	return nil
}

type queryRower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

const adminKeyUsedSQL = `SELECT EXISTS (SELECT FROM accounts WHERE created_by = $1 OR $2 = ANY (roles))`

func adminKeyUsed(ctx context.Context, db queryRower) (used bool, err error) {
	err = db.QueryRow(ctx, adminKeyUsedSQL, adminKeyAccount, string(journal.RoleSecurityAdmin)).Scan(&used)
	if err != nil {
		return false, fmt.Errorf("look for the first administrator: %w", err)
	}
	return used, nil
}

// SetRoles replaces the roles of another account: p must be allowed to give both what it had and what it gets.
func (a *Accounts) SetRoles(ctx context.Context, p journal.Principal, login string, roles []journal.Role) (Account, error) {
	roles = sortedRoles(roles)
	return a.change(ctx, p, login, func(ctx context.Context, tx pgx.Tx, was *Account) (journal.Kind, []string, error) {
		if err := checkRoles(NewAccount{Kind: was.Kind, Agency: was.Agency, Roles: roles}); err != nil {
			return "", nil, err
		}
		if !mayGrant(p, roles, was.Agency) {
			return "", nil, problem(CodeGrantBeyond)
		}
		_, err := tx.Exec(ctx, `UPDATE accounts SET roles = $2 WHERE login = $1`, login, roleNames(roles))
		before := strings.Join(roleNames(was.Roles), " ")
		was.Roles = roles
		return journal.AccountChanged, []string{"roles", strings.Join(roleNames(roles), " "), "roles_before", before}, err
	})
}

// Block stops an account with all its keys; effective in every process within AccountsConfig.Remember.
func (a *Accounts) Block(ctx context.Context, p journal.Principal, login string) (Account, error) {
	return a.change(ctx, p, login, func(ctx context.Context, tx pgx.Tx, was *Account) (journal.Kind, []string, error) {
		if was.BlockedAt != nil {
			return "", nil, problem(CodeStateChanged)
		}
		at := a.now().UTC().Truncate(time.Microsecond)
		was.BlockedAt = &at
		_, err := tx.Exec(ctx, `UPDATE accounts SET blocked_at = $2 WHERE login = $1`, login, at)
		return journal.AccountBlocked, nil, err
	})
}

// Unblock lets a blocked account work again.
func (a *Accounts) Unblock(ctx context.Context, p journal.Principal, login string) (Account, error) {
	return a.change(ctx, p, login, func(ctx context.Context, tx pgx.Tx, was *Account) (journal.Kind, []string, error) {
		if was.BlockedAt == nil {
			return "", nil, problem(CodeStateChanged)
		}
		was.BlockedAt = nil
		_, err := tx.Exec(ctx, `UPDATE accounts SET blocked_at = NULL WHERE login = $1`, login)
		return journal.AccountChanged, []string{"blocked", "no"}, err
	})
}

// change runs fn on the locked row of another account that p may administer, journals it, and forgets remembered keys.
func (a *Accounts) change(ctx context.Context, p journal.Principal, login string, fn func(context.Context, pgx.Tx, *Account) (journal.Kind, []string, error)) (Account, error) {
	var acc Account
	err := postgres.InTx(ctx, a.db, func(tx pgx.Tx) error {
		var err error
		if acc, err = account(ctx, tx, login, `FOR UPDATE`); err != nil {
			return err
		}
		switch {
		case !mayAdminister(p, acc):
			return problem(CodeNotFound)
		case acc.Login == p.Account:
			return problem(CodeSelfGrant)
		case !mayGrant(p, acc.Roles, acc.Agency):
			return problem(CodeGrantBeyond)
		}
		kind, data, err := fn(ctx, tx, &acc)
		if err != nil {
			return err
		}
		return a.record(ctx, tx, p, kind, acc.Agency, append(data, "login", login)...)
	})
	if err != nil {
		return Account{}, fmt.Errorf("change account: %w", err)
	}
	a.forget()
	return acc, nil
}

// mayAdminister is who may see an account at all: security looks everywhere, an agency's administrator at its own people.
func mayAdminister(p journal.Principal, acc Account) bool {
	return p.Sees(acc.Agency) || p.Has(journal.RoleEKCAdmin) && p.Agency == ""
}

func (a *Accounts) record(ctx context.Context, tx pgx.Tx, p journal.Principal, kind journal.Kind, agency string, data ...string) error {
	_, err := a.journal.Append(ctx, tx, []journal.Entry{{
		Kind: kind, At: a.now(), Agency: agency, Actor: p.Account, Purpose: p.Purpose.String(), Data: journal.Fields(data...),
	}})
	return err
}

const accountColumns = `login, kind, title, agency, region, roles, source, created_at, created_by, blocked_at`

func account(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, login, lock string) (Account, error) {
	rows, err := db.Query(ctx, `SELECT `+accountColumns+` FROM accounts WHERE login = $1 `+lock, login)
	if err != nil {
		return Account{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanAccount)
}

func scanAccount(row pgx.CollectableRow) (Account, error) {
	var acc Account
	var roles []string
	err := row.Scan(&acc.Login, &acc.Kind, &acc.Title, &acc.Agency, &acc.Region, &roles, &acc.Source, &acc.CreatedAt, &acc.CreatedBy, &acc.BlockedAt)
	acc.Roles = rolesOf(roles)
	return acc, err
}

const accountsSQL = `SELECT ` + accountColumns + ` FROM accounts
	WHERE login > $1 AND ($2 = '' OR agency = $2) ORDER BY login LIMIT $3`

// Accounts lists what p may see, by login, those after the given one.
func (a *Accounts) Accounts(ctx context.Context, p journal.Principal, after string, limit int) ([]Account, error) {
	if p.Agency == "" && !p.Sees("") {
		return nil, nil
	}
	rows, err := a.db.Query(ctx, accountsSQL, after, p.Agency, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanAccount)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return all, nil
}

func sortedRoles(roles []journal.Role) []journal.Role {
	roles = slices.Clone(roles)
	slices.Sort(roles)
	return slices.Compact(roles)
}

func roleNames(roles []journal.Role) []string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return names
}

func rolesOf(names []string) []journal.Role {
	roles := make([]journal.Role, len(names))
	for i, n := range names {
		roles[i] = journal.Role(n)
	}
	return roles
}

func sameSecret(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
