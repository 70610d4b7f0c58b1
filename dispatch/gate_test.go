package dispatch

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/journal"
)

// atGate is one notification, the pool's desk, moved by hand, and a clock that stands still.
type atGate struct {
	*world
	clock  *simClock
	office *Office
	desk   *desk
	ch     *handChannel
	id     NotificationID
	start  time.Time
}

// noon is 12:00 in Moscow.
var noon = time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)

var (
	tonight = time.Date(2026, 3, 10, 19, 0, 0, 0, time.UTC) // 22:00 in Moscow
	morning = time.Date(2026, 3, 11, 6, 0, 0, 0, time.UTC)  // 09:00 in Moscow
)

func newAtGate(t *testing.T) *atGate {
	t.Helper()
	g := &atGate{world: newWorld(t), clock: newSimClock(noon)}
	g.now = g.clock.now
	g.rules.Window, g.rules.Gap, g.rules.UncertainWait, g.rules.GiveUp = nineToNine, 10*time.Minute, 2*time.Hour, 72*time.Hour
	g.rules.PerDay = map[string]int{"sms": 2}
	g.rules.Retry = func(Reason, int) (time.Duration, bool) { return 5 * time.Minute, true }
	g.office = &Office{DB: g.db, Journal: g.journal, Keyring: g.keyring, Now: g.clock.now, Rules: func() *Rules { return &g.rules }}
	g.desk, g.ch = g.deskOf("a")
	g.exec(`UPDATE pool_holders SET renewed_at = now() + interval '1 hour'`) // nobody renews it here
	return g
}

func (g *atGate) exec(sql string, args ...any) {
	g.t.Helper()
	if _, err := g.db.Exec(context.Background(), sql, args...); err != nil {
		g.t.Fatal(err)
	}
}

func (g *atGate) put(a admit) {
	g.t.Helper()
	if a.rows == 0 {
		a.rows = 1
	}
	a.lane = LaneNormal
	g.id = MakeID(g.admit(a), int32(a.rows))
}

func (g *atGate) edit(edit func(*Row)) {
	g.t.Helper()
	g.put(admit{edit: func(_ int, r *Row) { edit(r) }})
}

// send claims what may leave and answers it; contact is an accepted message.
func (g *atGate) send(answer func(*Attempt) Result) (n int) {
	g.t.Helper()
	g.claim(g.desk)
	for _, a := range g.ch.takeAll() {
		n++
		res := answer(a)
		res.Attempt, res.Link, res.At = a, "l1", g.clock.now()
		g.desk.Settle([]Result{res})
	}
	g.mustRecord(g.desk)
	return n
}

func answerWith(v Verdict, reason Reason, code string) func(*Attempt) Result {
	return func(*Attempt) Result { return Result{Verdict: v, Reason: reason, Code: code} }
}

func acceptedAs(a *Attempt) Result {
	return Result{Verdict: VerdictAccepted, Parts: []Part{{MessageID: fmt.Sprint("m", a.ID, a.No), State: AttemptAccepted}}}
}

// told sends n messages of other lists to the phone, the gap apart, and ends on the present time.
func (g *atGate) told(phone citizen.Phone, n int) {
	g.t.Helper()
	now := g.clock.now()
	for i := range n {
		g.clock.set(now.Add(-time.Duration(n-1-i) * g.rules.Gap))
		g.put(admit{edit: func(_ int, r *Row) { r.Content.Phones = []citizen.Phone{phone} }})
		if sent := g.send(acceptedAs); sent != 1 {
			g.t.Fatalf("%d messages left, want the one", sent)
		}
	}
}

func (g *atGate) shared(r *Row) { r.Content.Phones = []citizen.Phone{phoneOf(77, 1)} }

func (g *atGate) stop(scope StopScope, target string) (id int64) {
	g.t.Helper()
	if err := g.db.QueryRow(g.t.Context(), `INSERT INTO stops (scope, target, reason, actor) VALUES ($1, $2, 'test', 'test') RETURNING id`,
		string(scope), target).Scan(&id); err != nil {
		g.t.Fatal(err)
	}
	return id
}

func (g *atGate) move(do func(*Admission, context.Context, pgx.Tx, int64) error) {
	g.t.Helper()
	g.tx(func(tx pgx.Tx) error { return do(g.adm, g.t.Context(), tx, g.id.List()) })
}

