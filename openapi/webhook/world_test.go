package webhook

import (
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

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/ingest/ingesttest"
	"ekc/journal"
	"ekc/openapi"
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

type world struct{ *ingesttest.Hub }

func newWorld(t *testing.T) *world { return &world{ingesttest.New(t)} }

func (w *world) service(change ...func(*Config)) *Service {
	c := Config{DB: w.DB, Reports: w.Lists, Catalog: func() *catalog.Catalog { return w.Catalog }, Keyring: w.Keyring, Journal: w.Journal, Now: time.Now, Log: quiet,
		Poll: 10 * time.Millisecond, Longest: 20 * time.Millisecond}
	for _, f := range change {
		f(&c)
	}
	return New(c)
}

// told brings a list of an agency and ends all its rows: two statuses for each.
func (w *world) told(agency string, rows int) *ingest.List {
	w.T.Helper()
	loader := journal.Principal{Account: "loader " + agency, Agency: agency, Roles: []journal.Role{journal.RoleListLoader}}
	var file strings.Builder
	file.WriteString("Телефон;ФИО;Текст;Внешний номер\n")
	for i := range rows {
		fmt.Fprintf(&file, "903%07d;Канарейкина Певунья;Приём назначен.;row-%d\n", i, i+1)
	}
	ref, err := w.Lists.Submit(w.T.Context(), loader, ingest.Header{Name: "Список", Again: true, OrderedBy: "Приказ",
		LegalBasis: &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление", Date: "2020-12-03"}}, strings.NewReader(file.String()))
	if err != nil {
		w.T.Fatal(err)
	}
	l := w.Checked(ref.ID)
	w.Approve(l)
	w.End(l, 1, rows, dispatch.Delivered)
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
