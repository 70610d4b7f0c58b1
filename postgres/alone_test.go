package postgres_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func TestSessionOfWhatOneDoesAtATimeIsALease(t *testing.T) {
	t.Parallel()
	pool := postgrestest.New(t)
	alone := postgres.Alone{Pool: pool, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), What: "test", Key: 1}
	for want, idle := range map[string]time.Duration{"10s": 0, "1min": time.Minute} {
		alone.Idle = idle
		ctx, cancel := context.WithCancel(t.Context())
		err := alone.Run(ctx, func(ctx context.Context, conn *pgx.Conn, _ func()) error {
			defer cancel()
			var idle, inTx string
			err := conn.QueryRow(ctx, `SELECT current_setting('idle_session_timeout'), current_setting('idle_in_transaction_session_timeout')`).Scan(&idle, &inTx)
			if err != nil || idle != want || inTx != want {
				t.Errorf("%s, %s, %v", idle, inTx, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneAtATimeAndTheNextWhenItFails(t *testing.T) {
	t.Parallel()
	pool := postgrestest.New(t)
	alone := postgres.Alone{Pool: pool, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), What: "test", Key: 1}
	turns, fail := make(chan int), make(chan struct{})
	for who := range 2 {
		go func() {
			_ = alone.Run(t.Context(), func(ctx context.Context, _ *pgx.Conn, _ func()) error {
				select {
				case turns <- who:
				case <-ctx.Done():
					return nil
				}
				select {
				case <-fail:
				case <-ctx.Done():
				}
				return errors.New("it failed")
			})
		}()
	}
	<-turns
	select {
	case <-turns:
		t.Fatal("two at a time")
	case <-time.After(1500 * time.Millisecond): // the other asks every second
	}
	fail <- struct{}{}
	<-turns
}
