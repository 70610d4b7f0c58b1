package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"ekc/journal"
)

// DryRun is what checking a file would say. What needs the database (refusals, repeats of earlier lists) is not in it.
type DryRun struct {
	Protocol Protocol // the first 1,000 rows with a message
	Fault    *Fault   // why the list would be rejected though its file can be read; nil when it would be ready
}

// dryRunBytes bounds what a check without storing may hold in memory.
const dryRunBytes = 32 << 20

// Check says what a file would get, and stores nothing. Files over 32 MiB are for Submit.
func (s *Service) Check(ctx context.Context, p journal.Principal, h Header, file io.Reader) (DryRun, error) {
	if !mayLoad(p) {
		return DryRun{}, ErrForbidden
	}
	e, template, err := s.complete(p, h)
	if err != nil {
		return DryRun{}, err
	}
	limit := min(s.cfg.Limits.FileBytes, dryRunBytes)
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return DryRun{}, fmt.Errorf("%w: %w", ErrBadUpload, err)
	case int64(len(b)) > limit:
		return DryRun{}, ErrTooLarge.with(limit >> 20)
	}
	l := &List{Agency: p.Agency, Kind: KindFile, State: Checking, CreatedAt: s.cfg.Now(), Priority: e.Priority, Test: p.Test}
	if template != nil {
		l.Template, l.TemplateVersion = template.Code, template.Version
	}
	k, rows, err := s.checkerFor(l, e, claim{size: int64(len(b)), at: s.cfg.Now()}, bytes.NewReader(b))
	if err != nil {
		return DryRun{}, err
	}
	out := DryRun{Protocol: l.protocol()}
	for ctx.Err() == nil {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			out.end(k, rows)
			return out, nil
		}
		if err != nil {
			return DryRun{}, err
		}
		if out.Protocol.RecordNum == s.cfg.Limits.Rows {
			return DryRun{}, ErrTooManyRows.with(s.cfg.Limits.Rows)
		}
		out.add(k.check(row))
	}
	return DryRun{}, ctx.Err()
}

// end says what the list would become.
func (d *DryRun) end(k *checker, rows rowReader) {
	p := &d.Protocol
	p.PackageStatus, p.State = 3, Ready
	p.Outline = *k.outline()
	p.Notes = notesOf(rows)
	if d.Fault = (totals{rows: p.RecordNum, accepted: p.RecordNumSuccess}).fault(k.rules.BadShare); d.Fault != nil {
		p.State, p.StateReason = Rejected, d.Fault.Detail
	}
}

func (d *DryRun) add(row checked) {
	p := &d.Protocol
	p.RecordNum++
	if row.ok {
		p.RecordNumSuccess++
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
	r := RecordResult{Row: int(row.row.RowNo), Part: 1, ExternalID: row.row.ExternalID, RecordOK: row.ok}
	for _, m := range row.messages {
		rule, _ := RuleOf(m.Code)
		r.Messages = append(r.Messages, RecordMessage{MessageType: rule.Type, RuleCode: m.Code, Field: m.Field, Report: m.Report()})
	}
	p.ErrorRecords = append(p.ErrorRecords, r)
}
