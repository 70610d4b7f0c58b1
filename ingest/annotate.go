package ingest

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"ekc/journal"
)

// Titles of the columns of the annotated file (CONTRACTS 1); a corrected file is recognised by them.
const (
	titleResult = ownPrefix + " результат"
	titleCode   = ownPrefix + " код"
	titleAdvice = ownPrefix + " что сделать"
)

// What stands under «ЕКЦ: результат».
const (
	resultTaken    = "принята"
	resultNoted    = "принята, есть замечания"
	resultNotTaken = "не принята"
	resultSkipped  = "принята раньше, пропущена"
)

// ProtocolFile gives the sender his own file back, the same rows in the same order under the same numbers, with what became of each and
// what to do; a second sheet is the load protocol as an act to print. What was a number or a date is the text that stood in the cell.
func (s *Service) ProtocolFile(ctx context.Context, p journal.Principal, id uuid.UUID) (Download, error) {
	o, err := s.original(ctx, p, id, "protocol_file")
	if err != nil {
		return nil, err
	}
	a, err := s.act(ctx, o)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		b := newBook(w, sheetPlan{name: "Список", header: o.head(), widths: o.widths(26, 12, 90)}, sheetPlan{name: "Протокол загрузки", widths: []int{26, 70, 14, 90}})
		b.next()
		for _, row := range o.rows.above {
			b.rowAt(row.No, styleText, row.Cells)
		}
		b.rowAt(o.head(), styleTitle, append(slices.Clone(o.titles), titleResult, titleCode, titleAdvice))
		said := &verdictPages{s: s, ctx: ctx, list: o.list.No, columns: o.rows.header.columns}
		whole, err := o.each(func(row sheetRow) error {
			r, some, err := said.of(row.No)
			if err != nil {
				return err
			}
			b.rowAt(row.No+o.shift, styleText, o.cells(row.Cells, annotation(o.list, r, some)...))
			return b.err
		})
		if err != nil {
			return err
		}
		b.next()
		if err := a.write(b, o, whole); err != nil {
			return err
		}
		return b.close()
	}, nil
}

// annotation is what stands under our columns for a row with these messages.
func annotation(l *List, r RecordResult, some bool) []string {
	if !some {
		r = RecordResult{RecordOK: true}
	}
	var codes, advice []string
	for _, m := range r.Messages {
		if code := strconv.Itoa(int(m.RuleCode)); !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
		advice = append(advice, m.Report)
	}
	result := resultTaken
	switch {
	case l.State == Rejected:
		switch result = resultNotTaken; {
		case r.skipped():
			result = resultSkipped
		case r.RecordOK:
			advice = append(advice, l.StateReason)
		}
	case !r.RecordOK:
		result = resultNotTaken
	case r.skipped():
		result = resultSkipped
	case len(r.Messages) > 0:
		result = resultNoted
	}
	return []string{result, strings.Join(codes, ", "), strings.Join(advice, " ")}
}
