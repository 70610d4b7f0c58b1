// Package postgrestest gives a test a real PostgreSQL database of its own: cloned from a template that was migrated once, and
// dropped when the test ends. The server is private to the test process, is started by the first test that asks and goes with
// the process, also by kill -9; or it is the one EKC_TEST_DATABASE_URL names, which several processes may share. A machine
// without PostgreSQL fails the test and says what to do: nothing is skipped. It does not survive a crash of the machine; a test
// about crashes takes Durable.
package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/postgres"
)

// New returns a pool on a fresh, migrated database; both are gone when the test has ended.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, NewURL(t))
}

func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: url, Name: "ekc test", MaxConns: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { pool.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Errorf("%d connections were not given back to the pool", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

// NewURL returns the URL of a fresh, migrated database: for a child process, or for a pool with other settings.
func NewURL(t testing.TB) string {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := "ekc_test_" + strings.ToLower(rand.Text())
	create := `CREATE DATABASE ` + name + ` TEMPLATE ` + c.template + ` STRATEGY file_copy`
	if err := c.admin(t.Context(), create); err != nil {
		t.Fatalf("clone the template database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.admin(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return c.url(name)
}

// Durable returns a server of the test's own, on a disk and with fsync on, whose database is migrated: to be killed and
// restarted.
func Durable(t testing.TB) *postgres.Server {
	t.Helper()
	dir, err := ownDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	srv, err := postgres.Start(t.Context(), postgres.Local{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := migrate(t.Context(), srv.URL()); err != nil {
		t.Fatal(err)
	}
	return srv
}

func migrate(ctx context.Context, url string) error {
	pool, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = postgres.Migrate(ctx, pool)
	return err
}

// cluster is the server of this test process.
type cluster struct {
	base     url.URL // its maintenance database
	template string
}

// shared starts the server once a process; it is never stopped, but ends with the process.
var shared = sync.OnceValues(func() (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	raw := os.Getenv("EKC_TEST_DATABASE_URL")
	if raw == "" {
		dir, err := ownDir(roomiest())
		if err != nil {
			return nil, err
		}
		srv, err := postgres.Start(ctx, postgres.Local{Dir: dir, Volatile: true, MaxConnections: 400, SharedBuffers: 64})
		if err != nil {
			return nil, err
		}
		raw = srv.URL()
	}
	base, err := url.Parse(raw)
	if err != nil || base.Scheme == "" {
		return nil, errors.New("EKC_TEST_DATABASE_URL must have the form postgres://user@host:5432/name")
	}
	c := &cluster{base: *base}
	return c, c.makeTemplate(ctx)
})

func (c *cluster) url(database string) string {
	u := c.base
	u.Path = "/" + database
	return u.String()
}

func (c *cluster) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, c.base.String())
	if err != nil {
		return nil, fmt.Errorf("connect to the server for tests: %w", err)
	}
	return conn, nil
}

// admin runs one statement outside the test's database, on a connection of its own.
func (c *cluster) admin(ctx context.Context, sql string) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

// templateLock lets one process at a time make the template on a server they share.
const templateLock = 0x656b63_0002

// makeTemplate migrates a database under another name and renames it when it is whole. The name holds a digest of the
// migrations, so that processes of different versions of the tree can share a server.
func (c *cluster) makeTemplate(ctx context.Context) error {
	digest, err := postgres.SchemaDigest()
	if err != nil {
		return err
	}
	c.template = "ekc_template_" + digest[:16]
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // and so the lock
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, templateLock); err != nil {
		return fmt.Errorf("lock the template database: %w", err)
	}
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, c.template).Scan(&there); err != nil || there {
		return err
	}
	unfinished := c.template + "_new"
	for _, sql := range []string{`DROP DATABASE IF EXISTS ` + unfinished + ` WITH (FORCE)`, `CREATE DATABASE ` + unfinished} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("create the template database: %w", err)
		}
	}
	if err := migrate(ctx, c.url(unfinished)); err != nil {
		return err
	}
	// Nobody may connect to a template: a database somebody is connected to cannot be copied.
	for _, sql := range []string{
		`ALTER DATABASE ` + unfinished + ` WITH ALLOW_CONNECTIONS false`,
		`ALTER DATABASE ` + unfinished + ` RENAME TO ` + c.template,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("finish the template database: %w", err)
		}
	}
	return nil
}
