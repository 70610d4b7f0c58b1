package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// Pool is a set of links that may stand in for each other, and how this installation opens them.
type Pool struct {
	Name       string
	Channel    string   // "sms", "voice"
	Links      []string // names; receipts and attempts name them
	Simulated  bool     // leads to simulators only: the pilot's allow list is not asked
	Unrecorded int      // the most that may have left and not be recorded: what one crash can double; 0 = 2000
	Open       func(Desk) Channel
}

// Config is what a Core needs. All fields but Drain, Now and Metrics are demanded.
type Config struct {
	DB      *pgxpool.Pool
	Hot     *pgxpool.Pool // with pinned plans (postgres.OpenHot): claims and settles
	Journal *journal.Writer
	Keyring *citizen.Keyring
	Rules   func() *Rules // read for every batch
	Routes  Routes
	Process string // unique to this process
	Drain   time.Duration
	Log     *slog.Logger
	Metrics *Metrics
	Now     func() time.Time // windows and terms; time.Now when nil
	Reached func(Point)      // told as the points of a row's way are passed: crash tests kill the process there; nil otherwise
}

// Point is a place where a kill must do no harm.
type Point string

const (
	PointClaimed   Point = "claimed"   // leases are committed, nothing has left
	PointAnswered  Point = "answered"  // results came back, nothing is recorded
	PointStarted   Point = "started"   // the channel has them
	PointRecording Point = "recording" // everything is in the transaction, the commit is to come
	PointRecorded  Point = "recorded"  // committed, nothing is acknowledged yet
)

// Core runs the pools of one process.
type Core struct {
	Config

	mu    sync.Mutex
	desks map[string]*desk
}

// New returns a Core.
func New(cfg Config) *Core {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if cfg.Reached == nil {
		cfg.Reached = func(Point) {}
	}
	cfg.Drain = cmp.Or(cfg.Drain, 30*time.Second)
	return &Core{Config: cfg, desks: map[string]*desk{}}
}

// standby is how often a process that does not hold a pool looks whether it can have it.
const standby = time.Second

// calm is how long a pool must have worked for its next fault to count as the first.
const calm = 10 * time.Minute

// Run takes each pool as soon as it is free, and holds it until ctx ends; then it drains and gives the pools up. A pool that is lost,
// or whose work failed, is taken again. The database may be away: Run waits for it.
func (c *Core) Run(ctx context.Context, pools []Pool) error {
	var g errgroup.Group
	for _, p := range pools {
		g.Go(func() error { return c.runPool(ctx, p) })
	}
	g.Go(func() error { return c.sweep(ctx) })
	return g.Wait()
}

func (c *Core) runPool(ctx context.Context, p Pool) error {
	log := c.Log.With(slog.String("pool", p.Name))
	c.Metrics.present(p)
	registered := false
	pause := standby
	for {
		began := time.Now()
		err := func() error {
			if !registered {
				if err := EnsurePool(ctx, c.DB, p.Name, p.Channel, p.Links); err != nil {
					return err
				}
				// Before the first attempt: those that found no partition of their day keep it from being made.
				if err := c.makePartitions(ctx); err != nil {
					log.Warn("partitions could not be made", slog.Any("err", err))
				}
				registered = true
			}
			hold, err := take(ctx, c.DB, p.Name, c.Process)
			if err != nil || hold == nil {
				return err
			}
			defer hold.release(ctx, c.DB)
			return c.holdPool(ctx, p, hold, log)
		}()
		if ctx.Err() != nil {
			return nil
		}
		wait := standby
		if time.Since(began) > calm {
			pause = standby
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrFenced):
			log.Warn("pool lost", slog.Any("err", err))
		case postgres.IsUnavailable(err):
			log.Warn("pool waits for the database", slog.Any("err", err))
		default:
			log.Error("pool stopped", slog.Any("err", err))
			c.Metrics.PoolFaults.WithLabelValues(p.Name).Inc()
			// Whatever it is may come again, and each time doubles what is uncertain: ever more slowly.
			pause = min(2*pause, time.Minute)
			wait = pause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (c *Core) holdPool(ctx context.Context, p Pool, hold *holding, log *slog.Logger) error {
	d, err := c.newDesk(ctx, p, hold, log)
	if err != nil {
		return err
	}
	marked, err := d.recoverLeases(ctx, mark{reason: ReasonProcessDied, due: c.Now().Add(c.Rules().UncertainWait)})
	if err != nil {
		return fmt.Errorf("recover leases: %w", err)
	}
	log.Info("pool taken", slog.Int64("fence", hold.fence), slog.Int("uncertain", marked))
	c.Metrics.Held.WithLabelValues(p.Name).Set(1)
	defer c.Metrics.Held.WithLabelValues(p.Name).Set(0)
	d.ch = p.Open(d)
	c.mu.Lock()
	c.desks[p.Name] = d
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.desks, p.Name)
		c.mu.Unlock()
	}()
	return d.work(ctx)
}

func (c *Core) newDesk(ctx context.Context, p Pool, hold *holding, log *slog.Logger) (*desk, error) {
	most := cmp.Or(p.Unrecorded, 2000)
	d := &desk{name: p.Name, channel: p.Channel, simulated: p.Simulated, links: map[string]int16{}, linkNames: map[int16]string{},
		db: c.DB, hot: c.Hot, journal: c.Journal, keyring: c.Keyring, rules: c.Rules, routes: c.Routes, pools: map[string]int16{},
		metrics: c.Metrics, log: log, now: c.Now, reached: c.Reached, hold: hold, drain: c.Drain,
		budget: budget{most: most, singles: max(1, most/4)},
		runs:   map[int32]*run{}, inHand: map[NotificationID]*claimed{}, gone: map[NotificationID]struct{}{}, phones: map[citizen.Digest]touch{}}
	d.control = &control{db: c.DB, busy: d.busyRuns}
	d.lately = &lately{read: map[int16]int64{}}
	known := &shared{refs: newRefs(), busy: busy{by: map[NotificationID]*writing{}}}
	d.rec = newRecorder(d, known, func() bool { return d.started.Load() > 0 })
	d.heard = newRecorder(d, known, func() bool { return true })
	var name string
	var no int16
	var own bool
	var b pgx.Batch
	b.Queue(`SELECT l.name, l.no, l.pool = $2 FROM links l JOIN pools p ON p.no = l.pool WHERE p.channel = $1`, p.Channel, hold.pool).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&name, &no, &own}, func() error {
			d.links[name], d.linkNames[no] = no, name
			if own {
				d.own = append(d.own, no)
			}
			return nil
		})
		return err
	})
	b.Queue(`SELECT name, no FROM pools`).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&name, &no}, func() error { d.pools[name] = no; return nil })
		return err
	})
	if err := c.DB.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	return d, nil
}

// Holding says which pools this process holds, for readiness and status.
func (c *Core) Holding() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := make(map[string]bool, len(c.desks))
	for name, d := range c.desks {
		held[name] = d.hold.mayWrite(time.Now())
	}
	return held
}
