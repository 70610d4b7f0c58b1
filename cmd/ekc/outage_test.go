package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/openapi"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
	"ekc/smpp/smpptest"
)

// outage is a way in which the database does not do its work.
type outage struct {
	begin, end func(t *testing.T)
}

// TestDatabaseThatFailsStopsEverythingAndWorkResumesAlone: while the database is away, or read-only, nothing is sent, no receipt is
// acknowledged and no list is taken; the hub stays up, and finishes by itself afterwards.
func TestDatabaseThatFailsStopsEverythingAndWorkResumesAlone(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]func(t *testing.T, server *postgres.Server) outage{
		"away": func(_ *testing.T, server *postgres.Server) outage {
			return outage{
				begin: func(t *testing.T) { must(t, server.Kill()) },
				end:   func(t *testing.T) { must(t, server.Restart(t.Context())) },
			}
		},
		"read-only": func(_ *testing.T, server *postgres.Server) outage {
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
			return outage{
				begin: func(t *testing.T) { set(t, "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on") },
				end:   func(t *testing.T) { set(t, "ALTER ROLE CURRENT_USER RESET default_transaction_read_only") },
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Durable(t)
			surviveOutage(t, newWorld(t, server.URL(), "EKC_SMSC_MAIN_RATE=40"), fails(t, server))
		})
	}
}

// TestFullDiskStopsEverythingAndWorkResumesAlone has the data folder on a file system of its own, which it fills.
func TestFullDiskStopsEverythingAndWorkResumesAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "disk")
	must(t, os.Mkdir(dir, 0o711))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=160m,mode=711"); err != nil {
		t.Log("replaced: a full disk by nothing, since this user may not mount a tmpfs")
		return
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
	surviveOutage(t, newWorld(t, server.URL(), "EKC_SMSC_MAIN_RATE=40"), outage{
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
			if server.PID() == 0 { // a full WAL makes PostgreSQL stop by itself: it is started again, as systemd would
				must(t, server.Restart(t.Context()))
			} else if db, err := pgx.Connect(t.Context(), server.URL()); err == nil {
				_ = db.Close(t.Context())
			} else {
				must(t, server.Restart(t.Context()))
			}
		},
	})
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// surviveOutage sends a list at 40 segments a second and lets the database fail in the middle.
func surviveOutage(t *testing.T, w *world, o outage) {
	t.Helper()
	w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	const rows = 200
	l := w.send(s, "сбой", ordinary(rows)...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, w.smsc.Wait(ctx, func(s smpptest.Stats) bool { return s.Messages >= 40 }))
	o.begin(t)
	time.Sleep(8 * time.Second) // what was claimed may still leave; after the pool's six seconds nothing may
	before := w.smsc.Stats()
	if _, err := s.loader.submit(t.Context(), "x.csv", strings.NewReader("Телефон;Текст\n+79001234567;СФР: x\n"), map[string]string{"name": "x"}); err == nil {
		t.Error("a list was acknowledged that could not be stored")
	}
	health := &apiClient{base: w.url, http: &http.Client{Timeout: 5 * time.Second}}
	must(t, health.call(t.Context(), http.MethodGet, "/healthz", nil, nil))
	time.Sleep(time.Second)
	if after := w.smsc.Stats(); after.Messages != before.Messages || after.ReceiptsAcked != before.ReceiptsAcked {
		t.Errorf("without a database %d messages left and %d receipts were acknowledged", after.Messages-before.Messages, after.ReceiptsAcked-before.ReceiptsAcked)
	}
	if before.Messages == rows {
		t.Error("everything had left before: the outage showed nothing")
	}
	o.end(t)
	l = w.await(s, l.ID, func(l openapi.List) bool { return ended(l) && l.Counts["delivered"] == rows })
	stats := w.smsc.Stats()
	if stats.Destinations != rows {
		t.Errorf("%d phones were told, want %d (%v)", stats.Destinations, rows, l.Counts)
	}
	t.Logf("%d messages during the outage, %d doubles", before.Messages, stats.Doubles)
}

// ordinary are phones of which the SMS centre delivers to each.
func ordinary(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("+7%d", 9_101_000_100+i)
	}
	return out
}
