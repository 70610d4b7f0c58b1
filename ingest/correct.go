package ingest

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// Refusals of corrections.
var (
	ErrNothingNew = &Fault{FaultInvalid, "nothing_new", "Все строки этого файла уже приняты раньше: отправлять нечего."}
	ErrCorrecting = &Fault{FaultConflict, "correction_in_check", "Предыдущее исправление этого списка ещё проверяется. Дождитесь его протокола и загрузите файл ещё раз."}
)

// Correct takes a mended file of a list that was approved already, as a list of its own that names it. Rows that the corrected list, or
// another correction of it, has taken are skipped and told so: nobody is told twice. What the header leaves out is as it was there.
func (s *Service) Correct(ctx context.Context, p journal.Principal, id uuid.UUID, h Header, file io.Reader) (Ref, error) {
	if !mayLoad(p) {
		return Ref{}, ErrForbidden
	}
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return Ref{}, err
	}
	switch {
	case p.Agency != l.Agency || p.Test != l.Test:
		return Ref{}, ErrForbidden
	case l.Kind == KindFile && (l.State == Ready || l.State == Rejected):
		title, _ := s.title("list", string(l.State))
		return Ref{}, ErrReplaceFile.with(title)
	case l.Tests != uuid.Nil || l.State != Approved && l.State != Running && l.State != Paused && l.State != Completed:
		return Ref{}, s.wrongState(l)
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	if err != nil {
		return Ref{}, err
	}
	_, was, err := s.lastFile(ctx, l.No, key)
	if err != nil {
		return Ref{}, err
	}
	e, template, err := s.complete(p, h.over(was.Header))
	if err != nil {
		return Ref{}, err
	}
	e.Columns = catalog.MergeColumns(was.Columns, e.Mapping) // the mended file has the titles of the corrected one, whatever was remembered since
	return s.take(ctx, p, arrival{envelope: e, template: template, kind: KindFile, corrects: l.No}, file)
}

// over is h with what it leaves out taken from a list that was before it.
func (h Header) over(was Header) Header {
	was.Again, was.Mapping = h.Again, h.Mapping // what it said of its columns itself is remembered
	if h.Name == "" {
		h.Name = firstRunes("Исправление: "+was.Name, 200)
	}
	for _, field := range [...]struct{ to, from *string }{{&was.Name, &h.Name}, {&was.LifeEvent, &h.LifeEvent}, {&was.Template, &h.Template}, {&was.Priority, &h.Priority},
		{&was.OnUncertain, &h.OnUncertain}, {&was.OrderedBy, &h.OrderedBy}, {&was.Source, &h.Source}, {&was.Sender, &h.Sender}} {
		if *field.from != "" {
			*field.to = *field.from
		}
	}
	for _, moment := range [...]struct{ to, from *Moment }{{&was.ValidUntil, &h.ValidUntil}, {&was.NotBefore, &h.NotBefore}, {&was.InformBy, &h.InformBy}} {
		if !moment.from.IsZero() {
			*moment.to = *moment.from
		}
	}
	if len(h.Channels) > 0 {
		was.Channels = h.Channels
	}
	if h.LegalBasis != nil {
		was.LegalBasis = h.LegalBasis
	}
	return was
}

// familySQL is a list with what it corrects and all that corrects any of them; UNION ends a ring, which there cannot be.
const familySQL = `
WITH RECURSIVE up AS (SELECT no, corrects FROM lists WHERE no = $1
	UNION SELECT l.no, l.corrects FROM lists l JOIN up ON l.no = up.corrects),
family AS (SELECT no FROM up UNION SELECT l.no FROM lists l JOIN family f ON l.corrects = f.no)`

const (
	lockFamilySQL = familySQL + ` SELECT no FROM lists WHERE no = (SELECT min(no) FROM family) FOR NO KEY UPDATE`
	// checkingSQL looks for another list of the family that is being checked.
	checkingSQL = familySQL + ` SELECT EXISTS (SELECT FROM lists WHERE no IN (SELECT no FROM family) AND no <> $1 AND state = 'checking')`
	membersSQL  = familySQL + ` SELECT no, own_ids FROM lists WHERE no IN (SELECT no FROM family) AND no <> $1
		AND state NOT IN ('receiving', 'checking', 'rejected', 'refused', 'cancelled')`
)

// onlyCorrection refuses a file while another of the same family is checked: two at once could not know of each other's rows.
func (s *Service) onlyCorrection(ctx context.Context, tx pgx.Tx, list int64) error {
	var root int64
	if err := tx.QueryRow(ctx, lockFamilySQL, list).Scan(&root); err != nil {
		return fmt.Errorf("lock corrections: %w", err)
	}
	var busy bool
	if err := tx.QueryRow(ctx, checkingSQL, list).Scan(&busy); err != nil {
		return fmt.Errorf("look for other corrections: %w", err)
	}
	if busy {
		return ErrCorrecting
	}
	return nil
}

