package dispatch

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ekc/citizen"
)

// deskAt takes a pool of SMS, which it registers, as deskOf does p1.
func (w *world) deskAt(pool, link, process string) (*desk, *handChannel) {
	w.t.Helper()
	if err := EnsurePool(w.t.Context(), w.db, pool, "sms", []string{link}); err != nil {
		w.t.Fatal(err)
	}
	return w.deskOn(pool, process)
}

// tell admits a message for the phone to the desk's pool, and says whether it leaves; its answer is recorded.
func (w *world) tell(d *desk, ch *handChannel, phone citizen.Phone, answer Result) bool {
	w.t.Helper()
	list := w.admit(admit{rows: 1, lane: LaneNormal, waiting: true, edit: func(_ int, r *Row) { r.Content.Phones = []citizen.Phone{phone} }})
	w.exec(`UPDATE runs SET pool = $2, state = 'active' WHERE list_no = $1`, list, d.hold.pool)
	w.claim(d)
	sent := ch.takeAll()
	for _, a := range sent {
		res := answer
		res.Attempt, res.At = a, time.Now()
		d.Settle([]Result{res})
	}
	w.mustRecord(d)
	return len(sent) > 0
}

func byLink(link string) Result {
	return Result{Verdict: VerdictAccepted, Link: link, Parts: []Part{{MessageID: "m", State: AttemptAccepted}}}
}

func TestCapCountsWhatEveryPoolHasSent(t *testing.T) {
	t.Parallel()
	uncertain := Result{Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1"}
	for _, c := range []struct {
		name    string
		byOther bool
		first   Result
	}{{"accepted", false, byLink("l1")}, {"uncertain", false, uncertain}, {"accepted by the other pool", true, byLink("l3")}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.rules.PerDay = map[string]int{"sms": 1}
			w.rules.UncertainWait = time.Hour
			phone := phoneOf(77, 1)
			a, cha := w.deskAt("p1", "l1", "a")
			// The other pool comes while the first is at work. Then both have read what there was.
			b, chb := w.deskAt("p3", "l3", "b")
			if !w.tell(a, cha, phoneOf(77, 2), byLink("l1")) || !w.tell(b, chb, phoneOf(77, 3), byLink("l3")) {
				t.Fatal("nothing left")
			}
			first, ch := a, cha
			if c.byOther {
				first, ch = b, chb
			}
			if !w.tell(first, ch, phone, c.first) {
				t.Fatal("the first message did not leave")
			}
			if w.tell(a, cha, phone, byLink("l1")) || w.tell(b, chb, phone, byLink("l3")) {
				t.Error("a second message left")
			}
			w.expireHolder()
			if next, ch := w.deskAt("p1", "l1", "c"); w.tell(next, ch, phone, byLink("l1")) {
				t.Error("a second message left by the pool's next holder")
			}
		})
	}
}

// TestCapCountsWhatAnOlderVersionHasSent takes away what a holder of the version before does not write.
func TestCapCountsWhatAnOlderVersionHasSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.PerDay = map[string]int{"sms": 1}
	phone := phoneOf(77, 1)
	b, chb := w.deskAt("p3", "l3", "b")
	a, cha := w.deskAt("p1", "l1", "a")
	w.exec(`UPDATE pools SET contacts_fence = 0 WHERE name = 'p1'`) // it only knows of fence
	if !w.tell(a, cha, phone, byLink("l1")) {
		t.Fatal("nothing left")
	}
	w.exec(`DELETE FROM pool_contacts`)
	if w.tell(b, chb, phone, byLink("l3")) {
		t.Error("a second message left by the other pool")
	}
	w.expireHolder()
	if c, ch := w.deskAt("p1", "l1", "c"); w.tell(c, ch, phone, byLink("l1")) {
		t.Error("a second message left by the next holder, of this version")
	}
	if err := w.core("d").sweepContacts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.tell(b, chb, phone, byLink("l3")) {
		t.Error("a second message left after the sweep")
	}
}

func TestPoolThatAnOlderVersionGaveUpIsKnownAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core("a")
	known := func() int {
		if err := core.sweepContacts(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.int(`SELECT count(*) FROM pools WHERE contacts_fence = fence AND contacts_since > clock_timestamp() - interval '1 minute'`)
	}
	w.deskAt("p1", "l1", "a")
	w.exec(`UPDATE pools SET contacts_fence = 0`)
	if known() != 0 {
		t.Error("a pool is known whose holder writes nothing down")
	}
	w.expireHolder()
	w.exec(`UPDATE pool_holders SET renewed_at = renewed_at - interval '1 minute'`)
	if known() != 1 {
		t.Error("a pool that nobody holds stays unknown for good")
	}
}

// TestPhoneThatIsRuledOutIsNotLookedFor is what the whole thing is for: the attempt is there, and nobody asks for it.
func TestPhoneThatIsRuledOutIsNotLookedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.PerDay = map[string]int{"sms": 1}
	a, ch := w.deskAt("p1", "l1", "a")
	w.tell(a, ch, phoneOf(77, 1), byLink("l1"))
	w.exec(`DELETE FROM pool_contacts`)
	if !w.tell(a, ch, phoneOf(77, 1), byLink("l1")) {
		t.Error("a claim looked for earlier contacts of a phone that has none by pool_contacts")
	}
}

func TestContactsAreRememberedForADayAndNotForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := newSimClock(time.Now())
	w.now = clock.now
	a, ch := w.deskAt("p1", "l1", "a")
	told := phoneOf(77, 1)
	digest, err := w.keyring.PhoneDigest(told)
	if err != nil {
		t.Fatal(err)
	}
	w.tell(a, ch, told, byLink("l1"))
	began := clock.now()
	for _, c := range []struct {
		hours int
		want  bool
	}{{0, true}, {24, true}, {26, true}, {52, false}} {
		clock.set(began.Add(time.Duration(c.hours) * time.Hour))
		w.tell(a, ch, phoneOf(78, c.hours), byLink("l1")) // reads what is new
		kept, _ := a.lately.among([][]byte{digest[:]}, []int64{1})
		if got := len(kept) == 1; got != c.want {
			t.Errorf("%d hours after a contact: remembered %t, want %t", c.hours, got, c.want)
		}
	}
}

func TestContactIsKeptUnderEveryKey(t *testing.T) {
	t.Parallel()
	var w writing
	w.contacted(&Attempt{digest: citizen.Digest{1, 2, 3, 4, 5}, older: []citizen.Digest{{6, 7, 8, 9, 10}}})
	if got, want := string(w.contacts), "\x01\x02\x03\x04\x06\x07\x08\x09"; got != want {
		t.Errorf("kept %x, want %x", got, want)
	}
}

// due takes all that is due in the normal lane, as a claim does.
func (w *world) due(d *desk) []*Attempt {
	w.t.Helper()
	w.refresh(d)
	turn := 0
	runs, err := d.dueRuns(w.t.Context(), []int16{LaneNormal})
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := d.take(w.t.Context(), choose(runs, 10_000, &turn))
	if err != nil {
		w.t.Fatal(err)
	}
	attempts, open := make([]*Attempt, len(rows)), d.opener(len(rows))
	for i, c := range rows {
		if attempts[i], err = open.open(w.t.Context(), d.run(c.run), c); err != nil {
			w.t.Fatal(err)
		}
	}
	return attempts
}

// factsOf are what a claim of the attempts would ask for.
func (w *world) factsOf(d *desk, attempts []*Attempt) *facts {
	w.t.Helper()
	digests := make([][]byte, len(attempts))
	for i, a := range attempts {
		digests[i] = a.digest[:]
	}
	known, err := d.facts(w.t.Context(), digests, make([]int64, len(digests)), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return known
}

func TestCapCountsWhatIsRecordedWhileItIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.PerDay = map[string]int{"sms": 1}
	toOne := admit{rows: 1, lane: LaneNormal, edit: func(_ int, r *Row) { r.Content.Phones = []citizen.Phone{phoneOf(77, 1)} }}
	d, ch := w.deskOf("a")
	w.admit(toOne)
	w.claim(d)
	sent := ch.takeAll()
	if len(sent) != 1 {
		t.Fatalf("%d messages left", len(sent))
	}
	w.admit(toOne)
	second := w.due(d)
	known := w.factsOf(d, second)
	res := byLink("l1")
	res.Attempt, res.At = sent[0], time.Now()
	d.Settle([]Result{res})
	w.mustRecord(d)
	if kept, _ := d.decide(second, d.control.fresh(), d.rules(), known, d.now()); len(kept) > 0 {
		t.Error("the phone may be told a second time, by one who looked before the first was recorded, and asked after")
	}
}

// TestClaimersOfTwoLanesKeepOneCap lets a claim decide on a message to a phone while another, in the middle of its decision, has found that
// nobody tells this phone.
func TestClaimersOfTwoLanesKeepOneCap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.PerDay = map[string]int{"sms": 1}
	d, _ := w.deskOf("a")
	w.admit(admit{rows: 2, lane: LaneNormal, edit: func(_ int, r *Row) { r.Content.Phones = []citizen.Phone{phoneOf(77, 1)} }})
	all := w.due(d)
	var sent atomic.Int64
	decide := func(a *Attempt) {
		kept, _ := d.decide([]*Attempt{a}, d.control.fresh(), d.rules(), w.factsOf(d, []*Attempt{a}), d.now())
		sent.Add(int64(len(kept)))
	}
	var once sync.Once
	other := make(chan struct{})
	w.rules.Permitted = func(citizen.Phone) bool { // asked after the cap
		once.Do(func() {
			go func() { defer close(other); decide(all[1]) }()
			select {
			case <-other:
			case <-time.After(200 * time.Millisecond): // it has to wait for us
			}
		})
		return true
	}
	decide(all[0])
	<-other
	if n := sent.Load(); n != 1 {
		t.Errorf("%d messages may leave to a phone that may be told once a day", n)
	}
}
