package dispatch

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
)

// copying is rows in the binary form of COPY, built by hand: what comes in thousands is worth not boxing every field.
type copying struct{ buf []byte }

// newCopying makes room for rows of about size bytes.
func newCopying(rows, size int) *copying {
	const header = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // PostgreSQL, COPY, Binary Format
	return &copying{append(make([]byte, 0, len(header)+rows*size+2), header...)}
}

// row begins a row of so many fields; they follow in the order of the columns.
func (c *copying) row(fields int) { c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(fields)) }

func (c *copying) length(n int) { c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(n)) }

func (c *copying) smallint(v int16) {
	c.length(2)
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(v))
}

func (c *copying) integer(v int32) {
	c.length(4)
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(v))
}

func (c *copying) bigint(v int64) {
	c.length(8)
	c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(v))
}

func (c *copying) text(s string) {
	c.length(len(s))
	c.buf = append(c.buf, s...)
}

func (c *copying) bytea(b []byte) {
	c.length(len(b))
	c.buf = append(c.buf, b...)
}

// pgEpoch is where a timestamptz counts its microseconds from, 2000-01-01, in those of Unix.
const pgEpoch = 946_684_800_000_000

func (c *copying) timestamptz(t time.Time) { c.bigint(t.UnixMicro() - pgEpoch) }

// timeOrNull writes NULL for the zero time.
func (c *copying) timeOrNull(t time.Time) {
	if t.IsZero() {
		c.buf = binary.BigEndian.AppendUint32(c.buf, 0xFFFF_FFFF)
		return
	}
	c.timestamptz(t)
}

// send carries the rows out; sql is COPY table (columns) FROM STDIN BINARY.
func (c *copying) send(ctx context.Context, tx pgx.Tx, sql string) error {
	c.buf = binary.BigEndian.AppendUint16(c.buf, 0xFFFF)
	_, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(c.buf), sql)
	return err
}
