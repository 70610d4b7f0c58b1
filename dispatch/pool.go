package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/postgres"
)

// A pool is held by one process at a time. The holder renews every renewEvery and writes nothing once writeFor has passed since
// it last asked for a renewal that was granted; others take the pool over once leaseFor has passed by the database's clock.
// leaseFor - writeFor is what is left for a write that had passed its check.
const (
	renewEvery = 2 * time.Second
	writeFor   = 6 * time.Second
	leaseFor   = 8 * time.Second
)

// ErrFenced says that another process has taken the pool.
var ErrFenced = errors.New("the pool was taken over by another process")

// holding is this process's right to a pool. Its fence number is raised at each takeover, and every settling transaction checks it.
type holding struct {
	pool    int16
	name    string
	fence   int64
	process string

	mu      sync.Mutex
	renewed time.Time // read before the renewal was asked for; has both clocks
	lost    bool
}

// mayWrite is asked directly before a write. It believes whichever of the monotonic and the wall clock says that more time has
// passed: a stopped process sees it on the first, a suspended machine on the second.
func (h *holding) mayWrite(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost {
		return false
	}
	mono, wall := now.Sub(h.renewed), now.Round(0).Sub(h.renewed.Round(0))
	return mono < writeFor && wall < writeFor && wall > -writeFor
}

func (h *holding) set(renewed time.Time) {
	h.mu.Lock()
	h.renewed = renewed
	h.mu.Unlock()
}

func (h *holding) lose() {
	h.mu.Lock()
	h.lost = true
	h.mu.Unlock()
}

// EnsurePool registers a pool and its links by name; numbers are kept for good, since attempts name links by number.
func EnsurePool(ctx context.Context, db *pgxpool.Pool, name, channel string, links []string) error {
	return postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		var no int16
		var was string
		err := tx.QueryRow(ctx, `INSERT INTO pools (name, channel) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING no, channel`, name, channel).Scan(&no, &was)
		if err != nil {
			return fmt.Errorf("register pool %s: %w", name, err)
		}
		if was != channel {
			return fmt.Errorf("pool %s carries %s in this database, and %s by the configuration: give the pool another name", name, was, channel)
		}
		for _, link := range links {
			if _, err := tx.Exec(ctx, `INSERT INTO links (name, pool) VALUES ($1, $2)
				ON CONFLICT (name) DO UPDATE SET pool = excluded.pool`, link, no); err != nil {
				return fmt.Errorf("register link %s: %w", link, err)
			}
		}
		return nil
	})
}

// Contacts of the pool are known without a gap while every fence was raised by who writes them down (lately).
const raiseFenceSQL = `
UPDATE pools SET fence = fence + 1, contacts_fence = fence + 1,
	contacts_since = CASE WHEN contacts_fence = fence THEN contacts_since ELSE clock_timestamp() END
WHERE no = $1 RETURNING fence`

// take tries once to become the pool's holder. It returns nil without an error while another process holds it.
func take(ctx context.Context, db *pgxpool.Pool, name, process string) (*holding, error) {
	h := &holding{name: name, process: process}
	asked := time.Now()
	err := postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		var free bool
		err := tx.QueryRow(ctx, `SELECT p.no, h.pool IS NULL OR h.process = $2 OR h.renewed_at < clock_timestamp() - $3::interval
			FROM pools p LEFT JOIN pool_holders h ON h.pool = p.no WHERE p.name = $1`, name, process, leaseFor).Scan(&h.pool, &free)
		if err != nil {
			return fmt.Errorf("look at pool %s: %w", name, err)
		}
		if !free {
			return errHeld
		}
		// Waits for settling transactions of the old holder; those that come later see the new number and fail.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, poolLock(h.pool)); err != nil {
			return fmt.Errorf("lock pool %s: %w", name, err)
		}
		if err := tx.QueryRow(ctx, raiseFenceSQL, h.pool).Scan(&h.fence); err != nil {
			return fmt.Errorf("raise fence of %s: %w", name, err)
		}
		tag, err := tx.Exec(ctx, `INSERT INTO pool_holders AS h (pool, process, fence, renewed_at) VALUES ($1, $2, $3, clock_timestamp())
			ON CONFLICT (pool) DO UPDATE SET process = $2, fence = $3, renewed_at = clock_timestamp()
			WHERE h.process = $2 OR h.renewed_at < clock_timestamp() - $4::interval`, h.pool, process, h.fence, leaseFor)
		if err != nil {
			return fmt.Errorf("hold pool %s: %w", name, err)
		}
		if tag.RowsAffected() == 0 {
			return errHeld
		}
		return nil
	})
	switch {
	case errors.Is(err, errHeld):
		return nil, nil
	case err != nil:
		return nil, err
	}
	h.renewed = asked
	return h, nil
}

var errHeld = errors.New("held")

// poolLock is the advisory lock key of a pool: settling takes it shared, a takeover exclusively.
func poolLock(pool int16) int64 { return 0x656b63_0001_0000 + int64(pool) }

// keep renews until ctx ends or the pool is lost; it returns ErrFenced when another process has it.
func (h *holding) keep(ctx context.Context, db *pgxpool.Pool) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		asked := time.Now()
		if err := h.renew(ctx, db); err == nil {
			h.set(asked)
		} else if errors.Is(err, ErrFenced) {
			h.lose()
			return err
		}
		if !h.mayWrite(time.Now()) {
			h.lose()
			return fmt.Errorf("pool %s was not renewed for %s: %w", h.name, writeFor, ErrFenced)
		}
	}
}

func (h *holding) renew(ctx context.Context, db *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	tag, err := db.Exec(ctx, `UPDATE pool_holders SET renewed_at = clock_timestamp() WHERE pool = $1 AND fence = $2`, h.pool, h.fence)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrFenced
	}
	return nil
}

// release gives the pool up at once, so that another process need not wait for the lease to run out.
func (h *holding) release(ctx context.Context, db *pgxpool.Pool) {
	h.lose()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
	defer cancel()
	_, _ = db.Exec(ctx, `DELETE FROM pool_holders WHERE pool = $1 AND fence = $2`, h.pool, h.fence)
}

// fence opens a settling transaction's part in the order of takeovers: queued first in its pipeline.
func (h *holding) queueFence(b *pgx.Batch, check func(error)) {
	// A process that is stopped in the middle must not keep the lock for longer than its lease.
	b.Queue(`SET LOCAL idle_in_transaction_session_timeout = '4s'`)
	b.Queue(`SELECT pg_advisory_xact_lock_shared($1)`, poolLock(h.pool))
	b.Queue(`SELECT fence FROM pools WHERE no = $1`, h.pool).QueryRow(func(row pgx.Row) error {
		var fence int64
		if err := row.Scan(&fence); err != nil {
			return err
		}
		if fence != h.fence {
			check(ErrFenced)
		}
		return nil
	})
}
