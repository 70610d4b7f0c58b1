package journal

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	// ErrForbidden says that the principal may not ask about this agency, or about anything.
	ErrForbidden = errors.New("the history of this agency is not shown to this account")
	// ErrCursor says that Query.After is not a cursor that History gave.
	ErrCursor = errors.New("not a cursor of the journal")
)

// Query says which part of the history is asked for; empty fields narrow nothing.
type Query struct {
	Agency   string // only for who sees several; others are asked about their own whatever stands here
	ListNo   int64
	Actor    string
	Kinds    []Kind
	From, To time.Time // From ≤ At < To
	After    string    // Page.Next of the page before
	Limit    int       // of a page; 0 means 100, at most 1000
}

// Page is a part of the history in the order of positions. Next is "" on the last page; a page may be short, even empty, and
// still have a next one, where much had to be read to find little.
type Page struct {
	Items []Placed
	Next  string
}

const (
	defaultPage = 100
	maxPage     = 1000
	// rowsAtOnce is how many rows, of up to 20 KB each, are read before it is looked whether the page is full.
	rowsAtOnce = 8
	// A history by time alone reads this many positions at once, and so often before it gives what it has found.
	windowPositions = 4096
	windowsPerPage  = 64
	// commitLag is more than any entry is older than its commit, and any two of our clocks differ.
	commitLag = time.Hour
)

// History returns a page of what the principal may see. That a list or an actor belongs to another agency is not told: nothing
// is found. Entries have a position, and are found, some milliseconds after their commit.
func History(ctx context.Context, q Querier, p Principal, query Query) (Page, error) {
	agency, err := agencyOf(p, query.Agency)
	if err != nil {
		return Page{}, err
	}
	from, err := parseCursor(query.After)
	if err != nil {
		return Page{}, err
	}
	query.Limit = min(cmp.Or(max(query.Limit, 0), defaultPage), maxPage)
	page := pageBuilder{query: query, agency: agency}
	if query.ListNo != 0 || query.Actor != "" {
		return page.byIndex(ctx, q, from)
	}
	return page.byPosition(ctx, q, from)
}

// agencyOf returns the agency every statement is narrowed to, nil for all of them.
func agencyOf(p Principal, asked string) (*string, error) {
	switch {
	case p.Agency != "" && (asked == "" || asked == p.Agency) && p.Sees(p.Agency):
		return &p.Agency, nil
	case p.Agency == "" && p.Sees(asked):
		if asked == "" {
			return nil, nil
		}
		return &asked, nil
	}
	return nil, ErrForbidden
}

type pageBuilder struct {
	query  Query
	agency *string
	items  []Placed
}

var errFull = errors.New("the page is full")

// add takes an entry if it is asked for; errFull says that it would be the first of the next page.
func (b *pageBuilder) add(position, id int64, _ *row, entry []byte) error {
	p, err := decodeAt(position, id, entry)
	if err != nil {
		return err
	}
	e := &p.Entry
	switch {
	case b.agency != nil && e.Agency != *b.agency,
		b.query.ListNo != 0 && e.ListNo != b.query.ListNo,
		b.query.Actor != "" && e.Actor != b.query.Actor,
		len(b.query.Kinds) > 0 && !slices.Contains(b.query.Kinds, e.Kind),
		!b.query.From.IsZero() && e.At.Before(b.query.From),
		!b.query.To.IsZero() && !e.At.Before(b.query.To):
		return nil
	case len(b.items) == b.query.Limit:
		return errFull
	}
	b.items = append(b.items, p)
	return nil
}

func (b *pageBuilder) page(next int64) Page { return Page{Items: b.items, Next: cursor(next)} }

// placedRow is a journal row by its place.
type placedRow struct{ position, id, count int64 }

// byIndex finds the rows of a list or an actor by their index, then their places, then reads those the page needs.
func (b *pageBuilder) byIndex(ctx context.Context, q Querier, from int64) (Page, error) {
	for {
		rows, err := b.placedRows(ctx, q, from)
		if err != nil {
			return Page{}, err
		}
		for some := range slices.Chunk(rows, rowsAtOnce) {
			next, err := b.addRows(ctx, q, some, from)
			if errors.Is(err, errFull) {
				return b.page(next), nil
			}
			if err != nil {
				return Page{}, err
			}
			from = next
		}
		if len(rows) < b.query.Limit {
			return Page{Items: b.items}, nil
		}
	}
}

