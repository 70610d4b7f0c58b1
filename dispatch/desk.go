package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"ekc/citizen"
	"ekc/journal"
)

// desk is one holding of one pool: everything between taking it and losing it.
type desk struct {
	name      string // of the pool
	channel   string
	simulated bool
	links     map[string]int16
	linkNames map[int16]string
	own       []int16 // links of this pool; links and linkNames have those of the whole channel

	db      *pgxpool.Pool // everything else
	hot     *pgxpool.Pool // claims and settles: plans pinned
	journal *journal.Writer
	keyring *citizen.Keyring
	rules   func() *Rules
	routes  Routes
	pools   map[string]int16
	metrics *Metrics
	log     *slog.Logger
	now     func() time.Time
	reached func(Point)

	hold     *holding
	drain    time.Duration
	stopping <-chan struct{} // closed when the process is to end
	control  *control
	rec      *recorder // of results and decisions
	heard    *recorder // of receipts
	ch       Channel
	lately   *lately // nil: every phone is looked for
	deciding sync.Mutex
	budget   budget

	draining atomic.Bool
	started  atomic.Int64 // attempts the channel has and has not settled

	mu     sync.Mutex
	runs   map[int32]*run
	inHand map[NotificationID]*claimed
	taking int                         // reads of the outbox under way
	gone   map[NotificationID]struct{} // recorded since the oldest of them began: their snapshots may still show these
	phones map[citizen.Digest]touch    // contacts on their way, that the database does not know yet
	empty  []int32                     // runs that gave nothing
	wakes  []chan struct{}
}

type touch struct {
	at time.Time
	n  int
}

func (d *desk) run(id int32) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runs[id]
}

// busyRuns are the runs that have something claimed.
func (d *desk) busyRuns() []int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]int32, 0, len(d.runs))
	for id, r := range d.runs {
		if r.claimed > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// touch counts a contact that is about to be made.
func (d *desk) touch(a *Attempt, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.phones[a.digest]
	d.phones[a.digest] = touch{at: at, n: t.n + 1}
	a.row.digest, a.row.touched = a.digest, true
}

func (d *desk) touched(digest citizen.Digest) touch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.phones[digest]
}

// underWay are the contacts with any of the phones that are about to be made.
func (d *desk) underWay(digests [][]byte) map[citizen.Digest]touch {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found map[citizen.Digest]touch
	for _, digest := range digests {
		if t, ok := d.phones[citizen.Digest(digest)]; ok {
			if found == nil {
				found = make(map[citizen.Digest]touch)
			}
			found[citizen.Digest(digest)] = t
		}
	}
	return found
}

// untouch forgets a contact once it is recorded, or did not take place; d.mu is held.
func (d *desk) untouch(digest citizen.Digest) {
	if t := d.phones[digest]; t.n > 1 {
		d.phones[digest] = touch{at: t.at, n: t.n - 1}
	} else {
		delete(d.phones, digest)
	}
}

func (d *desk) wakeClaimers() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.wakes {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (d *desk) linkNo(name string) int16 { return d.links[name] }

func (d *desk) linkName(no int16) string { return d.linkNames[no] }

func (d *desk) poolFor(channel, agency string, test bool) (int16, bool) {
	name, ok := d.routes(channel, agency, citizen.Phone{}, test)
	if !ok {
		return 0, false
	}
	no, ok := d.pools[name]
	return no, ok
}

// runOrLoad is a run this process knows, or one read now: a receipt may speak of a run that is long over.
func (d *desk) runOrLoad(ctx context.Context, tx pgx.Tx, id int32) (*run, error) {
	if r := d.run(id); r != nil {
		return r, nil
	}
	var r run
	var zones string
	err := tx.QueryRow(ctx, `SELECT id, list_no, agency, channel, plan, step, lane, weight, zones, wide_window, exempt, on_uncertain, data_key,
		life_event, template, sender, test, valid_until, state FROM runs WHERE id = $1`, id).
		Scan(&r.id, &r.listNo, &r.agency, &r.channel, &r.plan, &r.step, &r.lane, &r.weight, &zones, &r.wide, &r.exempt, &r.onUncertain,
			&r.dataKey, &r.lifeEvent, &r.template, &r.sender, &r.test, &r.validUntil, &r.state)
	if err != nil {
		return nil, fmt.Errorf("read run %d: %w", id, err)
	}
	r.zones = citizen.Zones(zones)
	return d.know(r), nil
}

// work holds the pool until ctx ends, and then drains, or until the pool is lost.
func (d *desk) work(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, inner := errgroup.WithContext(inner)
	channelCtx, stopChannel := context.WithCancel(inner)
	defer stopChannel()
	// Recording goes on after the pool is lost: what came back is written if nobody has taken the pool meanwhile.
	recordCtx, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecording()
	hearCtx, stopHearing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHearing()
	d.stopping = ctx.Done()
	errOver := errors.New("drained")

	g.Go(func() error {
		err := d.hold.keep(inner, d.db)
		if errors.Is(err, ErrFenced) {
			return err
		}
		return nil
	})
	g.Go(func() error { d.control.keep(inner); return nil })
	g.Go(func() error { return d.claimLoop(inner, []int16{LaneSingle}, pollSingles) })
	g.Go(func() error { return d.claimLoop(inner, []int16{LaneNormal, LaneBulk}, pollBulk) })
	g.Go(func() error { return d.house(inner) })
	g.Go(func() error {
		defer stopHearing() // after the last result is recorded: no receipt waits for one any more
		return d.rec.run(recordCtx)
	})
	g.Go(func() error {
		err := d.heard.run(hearCtx)
		if err == nil && ctx.Err() != nil {
			return errOver // ends everything else
		}
		return err
	})
	g.Go(func() error {
		defer stopRecording() // after the last result of the channel is in
		err := d.ch.Run(channelCtx)
		if err != nil && channelCtx.Err() == nil {
			return fmt.Errorf("channel %s: %w", d.channel, err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-inner.Done():
			return nil
		case <-ctx.Done():
		}
		d.draining.Store(true)
		d.awaitEmpty(inner, d.drain)
		stopChannel()
		return nil
	})
	err := g.Wait()
	d.hold.lose()
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// awaitEmpty waits until nothing is on its way, at most for drain.
func (d *desk) awaitEmpty(ctx context.Context, drain time.Duration) {
	deadline := time.NewTimer(drain)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		d.mu.Lock()
		left := len(d.inHand)
		d.mu.Unlock()
		d.budget.mu.Lock()
		left += d.budget.reserved // of claims under way
		d.budget.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			d.log.Warn("drain time is over", slog.Int("unanswered", left))
			return
		case <-tick.C:
		}
	}
}

// Report keeps how a link is where every process can read it. It is news, not a record: losing one is no harm.
func (d *desk) Report(s LinkState) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := d.db.Exec(ctx, `UPDATE links SET state = $2, state_at = clock_timestamp() WHERE name = $1`, s.Link, s); err != nil {
		d.log.Debug("link state not kept", slog.String("link", s.Link), slog.Any("err", err))
	}
}
