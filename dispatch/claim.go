package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// run is a due run as the holder of its pool knows it, with the place in the outbox where the next claim goes on.
type run struct {
	id          int32
	listNo      int64
	agency      string
	channel     string
	plan        []string
	step        int16
	lane        int16
	weight      int16
	zones       citizen.Zones
	wide        bool
	exempt      bool
	onUncertain string
	dataKey     int64
	lifeEvent   string
	template    string
	sender      string
	test        bool
	validUntil  *time.Time
	state       string

	// Guarded by desk.mu. A cursor spares a claim the dead rows at the head of a long run; a run that yields less than was
	// asked is read again from its head, where what is on its way is skipped.
	cursorDue time.Time
	cursorID  int64
	claimed   int       // rows claimed and not yet recorded
	idleUntil time.Time // nothing to take before this instant
}

// claimed is one row of the outbox in this process's hands.
type claimed struct {
	id       NotificationID
	run      int32
	tries    int16
	sequence int16
	due      time.Time
	segments int16
	valid    *time.Time
	inform   *time.Time
	sealed   []byte
	from     State // what is known of the notification before this attempt
	digest   citizen.Digest
	touched  bool // counted in desk.phones
}

// batch is one lease: its row goes when the last of its rows has been recorded.
type batch struct {
	no   int64
	left int
}

const (
	claimMost     = 1000
	claimWorth    = 250  // what a bulk claimer is woken for before its time
	runsMost      = 4000 // due runs looked at in one pass
	pollSingles   = 15 * time.Millisecond
	pollBulk      = 40 * time.Millisecond
	idleRun       = 50 * time.Millisecond
	restRun       = 200 * time.Millisecond // of a run some of whose rows came back unsent
	claimDeadline = 20 * time.Second
)

const dueRunsSQL = `
SELECT id, list_no, agency, channel, plan, step, lane, weight, zones, wide_window, exempt, on_uncertain, data_key, life_event,
	template, sender, test, valid_until, state
FROM runs
WHERE pool = $1 AND lane = ANY($2) AND next_due <= $4 AND state IN ('active', 'cancelling')
ORDER BY lane, next_due
LIMIT $3`

// dueRuns reads the runs that may have something to do, keeping what this process knows of them.
func (d *desk) dueRuns(ctx context.Context, lanes []int16) ([]*run, error) {
	rows, err := d.db.Query(ctx, dueRunsSQL, d.hold.pool, lanes, runsMost, d.now())
	if err != nil {
		return nil, fmt.Errorf("read due runs: %w", err)
	}
	var due []*run
	var r run
	var zones string
	_, err = pgx.ForEachRow(rows, []any{&r.id, &r.listNo, &r.agency, &r.channel, &r.plan, &r.step, &r.lane, &r.weight, &zones, &r.wide,
		&r.exempt, &r.onUncertain, &r.dataKey, &r.lifeEvent, &r.template, &r.sender, &r.test, &r.validUntil, &r.state}, func() error {
		r.zones = citizen.Zones(zones)
		due = append(due, d.know(r))
		r.plan, r.validUntil = nil, nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read due runs: %w", err)
	}
	return due, nil
}

// know returns the run this process already has under the id, with its state brought up to date, or keeps a new one.
func (d *desk) know(r run) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have, ok := d.runs[r.id]; ok {
		have.state = r.state
		return have
	}
	kept := r
	d.runs[r.id] = &kept
	return &kept
}

// pick is how many rows to ask of a run.
type pick struct {
	run      *run
	limit    int
	fromHead bool
}

// choose shares n places among the due runs: lane by lane, and inside a lane among agencies in turn, so that the size of an
// agency's lists buys it nothing. turn moves on by the number of agencies served, so that each has its turn when n is small.
func choose(due []*run, n int, turn *int) []pick {
	var picks []pick
	for len(due) > 0 && n > 0 {
		lane := due[0].lane
		end := slices.IndexFunc(due, func(r *run) bool { return r.lane != lane })
		if end < 0 {
			end = len(due)
		}
		byAgency := make(map[string][]*run)
		var agencies []string
		for _, r := range due[:end] {
			if byAgency[r.agency] == nil {
				agencies = append(agencies, r.agency)
			}
			byAgency[r.agency] = append(byAgency[r.agency], r)
		}
		slices.Sort(agencies)
		served := min(len(agencies), n)
		for i := range served {
			runs := byAgency[agencies[(*turn+i)%len(agencies)]]
			// What the agencies still to serve share evenly.
			share := (n + served - i - 1) / (served - i)
			n -= share
			weights := 0
			for _, r := range runs {
				weights += int(r.weight)
			}
			for _, r := range runs {
				part := max(1, share*int(r.weight)/weights)
				part = min(part, share)
				if part == 0 {
					break
				}
				share -= part
				weights -= int(r.weight)
				picks = append(picks, pick{run: r, limit: part})
				if share == 0 {
					break
				}
			}
			n += share
		}
		*turn += served
		due = due[end:]
	}
	return picks
}

