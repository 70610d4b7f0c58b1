package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

const (
	agency  = "0003.000003"
	another = "0004.000001"
)

var (
	quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
	admin = journal.Principal{Account: "admin", Agency: agency, Roles: []journal.Role{journal.RoleSegmentAdmin}}
	other = journal.Principal{Account: "other", Agency: another, Roles: []journal.Role{journal.RoleSegmentAdmin}}
	chief = journal.Principal{Account: "chief", Roles: []journal.Role{journal.RoleEKCAdmin}}
)

// world is a hub that sends nothing: what became of the rows of its lists is written into the journal by the test.
type world struct {
	t       *testing.T
	db      *pgxpool.Pool
	journal *journal.Writer
	keyring *citizen.Keyring
	lists   *ingest.Service
	catalog *catalog.Catalog
}

func newWorld(t *testing.T) *world {
	t.Helper()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		item.Header().Version = 1
	}
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: postgrestest.New(t), journal: journal.NewWriter(), catalog: catalog.New(items), keyring: citizen.NewKeyring(keys, 16)}
	if err := dispatch.EnsurePool(t.Context(), w.db, "sms", "sms", []string{"smsc"}); err != nil {
		t.Fatal(err)
	}
	routes := func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "sms", channel == "sms" }
	w.lists = ingest.New(ingest.Config{DB: w.db, Catalog: func() *catalog.Catalog { return w.catalog }, Keys: w.keyring, Journal: w.journal,
		Admission: dispatch.NewAdmission(routes), Routes: routes, Now: time.Now, Log: quiet, Poll: 20 * time.Millisecond})
	w.background(journal.NewSequencer(w.db, quiet).Run)
	w.background(w.lists.Run)
	return w
}

func (w *world) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			w.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) service(change ...func(*Config)) *Service {
	c := Config{DB: w.db, Reports: w.lists, Catalog: func() *catalog.Catalog { return w.catalog }, Keyring: w.keyring, Journal: w.journal, Now: time.Now, Log: quiet,
		Poll: 10 * time.Millisecond, Longest: 20 * time.Millisecond}
	for _, f := range change {
		f(&c)
	}
	return New(c)
}

func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("not in time: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// told brings a list of an agency and ends all its rows: two statuses for each.
func (w *world) told(agency string, rows int) *ingest.List {
	w.t.Helper()
	loader := journal.Principal{Account: "loader " + agency, Agency: agency, Roles: []journal.Role{journal.RoleListLoader}}
	approver := journal.Principal{Account: "approver", Agency: agency, Roles: []journal.Role{journal.RoleListApprover}}
	var file strings.Builder
	file.WriteString("Телефон;ФИО;Текст;Внешний номер\n")
	for i := range rows {
		fmt.Fprintf(&file, "903%07d;Канарейкина Певунья;Приём назначен.;row-%d\n", i, i+1)
	}
	ref, err := w.lists.Submit(w.t.Context(), loader, ingest.Header{Name: "Список", Again: true, OrderedBy: "Приказ",
		LegalBasis: &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление", Date: "2020-12-03"}}, strings.NewReader(file.String()))
	if err != nil {
		w.t.Fatal(err)
	}
	var l *ingest.List
	w.await("the list is checked", func() bool {
		if l, err = w.lists.Get(w.t.Context(), loader, ref.ID); err != nil {
			w.t.Fatal(err)
		}
		return l.State == ingest.Ready
	})
	if _, err := w.lists.Approve(w.t.Context(), approver, l.ID, ingest.Expected{Accepted: l.Accepted, Digest: l.DigestString()}, time.Time{}); err != nil {
		w.t.Fatal(err)
	}
	var entries []journal.Entry
	for i := range rows {
		e := journal.Entry{Kind: journal.Attempt, At: time.Now(), Agency: agency, ListNo: l.No, Notification: int64(dispatch.MakeID(l.No, int32(i+1))), Sequence: 1,
			Attempt: 1, Channel: "sms", From: dispatch.Pending.String(), State: dispatch.Accepted.String()}
		entries = append(entries, e)
		e.Kind, e.Sequence, e.From, e.State = journal.Outcome, 2, e.State, dispatch.Delivered.String()
		entries = append(entries, e)
	}
	if err := postgres.InTx(w.t.Context(), w.db, func(tx pgx.Tx) error {
		_, err := w.journal.Append(w.t.Context(), tx, entries)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return l
}

// receiver is the far side: it checks each delivery as a receiver should, and answers as the test says.
type receiver struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	secret   string
	answer   func(n int) int // status of the n-th delivery, from 1; nil is 204
	calls    int
	bodies   [][]byte
	statuses map[string][]int // of each notification the sequences, repeats left out
	ends     map[string]int   // summaries by list
	repeats  int
	seen     map[string]bool
}

func newReceiver(t *testing.T, tls bool) *receiver {
	r := &receiver{t: t, statuses: make(map[string][]int), ends: make(map[string]int), seen: make(map[string]bool)}
	if tls {
		r.server = httptest.NewTLSServer(http.HandlerFunc(r.take))
	} else {
		r.server = httptest.NewServer(http.HandlerFunc(r.take))
	}
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || req.Method != http.MethodPost || !strings.HasPrefix(req.Header.Get("Content-Type"), "application/cloudevents-batch+json") ||
		!Verify(r.secret, req.Header.Get(HeaderTimestamp), req.Header.Get(HeaderSignature), body, time.Now(), 5*time.Minute) {
		r.t.Errorf("a delivery that is not to be believed: %v %s", err, body)
	}
	if r.calls++; r.answer != nil {
		if status := r.answer(r.calls); status != http.StatusNoContent {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			return
		}
	}
	r.bodies = append(r.bodies, body)
	var events []struct {
		ID, Type, Subject string
		Data              struct {
			NotificationID string `json:"notification_id"`
			Sequence       int
		}
	}
	if err := json.Unmarshal(body, &events); err != nil || len(events) > eventsAtOnce+2 {
		r.t.Errorf("%d events, %v", len(events), err)
	}
	for _, e := range events {
		if r.seen[e.ID] {
			r.repeats++
			continue
		}
		r.seen[e.ID] = true
		switch e.Type {
		case ingest.EventStatus:
			r.statuses[e.Data.NotificationID] = append(r.statuses[e.Data.NotificationID], e.Data.Sequence)
		case ingest.EventSummary:
			r.ends[e.Subject]++
		default:
			r.t.Errorf("an event of type %s", e.Type)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) answering(f func(n int) int) { r.mu.Lock(); defer r.mu.Unlock(); r.answer = f }

func (r *receiver) taken() int { r.mu.Lock(); defer r.mu.Unlock(); return r.calls }

// complete says that everything of a list came, in its order.
func (r *receiver) complete(l *ingest.List, rows int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for id, sequences := range r.statuses {
		if strings.HasPrefix(id, fmt.Sprint(l.No)+"-") && slices.Equal(sequences, []int{1, 2}) {
			n++
		}
	}
	return n == rows && r.ends[l.ID.String()] == 1
}

// create makes a webhook to a receiver.
func create(t *testing.T, s *Service, p journal.Principal, r *receiver) openapi.Webhook {
	t.Helper()
	made, secret, err := s.Create(t.Context(), p, openapi.NewWebhook{URL: r.server.URL + "/outcomes", Statuses: "all"})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
	return made
}
