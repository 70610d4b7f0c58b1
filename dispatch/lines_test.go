package dispatch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// The third channel of DESIGN 1, as unlike SMS as can be: three lines, an attempt holds its line for a minute, nothing is heard until it
// ends, and there are no receipts. Time is scaled down here: a minute is 300 ms; what dispatch promises in seconds is not scaled.
const (
	threeLines = 3
	minute     = 300 * time.Millisecond
	// lineUnrecorded is a place for each line, and the one that is kept for single messages.
	lineUnrecorded = threeLines + 1
)

// lineChannel performs attempts on its lines; far hears each as it begins.
type lineChannel struct {
	desk  Desk
	lasts time.Duration
	far   func(*Attempt)
	most  *atomic.Int64 // lines busy at once
	ctx   context.Context

	mu   sync.Mutex
	busy int
	all  sync.WaitGroup
	over bool
}

func (c *lineChannel) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return threeLines - c.busy
}

func (c *lineChannel) Start(attempts []*Attempt) {
	var back []Result
	c.mu.Lock()
	for _, a := range attempts {
		if c.over || c.busy == threeLines {
			back = append(back, Result{Attempt: a, Verdict: VerdictWithheld})
			continue
		}
		c.busy++
		c.most.Store(max(c.most.Load(), int64(c.busy)))
		c.all.Go(func() { c.hold(a) })
	}
	c.mu.Unlock()
	c.desk.Settle(back)
}

// hold is one attempt from its beginning to its end.
func (c *lineChannel) hold(a *Attempt) {
	res := Result{Attempt: a, Verdict: VerdictWithheld, Link: "loft"}
	if c.desk.Allowed(a) && c.desk.MayWrite() {
		res.At = time.Now()
		c.far(a)
		select {
		case <-time.After(c.lasts):
			res.Verdict = VerdictDelivered
		case <-c.ctx.Done():
			res.Verdict, res.Reason = VerdictUncertain, "link_lost"
		}
	}
	c.mu.Lock()
	c.busy--
	c.mu.Unlock()
	c.desk.Settle([]Result{res})
}

func (c *lineChannel) Run(ctx context.Context) error {
	<-ctx.Done()
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.all.Wait()
	return nil
}

// lines is the far side of the third channel, which outlives processes.
type lines struct {
	mu    sync.Mutex
	began map[NotificationID][]time.Time
	again map[NotificationID]bool // an attempt was marked as a possible second
	last  time.Time
	most  atomic.Int64
}

func newLines() *lines {
	return &lines{began: map[NotificationID][]time.Time{}, again: map[NotificationID]bool{}}
}

func (l *lines) hear(a *Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	l.began[a.ID] = append(l.began[a.ID], l.last)
	l.again[a.ID] = l.again[a.ID] || a.Possible
}

// heard is how many were reached, how many more attempts there were than that, and when the last began.
func (l *lines) heard() (reached, more int, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.began {
		more += len(times) - 1
	}
	return len(l.began), more, l.last
}

func (l *lines) pool(lasts time.Duration) Pool {
	return linesPool(lasts, l.hear, &l.most)
}

func linesPool(lasts time.Duration, far func(*Attempt), most *atomic.Int64) Pool {
	return Pool{Name: "p2", Channel: "pigeon", Links: []string{"loft"}, Unrecorded: lineUnrecorded, Open: func(d Desk) Channel {
		c := &lineChannel{desk: d, lasts: lasts, far: far, most: most}
		var cancel context.CancelFunc
		c.ctx, cancel = context.WithCancel(context.Background())
		return cancelling{c, cancel}
	}}
}

// cancelling cuts the lines when Run is told to end.
type cancelling struct {
	*lineChannel
	cut context.CancelFunc
}

func (c cancelling) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.cut)()
	return c.lineChannel.Run(ctx)
}

func newLinesWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.withPigeons()
	return w
}

func (w *world) admitToLines(rows int) int64 {
	return w.admit(admit{rows: rows, channels: []string{"pigeon"}, edit: func(_ int, r *Row) { r.Template = "t1" }})
}

