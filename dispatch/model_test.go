package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
)

// modelRow is DESIGN 2 for one notification with one channel, as simply as it can be said.
type modelRow struct {
	tries    int
	waits    bool // in the outbox
	state    State
	sequence int
	parts    map[int][]AttemptState // by attempt, of those that were accepted
	endedBy  int                    // the attempt that brought the end
}

func (m *modelRow) tell(s State) {
	m.state = s
	m.sequence++
}

// end raises, never lowers.
func (m *modelRow) end(s State, attempt int) {
	if m.state.Final() && s <= m.state {
		return
	}
	m.tell(s)
	m.endedBy = attempt
}

func (m *modelRow) result(v Verdict, parts int, again bool) {
	m.tries++
	m.waits = false
	switch v {
	case VerdictAccepted:
		m.tell(Accepted)
		m.parts[m.tries] = make([]AttemptState, parts)
	case VerdictUncertain:
		m.tell(Uncertain)
		m.waits = true
	case VerdictTemporary:
		if m.waits = again; !again {
			m.end(Refused, m.tries)
		}
	case VerdictPermanent:
		m.end(Refused, m.tries)
	}
}

func (m *modelRow) receipt(attempt, segment int, s AttemptState) {
	if s <= AttemptAccepted {
		return
	}
	parts := m.parts[attempt]
	parts[segment] = max(parts[segment], s)
	worst, all := AttemptState(0), true
	for _, p := range parts {
		if p == AttemptExpired || p == AttemptUndelivered {
			worst = max(worst, p)
		}
		all = all && p == AttemptDelivered
	}
	switch {
	case all:
		m.end(Delivered, attempt)
	case worst != 0:
		m.end(endOf(worst), attempt)
	}
}

type modelMessage struct {
	row      int
	attempt  int
	segments int
}

func TestRandomResultsAndReceiptsEndAsTheModelSays(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			const rows, retries = 12, 3
			rng := rand.New(rand.NewPCG(seed, 99))
			w := newWorld(t)
			w.rules.UncertainWait = time.Nanosecond
			w.rules.Retry = func(_ Reason, tries int) (time.Duration, bool) { return time.Nanosecond, tries < retries }
			list := w.admit(admit{rows: rows})
			d, ch := w.deskOf("a")
			model := make([]modelRow, rows)
			for i := range model {
				model[i] = modelRow{waits: true, parts: map[int][]AttemptState{}}
			}
			messages := map[string]modelMessage{}
			var known []string
			var hand []*Attempt
			for step := range 60 {
				if n := w.claim(d); n > 0 {
					hand = append(hand, ch.takeAll()...)
				}
				// Some results, and after them some receipts, in one transaction or two.
				rng.Shuffle(len(hand), func(i, k int) { hand[i], hand[k] = hand[k], hand[i] })
				n := rng.IntN(len(hand)/2 + 2)
				for range min(n, len(hand)) {
					a := hand[0]
					hand = hand[1:]
					m := &model[a.ID.Ordinal()-1]
					res := Result{Attempt: a, Link: "l1", At: time.Now()}
					parts := 1
					switch rng.IntN(8) {
					case 0:
						res.Verdict = VerdictTemporary
					case 1:
						res.Verdict = VerdictPermanent
					case 2, 3:
						res.Verdict = VerdictUncertain
					case 4:
						res.Verdict = VerdictWithheld
					default:
						parts = 1 + rng.IntN(2)
						var ids []string
						for p := range parts {
							id := fmt.Sprintf("m%d-%d-%d", a.ID.Ordinal(), a.No, p)
							messages[id] = modelMessage{int(a.ID.Ordinal() - 1), int(a.No), p}
							known = append(known, id)
							ids = append(ids, id)
						}
						res = accepted(a, ids...)
					}
					d.Settle([]Result{res})
					if res.Verdict != VerdictWithheld {
						if int(a.No) != m.tries+1 {
							t.Fatalf("row %d: attempt no. %d, the model has %d before", a.ID.Ordinal(), a.No, m.tries)
						}
						m.result(res.Verdict, parts, m.tries+1 < retries)
					}
				}
				if rng.IntN(2) == 0 {
					w.mustRecord(d)
				}
				for range min(len(known), rng.IntN(5)) {
					id := known[rng.IntN(len(known))]
					s := []AttemptState{AttemptAccepted, AttemptExpired, AttemptUndelivered, AttemptDelivered, AttemptDelivered}[rng.IntN(5)]
					d.Receipts([]Receipt{receiptOf(id, s)}, func(error) {})
					msg := messages[id]
					model[msg.row].receipt(msg.attempt, msg.segments, s)
				}
				w.mustRecord(d)
				if step == 30 { // what is in memory is gone; the database knows
					d.rec.shared.refs = newRefs()
				}
			}
			d.Settle(nil)
			w.compareModel(list, model)
		})
	}
}

