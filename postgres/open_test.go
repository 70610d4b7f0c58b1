package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestOpenSetsWhatQueriesRelyOn(t *testing.T) {
	t.Parallel()
	srv := shared(t)
	plain := map[string]string{
		"jit": "off", "TimeZone": "UTC", "application_name": "ekc", "statement_timeout": "30s", "lock_timeout": "10s",
		"idle_in_transaction_session_timeout": "1min", "plan_cache_mode": "auto", "enable_seqscan": "on", "enable_hashjoin": "on",
	}
	pinned := map[string]string{
		"jit": "off", "application_name": "ekc settle", "statement_timeout": "1s", "plan_cache_mode": "force_generic_plan",
		"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_nestloop": "on",
	}
	for name, c := range map[string]struct {
		config Config
		want   map[string]string
		conns  int32
	}{
		"defaults":  {Config{URL: srv.URL()}, plain, 16},
		"pinned":    {Config{URL: srv.URL(), Name: "ekc settle", StatementTimeout: time.Second, MaxConns: 3, PinPlans: true}, pinned, 3},
		"by URL":    {Config{URL: srv.URL() + "&statement_timeout=7s&pool_max_conns=5"}, map[string]string{"statement_timeout": "7s"}, 5},
		"not by us": {Config{URL: srv.URL() + "&jit=on&timezone=Europe/Moscow"}, map[string]string{"jit": "off", "TimeZone": "UTC"}, 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pool(t, c.config)
			for setting, want := range c.want {
				var got string
				if err := db.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got); err != nil || got != want {
					t.Errorf("%s is %q (%v), want %q", setting, got, err, want)
				}
			}
			if got := db.Config().MaxConns; got != c.conns {
				t.Errorf("%d connections, want %d", got, c.conns)
			}
		})
	}
}

func TestOpenNeverTellsThePassword(t *testing.T) {
	t.Parallel()
	nobody := closedPort(t)
	for name, url := range map[string]string{
		"refused connection":            "postgres://u:s3cret@" + nobody + "/d",
		"keyword form":                  "host=127.0.0.1 user=u password=s3cret port=x dbname=d",
		"port that is none":             "postgres://u:s3cret@h:port/d",
		"slash in the password":         "postgres://u:s3cret/more@h:5432/d",
		"percent in the password":       "postgres://u:s3cret%zz@h:5432/d",
		"at sign and colon in password": "postgres://u:a@s3cret:b@h:5432/d",
		"space in the password":         "postgres://u: s3cret @h/d",
		"unknown sslmode":               "postgres://u:s3cret@h/d?sslmode=s3cret",
		"missing certificate":           "postgres://u:s3cret@h/d?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem",
		"password as a parameter":       "postgres://h/d?password=s3cret&connect_timeout=x",
		"other scheme":                  "mysql://u:s3cret@h/d",
		"bad pool size":                 "postgres://u:s3cret@h/d?pool_max_conns=s3cret",
		"bare password":                 "s3cret",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := Open(ctx, Config{URL: url})
			if err == nil {
				t.Fatal("no error")
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := fmt.Sprintf("%v %+v %#v", e, e, e.Error()); strings.Contains(text, "s3cret") {
					t.Errorf("the password is told: %s", text)
				}
			}
		})
	}
}

