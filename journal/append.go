package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/postgres"
)

const (
	blockSize = 1 << 20 // the increment of journal_entry_ids
	maxRow    = 256     // entries in a journal row
	rowFull   = 7800    // bytes, after which a row takes no more: with one more and its columns it still fits a page of the database
	// maxSpread is how far the times inside a row lie from its column at: a search by time may trust the column that far.
	maxSpread = time.Minute
)

// Writer numbers and appends entries. One serves a whole process; its methods may be called concurrently.
type Writer struct {
	mu         sync.Mutex
	next, last int64 // ids that are free in the current block: next ≤ id < last
	scratch    sync.Pool
}

func NewWriter() *Writer {
	return &Writer{scratch: sync.Pool{New: func() any { return &packing{group: make(map[groupKey]int32)} }}}
}

// Append writes the entries as part of tx and returns their ids, in the order of the entries. They have happened when tx
// commits, and have a position some milliseconds later. One call a transaction is cheapest; several are right as well. An entry
// that cannot be written (ErrEntry) is refused before anything is sent, so the transaction goes on.
func (w *Writer) Append(ctx context.Context, tx pgx.Tx, entries []Entry) ([]int64, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	if len(entries) > blockSize {
		return nil, fmt.Errorf("append to journal: %d entries in one call, at most %d", len(entries), blockSize)
	}
	p := w.scratch.Get().(*packing)
	defer w.scratch.Put(p)
	defer p.reset()
	if err := p.pack(entries); err != nil {
		return nil, fmt.Errorf("append to journal: %w", err)
	}
	first, err := w.reserve(ctx, tx, int64(len(entries)))
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(entries))
	for k, i := range p.order {
		ids[i] = first + int64(k)
	}
	if err := p.insert(ctx, tx, first); err != nil {
		return nil, fmt.Errorf("append to journal: %w", err)
	}
	return ids, nil
}

// reserve returns the first of n contiguous ids. The lock is never held across a round trip: two callers that both find the
// block used up fetch one each, and the longer rest is kept.
func (w *Writer) reserve(ctx context.Context, tx pgx.Tx, n int64) (int64, error) {
	w.mu.Lock()
	if w.last-w.next >= n {
		first := w.next
		w.next += n
		w.mu.Unlock()
		return first, nil
	}
	w.mu.Unlock()
	first, err := nextBlock(ctx, tx.Conn().Config())
	if err != nil {
		return 0, fmt.Errorf("reserve journal ids: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if blockSize-n > w.last-w.next {
		w.next, w.last = first+n, first+blockSize
	}
	return first, nil
}

// nextval alone writes to the log one time in 32, and nothing waits for it to be on the disk: the message makes the commit wait.
const nextBlockSQL = `SELECT nextval('journal_entry_ids'), pg_logical_emit_message(true, 'ekc', 'journal ids')`

// nextBlock takes a block that a crash of the server gives to nobody else: the taking is on the disk when it returns. For this it
// has a session of its own, once in a million ids: the caller's transaction is not on the disk before its end, if ever.
func nextBlock(ctx context.Context, config *pgx.ConnConfig) (first int64, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, nextBlockSQL).Scan(&first, nil)
	return first, err
}

type groupKey struct {
	kind                   Kind
	agency, actor, purpose string
	list                   int64
}

func keyOf(e *Entry) groupKey { return groupKey{e.Kind, e.Agency, e.Actor, e.Purpose, e.ListNo} }

// packing turns a batch into journal rows: entries of one kind, list, agency, actor and purpose stand together, in their order.
type packing struct {
	group map[groupKey]int32
	keys  []groupKey
	of    []int32 // group of each entry
	ends  []int32 // where the entries of each group end in order
	order []int32 // entries, group by group
	bytes []byte
	rows  []packedRow
}

type packedRow struct {
	key        int32
	at         time.Time
	count      int
	begin, end int // in bytes
}

// reset drops what would keep the caller's strings alive, and buffers that one great batch has blown up.
func (p *packing) reset() {
	clear(p.group)
	clear(p.keys)
	if cap(p.bytes) > 4<<20 {
		*p = packing{group: make(map[groupKey]int32)}
	}
}