const takeSQL = `
SELECT o.run, o.tries, o.sequence, o.due_at, o.id
FROM unnest($1::int[], $2::timestamptz[], $3::bigint[], $4::int[], $5::timestamptz[]) AS r(run, due_at, id, places, until)
CROSS JOIN LATERAL (
	SELECT run, tries, sequence, due_at, id FROM outbox
	WHERE run = r.run AND (due_at, id) > (r.due_at, r.id) AND due_at <= r.until
	ORDER BY due_at, id LIMIT r.places) o`

// contentsSQL reads by ranges of ids, since a claim of a list is mostly one: 40 buffers for 1,000 rows in place of 3,000.
const contentsSQL = `
SELECT n.id, n.segments, n.valid_until, n.inform_by, n.sealed
FROM unnest($1::bigint[], $2::bigint[]) AS u(first, last)
JOIN notifications n ON n.id BETWEEN u.first AND u.last`

// claimLoop claims for some lanes until ctx ends.
func (d *desk) claimLoop(ctx context.Context, lanes []int16, poll time.Duration) error {
	turn := 0
	wake := make(chan struct{}, 1)
	d.mu.Lock()
	d.wakes = append(d.wakes, wake)
	d.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	single := lanes[0] == LaneSingle
	for {
		least := 1
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-wake:
			if !single {
				least = claimWorth
			}
		}
		pause := poll
		took, err := d.claimOnce(ctx, lanes, &turn, least)
		if took < 0 {
			continue // too little to be worth a claim before the timer
		}
		switch {
		case errors.Is(err, ErrFenced):
			return err
		case err != nil && ctx.Err() == nil:
			d.log.Warn("claim failed", slog.Any("err", err))
			pause = time.Second
		case took > 0:
			pause = 0
		}
		timer.Reset(pause)
	}
}

// claimOnce takes what is due, as far as the channel has room and the bound on what is unrecorded allows, and starts it.
// It returns -1 when there is place for less than least.
func (d *desk) claimOnce(ctx context.Context, lanes []int16, turn *int, least int) (int, error) {
	snap := d.control.fresh()
	if snap == nil || !d.hold.mayWrite(time.Now()) || d.draining.Load() {
		return 0, nil
	}
	n := d.reserve(lanes[0] == LaneSingle)
	if d.draining.Load() { // asked again: whoever waits for the end has seen no reservation
		d.unreserve(n)
		return 0, nil
	}
	if n < least && least > 1 {
		d.unreserve(n)
		return -1, nil
	}
	if n == 0 {
		return 0, nil
	}
	defer func() { d.unreserve(n) }()
	ctx, cancel := context.WithTimeout(ctx, claimDeadline)
	defer cancel()

	due, err := d.dueRuns(ctx, lanes)
	if err != nil {
		return 0, err
	}
	now := d.now()
	rules := d.rules()
	due = slices.DeleteFunc(due, func(r *run) bool { return !d.ready(ctx, r, snap, rules, now) })
	if len(due) == 0 {
		return 0, nil
	}
	rows, err := d.take(ctx, choose(due, n, turn))
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	attempts, decisions, err := d.judge(ctx, rows, snap, rules, now)
	if err == nil {
		attempts = d.cut(attempts, n)
	}
	if err == nil && len(attempts) > 0 {
		err = d.lease(ctx, attempts)
	}
	if err != nil {
		d.putBack(rows)
		return 0, err
	}
	if len(decisions) > 0 {
		d.rec.decide(decisions)
	}
	if len(attempts) > 0 {
		d.reached(PointClaimed)
		d.unreserve(n)
		n = 0
		d.ch.Start(attempts)
		d.reached(PointStarted)
	}
	return len(rows), nil
}

// cut keeps as many attempts as the room has segments for, and lets go of the rest.
func (d *desk) cut(attempts []*Attempt, room int) []*Attempt {
	for i, a := range attempts {
		if room <= 0 {
			rest := make([]*claimed, 0, len(attempts)-i)
			for _, a := range attempts[i:] {
				rest = append(rest, a.row)
			}
			d.putBack(rest)
			return attempts[:i]
		}
		room -= int(max(a.row.segments, 1))
	}
	return attempts
}

