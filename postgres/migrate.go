package postgres

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var embedded embed.FS

var (
	// ErrBehind says that this program has migrations the database has not.
	ErrBehind = errors.New("the database is behind this program: run `ekc migrate`")
	// ErrChanged says that a migration was edited after it had been applied; what was applied is not what is written now.
	ErrChanged = errors.New("an applied migration was changed: put its file back and write a new one")
)

// migration is one file NNNN_owner_name.sql.
type migration struct {
	version int
	name    string
	sql     string
	sha256  string
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_([a-z0-9]+(?:_[a-z0-9]+)*)\.sql$`)

// migrationLock is the key of the advisory lock that lets one migrator work at a time.
const migrationLock = 0x656b63_0001

// Migrate applies the migrations the database has not, in order, each in a transaction of its own, and returns the names of
// those it applied. Several may run it at once. A database newer than this program is left as it is.
func Migrate(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	return migrate(ctx, pool, Migrations())
}

// MigrateTo is Migrate with the files of another version of the program: for tests of versions side by side.
func MigrateTo(ctx context.Context, pool *pgxpool.Pool, files fs.FS) ([]string, error) {
	return migrate(ctx, pool, files)
}

// Check returns ErrBehind if Migrate would have something to do, ErrChanged if it would refuse.
func Check(ctx context.Context, pool *pgxpool.Pool) error {
	return check(ctx, pool, Migrations())
}

// CheckFor is Check for a program with other files.
func CheckFor(ctx context.Context, pool *pgxpool.Pool, files fs.FS) error {
	return check(ctx, pool, files)
}

// SchemaDigest identifies the migrations of this program: equal digests, equal schemas.
func SchemaDigest() (string, error) {
	all, err := readMigrations(Migrations())
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, m := range all {
		fmt.Fprintf(h, "%s %s\n", m.name, m.sha256)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Migrations are the files of this program.
func Migrations() fs.FS {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the folder is named by the embed directive above
	}
	return sub
}

const createMigrationsSQL = `CREATE TABLE IF NOT EXISTS schema_migrations (
	version    integer PRIMARY KEY,
	name       text NOT NULL,
	sha256     text NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT now())`

func migrate(ctx context.Context, pool *pgxpool.Pool, files fs.FS) ([]string, error) {
	all, err := readMigrations(files)
	if err != nil {
		return nil, err
	}
	var applied []string
	var backoff Backoff
	for tries := 1; ; {
		name, err := migrateNext(ctx, pool, all)
		if contended(err) && tries < lockTries {
			tries++
			if err := backoff.Wait(ctx); err != nil {
				return applied, err
			}
			continue
		}
		if err != nil {
			return applied, err
		}
		tries = 1
		if name == "" {
			return applied, nil
		}
		applied = append(applied, name)
	}
}

// lockTries is how often one file is tried whose tables are in use: processes of the version before go on working meanwhile.
const lockTries = 6

// contended reports whether a migration lost a lock to somebody else: it did nothing, and may be tried again.
func contended(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40P01" || pg.Code == "55P03") // deadlock_detected, lock_not_available
}

// migrateNext applies the first migration that is missing and returns its name, or "" when none is.
func migrateNext(ctx context.Context, pool *pgxpool.Pool, all []migration) (string, error) {
	var name string
	err := InTx(ctx, pool, func(tx pgx.Tx) error {
		// Waiting for the other migrator may take as long as its longest file; waiting for a table may not, since everybody
		// else then queues behind this transaction.
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, migrationLock); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = warning; `+createMigrationsSQL); err != nil {
			return err
		}
		missing, err := pending(ctx, tx, all)
		if err != nil || len(missing) == 0 {
			return err
		}
		m := missing[0]
		name = m.name
		if _, err := tx.Exec(ctx, m.sql); err != nil {
			return fmt.Errorf("%s: %w", m.name, explain(m.sql, err))
		}
		_, err = tx.Exec(ctx, `INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)`, m.version, m.name, m.sha256)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("migrate: %w", err)
	}
	return name, nil
}

func check(ctx context.Context, pool *pgxpool.Pool, files fs.FS) error {
	all, err := readMigrations(files)
	if err != nil {
		return err
	}
	missing, err := pending(ctx, pool, all)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42P01": // undefined_table
		return ErrBehind
	case err != nil:
		return fmt.Errorf("check migrations: %w", err)
	case len(missing) > 0:
		return fmt.Errorf("%w (next is %s)", ErrBehind, missing[0].name)
	}
	return nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

const appliedSQL = `SELECT version, name, sha256 FROM schema_migrations ORDER BY version`

// pending compares what the database has with what this program has.
func pending(ctx context.Context, db querier, all []migration) ([]migration, error) {
	rows, err := db.Query(ctx, appliedSQL)
	if err != nil {
		return nil, err
	}
	applied := make(map[int]migration)
	last := 0
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var m migration
		err := row.Scan(&m.version, &m.name, &m.sha256)
		applied[m.version] = m
		last = m.version
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	var missing []migration
	for _, m := range all {
		was, ok := applied[m.version]
		switch {
		case !ok && m.version < last:
			return nil, fmt.Errorf("%s was never applied although the later %s was: give it the next free number", m.name, applied[last].name)
		case !ok:
			missing = append(missing, m)
		case was.sha256 != m.sha256:
			return nil, fmt.Errorf("%s: %w", m.name, ErrChanged)
		}
		delete(applied, m.version)
	}
	for _, m := range applied {
		if len(all) > 0 && m.version < all[len(all)-1].version {
			return nil, fmt.Errorf("the database has %s, which this program does not know: it was built from another line of versions", m.name)
		}
	}
	return missing, nil
}

// readMigrations returns the files in order of their numbers and refuses names and numbers that cannot be ordered.
func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var all []migration
	for _, file := range names { // fs.Glob sorts
		m := migrationName.FindStringSubmatch(path.Base(file))
		if m == nil {
			return nil, fmt.Errorf("migration %s: a name has the form 0007_owner_name.sql", file)
		}
		version, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", file, err)
		}
		if len(all) > 0 && all[len(all)-1].version == version {
			return nil, fmt.Errorf("migrations %s and %s have the same number", all[len(all)-1].name, file)
		}
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		sum := sha256.Sum256(text)
		all = append(all, migration{version: version, name: m[1] + "_" + m[2], sql: string(text), sha256: hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// explain adds the line of the file to an error of the server, which counts characters from the start of what it was sent.
func explain(sql string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Position == 0 {
		return err
	}
	line := 1
	for i, r := range []rune(sql) {
		if i+1 >= int(pg.Position) {
			break
		}
		if r == '\n' {
			line++
		}
	}
	return fmt.Errorf("line %d: %w", line, err)
}
