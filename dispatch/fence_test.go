package dispatch

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// senders counts what each process sent.
type senders struct {
	mu    sync.Mutex
	sent  map[string]int
	first map[string]time.Time
}

func (s *senders) pool(w *world, process string) Pool {
	return w.pool(newFakeWire(), func(a *Attempt) Result {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sent[process]++; s.sent[process] == 1 {
			s.first[process] = time.Now()
		}
		return Result{Attempt: a, Verdict: VerdictDelivered, Link: "l1", At: time.Now()}
	})
}

func (s *senders) of(process string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[process]
}

func newSenders() *senders { return &senders{sent: map[string]int{}, first: map[string]time.Time{}} }

func TestOneOfTwoProcessesSendsAndTheOtherFollowsAtOnceAfterAStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSenders()
	first := w.admit(admit{rows: 500})
	stopA := w.start("a", s.pool(w, "a"))
	w.await("a sends", func() bool { return s.of("a") > 0 })
	w.start("b", s.pool(w, "b"))
	w.awaitState(first, Delivered, 500)
	second := w.admit(admit{rows: 500})
	w.awaitState(second, Delivered, 500)
	if s.of("a") != 1000 || s.of("b") != 0 {
		t.Errorf("a sent %d and b %d, want all 1000 by the holder", s.of("a"), s.of("b"))
	}
	stopA()
	given := time.Now()
	third := w.admit(admit{rows: 10})
	w.awaitState(third, Delivered, 10)
	if took := s.first["b"].Sub(given); s.of("b") != 10 || took > 3*time.Second {
		t.Errorf("b sent %d, the first %s after the pool was given up", s.of("b"), took)
	}
}

func TestDeadHoldersPoolIsTakenWithinTenSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSenders()
	list := w.admit(admit{rows: 20})
	if hold, err := take(t.Context(), w.db, "p1", "dead"); err != nil || hold == nil {
		t.Fatal(hold, err)
	}
	died := time.Now() // directly after a renewal: the worst case
	w.start("b", s.pool(w, "b"))
	w.awaitState(list, Delivered, 20)
	took := s.first["b"].Sub(died)
	t.Logf("the first message %s after the holder's last renewal", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Error("more than ten seconds")
	}
	if took < writeFor {
		t.Error("the pool was taken while its holder might still write")
	}
}

func TestHolderThatCannotRenewWritesNothingAfterSixSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.admit(admit{rows: 3})
	d, ch := w.deskOf("a")
	for _, c := range []struct {
		name string
		ago  time.Duration
		may  bool
	}{{"just renewed", 0, true}, {"almost six seconds ago", writeFor - 100*time.Millisecond, true}, {"six seconds ago", writeFor, false},
		{"the clock was set back an hour", -time.Hour, false}} {
		d.hold.set(time.Now().Add(-c.ago))
		if d.MayWrite() != c.may {
			t.Errorf("%s: may write is %t", c.name, !c.may)
		}
		if !c.may {
			if n := w.claim(d); n != 0 {
				t.Errorf("%s: %d rows were claimed", c.name, n)
			}
		}
	}
	// A suspended machine: its monotonic clock stood still.
	d.hold.set(time.Now().Round(0).Add(-writeFor))
	if d.MayWrite() {
		t.Error("the wall clock alone says that six seconds have passed, and the holder may still write")
	}
	d.hold.set(time.Now())
	if n := w.claim(d); n != 3 || len(ch.takeAll()) != 3 {
		t.Errorf("renewed again, it claimed %d rows of list %d, want 3", n, list)
	}
	d.hold.lose()
	d.hold.set(time.Now())
	if d.MayWrite() {
		t.Error("a pool that was given up is written to again")
	}
}

func TestRenewalThatFindsAnotherHolderLosesThePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, _ := w.deskOf("a")
	if err := d.hold.renew(t.Context(), w.db); err != nil {
		t.Fatal(err)
	}
	w.expireHolder()
	if other, err := take(t.Context(), w.db, "p1", "b"); err != nil || other == nil || other.fence <= d.hold.fence {
		t.Fatal(other, err)
	}
	if err := d.hold.renew(t.Context(), w.db); !errors.Is(err, ErrFenced) {
		t.Errorf("renewal says %v, want ErrFenced", err)
	}
	d.hold.release(t.Context(), w.db)
	if n := w.int(`SELECT count(*) FROM pool_holders WHERE process = 'b'`); n != 1 {
		t.Error("the old holder took the pool away from the new one when it left")
	}
}

func (w *world) expireHolder() {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), `UPDATE pool_holders SET renewed_at = renewed_at - interval '1 hour'`); err != nil {
		w.t.Fatal(err)
	}
}

// written is what is in the tables that a recorder fills.
func (w *world) written() int {
	return w.int(`SELECT (SELECT count(*) FROM attempts) + (SELECT count(*) FROM outcomes) + (SELECT count(*) FROM uncertain)
		+ (SELECT count(*) FROM orphan_receipts) + (SELECT coalesce(sum(count), 0) FROM journal WHERE kind IN ('attempt', 'outcome'))`)
}

func TestFencedRecorderStoresNothingAndRefusesItsReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 4})
	d, ch := w.deskOf("a")
	w.claim(d)
	attempts := ch.takeAll()
	w.expireHolder()
	if hold, err := take(t.Context(), w.db, "p1", "b"); err != nil || hold == nil {
		t.Fatal(hold, err)
	}
	d.Settle([]Result{accepted(attempts[0], "m0"), {Attempt: attempts[1], Verdict: VerdictUncertain, Link: "l1", At: time.Now()},
		{Attempt: attempts[2], Verdict: VerdictPermanent, Link: "l1", At: time.Now()}, {Attempt: attempts[3], Verdict: VerdictWithheld}})
	answered := make(chan error, 1)
	d.Receipts([]Receipt{receiptOf("m0", AttemptDelivered), receiptOf("nobody's", AttemptDelivered)}, func(err error) { answered <- err })
	if err := w.record(d); !errors.Is(err, ErrFenced) {
		t.Errorf("recording says %v, want ErrFenced", err)
	}
	if err := <-answered; err == nil {
		t.Error("receipts that were not stored were acknowledged")
	}
	if n := w.written(); n != 0 {
		t.Errorf("the fenced recorder wrote %d rows", n)
	}
	if n := w.int(`SELECT (SELECT count(*) FROM outbox) * 10 + (SELECT count(*) FROM leases)`); n != 41 {
		t.Errorf("outbox and leases are %d, want all four rows and the lease in place", n)
	}
	w.admit(admit{rows: 4})
	turn := 0
	if n, err := d.claimOnce(t.Context(), []int16{LaneNormal}, &turn, 1); !errors.Is(err, ErrFenced) || n != 0 || len(ch.takeAll()) != 0 {
		t.Errorf("the fenced process claimed %d rows: %v", n, err)
	}
}
