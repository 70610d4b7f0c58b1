package main

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ekc/ingest"
	"ekc/openapi"
	"ekc/postgres/postgrestest"
	"ekc/smpp/smpptest"
)

// TestRestoredDatabaseIsNotSentFromUntilRecover dumps the database (pg_dump) while half of a list is out, lets the rest go, and puts the
// dump in its place (pg_restore). The hub reads it, sends nothing, says so, and waits for `ekc recover`; what may have gone since the
// dump is held as uncertain then, and nobody is told twice.
func TestRestoredDatabaseIsNotSentFromUntilRecover(t *testing.T) {
	t.Parallel()
	const rows = 120
	server := postgrestest.Durable(t)
	dump := filepath.Join(t.TempDir(), "dump")
	w := newWorld(t, server.URL(), "EKC_SMSC_MAIN_RATE=40")
	stop := w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	later := w.bring(s, "утверждён после копии", phones(5, smpptest.OK))
	half := w.send(s, "уходит во время копии", ordinary(rows)...)
	await(t, "half is out", func() bool { return w.smsc.Stats().Messages >= rows/2 })
	must(t, server.Dump(t.Context(), dump))
	must(t, approve(t.Context(), s, later))
	for _, l := range []openapi.List{half, later} {
		w.await(s, l.ID, ended)
	}
	gone := w.smsc.Stats().Messages
	if gone != rows+5 {
		t.Fatalf("%d messages left, want %d", gone, rows+5)
	}
	must(t, stop())
	w.db.Close()
	must(t, server.Restore(t.Context(), dump))

	// It reads, and sends nothing: neither what the dump still has to send nor what is started now.
	stop = w.start(slog.New(slog.DiscardHandler))
	for _, c := range []*apiClient{s.loader, s.approver, s.duty} {
		c.base = w.url
	}
	w.awaitAPI(s.loader)
	w.open()
	var pending int
	must(t, w.db.QueryRow(t.Context(), `SELECT count(*) FROM outbox o JOIN runs r ON r.id = o.run WHERE r.state = 'active'`).Scan(&pending))
	if pending == 0 || pending > rows-rows/2 {
		t.Fatalf("the dump has %d rows to send, want some, and at most %d", pending, rows-rows/2)
	}
	l := w.await(s, half.ID, func(openapi.List) bool { return true })
	if l.State != string(ingest.Running) || l.Accepted != rows {
		t.Errorf("read from the restored database: %s, %d rows", l.State, l.Accepted)
	}
	behind := w.send(s, "начат в старой копии", phones(4, smpptest.Undelivered)...)
	w.awaitBehind(s)
	time.Sleep(2 * behindEvery) // in which it would look, and send
	w.awaitBehind(s)
	if n := w.smsc.Stats(); n.Messages != gone || n.LinksOpen != 0 {
		t.Errorf("%d messages left and %d links are bound before anybody accepted the restored database", n.Messages-gone, n.LinksOpen)
	}
	must(t, stop())

	found, err := recoverDatabase(t.Context(), w.config, slog.New(slog.DiscardHandler))
	must(t, err)
	var no int64
	must(t, w.db.QueryRow(t.Context(), `SELECT no FROM lists WHERE id = $1`, later.ID).Scan(&no))
	if found.Marked != pending+4 || !slices.Equal(found.Waiting, []int64{no}) {
		t.Errorf("recover found %+v, want %d marked and list %d to be looked at: it was approved after the dump", found, pending+4, no)
	}
	t.Logf("dumped with %d of %d rows to send; after the restore %d marked, %d list to look at", pending, rows, found.Marked, len(found.Waiting))

	w.start(slog.New(slog.DiscardHandler))
	s.loader.base, s.approver.base = w.url, w.url
	w.awaitReady()
	next := w.send(s, "после", phones(2, smpptest.UndeliveredDelivered)...)
	w.await(s, next.ID, ended)
	for id, n := range map[string]int64{half.ID: int64(pending), behind.ID: 4} {
		if l := w.await(s, id, func(l openapi.List) bool { return l.Counts["uncertain"] == n }); l.State != string(ingest.Running) {
			t.Errorf("list with %d held rows is %s", n, l.State)
		}
	}
	if stats := w.smsc.Stats(); stats.Messages != gone+2 || stats.Doubles != 0 {
		t.Errorf("%d messages and %d doubles after all, want the %d from before and 2: what is held waits for a person", stats.Messages, stats.Doubles, gone)
	}
}

// awaitBehind waits until readiness and `ekc status` say why nothing is sent.
func (w *world) awaitBehind(s staff) {
	w.t.Helper()
	await(w.t, "readiness says that the database is behind", func() bool {
		var ready struct {
			Status string
			Checks []struct{ Name, Reason string }
		}
		err := s.duty.call(w.t.Context(), http.MethodGet, "/readyz", nil, &ready)
		return err == nil && ready.Status == "not_ready" && slices.ContainsFunc(ready.Checks, func(c struct{ Name, Reason string }) bool {
			return c.Name == "sending" && strings.Contains(c.Reason, "behind")
		})
	})
	now, err := (&backend{apiClient: s.duty}).situation(w.t.Context())
	must(w.t, err)
	if !slices.ContainsFunc(now.Findings, func(f finding) bool {
		return strings.Contains(f.What, "ничего не отправляется") && strings.Contains(f.Do, "ekc recover")
	}) {
		w.t.Errorf("ekc status does not say that nothing is sent, and what to do: %+v", now.Findings)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
