package dispatch

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestNothingLeavesBeforeItsPartitionIsThere: the first attempts of a day that found no partition would keep it from being made.
func TestNothingLeavesBeforeItsPartitionIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 50})
	w.tx(func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, poolLock(-1)); err != nil {
			return err
		}
		w.start("a", w.pool(wire, nil))
		const waits = `EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`
		w.await("the partitions are being made", func() bool { return w.int(`SELECT (`+waits+`)::int`) == 1 })
		for range 20 {
			if w.int(`SELECT count(*) FROM pool_holders WHERE `+waits) > 0 {
				t.Error("a pool was taken before the partitions were made")
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	w.awaitState(list, Delivered, 50)
	if n := w.int(`SELECT count(*) FROM attempts_default`); n != 0 {
		t.Errorf("%d attempts in the default partition, want 0", n)
	}
}

// TestDayThatWasLateKeepsNoOtherPartitionBack has an attempt come before the partition of its day, at midnight after a long stop.
func TestDayThatWasLateKeepsNoOtherPartitionBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	midnight := time.Now().UTC().Truncate(partitionDay).Add(30 * partitionDay)
	w.now = func() time.Time { return midnight }
	core := w.core("a")
	attempt := func(at time.Time) {
		w.exec(`INSERT INTO attempts (notification, at, entry, run, link, no, sequence, state) VALUES (1, $1, 1, 1, 1, 1, 1, 4)`, at)
	}
	attempt(midnight)
	for range 2 { // and it goes on so
		if err := core.makePartitions(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []time.Time{midnight.Add(-time.Microsecond), midnight.Add(time.Hour), midnight.Add(partitionDay), midnight.Add(4*partitionDay - 1)} {
		attempt(at)
	}
	if in, all := w.int(`SELECT count(*) FROM attempts_default`), w.int(`SELECT count(*) FROM attempts`); in != 2 || all != 5 {
		t.Errorf("%d of %d attempts in the default partition, want the 2 of the day that was late, of 5", in, all)
	}
}

// TestNextListFindsItsPartition: numbers of lists run ahead of their runs, and single events are a list each.
func TestNextListFindsItsPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core("a")
	for _, lists := range []int64{1, 5 * partitionLists, 9*partitionLists - 1} { // between two passes, refused all of them
		w.exec(fmt.Sprintf(`SELECT setval('lists_no_seq', %d)`, lists))
		if err := core.makePartitions(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.lists = lists + listsAhead*partitionLists - 1
		w.admit(admit{rows: 1})
	}
}
