package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestBothRecordersAtOnceLoseNothingAndContradictNothing lets results and receipts of the same few notifications be recorded at the same
// time, again and again: results that come after their receipts, late responses, receipts that come twice, of segments, of unknown
// messages for the phone of what is uncertain.
func TestBothRecordersAtOnceLoseNothingAndContradictNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			const rows, retries = 40, 5
			rng := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t)
			w.rules.UncertainWait = time.Nanosecond
			w.rules.Retry = func(_ Reason, tries int) (time.Duration, bool) { return time.Nanosecond, tries < retries }
			list := w.admit(admit{rows: rows})
			d, ch := w.deskOf("a")
			proof := map[int]int{} // the highest end a receipt has told of each row, and was acknowledged
			var stored, offered int
			var mu sync.Mutex
			both := func() {
				var wg sync.WaitGroup
				for _, r := range []*recorder{d.rec, d.heard} {
					wg.Go(func() {
						all := r.collect()
						if all.size() == 0 {
							return
						}
						again, err := r.write(t.Context(), all)
						if err != nil {
							t.Error(err)
						}
						r.putBack(again)
					})
				}
				wg.Wait()
			}
			hear := func(a *Attempt, id string) {
				s := []AttemptState{AttemptAccepted, AttemptExpired, AttemptUndelivered, AttemptDelivered, AttemptDelivered}[rng.IntN(5)]
				offered++
				d.Receipts([]Receipt{{Link: "l1", MessageID: id, State: s, To: a.To}}, func(err error) {
					mu.Lock()
					defer mu.Unlock()
					if stored++; err != nil {
						t.Error("refused:", err)
					}
				})
				if n := int(a.ID.Ordinal()); s > AttemptAccepted {
					proof[n] = max(proof[n], int(endOf(s)))
				}
			}
			type sent struct {
				a  *Attempt
				id string
			}
			var known []sent
			var lost []Result // uncertain, whose response may come after all
			for step := range 60 {
				var hand []*Attempt
				if w.claim(d) > 0 {
					hand = ch.takeAll()
				}
				for _, a := range hand {
					res := Result{Attempt: a, Link: "l1", At: time.Now()}
					var ids []string
					for p := range 1 + rng.IntN(2) {
						ids = append(ids, fmt.Sprintf("m%d-%d-%d", a.ID.Ordinal(), a.No, p))
					}
					switch rng.IntN(6) {
					case 0:
						res.Verdict = VerdictTemporary
					case 1:
						res.Verdict, res.Reason = VerdictUncertain, "link_lost"
						late := accepted(a, ids...)
						late.Late = true
						lost = append(lost, late)
						for _, id := range ids { // the far side has it all the same
							known = append(known, sent{a, id})
						}
					default:
						res = accepted(a, ids...)
						if rng.IntN(3) == 0 { // the response was slow: its receipts may have been kept already
							res.At = time.Now().Add(-earlyWait)
						}
						for _, id := range ids {
							known = append(known, sent{a, id})
							if rng.IntN(3) == 0 {
								hear(a, id) // before its response is recorded
							}
						}
					}
					d.Settle([]Result{res})
				}
				for range rng.IntN(12) {
					if len(known) > 0 {
						k := known[rng.IntN(len(known))]
						hear(k.a, k.id)
					}
				}
				if len(lost) > 0 && rng.IntN(2) == 0 {
					d.Settle(lost[:1])
					lost = lost[1:]
				}
				if step%7 == 3 { // nobody waits for responses any more
					d.heard.mu.Lock()
					for _, p := range d.heard.receipts {
						if !p.until.IsZero() {
							p.until = time.Now().Add(-time.Second)
						}
					}
					d.heard.mu.Unlock()
				}
				both()
			}
			for d.rec.waiting()+d.heard.waiting() > 0 {
				both()
			}
			if stored != offered {
				t.Errorf("%d receipts of %d were acknowledged", stored, offered)
			}
			if len(d.rec.shared.busy.by) > 0 {
				t.Errorf("%d notifications are held for good", len(d.rec.shared.busy.by))
			}
			have := w.ends()
			replayed, _ := w.replay()
			var ended int
			for n := 1; n <= rows; n++ {
				if have[n] != replayed[n] {
					t.Errorf("row %d: %+v in the database, a replay of the journal gives %+v", n, have[n], replayed[n])
				}
				waits := w.int(`SELECT count(*) FROM outbox WHERE id = $1`, int64(MakeID(list, int32(n))))
				if waits > 1 || waits == 1 && have[n].state == Delivered {
					t.Errorf("row %d: %d times in the outbox, as %s", n, waits, have[n].state)
				}
				if have[n] != (end{}) {
					ended++
				}
			}
			if ended == 0 || !slices.ContainsFunc(known, func(k sent) bool { return proof[int(k.a.ID.Ordinal())] == int(Delivered) }) {
				t.Error("nothing came to an end: the test says nothing")
			}
		})
	}
}