type end struct {
	state             State
	sequence, attempt int
}

// ends are the outcomes as they stand, by ordinal.
func (w *world) ends() map[int]end {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), `SELECT id & 16777215, state, sequence, attempt FROM outcomes ORDER BY id`)
	if err != nil {
		w.t.Fatal(err)
	}
	have := map[int]end{}
	var no int
	var e end
	if _, err := pgx.ForEachRow(rows, []any{&no, &e.state, &e.sequence, &e.attempt}, func() error { have[no] = e; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return have
}

// replay is what the journal makes of each notification: its end, and the last sequence told. It checks that sequences have no gap, that
// each entry goes on from where the one before left off, and that ends only rise.
func (w *world) replay() (ends map[int]end, told map[int]int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() { _ = journal.NewSequencer(w.db, discardLog()).Run(ctx) }()
	var entries []journal.Placed
	var next int64
	want := w.int(`SELECT sum(count) FROM journal`)
	w.await("the journal is placed", func() bool {
		more, to, err := journal.Follow(ctx, w.db, next, 10000, journal.Attempt, journal.Outcome)
		if err != nil {
			w.t.Fatal(err)
		}
		entries, next = append(entries, more...), to
		return next == int64(want)
	})
	ends, told = map[int]end{}, map[int]int{}
	stood := map[int]string{}
	for _, p := range entries {
		n := int(NotificationID(p.Entry.Notification).Ordinal())
		if p.Entry.Segment > 0 {
			continue // one segment's receipt: nothing is told of it
		}
		if s := p.Entry.Sequence; s != told[n] && s != told[n]+1 {
			w.t.Errorf("row %d: sequence %d follows %d", n, s, told[n])
		}
		if _, says := Told(&p.Entry); says != (p.Entry.Sequence == told[n]+1) {
			w.t.Errorf("row %d: sequence %d after %d, and the sender is told: %t (%s to %s)", n, p.Entry.Sequence, told[n], says, p.Entry.From, p.Entry.State)
		}
		told[n] = p.Entry.Sequence
		// An attempt of which a segment failed, while a later one was under way, leaves the notification pending without an entry.
		if from := p.Entry.From; from != Pending.String() && stood[n] != "" && from != stood[n] {
			w.t.Errorf("row %d: left %s for %s, and had reached %s", n, from, p.Entry.State, stood[n])
		}
		stood[n] = p.Entry.State
		if p.Entry.Kind != journal.Outcome {
			continue
		}
		s, ok := ParseState(p.Entry.State)
		if !ok || s <= ends[n].state {
			w.t.Errorf("row %d: outcome %s after %s", n, p.Entry.State, ends[n].state)
		}
		ends[n] = end{s, p.Entry.Sequence, p.Entry.Attempt}
	}
	return ends, told
}

// compareModel compares outcomes with the model, and outcomes with what a replay of the journal makes of them.
func (w *world) compareModel(list int64, model []modelRow) {
	w.t.Helper()
	have := w.ends()
	replayed, told := w.replay()
	for i := range model {
		m := &model[i]
		if m.state.Final() != (have[i+1] != end{}) || m.state.Final() && have[i+1] != (end{m.state, m.sequence, m.endedBy}) {
			w.t.Errorf("row %d: %+v in the database, the model says %s, sequence %d, by attempt %d", i+1, have[i+1], m.state, m.sequence, m.endedBy)
		}
		if told[i+1] != m.sequence {
			w.t.Errorf("row %d: %d changes were told, the model says %d", i+1, told[i+1], m.sequence)
		}
		if replayed[i+1] != have[i+1] {
			w.t.Errorf("row %d: %+v in the database, a replay of the journal gives %+v", i+1, have[i+1], replayed[i+1])
		}
		if n := w.int(`SELECT count(*) FROM outbox WHERE id = $1`, int64(MakeID(list, int32(i+1)))); (n == 1) != m.waits {
			w.t.Errorf("row %d: %d in the outbox, the model says %t", i+1, n, m.waits)
		}
	}
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
