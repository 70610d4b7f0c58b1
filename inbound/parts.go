package inbound

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/smpp"
)

// set is what is there of one message in parts, and of earlier ones under the same reference.
type set struct {
	key     citizen.Digest
	total   uint8
	rows    map[partKey]*part
	waiting map[uint8]*part // by place
}

type partKey struct {
	seq     uint8
	content citizen.Digest
}

// part is a row of inbound_parts.
type part struct {
	id      int64 // 0: not stored yet
	set     *set
	seq     uint8
	content citizen.Digest
	link    string
	at      time.Time
	told    bool     // it is in a message registered by another transaction
	contact *contact // it is in a message of this one
	in      *smpp.Incoming
}

const selectSets = `
SELECT id, set_key, part, total, content, link, at, message IS NOT NULL FROM inbound_parts WHERE set_key = ANY(@keys) ORDER BY at, id`

// loadSets reads what is there of the sets with these keys, without content.
func (w *writing) loadSets(ctx context.Context, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	rows, err := w.tx.Query(ctx, selectSets, pgx.NamedArgs{"keys": keys})
	if err != nil {
		return fmt.Errorf("load parts: %w", err)
	}
	var key, content []byte
	var seq, total int16
	var p part
	_, err = pgx.ForEachRow(rows, []any{&p.id, &key, &seq, &total, &content, &p.link, &p.at, &p.told}, func() error {
		row := p
		row.seq, row.content = uint8(seq), citizen.Digest(content)
		w.set([]citizen.Digest{citizen.Digest(key)}, uint8(total)).add(&row)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load parts: %w", err)
	}
	return nil
}

// set finds a set by any of its keys.
func (w *writing) set(keys []citizen.Digest, total uint8) *set {
	for _, k := range keys {
		if s := w.sets[k]; s != nil {
			return s
		}
	}
	s := &set{key: keys[0], total: total, rows: map[partKey]*part{}, waiting: map[uint8]*part{}}
	w.sets[s.key] = s
	return s
}

func (s *set) add(p *part) {
	p.set = s
	s.rows[partKey{p.seq, p.content}] = p
	if !p.told {
		s.waiting[p.seq] = p
	}
}

// part plans what a part changes.
func (w *writing) part(in *incoming) {
	s := w.set(in.setKeys, in.Concat.Total)
	for _, d := range in.contents {
		k := partKey{in.Concat.Seq, d}
		have := s.rows[k]
		if have == nil {
			continue
		}
		if !have.told || in.At.Sub(have.at).Abs() < w.r.RepeatWithin {
			w.repeated++
			return
		}
		w.drop = append(w.drop, have.id)
		delete(s.rows, k)
	}
	if s.waiting[in.Concat.Seq] != nil { // another text in the same place: the phone uses the reference for its next message
		w.close(s)
	}
	p := &part{seq: in.Concat.Seq, content: in.contents[0], link: in.Link, at: in.At, in: &in.Incoming}
	s.add(p)
	w.added = append(w.added, p)
	if len(s.waiting) == int(s.total) {
		w.close(s)
	}
}

// close makes a message of what waits in a set.
func (w *writing) close(s *set) {
	c := &contact{Message: Message{Parts: len(s.waiting), Complete: len(s.waiting) == int(s.total)}}
	for _, seq := range slices.Sorted(maps.Keys(s.waiting)) {
		p := s.waiting[seq]
		p.contact = c
		c.parts = append(c.parts, p)
		if c.At.IsZero() || p.at.Before(c.At) {
			c.At, c.Link = p.at, p.link
		}
		if p.id != 0 {
			w.consumed = append(w.consumed, p)
		}
	}
	clear(s.waiting)
	w.contacts = append(w.contacts, c)
}

const selectPartContents = `SELECT id, data_key, sealed FROM inbound_parts WHERE id = ANY(@ids)`

// joinParts opens the stored parts of the messages that end here, and reads each message as one.
func (w *writing) joinParts(ctx context.Context) error {
	if len(w.consumed) > 0 {
		byID := make(map[int64]*part, len(w.consumed))
		for _, p := range w.consumed {
			byID[p.id] = p
		}
		rows, err := w.tx.Query(ctx, selectPartContents, pgx.NamedArgs{"ids": slices.Collect(maps.Keys(byID))})
		if err != nil {
			return fmt.Errorf("load contents of parts: %w", err)
		}
		type stored struct {
			id, key int64
			sealed  []byte
		}
		contents, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s stored, err error) {
			err = row.Scan(&s.id, &s.key, &s.sealed)
			return s, err
		})
		if err != nil {
			return fmt.Errorf("load contents of parts: %w", err)
		}
		for _, s := range contents {
			in, err := w.openPart(ctx, s.id, s.key, s.sealed)
			if err != nil {
				return err
			}
			byID[s.id].in = &in
		}
	}
	for _, c := range w.contacts {
		if c.parts != nil {
			c.join()
		}
	}
	return nil
}

