package main

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// expanding is what the next version may do to tables at work (docs/decisions/0009): columns that old rows and old statements need not
// know, a table, an index.
const expanding = `
ALTER TABLE journal       ADD COLUMN next_note text;
ALTER TABLE notifications ADD COLUMN next_note text;
ALTER TABLE runs          ADD COLUMN next_weight smallint NOT NULL DEFAULT 1;
ALTER TABLE outbox        ADD COLUMN next_hint smallint;
ALTER TABLE leases        ADD COLUMN next_note text;
ALTER TABLE attempts      ADD COLUMN next_note text;
ALTER TABLE outcomes      ADD COLUMN next_note text;
ALTER TABLE uncertain     ADD COLUMN next_note text;
ALTER TABLE pool_holders  ADD COLUMN next_note text;
ALTER TABLE lists         ADD COLUMN next_flag boolean NOT NULL DEFAULT false;
CREATE TABLE next_things (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, notification bigint NOT NULL);
CREATE INDEX outcomes_next ON outcomes (at);`

// TestTwoVersionsSideBySideOnTheNewerSchema migrates under a hub that is sending, has the next version take the link over and the old one
// take it back: a rolling upgrade and its way back.
func TestTwoVersionsSideBySideOnTheNewerSchema(t *testing.T) {
	t.Parallel()
	const rows = 240
	next := fstest.MapFS{}
	files, err := fs.Glob(postgres.Migrations(), "*.sql")
	must(t, err)
	for _, name := range files {
		text, err := fs.ReadFile(postgres.Migrations(), name)
		must(t, err)
		next[name] = &fstest.MapFile{Data: text}
	}
	next["9999_dispatch_next.sql"] = &fstest.MapFile{Data: []byte(expanding)}

	w := newWorld(t, postgrestest.NewURL(t), "EKC_SMSC_MAIN_RATE=40")
	var log troubles
	stopOld := w.start(log.logger())
	s := w.staff()
	old := w.url
	version := func(files fs.FS) func(*hub) {
		return func(h *hub) {
			own := *h.config
			own.StateDir, h.config, h.migrations = t.TempDir(), &own, files
		}
	}

	// The next version does not begin on a schema that is behind it.
	early := &hub{config: w.config, roles: roles{sms: true}, log: slog.New(slog.DiscardHandler), migrations: next}
	early.listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	if err := early.run(t.Context()); !errors.Is(err, postgres.ErrBehind) || exitCode(err) != exitFound {
		t.Errorf("the next version on the old schema ends with: %v", err)
	}

	l := w.send(s, "обновление", ordinary(rows)...)
	sent := func(n int) { await(t, "sending goes on", func() bool { return w.smsc.Stats().Messages >= n }) }
	sent(30)
	began := time.Now()
	applied, err := postgres.MigrateTo(t.Context(), w.db, next)
	if err != nil || len(applied) != 1 {
		t.Fatalf("applied %v: %v", applied, err)
	}
	t.Logf("migrated under a hub at work in %s", time.Since(began).Round(time.Millisecond))
	before := w.smsc.Stats()
	sent(before.Messages + 30)
	if after := w.smsc.Stats(); after.Binds != 1 {
		t.Errorf("the old version lost its link at the migration: %d binds", after.Binds)
	}

	stopNew := w.start(log.logger(), version(next))
	w.awaitReady()
	must(t, stopOld())
	sent(w.smsc.Stats().Messages + 30) // by the next version
	stopOld = w.start(log.logger(), version(nil))
	w.awaitReady()
	must(t, stopNew())
	sent(w.smsc.Stats().Messages + 30) // by the old one again
	if w.url == old {
		t.Fatal("the old version did not start anew")
	}
	for _, c := range []*apiClient{s.loader, s.approver} {
		c.base = w.url
	}
	second := w.send(s, "после возврата", phones(5, 0)...)
	for _, id := range []string{l.ID, second.ID} {
		w.await(s, id, func(l openapi.List) bool {
			return l.State == string(ingest.Completed) && l.Counts["delivered"] == int64(l.Accepted)
		})
	}
	must(t, s.loader.call(t.Context(), http.MethodGet, "/v1/notifications?limit=1&list_id="+l.ID, nil, nil))
	must(t, stopOld())
	stats := w.smsc.Stats()
	if stats.Destinations != rows+5 || stats.Doubles != 0 || stats.Binds != 3 {
		t.Errorf("%d phones, %d doubles, %d binds; want %d, none and 3", stats.Destinations, stats.Doubles, stats.Binds, rows+5)
	}
	if report, err := journal.Verify(t.Context(), w.db, journal.Checkpoint{}); err != nil || report.Fault != nil {
		t.Errorf("the journal: %+v %v", report, err)
	}
	log.none(t)
}

// troubles keeps what is logged as a warning or worse.
type troubles struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *troubles) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *troubles) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (l *troubles) none(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := strings.TrimSpace(l.out.String()); text != "" {
		t.Errorf("the log has:\n%s", text)
	}
}
