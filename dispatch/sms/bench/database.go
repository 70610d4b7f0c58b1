package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/postgres"
	"ekc/postgres/measure"
)

// keysetVariable hands the hub the key set of this run.
const keysetVariable = "BENCH_KEYSET"

// bench is one run: the private server with an empty migrated database as template, and what was measured so far.
type bench struct {
	settings
	out      io.Writer
	server   *measure.Server
	template string // an empty migrated database
	results
}

func newBench(ctx context.Context, s settings, out io.Writer) (_ *bench, err error) {
	keys, err := citizen.NewKeyset()
	if err != nil {
		return nil, err
	}
	exported, err := keys.Export()
	if err != nil {
		return nil, err
	}
	if err = os.Setenv(keysetVariable, string(exported)); err != nil {
		return nil, err
	}
	b := &bench{settings: s, out: out}
	if b.server, err = measure.Start(ctx, s.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.server.Close())
		}
	}()
	db, err := postgres.Open(ctx, postgres.Config{URL: b.server.URL(), MaxConns: 2})
	if err != nil {
		return nil, err
	}
	_, err = postgres.Migrate(ctx, db)
	b.template = db.Config().ConnConfig.Database
	db.Close()
	return b, err
}

func (b *bench) database(ctx context.Context, name string) error {
	_, err := b.server.Admin.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, b.template))
	if err != nil {
		return fmt.Errorf("make database %s: %w", name, err)
	}
	return nil
}

// usage is what the server has used so far.
type usage struct {
	cpu float64 // seconds, of all its processes
	wal float64 // bytes written
}

func (b *bench) usage(ctx context.Context) (u usage, err error) {
	u.cpu = b.server.CPU()
	err = b.server.Admin.QueryRow(ctx, `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn`).Scan(&u.wal)
	return u, err
}

const (
	limitRow    = 300  // bytes: about what one message leaves in attempts, outcomes and the journal
	limitBatch  = 1000 // rows a commit
	limitSealed = 250  // bytes of an admitted row
)

// limit is what the database itself can do: rows of the hub's sizes copied into a table without any index.
func (b *bench) limit(ctx context.Context, rows, batch, bytesEach int) (perSecond float64, err error) {
	if _, err := b.server.Admin.Exec(ctx, `CREATE TABLE bare (id bigint NOT NULL, data bytea NOT NULL)`); err != nil {
		return 0, err
	}
	var copied []byte
	copied = append(copied, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...) // PostgreSQL, COPY, Binary Format
	for i := range batch {
		copied = binary.BigEndian.AppendUint16(copied, 2)
		copied = binary.BigEndian.AppendUint32(copied, 8)
		copied = binary.BigEndian.AppendUint64(copied, uint64(i))
		copied = binary.BigEndian.AppendUint32(copied, uint32(bytesEach))
		copied = append(copied, bytes.Repeat([]byte{byte(i)}, bytesEach)...)
	}
	copied = binary.BigEndian.AppendUint16(copied, 0xFFFF)
	began := time.Now()
	for range rows / batch {
		if _, err := b.server.Admin.PgConn().CopyFrom(ctx, bytes.NewReader(copied), `COPY bare FROM STDIN BINARY`); err != nil {
			return 0, err
		}
	}
	perSecond = float64(rows/batch*batch) / time.Since(began).Seconds()
	_, err = b.server.Admin.Exec(ctx, `DROP TABLE bare`)
	return perSecond, err
}

// heapRow is the width of a row of limitHeap, and of performance.md's COPY into a bare heap.
const heapRow = 300

