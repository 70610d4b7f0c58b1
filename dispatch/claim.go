package dispatch

import (
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
		d.started.Add(int64(len(attempts)))
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
