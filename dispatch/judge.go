package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
)

// decision is what becomes of a claimed row that is not sent: it ends, or waits until due.
type decision struct {
	row    *claimed
	run    *run
	state  State  // the end; Pending = it waits
	reason Reason // of the end, or of the wait
	due    time.Time

	adopted *adoption // of the orphan receipts that brought the end
	code    string
}

// facts is what the database knows of the people and the rows of one claim.
type facts struct {
	optOuts  map[citizen.Digest][]string
	contacts map[citizen.Digest]contacts
	underWay map[citizen.Digest]touch    // before contacts were read
	standing map[NotificationID]standing // of rows tried before
	orphans  map[citizen.Digest]orphans
	windows  map[int32]closing // by run: rows of one share their zones and their instant
}

// closing is when a run's window closes; ok is false while it is not open.
type closing struct {
	at time.Time
	ok bool
}

func (f *facts) closesAt(w *citizen.Window, r *run, now time.Time) (time.Time, bool) {
	c, seen := f.windows[r.id]
	if !seen {
		c.at, c.ok = w.ClosesAt(now, r.zones)
		f.windows[r.id] = c
	}
	return c.at, c.ok
}

// orphans are receipts for a phone whose message nobody knows.
type orphans struct {
	delivered int
	failed    AttemptState
	code      string
}

func (f *facts) optedOut(a *Attempt) bool {
	for _, digest := range a.digests() {
		if optOutCovers(f.optOuts[digest], a.Agency) {
			return true
		}
	}
	return false
}

func (f *facts) contactsOf(a *Attempt) (all contacts) {
	for _, digest := range a.digests() {
		c, ok := f.contacts[digest]
		if !ok {
			continue
		}
		all.n += c.n
		if c.last.After(all.last) {
			all.last = c.last
		}
		if all.first.IsZero() || c.first.Before(all.first) {
			all.first = c.first
		}
	}
	return all
}

// contacts are those of one phone by one channel within the last day.
type contacts struct {
	n     int
	last  time.Time
	first time.Time
}

// judge opens the claimed rows and decides of each whether it may leave now. What it lets through is checked once more by Allowed.
func (d *desk) judge(ctx context.Context, rows []*claimed, snap *snapshot, rules *Rules, now time.Time) ([]*Attempt, []decision, error) {
	attempts := make([]*Attempt, 0, len(rows))
	var decisions []decision
	var tried []int64
	digests := make([][]byte, 0, len(rows))
	fresh := make([]int64, 0, len(rows)) // beside digests: the row they are asked for, when it was never tried and so is no contact itself
	var locked []*claimed
	opener := d.opener(len(rows))
	for _, c := range rows {
		r := d.run(c.run)
		a, err := opener.open(ctx, r, c)
		if errors.Is(err, citizen.ErrKeyLocked) {
			d.holdLocked(r, now, err)
			locked = append(locked, c)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if a == nil {
			decisions = append(decisions, decision{row: c, run: r, state: Refused, reason: ReasonUnreadable})
			continue
		}
		attempts = append(attempts, a)
		own := int64(c.id)
		if c.tries > 0 {
			tried = append(tried, own)
			own = 0
		}
		digests, fresh = append(digests, a.digest[:]), append(fresh, own)
		for i := range a.older {
			digests, fresh = append(digests, a.older[i][:]), append(fresh, own)
		}
	}
	d.putBack(locked)
	known, err := d.facts(ctx, digests, fresh, tried)
	if err != nil {
		return nil, nil, err
	}
	kept, refused := d.decide(attempts, snap, rules, known, now)
	return kept, append(decisions, refused...), nil
}

// decide keeps the attempts that may be made, and counts them as contacts. Claimers decide by turns, or two would tell a phone that one may.
func (d *desk) decide(attempts []*Attempt, snap *snapshot, rules *Rules, known *facts, now time.Time) (kept []*Attempt, decisions []decision) {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	kept = attempts[:0]
	for _, a := range attempts {
		if dec, send := d.verdict(a, snap, rules, known, now); send {
			kept = append(kept, a)
			d.touch(a, now)
		} else {
			decisions = append(decisions, dec)
		}
	}
	return kept, decisions
}

// lockedRest is how long a run rests whose key this process cannot open: the right key set may come with the next start.
const lockedRest = 30 * time.Second

// holdLocked lets a run wait, and no other for it.
func (d *desk) holdLocked(r *run, now time.Time, err error) {
	d.mu.Lock()
	seen := r.idleUntil.After(now)
	r.idleUntil = now.Add(lockedRest)
	d.mu.Unlock()
	if !seen { // once for all rows of a claim
		d.log.Error("a list waits: its data key cannot be opened with this key set", slog.Int64("list_no", r.listNo), slog.Any("err", err))
	}
}

// opener unseals the rows of one claim. What each row needs memory for, it has for all at once.
type opener struct {
	*desk
	made    []Attempt // the attempts; never grown, since they are pointed at
	judged  time.Time
	plain   []byte
	content Content
}

func (d *desk) opener(rows int) *opener {
	return &opener{desk: d, made: make([]Attempt, 0, rows), judged: d.now()}
}

// open unseals one of the rows. A nil attempt means that it cannot be read by anybody.
func (o *opener) open(ctx context.Context, r *run, c *claimed) (*Attempt, error) {
	key, err := o.keyring.Key(ctx, o.db, r.dataKey)
	if errors.Is(err, citizen.ErrKeyDestroyed) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("data key of list %d: %w", r.listNo, err)
	}
	o.plain, err = key.Open(o.plain[:0], c.sealed, citizen.RowAAD("notifications", int64(c.id)))
	if err == nil {
		_, err = o.content.decodeMessage(o.plain)
	}
	if err != nil || len(o.content.Phones) == 0 {
		o.log.Error("sealed content could not be read", "notification_id", c.id.String(), "err", err)
		return nil, nil
	}
	c.sealed = nil
	to := o.content.Phones[0]
	digests, err := o.keyring.PhoneDigests(to)
	if err != nil {
		return nil, fmt.Errorf("digest: %w", err)
	}
	o.made = append(o.made, Attempt{ID: c.id, No: c.tries + 1, Agency: r.agency, Sender: r.sender, To: to, Text: o.content.Text, Single: r.lane == LaneSingle,
		run: r, row: c, digest: digests[0], older: digests[1:], judged: o.judged,
		commitment: citizen.Commitment([]byte(o.content.Text), o.content.Salt)})
	return &o.made[len(o.made)-1], nil
}

