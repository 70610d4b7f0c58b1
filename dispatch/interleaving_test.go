package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
)

// withPigeons registers the pool of the second channel.
func (w *world) withPigeons() {
	w.t.Helper()
	if err := EnsurePool(w.t.Context(), w.db, "p2", "pigeon", []string{"loft"}); err != nil {
		w.t.Fatal(err)
	}
}

func TestReceiptOfAFailureTwiceMovesToTheNextChannelOnce(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{true, false} {
		w := newWorld(t)
		w.withPigeons()
		w.admit(admit{rows: 1, lane: LaneNormal, channels: []string{"sms", "pigeon"}})
		d, ch := w.deskOf("a")
		w.claim(d)
		d.Settle([]Result{accepted(ch.takeAll()[0], "m1")})
		w.mustRecord(d)
		ignore := func(error) {}
		d.Receipts([]Receipt{receiptOf("m1", AttemptUndelivered)}, ignore)
		if !together {
			w.mustRecord(d)
		}
		d.Receipts([]Receipt{receiptOf("m1", AttemptUndelivered)}, ignore)
		if err := w.record(d); err != nil {
			t.Errorf("together %t: %v", together, err)
			continue
		}
		if n := w.int(`SELECT count(*) FROM outbox`); n != 1 {
			t.Errorf("together %t: %d rows wait for the next channel, want 1", together, n)
		}
	}
}

func TestRunThatGetsARowFromAnotherPoolDoesNotFallAsleepOverIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withPigeons()
	w.admit(admit{rows: 2, lane: LaneNormal, channels: []string{"sms", "pigeon"}})
	d, ch := w.deskOf("a")
	w.claim(d)
	attempts := ch.takeAll()
	failed := func(a *Attempt) Result {
		return Result{Attempt: a, Verdict: VerdictPermanent, Reason: "invalid_number", Link: "l1", At: time.Now()}
	}
	d.Settle([]Result{failed(attempts[0])})
	w.mustRecord(d)
	next := w.int(`SELECT id FROM runs WHERE channel = 'pigeon'`)
	if _, err := w.db.Exec(t.Context(), `DELETE FROM outbox WHERE run = $1`, next); err != nil { // its holder has dealt with the first
		t.Fatal(err)
	}
	// The second is recorded; before the commit the other pool's housekeeping looks at the run.
	d.Settle([]Result{failed(attempts[1])})
	all := d.rec.collect()
	plan := d.rec.plan(all, false, false)
	defer d.rec.over(plan)
	house := make(chan error, 1)
	err := postgres.InTx(t.Context(), d.hot, func(tx pgx.Tx) error {
		if err := plan.write(t.Context(), tx, all); err != nil {
			return err
		}
		other := &desk{db: w.db, runs: map[int32]*run{}, empty: []int32{int32(next)}}
		go func() { house <- other.sleepRuns(context.Background()) }()
		select {
		case err := <-house:
			house <- err
		case <-time.After(300 * time.Millisecond):
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-house; err != nil {
		t.Fatal(err)
	}
	if n := w.int(`SELECT count(*) FROM runs r JOIN outbox o ON o.run = r.id WHERE r.id = $1 AND r.state = 'active' AND r.next_due <= o.due_at`, next); n != 1 {
		t.Error("the row waits for ever in a run that is asleep or done")
	}
}

func TestHouseForgettingARunDoesNotStopAClaimOfIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 3})
	d, _ := w.deskOf("a")
	due, err := d.dueRuns(t.Context(), []int16{LaneNormal})
	if err != nil || len(due) != 1 {
		t.Fatal(due, err)
	}
	d.mu.Lock()
	delete(d.runs, due[0].id) // what sleepRuns does when it was empty a moment ago
	d.mu.Unlock()
	rows, err := d.take(t.Context(), []pick{{run: due[0], limit: 10}})
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	attempts, _, err := d.judge(t.Context(), rows, d.control.fresh(), d.rules(), time.Now())
	if err != nil || len(attempts) != 3 {
		t.Fatal(attempts, err)
	}
	d.putBack(rows)
	if r := d.run(due[0].id); r == nil || r.claimed != 0 {
		t.Errorf("the run's count of claimed rows is wrong: %+v", r)
	}
}

func TestCancelEndsWhatIsHeldForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.admit(admit{rows: 2, onUncertain: "hold"})
	w.start("a", w.pool(newFakeWire(), func(a *Attempt) Result {
		return Result{Attempt: a, Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}
	}))
	w.await("two held", func() bool { return w.int(`SELECT count(*) FROM outbox WHERE due_at > '9000-01-01'`) == 2 })
	before := w.int(`SELECT coalesce(sum(count), 0) FROM journal WHERE kind = 'attempt'`)
	w.tx(func(tx pgx.Tx) error { return w.adm.Cancel(t.Context(), tx, list) })
	deadline := time.Now().Add(3 * time.Second)
	for w.states(list)[Cancelled] < 2 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if s := w.states(list); s[Cancelled] != 2 {
		t.Errorf("states %v, want two cancelled", s)
	}
	if n := w.int(`SELECT coalesce(sum(count), 0) FROM journal WHERE kind = 'attempt'`) - before; n > 10 {
		t.Errorf("%d entries were written in three seconds about two rows that do not move", n)
	}
}

func TestPauseAndCancelHoldTheNextChannelOfWhatWasSentBefore(t *testing.T) {
	t.Parallel()
	for _, cancel := range []bool{false, true} {
		w := newWorld(t)
		w.withPigeons()
		list := w.admit(admit{rows: 1, lane: LaneNormal, channels: []string{"sms", "pigeon"}})
		d, ch := w.deskOf("a")
		w.claim(d)
		d.Settle([]Result{accepted(ch.takeAll()[0], "m1")})
		w.mustRecord(d)
		w.claim(d) // finds nothing
		if err := d.sleepRuns(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.tx(func(tx pgx.Tx) error {
			if cancel {
				return w.adm.Cancel(t.Context(), tx, list)
			}
			return w.adm.Pause(t.Context(), tx, list)
		})
		if cancel {
			w.claim(d)
			if err := d.sleepRuns(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		d.Receipts([]Receipt{receiptOf("m1", AttemptUndelivered)}, func(error) {})
		w.mustRecord(d)
		if n := w.int(`SELECT count(*) FROM runs r JOIN outbox o ON o.run = r.id WHERE r.state = 'active'`); n != 0 {
			t.Errorf("cancel %t: %d rows of the list are about to leave by the next channel", cancel, n)
		}
		if !cancel {
			w.tx(func(tx pgx.Tx) error { return w.adm.Resume(t.Context(), tx, list) })
			if n := w.int(`SELECT count(*) FROM runs r JOIN outbox o ON o.run = r.id WHERE r.state = 'active'`); n != 1 {
				t.Error("after the pause the next channel does not go on")
			}
		}
	}
}

func TestDestroyedKeyOfOneListStopsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := w.admit(admit{rows: 3})
	if err := w.keyring.DestroyKey(t.Context(), w.db, int64(w.int(`SELECT data_key FROM runs`))); err != nil {
		t.Fatal(err)
	}
	good := w.admit(admit{rows: 3, agency: "0002.000002"})
	w.start("a", w.pool(newFakeWire(), nil))
	w.awaitState(good, Delivered, 3)
	w.awaitState(bad, Refused, 3)
}

func TestKeyThatCannotBeOpenedHoldsItsListAndNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	locked := w.admit(admit{rows: 3})
	own := w.int(`SELECT data_key FROM runs`)
	dead, _ := w.deskOf("dead") // and the process died that could open it
	if n := w.claim(dead); n != 3 {
		t.Fatalf("%d rows were claimed, want 3", n)
	}
	w.expireHolder()
	// The list's own key is open in this process, which has just sealed with it.
	if _, err := w.db.Exec(t.Context(), `WITH k AS (INSERT INTO data_keys (scope, wrapped) VALUES ('foreign', 'wrapped by another key set') RETURNING id)
		UPDATE runs SET data_key = (SELECT id FROM k)`); err != nil {
		t.Fatal(err)
	}
	good := w.admit(admit{rows: 3, agency: "0002.000002"})
	stop := w.start("a", w.pool(newFakeWire(), nil))
	w.awaitState(good, Delivered, 3)
	if n := w.int(`SELECT count(*) FROM attempts WHERE state = 2`); n != 3 || w.states(locked)[Pending] != 3 {
		t.Errorf("%d rows are marked, states %v; want three that may have left and wait", n, w.states(locked))
	}
	stop()
	if _, err := w.db.Exec(t.Context(), `UPDATE runs SET data_key = $1 WHERE list_no = $2`, own, locked); err != nil {
		t.Fatal(err)
	}
	w.start("b", w.pool(newFakeWire(), nil)) // with the right key set
	w.awaitState(locked, Delivered, 3)
}

func TestCancelJustBeforeTheNightIsNotSleptThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.Window = nineToNine
	clock := newSimClock(time.Date(2026, 3, 10, 19, 0, 0, 0, time.UTC))
	w.now = clock.now
	list := w.admit(admit{rows: 3})
	d, _ := w.deskOf("a")
	due, err := d.dueRuns(t.Context(), []int16{LaneNormal})
	if err != nil || len(due) != 1 {
		t.Fatal(due, err)
	}
	w.tx(func(tx pgx.Tx) error { return w.adm.Cancel(t.Context(), tx, list) }) // between the look at the run and its going to sleep
	d.ready(t.Context(), due[0], d.control.fresh(), d.rules(), clock.now())
	if n := w.int(`SELECT count(*) FROM runs WHERE next_due <= $1`, clock.now()); n != 1 {
		t.Error("the cancelled run sleeps until the morning")
	}
}

