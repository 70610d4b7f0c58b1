package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// buffersOf runs a statement as the claiming connections plan it, and returns how many buffers it touched.
func (w *world) buffersOf(d *desk, sql string, args ...any) int {
	w.t.Helper()
	return w.plannedBuffers(d.hot, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql, args...)
}

func (w *world) plannedBuffers(db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, explain string, args ...any) int {
	w.t.Helper()
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
			Rows int `json:"Actual Rows"`
		}
	}
	var last int
	for range 2 { // the second time with hint bits set and the catalogue read
		var raw []byte
		err := db.QueryRow(w.t.Context(), explain, args...).Scan(&raw)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &plans); err != nil || len(plans) != 1 {
			w.t.Fatal(err, string(raw))
		}
		if plans[0].Plan.Rows == 0 {
			w.t.Fatal("the statement found nothing: the figure would say nothing")
		}
		last = plans[0].Plan.Hit + plans[0].Plan.Read
	}
	return last
}

func TestClaimCostsTheSameBehindAPausedListOf200000(t *testing.T) {
	t.Parallel()
	const paused, asked, most = 200_000, 100, 500
	w := newWorld(t)
	huge := w.admit(admit{rows: 2, lane: LaneBulk, agency: "0002.000002"})
	list := w.admit(admit{rows: 3000, lane: LaneBulk})
	d, _ := w.deskOf("a")
	var run int32 = int32(w.int(`SELECT id FROM runs WHERE list_no = $1`, list))
	now := time.Now()
	measure := func() (runs, take int) {
		if _, err := w.db.Exec(context.Background(), `ANALYZE outbox, notifications, runs`); err != nil {
			t.Fatal(err)
		}
		return w.buffersOf(d, dueRunsSQL, d.hold.pool, []int16{LaneNormal, LaneBulk}, runsMost, now),
			w.buffersOf(d, takeSQL, []int32{run}, []time.Time{beforeAll}, []int64{0}, []int32{asked}, []time.Time{now})
	}
	runs0, take0 := measure()
	w.tx(func(tx pgx.Tx) error {
		if err := w.adm.Pause(t.Context(), tx, huge); err != nil {
			return err
		}
		if _, err := tx.Exec(t.Context(), `INSERT INTO notifications (id, row_no, external_id, sealed)
			SELECT ($1::bigint << 24) + n, n, n::text, '\x00'::bytea FROM generate_series(3, $2::int) n`, huge, paused); err != nil {
			return fmt.Errorf("notifications: %w", err)
		}
		_, err := tx.Exec(t.Context(), `INSERT INTO outbox (run, due_at, id)
			SELECT r.id, 'epoch', ($1::bigint << 24) + n FROM runs r, generate_series(3, $2::int) n WHERE r.list_no = $1`, huge, paused)
		return err
	})
	runs1, take1 := measure()
	t.Logf("due runs: %d buffers, with %d paused rows ahead %d; %d rows: %d, then %d", runs0, paused, runs1, asked, take0, take1)
	if runs1+take1 > most {
		t.Errorf("a claim touches %d buffers, at most %d are allowed", runs1+take1, most)
	}
	if runs1 > runs0+5 || take1 > take0+asked+30 { // the index of notifications may have grown by a level
		t.Errorf("a claim became dearer behind a paused list: due runs %d to %d, rows %d to %d buffers", runs0, runs1, take0, take1)
	}
}

// A plan made while the day has no attempts yet is used until the table is analysed, when it may have millions.
func TestTheSearchForContactsIsPlannedForManyAttempts(t *testing.T) {
	t.Parallel()
	const attempts, asked, most = 20_000, 10, 200
	w := newWorld(t)
	list := w.admit(admit{rows: asked, lane: LaneBulk})
	d, _ := w.deskOf("a")
	if err := w.core("b").makePartitions(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := d.hot.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := c.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`UPDATE pg_class SET relpages = 1, reltuples = 1e7 WHERE oid = 'persons_index'::regclass`) // as if it were large
	exec(`PREPARE contacts (bytea[], text, timestamptz, bigint[]) AS ` + contactsSQL)
	var explain string
	if err := w.db.QueryRow(t.Context(), `SELECT format('EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE contacts (%L, ''sms'', now(), %L)',
		array_agg(digest), array_agg(0)) FROM persons_index`).Scan(&explain); err != nil {
		t.Fatal(err)
	}
	exec(explain) // planned
	exec(`INSERT INTO attempts (notification, at, entry, run, link, no, sequence, state)
		SELECT ($1::bigint << 24) + n, now(), n, 1, 1, 1, 1, 4 FROM generate_series(1, $2::int) n`, list, attempts)
	if n := w.plannedBuffers(c, explain); n > most {
		t.Errorf("the contacts of %d phones take %d buffers beside %d attempts, at most %d are allowed", asked, n, attempts, most)
	}
}
