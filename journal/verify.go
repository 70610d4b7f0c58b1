package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/transparency-dev/merkle/compact"
)

// Report is what Verify found. Root is the hash of the whole tree as computed from the entries, not as stored.
type Report struct {
	Size         int64 // positions read, all of them unless there is a Fault
	Rows         int64
	Roots        int64 // stored roots that were computed again
	MissingRoots int64 // full blocks at the end that have none yet; the sequencer adds them
	Unplaced     int64 // committed entries that wait for a position
	Root         []byte
	Fault        *Fault // the first damage, nil when there is none
}

const verifyBlocks = 32

// Verify reads the whole journal: positions follow each other, every entry is canonical and agrees with the columns beside it,
// every root can be computed again, nothing stands outside the order. With a checkpoint kept since, it also shows that the
// entries before it are still the same ones. Damage is in the report; the error says only that it could not be looked.
func Verify(ctx context.Context, q Querier, since Checkpoint) (Report, error) {
	v := verifier{q: q, since: since, tree: tree.NewEmptyRange(0)}
	err := v.run(ctx)
	v.report.Size = int64(v.tree.End())
	v.report.Root = rootHash(v.tree)
	if fault, ok := errors.AsType[*Fault](err); ok {
		v.report.Fault = fault
		return v.report, nil
	}
	if err != nil {
		return v.report, fmt.Errorf("verify journal: %w", err)
	}
	return v.report, nil
}

type verifier struct {
	q        Querier
	since    Checkpoint
	tree     *compact.Range
	block    *compact.Range
	lastRow  int64 // first id of the row seen last, 0 at first
	rootsEnd int64 // number after the last stored root
	report   Report
}

const (
	rootsBetweenSQL = `SELECT no, root FROM roots WHERE no >= $1 AND no < $2 ORDER BY no`
	totalsSQL       = `SELECT (SELECT coalesce(sum(count), 0) FROM journal)::bigint, (SELECT coalesce(sum(count), 0) FROM ranges)::bigint,
		(SELECT coalesce(sum(count), 0) FROM unplaced)::bigint`
	strayRowSQL = `SELECT j.first_id, j.count::bigint FROM journal j
		LEFT JOIN LATERAL (SELECT first_id + count AS ends FROM ranges WHERE first_id <= j.first_id ORDER BY first_id DESC LIMIT 1) r ON true
		WHERE coalesce(r.ends, 0) <= j.first_id
		AND NOT EXISTS (SELECT FROM unplaced u WHERE j.first_id >= u.first_id AND j.first_id < u.first_id + u.count)
		ORDER BY j.first_id LIMIT 1`
	lostSQL = `SELECT u.first_id, u.count::bigint FROM unplaced u
		WHERE (SELECT coalesce(sum(j.count), 0) FROM journal j WHERE j.first_id >= u.first_id AND j.first_id < u.first_id + u.count) <> u.count
		ORDER BY u.first_id LIMIT 1`
)

func (v *verifier) run(ctx context.Context) error {
	// The roots before the head: the sequencer goes on meanwhile.
	if err := v.q.QueryRow(ctx, nextRootSQL).Scan(&v.rootsEnd); err != nil {
		return fmt.Errorf("read last root: %w", err)
	}
	head, err := Head(ctx, v.q)
	if err != nil {
		return err
	}
	if v.rootsEnd > head/rootSize {
		return &Fault{Position: head, Count: v.rootsEnd*rootSize - head, What: "there are roots of positions that are missing"}
	}
	if v.since.Size > head {
		return &Fault{Position: head, Count: v.since.Size - head, What: "positions before the checkpoint are missing"}
	}
	for from := int64(0); from < head; from += verifyBlocks * rootSize {
		if err := v.stretch(ctx, from, min(head, from+verifyBlocks*rootSize)); err != nil {
			return err
		}
	}
	v.report.MissingRoots = head/rootSize - v.report.Roots
	return v.outside(ctx)
}

// compare looks at the tree when it has just grown to the size of the checkpoint.
func (v *verifier) compare() error {
	if int64(v.tree.End()) != v.since.Size {
		return nil
	}
	if !bytes.Equal(rootHash(v.tree), v.since.Root) {
		return &Fault{Position: 0, Count: v.since.Size, What: "these entries are not those of the checkpoint"}
	}
	return nil
}