func (g *atGate) waiting() Waiting {
	g.t.Helper()
	w, err := g.office.WaitingFor(g.t.Context(), g.id, g.start)
	if err != nil {
		g.t.Fatal(err)
	}
	return w
}

func TestEachGateIsNamedAndOpensWhenItSays(t *testing.T) {
	t.Parallel()
	const moscow = citizen.Zones("Europe/Moscow")
	lostAnswer := answerWith(VerdictUncertain, "link_lost", "")
	down := LinkState{Link: "l1", Binds: []BindState{{Name: "trx-1", State: "refused", Code: "0x0000000e", Since: noon, Retry: noon.Add(time.Minute)}}}
	cases := []struct {
		name   string
		do     func(*atGate)
		want   Waiting
		leaves bool // at Until, by the claim itself, and not a second before
	}{
		{"a list nobody has approved", func(g *atGate) { g.put(admit{waiting: true}) }, Waiting{Gate: GateApproval}, false},
		{"a list nobody has approved, a row with a time of its own", func(g *atGate) {
			g.put(admit{waiting: true, edit: func(_ int, r *Row) { r.NotBefore = noon.Add(time.Hour) }})
		}, Waiting{Gate: GateApproval, Earliest: noon.Add(time.Hour)}, false},
		{"an hour of the list", func(g *atGate) {
			g.put(admit{waiting: true})
			g.start = noon.Add(2 * time.Hour)
			g.tx(func(tx pgx.Tx) error { return g.adm.Start(g.t.Context(), tx, g.id.List(), g.start) })
		}, Waiting{Gate: GateStart, Until: noon.Add(2 * time.Hour), Earliest: noon.Add(2 * time.Hour)}, true},
		{"a pause", func(g *atGate) { g.put(admit{}); g.move((*Admission).Pause) }, Waiting{Gate: GatePaused}, false},
		{"a cancelled list", func(g *atGate) { g.put(admit{}); g.move((*Admission).Cancel) }, Waiting{Gate: GateCancelling}, false},
		{"a time of its own", func(g *atGate) { g.edit(func(r *Row) { r.NotBefore = noon.Add(3 * time.Hour) }) },
			Waiting{Gate: GateNotBefore, Until: noon.Add(3 * time.Hour), Earliest: noon.Add(3 * time.Hour)}, true},
		{"a time of its own at night", func(g *atGate) { g.edit(func(r *Row) { r.NotBefore = tonight }) },
			Waiting{Gate: GateNotBefore, Until: tonight, Earliest: tonight}, false},
		{"the window, not looked at yet", func(g *atGate) { g.clock.set(tonight); g.put(admit{}) },
			Waiting{Gate: GateWindow, Until: morning, Zones: moscow, Earliest: morning}, true},
		{"the window, its run asleep", func(g *atGate) { g.clock.set(tonight); g.put(admit{}); g.claim(g.desk) },
			Waiting{Gate: GateWindow, Until: morning, Zones: moscow, Earliest: morning}, true},
		{"a window that was widened while its run sleeps", func(g *atGate) {
			g.clock.set(tonight)
			g.put(admit{})
			g.claim(g.desk)
			g.rules.Window = alwaysOpen
		}, Waiting{Gate: GateWindow, Until: morning, Zones: moscow, Earliest: morning}, true},
		{"the hours that suit two zones", func(g *atGate) { g.edit(func(r *Row) { r.Zones = farApart }); g.claim(g.desk) },
			Waiting{Gate: GateWindow, Until: morning.Add(time.Hour), Zones: farApart, Earliest: morning.Add(time.Hour)}, true},
		{"no hour that suits them", func(g *atGate) {
			g.rules.Window = func(string, bool) *citizen.Window { return &citizen.Window{} }
			g.put(admit{})
		}, Waiting{Gate: GateWindow, Zones: moscow}, false},
		{"the cap, not looked at yet", func(g *atGate) { g.told(phoneOf(77, 1), 2); g.edit(g.shared) },
			Waiting{Gate: GateCap, Until: noon.Add(24*time.Hour - 10*time.Minute), Earliest: noon.Add(24*time.Hour - 10*time.Minute)}, true},
		{"the cap, put off", func(g *atGate) { g.told(phoneOf(77, 1), 2); g.edit(g.shared); g.send(acceptedAs) },
			Waiting{Gate: GateCap, Until: noon.Add(24*time.Hour - 10*time.Minute), Earliest: noon.Add(24*time.Hour - 10*time.Minute)}, true},
		{"the cap, seen at night", func(g *atGate) { g.told(phoneOf(77, 1), 2); g.edit(g.shared); g.send(acceptedAs); g.clock.set(tonight) },
			Waiting{Gate: GateCap, Until: noon.Add(24*time.Hour - 10*time.Minute), Earliest: noon.Add(24*time.Hour - 10*time.Minute)}, true},
		{"the gap, not looked at yet", func(g *atGate) { g.told(phoneOf(77, 1), 1); g.edit(g.shared) },
			Waiting{Gate: GateGap, Until: noon.Add(10 * time.Minute), Earliest: noon.Add(10 * time.Minute)}, true},
		{"the gap, put off", func(g *atGate) { g.told(phoneOf(77, 1), 1); g.edit(g.shared); g.send(acceptedAs) },
			Waiting{Gate: GateGap, Until: noon.Add(10 * time.Minute), Earliest: noon.Add(10 * time.Minute)}, true},
		{"the gap that ends after the window", func(g *atGate) {
			g.clock.set(tonight.Add(-65 * time.Minute)) // 20:55
			g.told(phoneOf(77, 1), 1)
			g.edit(g.shared)
			g.send(acceptedAs)
		}, Waiting{Gate: GateGap, Until: morning, Earliest: morning}, true},
		{"another try", func(g *atGate) { g.put(admit{}); g.send(answerWith(VerdictTemporary, "queue_full", "0x00000014")) },
			Waiting{Gate: GateRetry, Until: noon.Add(5 * time.Minute), Since: noon, Reason: "queue_full", Code: "0x00000014", Earliest: noon.Add(5 * time.Minute)}, true},
		{"a late receipt, then one more message", func(g *atGate) { g.put(admit{}); g.send(lostAnswer) },
			Waiting{Gate: GateUncertain, Until: noon.Add(2 * time.Hour), Since: noon, Reason: "link_lost", Then: ThenResend, Earliest: noon.Add(2 * time.Hour)}, true},
		{"a late receipt, then a person by policy", func(g *atGate) { g.put(admit{onUncertain: "hold"}); g.send(lostAnswer) },
			Waiting{Gate: GateUncertain, Until: noon.Add(2 * time.Hour), Since: noon, Reason: "link_lost", Then: ThenHold, Earliest: noon.Add(2 * time.Hour)}, false},
		{"a late receipt, then a person after the second try", func(g *atGate) {
			g.put(admit{})
			g.send(lostAnswer)
			g.clock.set(noon.Add(2 * time.Hour))
			if n := g.send(lostAnswer); n != 1 {
				g.t.Errorf("sent %d times again, want once", n)
			}
		}, Waiting{Gate: GateUncertain, Until: noon.Add(4 * time.Hour), Since: noon.Add(2 * time.Hour), Reason: "link_lost", Then: ThenHold, Earliest: noon.Add(4 * time.Hour)}, false},
		{"the window, after a late receipt was waited for", func(g *atGate) {
			g.clock.set(tonight.Add(-90 * time.Minute)) // 20:30
			g.put(admit{})
			g.send(lostAnswer)
			g.clock.set(tonight.Add(30 * time.Minute))
			g.send(lostAnswer)
		}, Waiting{Gate: GateWindow, Until: morning, Zones: moscow, Earliest: morning}, true},
		{"the window, after a person said to send it again", func(g *atGate) {
			g.clock.set(tonight.Add(-90 * time.Minute)) // 20:30
			g.put(admit{})
			g.send(lostAnswer)
			g.exec(`UPDATE outbox SET due_at = $1`, held) // as after a restore
			g.clock.set(tonight)
			if err := g.office.Settle(g.t.Context(), journal.Principal{Account: "duty"}, "0001.000001", g.id, DecideResend); err != nil {
				g.t.Fatal(err)
			}
			g.claim(g.desk)
		}, Waiting{Gate: GateWindow, Until: morning, Zones: moscow, Earliest: morning}, true},
		{"the gap, after its own lost message", func(g *atGate) {
			g.rules.UncertainWait = 5 * time.Minute
			g.put(admit{})
			g.send(lostAnswer)
			g.clock.set(noon.Add(5 * time.Minute))
		}, Waiting{Gate: GateGap, Until: noon.Add(10 * time.Minute), Earliest: noon.Add(10 * time.Minute)}, true},
		{"a person", func(g *atGate) {
			g.put(admit{onUncertain: "hold"})
			g.send(lostAnswer)
			g.clock.set(noon.Add(2 * time.Hour))
			g.send(acceptedAs)
		}, Waiting{Gate: GateHeld, Since: noon, Reason: "link_lost"}, false},
		{"a person, since the claim has not come by", func(g *atGate) {
			g.put(admit{onUncertain: "hold"})
			g.send(lostAnswer)
			g.clock.set(noon.Add(2 * time.Hour))
		}, Waiting{Gate: GateHeld, Since: noon, Reason: "link_lost"}, false},
		{"an opt-out", func(g *atGate) {
			g.put(admit{})
			digest, err := g.keyring.PhoneDigest(phoneOf(g.id.List(), 0))
			if err != nil {
				g.t.Error(err)
			}
			g.exec(`INSERT INTO opt_outs (digest, source) VALUES ($1, 'sms')`, digest[:])
		}, Waiting{Gate: GateEnding, Reason: ReasonOptOut}, false},
		{"the pilot's list", func(g *atGate) {
			g.rules.Permitted = func(citizen.Phone) bool { return false }
			g.put(admit{})
		}, Waiting{Gate: GateEnding, Reason: ReasonPilot}, false},
		{"the pilot's list, by a simulator", func(g *atGate) {
			g.rules.Permitted = func(citizen.Phone) bool { return false }
			g.office.Simulators = []string{"p1"}
			g.put(admit{})
		}, Waiting{Gate: GateQueue}, false},
		{"a term that ends before the window opens", func(g *atGate) {
			g.clock.set(tonight)
			g.edit(func(r *Row) { r.ValidUntil = morning })
		}, Waiting{Gate: GateEnding, Reason: ReasonValidUntil}, false},
		{"a cap beyond the term", func(g *atGate) {
			g.told(phoneOf(77, 1), 2)
			g.edit(func(r *Row) { g.shared(r); r.ValidUntil = tonight })
		}, Waiting{Gate: GateEnding, Reason: ReasonCap}, false},
		{"content that cannot be read", func(g *atGate) {
			g.put(admit{})
			g.exec(`UPDATE notifications SET sealed = '\x00'`)
		}, Waiting{Gate: GateEnding, Reason: ReasonUnreadable}, false},
		{"a pool nobody holds", func(g *atGate) {
			g.put(admit{})
			g.exec(`DELETE FROM pool_holders`)
		}, Waiting{Gate: GatePool, Pool: "p1"}, false},
		{"the next channel, whose pool nobody holds", func(g *atGate) {
			g.withPigeons()
			g.desk.pools["p2"] = 2
			g.put(admit{channels: []string{"sms", "pigeon"}})
			g.send(answerWith(VerdictPermanent, "invalid_number", "0x0000000b"))
		}, Waiting{Gate: GatePool, Pool: "p2"}, false},
		{"a link that is down", func(g *atGate) { g.put(admit{}); g.desk.Report(down) },
			Waiting{Gate: GateLink, Pool: "p1", Link: "l1", Code: "0x0000000e", Since: noon, Until: noon.Add(time.Minute)}, false},
		{"a link that was down once", func(g *atGate) {
			g.put(admit{})
			g.desk.Report(down)
			g.exec(`UPDATE links SET state_at = now() - interval '1 minute'`)
		}, Waiting{Gate: GateQueue}, false},
		{"its turn", func(g *atGate) { g.put(admit{rows: 4}) }, Waiting{Gate: GateQueue, Ahead: 3}, false},
		{"its turn, by the other link", func(g *atGate) {
			g.put(admit{})
			g.desk.Report(down)
			g.exec(`INSERT INTO links (name, pool) VALUES ('l2', 1)`)
			g.stop(StopLink, "l1")
		}, Waiting{Gate: GateQueue}, false},
		{"the wire", func(g *atGate) {
			g.put(admit{})
			g.claim(g.desk)
			g.exec(`UPDATE leases SET at = $1`, noon)
		}, Waiting{Gate: GateSending, Since: noon}, false},
		{"the next holder, since the one that had it died", func(g *atGate) {
			g.put(admit{})
			g.claim(g.desk)
			g.exec(`UPDATE pool_holders SET renewed_at = $1`, noon.AddDate(-1, 0, 0))
		}, Waiting{Gate: GatePool, Pool: "p1", Since: noon.AddDate(-1, 0, 0)}, false},
		{"a receipt", func(g *atGate) { g.put(admit{}); g.send(acceptedAs); g.clock.set(tonight) },
			Waiting{Gate: GateReceipt, Since: noon, Until: noon.Add(72 * time.Hour)}, false},
		{"a receipt of the second message", func(g *atGate) {
			g.put(admit{})
			g.send(lostAnswer)
			g.clock.set(noon.Add(2 * time.Hour))
			g.send(acceptedAs)
		}, Waiting{Gate: GateReceipt, Since: noon.Add(2 * time.Hour), Until: noon.Add(74 * time.Hour)}, false},
		{"a receipt of the next channel", func(g *atGate) {
			g.withPigeons()
			g.desk.pools["p2"] = 2
			g.put(admit{channels: []string{"sms", "pigeon"}})
			g.send(acceptedAs)
			g.desk.Receipts([]Receipt{receiptOf(fmt.Sprint("m", g.id, 1), AttemptUndelivered)}, func(error) {})
			g.mustRecord(g.desk)
			g.exec(`INSERT INTO attempts (notification, at, entry, run, link, no, sequence, state) SELECT id, $1, 0, run, 0, 2, 2, 4 FROM outbox`, tonight)
			g.exec(`DELETE FROM outbox`)
		}, Waiting{Gate: GateReceipt, Since: tonight, Until: tonight.Add(72 * time.Hour)}, false},
		{"nothing", func(g *atGate) { g.put(admit{}); g.send(answerWith(VerdictPermanent, "invalid_number", "")) }, Waiting{}, false},
	}
	named := []Gate{GateStop} // has a test of its own
	for _, c := range cases {
		named = append(named, c.want.Gate)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newAtGate(t)
			c.do(g)
			w := g.waiting()
			for _, at := range []*time.Time{&w.Until, &w.Since, &w.Earliest} {
				*at = at.UTC()
			}
			if w != c.want {
				t.Fatalf("it waits for\n%+v, want\n%+v", w, c.want)
			}
			if !c.leaves {
				return
			}
			for _, moment := range []struct {
				at   time.Time
				sent int
			}{{w.Until.Add(-time.Second), 0}, {w.Until, 1}} {
				g.clock.set(moment.at)
				g.claim(g.desk)
				if sent := len(g.ch.takeAll()); sent != moment.sent {
					t.Errorf("%d left at %s, want %d", sent, moment.at, moment.sent)
				}
				g.mustRecord(g.desk)
			}
		})
	}
	for _, gate := range Gates() {
		if !slices.Contains(named, gate) {
			t.Errorf("no case waits for %s", gate)
		}
	}
}

