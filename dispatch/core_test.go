package dispatch

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
)

func TestListIsSentOnceAndExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 3000})
	w.start("a", w.pool(wire, nil))
	w.awaitState(list, Delivered, 3000)
	if phones, sent := wire.count(); phones != 3000 || sent != 3000 {
		t.Errorf("%d messages to %d phones, want 3000 to 3000", sent, phones)
	}
	w.await("leases closed, outbox empty, run done", func() bool {
		return w.int(`SELECT (SELECT count(*) FROM leases) + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM runs WHERE state <> 'done')`) == 0
	})
	if n := w.int(`SELECT sum(count) FROM journal WHERE kind = 'outcome'`); n != 3000 {
		t.Errorf("%d outcome entries, want 3000", n)
	}
	if n := w.int(`SELECT count(*) FROM attempts_default`); n != 0 {
		t.Errorf("%d attempts in the default partition, want 0", n)
	}
}

func TestPausedListHoldsAndResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 500, waiting: true})
	w.start("a", w.pool(wire, nil))
	w.tx(func(tx pgx.Tx) error {
		if err := w.adm.Start(t.Context(), tx, list, time.Time{}); err != nil {
			return err
		}
		return w.adm.Pause(t.Context(), tx, list)
	})
	other := w.admit(admit{rows: 200})
	w.awaitState(other, Delivered, 200)
	if phones, _ := wire.count(); phones != 200 {
		t.Errorf("%d phones were told, want the 200 of the other list only", phones)
	}
	w.tx(func(tx pgx.Tx) error { return w.adm.Resume(t.Context(), tx, list) })
	w.awaitState(list, Delivered, 500)
}

func TestCancelEndsWhatHasNotLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 700, edit: func(i int, r *Row) {
		if i%2 == 0 {
			r.NotBefore = time.Now().Add(time.Hour)
		}
	}, waiting: true})
	w.tx(func(tx pgx.Tx) error {
		if err := w.adm.Start(t.Context(), tx, list, time.Time{}); err != nil {
			return err
		}
		return w.adm.Cancel(t.Context(), tx, list)
	})
	w.start("a", w.pool(wire, nil))
	w.awaitState(list, Cancelled, 700)
	if phones, _ := wire.count(); phones != 0 {
		t.Errorf("%d were told of a cancelled list", phones)
	}
}

