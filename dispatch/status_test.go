package dispatch

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

var sharedBuffers = regexp.MustCompile(`Buffers: shared hit=(\d+)(?: read=(\d+))?`)

// The pages of a big list cost the same at its end as at its beginning, and a rare state costs no walk through the common one.
func TestAPageOfABigListReadsLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const rows = 60_000
	first, last := int64(MakeID(1, 1)), int64(MakeID(1, rows))
	end := int64(MakeID(2, 0))
	for _, sql := range []string{
		`INSERT INTO notifications (id, row_no, external_id, sealed) SELECT $1::bigint + n, n + 2, n::text, '\x00' FROM generate_series(0, $2::bigint - $1) n`,
		`INSERT INTO outcomes (id, at, entry, state, sequence, attempt) SELECT $1::bigint + n, now(), n, CASE WHEN n % 5000 = 4999 THEN 9 ELSE 10 END, 1, 1 FROM generate_series(0, $2::bigint - $1) n`,
	} {
		if _, err := w.db.Exec(t.Context(), sql, first, last); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.db.Exec(t.Context(), `ANALYZE notifications, outcomes`); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), `VACUUM notifications, outcomes`); err != nil {
		t.Fatal(err)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, c := range []struct {
		name, sql string
		args      []string
	}{
		{"first page", idsSQL, []string{number(first - 1), number(end), "51"}},
		{"last page", idsSQL, []string{number(last - 60), number(end), "51"}},
		{"delivered, deep", deliveredSQL, []string{number(last - 1000), number(end), "51", "10"}},
		{"undelivered, rare", endedSQL, []string{number(first - 1), number(end), "51", "9"}},
		{"stops", stopsSQL, []string{"0", "false", "51"}},
		{"page itself", statusSQL, []string{fmt.Sprintf("'{%d,%d,%d}'", first, first+1, last)}},
	} {
		if read := buffers(t, w, c.sql, c.args...); read > 150 {
			t.Errorf("%s reads %d buffers", c.name, read)
		}
	}
}

// buffers are those a statement reads by its generic plan, which is what a prepared statement ends with.
func buffers(t *testing.T, w *world, sql string, args ...string) int {
	t.Helper()
	conn, err := w.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), `SET plan_cache_mode = force_generic_plan`); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `PREPARE page AS `+sql); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(t.Context()), `DEALLOCATE page`) }()
	rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, BUFFERS) EXECUTE page (`+strings.Join(args, ", ")+`)`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	m := sharedBuffers.FindStringSubmatch(strings.Join(plan, "\n")) // the first is of the whole
	if m == nil {
		t.Fatalf("no buffers are told: %s", plan)
	}
	hit, _ := strconv.Atoi(m[1])
	read, _ := strconv.Atoi(m[2])
	return hit + read
}
