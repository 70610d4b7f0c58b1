package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
	"ekc/smpp/smpptest"
)

// outage is a way in which the database does not do its work.
type outage struct {
	begin, end func(t *testing.T)
}

// TestProcessOutlivesItsDatabaseAndGoesOnAlone: for twelve seconds PostgreSQL is away, read-only or full under a process of the hub that
// is sending. No receipt and no list is acknowledged that is not stored, nothing leaves that was not leased, the process lives on and says
// that it is well, and goes on alone.
func TestProcessOutlivesItsDatabaseAndGoesOnAlone(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (*postgres.Server, outage){
		"away": func(t *testing.T) (*postgres.Server, outage) {
			server := postgrestest.Durable(t)
			return server, outage{
				begin: func(t *testing.T) { must(t, server.Kill()) },
				end:   func(t *testing.T) { must(t, server.Restart(t.Context())) },
			}
		},
		"read-only": func(t *testing.T) (*postgres.Server, outage) {
			server := postgrestest.Durable(t)
			set := func(t *testing.T, sql string) {
				db, err := pgx.Connect(t.Context(), server.URL())
				must(t, err)
				defer func() { _ = db.Close(context.Background()) }()
				for _, statement := range []string{"SET default_transaction_read_only = off", sql,
					"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"} {
					_, err = db.Exec(t.Context(), statement)
					must(t, err)
				}
			}
			return server, outage{
				begin: func(t *testing.T) { set(t, "ALTER DATABASE ekc SET default_transaction_read_only = on") },
				end:   func(t *testing.T) { set(t, "ALTER DATABASE ekc RESET default_transaction_read_only") },
			}
		},
		"full": fullDisk,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, o := open(t)
			if server == nil {
				return
			}
			outlive(t, server, o)
		})
	}
}

func outlive(t *testing.T, server *postgres.Server, o outage) {
	t.Helper()
	const rows, rate = 240, 40
	h := &takeover{newCrashHubOn(t, server, func(c *smpptest.Config) {
		c.Keep, c.Latency, c.RedeliverIn = true, 50*time.Millisecond, time.Second
	}, "rate: 40,")}
	ref := h.submit(rows, 1)
	c := h.start("")
	h.approve(ref, rows)
	door := h.door(c)
	h.await("fifty are sent", time.Minute, func() (bool, error) { return h.smsc.Stats().Messages >= 50, nil })
	began := time.Now()
	o.begin(t)
	down := time.Now()
	time.Sleep(10 * time.Second) // what was leased may still leave; after the pool's six seconds nothing may
	mid := h.smsc.Stats()
	time.Sleep(2 * time.Second)
	last := h.last().At
	s := h.smsc.Stats()
	if s.Accepted != mid.Accepted || s.ReceiptsAcked != mid.ReceiptsAcked {
		t.Errorf("%d segments left and %d receipts were acknowledged ten seconds into it", s.Accepted-mid.Accepted, s.ReceiptsAcked-mid.ReceiptsAcked)
	}
	select {
	case err := <-c.done:
		t.Fatalf("the process ended: %v", err)
	default:
	}
	if _, err := door.submit(t.Context(), "x.csv", strings.NewReader("Телефон;Текст\n+79001234567;СФР: x\n"), plainList("x")); err == nil {
		t.Error("a list was acknowledged that could not be stored")
	}
	must(t, door.call(t.Context(), http.MethodGet, "/healthz", nil, nil))
	sent := len(h.smsc.Submitted())
	ending := time.Now()
	o.end(t)
	ended := time.Now()
	stored := h.count(`SELECT count(*) FROM outcomes WHERE state = 10 AND at < $1`, ended)
	if s.ReceiptsAcked > stored {
		t.Errorf("%d receipts were acknowledged, and %d are stored", s.ReceiptsAcked, stored)
	}
	if sent == rows {
		t.Error("everything had left before: the outage showed nothing")
	}
	t.Logf("away %s (%s to begin, %s to end): the last segment left %s after it began, %d receipts acknowledged of %d stored",
		ending.Sub(down).Round(10*time.Millisecond), down.Sub(began).Round(10*time.Millisecond), ended.Sub(ending).Round(10*time.Millisecond),
		last.Sub(down).Round(10*time.Millisecond), s.ReceiptsAcked, stored)
	h.await("sending goes on", time.Minute, func() (bool, error) { return len(h.smsc.Submitted()) > sent, nil })
	t.Logf("%s from the end to the first new segment", h.smsc.Submitted()[sent].At.Sub(ended).Round(10*time.Millisecond))
	h.finish(ref, rows, c)
	if l, err := h.list(ref); err != nil || l.State != ingest.Completed {
		t.Errorf("list: %v %v", l, err)
	}
}

