package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

var auditor = Principal{Account: "auditor", Roles: []Role{RoleAuditor}}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func appendTx(ctx context.Context, pool *pgxpool.Pool, w *Writer, entries ...Entry) (ids []int64, err error) {
	err = postgres.InTx(ctx, pool, func(tx pgx.Tx) error {
		ids, err = w.Append(ctx, tx, entries)
		return err
	})
	return ids, err
}

func mustAppend(t testing.TB, pool *pgxpool.Pool, w *Writer, entries ...Entry) []int64 {
	t.Helper()
	ids, err := appendTx(t.Context(), pool, w, entries...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// mustPlace does what a pass of the sequencer does, and returns the head.
func mustPlace(t testing.TB, pool *pgxpool.Pool) int64 {
	t.Helper()
	if _, err := place(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	head, err := Head(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = computeRoots(t.Context(), pool, head); err != nil {
			t.Fatal(err)
		}
	}
	return head
}

func attempts(list int64, n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = attempt(list, int64(i))
	}
	return entries
}

func count(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAppendNumbersInTheOrderOfTheCaller(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	// Two lists and two kinds in turn, more than one row of each, and one act of a person between them.
	var entries []Entry
	for i := range 700 {
		e := attempt(int64(i%2+1), int64(i))
		if i%3 == 0 {
			e.Kind, e.State = Outcome, "delivered"
		}
		if i == 350 {
			e = Entry{Kind: ListPaused, At: noon, Agency: "SFR77", Actor: "petrova", ListNo: 1}
		}
		entries = append(entries, e)
	}
	ids := mustAppend(t, pool, w, entries...)
	sorted := slices.Sorted(slices.Values(ids))
	if got := sorted[len(sorted)-1] - sorted[0]; got != int64(len(ids)-1) || len(slices.Compact(sorted)) != len(ids) {
		t.Fatalf("%d ids span %d", len(ids), got)
	}
	if n := count(t, pool, `SELECT count(*) FROM unplaced`); n != 1 {
		t.Errorf("%d rows of unplaced for one call", n)
	}
	if n := count(t, pool, `SELECT count(*) FROM journal`); n != 7 {
		t.Errorf("%d rows, want 7: a page or two of outcomes and attempts of two lists, and one act", n)
	}
	mustPlace(t, pool)
	found, err := ByIDs(t.Context(), pool, auditor, ids)
	if err != nil || len(found) != len(ids) {
		t.Fatalf("%d entries, %v", len(found), err)
	}
	byID := make(map[int64]Entry)
	for _, p := range found {
		byID[p.ID] = p.Entry
	}
	for i, id := range ids {
		if !reflect.DeepEqual(byID[id], entries[i]) {
			t.Fatalf("entry %d is %+v, want %+v", i, byID[id], entries[i])
		}
	}
}

func TestAppendSplitsRows(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	var entries []Entry
	for range 2*maxRow + 1 {
		entries = append(entries, Entry{Kind: Attempt, At: noon, ListNo: 1})
	}
	late := attempt(2, 0)
	late.At = late.At.Add(maxSpread + time.Microsecond)
	mustAppend(t, pool, w, append(entries, attempt(2, 1), late)...)
	if n := count(t, pool, `SELECT count(*) FROM journal WHERE list_no = 1`); n != 3 {
		t.Errorf("%d rows for %d entries", n, len(entries))
	}
	if n := count(t, pool, `SELECT count(*) FROM journal WHERE list_no = 2`); n != 2 {
		t.Errorf("%d rows: a search by time would miss entries far from their row", n)
	}
	mustAppend(t, pool, w, attempts(3, 2*maxRow)...)
	if n := count(t, pool, `SELECT count(*) FROM journal WHERE list_no = 3`); n < 3 || n > 2*maxRow/50 {
		t.Errorf("%d rows for %d entries", n, 2*maxRow)
	}
	if n := count(t, pool, `SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'journal'::regclass`); n != 0 {
		t.Errorf("a row does not fit a page: %d bytes are kept beside the table", n)
	}
	var lists []Entry
	for i := range 200 {
		lists = append(lists, Entry{Kind: ListCreated, At: noon, ListNo: int64(100 + i)})
	}
	mustAppend(t, pool, w, lists...)
	if n := count(t, pool, `SELECT count(*) FROM journal WHERE kind = 'list.created'`); n != len(lists) {
		t.Errorf("%d rows, want %d", n, len(lists))
	}
	if n := count(t, pool, `SELECT count(*) FROM journal WHERE list_no IS NULL OR list_no = 0`); n != 0 {
		t.Errorf("%d rows lost their list", n)
	}
	mustPlace(t, pool)
	mustVerify(t, pool, int64(len(entries)+2+2*maxRow+len(lists)))
}

func TestRefusedEntryLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		for _, bad := range []Entry{{Kind: "invented", At: noon}, {Kind: Attempt, At: noon, Code: "\x01"}} {
			if _, err := w.Append(t.Context(), tx, []Entry{attempt(1, 1), bad}); !errors.Is(err, ErrEntry) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		_, err := w.Append(t.Context(), tx, []Entry{attempt(1, 1)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mustPlace(t, pool)
	mustVerify(t, pool, 1)
}

func TestBlockOfIDsUsedUp(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	var ids []int64
	for i := range 5 {
		if i == 2 {
			w.next = w.last - 3 // three are left, four are asked for
		}
		ids = append(ids, mustAppend(t, pool, w, attempts(int64(i), 4)...)...)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 20 {
		t.Errorf("an id was given twice: %v", ids)
	}
	for i := 0; i < len(ids); i += 4 {
		if ids[i]/blockSize != ids[i+3]/blockSize || ids[i+3] != ids[i]+3 {
			t.Errorf("one transaction, ids %v", ids[i:i+4])
		}
	}
	// A second process has a block of its own.
	if other := mustAppend(t, pool, NewWriter(), attempt(1, 1)); slices.ContainsFunc(ids, func(id int64) bool { return id/blockSize == other[0]/blockSize }) {
		t.Errorf("two writers share a block: %d", other[0])
	}
	mustPlace(t, pool)
	mustVerify(t, pool, 21)
}

// TestBlockOfIDsIsNotGivenTwiceAfterACrash kills the server under the transaction that has taken a block, whose holder goes on.
func TestBlockOfIDsIsNotGivenTwiceAfterACrash(t *testing.T) {
	t.Parallel()
	srv := postgrestest.Durable(t)
	open := func() *pgxpool.Pool {
		pool, err := postgres.Open(t.Context(), postgres.Config{URL: srv.URL(), MaxConns: 2})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	// The WAL writer would put on the disk within 200 ms what nobody has waited for.
	if _, err := open().Exec(t.Context(), `ALTER SYSTEM SET wal_writer_delay = '10s'`); err != nil {
		t.Fatal(err)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool, w := open(), NewWriter()
	// One block in 32 is written to the log, for all 32: here that of a transaction which nobody has waited for.
	var taken []int64
	err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT nextval('journal_entry_ids')`); err != nil {
			return err
		}
		return postgres.InTx(t.Context(), pool, func(tx pgx.Tx) (err error) {
			if taken, err = w.Append(t.Context(), tx, attempts(1, 3)); err != nil {
				return err
			}
			return srv.Kill()
		})
	})
	if err == nil || len(taken) != 3 {
		t.Fatalf("ids %v were taken when the server was killed: %v", taken, err)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool = open()
	var others []int64
	for range 2 {
		others = append(others, mustAppend(t, pool, NewWriter(), attempt(2, 1))...)
	}
	own := mustAppend(t, pool, w, attempts(3, 3)...)
	for _, id := range others {
		if id/blockSize == taken[0]/blockSize || id/blockSize == own[0]/blockSize {
			t.Errorf("another process got id %d; taken before the crash: %v, used after it: %v", id, taken, own)
		}
	}
	mustPlace(t, pool)
	mustVerify(t, pool, 5)
}

func mustVerify(t testing.TB, pool *pgxpool.Pool, size int64) Report {
	t.Helper()
	report, err := Verify(t.Context(), pool, Checkpoint{})
	if err != nil || report.Fault != nil || report.Size != size {
		t.Fatalf("want %d sound entries, got %+v, %v", size, report, err)
	}
	return report
}

func BenchmarkPack(b *testing.B) {
	entries := attempts(5, 2000)
	p := NewWriter().scratch.Get().(*packing)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.pack(entries); err != nil {
			b.Fatal(err)
		}
		p.reset()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/entry")
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		entries, lists int
	}{{1, 1}, {2000, 1}, {2000, 50}} {
		b.Run(fmt.Sprintf("%d entries of %d lists", c.entries, c.lists), func(b *testing.B) {
			pool, w := postgrestest.New(b), NewWriter()
			entries := attempts(1, c.entries)
			for i := range entries {
				entries[i].ListNo = int64(i%c.lists + 1)
			}
			tx, err := pool.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Append(b.Context(), tx, entries); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(c.entries), "ns/entry")
		})
	}
}
