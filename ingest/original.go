package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

// Download writes a file as it is made. What it wrote before an error must not pass for the whole.
type Download func(w io.Writer) error

// ErrFileGone is said of a list whose file is not kept any more.
var ErrFileGone = &Fault{FaultNotFound, "file_gone", "Файл этого списка уже удалён: срок его хранения прошёл."}

// ownPrefix begins the titles of the columns that we add to a sender's file. They are never template data of his.
const ownPrefix = "ЕКЦ:"

func isOwn(title string) bool { return strings.HasPrefix(strings.TrimSpace(title), ownPrefix) }

// original is a list's file on its way back to its sender, with columns of ours.
type original struct {
	list   *List
	claim  claim
	file   *sealedFile
	rows   *listRows
	shift  int // of row numbers: rows that came as JSON have no header, and get one
	titles []string
	own    []bool // by column: left from an earlier answer
	buf    []string
}

// original opens the file that a list was last made of. That somebody takes it away is in the journal before he gets any of it.
func (s *Service) original(ctx context.Context, p journal.Principal, id uuid.UUID, what string) (*original, error) {
	l, err := find(ctx, s.cfg.DB, p, id, false)
	if err != nil {
		return nil, err
	}
	switch {
	case !mayRead(p):
		return nil, ErrForbidden
	case l.State == Receiving || l.State == Checking:
		return nil, s.wrongState(l)
	}
	o := &original{list: l, claim: claim{list: l.No}}
	c := &o.claim
	err = s.cfg.DB.QueryRow(ctx, storedFileSQL, l.No).Scan(&c.file, &c.format, &c.size, &c.at)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrFileGone
	}
	if err != nil {
		return nil, fmt.Errorf("find file: %w", err)
	}
	key, err := s.cfg.Keys.Key(ctx, s.cfg.DB, l.dataKey)
	if err != nil {
		return nil, err
	}
	o.file = &sealedFile{ctx: ctx, db: s.cfg.DB, key: key, list: l.No, file: c.file, size: c.size}
	e, err := s.readEnvelope(ctx, s.cfg.DB, l.No, c.file, key)
	if err != nil {
		return nil, err
	}
	// A file whose columns are at fault goes back, too: there the sender mends them.
	if o.rows, err = s.openList(e, *c, o.file); o.rows == nil {
		return nil, o.file.cause(err)
	}
	if !byTitle(c.format) {
		o.shift = 1
	}
	for _, column := range o.rows.header.columns {
		title := column.Title
		if title == "" {
			title = column.Name
		}
		if o.own = append(o.own, isOwn(title)); !isOwn(title) {
			o.titles = append(o.titles, title)
		}
	}
	return o, postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.PersonalViewed, ListNo: l.No, Agency: l.Agency, Count: l.Rows,
			Data: journal.Fields("what", what, "file", fmt.Sprint(c.file))})
	})
}

// head is the number of the header's row in the answer.
func (o *original) head() int { return o.rows.header.row + o.shift }

// widths gives the sender's columns some room each, and ours what is said there.
func (o *original) widths(own ...int) []int {
	widths := make([]int, len(o.titles), len(o.titles)+len(own))
	for i := range widths {
		widths[i] = 18
	}
	return append(widths, own...)
}

// cells are the sender's cells of a row with ours behind the last column that has a title; what he has further right comes after them.
func (o *original) cells(row []string, own ...string) []string {
	out, titled := o.buf[:0], min(len(row), len(o.own))
	for i, cell := range row[:titled] {
		if !o.own[i] {
			out = append(out, cell)
		}
	}
	for len(out) < len(o.titles) {
		out = append(out, "")
	}
	out = append(out, own...)
	out = append(out, row[titled:]...)
	o.buf = out
	return out
}

// each hands out the rows below the header; whole is false when the file cannot be read further.
func (o *original) each(do func(sheetRow) error) (whole bool, err error) {
	for {
		row, err := o.rows.Next()
		var fault *Fault
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case o.file.failed != nil:
			return false, o.file.failed
		case errors.As(err, &fault):
			return false, nil
		case err != nil:
			return false, err
		}
		if err := do(row); err != nil {
			return false, err
		}
	}
}

// verdictPages hands out what was said of rows, in ascending order of their numbers.
type verdictPages struct {
	s       *Service
	ctx     context.Context
	list    int64
	columns []Column // of the file, whose titles the messages use
	page    []RecordResult
	last    int // the highest row asked for
	done    bool
}

// of returns the messages of a row; ok is false when there are none.
func (v *verdictPages) of(row int) (r RecordResult, ok bool, err error) {
	const page = 5000
	for {
		for len(v.page) > 0 && v.page[0].Row < row {
			v.last, v.page = v.page[0].Row, v.page[1:]
		}
		switch {
		case len(v.page) > 0:
			return v.page[0], v.page[0].Row == row, nil
		case v.done:
			return RecordResult{}, false, nil
		}
		if v.page, err = v.s.records(v.ctx, v.list, v.columns, max(v.last, row-1), page); err != nil {
			return RecordResult{}, false, err
		}
		v.done = len(v.page) < page
	}
}

// title is how the catalogue calls a state or a reason, and what it advises; the word itself when it is not there.
func (s *Service) title(scope, word string) (title, advice string) {
	if st, ok := s.cfg.Catalog().State(scope, word, s.cfg.Now()); ok {
		return st.Title, st.Advice
	}
	return word, ""
}

// clock shows people of an agency a time.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(moscow()).Format("02.01.2006 15:04:05")
}
