package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres/postgrestest"
)

const (
	adminKey = "ekc-admin-key-of-the-test"
	agencyA  = "0001.000001"
	agencyB  = "0002.000002"
)

// world is a server over a database of its own, with what a test looks at.
type world struct {
	*testing.T
	server   *Server
	accounts *Accounts
	db       *pgxpool.Pool
	registry *prometheus.Registry
	log      *logged
	clock    *clock
	url      string
	stops    *fakeStops
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// logged keeps what was logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }
func (l *logged) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

type fakeStops struct {
	mu   sync.Mutex
	next int64
	set  []Stop
}

func (f *fakeStops) SetStop(_ context.Context, p journal.Principal, scope dispatch.StopScope, target, reason string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.set = append(f.set, Stop{ID: f.next, Scope: string(scope), Target: target, Reason: reason, Actor: p.Account})
	return f.next, nil
}
func (f *fakeStops) Stops(context.Context, int64, bool, int) ([]dispatch.Stop, error) {
	return nil, nil
}
func (f *fakeStops) LiftStop(context.Context, journal.Principal, int64) error { return nil }
func (f *fakeStops) Cancel(context.Context, journal.Principal, string, dispatch.NotificationID) error {
	return dispatch.ErrTooLate
}

func (f *fakeStops) Settle(context.Context, journal.Principal, string, dispatch.NotificationID, dispatch.Decision) error {
	return dispatch.ErrNotHeld
}
func (f *fakeStops) count() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.set) }

func newWorld(t *testing.T, change ...func(*Config, *Deps)) *world {
	t.Helper()
	w := &world{T: t, db: postgrestest.New(t), registry: prometheus.NewRegistry(), log: &logged{}, stops: &fakeStops{}}
	w.clock = &clock{at: time.Now().UTC().Truncate(time.Second)}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	writer := journal.NewWriter()
	w.accounts = NewAccounts(w.db, writer, w.clock.now, AccountsConfig{AdminKey: adminKey})
	keyset, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keyring := citizen.NewKeyring(keyset, 100)
	if _, err := catalog.Seed(t.Context(), w.db); err != nil {
		t.Fatal(err)
	}
	watcher, err := catalog.Watch(t.Context(), w.db, log)
	if err != nil {
		t.Fatal(err)
	}
	routes := func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "main", channel == "sms" }
	if err := dispatch.EnsurePool(t.Context(), w.db, "main", "sms", []string{"smsc-1"}); err != nil {
		t.Fatal(err)
	}
	lists := ingest.New(ingest.Config{DB: w.db, Catalog: watcher.Current, Keys: keyring, Journal: writer, Admission: dispatch.NewAdmission(routes),
		Routes: routes, Now: w.clock.now, Log: log, Metrics: w.registry})
	config := Config{Version: "1.2.3", ConfigDigest: "abc"}
	deps := Deps{DB: w.db, Accounts: w.accounts, Journal: writer, Keyring: keyring, Log: log, Metrics: w.registry, Now: w.clock.now,
		Doors: Doors{Lists: lists, Stops: w.stops, Catalog: watcher}}
	for _, f := range change {
		f(&config, &deps)
	}
	if w.server, err = New(config, deps); err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(w.server.Handler())
	t.Cleanup(served.Close)
	w.url = served.URL
	return w
}

// system may do everything accounts are for, as the command line does.
func system() journal.Principal { return journal.System("test") }

// key makes an account with these roles and returns a key of it.
func (w *world) key(login, agency string, roles ...journal.Role) string {
	w.Helper()
	n := NewAccount{Login: login, Kind: Person, Agency: agency, Roles: roles}
	for _, r := range roles {
		if r == journal.RoleSourceSystem || r == journal.RoleASVSystem {
			n.Kind = Machine
		}
		if r == journal.RoleSourceSystem {
			n.Source = "upload"
		}
	}
	if _, err := w.accounts.CreateAccount(w.Context(), system(), n); err != nil {
		w.Fatalf("account %s: %v", login, err)
	}
	_, secret, err := w.accounts.CreateKey(w.Context(), system(), NewKey{Login: login})
	if err != nil {
		w.Fatalf("key of %s: %v", login, err)
	}
	return secret
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) problem(t *testing.T) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("status %d: not a problem: %v: %s", r.status, err, r.body)
	}
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	return p
}

func (r reply) into(t *testing.T, v any) {
	t.Helper()
	if r.status >= 300 {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}

// do sends a request; header are names and values in turn. body may be nil, a string, or anything for JSON.
func (w *world) do(key, method, path string, body any, header ...string) reply {
	w.Helper()
	var r io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			w.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+path, r)
	if err != nil {
		w.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if r != nil {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answered, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(answered)}
}

// wants fails unless the answer is this problem.
func (w *world) wants(r reply, status int, code Code) {
	w.Helper()
	if p := r.problem(w.T); r.status != status || p.Status != status || p.Code != code {
		w.Errorf("got %d %s, want %d %s: %s", r.status, p.Code, status, code, r.body)
	}
}