func (b *pageBuilder) placedRows(ctx context.Context, q Querier, from int64) ([]placedRow, error) {
	where := []string{"j.first_id < r.first_id + r.count", "r.position + j.first_id - r.first_id + j.count > @position"}
	args := pgx.NamedArgs{"position": from, "limit": b.query.Limit}
	narrow := func(condition, name string, value any) {
		where = append(where, condition)
		args[name] = value
	}
	if b.agency != nil {
		narrow("j.agency = @agency", "agency", *b.agency)
	}
	if b.query.ListNo != 0 {
		narrow("j.list_no = @list", "list", b.query.ListNo)
	}
	if b.query.Actor != "" {
		narrow("j.actor = @actor", "actor", b.query.Actor)
	}
	if len(b.query.Kinds) > 0 {
		narrow("j.kind = ANY (@kinds)", "kinds", b.query.Kinds)
	}
	if !b.query.From.IsZero() {
		narrow("j.at >= @from", "from", b.query.From.Add(-maxSpread))
	}
	if !b.query.To.IsZero() {
		narrow("j.at < @to", "to", b.query.To.Add(maxSpread))
	}
	rows, err := q.Query(ctx, `SELECT r.position + j.first_id - r.first_id AS place, j.first_id, j.count::bigint
		FROM journal j
		CROSS JOIN LATERAL (SELECT position, first_id, count FROM ranges WHERE first_id <= j.first_id ORDER BY first_id DESC LIMIT 1) r
		WHERE `+strings.Join(where, " AND ")+` ORDER BY place LIMIT @limit`, args)
	if err != nil {
		return nil, fmt.Errorf("find journal rows: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (placedRow, error) {
		var w placedRow
		err := r.Scan(&w.position, &w.id, &w.count)
		return w, err
	})
	if err != nil {
		return nil, fmt.Errorf("find journal rows: %w", err)
	}
	return found, nil
}

const rowsByIDSQL = `SELECT ` + rowColumns + ` FROM journal WHERE first_id = ANY ($1) ORDER BY first_id`

// addRows returns the position after the rows, or with errFull the one the next page begins with.
func (b *pageBuilder) addRows(ctx context.Context, q Querier, some []placedRow, from int64) (int64, error) {
	ids := make([]int64, len(some))
	spans := make([]span, len(some))
	for i, w := range some {
		ids[i] = w.id
		skip := max(0, from-w.position)
		spans[i] = span{position: w.position + skip, id: w.id + skip, count: w.count - skip}
	}
	got, err := q.Query(ctx, rowsByIDSQL, ids)
	if err != nil {
		return from, fmt.Errorf("read journal rows: %w", err)
	}
	rows, err := pgx.CollectRows(got, scanRow)
	if err != nil {
		return from, fmt.Errorf("read journal rows: %w", err)
	}
	err = walk(spans, rows, true, func(position, id int64, r *row, entry []byte) error {
		from = position
		return b.add(position, id, r, entry)
	})
	if err != nil {
		return from, err
	}
	return from + 1, nil
}

// byPosition reads the order itself, beginning where From may first stand.
func (b *pageBuilder) byPosition(ctx context.Context, q Querier, from int64) (Page, error) {
	head, err := Head(ctx, q)
	if err != nil {
		return Page{}, err
	}
	if !b.query.From.IsZero() {
		first, err := firstSince(ctx, q, from, head, b.query.From.Add(-commitLag))
		if err != nil {
			return Page{}, err
		}
		from = first
	}
	for range windowsPerPage {
		if from >= head {
			return Page{Items: b.items}, nil
		}
		spans, err := readSpans(ctx, q, from, min(head, from+windowPositions))
		if err != nil {
			return Page{}, err
		}
		rows, err := readRows(ctx, q, spans, filter{kinds: b.query.Kinds, agency: b.agency})
		if err != nil {
			return Page{}, err
		}
		past := false
		err = walk(spans, rows, false, func(position, id int64, r *row, entry []byte) error {
			from = position
			past = past || !b.query.To.IsZero() && r.at.After(b.query.To.Add(commitLag))
			return b.add(position, id, r, entry)
		})
		if errors.Is(err, errFull) {
			return b.page(from), nil
		}
		if err != nil {
			return Page{}, err
		}
		if past || len(spans) == 0 {
			return Page{Items: b.items}, nil
		}
		last := spans[len(spans)-1]
		from = last.position + last.count
	}
	return b.page(from), nil
}

