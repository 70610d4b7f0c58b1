// Package ingesttest gives a test a hub that takes and checks lists and sends nothing: what became of their rows is written into the
// journal by the test.
package ingesttest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// Hub is at work until its test ends. A test may change the catalogue, before it gives the hub something to do.
type Hub struct {
	T       *testing.T
	DB      *pgxpool.Pool
	Journal *journal.Writer
	Keyring *citizen.Keyring
	Catalog *catalog.Catalog
	Lists   *ingest.Service
}

// New returns a hub on a database of its own, with the seed's catalogue.
func New(t *testing.T) *Hub {
	t.Helper()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	h := &Hub{T: t, DB: postgrestest.New(t), Journal: journal.NewWriter(), Keyring: citizen.NewKeyring(keys, 16), Catalog: catalog.New(items)}
	if err := dispatch.EnsurePool(t.Context(), h.DB, "sms", "sms", []string{"smsc"}); err != nil {
		t.Fatal(err)
	}
	routes := func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "sms", channel == "sms" }
	log := slog.New(slog.DiscardHandler)
	h.Lists = ingest.New(ingest.Config{DB: h.DB, Catalog: func() *catalog.Catalog { return h.Catalog }, Keys: h.Keyring, Journal: h.Journal,
		Admission: dispatch.NewAdmission(routes), Routes: routes, Now: time.Now, Log: log, Poll: 20 * time.Millisecond})
	h.Background(journal.NewSequencer(h.DB, log).Run)
	h.Background(h.Lists.Run)
	return h
}

// Background runs a part until the test, or the function returned, ends it.
func (h *Hub) Background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(h.T.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			h.T.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	h.T.Cleanup(stop)
	return stop
}

// Await fails the test when something is not so within half a minute.
func (h *Hub) Await(what string, ok func() bool) {
	h.T.Helper()
	h.AwaitFor(30*time.Second, what, ok)
}

// AwaitFor is Await with another time.
func (h *Hub) AwaitFor(long time.Duration, what string, ok func() bool) {
	h.T.Helper()
	for deadline := time.Now().Add(long); !ok(); {
		if time.Now().After(deadline) {
			h.T.Fatalf("not in time: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Get reads a list.
func (h *Hub) Get(id uuid.UUID) *ingest.List {
	h.T.Helper()
	l, err := h.Lists.Get(h.T.Context(), journal.System("test"), id)
	if err != nil {
		h.T.Fatal(err)
	}
	return l
}

// Checked waits until a list's check is over.
func (h *Hub) Checked(id uuid.UUID) (l *ingest.List) {
	h.T.Helper()
	h.Await("the list is checked", func() bool { l = h.Get(id); return l.State != ingest.Receiving && l.State != ingest.Checking })
	return l
}

// Approve lets a list start.
func (h *Hub) Approve(l *ingest.List) {
	h.T.Helper()
	approver := journal.Principal{Account: "approver", Agency: l.Agency, Roles: []journal.Role{journal.RoleListApprover}}
	if _, err := h.Lists.Approve(h.T.Context(), approver, l.ID, ingest.Expected{Accepted: l.Accepted, Digest: l.DigestString()}, time.Time{}); err != nil {
		h.T.Fatal(err)
	}
}

// End writes acceptance and end of rows first to last of a list: two statuses for each.
func (h *Hub) End(l *ingest.List, first, last int, end dispatch.State) {
	h.T.Helper()
	var entries []journal.Entry
	for i := first; i <= last; i++ {
		e := journal.Entry{Kind: journal.Attempt, At: time.Now(), Agency: l.Agency, ListNo: l.No, Notification: int64(dispatch.MakeID(l.No, int32(i))), Sequence: 1,
			Attempt: 1, Channel: "sms", From: dispatch.Pending.String(), State: dispatch.Accepted.String()}
		entries = append(entries, e)
		e.Kind, e.Sequence, e.From, e.State = journal.Outcome, 2, e.State, end.String()
		entries = append(entries, e)
	}
	err := postgres.InTx(h.T.Context(), h.DB, func(tx pgx.Tx) error {
		_, err := h.Journal.Append(h.T.Context(), tx, entries)
		return err
	})
	if err != nil {
		h.T.Fatal(err)
	}
}
