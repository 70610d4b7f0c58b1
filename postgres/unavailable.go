package postgres

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// unavailableCodes are the conditions that pass without anybody changing the work itself: PostgreSQL, appendix A.
var unavailableCodes = map[string]bool{
	"25006": true, // read_only_sql_transaction: a standby, or the disk guard of an administrator
	"25P03": true, // idle_in_transaction_session_timeout
	"40001": true, // serialization_failure
	"40P01": true, // deadlock_detected
	"55P03": true, // lock_not_available: lock_timeout
	"57014": true, // query_canceled: statement_timeout
	"57P01": true, // admin_shutdown
	"57P02": true, // crash_shutdown
	"57P03": true, // cannot_connect_now: starting up, shutting down, in recovery
	"57P05": true, // idle_session_timeout
	"58030": true, // io_error
}

// IsUnavailable reports whether the database could not do it now and the same may succeed later: away, starting, stopping,
// full, read-only, out of connections, too slow, or a lock lost to somebody else. Callers wait (Backoff) and try again; any
// other error is a fault of the work or of the program. It is false when the caller's own context was cancelled.
func IsUnavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return unavailableCodes[pg.Code] ||
			class(pg.Code) == "08" || // connection_exception
			class(pg.Code) == "53" // insufficient_resources: disk_full 53100, too_many_connections 53300
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, ErrInDoubt) || pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

func class(code string) string {
	if len(code) < 2 {
		return ""
	}
	return code[:2]
}

// Backoff spaces out attempts: each wait is twice the last, from First to Most, shortened at random by up to a half so that
// processes do not return together. The zero value waits 100ms to 5s. It belongs to one goroutine.
type Backoff struct {
	First, Most time.Duration
	next        time.Duration
}

// Wait returns nil when the time has passed, or the context's error as soon as it ends.
func (b *Backoff) Wait(ctx context.Context) error {
	first, most := b.First, b.Most
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 5 * time.Second
	}
	d := min(max(b.next, first), most)
	b.next = 2 * d
	timer := time.NewTimer(d - time.Duration(rand.Int64N(int64(d)/2+1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Reset is called after a success: the next wait is First again.
func (b *Backoff) Reset() { b.next = 0 }