const timeAtSQL = `SELECT at FROM journal WHERE first_id <= $1 ORDER BY first_id DESC LIMIT 1`

// firstSince returns a position in [low, high] before which nothing happened at or after the time. Times are nearly in order
// of positions, which is why callers go back by commitLag.
func firstSince(ctx context.Context, q Querier, low, high int64, since time.Time) (int64, error) {
	for high-low > windowPositions {
		middle := low + (high-low)/2
		spans, err := readSpans(ctx, q, middle, middle+1)
		if err != nil {
			return 0, err
		}
		if len(spans) == 0 {
			return low, nil
		}
		var at time.Time
		if err := q.QueryRow(ctx, timeAtSQL, spans[0].id).Scan(&at); err != nil {
			return 0, fmt.Errorf("read time of journal position: %w", err)
		}
		if at.Before(since) {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

const rowsHoldingSQL = `SELECT DISTINCT j.first_id FROM unnest($1::bigint[]) AS want (id)
	CROSS JOIN LATERAL (SELECT first_id, count, agency FROM journal WHERE first_id <= want.id ORDER BY first_id DESC LIMIT 1) j
	WHERE want.id < j.first_id + j.count AND ($2::text IS NULL OR j.agency = $2)`

const placesSQL = `SELECT row.first_id, r.position + row.first_id - r.first_id FROM unnest($1::bigint[]) AS row (first_id)
	CROSS JOIN LATERAL (SELECT position, first_id, count FROM ranges WHERE first_id <= row.first_id ORDER BY first_id DESC LIMIT 1) r
	WHERE row.first_id < r.first_id + r.count`

// ByIDs returns the entries with these ids that the principal may see, in the order of positions, those without one last. It is
// how the history of one notification is read: its attempts and its outcome name their entries.
func ByIDs(ctx context.Context, q Querier, p Principal, ids []int64) ([]Placed, error) {
	agency, err := agencyOf(p, "")
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	got, err := q.Query(ctx, rowsHoldingSQL, ids, agency)
	if err != nil {
		return nil, fmt.Errorf("find journal rows: %w", err)
	}
	holding, err := pgx.CollectRows(got, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("find journal rows: %w", err)
	}
	// Places first: a row that gets its place meanwhile is then shown without, not missed.
	places := make(map[int64]int64, len(holding))
	if got, err = q.Query(ctx, placesSQL, holding); err != nil {
		return nil, fmt.Errorf("find journal positions: %w", err)
	}
	var first, position int64
	if _, err := pgx.ForEachRow(got, []any{&first, &position}, func() error { places[first] = position; return nil }); err != nil {
		return nil, fmt.Errorf("find journal positions: %w", err)
	}
	if got, err = q.Query(ctx, rowsByIDSQL, holding); err != nil {
		return nil, fmt.Errorf("read journal rows: %w", err)
	}
	rows, err := pgx.CollectRows(got, scanRow)
	if err != nil {
		return nil, fmt.Errorf("read journal rows: %w", err)
	}
	wanted := slices.Sorted(slices.Values(ids))
	var found []Placed
	var entries [][]byte
	for i := range rows {
		r := &rows[i]
		place, placed := places[r.firstID]
		if entries, err = splitRow(entries[:0], r.entries, int(r.count)); err != nil {
			return nil, &Fault{Position: place, Count: r.count, ID: r.firstID, What: err.Error()}
		}
		for k, entry := range entries {
			id := r.firstID + int64(k)
			if _, ok := slices.BinarySearch(wanted, id); !ok {
				continue
			}
			at := int64(NotPlaced)
			if placed {
				at = place + int64(k)
			}
			e, err := decodeAt(at, id, entry)
			if err != nil {
				return nil, err
			}
			if p.Sees(e.Entry.Agency) {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b Placed) int {
		// As unsigned numbers NotPlaced is the greatest.
		return cmp.Or(cmp.Compare(uint64(a.Position), uint64(b.Position)), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// A cursor is the next position under a version byte; it is no secret, only not to be counted with.
const cursorVersion = 1

func cursor(position int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint([]byte{cursorVersion}, uint64(position)))
}

func parseCursor(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 2 || b[0] != cursorVersion {
		return 0, ErrCursor
	}
	n, k := binary.Uvarint(b[1:])
	if k != len(b)-1 || int64(n) < 0 {
		return 0, ErrCursor
	}
	return int64(n), nil
}
