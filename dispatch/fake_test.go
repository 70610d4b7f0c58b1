package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// fakeWire stands for a far side that outlives processes: it remembers what left, and by which text.
type fakeWire struct {
	mu   sync.Mutex
	sent map[string]int // by phone
	next int
}

func newFakeWire() *fakeWire { return &fakeWire{sent: map[string]int{}} }

func (w *fakeWire) take(to citizen.Phone) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[to.E164()]++
	w.next++
	return fmt.Sprint("m", w.next)
}

func (w *fakeWire) count() (phones, sent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.sent {
		sent += n
	}
	return len(w.sent), sent
}

// fakeChannel is a channel without a wire protocol: it proves that dispatch needs none. answer decides what becomes of an attempt.
type fakeChannel struct {
	desk   Desk
	wire   *fakeWire
	lines  int
	answer func(*Attempt) Result // nil: accepted, with a delivered receipt at once

	mu    sync.Mutex
	queue []*Attempt
	more  chan struct{}
}

func (c *fakeChannel) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, c.lines-len(c.queue))
}

func (c *fakeChannel) Start(attempts []*Attempt) {
	c.mu.Lock()
	c.queue = append(c.queue, attempts...)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *fakeChannel) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			c.mu.Lock()
			left := c.queue
			c.queue = nil
			c.mu.Unlock()
			var back []Result
			for _, a := range left {
				back = append(back, Result{Attempt: a, Verdict: VerdictWithheld})
			}
			c.desk.Settle(back)
			return nil
		case <-c.more:
		}
		c.mu.Lock()
		batch := c.queue
		c.queue = nil
		c.mu.Unlock()
		var results []Result
		var receipts []Receipt
		for _, a := range batch {
			if !c.desk.MayWrite() || !c.desk.Allowed(a) {
				results = append(results, Result{Attempt: a, Verdict: VerdictWithheld})
				continue
			}
			if c.answer != nil {
				results = append(results, c.answer(a))
				continue
			}
			id := c.wire.take(a.To)
			results = append(results, Result{Attempt: a, Verdict: VerdictAccepted, Link: "l1", At: time.Now(), Parts: []Part{{MessageID: id, State: AttemptAccepted}}})
			receipts = append(receipts, Receipt{Link: "l1", MessageID: id, State: AttemptDelivered, To: a.To})
		}
		c.desk.Settle(results)
		if len(receipts) > 0 {
			c.desk.Receipts(receipts, func(error) {})
		}
	}
}

// world is one database and what a test puts into it.
type world struct {
	t       *testing.T
	db      *pgxpool.Pool
	url     string
	keyring *citizen.Keyring
	journal *journal.Writer
	rules   Rules
	adm     *Admission
	lists   int64
	now     func() time.Time
	drain   time.Duration // 0 = five seconds
}

var wholeDay = citizen.Hours{From: 0, To: 24 * 60}

