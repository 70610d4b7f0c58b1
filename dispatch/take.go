package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const takeSQL = `
SELECT o.run, o.tries, o.sequence, o.due_at, o.id
FROM unnest($1::int[], $2::timestamptz[], $3::bigint[], $4::int[], $5::timestamptz[]) AS r(run, due_at, id, places, until)
CROSS JOIN LATERAL (
	SELECT run, tries, sequence, due_at, id FROM outbox
	WHERE run = r.run AND (due_at, id) > (r.due_at, r.id) AND due_at <= r.until
	ORDER BY due_at, id LIMIT r.places) o`

// contentsSQL reads by ranges of ids, since a claim of a list is mostly one: 40 buffers for 1,000 rows in place of 3,000.
const contentsSQL = `
SELECT n.id, n.segments, n.valid_until, n.inform_by, n.sealed
FROM unnest($1::bigint[], $2::bigint[]) AS u(first, last)
JOIN notifications n ON n.id BETWEEN u.first AND u.last`

// take reads rows for the picks and marks them as claimed in memory.
func (d *desk) take(ctx context.Context, picks []pick) ([]*claimed, error) {
	ids := make([]int32, len(picks))
	dues := make([]time.Time, len(picks))
	after := make([]int64, len(picks))
	limits := make([]int32, len(picks))
	until := make([]time.Time, len(picks))
	now := d.now()
	asked := make(map[int32]*pick, len(picks))
	d.mu.Lock()
	for i := range picks {
		p := &picks[i]
		ids[i], dues[i], after[i], limits[i] = p.run.id, p.run.cursorDue, p.run.cursorID, int32(p.limit)
		if p.run.cursorID == 0 {
			p.fromHead = true
			dues[i] = beforeAll
			limits[i] += int32(p.run.claimed)
		}
		if until[i] = now; p.run.state == "cancelling" {
			until[i] = held // what waits is ended too
		}
		asked[p.run.id] = p
	}
	d.taking++
	d.mu.Unlock()
	defer d.taken()
	rows, err := d.hot.Query(ctx, takeSQL, ids, dues, after, limits, until)
	if err != nil {
		return nil, fmt.Errorf("take from outbox: %w", err)
	}
	most := 0
	for _, n := range limits {
		most += int(n)
	}
	var c claimed
	slab := make([]claimed, 0, min(most, claimMost)) // one piece of memory for all
	read := make([]*claimed, 0, min(most, claimMost))
	_, err = pgx.ForEachRow(rows, []any{&c.run, &c.tries, &c.sequence, &c.due, (*int64)(&c.id)}, func() error {
		if len(slab) == cap(slab) {
			slab = make([]claimed, 0, claimMost)
		}
		slab = append(slab, c)
		read = append(read, &slab[len(slab)-1])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take from outbox: %w", err)
	}
	fresh := d.keepNew(read, asked)
	if err := d.contents(ctx, fresh); err != nil {
		d.putBack(fresh)
		return nil, err
	}
	return fresh, nil
}

// sealedAbout is what a sealed row takes, in bytes, for one of one or two segments.
const sealedAbout = 320

// contents reads what the claimed rows are about.
func (d *desk) contents(ctx context.Context, rows []*claimed) error {
	if len(rows) == 0 {
		return nil
	}
	byID := make(map[NotificationID]*claimed, len(rows))
	var first, last []int64
	for _, c := range rows {
		byID[c.id] = c
		if n := len(last); n > 0 && int64(c.id) == last[n-1]+1 {
			last[n-1]++
			continue
		}
		first, last = append(first, int64(c.id)), append(last, int64(c.id))
	}
	found, err := d.hot.Query(ctx, contentsSQL, first, last)
	if err != nil {
		return fmt.Errorf("read contents: %w", err)
	}
	var id int64
	var row claimed
	var sealed pgtype.DriverBytes                 // of the connection's buffer
	all := make([]byte, 0, sealedAbout*len(rows)) // one piece of memory for all; when it is too small the rest gets another
	_, err = pgx.ForEachRow(found, []any{&id, &row.segments, &row.valid, &row.inform, &sealed}, func() error {
		c := byID[NotificationID(id)]
		from := len(all)
		all = append(all, sealed...)
		c.segments, c.valid, c.inform, c.sealed = row.segments, row.valid, row.inform, all[from:]
		row.valid, row.inform = nil, nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("read contents: %w", err)
	}
	return nil
}

// taken ends a read of the outbox.
func (d *desk) taken() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taking--; d.taking == 0 {
		clear(d.gone)
	}
}

// beforeAll lies before every due time.
var beforeAll = time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)

// keepNew drops what is already on its way, moves the cursors, and settles what becomes of runs that gave less than was asked.
func (d *desk) keepNew(read []*claimed, asked map[int32]*pick) []*claimed {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortFunc(read, func(a, b *claimed) int {
		return cmp.Or(cmp.Compare(a.run, b.run), a.due.Compare(b.due), cmp.Compare(a.id, b.id))
	})
	got := make(map[int32]int, len(asked))
	var fresh []*claimed
	for _, c := range read {
		r := asked[c.run].run
		if have := d.runs[r.id]; have == nil {
			d.runs[r.id] = r // housekeeping has forgotten it since it was found due
		} else if have != r {
			r, asked[c.run].run = have, have
		}
		if _, busy := d.inHand[c.id]; busy {
			continue
		}
		if _, over := d.gone[c.id]; over {
			continue // recorded after the snapshot this was read from
		}
		if got[c.run] == asked[c.run].limit {
			continue // read beyond the share, in place of rows that turned out to be on their way
		}
		got[c.run]++
		d.inHand[c.id] = c
		r.claimed++
		fresh = append(fresh, c)
		r.cursorDue, r.cursorID = c.due, int64(c.id)
	}
	now := d.now()
	for id, p := range asked {
		r := p.run
		if got[id] >= p.limit {
			continue
		}
		r.cursorDue, r.cursorID = time.Time{}, 0
		if got[id] == 0 && p.fromHead {
			if r.claimed == 0 {
				d.empty = append(d.empty, id)
			}
			r.idleUntil = now.Add(idleRun)
		}
	}
	return fresh
}

// putBack forgets a claim that did not come to be.
func (d *desk) putBack(rows []*claimed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range rows {
		d.forget(c, true)
	}
}

// forget lets go of a row; d.mu is held. When the row is still where it was, its run's cursor goes back before it.
func (d *desk) forget(c *claimed, still bool) {
	if d.inHand[c.id] != c {
		return
	}
	delete(d.inHand, c.id)
	if d.taking > 0 && !still {
		d.gone[c.id] = struct{}{}
	}
	if c.touched {
		d.untouch(c.digest)
	}
	if r := d.runs[c.run]; r != nil {
		r.claimed--
		if still && r.cursorID != 0 && (c.due.Before(r.cursorDue) || c.due.Equal(r.cursorDue) && int64(c.id) <= r.cursorID) {
			r.cursorDue, r.cursorID = c.due, int64(c.id)-1
		}
	}
}