func (p *packing) pack(entries []Entry) error {
	p.keys, p.of, p.ends, p.bytes, p.rows = p.keys[:0], p.of[:0], p.ends[:0], p.bytes[:0], p.rows[:0]
	for i := range entries {
		e := &entries[i]
		key := keyOf(e)
		var g int32
		var ok bool
		if n := len(p.of); n > 0 && p.keys[p.of[n-1]] == key {
			g, ok = p.of[n-1], true
		} else {
			g, ok = p.group[key]
		}
		if !ok {
			if !slices.Contains(kinds[:], e.Kind) {
				return fmt.Errorf("%w: kind %q is not in the list", ErrEntry, e.Kind)
			}
			g = int32(len(p.keys))
			p.group[key] = g
			p.keys = append(p.keys, key)
			p.ends = append(p.ends, 0)
		}
		p.of = append(p.of, g)
		p.ends[g]++
	}
	// A counting sort: ends holds the count of each group, then its start, and in the last loop moves to its end.
	start := int32(0)
	for g, n := range p.ends {
		p.ends[g] = start
		start += n
	}
	p.order = slices.Grow(p.order[:0], len(entries))[:len(entries)]
	for i, g := range p.of {
		p.order[p.ends[g]] = int32(i)
		p.ends[g]++
	}
	for _, i := range p.order {
		if err := p.add(&entries[i], p.of[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *packing) add(e *Entry, g int32) error {
	var row *packedRow
	if n := len(p.rows); n > 0 {
		row = &p.rows[n-1]
	}
	if row == nil || row.key != g || row.count == maxRow || row.end-row.begin >= rowFull || e.At.Sub(row.at).Abs() > maxSpread {
		at := time.UnixMicro(e.At.UnixMicro())
		p.rows = append(p.rows, packedRow{key: g, at: at, begin: len(p.bytes), end: len(p.bytes)})
		row = &p.rows[len(p.rows)-1]
	}
	start := len(p.bytes)
	b, err := e.AppendBinary(append(p.bytes, 0))
	if err != nil {
		return err
	}
	n := len(b) - start - 1
	if n < 0x80 {
		b[start] = byte(n)
	} else {
		var length [binary.MaxVarintLen64]byte
		b = slices.Replace(b, start, start+1, length[:binary.PutUvarint(length[:], uint64(n))]...)
	}
	p.bytes = b
	row.count++
	row.end = len(b)
	return nil
}

const (
	copyRowsSQL = `COPY journal (first_id, count, kind, agency, actor, purpose, list_no, at, entries) FROM STDIN BINARY`
	unplacedSQL = `INSERT INTO unplaced (first_id, count) VALUES ($1, $2)`
)

// insert writes the rows, numbered from first, and the mark for the sequencer.
func (p *packing) insert(ctx context.Context, tx pgx.Tx, first int64) error {
	id := first
	err := postgres.CopyIn(ctx, tx, copyRowsSQL, len(p.rows), func(row *postgres.CopyRow, i int) {
		r := &p.rows[i]
		key := &p.keys[r.key]
		row.Fields(9)
		row.Bigint(id)
		row.Smallint(int16(r.count))
		row.Text(string(key.kind))
		row.Text(key.agency)
		row.Text(key.actor)
		row.Text(key.purpose)
		if key.list != 0 {
			row.Bigint(key.list)
		} else {
			row.Null()
		}
		row.Timestamptz(r.at)
		row.Bytea(p.bytes[r.begin:r.end])
		id += int64(r.count)
	})
	if err != nil {
		return fmt.Errorf("copy rows: %w", err)
	}
	if _, err := tx.Exec(ctx, unplacedSQL, first, len(p.of)); err != nil {
		return fmt.Errorf("mark for the sequencer: %w", err)
	}
	return nil
}

var errRow = errors.New("a journal row does not hold the entries it counts")

// splitRow cuts the bytes of a row into those of its entries, appended to dst.
func splitRow(dst [][]byte, b []byte, count int) ([][]byte, error) {
	for range count {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) || k > 1 && b[k-1] == 0 {
			return dst, errRow
		}
		dst = append(dst, b[k:k+int(n)])
		b = b[k+int(n):]
	}
	if len(b) > 0 {
		return dst, errRow
	}
	return dst, nil
}
