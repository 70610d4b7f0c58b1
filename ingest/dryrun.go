package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
)

// DryRun is what checking a file would say. What is known of people beside the lists of their agency (refusals, deaths) is not in it: who
// asks leaves no trace.
type DryRun struct {
	Protocol Protocol  // the first 1,000 rows with a message
	Fault    *Fault    // why the list would be rejected though its file can be read; nil when it would be ready
	Estimate *Estimate // as if it were approved now; nil when it would be rejected
}

// dryRunBytes bounds what a check without storing may hold in memory.
const dryRunBytes = 32 << 20

// Check says what a file would get, and stores nothing. Files over 32 MiB are for Submit.
func (s *Service) Check(ctx context.Context, p journal.Principal, h Header, file io.Reader) (DryRun, error) {
	if !mayLoad(p) {
		return DryRun{}, ErrForbidden
	}
	limit := min(s.cfg.Limits.FileBytes, dryRunBytes)
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return DryRun{}, fmt.Errorf("%w: %w", ErrBadUpload, err)
	case int64(len(b)) > limit:
		return DryRun{}, ErrTooLarge.with(limit >> 20)
	}
	return s.check(ctx, p, h, KindFile, "", b)
}

// CheckJSON is Check for rows that come as JSON.
func (s *Service) CheckJSON(ctx context.Context, p journal.Principal, h Header, rows []InputRow) (DryRun, error) {
	if !mayLoad(p) {
		return DryRun{}, ErrForbidden
	}
	table, kind, err := tableOf(h, rows)
	if err != nil {
		return DryRun{}, err
	}
	return s.check(ctx, p, h, kind, formatTable, table.Bytes())
}

func (s *Service) check(ctx context.Context, p journal.Principal, h Header, kind, format string, file []byte) (DryRun, error) {
	out, l, waiting, err := s.dryRun(ctx, p, h, kind, format, file)
	if err != nil || out.Fault != nil {
		return out, err
	}
	e, err := s.estimate(ctx, l.Agency, 0, laneOf(l), waiting.waves())
	if err != nil {
		return DryRun{}, err
	}
	out.Estimate = &e
	return out, nil
}

// dryRun checks the rows; without a database nothing is known of earlier lists. It returns also the list that they would make, and what that
// would wait for.
func (s *Service) dryRun(ctx context.Context, p journal.Principal, h Header, kind, format string, file []byte) (DryRun, *List, queues, error) {
	e, template, err := s.complete(p, h)
	if err != nil {
		return DryRun{}, nil, nil, err
	}
	l := &List{Agency: p.Agency, Kind: kind, State: Checking, CreatedAt: s.cfg.Now(), Priority: e.Priority, Test: p.Test}
	if template != nil {
		l.Template, l.TemplateVersion = template.Code, template.Version
	}
	k, rows, err := s.checkerFor(l, e, claim{format: format, size: int64(len(file)), at: l.CreatedAt}, bytes.NewReader(file))
	if err != nil {
		return DryRun{}, nil, nil, err
	}
	before, err := s.repeatsOf(ctx, l, e, k)
	if err != nil {
		return DryRun{}, nil, nil, err
	}
	out := DryRun{Protocol: l.protocol()}
	if byTitle(format) {
		out.Protocol.Outline = *k.outline()
	}
	waiting := make(queues)
	slice := make([]checked, 0, min(s.cfg.SliceRows, len(file)/shortestRow+1))
	for ended := false; !ended; {
		slice = slice[:0]
		for len(slice) < s.cfg.SliceRows {
			row, err := rows.Next()
			if ended = errors.Is(err, io.EOF); ended {
				break
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return DryRun{}, nil, nil, err
			}
			if out.Protocol.RecordNum+len(slice) == s.cfg.Limits.Rows {
				return DryRun{}, nil, nil, ErrTooManyRows.with(s.cfg.Limits.Rows)
			}
			one := k.check(row)
			one.marked = before.marked(row.Cells)
			slice = append(slice, one)
		}
		if err := before.find(ctx, slice); err != nil {
			return DryRun{}, nil, nil, err
		}
		for i := range slice {
			one := &slice[i]
			out.add(one)
			if one.ok && one.row.Earlier == 0 {
				waiting.add(s.cfg.Routes, l, &one.row)
			}
		}
	}
	out.end(notesOf(rows), k.rules.BadShare)
	return out, l, waiting, nil
}

// repeats finds rows of a dry run that are repeats of earlier lists, or of earlier rows of which nothing is stored.
type repeats struct {
	s        *Service
	l        *List
	e        envelope
	suppress bool
	taken    *taken
	ordinal  int32
	told     map[citizen.Digest]bool // by the slices before
}

