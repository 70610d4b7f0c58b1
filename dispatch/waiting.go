package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

// WaitingFor says which gate a notification waits at; start is when its list begins, zero = at once. The rules are the claim's own, asked
// now for one row, and what they put off before is asked of them again: why a row waits is not stored. Of what the holder has only
// in memory, contacts that are being made this second, nothing is seen. It reads through the keys of the list's outbox, so it is asked
// for one notification, not for a page.
func (o *Office) WaitingFor(ctx context.Context, id NotificationID, start time.Time) (Waiting, error) {
	l := &onlooker{Office: o, now: o.Now(), rules: o.Rules()}
	if err := l.read(ctx, id); err != nil {
		return Waiting{}, fmt.Errorf("what %s waits for: %w", id, err)
	}
	w, err := l.gate(ctx, id, start)
	if err != nil {
		return Waiting{}, fmt.Errorf("what %s waits for: %w", id, err)
	}
	return w, nil
}

// onlooker looks at one notification as the holder of its pool would, and changes nothing.
type onlooker struct {
	*Office
	now   time.Time
	rules *Rules

	standing standing
	attempts []triedRow
	row      *claimed // in the outbox; nil = nothing is to be done for it
	due      time.Time
	leased   *time.Time
	renewed  *time.Time // when its pool's holder last was
	held     bool       // its pool, by some process
	run      *run
	desk     *desk // of nobody: its right to write has never begun
	snap     *snapshot
	stops    map[stopKey]int64
}

// triedRow is an attempt or a segment of one, as it was first answered.
type triedRow struct {
	no    int16
	state AttemptState
	at    time.Time
	entry int64
	code  string
}

const (
	waitingSQL = `SELECT o.run, o.tries, o.sequence, o.due_at, least(greatest(o.due_at, r.next_due), $4), n.segments, n.valid_until, n.inform_by, n.sealed,
			p.no, p.name, p.channel, h.renewed_at, coalesce(h.renewed_at > clock_timestamp() - $3::interval, false),
			(SELECT max(at) FROM leases WHERE run = o.run AND o.id = ANY(ids))
		FROM runs r JOIN outbox o ON o.run = r.id JOIN notifications n ON n.id = o.id JOIN pools p ON p.no = r.pool
		LEFT JOIN pool_holders h ON h.pool = p.no
		WHERE r.list_no = $1 AND o.id = $2 LIMIT 1`
	triedSQL     = `SELECT no, state, at, entry, code FROM attempts WHERE notification = $1 ORDER BY no, at, state`
	stopsInForce = `SELECT id, scope, target FROM stops WHERE lifted_at IS NULL ORDER BY id DESC`
	linksOfSQL   = `SELECT name, state, coalesce(state_at > clock_timestamp() - $2::interval, false) FROM links WHERE pool = $1 ORDER BY name`
	aheadSQL     = `SELECT count(*) FROM (SELECT FROM outbox WHERE run = $1 AND (due_at, id) < ($2, $3) LIMIT $4) a`

	reportsWithin = 10 * time.Second // a holder says of its links every two seconds how they are
)

func (l *onlooker) read(ctx context.Context, id NotificationID) error {
	c := &claimed{id: id}
	var pool Pool
	var poolNo int16
	err := l.DB.QueryRow(ctx, waitingSQL, id.List(), int64(id), writeFor, held).Scan(&c.run, &c.tries, &c.sequence, &c.due, &l.due, &c.segments, &c.valid,
		&c.inform, &c.sealed, &poolNo, &pool.Name, &pool.Channel, &l.renewed, &l.held, &l.leased)
	if err == nil {
		l.row = c
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read outbox: %w", err)
	}
	// After the outbox: a row that was not there has been accepted, or has ended.
	known, err := loadStanding(ctx, l.DB, []int64{int64(id)})
	if err != nil {
		return err
	}
	l.standing = known[id]
	rows, err := l.DB.Query(ctx, triedSQL, int64(id))
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	if l.attempts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t triedRow, err error) {
		return t, row.Scan(&t.no, &t.state, &t.at, &t.entry, &t.code)
	}); err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	if l.row == nil || l.standing.state.Final() {
		return nil
	}
	pool.Simulated = slices.Contains(l.Simulators, pool.Name)
	core := New(Config{DB: l.DB, Hot: l.DB, Journal: l.Journal, Keyring: l.Keyring, Rules: l.Rules, Now: l.Now, Log: slog.New(slog.DiscardHandler)})
	if l.desk, err = core.newDesk(ctx, pool, &holding{pool: poolNo, name: pool.Name}, core.Log); err != nil {
		return err
	}
	if err = postgres.InTx(ctx, l.DB, func(tx pgx.Tx) (err error) {
		l.run, err = l.desk.runOrLoad(ctx, tx, c.run)
		return err
	}); err != nil {
		return err
	}
	return l.readStops(ctx)
}