// openPart gives an unreadable part for one that will never open, so that it does not hold up the others.
func (w *writing) openPart(ctx context.Context, id, keyID int64, sealed []byte) (smpp.Incoming, error) {
	key, err := w.r.Keyring.Key(ctx, w.tx, keyID)
	if err == nil {
		var plain []byte
		if plain, err = key.Open(nil, sealed, citizen.RowAAD("inbound_parts", id)); err == nil {
			return decodePart(plain)
		}
	}
	if errors.Is(err, citizen.ErrKeyDestroyed) || errors.Is(err, citizen.ErrSealed) {
		w.r.Log.Error("inbound part does not open", "part_id", id, "err", err)
		return smpp.Incoming{}, nil
	}
	return smpp.Incoming{}, err
}

// missing stands in a text where parts are.
const missing = "…"

// join reads the parts as one text. Neighbours are joined before they are decoded, since a character may be cut between them.
func (c *contact) join() {
	c.Exact = true
	next := uint8(1)
	var run []smpp.Incoming
	flush := func() {
		if len(run) > 0 {
			text, exact := smpp.JoinParts(run)
			c.Text, c.Exact = c.Text+text, c.Exact && exact
			run = run[:0]
		}
	}
	for _, p := range c.parts {
		if p.seq != next {
			flush()
			c.Text += missing
		}
		run = append(run, *p.in)
		next = p.seq + 1
		if c.From.Addr == "" {
			c.From, c.To, c.phone = p.in.From, p.in.To, phoneOf(p.in.From)
		}
	}
	flush()
	if last := c.parts[len(c.parts)-1]; last.seq != last.set.total {
		c.Text += missing
	}
	if !c.Exact {
		for _, p := range c.parts {
			c.Raw = append(c.Raw, RawPart{Seq: p.seq, Coding: p.in.Coding, Octets: p.in.Octets})
		}
	}
}

const dropParts = `DELETE FROM inbound_parts WHERE id = ANY(@ids)`

const consumeParts = `
UPDATE inbound_parts p SET message = c.message, at = @now, sealed = NULL, data_key = NULL
FROM unnest(@ids::bigint[], @messages::bigint[]) AS c (id, message) WHERE p.id = c.id`

const nextParts = `SELECT nextval('inbound_parts_id_seq') FROM generate_series(1, @count)`

const insertParts = `
INSERT INTO inbound_parts (id, set_key, part, total, content, link, at, message, data_key, sealed) OVERRIDING SYSTEM VALUE
SELECT id, set_key, part, total, content, link, at, message, CASE WHEN message IS NULL THEN @data_key::bigint END, sealed
FROM unnest(@ids::bigint[], @keys::bytea[], @parts::smallint[], @totals::smallint[], @contents::bytea[], @links::text[],
	@ats::timestamptz[], @messages::bigint[], @sealed::bytea[]) AS row (id, set_key, part, total, content, link, at, message, sealed)`