// taken finds rows of a corrected file that were taken before. It is nil for a list that is no correction and has nothing marked as taken.
type taken struct {
	s      *Service
	l      *List
	mark   int            // column of «ЕКЦ: результат»; -1 = none
	family map[int64]bool // lists that this one corrects, or that correct the same; true = their rows have ids of their sender's
	ids    *hashTable     // the ids of those
	seed   maphash.Seed
}

// takenBefore prepares the search.
func (s *Service) takenBefore(ctx context.Context, l *List, h *header, named bool) (*taken, error) {
	t := &taken{s: s, l: l, mark: -1, seed: maphash.MakeSeed()}
	for i, column := range h.columns {
		if strings.EqualFold(strings.TrimSpace(column.Title), titleResult) {
			t.mark = i
		}
	}
	if l.Corrects == uuid.Nil {
		if t.mark < 0 {
			return nil, nil
		}
		return t, nil
	}
	rows, err := s.cfg.DB.Query(ctx, membersSQL, l.No)
	if err != nil {
		return nil, fmt.Errorf("read corrections: %w", err)
	}
	t.family = make(map[int64]bool)
	var no int64
	var own bool
	if _, err := pgx.ForEachRow(rows, []any{&no, &own}, func() error { t.family[no] = own; return nil }); err != nil {
		return nil, fmt.Errorf("read corrections: %w", err)
	}
	if !named {
		return t, nil
	}
	t.ids = newHashTable()
	for no, own := range t.family {
		if !own {
			continue
		}
		err := dispatch.EachExternalID(ctx, s.cfg.DB, no, func(id string) { t.ids.put(maphash.String(t.seed, id), 0) })
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// marked says that our answer to an earlier list called the row taken.
func (t *taken) marked(cells []string) bool {
	return t != nil && t.mark >= 0 && t.mark < len(cells) && strings.HasPrefix(strings.ToLower(strings.TrimSpace(cells[t.mark])), resultTaken)
}

// skip marks the rows that were taken before: in a correction by their external id, where both lists have such ids, else by person, event,
// measure and date; in any other list those that are called taken and stand in a list of the agency that is not off.
func (t *taken) skip(ctx context.Context, rows []checked) error {
	var digests [][]byte
	of := make(map[citizen.Digest][]int)
	for i := range rows {
		row := &rows[i]
		switch {
		case row.named && t.ids != nil && t.ids.has(maphash.String(t.seed, row.row.ExternalID)):
			row.skip()
		case len(row.row.Content.Phones) > 0 && (row.marked || t.l.Corrects != uuid.Nil):
			d, err := t.s.sameDigest(t.l, row)
			if err != nil {
				return err
			}
			digests = append(digests, append([]byte(nil), d[:]...))
			of[d] = append(of[d], i)
		}
	}
	if len(digests) == 0 {
		return nil
	}
	family := make([]int64, 0, len(t.family))
	for no := range t.family {
		family = append(family, no)
	}
	return postgres.InTx(ctx, t.s.cfg.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, byIndexSQL); err != nil {
			return fmt.Errorf("set planner: %w", err)
		}
		return t.s.earlier(ctx, tx, earlierSQL, t.l, digests, family, func(d citizen.Digest, id dispatch.NotificationID, _ bool) {
			list := id.List()
			for _, i := range of[d] {
				row := &rows[i]
				ids, kin := t.family[list]
				if list != t.l.No && (kin && !(ids && row.named) || row.marked && t.l.Corrects == uuid.Nil) {
					row.skip()
				}
			}
		})
	})
}

// skip makes the row one that was taken before, whatever else was said of it.
func (c *checked) skip() {
	c.skipped, c.ok = true, false
	c.messages = []Message{{Code: RuleSkipped}}
}

const skippedSQL = `SELECT row_no FROM rejections WHERE list_no = $1 AND rule_code = $2`

// skippedRows are those rows of a list's admitted parts that were skipped: what was found then stands, whatever has changed since.
func (s *Service) skippedRows(ctx context.Context, list int64) (map[int32]bool, error) {
	rows, err := s.cfg.DB.Query(ctx, skippedSQL, list, RuleSkipped)
	if err != nil {
		return nil, fmt.Errorf("read skipped rows: %w", err)
	}
	skipped := make(map[int32]bool)
	var no int32
	if _, err := pgx.ForEachRow(rows, []any{&no}, func() error { skipped[no] = true; return nil }); err != nil {
		return nil, fmt.Errorf("read skipped rows: %w", err)
	}
	return skipped, nil
}