func TestKilledHolderLeavesMarkedRowsAndNoneIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 400})
	// A process that claims everything, tells a half, and dies before it records anything.
	told := 0
	deadCh := &fakeChannel{wire: wire, lines: 1000, more: make(chan struct{}, 1)}
	core := w.core("dead")
	hold, err := take(t.Context(), w.db, "p1", "dead")
	if err != nil || hold == nil {
		t.Fatal(hold, err)
	}
	d, err := core.newDesk(t.Context(), Pool{Name: "p1", Channel: "sms", Unrecorded: 400}, hold, core.Log)
	if err != nil {
		t.Fatal(err)
	}
	d.ch = deadCh
	if err := d.control.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	turn := 0
	if _, err := d.claimOnce(t.Context(), []int16{LaneNormal}, &turn, 1); err != nil {
		t.Fatal(err)
	}
	for _, a := range deadCh.queue[:len(deadCh.queue)/2] {
		wire.take(a.To)
		told++
	}
	marked := len(deadCh.queue)
	if marked == 0 {
		t.Fatal("nothing was claimed")
	}
	if _, err := w.db.Exec(t.Context(), `UPDATE pool_holders SET renewed_at = now() - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	w.start("b", w.pool(wire, nil))
	w.awaitState(list, Delivered, 400)
	if n := w.int(`SELECT count(DISTINCT notification) FROM attempts WHERE state = 2`); n != marked {
		t.Errorf("%d are marked uncertain, want the %d that were claimed", n, marked)
	}
	phones, sent := wire.count()
	if phones != 400 || sent != 400+told {
		t.Errorf("%d messages to %d phones, want %d to 400", sent, phones, 400+told)
	}
	if n := w.int(`SELECT count(*) FROM leases`); n != 0 {
		t.Errorf("%d leases stay open", n)
	}
	// The fenced process can write nothing more.
	d.Settle([]Result{{Attempt: deadCh.queue[0], Verdict: VerdictAccepted, Link: "l1", At: time.Now()}})
	if _, err := d.rec.write(t.Context(), d.rec.collect()); err == nil {
		t.Error("a process that lost its pool could still record")
	}
}

func TestLateReceiptSettlesUncertainInsteadOfASecondMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.UncertainWait = 3 * time.Second
	wire := newFakeWire()
	list := w.admit(admit{rows: 3})
	var desk Desk
	p := w.pool(wire, func(a *Attempt) Result {
		id := wire.take(a.To)
		go desk.Receipts([]Receipt{{Link: "l1", MessageID: "lost-" + id, State: AttemptDelivered, To: a.To}}, func(error) {})
		return Result{Attempt: a, Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}
	})
	open := p.Open
	p.Open = func(d Desk) Channel { desk = d; return open(d) }
	w.start("a", p)
	w.awaitState(list, Delivered, 3)
	if _, sent := wire.count(); sent != 3 {
		t.Errorf("%d messages left, want 3: the late receipt says that they arrived", sent)
	}
}

func TestHoldPolicyNeverSendsTheUncertainAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 5, onUncertain: "hold"})
	w.start("a", w.pool(wire, func(a *Attempt) Result {
		wire.take(a.To)
		return Result{Attempt: a, Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}
	}))
	w.await("five held", func() bool { return w.int(`SELECT count(*) FROM outbox WHERE due_at > '9000-01-01'`) == 5 })
	if _, sent := wire.count(); sent != 5 {
		t.Errorf("%d messages left, want 5", sent)
	}
	if have := w.states(list); have[Pending] != 5 {
		t.Errorf("states %v, want all five without an end", have)
	}
}

func TestTemporaryResultsAreTriedAgainByTheRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 4})
	w.start("a", w.pool(wire, func(a *Attempt) Result {
		wire.take(a.To)
		if a.No < 3 && a.ID.Ordinal() < 3 {
			return Result{Attempt: a, Verdict: VerdictTemporary, Reason: "queue_full", Code: "0x14", Link: "l1", At: time.Now()}
		}
		if a.ID.Ordinal() < 3 {
			return Result{Attempt: a, Verdict: VerdictDelivered, Link: "l1", At: time.Now()}
		}
		return Result{Attempt: a, Verdict: VerdictTemporary, Reason: "queue_full", Code: "0x14", Link: "l1", At: time.Now()}
	}))
	w.awaitState(list, Delivered, 2)
	w.awaitState(list, Refused, 2)
	if _, sent := wire.count(); sent != 12 {
		t.Errorf("%d attempts, want 3 for each of 4", sent)
	}
}

func TestPermanentResultTakesTheNextChannelOfThePlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sms, pigeons := newFakeWire(), newFakeWire()
	if err := EnsurePool(t.Context(), w.db, "p2", "pigeon", []string{"loft"}); err != nil {
		t.Fatal(err)
	}
	list := w.admit(admit{rows: 6, channels: []string{"sms", "pigeon"}})
	second := Pool{Name: "p2", Channel: "pigeon", Links: []string{"loft"}, Open: func(d Desk) Channel {
		return &fakeChannel{desk: d, wire: pigeons, lines: 3, more: make(chan struct{}, 1), answer: func(a *Attempt) Result {
			pigeons.take(a.To)
			return Result{Attempt: a, Verdict: VerdictDelivered, Link: "loft", At: time.Now()}
		}}
	}}
	w.start("a", w.pool(sms, func(a *Attempt) Result {
		sms.take(a.To)
		return Result{Attempt: a, Verdict: VerdictPermanent, Reason: "invalid_number", Code: "0x0b", Link: "l1", At: time.Now()}
	}), second)
	w.awaitState(list, Delivered, 6)
	if _, n := pigeons.count(); n != 6 {
		t.Errorf("%d pigeons flew, want 6", n)
	}
}

func TestOptOutCapsGapLandlineAndTermEndOrMoveARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.Gap = time.Hour
	w.rules.PerDay = map[string]int{"sms": 4}
	wire := newFakeWire()
	shared := phoneOf(77, 1)
	landline, err := citizen.ParsePhone("+7 495 123-45-67")
	if err != nil {
		t.Fatal(err)
	}
	refuser := phoneOf(1, 0)
	digest, err := w.keyring.PhoneDigest(refuser)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), `INSERT INTO opt_outs (digest, source) VALUES ($1, 'sms')`, digest[:]); err != nil {
		t.Fatal(err)
	}
	list := w.admit(admit{rows: 6, edit: func(i int, r *Row) {
		switch i {
		case 1, 2:
			r.Content.Phones = []citizen.Phone{shared}
		case 3:
			r.Content.Phones = []citizen.Phone{landline}
		case 4:
			r.ValidUntil = time.Now().Add(-time.Minute)
		}
	}})
	w.start("a", w.pool(wire, nil))
	w.await("the rest of the list ended", func() bool {
		s := w.states(list)
		return s[Suppressed] == 1 && s[Delivered] == 2 && s[Undelivered] == 1 && s[OutOfTime] == 1 && s[Pending] == 1
	})
	if n := w.int(`SELECT count(*) FROM outbox WHERE due_at > now() + interval '50 minutes'`); n != 1 {
		t.Errorf("%d rows wait for the gap, want the second one to the shared phone", n)
	}
	if n := w.int(`SELECT count(*) FROM outcomes WHERE reason = 'opt_out' OR reason = 'landline' OR reason = 'valid_until'`); n != 3 {
		t.Errorf("%d ends have their reason, want 3", n)
	}
}

func TestDayCapHoldsARowUntilTomorrowOrSuppressesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.PerDay = map[string]int{"sms": 2}
	wire := newFakeWire()
	phone := phoneOf(55, 5)
	share := func(until time.Time) admit {
		return admit{rows: 1, lane: LaneNormal, edit: func(_ int, r *Row) {
			r.Content.Phones = []citizen.Phone{phone}
			r.ValidUntil = until
		}}
	}
	w.start("a", w.pool(wire, nil))
	for range 2 {
		w.awaitState(w.admit(share(time.Time{})), Delivered, 1)
	}
	third := w.admit(share(time.Time{}))
	w.awaitState(w.admit(share(time.Now().Add(5*time.Hour))), Suppressed, 1)
	w.await("the third waits for tomorrow", func() bool {
		return w.int(`SELECT count(*) FROM outbox WHERE id >> 24 = $1 AND due_at > now() + interval '23 hours'`, third) == 1
	})
	if n := w.int(`SELECT count(*) FROM outcomes WHERE reason = 'cap'`); n != 1 {
		t.Errorf("%d suppressed by the cap, want 1", n)
	}
	if _, sent := wire.count(); sent != 2 {
		t.Errorf("%d messages to one phone in a day, at most 2 are allowed", sent)
	}
}

func TestUnconfirmedAfterTheGiveUpTimeAndRaisedByALateReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.GiveUp = 300 * time.Millisecond
	wire := newFakeWire()
	list := w.admit(admit{rows: 2})
	var desk Desk
	p := w.pool(wire, func(a *Attempt) Result {
		id := wire.take(a.To)
		return Result{Attempt: a, Verdict: VerdictAccepted, Link: "l1", At: time.Now(), Parts: []Part{{MessageID: id, State: AttemptAccepted}}}
	})
	open := p.Open
	p.Open = func(d Desk) Channel { desk = d; return open(d) }
	w.start("a", p)
	w.awaitState(list, Unconfirmed, 2)
	stored := make(chan error, 1)
	desk.Receipts([]Receipt{{Link: "l1", MessageID: "m1", State: AttemptDelivered}}, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	w.awaitState(list, Delivered, 1)
	if n := w.int(`SELECT sequence FROM outcomes WHERE state = 10`); n != 3 {
		t.Errorf("sequence %d after accepted, unconfirmed, delivered; want 3", n)
	}
}

func TestReceiptMayComeBeforeItsResponseTwiceAndForSegments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 1})
	desks := make(chan Desk, 2)
	var desk Desk
	p := w.pool(wire, func(a *Attempt) Result {
		desk.Receipts([]Receipt{{Link: "l1", MessageID: "s1", State: AttemptDelivered}, {Link: "l1", MessageID: "s2", State: AttemptAccepted},
			{Link: "l1", MessageID: "s1", State: AttemptDelivered}}, func(error) {})
		time.Sleep(50 * time.Millisecond) // the response is what lags here
		return Result{Attempt: a, Verdict: VerdictAccepted, Link: "l1", At: time.Now(), Parts: []Part{{MessageID: "s1", State: AttemptAccepted},
			{MessageID: "s2", State: AttemptAccepted}}}
	})
	open := p.Open
	p.Open = func(d Desk) Channel { desk = d; desks <- d; return open(d) }
	stop := w.start("a", p)
	w.await("first segment", func() bool { return w.int(`SELECT count(*) FROM attempts WHERE state = 7`) == 1 })
	if have := w.states(list); have[Delivered] != 0 {
		t.Error("delivered before the second segment was")
	}
	stop() // the rest of the receipts comes to another process
	w.start("b", p)
	<-desks // of the first process
	stored := make(chan error, 1)
	(<-desks).Receipts([]Receipt{{Link: "l1", MessageID: "s2", State: AttemptDelivered}}, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	w.awaitState(list, Delivered, 1)
}