// saveParts stores the new parts and takes the content out of those that are in a message now. They stay for as long as they may be
// offered again.
func (w *writing) saveParts(ctx context.Context, key *citizen.DataKey) error {
	if len(w.drop) > 0 {
		if _, err := w.tx.Exec(ctx, dropParts, pgx.NamedArgs{"ids": w.drop}); err != nil {
			return fmt.Errorf("drop old parts: %w", err)
		}
	}
	if n := len(w.consumed); n > 0 {
		ids, messages := make([]int64, n), make([]int64, n)
		for i, p := range w.consumed {
			ids[i], messages[i] = p.id, p.contact.No
		}
		if _, err := w.tx.Exec(ctx, consumeParts, pgx.NamedArgs{"ids": ids, "messages": messages, "now": w.now}); err != nil {
			return fmt.Errorf("take parts: %w", err)
		}
	}
	n := len(w.added)
	if n == 0 {
		return nil
	}
	ids, err := takeNumbers(ctx, w.tx, nextParts, n)
	if err != nil {
		return err
	}
	keys, contents, sealed := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	parts, totals := make([]int16, n), make([]int16, n)
	links, ats, messages := make([]string, n), make([]time.Time, n), make([]*int64, n)
	var plain []byte
	for i, p := range w.added {
		keys[i], contents[i], links[i], ats[i] = p.set.key[:], p.content[:], p.link, p.at
		parts[i], totals[i] = int16(p.seq), int16(p.set.total)
		if p.contact != nil {
			messages[i], ats[i] = &p.contact.No, w.now
			continue
		}
		plain = encodePart(plain[:0], p.in)
		sealed[i] = key.Seal(nil, plain, citizen.RowAAD("inbound_parts", ids[i]))
	}
	_, err = w.tx.Exec(ctx, insertParts, pgx.NamedArgs{"data_key": key.ID, "ids": ids, "keys": keys, "parts": parts, "totals": totals,
		"contents": contents, "links": links, "ats": ats, "messages": messages, "sealed": sealed})
	if err != nil {
		return fmt.Errorf("store parts: %w", err)
	}
	return nil
}

const (
	// sweepSets is how many sets one transaction of a sweep ends.
	sweepSets = 500
	// sweepLook is how many are looked for at once, which reads all that wait.
	sweepLook = 20 * sweepSets
)

const selectOverdue = `
SELECT set_key FROM inbound_parts WHERE message IS NULL
GROUP BY set_key HAVING max(at) < @before ORDER BY max(at) LIMIT @most`

const dropTold = `DELETE FROM inbound_parts WHERE message IS NOT NULL AND at < @before`

const countWaiting = `SELECT count(*) FROM inbound_parts WHERE message IS NULL`

// sweep registers messages whose parts have not come in time, forgets parts that are not offered again any more, and counts the rest.
// Several processes may sweep at once.
func (r *Register) sweep(ctx context.Context) error {
	for {
		overdue := r.Clock().Add(-r.IncompleteAfter)
		rows, err := r.DB.Query(ctx, selectOverdue, pgx.NamedArgs{"before": overdue, "most": sweepLook})
		if err != nil {
			return fmt.Errorf("find overdue parts: %w", err)
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			return fmt.Errorf("find overdue parts: %w", err)
		}
		for some := range slices.Chunk(keys, sweepSets) {
			if err := r.write(ctx, func(ctx context.Context, w *writing) error { return w.overdue(ctx, some, overdue) }); err != nil {
				return err
			}
		}
		if len(keys) < sweepLook {
			break
		}
	}
	if _, err := r.DB.Exec(ctx, dropTold, pgx.NamedArgs{"before": r.Clock().Add(-r.RepeatWithin)}); err != nil {
		return fmt.Errorf("forget parts: %w", err)
	}
	var waiting int64
	if err := r.DB.QueryRow(ctx, countWaiting).Scan(&waiting); err != nil {
		return fmt.Errorf("count waiting parts: %w", err)
	}
	r.metrics.partsWaiting.Set(float64(waiting))
	return nil
}

// overdue ends the sets to which nothing has come since they were found.
func (w *writing) overdue(ctx context.Context, keys [][]byte, before time.Time) error {
	locks := map[int32]bool{}
	for _, k := range keys {
		locks[stripe(citizen.Digest(k))] = true
	}
	if err := w.lock(ctx, locks); err != nil {
		return err
	}
	if err := w.loadSets(ctx, keys); err != nil {
		return err
	}
	for _, s := range w.sets {
		overdue := len(s.waiting) > 0
		for _, p := range s.waiting {
			overdue = overdue && p.at.Before(before)
		}
		if overdue {
			w.close(s)
		}
	}
	return nil
}