// recording plans what was settled inside a transaction that stays open until the returned function commits it.
func (w *world) recording(d *desk) (commit func()) {
	w.t.Helper()
	all := d.rec.collect()
	plan := d.rec.plan(all, false, false)
	tx, err := d.hot.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := plan.write(w.t.Context(), tx, all); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := tx.Commit(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		plan.committed()
		d.rec.over(plan)
	}
}

func TestReceiptWaitsForTheResultOfALaterAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.UncertainWait = time.Nanosecond
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	first := ch.takeAll()[0]
	d.Settle([]Result{{Attempt: first, Verdict: VerdictUncertain, Reason: "link_lost", Link: "l1", At: time.Now()}})
	w.mustRecord(d)
	w.await("it is claimed again", func() bool { return w.claim(d) == 1 })
	second := ch.takeAll()[0]
	late := accepted(first, "s1", "s2")
	late.Late = true
	d.Settle([]Result{late})
	w.mustRecord(d)

	d.Settle([]Result{accepted(second, "m2")})
	commit := w.recording(d)
	var acknowledged int
	d.Receipts([]Receipt{receiptOf("s1", AttemptDelivered), receiptOf("s2", AttemptDelivered)}, func(error) { acknowledged++ })
	again, err := d.heard.write(t.Context(), d.heard.collect())
	if err != nil || len(again.receipts) != 2 || acknowledged != 0 {
		t.Errorf("%d receipts wait, %d are acknowledged (%v): the result of the second attempt is being recorded", len(again.receipts), acknowledged, err)
	}
	d.heard.putBack(again)
	commit()
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10 AND attempt = 1 AND sequence = 4`); n != 1 || acknowledged != 1 {
		t.Errorf("%d delivered by the first attempt, %d batches acknowledged", n, acknowledged)
	}
	w.replay()
}

func TestReceiptIsNoOrphanWhileItsResponseIsBeingRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 1, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	d.Settle([]Result{accepted(ch.takeAll()[0], "m1")})
	commit := w.recording(d)
	acknowledged := make(chan error, 1)
	d.Receipts([]Receipt{receiptOf("m1", AttemptDelivered)}, func(err error) { acknowledged <- err })
	d.heard.receipts[0].until = time.Now().Add(-time.Second) // its response was waited for long enough
	over := make(chan error, 1)
	go func() {
		_, err := d.heard.write(context.Background(), d.heard.collect())
		over <- err
	}()
	select {
	case err := <-over:
		t.Fatalf("the receipt was dealt with before the response was recorded (%v)", err)
	case <-time.After(200 * time.Millisecond): // what must not happen would take a few
	}
	commit()
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	if err := <-acknowledged; err != nil {
		t.Error(err)
	}
	if orphans, ends := w.int(`SELECT count(*) FROM orphan_receipts`), w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); orphans != 0 || ends != 1 {
		t.Errorf("%d orphans, %d delivered", orphans, ends)
	}
}

func TestReceiptThatOvertakesItsResponseIsNotGivenToAnOldMessageOfTheSameID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admit(admit{rows: 2, lane: LaneNormal})
	d, ch := w.deskOf("a")
	w.claim(d)
	attempts := ch.takeAll()
	d.Settle([]Result{accepted(attempts[0], "m1")})
	w.mustRecord(d)
	d.Receipts([]Receipt{receiptOf("m1", AttemptDelivered)}, func(error) {})
	w.mustRecord(d)
	d.Receipts([]Receipt{receiptOf("m1", AttemptDelivered)}, func(error) {}) // of the second message: the far side counts from the start again
	w.mustRecord(d)
	d.Settle([]Result{accepted(attempts[1], "m1")})
	w.mustRecord(d)
	w.mustRecord(d)
	if n := w.int(`SELECT count(*) FROM outcomes WHERE state = 10`); n != 2 {
		t.Errorf("%d messages are delivered, want both", n)
	}
}
