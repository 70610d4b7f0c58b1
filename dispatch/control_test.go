package dispatch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// flow is a channel's traffic: when each list's rows left.
type flow struct {
	mu   sync.Mutex
	last map[int64]time.Time
	sent map[int64]int
	to   map[NotificationID]time.Time
}

func newFlow() *flow {
	return &flow{last: map[int64]time.Time{}, sent: map[int64]int{}, to: map[NotificationID]time.Time{}}
}

func (f *flow) put(a *Attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.last[a.ID.List()] = now
	f.sent[a.ID.List()]++
	f.to[a.ID] = now
}

func (f *flow) of(list int64) (n int, last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent[list], f.last[list]
}

// biteWithin is what the contract allows, times what a busy machine may need.
const biteWithin = 3 * 2 * time.Second

func TestWhatHoldsAListBackBitesInMidRun(t *testing.T) {
	t.Parallel()
	const agency = "0001.000001"
	stop := func(scope StopScope, target string) func(*world, int64) {
		return func(w *world, list int64) {
			if scope == StopList {
				target = fmt.Sprint(list)
			}
			_, err := w.db.Exec(context.Background(), `INSERT INTO stops (scope, target, reason, actor) VALUES ($1, $2, 'test', 'test')`, string(scope), target)
			if err != nil {
				w.t.Error(err)
			}
		}
	}
	cases := []struct {
		name   string
		do     func(*world, int64)
		others bool // another agency's list goes on
	}{
		{"stop all", stop(StopAll, ""), false},
		{"stop channel", stop(StopChannel, "sms"), false},
		{"stop pool", stop(StopPool, "p1"), false},
		{"stop link", stop(StopLink, "l1"), false},
		{"stop agency", stop(StopAgency, agency), true},
		{"stop template", stop(StopTemplate, "t1"), true},
		{"stop life event", stop(StopLifeEvent, "e1"), true},
		{"stop list", stop(StopList, ""), true},
		{"pause", func(w *world, list int64) {
			w.tx(func(tx pgx.Tx) error { return w.adm.Pause(context.Background(), tx, list) })
		}, true},
		{"cancel", func(w *world, list int64) {
			w.tx(func(tx pgx.Tx) error { return w.adm.Cancel(context.Background(), tx, list) })
		}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			list := w.admit(admit{agency: agency, rows: 3000, lane: LaneBulk, edit: func(_ int, r *Row) { r.Template, r.LifeEvent = "t1", "e1" }})
			other := w.admit(admit{agency: "0002.000002", rows: 3000, lane: LaneBulk})
			f := newFlow()
			var desk Desk
			p := w.pool(newFakeWire(), func(a *Attempt) Result {
				if desk.Stopped("l1") {
					return Result{Attempt: a, Verdict: VerdictWithheld}
				}
				f.put(a)
				time.Sleep(time.Millisecond) // the pace of the wire
				return Result{Attempt: a, Verdict: VerdictDelivered, Link: "l1", At: time.Now()}
			})
			open := p.Open
			p.Open = func(d Desk) Channel { desk = d; return open(d) }
			w.start("a", p)
			w.await("both lists are under way", func() bool {
				n, _ := f.of(list)
				m, _ := f.of(other)
				return n > 50 && m > 50
			})
			c.do(w, list)
			committed := time.Now()
			w.await("silence", func() bool {
				_, last := f.of(list)
				return time.Since(committed) > time.Second && time.Since(last) > time.Second
			})
			n, last := f.of(list)
			took := max(0, last.Sub(committed))
			t.Logf("the last row left %s after the commit", took.Round(time.Millisecond))
			if took > biteWithin {
				t.Errorf("the last row left %s after the commit, at most %s is allowed", took, biteWithin)
			}
			if n == 3000 {
				t.Error("the list was over before it could be held back: the test shows nothing")
			}
			if _, last := f.of(other); c.others && last.Before(committed.Add(500*time.Millisecond)) {
				t.Error("the other agency's list was held back too")
			}
			if m, last := f.of(other); !c.others && m < 3000 && last.Sub(committed) > biteWithin {
				t.Error("what holds everything back did not hold the other list")
			}
		})
	}
}

func TestOptOutBitesAfterTheClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.admit(admit{rows: 3})
	d, ch := w.deskOf("a")
	if n := w.claim(d); n != 3 {
		t.Fatalf("%d rows were claimed, want 3", n)
	}
	attempts := ch.takeAll()
	digest, err := w.keyring.PhoneDigest(attempts[1].To)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), `INSERT INTO opt_outs (digest, scope, source) VALUES ($1, '0001.000001', 'sms')`, digest[:]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	committed := time.Now()
	go d.control.keep(ctx)
	w.await("the refusal is known", func() bool { return !d.Allowed(attempts[1]) })
	t.Logf("known %s after the commit", time.Since(committed).Round(time.Millisecond))
	if took := time.Since(committed); took > biteWithin {
		t.Errorf("known after %s, at most %s is allowed", took, biteWithin)
	}
	if !d.Allowed(attempts[0]) || !d.Allowed(attempts[2]) {
		t.Error("one citizen's refusal held back the others")
	}
	d.Settle([]Result{{Attempt: attempts[1], Verdict: VerdictWithheld}})
	w.mustRecord(d)
	w.await("the row ends as suppressed", func() bool {
		w.claim(d)
		w.mustRecord(d)
		return w.states(list)[Suppressed] == 1
	})
}

func TestNothingLeavesOnAnOldPictureOfTheStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 3})
	d, ch := w.deskOf("a")
	if n := w.claim(d); n != 3 {
		t.Fatalf("%d rows were claimed, want 3", n)
	}
	a := ch.takeAll()[0]
	if !d.Allowed(a) || d.Stopped("l1") {
		t.Fatal("with a fresh picture the row may leave")
	}
	old := *d.control.snap.Load()
	old.asked = old.asked.Add(-staleAfter - time.Millisecond)
	d.control.snap.Store(&old)
	if d.Allowed(a) {
		t.Error("the stops could not be read for too long, and a row may still leave")
	}
	if !d.Stopped("l1") {
		t.Error("the stops could not be read for too long, and the link still counts as free")
	}
	w.admit(admit{rows: 3})
	turn := 0
	if n, err := d.claimOnce(t.Context(), []int16{LaneNormal}, &turn, 1); n != 0 || err != nil {
		t.Errorf("%d rows were claimed on an old picture (%v)", n, err)
	}
	if staleAfter+refreshEvery > 2*time.Second {
		t.Errorf("a stop may bite %s late, at most 2 s is promised", staleAfter+refreshEvery)
	}
}

func TestAttemptThatWaitedTooLongIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := newSimClock(time.Now())
	w.now = clock.now
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	a := ch.takeAll()[0]
	clock.set(clock.now().Add(recentOptOuts/2 + time.Second))
	if d.Allowed(a) {
		t.Error("refusals older than the refresh looks back were not asked for, and the row may still leave")
	}
}

func TestStopPauseAndCancelBiteAfterTheClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.admit(admit{rows: 1, lane: LaneNormal, edit: func(_ int, r *Row) { r.Template, r.LifeEvent = "t1", "e1" }})
	d, ch := w.deskOf("a")
	w.claim(d)
	a := ch.takeAll()[0]
	steps := map[string][2]string{ // what comes between, and what takes it back
		"pause":  {`UPDATE runs SET state = 'paused'`, `UPDATE runs SET state = 'active'`},
		"cancel": {`UPDATE runs SET state = 'cancelling'`, `UPDATE runs SET state = 'active'`},
	}
	for scope, target := range map[StopScope]string{StopAll: "", StopAgency: "0001.000001", StopChannel: "sms", StopPool: "p1",
		StopTemplate: "t1", StopLifeEvent: "e1", StopList: fmt.Sprint(list)} {
		steps["stop "+string(scope)] = [2]string{fmt.Sprintf(`INSERT INTO stops (scope, target, reason, actor) VALUES ('%s', '%s', 'test', 'test')`, scope, target),
			`UPDATE stops SET lifted_at = now()`}
	}
	for name, sql := range steps {
		if w.refresh(d); !d.Allowed(a) {
			t.Fatalf("%s: the row may not leave before it", name)
		}
		for i, s := range sql {
			if _, err := w.db.Exec(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if w.refresh(d); d.Allowed(a) != (i == 1) {
				t.Errorf("%s: allowed is %t, step %d", name, i == 0, i)
			}
		}
	}
}