// verdict is the rule book for one row: send is true when it may leave now.
func (d *desk) verdict(a *Attempt, snap *snapshot, rules *Rules, known *facts, now time.Time) (dec decision, send bool) {
	r, c := a.run, a.row
	end := func(s State, why Reason) (decision, bool) {
		return decision{row: c, run: r, state: s, reason: why}, false
	}
	wait := func(until time.Time, why Reason) (decision, bool) {
		return decision{row: c, run: r, reason: why, due: until}, false
	}
	if c.tries > 0 {
		st := known.standing[c.id]
		c.from = st.state
		c.sequence = max(c.sequence, st.sequence)
		if st.state.Final() {
			return end(st.state, ReasonNone) // a late receipt was first: the row only has to go
		}
		if st.state == Uncertain {
			if o := known.orphans[a.digest]; o.failed != 0 || o.delivered >= int(c.segments) {
				reached := AttemptDelivered
				if o.failed != 0 {
					reached = o.failed
					delete(known.orphans, a.digest) // which of the others were of this message is not known: they are looked at again
				} else {
					o.delivered -= int(c.segments)
					known.orphans[a.digest] = o
				}
				dec, _ := end(endOf(reached), reasonOf(reached, ReasonNone))
				dec.adopted, dec.code = &adoption{id: c.id, digest: a.digest, state: reached, n: max(c.segments, 1)}, o.code
				return dec, false
			}
			if !st.decided && r.state != "cancelling" && (r.onUncertain == "hold" || st.unanswered > resends) {
				return wait(held, ReasonHeld)
			}
			a.Possible = true
		}
	}
	if r.state == "cancelling" {
		return end(Cancelled, ReasonCancelled)
	}
	var validUntil time.Time
	if c.valid != nil {
		validUntil = *c.valid
		if !now.Before(validUntil) {
			return end(OutOfTime, ReasonValidUntil)
		}
	}
	if r.exempt {
		a.Until = validUntil
		return dec, true
	}
	if known.optedOut(a) || snap.optedOut(a) {
		return end(Suppressed, ReasonOptOut)
	}
	if r.channel == "sms" && a.To.Kind() == citizen.Landline {
		return end(Undelivered, ReasonLandline)
	}
	w := rules.Window(r.channel, r.wide)
	closes, open := known.closesAt(w, r, now)
	later := func(earliest time.Time, why, over Reason) (decision, bool) {
		at, ok := w.NextOpen(earliest, r.zones)
		if !ok {
			at = earliest.AddDate(0, 0, 1)
		}
		if !validUntil.IsZero() && !at.Before(validUntil) {
			if over == ReasonCap {
				return end(Suppressed, over)
			}
			return end(OutOfTime, ReasonValidUntil)
		}
		return wait(at, why)
	}
	if !open {
		return later(now, ReasonWindow, ReasonValidUntil)
	}
	seen := known.contactsOf(a)
	onTheirWay := d.touched(a.digest)
	if before := known.underWay[a.digest]; before.n > onTheirWay.n {
		onTheirWay = before // recorded since, perhaps too late to be among those seen
	}
	if most := rules.PerDay[r.channel]; most > 0 && seen.n >= most {
		return later(seen.first.Add(24*time.Hour), ReasonCap, ReasonCap)
	} else if most > 0 && seen.n+onTheirWay.n >= most {
		return later(now.Add(max(rules.Gap, onTheirWayFor)), ReasonNone, ReasonValidUntil) // what becomes of them decides
	}
	last := seen.last
	if onTheirWay.at.After(last) {
		last = onTheirWay.at
	}
	if next := last.Add(rules.Gap); !last.IsZero() && next.After(now) {
		return later(next, ReasonGap, ReasonValidUntil)
	}
	if !d.simulated && rules.Permitted != nil && !rules.Permitted(a.To) {
		return end(Suppressed, ReasonPilot)
	}
	a.Until = closes
	if !validUntil.IsZero() && validUntil.Before(closes) {
		a.Until = validUntil
	}
	return dec, true
}

