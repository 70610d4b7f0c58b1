package journal

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func TestFollowSkipsOtherKindsAndMovesOn(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	for i := range 10 {
		entries := attempts(1, 20)
		entries[7].Kind = Outcome
		entries[7].Sequence = i + 1
		mustAppend(t, pool, w, entries...)
	}
	mustPlace(t, pool)
	var sequences []int
	for from, calls := int64(0), 0; ; calls++ {
		entries, next, err := Follow(t.Context(), pool, from, 30, Outcome, StopSet)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range entries {
			if p.Entry.Kind != Outcome || p.Position < from || p.Position >= next {
				t.Errorf("%+v between %d and %d", p, from, next)
			}
			sequences = append(sequences, p.Entry.Sequence)
		}
		if next == from {
			if from != 200 || calls != 7 {
				t.Errorf("ended at %d after %d calls", from, calls)
			}
			break
		}
		from = next
	}
	if len(sequences) != 10 || sequences[0] != 1 || sequences[9] != 10 {
		t.Errorf("%v", sequences)
	}
}

func TestFollowReadsLittle(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	for range 300 {
		mustAppend(t, pool, w, attempts(1, 256)...)
	}
	mustPlace(t, pool)
	if _, err := pool.Exec(t.Context(), `ANALYZE journal, ranges`); err != nil {
		t.Fatal(err)
	}
	for name, sql := range map[string]string{"spans": spansSQL, "rows": rowsSQL} {
		args := []any{int64(40_000), int64(40_100)}
		if name == "rows" {
			spans, err := readSpans(t.Context(), pool, 40_000, 40_100)
			if err != nil || len(spans) != 1 {
				t.Fatal(spans, err)
			}
			args = []any{spans[0].id, spans[0].id + 100, []Kind(nil), (*string)(nil)}
		}
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		if err := pool.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+sql, args...).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		if got := plan[0].Plan.Hit + plan[0].Plan.Read; got > 12 {
			t.Errorf("%s: %d buffers for a page of 100", name, got)
		}
	}
}

func TestFollowerIsMovedByOneOnly(t *testing.T) {
	t.Parallel()
	pool := postgrestest.New(t)
	move := func(from, next int64) error {
		return postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return SaveFollower(t.Context(), tx, "counters", from, next) })
	}
	for _, c := range []struct {
		from, next int64
		want       error
	}{{0, 10, nil}, {0, 10, ErrFollowerMoved}, {10, 25, nil}, {10, 30, ErrFollowerMoved}, {24, 30, ErrFollowerMoved}} {
		if err := move(c.from, c.next); !errors.Is(err, c.want) {
			t.Errorf("%d to %d: %v, want %v", c.from, c.next, err, c.want)
		}
	}
	if at, err := FollowerPosition(t.Context(), pool, "counters"); err != nil || at != 25 {
		t.Errorf("at %d, %v", at, err)
	}
	if at, err := FollowerPosition(t.Context(), pool, "publisher"); err != nil || at != 0 {
		t.Errorf("at %d, %v", at, err)
	}
}