// stretch verifies the positions from ≤ p < to; from is the beginning of a block.
func (v *verifier) stretch(ctx context.Context, from, to int64) error {
	spans, err := readSpans(ctx, v.q, from, to)
	if err != nil {
		return err
	}
	rows, err := readRows(ctx, v.q, spans, filter{})
	if err != nil {
		return err
	}
	got, err := v.q.Query(ctx, rootsBetweenSQL, from/rootSize, to/rootSize)
	if err != nil {
		return fmt.Errorf("read roots: %w", err)
	}
	roots := make(map[int64][]byte, verifyBlocks)
	var no int64
	var root []byte
	if _, err := pgx.ForEachRow(got, []any{&no, &root}, func() error { roots[no] = root; return nil }); err != nil {
		return fmt.Errorf("read roots: %w", err)
	}
	v.block = tree.NewEmptyRange(0)
	err = walk(spans, rows, true, func(position, id int64, r *row, b []byte) error {
		p, err := decodeAt(position, id, b)
		if err != nil {
			return err
		}
		if what := r.differs(&p.Entry, id == r.firstID); what != "" {
			return &Fault{Position: position, Count: 1, ID: id, What: what}
		}
		if r.firstID != v.lastRow {
			v.lastRow = r.firstID
			v.report.Rows++
		}
		return v.leaf(position, leafHash(b), roots)
	})
	if err != nil {
		return err
	}
	if end := int64(v.tree.End()); end < to {
		return &Fault{Position: end, Count: to - end, What: "positions are missing"}
	}
	return nil
}

func (v *verifier) leaf(position int64, hash []byte, roots map[int64][]byte) error {
	if err := v.block.Append(hash, nil); err != nil {
		return err
	}
	if err := v.tree.Append(hash, nil); err != nil {
		return err
	}
	if v.block.End() == rootSize {
		no := position / rootSize
		root, ok := roots[no]
		switch {
		case ok && !bytes.Equal(root, rootHash(v.block)):
			return &Fault{Position: no * rootSize, Count: rootSize, What: "the entries do not have the root that is kept: " + hex.EncodeToString(root)}
		case ok:
			v.report.Roots++
		case no < v.rootsEnd:
			return &Fault{Position: no * rootSize, Count: rootSize, What: "the root is missing"}
		}
		v.block = tree.NewEmptyRange(0)
	}
	return v.compare()
}

// differs says which column of the row is not what the entry says, "" when none.
func (r *row) differs(e *Entry, first bool) string {
	switch {
	case r.kind != string(e.Kind):
		return "the entry is of another kind than its row"
	case r.agency != e.Agency:
		return "the entry is of another agency than its row"
	case r.actor != e.Actor:
		return "the entry is by another actor than its row"
	case r.purpose != e.Purpose:
		return "the entry has another purpose than its row"
	case r.listNo != e.ListNo:
		return "the entry is of another list than its row"
	case first && !r.at.Equal(e.At), e.At.Sub(r.at).Abs() > maxSpread:
		return "the entry has another time than its row"
	}
	return ""
}

// outside looks for rows the order does not know and for announced entries that are not there.
func (v *verifier) outside(ctx context.Context) error {
	var kept, placed, unplaced int64
	if err := v.q.QueryRow(ctx, totalsSQL).Scan(&kept, &placed, &unplaced); err != nil {
		return fmt.Errorf("count entries: %w", err)
	}
	v.report.Unplaced = unplaced
	if kept == placed+unplaced {
		return nil
	}
	fault := &Fault{Position: NotPlaced, Count: 1, What: "the journal has more or fewer entries than its order"}
	for _, look := range []struct{ sql, what string }{
		{strayRowSQL, "a row stands outside the order"},
		{lostSQL, "entries that wait for their position are missing"},
	} {
		err := v.q.QueryRow(ctx, look.sql).Scan(&fault.ID, &fault.Count)
		if err == nil {
			fault.What = look.what
			return fault
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("look for %s: %w", look.what, err)
		}
	}
	return fault
}
