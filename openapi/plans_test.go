package openapi

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

var sharedBuffers = regexp.MustCompile(`Buffers: shared hit=(\d+)(?: read=(\d+))?`)

func TestPagesOfAccountsReadLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if read := buffers(t, w, accountsSQL, "''", "''", "51"); read > 150 {
		t.Errorf("a page reads %d buffers", read)
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