// onTheirWayFor is how long a row waits for contacts with the same phone that are under way, where no gap is longer.
const onTheirWayFor = time.Minute

// held is the due time of a row that waits for a person; no claim reaches it.
var held = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// What is a contact here is written down by writing.contacted. OFFSET 0 keeps the order of the joins, from each phone to its rows to their
// attempts: planned while the day's attempts are few, the statement would else begin with all of them, and go on doing so when they are
// millions.
const contactsSQL = `
SELECT u.digest, count(DISTINCT (a.notification, a.no)), max(a.at), min(a.at)
FROM unnest($1::bytea[], $4::bigint[]) AS u(digest, fresh)
	CROSS JOIN LATERAL (SELECT ref FROM persons_index WHERE digest = u.digest AND ref_kind = 1 AND ref <> u.fresh OFFSET 0) p
	CROSS JOIN LATERAL (SELECT notification, no, at FROM attempts WHERE notification = p.ref AND at > $3::timestamptz - interval '24 hours'
		AND at < $3::timestamptz + interval '1 hour' AND state IN (2, 4)
		AND link = ANY (ARRAY (SELECT l.no FROM links l JOIN pools o ON o.no = l.pool WHERE o.channel = $2)) OFFSET 0) a
GROUP BY u.digest`

// facts asks the database once for all rows of a claim.
func (d *desk) facts(ctx context.Context, digests [][]byte, fresh, tried []int64) (*facts, error) {
	f := &facts{optOuts: map[citizen.Digest][]string{}, contacts: map[citizen.Digest]contacts{}, windows: map[int32]closing{}}
	if len(digests) == 0 {
		return f, nil
	}
	f.underWay = d.underWay(digests) // first: what is recorded meanwhile is in one of the two
	var b pgx.Batch
	citizen.QueueOptOuts(&b, digests, func(d citizen.Digest, scope string) { f.optOuts[d] = append(f.optOuts[d], scope) })
	complete := false
	if d.lately != nil {
		d.lately.queue(&b, d.channel, d.now(), &complete)
	}
	if err := d.hot.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("look up people: %w", err)
	}
	if complete {
		digests, fresh = d.lately.among(digests, fresh)
	}
	err := d.loadContacts(ctx, f, digests, fresh)
	if err != nil || len(tried) == 0 {
		return f, err
	}
	if f.standing, err = loadStanding(ctx, d.hot, tried); err != nil {
		return nil, err
	}
	f.orphans, err = d.loadOrphans(ctx, tried)
	return f, err
}

// loadContacts counts the contacts of phones within the last day, by any pool of the channel.
func (d *desk) loadContacts(ctx context.Context, f *facts, digests [][]byte, fresh []int64) error {
	if len(digests) == 0 {
		return nil
	}
	rows, err := d.hot.Query(ctx, contactsSQL, digests, d.channel, d.now(), fresh)
	if err != nil {
		return fmt.Errorf("look up contacts: %w", err)
	}
	var digest []byte
	var c contacts
	_, err = pgx.ForEachRow(rows, []any{&digest, &c.n, &c.last, &c.first}, func() error {
		f.contacts[citizen.Digest(digest)] = c
		return nil
	})
	if err != nil {
		return fmt.Errorf("look up contacts: %w", err)
	}
	return nil
}