// repeatsOf returns nil without a database.
func (s *Service) repeatsOf(ctx context.Context, l *List, e envelope, k *checker) (*repeats, error) {
	if s.cfg.DB == nil {
		return nil, nil
	}
	t, err := s.takenBefore(ctx, l, k.header, k.ids != nil)
	return &repeats{s: s, l: l, e: e, suppress: k.rules.SuppressesDuplicates(l.Agency), taken: t, told: make(map[citizen.Digest]bool)}, err
}

func (r *repeats) marked(cells []string) bool { return r != nil && r.taken.marked(cells) }

// find marks those of a slice as its admission would, and writes nothing.
func (r *repeats) find(ctx context.Context, rows []checked) error {
	if r == nil {
		return nil
	}
	if r.taken != nil {
		if err := r.taken.skip(ctx, rows); err != nil {
			return err
		}
	}
	sl := &slice{first: r.ordinal + 1}
	for i := range rows {
		if row := &rows[i]; row.ok {
			r.ordinal++
			row.row.Ordinal = r.ordinal
			sl.good = append(sl.good, row)
		}
	}
	if err := r.s.addDigests(r.l, sl); err != nil {
		return err
	}
	err := pgx.BeginTxFunc(ctx, r.s.cfg.DB, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, byIndexSQL); err != nil {
			return fmt.Errorf("set planner: %w", err)
		}
		return r.s.duplicates(ctx, tx, r.l, r.e, sl, r.suppress)
	})
	if err != nil {
		return err
	}
	for _, row := range sl.good {
		switch again := r.told[row.same()]; {
		case !again, row.says(RuleDuplicate), row.says(RuleSuppressed):
		case r.suppress:
			row.row.Earlier = dispatch.MakeID(r.l.No, 1)
			row.add(RuleSuppressed, 0)
		default:
			row.add(RuleDuplicate, 0)
		}
		r.told[row.same()] = true
	}
	return nil
}

// end says what the list would become.
func (d *DryRun) end(notes []Note, badShare int) {
	p := &d.Protocol
	p.PackageStatus, p.State, p.Notes = 3, Ready, notes
	if d.Fault = (totals{rows: p.RecordNum, accepted: p.RecordNumSuccess, skipped: p.RecordNumSkipped}).fault(badShare); d.Fault != nil {
		p.State, p.StateReason = Rejected, d.Fault.Detail
	}
}

// queues is what the rows of a checked file would wait for.
type queues map[queueKey]*queued

type queueKey struct {
	pool, channel string
	zones         citizen.Zones
	wide          bool
	from          int64 // the hour of not_before, Unix; 0 = at once
}

type queued struct{ rows, segments int64 }

func (q queues) add(routes dispatch.Routes, l *List, r *dispatch.Row) {
	for _, channel := range r.Channels {
		pool, ok := routes(channel, l.Agency, r.Content.Phones[0], l.Test)
		if !ok {
			continue
		}
		key := queueKey{pool: pool, channel: channel, zones: r.Zones, wide: r.WideWindow}
		if !r.NotBefore.IsZero() {
			key.from = r.NotBefore.Truncate(time.Hour).Unix()
		}
		if q[key] == nil {
			q[key] = &queued{}
		}
		q[key].rows++
		q[key].segments += int64(r.Segments)
		return
	}
}

func (q queues) waves() []wave {
	var all []wave
	for k, n := range q {
		d := dispatch.Demand{Pool: k.pool, Channel: k.channel, Zones: k.zones, Wide: k.wide, Rows: n.rows}
		if k.from != 0 {
			d.From = time.Unix(k.from, 0)
		}
		all = append(all, wave{Demand: d, segments: float64(n.segments), own: true})
	}
	return all
}

func (d *DryRun) add(row *checked) {
	p := &d.Protocol
	p.RecordNum++
	switch {
	case row.skipped:
		p.RecordNumSkipped++
	case row.ok:
		p.RecordNumSuccess++
	}
	switch {
	case row.row.Earlier != 0:
		p.RecordNumSuppressed++
	case row.ok:
		p.Segments += int64(row.row.Segments)
	}
	if len(row.messages) == 0 {
		return
	}
	if row.ok {
		p.RecordNumWarning++
	}
	if len(p.ErrorRecords) == 1000 {
		return
	}
	r := RecordResult{Row: int(row.row.RowNo), Part: 1, ExternalID: row.row.ExternalID, RecordOK: row.ok || row.skipped}
	for _, m := range row.messages {
		rule, _ := RuleOf(m.Code)
		r.Messages = append(r.Messages, RecordMessage{MessageType: rule.Type, RuleCode: m.Code, Field: m.Field, Report: m.Report(p.Columns)})
	}
	p.ErrorRecords = append(p.ErrorRecords, r)
}
