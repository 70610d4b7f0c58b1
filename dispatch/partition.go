package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
)

const (
	partitionDay   = 24 * time.Hour
	partitionLists = 4096
	// partitionsEvery and listsAhead bound how fast lists may come: single events are a list each.
	partitionsEvery = time.Minute
	listsAhead      = 4
)

// Partitions keeps partitions ready ahead of time, until ctx ends: days of attempts, and 4096 lists each of notifications. Any number
// of processes may run it, whatever their roles: who admits cannot wait for who sends.
func (c *Core) Partitions(ctx context.Context) error {
	for {
		if err := c.makePartitions(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("partitions could not be made", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(partitionsEvery):
		}
	}
}

// makePartitions makes those that are missing, each by itself: one that cannot be made now keeps no other back.
func (c *Core) makePartitions(ctx context.Context) error {
	var all error
	today := c.Now().UTC().Truncate(partitionDay)
	for i := -1; i <= 3; i++ { // yesterday's for a process whose clock is behind, or a result of before midnight
		from := today.Add(time.Duration(i) * partitionDay)
		all = errors.Join(all, c.makeDay(ctx, from, from.Add(partitionDay)))
	}
	var last int64
	if err := c.DB.QueryRow(ctx, lastListSQL).Scan(&last); err != nil {
		return errors.Join(all, fmt.Errorf("find the last list: %w", err))
	}
	for i := range int64(listsAhead + 1) {
		no := last/partitionLists + i
		from, to := int64(MakeID(no*partitionLists, 0)), int64(MakeID((no+1)*partitionLists, 0))
		all = errors.Join(all, c.makePartition(ctx, "notifications", fmt.Sprintf("notifications_%d", no), fmt.Sprint(from), fmt.Sprint(to)))
	}
	return all
}

// Lists that are refused have a number and no run: were runs alone asked, many of them would leave the next list without a partition.
const lastListSQL = `SELECT greatest((SELECT max(list_no) FROM runs), (SELECT last_value FROM lists_no_seq))`

// strayDaySQL finds what lies in the default partition because that of its day was late. Beside it the day's own cannot be made, and need
// not: the day stays where it began, and is found there all the same.
const strayDaySQL = `SELECT to_regclass($1) IS NULL AND EXISTS (SELECT FROM attempts_default WHERE at >= $2 AND at < $3)`

func (c *Core) makeDay(ctx context.Context, from, to time.Time) error {
	name := "attempts_" + from.Format("20060102")
	var stray bool
	if err := c.DB.QueryRow(ctx, strayDaySQL, name, from, to).Scan(&stray); err != nil || stray {
		return err
	}
	return c.makePartition(ctx, "attempts", name, `'`+from.Format(time.RFC3339)+`'`, `'`+to.Format(time.RFC3339)+`'`)
}

func (c *Core) makePartition(ctx context.Context, table, name, from, to string) error {
	var there bool
	err := c.DB.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&there)
	if err == nil && !there {
		err = postgres.InTx(ctx, c.DB, func(tx pgx.Tx) error {
			// Whoever waits for the table behind a long reader holds up everybody: rather not now, there are some left.
			if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '1s'`); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, poolLock(-1)); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+name+` PARTITION OF `+table+` FOR VALUES FROM (`+from+`) TO (`+to+`)`)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("partition %s: %w", name, err)
	}
	return nil
}