// door is the HTTP door of a child, for a loader.
func (h *crashHub) door(c *child) *apiClient {
	h.t.Helper()
	var addr []byte
	h.await("the child is ready", time.Minute, func() (bool, error) {
		text, err := os.ReadFile(c.log)
		if found := readyLine.FindSubmatch(text); found != nil {
			addr = found[1]
		}
		return addr != nil, err
	})
	accounts, by := openapi.NewAccounts(h.db, journal.NewWriter(), time.Now, openapi.AccountsConfig{}), journal.System("test")
	_, err := accounts.CreateAccount(h.t.Context(), by, openapi.NewAccount{Login: loader.Account, Kind: openapi.Person, Agency: loader.Agency, Roles: loader.Roles})
	must(h.t, err)
	_, secret, err := accounts.CreateKey(h.t.Context(), by, openapi.NewKey{Login: loader.Account})
	must(h.t, err)
	client := &apiClient{base: "http://" + string(addr), key: secret, http: &http.Client{Timeout: 20 * time.Second}}
	must(h.t, client.call(h.t.Context(), http.MethodGet, "/v1/whoami", nil, nil)) // with a database the key opens the door
	return client
}

var readyLine = regexp.MustCompile(`msg=ready .*addr=(\S+)`)

// fullDisk starts PostgreSQL on a file system of its own; nil where this user may not mount one.
func fullDisk(t *testing.T) (*postgres.Server, outage) {
	dir := filepath.Join(t.TempDir(), "disk")
	must(t, os.Mkdir(dir, 0o711))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=160m,mode=711"); err != nil {
		t.Log("replaced: a full disk by nothing, since this user may not mount a tmpfs")
		return nil, outage{}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	server, err := postgres.Start(t.Context(), postgres.Local{Dir: filepath.Join(dir, "postgres"), SharedBuffers: 16})
	must(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	db, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL(), MaxConns: 1})
	must(t, err)
	_, err = postgres.Migrate(t.Context(), db)
	db.Close()
	must(t, err)
	ballast := filepath.Join(dir, "ballast")
	return server, outage{
		begin: func(t *testing.T) {
			file, err := os.Create(ballast)
			must(t, err)
			defer func() { _ = file.Close() }()
			for size := 1 << 20; size >= 4096; size /= 4 {
				for err = nil; err == nil; {
					_, err = file.Write(make([]byte, size))
				}
			}
			useUpWAL(t, server.URL())
		},
		end: func(t *testing.T) {
			must(t, os.Remove(ballast))
			if db, err := pgx.Connect(t.Context(), server.URL()); err == nil {
				t.Log("PostgreSQL stayed up, full")
				_ = db.Close(t.Context())
			} else { // a full WAL makes PostgreSQL stop by itself: it is started again, as systemd would
				t.Logf("PostgreSQL stopped by itself, pid %d", server.PID())
				must(t, server.Kill())
				must(t, server.Restart(t.Context()))
			}
		},
	}
}

// useUpWAL makes PostgreSQL need a new segment, which the disk has no room for.
func useUpWAL(t *testing.T, url string) {
	db, err := pgx.Connect(t.Context(), url)
	for i := 0; i < 20 && err == nil; i++ {
		_, err = db.Exec(t.Context(), `SELECT pg_logical_emit_message(true, 'ballast', 'x'), pg_switch_wal()`)
	}
	if err == nil {
		t.Error("the disk is full, and PostgreSQL goes on writing")
	}
}