// ready says whether a claim may look into the run now; a run outside its window is put to sleep until the window opens.
func (d *desk) ready(ctx context.Context, r *run, snap *snapshot, rules *Rules, now time.Time) bool {
	d.mu.Lock()
	idle := r.idleUntil.After(now)
	d.mu.Unlock()
	if idle {
		return false
	}
	if r.state == "cancelling" {
		return true
	}
	if snap.stopped(r, d.name) {
		return false
	}
	if r.exempt {
		return true
	}
	w := rules.Window(r.channel, r.wide)
	if w.Open(now, r.zones) {
		return true
	}
	opens, ok := w.NextOpen(now, r.zones)
	if !ok {
		opens = now.AddDate(0, 0, 1) // no hour suits all its zones: asked again tomorrow, the rules may have changed
	}
	if r.validUntil != nil && opens.After(*r.validUntil) {
		return true // its rows end as out_of_time, now rather than in the morning
	}
	d.mu.Lock()
	r.idleUntil = now.Add(time.Second) // whatever becomes of the update
	d.mu.Unlock()
	if _, err := d.db.Exec(ctx, `UPDATE runs SET next_due = greatest(next_due, $2) WHERE id = $1 AND state = 'active'`, r.id, opens); err != nil {
		d.log.Warn("run could not be put to sleep", slog.Int("run", int(r.id)), slog.Any("err", err))
	}
	return false
}

// take reads rows for the picks and marks them as claimed in memory.
func (d *desk) take(ctx context.Context, picks []pick) ([]*claimed, error) {
	ids := make([]int32, len(picks))
	dues := make([]time.Time, len(picks))
	after := make([]int64, len(picks))
	limits := make([]int32, len(picks))
	until := make([]time.Time, len(picks))
	now := d.now()
	asked := make(map[int32]*pick, len(picks))
	d.mu.Lock()
	for i := range picks {
		p := &picks[i]
		ids[i], dues[i], after[i], limits[i] = p.run.id, p.run.cursorDue, p.run.cursorID, int32(p.limit)
		if p.run.cursorID == 0 {
			p.fromHead = true
			dues[i] = beforeAll
			limits[i] += int32(p.run.claimed)
		}
		if until[i] = now; p.run.state == "cancelling" {
			until[i] = held // what waits is ended too
		}
		asked[p.run.id] = p
	}
	d.taking++
	d.mu.Unlock()
	defer d.taken()
	rows, err := d.hot.Query(ctx, takeSQL, ids, dues, after, limits, until)
	if err != nil {
		return nil, fmt.Errorf("take from outbox: %w", err)
	}
	read, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*claimed, error) {
		c := new(claimed)
		return c, row.Scan(&c.run, &c.tries, &c.sequence, &c.due, (*int64)(&c.id))
	})
	if err != nil {
		return nil, fmt.Errorf("take from outbox: %w", err)
	}
	fresh := d.keepNew(read, asked)
	if err := d.contents(ctx, fresh); err != nil {
		d.putBack(fresh)
		return nil, err
	}
	return fresh, nil
}

// contents reads what the claimed rows are about.
func (d *desk) contents(ctx context.Context, rows []*claimed) error {
	if len(rows) == 0 {
		return nil
	}
	byID := make(map[NotificationID]*claimed, len(rows))
	var first, last []int64
	for _, c := range rows {
		byID[c.id] = c
		if n := len(last); n > 0 && int64(c.id) == last[n-1]+1 {
			last[n-1]++
			continue
		}
		first, last = append(first, int64(c.id)), append(last, int64(c.id))
	}
	found, err := d.hot.Query(ctx, contentsSQL, first, last)
	if err != nil {
		return fmt.Errorf("read contents: %w", err)
	}
	var id int64
	var row claimed
	_, err = pgx.ForEachRow(found, []any{&id, &row.segments, &row.valid, &row.inform, &row.sealed}, func() error {
		c := byID[NotificationID(id)]
		c.segments, c.valid, c.inform, c.sealed = row.segments, row.valid, row.inform, row.sealed
		row.valid, row.inform, row.sealed = nil, nil, nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("read contents: %w", err)
	}
	return nil
}

// taken ends a read of the outbox.
func (d *desk) taken() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taking--; d.taking == 0 {
		clear(d.gone)
	}
}

// beforeAll lies before every due time.
var beforeAll = time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)

