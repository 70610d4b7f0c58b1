package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
	"ekc/smpp/smpptest"
)

const testAgency = "0002.000014"

// world is a hub under test with its database and SMS centre.
type world struct {
	t        *testing.T
	smsc     *smpptest.Server
	settings []string
	config   *Config
	url      string // of the API
	db       *pgxpool.Pool
	accounts *openapi.Accounts
}

// newWorld makes everything but the hub itself.
func newWorld(t *testing.T, databaseURL string, more ...string) *world {
	t.Helper()
	w := &world{t: t, smsc: smpptest.NewServer(t)}
	keyset, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyset.Export()
	if err != nil {
		t.Fatal(err)
	}
	w.settings = append([]string{
		"EKC_HTTP_ADDR=127.0.0.1:0", "EKC_DATABASE_URL=" + databaseURL, "EKC_KEYSET=" + string(text), "EKC_STATE_DIR=" + t.TempDir(), "EKC_DRAIN_TIMEOUT=5s",
		fmt.Sprintf("EKC_SMSC=[{name: main, addr: '%s', system_id: ekc, window: 50, senders: [{name: SFR}]}]", w.smsc.Addr()),
	}, more...)
	if w.config, err = readConfig("", w.settings); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs a hub until the test ends, or until the function it returns is called, which waits for its end.
func (w *world) start(log *slog.Logger, change ...func(*hub)) (stop func() error) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = "http://" + listener.Addr().String()
	all, err := parseRoles(roleNames)
	if err != nil {
		w.t.Fatal(err)
	}
	h := &hub{config: w.config, roles: all, log: log, listener: listener, changeRules: quickRules}
	for _, c := range change {
		c(h)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	var ended bool
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	w.t.Cleanup(func() {
		if err := stop(); err != nil {
			w.t.Errorf("the hub ended with: %v", err)
		}
	})
	return stop
}

func (w *world) open() {
	w.t.Helper()
	db, err := postgres.Open(w.t.Context(), postgres.Config{URL: w.config.Database.URL.Reveal(), MaxConns: 2})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(db.Close)
	w.db = db
	w.accounts = openapi.NewAccounts(db, journal.NewWriter(), time.Now, openapi.AccountsConfig{})
}

// person makes an account and returns a client with its key.
func (w *world) person(login, agency string, roles ...journal.Role) *apiClient {
	w.t.Helper()
	by := journal.System("test")
	if _, err := w.accounts.CreateAccount(w.t.Context(), by, openapi.NewAccount{Login: login, Kind: openapi.Person, Agency: agency, Roles: roles}); err != nil {
		w.t.Fatal(err)
	}
	_, secret, err := w.accounts.CreateKey(w.t.Context(), by, openapi.NewKey{Login: login})
	if err != nil {
		w.t.Fatal(err)
	}
	return &apiClient{base: w.url, key: secret, http: &http.Client{Timeout: 10 * time.Second}}
}

// staff is a loader and an approver of one agency, and a duty engineer.
type staff struct{ loader, approver, duty *apiClient }

func (w *world) staff() staff {
	w.t.Helper()
	w.awaitReady()
	w.open()
	return staff{w.person("loader", testAgency, journal.RoleListLoader), w.person("approver", testAgency, journal.RoleListApprover),
		w.person("duty", "", journal.RoleDutyEngineer)}
}

func (w *world) awaitReady() {
	w.t.Helper()
	d := &demo{url: w.url}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := d.awaitReady(ctx); err != nil {
		w.t.Fatalf("not ready: %v", err)
	}
}

// awaitAPI waits until the API answers, also when nothing may be sent.
func (w *world) awaitAPI(c *apiClient) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for err := c.call(w.t.Context(), http.MethodGet, "/v1/whoami", nil, nil); err != nil; err = c.call(w.t.Context(), http.MethodGet, "/v1/whoami", nil, nil) {
		if time.Now().After(deadline) {
			w.t.Fatalf("the API does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// bring has a list of these phones checked; it waits for its approval.
func (w *world) bring(s staff, name string, phones []string) openapi.List {
	w.t.Helper()
	return w.load(s, name, listOf(phones), len(phones))
}

// load has a file checked, of whose rows so many are accepted.
func (w *world) load(s staff, name, text string, accepted int) openapi.List {
	w.t.Helper()
	ref, err := s.loader.submit(w.t.Context(), name+".csv", strings.NewReader(text), plainList(name))
	must(w.t, err)
	l := w.await(s, ref.ID, checked)
	if l.State != string(ingest.Ready) || l.Accepted != accepted {
		w.t.Fatalf("list is %s: %s, accepted %d of %d", l.State, l.StateReason, l.Accepted, accepted)
	}
	return l
}

func plainList(name string) map[string]string {
	return map[string]string{"name": name, "life_event": "OP-04", "ordered_by": "письмо 1", "legal_basis.code": "x",
		"legal_basis.document": "приказ", "legal_basis.date": "2026-01-15"}
}

func listOf(phones []string) string {
	var text strings.Builder
	text.WriteString("Телефон;ФИО;Текст\n")
	for i, phone := range phones {
		fmt.Fprintf(&text, "%s;Иванова Мария %d;СФР: вам положена выплата %d. Тел. 8-800-100-00-01\n", phone, i, i)
	}
	return text.String()
}

func checked(l openapi.List) bool {
	return l.State != string(ingest.Receiving) && l.State != string(ingest.Checking)
}

func approve(ctx context.Context, by staff, l openapi.List) error {
	return by.approver.call(ctx, http.MethodPost, "/v1/lists/"+l.ID+"/approve",
		map[string]any{"expected": map[string]any{"accepted": l.Accepted, "digest": l.Digest}}, nil)
}

// send brings a list of these phones and has it approved.
func (w *world) send(s staff, name string, phones ...string) openapi.List {
	w.t.Helper()
	l := w.bring(s, name, phones)
	must(w.t, approve(w.t.Context(), s, l))
	return l
}

func (w *world) await(s staff, id string, wanted func(openapi.List) bool) openapi.List {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 40*time.Second)
	defer cancel()
	var last openapi.List
	l, err := s.loader.awaitList(ctx, id, wanted, func(l openapi.List) { last = l })
	if err != nil {
		w.t.Fatalf("%v; it is %s %v", err, last.State, last.Counts)
	}
	return l
}

func phones(n int, code smpptest.Code) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "+" + smpptest.Number(900+i, code)
	}
	return out
}

// ordinary are phones of which the SMS centre delivers to each.
func ordinary(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("+7%d", 9_101_000_100+i)
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestListInSMSOutReceiptsBackHistoryTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, postgrestest.NewURL(t))
	stop := w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	numbers := append(phones(20, smpptest.OK), phones(2, smpptest.Undelivered)...)
	numbers = append(numbers, phones(1, smpptest.InvalidDestination)...)
	l := w.send(s, "первый", numbers...)
	l = w.await(s, l.ID, ended)
	if l.State != string(ingest.Completed) || l.Counts["delivered"] != 20 || l.Counts["undelivered"] != 2 || l.Counts["refused"] != 1 {
		t.Errorf("list %s %v", l.State, l.Counts)
	}
	if stats := w.smsc.Stats(); stats.Messages != 22 || stats.Doubles != 0 || stats.ReceiptsAcked != 22 {
		t.Errorf("the SMS centre has %d messages, %d doubles, %d receipts acknowledged; want 22, 0, 22", stats.Messages, stats.Doubles, stats.ReceiptsAcked)
	}
	var page openapi.Page[openapi.Notification]
	if err := s.loader.call(t.Context(), http.MethodGet, "/v1/notifications?limit=1&state=undelivered&list_id="+l.ID, nil, &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 1 {
		t.Fatalf("%d undelivered notifications on a page of one", len(page.Items))
	}
	told, err := (&backend{apiClient: s.loader}).trail(t.Context(), page.Items[0].NotificationID)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range told.History {
		kinds = append(kinds, string(e.Kind)+" "+e.Data["state"])
	}
	if text := strings.Join(kinds, ", "); !strings.HasPrefix(text, "attempt accepted") || !strings.HasSuffix(text, "outcome undelivered") {
		t.Errorf("the history of an undelivered one: %s", text)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if report, err := journal.Verify(t.Context(), w.db, journal.Checkpoint{}); err != nil || report.Fault != nil || report.Unplaced != 0 {
		t.Errorf("the journal after a stop: %+v %v", report, err)
	}
}

func TestATestSendingArrivesBeforeAnybodyIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, postgrestest.NewURL(t))
	w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	citizen, handset := "+"+smpptest.Number(901, smpptest.OK), "+"+smpptest.Number(902, smpptest.OK)
	l := w.load(s, "проверяемый", "Телефон;ФИО;Текст\n"+citizen+";Иванова Мария;СФР: выплата назначена. Тел. 8-800-100-00-01\n", 1)
	var ref openapi.ListRef
	if err := s.loader.call(t.Context(), http.MethodPost, "/v1/lists/"+l.ID+"/test-send", map[string]any{"phone": handset}, &ref); err != nil {
		t.Fatal(err)
	}
	test := w.await(s, ref.ID, ended)
	if test.State != string(ingest.Completed) || test.Counts["delivered"] != 1 || test.Tests != l.ID {
		t.Errorf("%+v", test)
	}
	sent := w.smsc.Messages()
	if len(sent) != 1 || "+"+sent[0].To != handset || sent[0].Text != "Проверка: СФР: выплата назначена. Тел. 8-800-100-00-01" {
		t.Errorf("the SMS centre has %+v", sent)
	}
	must(t, approve(t.Context(), s, l))
	l = w.await(s, l.ID, ended)
	if l.Counts["delivered"] != 1 || l.Rows != 1 {
		t.Errorf("the tested list: %+v", l)
	}
	if n := w.smsc.MessagesTo(strings.TrimPrefix(citizen, "+")); n != 1 {
		t.Errorf("the citizen got %d messages", n)
	}
}