func TestUrgentRowsDoNotLendTheirWiderWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 2, lane: LaneNormal, edit: func(i int, r *Row) { r.WideWindow = i == 0 }})
	if n := w.int(`SELECT count(*) FROM runs`); n != 2 {
		t.Errorf("%d runs for an urgent and a normal row, want one each", n)
	}
}

func TestResponseRightAfterItsTimeoutIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	a := ch.takeAll()[0]
	late := accepted(a, "m1")
	late.Late = true
	d.Settle([]Result{{Attempt: a, Verdict: VerdictUncertain, Reason: "no_response", Link: "l1", At: time.Now()}, late})
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d rows wait to be sent again, though the far side said that it has the message", n)
	}
	d.Receipts([]Receipt{receiptOf("m1", AttemptDelivered)}, func(error) {})
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 1 {
		t.Error("the receipt did not find its message")
	}
}

func TestTakeoverDoesNotWaitForASettlingTransactionThatIsNotFinished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSenders()
	list := w.admit(admit{rows: 5})
	d, _ := w.deskOf("frozen")
	// The holder is stopped (SIGSTOP) in the middle of a recording transaction, which keeps the pool's lock.
	tx, err := d.hot.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	var b pgx.Batch
	d.hold.queueFence(&b, func(err error) { t.Error(err) })
	if err := tx.SendBatch(t.Context(), &b).Close(); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	w.start("b", s.pool(w, "b"))
	w.awaitState(list, Delivered, 5)
	took := s.first["b"].Sub(frozen)
	t.Logf("the first message %s after the holder froze", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("the pool was taken after %s, at most ten seconds are promised", took)
	}
}

func TestLeaseWhoseCommitWasInDoubtIsClosedOnceNothingOfItIsInHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 2, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	if len(ch.takeAll()) != 2 {
		t.Fatal("nothing was claimed")
	}
	if _, err := w.db.Exec(t.Context(), `INSERT INTO leases (run, pool, fence, ids, first_due, first_id, last_due, last_id)
		VALUES (1, $1, $2, '{42}', now(), 42, now(), 42)`, d.hold.pool, d.hold.fence); err != nil {
		t.Fatal(err)
	}
	if err := d.closeStrays(t.Context(), -time.Second); err != nil {
		t.Fatal(err)
	}
	if n := w.int(`SELECT count(*) FROM leases WHERE 42 = ANY(ids)`); n != 0 {
		t.Error("the stray lease is still there")
	}
	if n := w.int(`SELECT count(*) FROM leases`); n != 1 {
		t.Errorf("%d leases, want the one whose rows are on the wire", n)
	}
}