func (l *onlooker) readStops(ctx context.Context) error {
	rows, err := l.DB.Query(ctx, stopsInForce)
	if err != nil {
		return fmt.Errorf("read stops: %w", err)
	}
	l.snap, l.stops = &snapshot{stops: map[stopKey]bool{}}, map[stopKey]int64{}
	var k stopKey
	var id int64
	if _, err = pgx.ForEachRow(rows, []any{&id, &k.scope, &k.target}, func() error {
		l.snap.stops[k], l.stops[k] = true, id
		return nil
	}); err != nil {
		return fmt.Errorf("read stops: %w", err)
	}
	return nil
}

// gate finds the first gate that is shut.
func (l *onlooker) gate(ctx context.Context, id NotificationID, start time.Time) (w Waiting, err error) {
	switch {
	case l.standing.state.Final():
		return w, nil
	case l.row == nil && l.standing.state == Pending:
		return l.aside(ctx, id, start)
	case l.row == nil:
		return l.receipt(), nil
	case l.leased != nil && l.held:
		return Waiting{Gate: GateSending, Since: *l.leased}, nil
	case l.leased != nil:
		return l.unheld(w), nil
	}
	if l.due.After(l.now) && l.due.Before(held) {
		w.Earliest = l.due
	}
	switch l.run.state {
	case "waiting":
		w.Gate = GateApproval
		return w, nil
	case "paused":
		w.Gate = GatePaused
		return w, nil
	case "cancelling":
		return Waiting{Gate: GateCancelling}, nil
	}
	if start.After(l.now) {
		return w.at(GateStart, start), nil
	}
	if k, yes := l.snap.stoppedBy(l.run, l.desk.name); yes {
		w.Gate, w.Stop = GateStop, l.stops[k]
		return w, nil
	}
	if l.row.due.Equal(held) {
		return l.tried(ctx, Waiting{Gate: GateHeld})
	}
	if shut, err := l.ruled(ctx, w); err != nil || shut.Gate != "" {
		return shut, err
	}
	if !l.held {
		return l.unheld(w), nil
	}
	if shut, err := l.links(ctx, w); err != nil || shut.Gate != "" {
		return shut, err
	}
	w.Gate = GateQueue
	err = l.DB.QueryRow(ctx, aheadSQL, l.run.id, l.row.due, int64(l.row.id), AheadMost).Scan(&w.Ahead)
	if err != nil {
		return w, fmt.Errorf("count what comes first: %w", err)
	}
	return w, nil
}

// receipt is the gate of what is nowhere in the outbox: the far side has it.
func (l *onlooker) receipt() (w Waiting) {
	if l.standing.state != Accepted {
		return w
	}
	for _, t := range l.attempts {
		if t.no == l.standing.attempts && t.state == AttemptAccepted {
			w.Gate, w.Since, w.Until = GateReceipt, t.at, t.at.Add(l.rules.GiveUp)
			return w
		}
	}
	return w
}

func (l *onlooker) unheld(w Waiting) Waiting {
	w.Gate, w.Pool = GatePool, l.desk.name
	if l.renewed != nil {
		w.Since = *l.renewed
	}
	return w
}

// tried adds what the last attempt was answered.
func (l *onlooker) tried(ctx context.Context, w Waiting) (Waiting, error) {
	last := l.last()
	if last == nil {
		return w, nil
	}
	w.Code, w.Since = last.code, last.at
	found, err := journal.ByIDs(ctx, l.DB, journal.System("dispatch"), []int64{last.entry})
	if err != nil {
		return w, err
	}
	for _, e := range found {
		w.Reason = Reason(e.Entry.Reason)
	}
	return w, nil
}

// last is how the last attempt was first answered.
func (l *onlooker) last() *triedRow {
	for i := range l.attempts {
		if t := &l.attempts[i]; t.no == l.attempts[len(l.attempts)-1].no {
			return t
		}
	}
	return nil
}