func TestThreeLongLinesObeyPauseCancelAndStops(t *testing.T) {
	t.Parallel()
	const rows = 60
	for name, c := range map[string]struct {
		do     func(w *world, list int64)
		undo   func(w *world, list int64) // nil: it is for good
		others State                      // of what had not begun
	}{
		"pause": {
			do: func(w *world, list int64) {
				w.tx(func(tx pgx.Tx) error { return w.adm.Pause(context.Background(), tx, list) })
			},
			undo: func(w *world, list int64) {
				w.tx(func(tx pgx.Tx) error { return w.adm.Resume(context.Background(), tx, list) })
			},
			others: Pending,
		},
		"cancel": {
			do: func(w *world, list int64) {
				w.tx(func(tx pgx.Tx) error { return w.adm.Cancel(context.Background(), tx, list) })
			},
			others: Cancelled,
		},
		"stop of the template": {
			do: func(w *world, _ int64) {
				w.exec(`INSERT INTO stops (scope, target, reason, actor) VALUES ('template', 't1', 'test', 'test')`)
			},
			undo:   func(w *world, _ int64) { w.exec(`UPDATE stops SET lifted_at = now()`) },
			others: Pending,
		},
		"STOP of everybody left": {
			do: func(w *world, list int64) {
				for i := range rows {
					digest, err := w.keyring.PhoneDigest(phoneOf(list, i))
					if err != nil {
						w.t.Fatal(err)
					}
					w.exec(`INSERT INTO opt_outs (digest, source) VALUES ($1, 'call')`, digest[:])
				}
			},
			others: Suppressed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLinesWorld(t)
			list := w.admitToLines(rows)
			far := newLines()
			w.start("a", far.pool(minute))
			w.await("two rounds have begun", func() bool { n, _, _ := far.heard(); return n > threeLines })
			c.do(w, list)
			committed := time.Now()
			w.await("silence", func() bool {
				_, _, last := far.heard()
				return time.Since(committed) > 4*minute && time.Since(last) > 4*minute
			})
			begun, more, last := far.heard()
			took := max(0, last.Sub(committed))
			t.Logf("the last of %d began %s after the commit", begun, took.Round(time.Millisecond))
			if took > biteWithin || begun == rows {
				t.Errorf("the last of %d of %d attempts began %s after the commit, at most %s is allowed", begun, rows, took, biteWithin)
			}
			w.awaitState(list, Delivered, begun) // what had begun went on to its end
			w.awaitState(list, c.others, rows-begun)
			if c.undo != nil {
				c.undo(w, list)
				w.await("it goes on", func() bool { n, _, _ := far.heard(); return n > begun })
			}
			if more != 0 || far.most.Load() != threeLines {
				t.Errorf("%d were reached twice, at most %d lines were busy; want none and %d", more, far.most.Load(), threeLines)
			}
		})
	}
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(context.Background(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

func TestCancelledListEndsWhileEveryLineIsBusy(t *testing.T) {
	t.Parallel()
	w := newLinesWorld(t)
	w.drain = 50 * time.Millisecond
	busy := w.admitToLines(threeLines)
	far := newLines()
	w.start("a", far.pool(time.Hour))
	w.await("every line is busy", func() bool { n, _, _ := far.heard(); return n == threeLines })
	list := w.admitToLines(8)
	w.tx(func(tx pgx.Tx) error { return w.adm.Cancel(t.Context(), tx, list) })
	cancelled := time.Now()
	w.awaitState(list, Cancelled, 8)
	t.Logf("cancelled to its end in %s", time.Since(cancelled).Round(time.Millisecond))
	if s := w.states(busy); s[Pending] != threeLines {
		t.Errorf("states %v of the list whose attempts are under way", s)
	}
}

func TestThreeLongLinesFinishInTheDrainOrAreLeftUncertain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain     time.Duration
		uncertain int
	}{"time enough": {10 * time.Second, 0}, "longer than the drain": {50 * time.Millisecond, threeLines}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLinesWorld(t)
			list := w.admitToLines(12)
			far := newLines()
			w.drain = c.drain
			core := w.core("a")
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			lasts := minute
			if c.uncertain > 0 {
				lasts = time.Hour
			}
			go func() { done <- core.Run(ctx, []Pool{far.pool(lasts)}) }()
			w.await("three have begun", func() bool { n, _, _ := far.heard(); return n == threeLines })
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			begun, _, _ := far.heard()
			if n := w.int(`SELECT count(*) FROM attempts WHERE state = 2`); n != c.uncertain || w.int(`SELECT count(*) FROM leases`) != 0 {
				t.Errorf("%d of %d are uncertain after the stop, want %d and no lease", n, begun, c.uncertain)
			}
			w.start("b", far.pool(minute))
			w.awaitState(list, Delivered, 12)
			far.onlyMarkedTwice(t, 12, c.uncertain)
		})
	}
}

func TestThreeLongLinesAreTakenOverFromAHolderThatGoesOn(t *testing.T) {
	t.Parallel()
	w := newLinesWorld(t)
	list := w.admitToLines(12)
	far := newLines()
	w.start("a", far.pool(5*time.Second)) // longer than its next renewal is away
	w.await("three have begun", func() bool { n, _, _ := far.heard(); return n == threeLines })
	w.expireHolder()
	w.start("b", far.pool(minute))
	w.await("the pool is b's", func() bool {
		return w.int(`SELECT count(*) FROM pool_holders h JOIN pools p ON p.no = h.pool WHERE p.name = 'p2' AND h.process = 'b'`) == 1 ||
			func() bool { w.expireHolder(); return false }()
	})
	w.awaitState(list, Delivered, 12)
	far.onlyMarkedTwice(t, 12, threeLines)
}

