package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrInDoubt says that the connection was lost while a commit was under way: the transaction may or may not have happened.
// Doing it again is right only for what may be done twice.
var ErrInDoubt = errors.New("the connection was lost during commit, its result is not known")

// Beginner is a pool, a connection, or a transaction (which then begins a savepoint).
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// InTx runs fn in a transaction: committed, and durable, when InTx returns nil; rolled back when fn fails or panics.
func InTx(ctx context.Context, db Beginner, fn func(pgx.Tx) error) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// Also after ctx has ended, or the connection goes back with its transaction open and has to be thrown away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = tx.Rollback(ctx)
	}()
	if err := fn(tx); err != nil {
		return err
	}
	switch err = tx.Commit(ctx); {
	case err == nil:
		committed = true
		return nil
	case refused(err):
		return fmt.Errorf("commit: %w", err)
	default:
		return fmt.Errorf("commit: %w: %w", ErrInDoubt, err)
	}
}

// refused reports whether a failed commit certainly did nothing: it was not sent, or the server answered and went on. An
// answer that ends the session (FATAL) may follow a commit that has been written.
func refused(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.SeverityUnlocalized == "ERROR"
	}
	// "conn closed" says SafeToRetry, and is what pgx 5.12 makes of a connection lost after COMMIT was sent.
	return errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, pgx.ErrTxClosed) ||
		pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
}
