package inbound

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
	"ekc/smpp"
)

// Config is what a Register works with. The zero value of the fields from Clock on means their default.
type Config struct {
	DB      *pgxpool.Pool
	Keyring *citizen.Keyring
	Journal *journal.Writer
	Log     *slog.Logger

	Clock   func() time.Time      // time.Now by default
	Metrics prometheus.Registerer // nil: nothing is registered

	// IncompleteAfter is how long after its last part a message is registered without those that never came; 15 min by default.
	IncompleteAfter time.Duration
	// RepeatWithin tells a redelivery from the same words written again: deliver_sm has no identifier of its own, so what is equal in link,
	// addresses, reference and octets and comes within this time is one message. An SMSC offers again what was stored and whose response it
	// did not get: after its response timeout or at the next bind, that is within seconds to minutes. 10 min by default.
	RepeatWithin time.Duration
	// Queue is how many messages and parts may wait to be stored; more are refused for now. 10,000 by default.
	Queue int
}

// Register gives every message of a citizen its number. One serves all links of a process; any number of processes may share a database.
type Register struct {
	Config
	metrics metrics

	mu     sync.Mutex
	jobs   []job
	queued int // messages in jobs
	ended  bool
	wake   chan struct{}
}

// job is one call of Messages.
type job struct {
	batch []smpp.Incoming
	done  func(error)
}

// What Messages gives to done when nothing was tried.
var (
	errQueueFull = errors.New("inbound: too many messages wait to be stored")
	errEnded     = errors.New("inbound: messages are not taken any more")
)

const (
	// batchMost is how many messages one transaction registers, unless one call of Messages brings more.
	batchMost = 1000
	// storeTimeout bounds one transaction, below the time after which SMSCs give a response up.
	storeTimeout = 15 * time.Second
	// endTimeout is how long what waits at the end may still take.
	endTimeout = 5 * time.Second
	// sweepMost is the longest time between two sweeps.
	sweepMost = time.Minute
)

// NewRegister makes a register; messages wait until it runs.
func NewRegister(cfg Config) *Register {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.IncompleteAfter == 0 {
		cfg.IncompleteAfter = 15 * time.Minute
	}
	if cfg.RepeatWithin == 0 {
		cfg.RepeatWithin = 10 * time.Minute
	}
	if cfg.Queue == 0 {
		cfg.Queue = 10_000
	}
	return &Register{Config: cfg, metrics: newMetrics(cfg.Metrics), wake: make(chan struct{}, 1)}
}

// Messages takes a batch from a link (smpp.Handlers.Messages) and never waits. done gets nil once all of it is committed, otherwise an
// error: nothing of it is acknowledged then, and the SMSC offers it again. Register keeps the batch until done is called.
func (r *Register) Messages(batch []smpp.Incoming, done func(error)) {
	r.mu.Lock()
	var refusal error
	switch {
	case r.ended:
		refusal = errEnded
	case r.queued > 0 && r.queued+len(batch) > r.Queue: // a batch that alone is over the limit is taken by itself
		refusal = errQueueFull
	default:
		r.jobs = append(r.jobs, job{batch, done})
		r.queued += len(batch)
		r.metrics.queued.Set(float64(r.queued))
	}
	r.mu.Unlock()
	if refusal != nil {
		r.metrics.refused.Add(float64(len(batch)))
		done(refusal)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run stores what Messages takes and registers, after their time, messages whose parts never came. It returns nil when ctx has ended and
// everything taken is answered. While the database is away nothing is acknowledged and nothing ends. A register runs once.
func (r *Register) Run(ctx context.Context) error {
	var sweeping sync.WaitGroup
	sweeping.Go(func() { r.sweepAll(ctx) })
	defer sweeping.Wait()
	var backoff postgres.Backoff
	for ctx.Err() == nil {
		jobs := r.take()
		if jobs == nil {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
			continue
		}
		if r.answer(context.WithoutCancel(ctx), jobs) {
			backoff.Reset()
		} else {
			_ = backoff.Wait(ctx) // the loop asks ctx itself
		}
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	for jobs := r.take(); jobs != nil; jobs = r.take() {
		r.answer(last, jobs)
	}
	return nil
}

// take gives the calls of one transaction; nil when there are none.
func (r *Register) take() []job {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, messages := 0, 0
	for n < len(r.jobs) && (n == 0 || messages+len(r.jobs[n].batch) <= batchMost) {
		messages += len(r.jobs[n].batch)
		n++
	}
	if n == 0 {
		return nil
	}
	taken := r.jobs[:n:n]
	if r.jobs = r.jobs[n:]; len(r.jobs) == 0 {
		r.jobs = nil
	}
	r.queued -= messages
	r.metrics.queued.Set(float64(r.queued))
	return taken
}

// answer stores the calls in one transaction and tells each what became of it; false when the database could not do it now. If the
// transaction fails by a fault of what is in it, each call gets one of its own, so that one does not stop the others.
func (r *Register) answer(ctx context.Context, jobs []job) (available bool) {
	batch := jobs[0].batch
	if len(jobs) > 1 {
		batch = nil
		for _, j := range jobs {
			batch = append(batch, j.batch...)
		}
	}
	err := r.store(ctx, batch)
	away := postgres.IsUnavailable(err)
	if err != nil && !away && len(jobs) > 1 {
		available = true
		for i := range jobs {
			available = r.answer(ctx, jobs[i:i+1]) && available
		}
		return available
	}
	if err != nil {
		r.metrics.refused.Add(float64(len(batch)))
		level := slog.LevelError
		if away {
			level = slog.LevelWarn
		}
		r.Log.Log(ctx, level, "inbound messages not stored", "count", len(batch), "err", err)
	}
	for _, j := range jobs {
		j.done(err)
	}
	return !away
}

// sweepAll sweeps until ctx ends.
func (r *Register) sweepAll(ctx context.Context) {
	tick := time.NewTicker(max(min(sweepMost, r.IncompleteAfter/10), time.Millisecond))
	defer tick.Stop()
	for {
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("inbound sweep failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