// onlyMarkedTwice finds everybody reached, and nobody twice but what was marked as a possible second.
func (l *lines) onlyMarkedTwice(t *testing.T, rows, most int) {
	t.Helper()
	reached, more, _ := l.heard()
	if reached != rows || more > most {
		t.Errorf("%d of %d were reached, %d of them twice; at most %d may be", reached, rows, more, most)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, times := range l.began {
		if len(times) > 1 && !l.again[id] {
			t.Errorf("%s was reached %d times, and nothing says so", id, len(times))
		}
	}
}

// TestThreeLongLinesSurviveKillsAtEveryPoint is the crash test of the third channel: the process is one of its own, killed with kill -9
// at each named point; what its far side heard is in a file.
func TestThreeLongLinesSurviveKillsAtEveryPoint(t *testing.T) {
	t.Parallel()
	w := newLinesWorld(t)
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w.keyring = citizen.NewKeyring(keys, 100)
	exported, err := keys.Export()
	if err != nil {
		t.Fatal(err)
	}
	heard := t.TempDir() + "/heard"
	const rows = 45
	list := w.admitToLines(rows)
	run := func(kill string) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "EKC_TEST_LINES="+heard, "EKC_TEST_DB="+w.url, "EKC_TEST_KEYS="+string(exported), "EKC_TEST_KILL="+kill)
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() })
		return c
	}
	points := []Point{PointClaimed, PointStarted, PointAnswered, PointRecording, PointRecorded}
	for _, p := range points {
		killed := run(string(p) + ":2")
		_ = killed.Wait()
		if killed.ProcessState.Exited() {
			t.Fatalf("at %s the process ended by itself: %s", p, killed.ProcessState)
		}
	}
	last := run("")
	w.awaitState(list, Delivered, rows)
	_ = last.Process.Kill()
	_ = last.Wait()
	text, err := os.ReadFile(heard)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(text)) {
		times[strings.TrimSpace(line)]++
	}
	doubles := 0
	for _, id := range slices.Sorted(maps.Keys(times)) {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		doubles += times[id] - 1
		if times[id] > 1 && w.int(`SELECT count(*) FROM attempts WHERE notification = $1 AND state = 2`, n) == 0 {
			t.Errorf("%s was reached %d times, and nothing in history says that it was uncertain", NotificationID(n), times[id])
		}
	}
	t.Logf("%d rows, %d kills: %d reached, %d of them twice, %d marked uncertain", rows, len(points), len(times), doubles,
		w.int(`SELECT count(DISTINCT notification) FROM attempts WHERE state = 2`))
	if len(times) != rows || doubles > len(points)*lineUnrecorded {
		t.Errorf("%d of %d were reached, %d of them twice; at most %d may be", len(times), rows, doubles, len(points)*lineUnrecorded)
	}
	if n := w.int(`SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM leases)`); n != 0 {
		t.Errorf("%d rows are left in outbox and leases", n)
	}
}

// TestMain lets a copy of the test be the process that is killed.
func TestMain(m *testing.M) {
	heard := os.Getenv("EKC_TEST_LINES")
	if heard == "" {
		os.Exit(m.Run())
	}
	if err := linesProcess(heard); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// linesProcess holds the pool until it is killed.
func linesProcess(heard string) error {
	ctx := context.Background()
	keys, err := citizen.LoadKeyset(os.Getenv("EKC_TEST_KEYS"))
	if err != nil {
		return err
	}
	file, err := os.OpenFile(heard, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	open := func(pin bool) (db *pgxpool.Pool, err error) {
		return postgres.Open(ctx, postgres.Config{URL: os.Getenv("EKC_TEST_DB"), MaxConns: 4, PinPlans: pin})
	}
	db, err := open(false)
	if err != nil {
		return err
	}
	hot, err := open(true)
	if err != nil {
		return err
	}
	rules := Rules{Window: alwaysOpen, GiveUp: time.Hour, UncertainWait: 100 * time.Millisecond,
		Retry: func(Reason, int) (time.Duration, bool) { return 10 * time.Millisecond, true }}
	point, count, _ := strings.Cut(os.Getenv("EKC_TEST_KILL"), ":")
	most, _ := strconv.ParseInt(count, 10, 64)
	var passed, busy atomic.Int64
	core := New(Config{DB: db, Hot: hot, Journal: journal.NewWriter(), Keyring: citizen.NewKeyring(keys, 100), Rules: func() *Rules { return &rules },
		Routes:  func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "p2", channel == "pigeon" },
		Process: "the same", // its successor need not wait until its lease is over: it is dead
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Reached: func(p Point) {
			if string(p) == point && passed.Add(1) == most {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}})
	return core.Run(ctx, []Pool{linesPool(minute/10, func(a *Attempt) { _, _ = fmt.Fprintln(file, int64(a.ID)) }, &busy)})
}
