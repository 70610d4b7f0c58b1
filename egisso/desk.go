package egisso

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/journal"
	"ekc/postgres"
)

// SourceStatus is how the reading of one topic goes.
type SourceStatus struct {
	Source, Topic string
	Process       string    // that said so; "" when several read the topic
	Partitions    int       // that are read; 0 while another process has them all, or nobody
	Lag           int64     // messages that are not stored yet
	LastPart      time.Time // when a message was last stored; zero = not since its reader began
	Fault         FaultCode // "" = none
	Since         time.Time // of the fault
	Detail        string    // of a stop: which message broke the rule
	At            time.Time // when this was so
}

// Desk is what people see of the feed and decide about it. It needs the database alone.
type Desk struct {
	DB      *pgxpool.Pool
	Journal *journal.Writer
	Now     func() time.Time
}

const (
	// statusEvery is how often a process says how its reading goes; statusOld is when that is no news any more.
	statusEvery = 2 * time.Second
	statusOld   = 10 * time.Second
	// statusGone is when a topic nobody reads any more is forgotten.
	statusGone = 30 * 24 * time.Hour
)

const statusSQL = `SELECT topic, process, source, partitions, lag, last_part_at, fault, fault_since, at FROM feed_readers WHERE at > $1 ORDER BY topic, at DESC`

const openStopsSQL = `SELECT source, topic, partition_no, offset_no, at FROM feed_stops WHERE lifted_at IS NULL ORDER BY source`

// Status is how the reading of each topic goes, as its readers last said, by source and topic.
func (d *Desk) Status(ctx context.Context) ([]SourceStatus, error) {
	rows, err := d.DB.Query(ctx, statusSQL, d.Now().Add(-statusGone))
	if err != nil {
		return nil, fmt.Errorf("status of the feed: %w", err)
	}
	said, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s SourceStatus, err error) {
		var last, since pgtype.Timestamptz
		err = row.Scan(&s.Topic, &s.Process, &s.Source, &s.Partitions, &s.Lag, &last, &s.Fault, &since, &s.At)
		s.LastPart, s.Since = last.Time, since.Time
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("status of the feed: %w", err)
	}
	var all []SourceStatus
	for _, s := range said {
		fresh := d.Now().Sub(s.At) <= statusOld
		if n := len(all); n > 0 && all[n-1].Topic == s.Topic {
			if fresh { // so is the one before it
				all[n-1].merge(s)
			}
			continue
		}
		if !fresh {
			s.Fault, s.Since, s.Partitions = FaultSilent, s.At, 0
		}
		all = append(all, s)
	}
	stops, err := d.stops(ctx)
	if err != nil {
		return nil, err
	}
	for _, stop := range stops {
		all = slices.DeleteFunc(all, func(s SourceStatus) bool { return s.Source == stop.Source && s.Topic == stop.Topic })
		all = append(all, stop)
	}
	slices.SortFunc(all, func(a, b SourceStatus) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Topic, b.Topic))
	})
	return all, nil
}

// merge adds what another process says of the same topic.
func (s *SourceStatus) merge(o SourceStatus) {
	s.Process = ""
	s.Partitions, s.Lag = s.Partitions+o.Partitions, s.Lag+o.Lag
	if o.LastPart.After(s.LastPart) {
		s.LastPart = o.LastPart
	}
	if o.Fault != "" && (s.Fault == "" || o.Since.Before(s.Since)) {
		s.Fault, s.Since = o.Fault, o.Since
	}
}

func (d *Desk) stops(ctx context.Context) ([]SourceStatus, error) {
	rows, err := d.DB.Query(ctx, openStopsSQL)
	if err != nil {
		return nil, fmt.Errorf("stopped sources: %w", err)
	}
	stops, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (SourceStatus, error) {
		s := SourceStatus{Fault: FaultTransactions, At: d.Now()}
		var partition int
		var offset int64
		err := row.Scan(&s.Source, &s.Topic, &partition, &offset, &s.Since)
		s.Detail = fmt.Sprintf("раздел %d, смещение %d", partition, offset)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("stopped sources: %w", err)
	}
	return stops, nil
}

// ErrNotStopped says that the source is being read, or was resumed already.
var ErrNotStopped = errors.New("this source is not stopped")

const resumeSQL = `UPDATE feed_stops SET lifted_at = @now, lifted_by = @by WHERE source = @source AND lifted_at IS NULL RETURNING id, topic`