func alwaysOpen(string, bool) *citizen.Window {
	var w citizen.Window
	for i := range w.Weekdays {
		w.Weekdays[i] = wholeDay
	}
	return &w
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url := postgrestest.NewURL(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Name: "test", MaxConns: 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, url: url, keyring: citizen.NewKeyring(keys, 100), journal: journal.NewWriter(), rules: Rules{
		Window: alwaysOpen, Gap: 0, GiveUp: time.Hour, UncertainWait: 100 * time.Millisecond,
		Retry: func(_ Reason, tries int) (time.Duration, bool) { return 10 * time.Millisecond, tries < 3 },
	}}
	w.adm = NewAdmission(w.routes)
	if err := EnsurePool(t.Context(), db, "p1", "sms", []string{"l1"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) routes(channel, _ string, _ citizen.Phone, _ bool) (string, bool) {
	switch channel {
	case "sms":
		return "p1", true
	case "pigeon":
		return "p2", true
	}
	return "", false
}

func (w *world) core(process string) *Core {
	w.t.Helper()
	hot, err := postgres.Open(context.Background(), postgres.Config{URL: w.url, Name: "hot", MaxConns: 6, PinPlans: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(hot.Close)
	out := io.Discard
	if os.Getenv("EKC_TEST_LOG") != "" {
		out = os.Stderr
	}
	return New(Config{DB: w.db, Hot: hot, Journal: journal.NewWriter(), Keyring: w.keyring, Rules: func() *Rules { return &w.rules },
		Routes: w.routes, Process: process, Drain: cmp.Or(w.drain, 5*time.Second), Now: w.now,
		Log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
}

// start runs a core with one pool until the returned function is called.
func (w *world) start(process string, pools ...Pool) (stop func()) {
	core := w.core(process)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- core.Run(ctx, pools) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("core: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) pool(wire *fakeWire, answer func(*Attempt) Result) Pool {
	return Pool{Name: "p1", Channel: "sms", Links: []string{"l1"}, Unrecorded: 400, Open: func(d Desk) Channel {
		return &fakeChannel{desk: d, wire: wire, lines: 1000, answer: answer, more: make(chan struct{}, 1)}
	}}
}

type admit struct {
	agency      string
	rows        int
	lane        int16
	channels    []string
	onUncertain string
	edit        func(i int, r *Row)
	waiting     bool // admitted, not started
}

// phoneOf gives every row of every list a phone of its own.
func phoneOf(list int64, i int) citizen.Phone {
	p, err := citizen.ParsePhone(fmt.Sprintf("+79%02d%07d", list%100, i))
	if err != nil {
		panic(err)
	}
	return p
}

func (w *world) admit(a admit) int64 {
	w.t.Helper()
	w.lists++
	no := w.lists
	if a.agency == "" {
		a.agency = "0001.000001"
	}
	if a.channels == nil {
		a.channels = []string{"sms"}
	}
	if a.lane == 0 && a.rows > 1 {
		a.lane = LaneNormal
	}
	err := postgres.InTx(w.t.Context(), w.db, func(tx pgx.Tx) error {
		key, err := w.keyring.ScopeKey(w.t.Context(), tx, fmt.Sprint("list/", no), a.agency)
		if err != nil {
			return err
		}
		rows := make([]*Row, a.rows)
		for i := range rows {
			phone := phoneOf(no, i)
			r := &Row{Ordinal: int32(i + 1), RowNo: int32(i + 2), Part: 1, ExternalID: fmt.Sprint("x", i), Zones: "Europe/Moscow",
				Channels: a.channels, Lane: a.lane, Segments: 1, Content: Content{Phones: []citizen.Phone{phone}, Text: "СФР: проверка"}}
			if a.edit != nil {
				a.edit(i, r)
			}
			rows[i] = r
			if r.Digests, err = w.keyring.PersonDigests(nil, r.Content.Person, r.Content.Phones...); err != nil {
				return err
			}
		}
		if err := w.adm.Write(w.t.Context(), tx, List{No: no, Agency: a.agency, Key: key, OnUncertain: a.onUncertain}, rows); err != nil {
			return err
		}
		if a.waiting {
			return nil
		}
		return w.adm.Start(w.t.Context(), tx, no, time.Time{})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return no
}

func (w *world) tx(fn func(pgx.Tx) error) {
	w.t.Helper()
	if err := postgres.InTx(w.t.Context(), w.db, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) int(sql string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) states(list int64) map[State]int {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), `SELECT coalesce(o.state, 0), count(*) FROM notifications n LEFT JOIN outcomes o ON o.id = n.id
		WHERE n.id >> 24 = $1 GROUP BY 1`, list)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[State]int{}
	var s State
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&s, &n}, func() error { all[s] = n; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return all
}

var errTimeout = errors.New("it did not come to be")

// await waits until ok, and fails after a long while.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %v", what, errTimeout)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) awaitState(list int64, s State, n int) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		have := w.states(list)
		if have[s] == n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("list %d: want %d %s, have %v", list, n, s, have)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