const orphansSQL = `
SELECT u.digest, o.state, count(DISTINCT o.id), max(o.code)
FROM uncertain u JOIN orphan_receipts o ON o.digest = u.digest AND o.notification IS NULL AND o.at >= u.since AND o.state > 4
WHERE u.notification = ANY($1)
GROUP BY 1, 2`

// loadOrphans finds receipts that came for what is uncertain while it was not yet known to be.
func (d *desk) loadOrphans(ctx context.Context, tried []int64) (map[citizen.Digest]orphans, error) {
	rows, err := d.hot.Query(ctx, orphansSQL, tried)
	if err != nil {
		return nil, fmt.Errorf("look up orphan receipts: %w", err)
	}
	found := map[citizen.Digest]orphans{}
	var digest []byte
	var state AttemptState
	var n int
	var code string
	_, err = pgx.ForEachRow(rows, []any{&digest, &state, &n, &code}, func() error {
		o := found[citizen.Digest(digest)]
		if state == AttemptDelivered {
			o.delivered += n
		} else if state > o.failed {
			o.failed, o.code = state, code
		}
		found[citizen.Digest(digest)] = o
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up orphan receipts: %w", err)
	}
	return found, nil
}

// standing is what is known of a notification that is no longer fresh.
type standing struct {
	state    State
	sequence int16
	attempts int16
	failed   int16 // the last attempt that was accepted and then failed: the notification went on to the next channel
	decided  bool  // a person said to send it again
	// attempts that were written and not answered; what a dead process had claimed may not have left at all and does not count
	unanswered int16
}

// resends is how often a message without an answer is sent again by itself; then a person decides.
const resends = 1

const standingSQL = `
SELECT u.id, coalesce(o.state, CASE WHEN a.accepted > a.failed THEN 1 WHEN a.uncertain > a.failed THEN 2 ELSE 0 END)::smallint,
	greatest(o.sequence, a.sequence, 0)::smallint, coalesce(a.no, 0)::smallint, coalesce(a.failed, 0)::smallint, coalesce(d.decided, false),
	coalesce(a.unanswered, 0)::smallint
FROM unnest($1::bigint[]) AS u(id)
LEFT JOIN outcomes o ON o.id = u.id
LEFT JOIN uncertain d ON d.notification = u.id
LEFT JOIN LATERAL (
	SELECT max(no) FILTER (WHERE state = 4) AS accepted, max(no) FILTER (WHERE state = 2) AS uncertain,
		coalesce(max(no) FILTER (WHERE state IN (5, 6)), 0) AS failed, max(sequence) AS sequence, max(no) AS no,
		count(DISTINCT no) FILTER (WHERE state = 2 AND link <> 0) AS unanswered
	FROM attempts WHERE notification = u.id) a ON true`

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func loadStanding(ctx context.Context, q querier, ids []int64) (map[NotificationID]standing, error) {
	rows, err := q.Query(ctx, standingSQL, ids)
	if err != nil {
		return nil, fmt.Errorf("load standing: %w", err)
	}
	found := make(map[NotificationID]standing, len(ids))
	var id int64
	var s standing
	_, err = pgx.ForEachRow(rows, []any{&id, &s.state, &s.sequence, &s.attempts, &s.failed, &s.decided, &s.unanswered}, func() error {
		found[NotificationID(id)] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load standing: %w", err)
	}
	return found, nil
}

// Allowed is the last look, directly before the wire.
func (d *desk) Allowed(a *Attempt) bool {
	snap := d.control.fresh()
	now := d.now()
	switch {
	case snap == nil,
		now.Sub(a.judged) > recentOptOuts/2,
		!a.Until.IsZero() && !now.Before(a.Until),
		snap.stopped(a.run, d.name):
		return false
	}
	if state, seen := snap.runs[a.run.id]; seen && state != "active" {
		return false
	}
	return a.run.exempt || !snap.optedOut(a)
}

// MayWrite says that the pool is still this process's.
func (d *desk) MayWrite() bool { return d.hold.mayWrite(time.Now()) }

// Stopped says whether a stop holds one link back.
func (d *desk) Stopped(link string) bool {
	snap := d.control.fresh()
	return snap == nil || snap.stops[stopKey{StopLink, link}]
}
