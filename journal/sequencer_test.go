package journal

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// runSequencer runs one until the function it returns is called, or the test ends.
func runSequencer(t *testing.T, pool *pgxpool.Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := NewSequencer(pool, quiet()).Run(ctx); err != nil {
			t.Errorf("sequencer: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// eventually asks until it is so, and fails the test when it is not within a time no machine needs.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func headIs(t *testing.T, pool *pgxpool.Pool, want int64) func() bool {
	return func() bool {
		head, err := Head(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		return head == want
	}
}

func TestConcurrentWritersGetOneOrderWithoutGaps(t *testing.T) {
	t.Parallel()
	pool := postgrestest.New(t)
	runSequencer(t, pool)
	runSequencer(t, pool) // stands by
	w := [2]*Writer{NewWriter(), NewWriter()}
	var mu sync.Mutex
	want := make(map[int64]Entry)
	giveUp := errors.New("rolled back")
	var writers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			for k := range 25 {
				entries := attempts(int64(n+1), 1+k*7%60)
				err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
					ids, err := w[n%2].Append(t.Context(), tx, entries)
					if err != nil {
						return err
					}
					if k%5 == 4 {
						return giveUp
					}
					mu.Lock()
					defer mu.Unlock()
					for i, id := range ids {
						want[id] = entries[i]
					}
					return nil
				})
				if err != nil && !errors.Is(err, giveUp) {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	total := int64(len(want))
	eventually(t, "every entry has its position", headIs(t, pool, total))
	eventually(t, "every full block has its root", func() bool {
		return int64(count(t, pool, `SELECT count(*) FROM roots`)) == total/rootSize
	})
	if report := mustVerify(t, pool, total); report.Roots != total/rootSize {
		t.Errorf("%+v", report)
	}
	next := int64(0)
	for {
		entries, after, err := Follow(t.Context(), pool, next, 100)
		if err != nil {
			t.Fatal(err)
		}
		if after == next {
			break
		}
		for _, p := range entries {
			if p.Position != next || !reflect.DeepEqual(p.Entry, want[p.ID]) {
				t.Fatalf("at %d: %+v, want %+v", next, p, want[p.ID])
			}
			next++
		}
		if next != after {
			t.Fatalf("%d entries read, told to go on from %d", next, after)
		}
	}
	if next != total {
		t.Errorf("followed %d of %d", next, total)
	}
}

func TestTransactionLeftOpenDelaysNobody(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	open, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback(context.Background())
	// It has the first ids, and its row of unplaced is written before all the others.
	early, err := w.Append(t.Context(), open, attempts(1, 10))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		mustAppend(t, pool, w, attempts(2, 30)...)
	}
	if head := mustPlace(t, pool); head != 600 {
		t.Fatalf("%d of 600 placed", head)
	}
	if err := open.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if age, err := OldestUnplaced(t.Context(), pool); err != nil || age <= 0 {
		t.Errorf("oldest unplaced is %v old, %v", age, err)
	}
	if head := mustPlace(t, pool); head != 610 {
		t.Errorf("head %d, want 610", head)
	}
	if found, err := ByIDs(t.Context(), pool, auditor, early[:1]); err != nil || len(found) != 1 || found[0].Position != 600 {
		t.Errorf("%+v, %v: the late one comes last", found, err)
	}
	if age, err := OldestUnplaced(t.Context(), pool); err != nil || age != 0 {
		t.Errorf("oldest unplaced is %v old, %v", age, err)
	}
	mustVerify(t, pool, 610)
}

func TestSequencerKilledBetweenSteps(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	ctx := t.Context()
	mustAppend(t, pool, w, attempts(1, 600)...)
	// Killed before the commit of the positions.
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if head, err := place(ctx, tx); err != nil || head != 600 {
		t.Fatal(head, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if head, err := Head(ctx, pool); err != nil || head != 0 {
		t.Fatalf("head %d, %v", head, err)
	}
	// Killed between the positions and the roots.
	if head, err := place(ctx, pool); err != nil || head != 600 {
		t.Fatal(head, err)
	}
	if report := mustVerify(t, pool, 600); report.MissingRoots != 2 {
		t.Errorf("%+v", report)
	}
	before, err := CheckpointAt(ctx, pool, 600)
	if err != nil {
		t.Fatal(err)
	}
	// Killed before the commit of the roots, and then everything once more.
	if tx, err = pool.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := computeRoots(ctx, tx, 600); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if head := mustPlace(t, pool); head != 600 {
			t.Errorf("head %d", head)
		}
	}
	if report := mustVerify(t, pool, 600); report.MissingRoots != 0 || report.Roots != 2 {
		t.Errorf("%+v", report)
	}
	if after, err := CheckpointAt(ctx, pool, 600); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("checkpoint %+v became %+v, %v", before, after, err)
	}
}

func TestSequencerThatLosesItsSessionTakesAnother(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	runSequencer(t, pool)
	mustAppend(t, pool, w, attempts(1, 10)...)
	eventually(t, "the first ten are placed", headIs(t, pool, 10))
	killed := count(t, pool, `SELECT count(pg_terminate_backend(pid)) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	if killed != 1 {
		t.Fatalf("%d sessions held the lock", killed)
	}
	mustAppend(t, pool, w, attempts(1, 10)...)
	eventually(t, "the next ten are placed", headIs(t, pool, 20))
	mustVerify(t, pool, 20)
}

func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	stop := runSequencer(t, pool)
	mustAppend(t, pool, w, attempt(1, 1))
	eventually(t, "the first is placed", headIs(t, pool, 1))
	runSequencer(t, pool)
	stop()
	mustAppend(t, pool, w, attempt(1, 2))
	eventually(t, "the second is placed", headIs(t, pool, 2))
}

func TestOrderIsThatOfTheTransactionsNotOfTheirIDs(t *testing.T) {
	t.Parallel()
	pool, low, high := postgrestest.New(t), NewWriter(), NewWriter()
	want := mustAppend(t, pool, low, attempt(1, 0))
	for range 4 {
		want = append(want, mustAppend(t, pool, high, attempt(1, 1))...)
		want = append(want, mustAppend(t, pool, low, attempt(1, 2))...)
	}
	mustPlace(t, pool)
	entries, _, err := Follow(t.Context(), pool, 0, 100)
	if err != nil || len(entries) != len(want) {
		t.Fatal(len(entries), err)
	}
	for i, p := range entries {
		if p.ID != want[i] {
			t.Errorf("at %d stands %d, want %d", i, p.ID, want[i])
		}
	}
}

func TestRangesJoinWithinABlockOnly(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	for range 5 {
		mustAppend(t, pool, w, attempts(1, 3)...)
	}
	mustPlace(t, pool)
	if n := count(t, pool, `SELECT count(*) FROM ranges`); n != 1 {
		t.Errorf("%d ranges for transactions whose ids follow each other", n)
	}
	w.next = w.last - 3
	for range 2 {
		mustAppend(t, pool, w, attempts(1, 3)...)
	}
	mustPlace(t, pool)
	if n := count(t, pool, `SELECT count(*) FROM ranges`); n != 3 {
		t.Errorf("%d ranges, want 3: one must not run on into the next block", n)
	}
	mustVerify(t, pool, 21)
}

// What one transaction of 2,000 entries costs the sequencer, roots in.
func BenchmarkPlace(b *testing.B) {
	pool, w := postgrestest.New(b), NewWriter()
	for b.Loop() {
		b.StopTimer()
		mustAppend(b, pool, w, attempts(1, 2000)...)
		b.StartTimer()
		mustPlace(b, pool)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/entry")
}
