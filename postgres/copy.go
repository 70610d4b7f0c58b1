package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// CopyIn carries n rows into a table; sql is COPY table (columns) FROM STDIN BINARY. encode writes row i, its fields in the order of the
// columns; it runs on another goroutine, row by row, while the server works at the rows before, so that neither waits for the other and
// no more than a buffer of the rows is in memory. Copying by hand, without boxing every field, is worth it for what comes in thousands.
func CopyIn(ctx context.Context, tx pgx.Tx, sql string, n int, encode func(row *CopyRow, i int)) error {
	buf := copyBuffers.Get().(*[]byte)
	rows := &copyReader{n: n, encode: encode, row: CopyRow{append((*buf)[:0], copyHeader...)}}
	_, err := tx.Conn().PgConn().CopyFrom(ctx, rows, sql)
	if err == nil && cap(rows.row.buf) <= 4*copyBuffer { // after an error the connection may still read
		*buf = rows.row.buf
		copyBuffers.Put(buf)
	}
	return err
}

// The binary form of COPY: PostgreSQL documentation, COPY, "Binary Format".
const (
	copyHeader = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	copyNull   = 0xFFFF_FFFF
	copyEnd    = 0xFFFF
	copyBuffer = 80 << 10 // a message to the server, and a row beyond it
)

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, copyBuffer); return &b }}

// copyReader makes rows as they are read.
type copyReader struct {
	row    CopyRow
	read   int // bytes of row.buf that were taken
	next   int // the row to be made
	n      int
	ended  bool
	encode func(*CopyRow, int)
}

func (r *copyReader) Read(p []byte) (int, error) {
	r.row.buf = r.row.buf[:copy(r.row.buf, r.row.buf[r.read:])] // less than a row is left over
	for r.next < r.n && len(r.row.buf) < len(p) {
		r.encode(&r.row, r.next)
		r.next++
	}
	if r.next == r.n && !r.ended {
		r.ended = true
		r.row.buf = binary.BigEndian.AppendUint16(r.row.buf, copyEnd)
	}
	if r.read = copy(p, r.row.buf); r.read == 0 {
		return 0, io.EOF
	}
	return r.read, nil
}

// CopyRow takes the fields of a row.
type CopyRow struct{ buf []byte }

// Fields begins a row of so many fields.
func (r *CopyRow) Fields(n int) { r.buf = binary.BigEndian.AppendUint16(r.buf, uint16(n)) }

func (r *CopyRow) length(n int) { r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(n)) }

// Smallint writes an int2.
func (r *CopyRow) Smallint(v int16) {
	r.length(2)
	r.buf = binary.BigEndian.AppendUint16(r.buf, uint16(v))
}

// Integer writes an int4.
func (r *CopyRow) Integer(v int32) {
	r.length(4)
	r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(v))
}

// Bigint writes an int8.
func (r *CopyRow) Bigint(v int64) {
	r.length(8)
	r.buf = binary.BigEndian.AppendUint64(r.buf, uint64(v))
}

// Null writes a NULL of any type.
func (r *CopyRow) Null() { r.buf = binary.BigEndian.AppendUint32(r.buf, copyNull) }

// Text writes a text, which must be valid UTF-8 without NUL.
func (r *CopyRow) Text(s string) {
	r.length(len(s))
	r.buf = append(r.buf, s...)
}

// Bytea writes a bytea.
func (r *CopyRow) Bytea(b []byte) {
	r.length(len(b))
	r.buf = append(r.buf, b...)
}

// pgEpoch is where a timestamptz counts its microseconds from, 2000-01-01, in those of Unix.
const pgEpoch = 946_684_800_000_000

// Timestamptz writes a timestamptz.
func (r *CopyRow) Timestamptz(t time.Time) { r.Bigint(t.UnixMicro() - pgEpoch) }

// TimestamptzOrNull writes NULL for the zero time.
func (r *CopyRow) TimestamptzOrNull(t time.Time) {
	if t.IsZero() {
		r.Null()
		return
	}
	r.Timestamptz(t)
}