func TestTheStopThatHoldsARowIsNamed(t *testing.T) {
	t.Parallel()
	g := newAtGate(t)
	g.edit(func(r *Row) { r.Template, r.LifeEvent = "t1", "e1" })
	for _, scope := range []StopScope{StopAgency, StopTemplate, StopLifeEvent, StopChannel, StopPool, StopList, StopLink} {
		g.stop(scope, "another")
	}
	if w := g.waiting(); w.Gate != GateQueue {
		t.Errorf("it waits for %+v, though the stops are of others", w)
	}
	for scope, target := range map[StopScope]string{StopAll: "", StopAgency: "0001.000001", StopChannel: "sms", StopPool: "p1", StopLink: "l1",
		StopTemplate: "t1", StopLifeEvent: "e1", StopList: fmt.Sprint(g.id.List())} {
		id := g.stop(scope, target)
		if w := g.waiting(); w.Gate != GateStop || w.Stop != id || (scope == StopLink) != (w.Link == "l1") {
			t.Errorf("%s: it waits for %+v, want stop %d", scope, w, id)
		}
		g.exec(`UPDATE stops SET lifted_at = now() WHERE id = $1`, id)
	}
}

func TestAskingChangesNothing(t *testing.T) {
	t.Parallel()
	g := newAtGate(t)
	g.clock.set(tonight)
	g.edit(func(r *Row) { r.ValidUntil = tonight.Add(-time.Minute) })
	all := func() (n int) {
		return g.int(`SELECT (SELECT sum(hashtext(o::text)) FROM outbox o) + (SELECT sum(hashtext(r::text)) FROM runs r) + (SELECT count(*) FROM journal) +
			(SELECT count(*) FROM outcomes) + (SELECT count(*) FROM leases) + (SELECT sum(hashtext(h::text)) FROM pool_holders h)`)
	}
	before := all()
	g.waiting()
	if after := all(); after != before {
		t.Error("the question has left a trace")
	}
}
