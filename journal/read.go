package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Querier is what reading needs: a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var _ Querier = (*pgxpool.Pool)(nil)

// Placed is an entry with its place in the provable order. Positions start at 0 and have no gaps.
type Placed struct {
	Position int64 // NotPlaced when the sequencer has not seen it yet
	ID       int64
	Entry    Entry
}

// NotPlaced is the position of an entry that is committed and has none yet.
const NotPlaced = -1

// Fault is damage of the journal: what stands there cannot have been written by this program.
type Fault struct {
	Position int64 // the first that is wrong, NotPlaced when the order does not know it
	Count    int64 // how many positions from there are in question
	ID       int64 // of the entry, 0 when not known
	What     string
}

func (f *Fault) Error() string {
	return fmt.Sprintf("journal is damaged at position %d (entry %d): %s", f.Position, f.ID, f.What)
}

// span is a stretch of positions with contiguous ids.
type span struct{ position, id, count int64 }

const spansSQL = `SELECT position, first_id, count::bigint FROM ranges
	WHERE position >= coalesce((SELECT max(position) FROM ranges WHERE position <= $1), 0) AND position < $2 ORDER BY position`

// readSpans returns where the positions from ≤ p < to are, or as many of them as there are.
func readSpans(ctx context.Context, q Querier, from, to int64) ([]span, error) {
	rows, err := q.Query(ctx, spansSQL, from, to)
	if err != nil {
		return nil, fmt.Errorf("read journal ranges: %w", err)
	}
	spans, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (span, error) {
		var s span
		err := r.Scan(&s.position, &s.id, &s.count)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read journal ranges: %w", err)
	}
	if n := len(spans); n > 0 && spans[n-1].position+spans[n-1].count <= from {
		return nil, nil // from is past the end
	}
	next := from
	for i := range spans {
		s := &spans[i]
		if skip := from - s.position; skip > 0 {
			s.position, s.id, s.count = from, s.id+skip, s.count-skip
		}
		s.count = min(s.count, to-s.position)
		if s.position != next || s.count <= 0 {
			return nil, &Fault{Position: min(next, s.position), Count: 1, What: "the ranges of positions have a gap or overlap"}
		}
		next += s.count
	}
	return spans, nil
}

// row is a row of journal.
type row struct {
	firstID                      int64
	count                        int64
	kind, agency, actor, purpose string
	listNo                       int64
	at                           time.Time
	entries                      []byte
}

const rowColumns = `first_id, count::bigint, kind, agency, actor, purpose, coalesce(list_no, 0), at, entries`

func scanRow(r pgx.CollectableRow) (row, error) {
	var w row
	err := r.Scan(&w.firstID, &w.count, &w.kind, &w.agency, &w.actor, &w.purpose, &w.listNo, &w.at, &w.entries)
	return w, err
}

// filter narrows what is read by columns of the row; its zero value narrows nothing.
type filter struct {
	kinds  []Kind
	agency *string
}

// idGap is how many unknown ids are read past rather than asked around.
const idGap = 4096

// A row holds at most 256 entries, so one that reaches into [$1, …) begins after $1 - 256. The bounds are constants of the
// statement: a join on computed bounds reads a thousand times as much.
const rowsSQL = `SELECT ` + rowColumns + ` FROM journal WHERE first_id > $1::bigint - 256 AND first_id < $2
	AND ($3::text[] IS NULL OR kind = ANY($3)) AND ($4::text IS NULL OR agency = $4) ORDER BY first_id`

// readRows returns the rows the spans point into, by id, and perhaps some between them.
func readRows(ctx context.Context, q Querier, spans []span, f filter) ([]row, error) {
	byID := slices.Clone(spans)
	slices.SortFunc(byID, func(a, b span) int { return int(max(-1, min(1, a.id-b.id))) })
	var rows []row
	for i := 0; i < len(byID); {
		begin, end := byID[i].id, byID[i].id+byID[i].count
		for i++; i < len(byID) && byID[i].id <= end+idGap; i++ {
			end = max(end, byID[i].id+byID[i].count)
		}
		got, err := q.Query(ctx, rowsSQL, begin, end, f.kinds, f.agency)
		if err != nil {
			return nil, fmt.Errorf("read journal rows: %w", err)
		}
		if rows, err = pgx.AppendRows(rows, got, scanRow); err != nil {
			return nil, fmt.Errorf("read journal rows: %w", err)
		}
	}
	return rows, nil
}

// walk visits the entries of the spans in the order of their positions. With complete set every position must be there.
func walk(spans []span, rows []row, complete bool, visit func(position, id int64, r *row, entry []byte) error) error {
	var entries [][]byte
	for _, s := range spans {
		next, end := s.id, s.id+s.count
		i, _ := slices.BinarySearchFunc(rows, s.id, func(r row, id int64) int {
			if r.firstID+r.count <= id {
				return -1
			}
			return 1
		})
		for ; i < len(rows) && rows[i].firstID < end; i++ {
			r := &rows[i]
			position := func(id int64) int64 { return s.position + id - s.id }
			if complete && r.firstID > next {
				break
			}
			var err error
			if entries, err = splitRow(entries[:0], r.entries, int(r.count)); err != nil {
				first := max(r.firstID, s.id)
				return &Fault{Position: position(first), Count: min(r.firstID+r.count, end) - first, ID: first, What: err.Error()}
			}
			for k, e := range entries {
				id := r.firstID + int64(k)
				if id < next || id >= end {
					continue
				}
				if err := visit(position(id), id, r, e); err != nil {
					return err
				}
			}
			next = max(next, min(r.firstID+r.count, end))
		}
		if complete && next < end {
			if i < len(rows) {
				end = min(end, rows[i].firstID)
			}
			return &Fault{Position: s.position + next - s.id, Count: end - next, ID: next, What: "entries are missing"}
		}
	}
	return nil
}

const hasRowSQL = `SELECT EXISTS (SELECT FROM journal WHERE first_id = $1)`

// Has reports whether the entry that was the first of its transaction is committed. Nobody else gets its id.
func Has(ctx context.Context, q Querier, firstID int64) (there bool, err error) {
	if err = q.QueryRow(ctx, hasRowSQL, firstID).Scan(&there); err != nil {
		return false, fmt.Errorf("look for journal entry: %w", err)
	}
	return there, nil
}

const lastAtSQL = `SELECT at FROM journal WHERE list_no = $1 AND kind = ANY ($2) ORDER BY first_id DESC LIMIT 1`

// LastAt is when the last entry of any of the kinds was made about a list; nil when there is none.
func LastAt(ctx context.Context, q Querier, listNo int64, kinds ...Kind) (*time.Time, error) {
	var at time.Time
	err := q.QueryRow(ctx, lastAtSQL, listNo, kinds).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	at = at.UTC()
	return &at, nil
}

func decodeAt(position, id int64, b []byte) (Placed, error) {
	e, err := Decode(b)
	if err != nil {
		return Placed{}, &Fault{Position: position, Count: 1, ID: id, What: err.Error()}
	}
	return Placed{Position: position, ID: id, Entry: e}, nil
}
