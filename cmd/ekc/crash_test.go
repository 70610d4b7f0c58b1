package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/fixtures"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
	"ekc/smpp/smpptest"
)

// crashSize is how much a crash test does; `make crash` asks for more by the environment.
func crashSize(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestHubChild is not a test: it is the hub as a process of its own, for tests that kill it.
func TestHubChild(t *testing.T) {
	path := os.Getenv("EKC_TEST_CHILD")
	if path == "" {
		t.Skip("runs only as the child of a crash test")
	}
	var own []string // the child obeys its file alone
	config, err := readConfig(path, own)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	h := &hub{config: config, roles: roles{api: true, feed: true, sms: true}, log: log, listener: listener, changeRules: quickRules}
	if point, count, ok := strings.Cut(os.Getenv("EKC_TEST_KILL"), ":"); ok {
		count, sleeps := strings.CutSuffix(count, ":stop")
		n, _ := strconv.Atoi(count)
		var passed atomic.Int64
		h.reached = func(p dispatch.Point) {
			if string(p) == point && passed.Add(1) == int64(n) {
				if sleeps {
					_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
					time.Sleep(50 * time.Millisecond) // until it takes effect, on every thread
					return
				}
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // the signal is on its way; nothing more is done here
			}
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // ends with its parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := h.run(ctx); err != nil {
		t.Fatal(err)
	}
}

// quickRules are open around the clock and wait for seconds where the catalogue waits for minutes.
func quickRules(r *dispatch.Rules) {
	openAroundTheClock(r)
	r.Gap, r.GiveUp, r.UncertainWait = 0, 5*time.Minute, 3*time.Second
	r.PerDay = nil
	r.Retry = func(dispatch.Reason, int) (time.Duration, bool) { return 200 * time.Millisecond, true }
}

// crashHub is a hub to be killed: its database, its SMS centre, and a door of the test's own to its lists.
type crashHub struct {
	t       testing.TB
	dir     string
	server  *postgres.Server
	db      *pgxpool.Pool
	smsc    *smpptest.Server
	lists   *ingest.Service
	config  string
	exe     string
	started int
}

const crashWindow = 100 // of the SMSC link; unrecorded is twice that

func newCrashHub(t testing.TB, smsc func(*smpptest.Config), link string) *crashHub {
	t.Helper()
	return newCrashHubOn(t, postgrestest.Durable(t), smsc, link)
}

func newCrashHubOn(t testing.TB, server *postgres.Server, smsc func(*smpptest.Config), link string) *crashHub {
	t.Helper()
	h := &crashHub{t: t, dir: t.TempDir(), server: server}
	h.smsc = smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) {
		c.Keep, c.ReceiptDelay, c.RedeliverIdle = false, 300*time.Millisecond, 5*time.Second
		if smsc != nil {
			smsc(c)
		}
	}))
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	exported, err := keys.Export()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(h.dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyset := write("keyset.json", exported)
	h.config = write("ekc.yaml", fmt.Appendf(nil, `
http: {addr: "127.0.0.1:0"}
database: {url: %q}
keyset: %q
state_dir: %q
drain_timeout: 10s
smsc:
  - {name: smsc-1, pool: mobile, addr: %q, system_id: ekc, window: %d, response_timeout: 5s, enquire_link: 10s, %s
     senders: [{name: SFR, ton: 5}]}
`, h.server.URL(), keyset, filepath.Join(h.dir, "state"), h.smsc.Addr(), crashWindow, link))
	if h.db, err = postgres.Open(t.Context(), postgres.Config{URL: h.server.URL(), Name: "test", MaxConns: 16}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.db.Close)
	if _, err := catalog.Seed(t.Context(), h.db); err != nil {
		t.Fatal(err)
	}
	watcher, err := catalog.Watch(t.Context(), h.db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := dispatch.EnsurePool(t.Context(), h.db, "mobile", "sms", []string{"smsc-1"}); err != nil {
		t.Fatal(err)
	}
	whither := func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "mobile", channel == "sms" }
	h.lists = ingest.New(ingest.Config{DB: h.db, Catalog: watcher.Current, Keys: citizen.NewKeyring(keys, 100), Journal: journal.NewWriter(),
		Admission: dispatch.NewAdmission(whither), Routes: whither, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if h.exe, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	return h
}

// child is one process of the hub.
type child struct {
	*exec.Cmd
	in   io.Closer
	done chan error
	log  string
}

// start runs a child that kills itself at the point "name:count", falls asleep there with "name:count:stop", or lives on with "".
func (h *crashHub) start(kill string) *child {
	h.t.Helper()
	h.started++
	c := &child{Cmd: exec.Command(h.exe, "-test.run=^TestHubChild$", "-test.timeout=30m"), done: make(chan error, 1),
		log: filepath.Join(h.dir, fmt.Sprintf("child-%d.log", h.started))}
	c.Env = append(os.Environ(), "EKC_TEST_CHILD="+h.config, "EKC_TEST_KILL="+kill)
	out, err := os.Create(c.log)
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	in, err := c.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	c.in = in
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { c.done <- c.Wait() }()
	h.t.Cleanup(func() {
		_ = c.Process.Kill()
		if h.t.Failed() {
			if tail, err := os.ReadFile(c.log); err == nil {
				h.t.Logf("%s:\n%s", filepath.Base(c.log), tail[max(0, len(tail)-2000):])
			}
		}
	})
	return c
}

// stop ends a child as an operator would.
func (c *child) stop(t testing.TB) {
	t.Helper()
	_ = c.in.Close()
	select {
	case err := <-c.done:
		if err != nil {
			t.Errorf("the hub did not stop well: %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Error("the hub does not stop")
	}
}

// killed waits until the child is dead, and kills it after the time given.
func (c *child) killed(after time.Duration) {
	select {
	case err := <-c.done:
		c.done <- err
	case <-time.After(after):
		_ = c.Process.Kill()
		err := <-c.done
		c.done <- err
	}
}

var (
	loader   = journal.Principal{Account: "loader", Agency: "0002.000014", Roles: []journal.Role{journal.RoleListLoader}}
	approver = journal.Principal{Account: "approver", Agency: "0002.000014", Roles: []journal.Role{journal.RoleListApprover}}
)

// submit brings a list of n rows.
func (h *crashHub) submit(n int, seed uint64) ingest.Ref {
	h.t.Helper()
	file, in := io.Pipe()
	go func() { _ = in.CloseWithError(fixtures.CSV(in, n, seed)) }()
	ref, err := h.lists.Submit(h.t.Context(), loader, ingest.Header{Name: fmt.Sprintf("crash %d", seed), LifeEvent: "OP-04",
		LegalBasis: &catalog.LegalBasis{Code: "test", Document: "приказ 1", Date: "2026-01-01"}, OrderedBy: "приказ 1"}, file)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

func (h *crashHub) await(what string, most time.Duration, ok func() (bool, error)) {
	h.t.Helper()
	deadline := time.Now().Add(most)
	for {
		good, err := ok()
		if good && err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not within %s (%v)", what, most, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (h *crashHub) list(ref ingest.Ref) (*ingest.List, error) {
	return h.lists.Get(h.t.Context(), loader, ref.ID)
}

// approve waits until the list is ready and lets it go.
func (h *crashHub) approve(ref ingest.Ref, n int) {
	h.t.Helper()
	h.await("list ready", 5*time.Minute, func() (bool, error) {
		l, err := h.list(ref)
		return err == nil && l.State == ingest.Ready, err
	})
	l, err := h.list(ref)
	if err != nil {
		h.t.Fatal(err)
	}
	if l.Accepted != n {
		h.t.Fatalf("%d rows were accepted, want %d", l.Accepted, n)
	}
	if _, err := h.lists.Approve(h.t.Context(), approver, ref.ID, ingest.Expected{Accepted: l.Accepted, Digest: l.DigestString()}, time.Time{}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *crashHub) count(sql string, args ...any) int {
	h.t.Helper()
	var n int
	var err error
	for range 50 { // the database may just have been killed
		if err = h.db.QueryRow(context.Background(), sql, args...).Scan(&n); err == nil || !postgres.IsUnavailable(err) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// TestKilledAnywhereLosesNothingAndMarksEveryDouble kills the hub at every named point and at random moments, and PostgreSQL under it,
// while a list is checked and sent.
func TestKilledAnywhereLosesNothingAndMarksEveryDouble(t *testing.T) {
	rows, kills := crashSize("EKC_CRASH_ROWS", 6000), crashSize("EKC_CRASH_KILLS", 8)
	h := newCrashHub(t, nil, "")
	ref := h.submit(rows, 1)
	random := rand.New(rand.NewPCG(1, uint64(rows)))

	// While it is checked: a kill mid-slice.
	checking := h.start("")
	checking.killed(400 * time.Millisecond)
	c := h.start("")
	h.approve(ref, rows)
	c.killed(time.Duration(random.IntN(200)) * time.Millisecond)
	hubKills := 1

	points := []dispatch.Point{dispatch.PointClaimed, dispatch.PointStarted, dispatch.PointAnswered, dispatch.PointRecording, dispatch.PointRecorded}
	databaseKills := 0
	for i := range kills - 2 {
		switch {
		case i%4 == 3: // PostgreSQL, under a hub that lives on
			c := h.start("")
			h.await("something is sent", time.Minute, func() (bool, error) { return h.smsc.Stats().LinksOpen > 0, nil })
			time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
			if err := h.server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := h.server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			databaseKills++
			time.Sleep(500 * time.Millisecond)
			c.killed(time.Duration(random.IntN(500)) * time.Millisecond)
			hubKills++
		case i%4 == 2: // at a random moment
			c := h.start("")
			h.await("the links are up", time.Minute, func() (bool, error) { return h.smsc.Stats().LinksOpen > 0, nil })
			c.killed(time.Duration(random.IntN(800)) * time.Millisecond)
			hubKills++
		default:
			point := points[(i-i/4*2)%len(points)]
			h.start(fmt.Sprintf("%s:%d", point, 1+random.IntN(8))).killed(10 * time.Second)
			hubKills++
		}
	}
	last := h.start("")
	h.await("list completed", time.Duration(crashSize("EKC_CRASH_MINUTES", 3))*time.Minute, func() (bool, error) {
		l, err := h.list(ref)
		return err == nil && l.State == ingest.Completed, err
	})
	h.await("receipts acknowledged", time.Minute, func() (bool, error) { return h.smsc.Stats().Waiting() == 0, nil })
	last.stop(t)

	s := h.smsc.Stats()
	unrecorded := 2 * crashWindow
	bound := (hubKills + databaseKills) * unrecorded
	marked := h.count(`SELECT count(DISTINCT notification) FROM attempts WHERE state = 2`)
	resent := h.count(`SELECT count(*) FROM (SELECT notification FROM attempts WHERE state IN (2, 4) GROUP BY 1 HAVING count(DISTINCT no) > 1) twice`)
	t.Logf("%d rows, %d kills of the hub, %d of PostgreSQL: %d doubled (bound %d), %d marked uncertain, %d tried again", rows, hubKills, databaseKills,
		s.Doubles, bound, marked, resent)
	if s.Destinations != rows {
		t.Errorf("%d phones were told, want %d", s.Destinations, rows)
	}
	if s.Doubles > bound {
		t.Errorf("%d doubles, at most %d are allowed", s.Doubles, bound)
	}
	if s.Doubles > resent {
		t.Errorf("%d doubles, and only %d are marked in history", s.Doubles, resent)
	}
	if n := h.count(`SELECT count(*) FROM outcomes WHERE state = 10`); n != rows {
		t.Errorf("%d ended as delivered, want %d: receipts were lost", n, rows)
	}
	if n := h.count(`SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM leases)`); n != 0 {
		t.Errorf("%d rows are left in outbox and leases", n)
	}
	report, err := journal.Verify(t.Context(), h.db, journal.Checkpoint{})
	if err != nil || report.Fault != nil {
		t.Errorf("the journal does not verify: %v %v", err, report.Fault)
	}
	h.compareWithJournal()
}

// compareWithJournal rebuilds every outcome from the journal: nothing stands in the tables that was not told.
func (h *crashHub) compareWithJournal() {
	h.t.Helper()
	type end struct {
		state    string
		sequence int
	}
	told := map[int64]end{}
	for from := int64(0); ; {
		entries, next, err := journal.Follow(h.t.Context(), h.db, from, 50000, journal.Outcome)
		if err != nil {
			h.t.Fatal(err)
		}
		for i := range entries {
			e := &entries[i].Entry
			if was, ok := told[e.Notification]; ok && e.Sequence <= was.sequence {
				h.t.Errorf("%s: sequence %d after %d", dispatch.NotificationID(e.Notification), e.Sequence, was.sequence)
			}
			told[e.Notification] = end{e.State, e.Sequence}
		}
		if next == from {
			break
		}
		from = next
	}
	rows, err := h.db.Query(h.t.Context(), `SELECT id, state, sequence FROM outcomes`)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var state dispatch.State
		var sequence int
		if err := rows.Scan(&id, &state, &sequence); err != nil {
			h.t.Fatal(err)
		}
		if e := told[id]; e.state != state.String() || e.sequence != sequence {
			h.t.Errorf("%s: outcome %s %d, the journal says %s %d", dispatch.NotificationID(id), state, sequence, e.state, e.sequence)
		}
		delete(told, id)
	}
	if err := rows.Err(); err != nil && !errors.Is(err, context.Canceled) {
		h.t.Fatal(err)
	}
	if len(told) > 0 {
		h.t.Errorf("%d outcomes of the journal are in no table", len(told))
	}
}
