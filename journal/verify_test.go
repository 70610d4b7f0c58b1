package journal

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/transparency-dev/merkle/rfc6962"

	"ekc/postgres/postgrestest"
)

// sound is a journal of 700 positions: 20 rows of 35.
func sound(t *testing.T) (*pgxpool.Pool, *Writer) {
	t.Helper()
	pool, w := postgrestest.New(t), NewWriter()
	for i := range 20 {
		mustAppend(t, pool, w, attempts(int64(i+1), 35)...)
	}
	mustPlace(t, pool)
	return pool, w
}

const rowOf = ` WHERE list_no = 11` // positions 350 to 384, in the block from 256

func TestVerifyNamesTheDamage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		damage   string
		position int64
		count    int64
	}{
		{"one bit of a state", `UPDATE journal SET entries = set_bit(entries, 8 * (octet_length(entries) - 4), 1 - get_bit(entries, 8 * (octet_length(entries) - 4)))` + rowOf, 256, 256},
		{"the version byte", `UPDATE journal SET entries = set_byte(entries, 1, 2)` + rowOf, 350, 1},
		{"the length of the first entry", `UPDATE journal SET entries = set_byte(entries, 0, get_byte(entries, 0) - 1)` + rowOf, 350, 35},
		{"the last byte cut off", `UPDATE journal SET entries = substr(entries, 1, octet_length(entries) - 1)` + rowOf, 350, 35},
		{"a column: agency", `UPDATE journal SET agency = 'other'` + rowOf, 350, 1},
		{"a column: actor", `UPDATE journal SET actor = 'other'` + rowOf, 350, 1},
		{"a column: kind", `UPDATE journal SET kind = 'outcome'` + rowOf, 350, 1},
		{"a column: purpose", `UPDATE journal SET purpose = 'other'` + rowOf, 350, 1},
		{"a column: list", `UPDATE journal SET list_no = NULL` + rowOf, 350, 1},
		{"a column: time", `UPDATE journal SET at = at + interval '1 microsecond'` + rowOf, 350, 1},
		{"a row removed", `DELETE FROM journal` + rowOf, 350, 35},
		{"a row removed, counts mended", `WITH d AS (DELETE FROM journal` + rowOf + ` RETURNING first_id),
			c AS (UPDATE ranges SET count = 350), i AS (INSERT INTO ranges SELECT 350, first_id + 35, 315 FROM d) SELECT`, 256, 256},
		{"two rows change places", `WITH a AS (SELECT first_id, list_no, entries FROM journal WHERE list_no IN (11, 12))
			UPDATE journal j SET list_no = a.list_no, entries = a.entries FROM a WHERE j.list_no IN (11, 12) AND a.list_no <> j.list_no`, 256, 256},
		{"positions change places", `WITH d AS (DELETE FROM ranges RETURNING first_id)
			INSERT INTO ranges SELECT v.position, first_id + v.shift, v.count FROM d,
			(VALUES (1000, 0, 350), (1350, 385, 35), (1385, 350, 35), (1420, 420, 280)) v (position, shift, count);
			UPDATE ranges SET position = position - 1000`, 256, 256},
		{"a gap of positions", `UPDATE ranges SET position = 1`, 0, 1},
		{"a root changed", `UPDATE roots SET root = set_byte(root, 0, (get_byte(root, 0) + 1) % 256) WHERE no = 1`, 256, 256},
		{"a root removed", `DELETE FROM roots WHERE no = 0`, 0, 256},
		{"a root too many", `INSERT INTO roots SELECT 2, root FROM roots WHERE no = 1`, 700, 68},
		{"the end cut off, its roots left", `DELETE FROM ranges; DELETE FROM journal`, 0, 512},
		{"a row outside the order", `INSERT INTO journal SELECT 7, count, kind, agency, actor, purpose, list_no, at, entries FROM journal` + rowOf, NotPlaced, 35},
		{"an announced row that is not there", `INSERT INTO unplaced (first_id, count) VALUES (5, 2)`, NotPlaced, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool, _ := sound(t)
			if _, err := pool.Exec(t.Context(), c.damage); err != nil {
				t.Fatal(err)
			}
			report, err := Verify(t.Context(), pool, Checkpoint{})
			if err != nil {
				t.Fatal(err)
			}
			if f := report.Fault; f == nil || f.Position != c.position || f.Count != c.count {
				t.Errorf("got %+v, want position %d and %d more", f, c.position, c.count)
			}
		})
	}
}

func TestOldCheckpointShowsAJournalWrittenAnew(t *testing.T) {
	t.Parallel()
	pool, w := sound(t)
	ctx := t.Context()
	old, err := CheckpointAt(ctx, pool, 601)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, pool, w, attempts(30, 300)...)
	mustPlace(t, pool)
	if report, err := Verify(ctx, pool, old); err != nil || report.Fault != nil || report.Size != 1000 {
		t.Fatalf("a journal that only grew: %+v, %v", report, err)
	}
	now, err := CheckpointAt(ctx, pool, 1000)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody with the whole database in hand changes one entry and mends everything that can be mended.
	if _, err := pool.Exec(ctx, `UPDATE journal SET entries = set_bit(entries, 8 * (octet_length(entries) - 4), 1 - get_bit(entries, 8 * (octet_length(entries) - 4)))`+rowOf+`; DELETE FROM roots`); err != nil {
		t.Fatal(err)
	}
	mustPlace(t, pool)
	if report, err := Verify(ctx, pool, Checkpoint{}); err != nil || report.Fault != nil {
		t.Fatalf("without a checkpoint nothing is wrong with it: %+v, %v", report, err)
	}
	for _, since := range []Checkpoint{old, now} {
		if report, err := Verify(ctx, pool, since); err != nil || report.Fault == nil || report.Fault.Count != since.Size {
			t.Errorf("since %d: %+v, %v", since.Size, report, err)
		}
	}
	if report, err := Verify(ctx, pool, Checkpoint{Size: 1001, Root: old.Root}); err != nil || report.Fault == nil || report.Fault.Position != 1000 {
		t.Errorf("a checkpoint past the end: %+v, %v", report, err)
	}
}

func TestCheckpointIsTheRFC6962Root(t *testing.T) {
	t.Parallel()
	pool, _ := sound(t)
	leaves, err := readLeaves(t.Context(), pool, 0, 700)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 700} {
		got, err := CheckpointAt(t.Context(), pool, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		if want := mth(leaves[:size]); got.Size != int64(size) || !bytes.Equal(got.Root, want) {
			t.Errorf("%d: %x, want %x", size, got.Root, want)
		}
	}
	if report := mustVerify(t, pool, 700); !bytes.Equal(report.Root, mth(leaves)) {
		t.Errorf("%x", report.Root)
	}
	if _, err := CheckpointAt(t.Context(), pool, 701); err == nil {
		t.Error("a checkpoint of entries that are not there")
	}
}

// mth is RFC 6962 §2.1 word for word.
func mth(leaves [][]byte) []byte {
	switch n := len(leaves); n {
	case 0:
		return rfc6962.DefaultHasher.EmptyRoot()
	case 1:
		return leaves[0]
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		return rfc6962.DefaultHasher.HashChildren(mth(leaves[:k]), mth(leaves[k:]))
	}
}

func BenchmarkVerify(b *testing.B) {
	pool, w := postgrestest.New(b), NewWriter()
	for range 50 {
		mustAppend(b, pool, w, attempts(1, 2000)...)
	}
	mustPlace(b, pool)
	for b.Loop() {
		mustVerify(b, pool, 100_000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/entry")
}