// Resume lets a stopped source be read again, within two seconds. Of what its producer wrote in transactions before now every message
// is rejected; what it writes so afterwards stops the source again. Lists that were held stay so: they are ingest's.
func (d *Desk) Resume(ctx context.Context, p journal.Principal, source string) error {
	err := postgres.InTx(ctx, d.DB, func(tx pgx.Tx) error {
		var id int64
		var topic string
		now := d.Now()
		err := tx.QueryRow(ctx, resumeSQL, pgx.NamedArgs{"now": now, "by": p.Account, "source": source}).Scan(&id, &topic)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotStopped
		}
		if err != nil {
			return err
		}
		_, err = d.Journal.Append(ctx, tx, []journal.Entry{{Kind: journal.SourceChanged, At: now, Actor: p.Account, Reason: "resumed",
			Data: journal.Fields("source", source, "topic", topic, "stop", fmt.Sprint(id))}})
		return err
	})
	if err != nil {
		return fmt.Errorf("resume source: %w", err)
	}
	return nil
}

// stopRule is the rule of the contract that a stop names.
const stopRule = "producers are not transactional"

const stopSQL = `
INSERT INTO feed_stops (source, topic, partition_no, offset_no, rule, at) VALUES (@source, @topic, @partition, @offset, @rule, @now)
ON CONFLICT (source) WHERE lifted_at IS NULL DO NOTHING`

// stop notes that a source must not be read further. A stop that stands already stays as it is.
func (d *Desk) stop(ctx context.Context, source string, e *stopError) error {
	err := postgres.InTx(ctx, d.DB, func(tx pgx.Tx) error {
		now := d.Now()
		tag, err := tx.Exec(ctx, stopSQL, pgx.NamedArgs{
			"source": source, "topic": e.topic, "partition": e.partition, "offset": e.offset, "rule": stopRule, "now": now,
		})
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = d.Journal.Append(ctx, tx, []journal.Entry{{Kind: journal.SourceChanged, At: now, Reason: "stopped", Code: string(FaultTransactions),
			Data: journal.Fields("source", source, "topic", e.topic, "partition", fmt.Sprint(e.partition), "offset", fmt.Sprint(e.offset))}})
		return err
	})
	if err != nil {
		return fmt.Errorf("stop source: %w", err)
	}
	return nil
}

const standingSQL = `SELECT source, bool_or(lifted_at IS NULL), max(lifted_at) FROM feed_stops GROUP BY source`

// standing is whether a source is stopped, and when it was last resumed.
type standing struct {
	stopped bool
	resumed time.Time
}

func (d *Desk) standings(ctx context.Context) (map[string]standing, error) {
	rows, err := d.DB.Query(ctx, standingSQL)
	if err != nil {
		return nil, fmt.Errorf("stopped sources: %w", err)
	}
	all := make(map[string]standing)
	var source string
	var s standing
	var resumed pgtype.Timestamptz
	_, err = pgx.ForEachRow(rows, []any{&source, &s.stopped, &resumed}, func() error {
		s.resumed = resumed.Time
		all[source] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("stopped sources: %w", err)
	}
	return all, nil
}

const sayStatusSQL = `
INSERT INTO feed_readers (topic, process, source, partitions, lag, last_part_at, fault, fault_since, at)
VALUES (@topic, @process, @source, @partitions, @lag, @last, @fault, @since, @now)
ON CONFLICT (topic, process) DO UPDATE SET source = @source, partitions = @partitions, lag = @lag, last_part_at = coalesce(@last, feed_readers.last_part_at),
	fault = @fault, fault_since = @since, at = @now`

const forgetStatusSQL = `DELETE FROM feed_readers WHERE at < @gone OR process = @process AND NOT topic = ANY(@topics)`

// say writes down how this process's reading goes, and forgets what it reads no more.
func (d *Desk) say(ctx context.Context, process string, all []SourceStatus) error {
	var batch pgx.Batch
	topics, now := make([]string, len(all)), d.Now()
	for i, s := range all {
		topics[i] = s.Topic
		batch.Queue(sayStatusSQL, pgx.NamedArgs{"topic": s.Topic, "process": process, "source": s.Source, "partitions": s.Partitions, "lag": s.Lag,
			"last": known(s.LastPart), "fault": s.Fault, "since": known(s.Since), "now": now})
	}
	batch.Queue(forgetStatusSQL, pgx.NamedArgs{"gone": now.Add(-statusGone), "process": process, "topics": topics})
	if err := d.DB.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("say how the feed goes: %w", err)
	}
	return nil
}

func known(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }
