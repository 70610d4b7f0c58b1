// Package postgres is the one way to the database: it opens pools with the settings every query relies on, brings the schema
// up to date, and starts a private server for the demo and the tests. It promises that an error says what to do, never holds
// a password, and can be told apart: IsUnavailable means "wait and do the same again". The tables and their SQL belong to the
// packages that own them; only the order of the migrations is kept here.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// MinServerVersion is the oldest PostgreSQL that is accepted, as a major version.
const MinServerVersion = 15

// Config says which database to open and how. Parameters given in the URL win over the defaults below.
type Config struct {
	// URL is postgres://user:password@host:5432/name, or the keyword form of libpq.
	URL string
	// Name is the application_name, seen in pg_stat_activity; "ekc" when empty.
	Name string
	// MaxConns is the size of the pool; zero means pool_max_conns of the URL, else 16.
	MaxConns int32
	// StatementTimeout ends any one statement; zero means 30s. What must take longer says so with SET LOCAL.
	StatementTimeout time.Duration
	// LockTimeout ends the wait for any one lock; zero means 10s.
	LockTimeout time.Duration
	// IdleInTransactionTimeout ends a transaction whose owner has stopped speaking; zero means 60s.
	IdleInTransactionTimeout time.Duration
	// PinPlans is for connections that settle queue tables and for nothing else: generic plans by nested loops over indexes,
	// because these tables are analysed while empty and the planner then chooses to read them whole.
	PinPlans bool
}

const (
	connectTimeout = 5 * time.Second
	// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h: how long sent bytes may stay unacknowledged (RFC 5482).
	tcpUserTimeout = 0x12
)

// Open connects, checks that the server can be used, and returns the pool; the caller closes it. A server that is not there
// yet gives an error for which IsUnavailable is true.
func Open(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	pc, err := c.pool()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := checkServer(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

func (c Config) pool() (*pgxpool.Config, error) {
	if c.URL == "" {
		return nil, errors.New("open database: no URL is given, expected postgres://user@host:5432/name")
	}
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		// The parser quotes what it could not read, and that may be part of a password; a file name is safe.
		var file *fs.PathError
		if errors.As(err, &file) {
			return nil, fmt.Errorf("open database: the URL names a file that cannot be read: %w", file)
		}
		return nil, errors.New("open database: the URL cannot be read, expected postgres://user:password@host:5432/name " +
			"(characters such as @ : / % in the password are written as %40 %3A %2F %25)")
	}

	if c.MaxConns > 0 {
		pc.MaxConns = c.MaxConns
	} else if !poolSizeGiven(c.URL) {
		pc.MaxConns = 16
	}
	cc := pc.ConnConfig
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         giveUpOnSilence,
	}
	cc.DialFunc = dialer.DialContext

	params := cc.RuntimeParams
	unlessGiven := func(name, value string) {
		if _, ok := params[name]; !ok {
			params[name] = value
		}
	}
	unlessGiven("application_name", cmp.Or(c.Name, "ekc"))
	unlessGiven("statement_timeout", millis(cmp.Or(c.StatementTimeout, 30*time.Second)))
	unlessGiven("lock_timeout", millis(cmp.Or(c.LockTimeout, 10*time.Second)))
	unlessGiven("idle_in_transaction_session_timeout", millis(cmp.Or(c.IdleInTransactionTimeout, time.Minute)))
	params["timezone"] = "UTC"
	// With sequential scans off, a statement without an index is priced past jit_above_cost and compiled for 100 ms each time.
	params["jit"] = "off"
	if c.PinPlans {
		params["plan_cache_mode"] = "force_generic_plan"
		params["enable_seqscan"] = "off"
		params["enable_hashjoin"] = "off"
		params["enable_mergejoin"] = "off"
		params["enable_bitmapscan"] = "off"
	}
	return pc, nil
}

// giveUpOnSilence lets a write to a host that has vanished fail within seconds instead of the kernel's quarter of an hour.
func giveUpOnSilence(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var set error
	err := c.Control(func(fd uintptr) {
		set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, 15_000)
	})
	return errors.Join(err, set)
}

const serverSQL = `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
	current_setting('server_encoding'), current_setting('TimeZone')`

func checkServer(ctx context.Context, pool *pgxpool.Pool) error {
	var number int
	var version, encoding, zone string
	if err := pool.QueryRow(ctx, serverSQL).Scan(&number, &version, &encoding, &zone); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return acceptServer(number, version, encoding, zone)
}

func acceptServer(number int, version, encoding, zone string) error {
	switch {
	case number < MinServerVersion*10_000:
		return fmt.Errorf("open database: the server is PostgreSQL %s, at least %d is needed", version, MinServerVersion)
	case encoding != "UTF8":
		return fmt.Errorf("open database: its encoding is %s, it must be created with ENCODING 'UTF8'", encoding)
	case zone != "UTC":
		return fmt.Errorf("open database: the session's time zone is %s although UTC was asked for; "+
			"a pooler between us and the server must pass startup parameters on", zone)
	}
	return nil
}

func poolSizeGiven(url string) bool {
	// pgxpool takes pool_max_conns out of the parameters it shows, so the bare driver is asked.
	cc, err := pgconn.ParseConfig(url)
	if err != nil {
		return false
	}
	_, given := cc.RuntimeParams["pool_max_conns"]
	return given
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