// keepNew drops what is already on its way, moves the cursors, and settles what becomes of runs that gave less than was asked.
func (d *desk) keepNew(read []*claimed, asked map[int32]*pick) []*claimed {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortFunc(read, func(a, b *claimed) int {
		return cmp.Or(cmp.Compare(a.run, b.run), a.due.Compare(b.due), cmp.Compare(a.id, b.id))
	})
	got := make(map[int32]int, len(asked))
	var fresh []*claimed
	for _, c := range read {
		r := asked[c.run].run
		if have := d.runs[r.id]; have == nil {
			d.runs[r.id] = r // housekeeping has forgotten it since it was found due
		} else if have != r {
			r, asked[c.run].run = have, have
		}
		if _, busy := d.inHand[c.id]; busy {
			continue
		}
		if _, over := d.gone[c.id]; over {
			continue // recorded after the snapshot this was read from
		}
		if got[c.run] == asked[c.run].limit {
			continue // read beyond the share, in place of rows that turned out to be on their way
		}
		got[c.run]++
		d.inHand[c.id] = c
		r.claimed++
		fresh = append(fresh, c)
		r.cursorDue, r.cursorID = c.due, int64(c.id)
	}
	now := d.now()
	for id, p := range asked {
		r := p.run
		if got[id] >= p.limit {
			continue
		}
		r.cursorDue, r.cursorID = time.Time{}, 0
		if got[id] == 0 && p.fromHead {
			if r.claimed == 0 {
				d.empty = append(d.empty, id)
			}
			r.idleUntil = now.Add(idleRun)
		}
	}
	return fresh
}

// putBack forgets a claim that did not come to be.
func (d *desk) putBack(rows []*claimed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range rows {
		d.forget(c, true)
	}
}

// forget lets go of a row; d.mu is held. When the row is still where it was, its run's cursor goes back before it.
func (d *desk) forget(c *claimed, still bool) {
	if d.inHand[c.id] != c {
		return
	}
	delete(d.inHand, c.id)
	if d.taking > 0 && !still {
		d.gone[c.id] = struct{}{}
	}
	if c.touched {
		d.untouch(c.digest)
	}
	if r := d.runs[c.run]; r != nil {
		r.claimed--
		if still && r.cursorID != 0 && (c.due.Before(r.cursorDue) || c.due.Equal(r.cursorDue) && int64(c.id) <= r.cursorID) {
			r.cursorDue, r.cursorID = c.due, int64(c.id)-1
		}
	}
}

// lease writes down what is about to leave, and by whose right; only then may it leave.
func (d *desk) lease(ctx context.Context, attempts []*Attempt) error {
	byRun := make(map[*run][]*Attempt)
	var order []*run
	for _, a := range attempts {
		if byRun[a.run] == nil {
			order = append(order, a.run)
		}
		byRun[a.run] = append(byRun[a.run], a)
	}
	var fenced error
	batches := make([]*batch, len(order))
	err := postgres.InTx(ctx, d.hot, func(tx pgx.Tx) error {
		fenced = nil
		var b pgx.Batch
		d.hold.queueFence(&b, func(err error) { fenced = err })
		for i, r := range order {
			rows := byRun[r] // in the order of the outbox's key, as they were taken
			ids := make([]int64, len(rows))
			for k, a := range rows {
				ids[k] = int64(a.ID)
			}
			first, last := rows[0].row, rows[len(rows)-1].row
			batches[i] = &batch{left: len(ids)}
			b.Queue(`INSERT INTO leases (run, pool, fence, ids, first_due, first_id, last_due, last_id)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING batch`,
				r.id, d.hold.pool, d.hold.fence, ids, first.due, int64(first.id), last.due, int64(last.id)).
				QueryRow(func(row pgx.Row) error { return row.Scan(&batches[i].no) })
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("write leases: %w", err)
		}
		if fenced != nil {
			return fenced
		}
		entries := make([]journal.Entry, len(order))
		for i, r := range order {
			entries[i] = journal.Entry{Kind: journal.BatchClaimed, At: d.now(), Agency: r.agency, ListNo: r.listNo,
				Channel: r.channel, Link: d.name, Count: len(byRun[r])}
		}
		_, err := d.journal.Append(ctx, tx, entries)
		return err
	})
	if err != nil {
		return err
	}
	for i, r := range order {
		for _, a := range byRun[r] {
			a.batch = batches[i]
		}
	}
	return nil
}

// budget is how much this process may have in hand. Lane 0 has a share that bulk lists never take.
type budget struct {
	mu       sync.Mutex
	most     int // claimed or started, and not yet recorded
	singles  int // of which only lane 0 may use
	reserved int // places promised to claims under way
}

func (d *desk) reserve(single bool) int {
	d.mu.Lock()
	inHand := len(d.inHand)
	d.mu.Unlock()
	room := d.ch.Room()
	d.budget.mu.Lock()
	defer d.budget.mu.Unlock()
	free := d.budget.most - inHand
	if !single {
		free -= d.budget.singles
		room -= room / 20 // what single events find free on a fast wire; on a slow one the channel lets them overtake
	}
	n := max(0, min(free, room)-d.budget.reserved)
	n = min(n, claimMost)
	d.budget.reserved += n
	return n
}

func (d *desk) unreserve(n int) {
	d.budget.mu.Lock()
	d.budget.reserved -= n
	d.budget.mu.Unlock()
}