// limitHeap is what a client can do at best that only stores the rows of a list: pgx copies eleven columns of 300 octets together into an
// unlogged table without an index.
func (b *bench) limitHeap(ctx context.Context, rows, batch int) (perSecond float64, err error) {
	_, err = b.server.Admin.Exec(ctx, `CREATE UNLOGGED TABLE heap (id bigint NOT NULL, list_no bigint NOT NULL, row_no integer NOT NULL, part integer NOT NULL,
		run integer NOT NULL, segments smallint NOT NULL, tries smallint NOT NULL, due_at timestamptz NOT NULL, valid_until timestamptz NOT NULL,
		external_id text NOT NULL, sealed bytea NOT NULL)`)
	if err != nil {
		return 0, err
	}
	columns := []string{"id", "list_no", "row_no", "part", "run", "segments", "tries", "due_at", "valid_until", "external_id", "sealed"}
	const fixed = 8 + 8 + 4 + 4 + 4 + 2 + 2 + 8 + 8 + 8 // all but sealed
	sealed, at := bytes.Repeat([]byte{1}, heapRow-fixed), time.Now()
	began := time.Now()
	for i := 0; i < rows; i += batch {
		next := i
		_, err := b.server.Admin.CopyFrom(ctx, pgx.Identifier{"heap"}, columns, pgx.CopyFromFunc(func() ([]any, error) {
			if next == min(i+batch, rows) {
				return nil, nil
			}
			next++
			return []any{int64(next), int64(1), int32(next), int32(1 + next/1000), int32(1), int16(1), int16(0), at, at, fmt.Sprintf("%08d", next), sealed}, nil
		}))
		if err != nil {
			return 0, err
		}
	}
	perSecond = float64(rows) / time.Since(began).Seconds()
	_, err = b.server.Admin.Exec(ctx, `DROP TABLE heap`)
	return perSecond, err
}

// explaining are session settings that make the server write the plan of every statement, with its buffers, into its log.
var explaining = []string{"session_preload_libraries", "auto_explain", "auto_explain.log_min_duration", "0", "auto_explain.log_analyze", "on",
	"auto_explain.log_buffers", "on", "auto_explain.log_timing", "off", "auto_explain.log_format", "json"}

// plan is one node of what auto_explain writes.
type plan struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Plans    []plan  `json:"Plans"`
}

// buffers are those of the scans of tables whose name begins so; a node's own count holds its children's.
func (p *plan) buffers(relation string) (n int) {
	if strings.HasPrefix(p.Relation, relation) {
		return p.Hit + p.Read
	}
	for i := range p.Plans {
		n += p.Plans[i].buffers(relation)
	}
	return n
}

// claims is what dispatch's claims cost, in buffers.
type claims struct {
	dueRuns, outbox []int // of each look for due runs; of each taking of rows
	contents, rows  int   // of all reading of contents
}

// claims reads the plans that dispatch's statements left in the server's log from offset on.
func (b *bench) claims(offset int64) (c claims, err error) {
	log, err := os.Open(b.logFile())
	if err != nil {
		return c, err
	}
	defer log.Close()
	all, err := io.ReadAll(io.NewSectionReader(log, offset, 1<<30))
	if err != nil {
		return c, err
	}
	for _, part := range strings.Split(string(all), "  plan:\n")[1:] {
		var text strings.Builder
		for line := range strings.Lines(part) {
			if !strings.HasPrefix(line, "\t") {
				break
			}
			text.WriteString(line[1:])
		}
		var logged struct {
			Query string `json:"Query Text"`
			Plan  plan   `json:"Plan"`
		}
		if json.Unmarshal([]byte(text.String()), &logged) != nil {
			continue // the last one may be half written
		}
		q, p := logged.Query, &logged.Plan
		if strings.Contains(q, "CROSS JOIN LATERAL") && strings.Contains(q, "FROM outbox") {
			c.outbox = append(c.outbox, p.buffers("outbox"))
		}
		if strings.Contains(q, "n.sealed") {
			c.contents += p.buffers("notifications")
			c.rows += int(p.Rows * p.Loops)
		}
		if strings.Contains(q, "FROM runs") && strings.Contains(q, "next_due <=") {
			c.dueRuns = append(c.dueRuns, p.Hit+p.Read)
		}
	}
	if len(c.dueRuns) == 0 || len(c.outbox) == 0 || c.rows == 0 {
		return c, errors.New("the server's log has no plans of claims: is auto_explain there, and are dispatch's statements what they were?")
	}
	return c, nil
}

func (b *bench) logFile() string { return filepath.Join(b.server.Dir, "pg", "postgres.log") }

func (b *bench) logSize() int64 {
	info, err := os.Stat(b.logFile())
	if err != nil {
		return 0
	}
	return info.Size()
}
