package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
)

// Demand is how much of a list waits in one pool for people of the same zones, from one hour on.
type Demand struct {
	ListNo  int64
	Pool    string
	Channel string
	Lane    int16
	Zones   citizen.Zones
	Wide    bool      // the wider window of the rules
	From    time.Time // not before this
	Rows    int64
}

const (
	demandColumns = `SELECT r.list_no, p.name, r.channel, r.lane, r.zones, r.wide_window,
		date_trunc('hour', greatest(o.due_at, r.next_due, @now::timestamptz), 'UTC') AS due, count(*)
	FROM runs r JOIN pools p ON p.no = r.pool JOIN outbox o ON o.run = r.id`
	demandOfSQL    = demandColumns + ` WHERE r.list_no = @list GROUP BY 1, 2, 3, 4, 5, 6, 7`
	demandAheadSQL = demandColumns + ` WHERE r.state = 'active' AND r.next_due < 'infinity' AND r.list_no <> @list AND r.lane <= @lane AND p.name = ANY (@pools)
	GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY r.lane, r.list_no`
)

// DemandOf is what still waits of a list, going or not.
func DemandOf(ctx context.Context, db *pgxpool.Pool, list int64, now time.Time) ([]Demand, error) {
	return demands(ctx, db, demandOfSQL, pgx.NamedArgs{"list": list, "now": now})
}

// DemandAhead is what waits of lists that go already in these pools, in this lane or one before it, by lane and then by list.
func DemandAhead(ctx context.Context, db *pgxpool.Pool, pools []string, lane int16, except int64, now time.Time) ([]Demand, error) {
	return demands(ctx, db, demandAheadSQL, pgx.NamedArgs{"pools": pools, "lane": lane, "list": except, "now": now})
}

func demands(ctx context.Context, db *pgxpool.Pool, sql string, args pgx.NamedArgs) ([]Demand, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read what waits: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Demand])
	if err != nil {
		return nil, fmt.Errorf("read what waits: %w", err)
	}
	return all, nil
}
