package dispatch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// simClock is a clock that stands still until it is moved.
type simClock struct{ at atomic.Int64 }

func newSimClock(at time.Time) *simClock {
	c := &simClock{}
	c.set(at)
	return c
}

func (c *simClock) set(at time.Time) { c.at.Store(at.UnixNano()) }
func (c *simClock) now() time.Time   { return time.Unix(0, c.at.Load()).UTC() }

// handChannel only keeps what it is given: the test says what becomes of it.
type handChannel struct {
	mu      sync.Mutex
	room    int
	started []*Attempt
}

func (c *handChannel) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, c.room-len(c.started))
}

func (c *handChannel) Start(attempts []*Attempt) {
	c.mu.Lock()
	c.started = append(c.started, attempts...)
	c.mu.Unlock()
}

// takeAll hands over what was started since it was last called.
func (c *handChannel) takeAll() []*Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.started
	c.started = nil
	return all
}

// deskOf takes pool p1 for process and returns its desk, with nothing running: the test makes each step itself.
func (w *world) deskOf(process string) (*desk, *handChannel) {
	w.t.Helper()
	return w.deskOn("p1", process)
}

func (w *world) deskOn(pool, process string) (*desk, *handChannel) {
	w.t.Helper()
	core := w.core(process)
	hold, err := take(w.t.Context(), w.db, pool, process)
	if err != nil || hold == nil {
		w.t.Fatal(hold, err)
	}
	d, err := core.newDesk(w.t.Context(), Pool{Name: pool, Channel: "sms", Unrecorded: 400}, hold, core.Log)
	if err != nil {
		w.t.Fatal(err)
	}
	ch := &handChannel{room: 1000}
	d.ch = handRunner{ch}
	w.refresh(d)
	return d, ch
}

func (w *world) refresh(d *desk) {
	w.t.Helper()
	if err := d.control.refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// claim makes one claim of lanes 1 and 2 and returns how many rows it took.
func (w *world) claim(d *desk) int {
	w.t.Helper()
	w.refresh(d)
	turn := 0
	n, err := d.claimOnce(w.t.Context(), []int16{LaneNormal, LaneBulk}, &turn, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// record makes one recording transaction of what was settled and one of what was received, and keeps what has to wait for the next.
func (w *world) record(d *desk) error {
	var failed error
	for _, r := range []*recorder{d.rec, d.heard} {
		all := r.collect()
		if all.size() == 0 {
			continue
		}
		again, err := r.write(w.t.Context(), all)
		r.putBack(again)
		failed = errors.Join(failed, err)
	}
	return failed
}

func (w *world) mustRecord(d *desk) {
	w.t.Helper()
	if err := w.record(d); err != nil {
		w.t.Fatal(err)
	}
}

func accepted(a *Attempt, ids ...string) Result {
	r := Result{Attempt: a, Verdict: VerdictAccepted, Link: "l1", At: time.Now()}
	for _, id := range ids {
		r.Parts = append(r.Parts, Part{MessageID: id, State: AttemptAccepted})
	}
	return r
}

func receiptOf(id string, s AttemptState) Receipt {
	return Receipt{Link: "l1", MessageID: id, State: s}
}

// handRunner makes a handChannel a Channel; nobody runs it.
type handRunner struct{ *handChannel }

func (handRunner) Run(context.Context) error { return nil }