// ruled asks the rule book, and of what that would let pass what it was put off for.
func (l *onlooker) ruled(ctx context.Context, w Waiting) (Waiting, error) {
	a, err := l.desk.opener(1).open(ctx, l.run, l.row)
	if err != nil {
		return w, err
	}
	if a == nil {
		return Waiting{Gate: GateEnding, Reason: ReasonUnreadable}, nil
	}
	if !l.awaitsReceipt() {
		switch dec, at, send, err := l.asked(ctx, a); {
		case err != nil:
			return w, err
		case send:
		case dec.state.Final():
			w = Waiting{Gate: GateEnding, Reason: dec.reason}
			if l.due.After(l.now) {
				w.Until = l.due
			}
			return w, nil
		default:
			return l.putOff(ctx, w, dec, at)
		}
	}
	switch {
	case !l.due.After(l.now):
		return w, nil
	case l.standing.state == Uncertain:
		dec, _, err := l.verdict(ctx, a, l.due)
		if err != nil {
			return w, err
		}
		if w.Then = ThenResend; dec.reason == ReasonHeld {
			w.Then = ThenHold
		}
		return l.tried(ctx, w.at(GateUncertain, l.due))
	case !l.row.due.After(l.now): // its run sleeps, by a window that has been changed since
		w.Zones = l.run.zones
		return w.at(GateWindow, l.due), nil
	case l.row.tries > 0:
		return l.tried(ctx, w.at(GateRetry, l.due))
	}
	return w.at(GateNotBefore, l.due), nil
}

// asked is what the rule book says now. Of a row that has been put off already it is what the book says last of the moments in which it
// might let the row pass: a rule that puts it off for less is not the one it waits for.
func (l *onlooker) asked(ctx context.Context, a *Attempt) (dec decision, at time.Time, send bool, err error) {
	at = l.now
	for {
		dec, send, err = l.verdict(ctx, a, at)
		if err != nil || send || dec.state.Final() || !dec.due.Before(l.due) || !dec.due.After(at) {
			return dec, at, send, err
		}
		at = dec.due
	}
}

// awaitsReceipt says that it may have left so lately that no rule is asked yet.
func (l *onlooker) awaitsReceipt() bool {
	last := l.last()
	return l.standing.state == Uncertain && !l.standing.decided && l.due.After(l.now) && last != nil && last.at.Add(l.rules.UncertainWait).After(l.now)
}

// verdict is what the claim's rule book would say at a time, by what is known now.
func (l *onlooker) verdict(ctx context.Context, a *Attempt, at time.Time) (decision, bool, error) {
	l.desk.now = func() time.Time { return at }
	var digests [][]byte
	var fresh, tried []int64
	own := int64(a.ID)
	if l.row.tries > 0 {
		tried, own = append(tried, own), 0
	}
	for _, digest := range a.digests() {
		digests, fresh = append(digests, digest[:]), append(fresh, own)
	}
	known, err := l.desk.facts(ctx, digests, fresh, tried)
	if err != nil {
		return decision{}, false, err
	}
	dec, send := l.desk.verdict(a, l.snap, l.rules, known, at)
	return dec, send, nil
}

// putOff is the gate of a row that the rule book, asked at a time, puts off.
func (l *onlooker) putOff(ctx context.Context, w Waiting, dec decision, at time.Time) (Waiting, error) {
	switch dec.reason {
	case ReasonHeld:
		return l.tried(ctx, Waiting{Gate: GateHeld})
	case ReasonCap:
		return w.at(GateCap, dec.due), nil
	case ReasonGap:
		return w.at(GateGap, dec.due), nil
	}
	w.Zones = l.run.zones
	if _, ever := l.rules.Window(l.run.channel, l.run.wide).NextOpen(at, l.run.zones); !ever {
		dec.due = time.Time{}
	}
	return w.at(GateWindow, dec.due), nil
}

// bindUp is BindState.State of a bind that carries messages.
const bindUp = "bound"

// links finds whether any link of the pool can take the row. One of which nothing has been heard lately is believed to.
func (l *onlooker) links(ctx context.Context, w Waiting) (Waiting, error) {
	rows, err := l.DB.Query(ctx, linksOfSQL, l.desk.hold.pool, reportsWithin)
	if err != nil {
		return w, fmt.Errorf("read links: %w", err)
	}
	var name string
	var state LinkState
	var lately, usable bool
	shut := Waiting{Earliest: w.Earliest}
	_, err = pgx.ForEachRow(rows, []any{&name, &state, &lately}, func() error {
		stopped := stopKey{StopLink, name}
		down := lately && len(state.Binds) > 0 && !slices.ContainsFunc(state.Binds, func(b BindState) bool { return b.State == bindUp })
		switch {
		case l.snap.stops[stopped]:
			if shut.Gate == "" {
				shut.Gate, shut.Stop, shut.Pool, shut.Link = GateStop, l.stops[stopped], l.desk.name, name
			}
		case down:
			if shut.Gate != GateLink {
				bind := state.Binds[0]
				shut.Gate, shut.Stop, shut.Pool, shut.Link = GateLink, 0, l.desk.name, name
				shut.Code, shut.Since, shut.Until = bind.Code, bind.Since, bind.Retry
			}
		default:
			usable = true
		}
		state = LinkState{}
		return nil
	})
	if err != nil {
		return w, fmt.Errorf("read links: %w", err)
	}
	if usable {
		return w, nil
	}
	return shut, nil
}
