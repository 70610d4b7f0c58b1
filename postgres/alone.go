package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Alone lets one process at a time do a work, of all that ask for it, by an advisory lock of a session of its own. Who writes through that
// session cannot write any more once it has lost the lock.
type Alone struct {
	Pool *pgxpool.Pool
	Log  *slog.Logger
	What string // the work, for the log: "place the journal's entries"
	Key  int64  // of the lock
	// Idle is how long the session may be left unused, in a transaction or out of one, before the server ends it and another process may
	// take over; 10 s when zero.
	Idle time.Duration
}

// standbyTick is how often the others ask for the lock.
const standbyTick = time.Second

// Run does the work whenever this process has the lock, until ctx ends, and then returns nil. The work calls healthy whenever it has done
// what it is for; when it fails, or its session does, a new one is taken after a pause.
func (a Alone) Run(ctx context.Context, work func(ctx context.Context, conn *pgx.Conn, healthy func()) error) error {
	var backoff Backoff
	for ctx.Err() == nil {
		err := a.hold(ctx, backoff.Reset, work)
		if ctx.Err() != nil {
			break
		}
		a.Log.Warn("a work that one process does at a time was broken off and is taken up again", "work", a.What, "err", err)
		if backoff.Wait(ctx) != nil {
			break
		}
	}
	return nil
}

// The session is a lease: a holder that is stopped, or whose machine is gone, loses it to these timeouts, and with it the lock.
const aloneSQL = `SET idle_session_timeout = '%[1]dms'; SET idle_in_transaction_session_timeout = '%[1]dms';
	SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3`

func (a Alone) hold(ctx context.Context, healthy func(), work func(context.Context, *pgx.Conn, func()) error) error {
	pooled, err := a.Pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	conn := pooled.Hijack()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	idle := a.Idle
	if idle <= 0 {
		idle = 10 * time.Second
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf(aloneSQL, idle.Milliseconds())); err != nil {
		return fmt.Errorf("prepare session: %w", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for held := false; !held; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, a.Key).Scan(&held); err != nil {
			return fmt.Errorf("take the lock: %w", err)
		}
		if !held {
			healthy()
		}
		timer.Reset(standbyTick)
	}
	return work(ctx, conn, healthy)
}