func TestServeWaitsForTheDatabaseAndSaysSo(t *testing.T) {
	t.Parallel()
	server := postgrestest.Durable(t)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, server.URL())
	w.start(slog.New(slog.DiscardHandler))
	anybody := &apiClient{base: w.url, http: &http.Client{Timeout: 5 * time.Second}}
	var health map[string]string
	if err := anybody.call(t.Context(), http.MethodGet, "/healthz", nil, &health); err != nil || health["status"] != "ok" || len(health["config_digest"]) != 16 {
		t.Errorf("health without a database: %v %v", health, err)
	}
	why := func() string {
		var ready struct {
			Checks []struct{ Name, Reason string }
		}
		if err := anybody.call(t.Context(), http.MethodGet, "/readyz", nil, &ready); err != nil {
			return err.Error()
		}
		if len(ready.Checks) == 0 {
			return ""
		}
		return ready.Checks[0].Reason
	}
	deadline := time.Now().Add(10 * time.Second)
	for why() != "waiting for the database" {
		if time.Now().After(deadline) {
			t.Fatalf("not ready because: %s", why())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.awaitReady()
}

// TestAProcessThatOnlyAdmitsHasPartitionsMade: lists come while nobody sends.
func TestAProcessThatOnlyAdmitsHasPartitionsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, postgrestest.NewURL(t))
	w.start(slog.New(slog.DiscardHandler), func(h *hub) { h.roles = roles{api: true} })
	w.awaitReady()
	w.open()
	await(t, "the partition of lists to come is there", func() (there bool) {
		must(t, w.db.QueryRow(t.Context(), `SELECT to_regclass('notifications_4') IS NOT NULL`).Scan(&there))
		return there
	})
}
