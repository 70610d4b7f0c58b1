package dispatch

import (
	"testing"
	"time"

	"ekc/citizen"
)

// uncertainPair brings two messages to one phone into the state uncertain, the first of so many segments.
func uncertainPair(t *testing.T, segments int) (*world, *desk, citizen.Phone) {
	t.Helper()
	w := newWorld(t)
	shared := phoneOf(77, 1)
	w.admit(admit{rows: 2, edit: func(i int, r *Row) {
		r.Content.Phones = []citizen.Phone{shared}
		if i == 0 {
			r.Segments = segments
		}
	}})
	d, ch := w.deskOf("a")
	w.rules.UncertainWait = time.Nanosecond
	w.claim(d)
	attempts := ch.takeAll()
	if len(attempts) != 2 {
		t.Fatalf("%d attempts, want 2", len(attempts))
	}
	for _, a := range attempts {
		d.Settle([]Result{{Attempt: a, Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}})
		w.mustRecord(d)
	}
	return w, d, shared
}

// hear stores receipts of messages nobody knows, past the time in which their responses are waited for.
func (w *world) hear(d *desk, to citizen.Phone, ids ...string) {
	w.t.Helper()
	var receipts []Receipt
	for _, id := range ids {
		receipts = append(receipts, Receipt{Link: "l1", MessageID: id, State: AttemptDelivered, To: to})
	}
	d.Receipts(receipts, func(error) {})
	for _, p := range d.heard.receipts {
		p.until = time.Now().Add(-time.Second)
	}
	w.mustRecord(d)
}

func TestOneOrphanReceiptEndsOneOfTwoUncertainOfAPhone(t *testing.T) {
	t.Parallel()
	w, d, shared := uncertainPair(t, 1)
	w.hear(d, shared, "lost-1")
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 1 {
		t.Errorf("one receipt ended %d messages", n)
	}
	w.hear(d, shared, "lost-2")
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 2 {
		t.Errorf("two receipts ended %d messages", n)
	}
}

func TestTwoOrphanReceiptsAtOnceEndBoth(t *testing.T) {
	t.Parallel()
	w, d, shared := uncertainPair(t, 1)
	w.hear(d, shared, "lost-1", "lost-2")
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 2 {
		t.Errorf("two receipts ended %d messages", n)
	}
	if n := w.int(`SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d of them wait to be sent again", n)
	}
}

func TestSegmentsHeardBeforeAreUsedForOneMessageOnly(t *testing.T) {
	t.Parallel()
	w, d, shared := uncertainPair(t, 2)
	// Kept, since nothing was uncertain yet when the first came: here, because it came before anybody asked.
	digest, err := w.keyring.PhoneDigest(shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), `INSERT INTO orphan_receipts (link, message_id, digest, state) VALUES (1, 'lost-1', $1, 7)`, digest[:]); err != nil {
		t.Fatal(err)
	}
	w.hear(d, shared, "lost-2") // the second segment of the first message
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 1 {
		t.Errorf("two segments ended %d messages", n)
	}
	if n := w.int(`SELECT count(*) FROM orphan_receipts WHERE notification IS NULL`); n != 0 {
		t.Errorf("%d receipts are kept for another message", n)
	}
}

func TestOrphansKeptBeforeAClaimEndAsManyAsThereAre(t *testing.T) {
	t.Parallel()
	w, d, shared := uncertainPair(t, 1)
	digest, err := w.keyring.PhoneDigest(shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), `INSERT INTO orphan_receipts (link, message_id, digest, state) VALUES (1, 'lost-1', $1, 7)`, digest[:]); err != nil {
		t.Fatal(err)
	}
	w.await("a claim of both", func() bool { return w.claim(d) == 2 })
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 1 {
		t.Errorf("one receipt ended %d messages", n)
	}
	if n := w.int(`SELECT count(*) FROM orphan_receipts WHERE notification IS NULL`); n != 0 {
		t.Errorf("%d receipts are kept for another message", n)
	}
}

func TestContactsOnTheirWayCountForTheCap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.PerDay = map[string]int{"sms": 2}
	shared := phoneOf(77, 1)
	w.admit(admit{rows: 5, edit: func(_ int, r *Row) { r.Content.Phones = []citizen.Phone{shared} }})
	d, ch := w.deskOf("a")
	w.claim(d)
	if n := len(ch.takeAll()); n != 2 {
		t.Errorf("%d messages to one phone left at once, the cap is 2", n)
	}
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outbox WHERE due_at BETWEEN now() AND now() + interval '10 minutes'`); n != 3 {
		t.Errorf("%d wait for what becomes of the others, want 3", n)
	}
}
