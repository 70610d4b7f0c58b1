package ingest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/dispatch"
	"ekc/journal"
)

// fate is what became of one row of a file, in the words of people.
type fate struct {
	state, reason, advice, at, term string

	over bool // nothing more is to be done
	told bool // the person knows, or is told by another row
}

// fates hands out what became of rows, in ascending order of their numbers.
type fates struct {
	s    *Service
	said *verdictPages
	next func() (dispatch.Status, error, bool)
	stop func()
	r    dispatch.Status // of the accepted row that is looked at
	more bool
}

func (s *Service) fates(ctx context.Context, l *List, columns []Column) (*fates, error) {
	f := &fates{s: s, said: &verdictPages{s: s, ctx: ctx, list: l.No, columns: columns}}
	f.next, f.stop = iter.Pull2(dispatch.Ends(ctx, s.cfg.DB, l.No))
	if err := f.step(); err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

func (f *fates) step() (err error) {
	f.r, err, f.more = f.next()
	return err
}

func (f *fates) of(l *List, row int) (fate, error) {
	for f.more && int(f.r.RowNo) < row {
		if err := f.step(); err != nil {
			return fate{}, err
		}
	}
	if f.more && int(f.r.RowNo) == row {
		return f.s.fateOf(f.r), nil
	}
	r, some, err := f.said.of(row)
	if err != nil {
		return fate{}, err
	}
	said := annotation(l, r, some)
	if r.skipped() {
		return fate{state: "Принята раньше, пропущена", advice: said[2], over: true, told: true}, nil
	}
	bad := fate{state: "Не принята при загрузке", reason: "Файл отклонён", advice: said[2], over: true}
	if said[1] != "" {
		bad.reason = "Ошибка в строке: " + said[1]
	}
	return bad, nil
}

func (s *Service) fateOf(r dispatch.Status) fate {
	f := fate{at: clock(r.At), over: r.State.Final(), told: r.State == dispatch.Delivered || r.Reason == dispatch.ReasonDuplicate}
	var advice string
	f.state, f.advice = s.title("notification", r.State.String())
	if r.Reason != "" {
		f.reason, advice = s.title("reason", string(r.Reason))
		f.advice = cmp.Or(advice, f.advice)
	}
	if term := dispatch.TermOf(r.State, r.At, r.InformBy, s.cfg.Now()); term != dispatch.NoTerm && term != dispatch.TermOpen {
		f.term, _ = s.title("informed", string(term))
	}
	return f
}

// ResultsFile gives the sender his own file back, the same rows in the same order, with what became of each by now.
func (s *Service) ResultsFile(ctx context.Context, p journal.Principal, id uuid.UUID) (Download, error) {
	o, err := s.original(ctx, p, id, "results_file")
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		b := newBook(w, sheetPlan{name: "Результаты", header: o.head(), widths: o.widths(26, 40, 60, 20, 26)})
		b.next()
		for _, row := range o.rows.above {
			b.rowAt(row.No, styleText, row.Cells)
		}
		b.rowAt(o.head(), styleTitle, append(slices.Clone(o.titles), ownPrefix+" состояние", ownPrefix+" причина", titleAdvice, ownPrefix+" время (МСК)",
			ownPrefix+" в срок"))
		err := s.eachFate(ctx, o, func(row sheetRow, f fate) {
			b.rowAt(row.No+o.shift, styleText, o.cells(row.Cells, f.state, f.reason, f.advice, f.at, f.term))
		}, b)
		if err != nil {
			return err
		}
		return b.close()
	}, nil
}

// NotInformedFile gives the sender those rows of his file whose people were not told and will not be, with the reason and what to do; a
// second sheet counts them by reason.
func (s *Service) NotInformedFile(ctx context.Context, p journal.Principal, id uuid.UUID) (Download, error) {
	o, err := s.original(ctx, p, id, "not_informed_file")
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		b := newBook(w, sheetPlan{name: "Не уведомлены", header: 1, widths: o.widths(12, 26, 40, 60)},
			sheetPlan{name: "По причинам", widths: []int{40, 12, 60}})
		b.next()
		b.line(styleTitle, append(slices.Clone(o.titles), ownPrefix+" строка файла", ownPrefix+" состояние", ownPrefix+" причина", titleAdvice)...)
		type why struct{ reason, advice string }
		counts := make(map[why]int)
		err := s.eachFate(ctx, o, func(row sheetRow, f fate) {
			if !f.over || f.told {
				return
			}
			b.line(styleText, o.cells(row.Cells, strconv.Itoa(row.No), f.state, f.reason, f.advice)...)
			counts[why{cmp.Or(f.reason, f.state), f.advice}]++
		}, b)
		if err != nil {
			return err
		}
		b.next()
		b.line(styleTitle, "Причина", "Строк", "Что сделать")
		for _, k := range slices.SortedFunc(maps.Keys(counts), func(x, y why) int {
			return cmp.Or(counts[y]-counts[x], cmp.Compare(x.reason, y.reason), cmp.Compare(x.advice, y.advice))
		}) {
			b.line(styleWrapped, k.reason, strconv.Itoa(counts[k]), k.advice)
		}
		mended, err := s.corrections(ctx, id)
		if err != nil {
			return err
		}
		for _, m := range mended {
			b.line(styleText)
			b.line(styleWrapped, "Загружено исправление", "", fmt.Sprintf("«%s» от %s, список %s. Кого известили по нему, смотрите в его результатах: здесь эти строки ещё с прежней ошибкой.",
				m.Name, clock(m.CreatedAt), m.ID))
		}
		return b.close()
	}, nil
}

// correctionsSQL finds the corrections of a list that are not off.
const correctionsSQL = `SELECT c.id, c.name, c.created_at FROM lists l JOIN lists c ON c.corrects = l.no
WHERE l.id = $1 AND c.state NOT IN ('receiving', 'checking', 'rejected', 'refused', 'cancelled') ORDER BY c.no`

// correction is a mended file of a list.
type correction struct {
	ID        uuid.UUID
	Name      string
	CreatedAt time.Time
}

func (s *Service) corrections(ctx context.Context, list uuid.UUID) ([]correction, error) {
	rows, err := s.cfg.DB.Query(ctx, correctionsSQL, list)
	if err != nil {
		return nil, fmt.Errorf("find corrections: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[correction])
	if err != nil {
		return nil, fmt.Errorf("find corrections: %w", err)
	}
	return found, nil
}

func (s *Service) eachFate(ctx context.Context, o *original, do func(sheetRow, fate), b *bookWriter) error {
	became, err := s.fates(ctx, o.list, o.rows.header.columns)
	if err != nil {
		return err
	}
	defer became.stop()
	_, err = o.each(func(row sheetRow) error {
		f, err := became.of(o.list, row.No)
		if err != nil {
			return err
		}
		do(row, f)
		return b.err
	})
	return err
}