func TestOpenRefusesServersItCannotUse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		number               int
		encoding, zone, want string
	}{
		"old":                        {140_012, "UTF8", "UTC", "at least 15"},
		"no Cyrillic":                {150_000, "SQL_ASCII", "UTC", "SQL_ASCII"},
		"a pooler that drops things": {150_000, "UTF8", "Europe/Moscow", "pooler"},
		"good":                       {150_000, "UTF8", "UTC", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := acceptServer(c.number, "14.12", c.encoding, c.zone)
			if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	srv := shared(t)
	admin := pool(t, Config{URL: srv.url("postgres")})
	if _, err := admin.Exec(t.Context(), `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{URL: srv.url("latin")}); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("a database that cannot hold Russian was opened: %v", err)
	}
}

func TestUnavailableIsWhatPassesByItself(t *testing.T) {
	t.Parallel()
	code := func(c string) error { return fmt.Errorf("settle: %w", &pgconn.PgError{Code: c}) }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":             {nil, false},
		"disk full":           {code("53100"), true},
		"out of memory":       {code("53200"), true},
		"too many clients":    {code("53300"), true},
		"read only":           {code("25006"), true},
		"admin shutdown":      {code("57P01"), true},
		"crash shutdown":      {code("57P02"), true},
		"starting up":         {code("57P03"), true},
		"connection failure":  {code("08006"), true},
		"statement timeout":   {code("57014"), true},
		"lock timeout":        {code("55P03"), true},
		"deadlock":            {code("40P01"), true},
		"disk error":          {code("58030"), true},
		"unique violation":    {code("23505"), false},
		"syntax error":        {code("42601"), false},
		"no such table":       {code("42P01"), false},
		"wrong password":      {code("28P01"), false},
		"no such database":    {code("3D000"), false},
		"corrupt data":        {code("XX001"), false},
		"no code":             {code(""), false},
		"deadline":            {fmt.Errorf("claim: %w", context.DeadlineExceeded), true},
		"our own stop":        {fmt.Errorf("claim: %w", context.Canceled), false},
		"connection cut":      {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		"connection refused":  {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		"commit in doubt":     {fmt.Errorf("commit: %w", ErrInDoubt), true},
		"fault of the caller": {errors.New("no such list"), false},
		"no rows":             {pgx.ErrNoRows, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := IsUnavailable(c.err); got != c.want {
				t.Errorf("IsUnavailable(%v) = %t", c.err, got)
			}
		})
	}
}

func TestUnavailableAsTheServerSaysIt(t *testing.T) {
	t.Parallel()
	srv := shared(t)
	db := emptyDatabase(t)
	if _, err := db.Exec(t.Context(), `CREATE TABLE held (n int)`); err != nil {
		t.Fatal(err)
	}
	holder, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback(context.Background())
	if _, err := holder.Exec(t.Context(), `LOCK TABLE held`); err != nil {
		t.Fatal(err)
	}
	run := func(sql string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := db.Exec(ctx, sql); return err }
	}
	for name, c := range map[string]struct {
		do   func(context.Context) error
		want bool
	}{
		"nobody listens": {func(ctx context.Context) error {
			_, err := Open(ctx, Config{URL: "postgres://u@" + closedPort(t) + "/d"})
			return err
		}, true},
		"no socket": {func(ctx context.Context) error {
			_, err := Open(ctx, Config{URL: "postgres://u@/d?host=" + filepath.Join(t.TempDir(), "none")})
			return err
		}, true},
		"no such database": {func(ctx context.Context) error {
			_, err := Open(ctx, Config{URL: srv.url("none")})
			return err
		}, false},
		"statement timeout": {run(`SET statement_timeout = '20ms'; SELECT pg_sleep(20)`), true},
		"lock timeout":      {run(`SET lock_timeout = '20ms'; SELECT FROM held`), true},
		"read only":         {run(`BEGIN READ ONLY; CREATE TABLE x ()`), true},
		"session ended":     {run(`SELECT pg_terminate_backend(pg_backend_pid())`), true},
		"deadline": {func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			return run(`SELECT pg_sleep(20)`)(ctx)
		}, true},
		"cancelled": {func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return run(`SELECT pg_sleep(20)`)(ctx)
		}, false},
		"fault in the statement": {run(`SELECT 1/0`), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do(t.Context())
			if err == nil || IsUnavailable(err) != c.want {
				t.Errorf("IsUnavailable = %t, want %t: %v", IsUnavailable(err), c.want, err)
			}
		})
	}
}

func TestInTx(t *testing.T) {
	t.Parallel()
	db := emptyDatabase(t)
	if _, err := db.Exec(t.Context(), `CREATE TABLE rows (n int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	insert := func(ctx context.Context, db Beginner, n int, then func() error) error {
		return InTx(ctx, db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO rows VALUES ($1)`, n); err != nil {
				return err
			}
			return then()
		})
	}
	fault := errors.New("fault")
	good := func() error { return nil }
	if err := insert(t.Context(), db, 1, good); err != nil {
		t.Error(err)
	}
	if err := insert(t.Context(), db, 2, func() error { return fault }); err != fault {
		t.Errorf("fn's own error must come back as it is: %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = insert(t.Context(), db, 3, func() error { panic(fault) })
	}()
	ctx, cancel := context.WithCancel(t.Context())
	if err := insert(ctx, db, 4, func() error { cancel(); return nil }); err == nil || errors.Is(err, ErrInDoubt) {
		t.Errorf("cancelled before the commit was sent: %v", err)
	}
	if err := insert(t.Context(), db, 1, good); err == nil || errors.Is(err, ErrInDoubt) || IsUnavailable(err) {
		t.Errorf("a commit the server refused: %v", err)
	}
	var sum int
	if err := db.QueryRow(t.Context(), `SELECT sum(n) FROM rows`).Scan(&sum); err != nil || sum != 1 {
		t.Errorf("rows sum up to %d (%v), only the first was to stay", sum, err)
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections were not given back", n)
	}
}

func TestCommitWhoseAnswerIsLostIsInDoubt(t *testing.T) {
	t.Parallel()
	db := emptyDatabase(t)
	// The constraint is checked by the commit, which so ends its own session.
	const sql = `CREATE TABLE rows (n int);
		CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON rows DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vanish()`
	if _, err := db.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	err := InTx(t.Context(), db, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO rows VALUES (1)`)
		return err
	})
	if !errors.Is(err, ErrInDoubt) || !IsUnavailable(err) {
		t.Errorf("the server went away during commit: %v", err)
	}
}

func TestBackoffGrowsToItsLimitAndStopsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{First: time.Second, Most: 5 * time.Second}
		for i, full := range []time.Duration{1, 2, 4, 5, 5} {
			began := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took, full := time.Since(began), full*time.Second; took < full/2 || took > full {
				t.Errorf("wait %d took %v, want %v to %v", i, took, full/2, full)
			}
		}
		b.Reset()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait outlives its context: %v", err)
		}
	})
}

// closedPort is an address nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
