package dispatch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func TestCommitInDoubtIsLookedUpBeforeItIsDoneAgain(t *testing.T) {
	t.Parallel()
	srv := postgrestest.Durable(t)
	w := newWorldOn(t, srv.URL())
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	d.Settle([]Result{{Attempt: ch.takeAll()[0], Verdict: VerdictTemporary, Reason: "queue_full", Link: "l1", At: time.Now()}})
	// A commit that waits for a standby which never comes is durable already; its answer is what the kill swallows.
	for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = 'nobody'`, `SELECT pg_reload_conf()`} {
		if _, err := w.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	// The setting takes effect when the checkpointer has read it: from the first commit that waits.
	probing := make(chan struct{})
	go func() {
		defer close(probing)
		for err := error(nil); err == nil; {
			_, err = w.db.Exec(context.Background(), `INSERT INTO followers (name) VALUES (gen_random_uuid()::text)`)
		}
	}()
	waiting := func(n int) func() bool {
		return func() bool { return w.int(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`) >= n }
	}
	w.await("a commit waits", waiting(1))
	recorded := make(chan error, 1)
	go func() { recorded <- w.record(d) }()
	w.await("the recorder's commit waits too", waiting(2))
	if _, err := w.db.Exec(t.Context(), `ALTER SYSTEM RESET synchronous_standby_names`); err != nil {
		t.Fatal(err)
	}
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // the recorder asks meanwhile, and nobody answers
	if err := srv.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-probing
	if err := <-recorded; err != nil {
		t.Fatal(err)
	}
	if n := w.int(`SELECT count(*) FROM outbox`); n != 1 {
		t.Errorf("%d rows wait to be tried again, want the one", n)
	}
	if n := w.int(`SELECT count(*) FROM attempts`); n != 1 {
		t.Errorf("%d attempts are written down, want the one", n)
	}
}

func TestSegmentReceiptIsStoredAlsoAtTheSecondTry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	d.Settle([]Result{accepted(ch.takeAll()[0], "s1", "s2")})
	w.mustRecord(d)
	d.Receipts([]Receipt{receiptOf("s1", AttemptDelivered)}, func(error) {})
	all := d.heard.collect()
	plan := d.heard.plan(all, false, false)
	away := errors.New("the database went away")
	if err := postgres.InTx(t.Context(), d.hot, func(tx pgx.Tx) error {
		if err := plan.write(t.Context(), tx, all); err != nil {
			return err
		}
		return away
	}); !errors.Is(err, away) {
		t.Fatal(err)
	}
	d.heard.over(plan)
	if _, err := d.heard.write(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if n := w.int(`SELECT count(*) FROM attempts WHERE state = 7 AND segment = 1`); n != 1 {
		t.Errorf("the receipt was acknowledged and is written down %d times, want once", n)
	}
}

func TestReceiptForWhatIsHeldTakesItOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.admit(admit{rows: 1, lane: LaneNormal, onUncertain: "hold"})
	var desk Desk
	p := w.pool(newFakeWire(), func(a *Attempt) Result {
		return Result{Attempt: a, Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}
	})
	open := p.Open
	p.Open = func(d Desk) Channel { desk = d; return open(d) }
	w.start("a", p)
	w.await("held", func() bool { return w.int(`SELECT count(*) FROM outbox WHERE due_at > '9000-01-01'`) == 1 })
	stored := make(chan error, 1)
	desk.Receipts([]Receipt{{Link: "l1", MessageID: "lost", State: AttemptDelivered, To: phoneOf(list, 0)}}, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	w.awaitState(list, Delivered, 1)
	if n := w.int(`SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM uncertain)`); n != 0 {
		t.Error("the row still waits for a person, or for another receipt")
	}
}

func TestWhatALinkGivesBackIsNotClaimedInAHurry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 5, lane: LaneNormal})
	w.start("a", w.pool(newFakeWire(), func(a *Attempt) Result { return Result{Attempt: a, Verdict: VerdictWithheld} }))
	w.await("claims", func() bool { return w.int(`SELECT count(*) FROM journal WHERE kind = 'batch.claimed'`) > 0 })
	before := w.int(`SELECT count(*) FROM journal WHERE kind = 'batch.claimed'`)
	time.Sleep(2 * time.Second) // what is counted is a rate
	if n := w.int(`SELECT count(*) FROM journal WHERE kind = 'batch.claimed'`) - before; n > 30 {
		t.Errorf("%d claims in two seconds of rows that no link takes", n)
	}
}

func TestCommitInDoubtIsNotTakenForAnothersUnderTheSameNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	d.Settle([]Result{accepted(ch.takeAll()[0], "m1")})
	w.recording(d)()
	var plan writing
	if err := w.db.QueryRow(t.Context(), `SELECT max(first_id) FROM journal`).Scan(&plan.firstEntry); err != nil {
		t.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT pg_current_xact_id()::text`).Scan(&plan.xid)
	})
	if done, known := plan.happened(t.Context(), d); !done || !known {
		t.Errorf("committed, its entry is there: done %t, known %t", done, known)
	}
	plan.firstEntry++ // after a crash that lost it, the server gave its number to another transaction
	if done, known := plan.happened(t.Context(), d); done || !known {
		t.Errorf("committed, but another's: done %t, known %t", done, known)
	}
}

func TestWhatAPersonDecidedIsOfOneAttemptOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.UncertainWait = time.Nanosecond
	w.admit(admit{rows: 1, lane: LaneNormal, onUncertain: "hold"})
	d, ch := w.deskOf("a")
	lost := func() {
		t.Helper()
		attempts := ch.takeAll()
		if len(attempts) != 1 {
			t.Fatalf("%d attempts, want one", len(attempts))
		}
		d.Settle([]Result{{Attempt: attempts[0], Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}})
		w.mustRecord(d)
	}
	w.claim(d)
	lost()
	if _, err := w.db.Exec(t.Context(), `UPDATE uncertain SET decided = true`); err != nil { // a person says: send it again
		t.Fatal(err)
	}
	w.await("it is sent again", func() bool { return w.claim(d) == 1 })
	lost()
	w.await("it is looked at again", func() bool { return w.claim(d) == 1 })
	if n := len(ch.takeAll()); n != 0 {
		t.Error("it left a third time, and nobody has said so")
	}
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outbox WHERE due_at > '9000-01-01'`); n != 1 {
		t.Errorf("%d rows are held for a person, want the one", n)
	}
}

func TestCancelledRunStaysDueWhileItHasRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.admit(admit{rows: 2, lane: LaneNormal})
	d, _ := w.deskOf("a")
	run := int32(w.int(`SELECT id FROM runs`))
	if _, err := w.db.Exec(t.Context(), `UPDATE outbox SET due_at = $1`, held); err != nil {
		t.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error { return w.adm.Cancel(t.Context(), tx, list) })
	d.empty = []int32{run} // a claim before the cancel had found nothing due
	if err := d.sleepRuns(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.int(`SELECT count(*) FROM runs WHERE next_due = '-infinity' AND state = 'cancelling'`); n != 1 {
		t.Error("the run sleeps until its held rows are due, in the year 9999, instead of ending them")
	}
}
