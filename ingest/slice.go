package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// slice is the rows that go in by one transaction.
type slice struct {
	part   int
	first  int32 // ordinal of the first accepted row
	rows   int   // read, good and bad
	good   []*checked
	bad    []*checked
	known  []*checked // taken before, skipped
	digest []byte
	sum    hash.Hash
	buf    []byte // scratch of add

	before   *slice        // the one that is admitted before this one; nil for the first
	last     bool          // surely the last one
	admitted chan struct{} // closed once this one is admitted
}

// turn waits until the slice before is admitted.
func (sl *slice) turn(ctx context.Context) error {
	if sl.before == nil {
		return nil
	}
	select {
	case <-sl.before.admitted:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shortestRow is about what a row of any use takes in a file: a phone and its separators.
const shortestRow = 16

// totals of a whole file.
type totals struct {
	rows, accepted int
	skipped        int       // taken before
	named          bool      // there is a column of external ids
	content        hash.Hash // of what its good rows say
	outline        *Outline  // nil for rows that came as JSON, and where no header was found
}

func (t totals) bad() int { return t.rows - t.accepted - t.skipped }

// fault is why a file is not taken though it could be read to its end; nil when it is.
func (t totals) fault(badShare int) *Fault {
	switch {
	case t.rows == 0:
		return ErrNoRows
	case t.skipped == t.rows:
		return ErrNothingNew
	case t.accepted == 0:
		return ErrAllBad
	case t.bad()*100 > t.rows*badShare:
		return ErrTooManyBad.with(t.bad(), t.rows, badShare)
	}
	return nil
}

// read gives the rows of a file their verdicts and hands them on in slices; those of parts that are admitted already are only counted.
func (s *Service) read(ctx context.Context, l *List, e envelope, c claim, file *sealedFile, parts partsDone, out chan<- *slice) (totals, error) {
	var t totals
	k, rows, err := s.checkerFor(l, e, c, file)
	if k != nil && k.header != nil && byTitle(c.format) {
		t.outline = k.outline()
	}
	if err != nil {
		return t, err
	}
	if !remembersAll(rows, c.size) {
		again, err := s.openList(e, c, file)
		if err == nil {
			err = k.lookAhead(again, c.size)
		}
		if err != nil {
			return t, err
		}
	}
	t.named, t.content = k.ids != nil, sha256.New()
	before, err := s.takenBefore(ctx, l, k.header, t.named)
	if err != nil {
		return t, err
	}
	ordinal := parts.next
	var last *slice // that was handed on
	for no := 1; ; no++ {
		done, admitted := parts.of[no]
		size := s.cfg.SliceRows
		if admitted {
			size = done.rows
		}
		sl := &slice{part: no, first: ordinal, sum: sha256.New(), before: last, admitted: make(chan struct{})}
		all := make([]checked, 0, min(size, int(c.size/shortestRow)+1))
		ended := false
		for len(all) < size {
			row, err := rows.Next()
			if errors.Is(err, io.EOF) {
				ended = true
				break
			}
			if err != nil {
				return t, err
			}
			if t.rows++; t.rows > s.cfg.Limits.Rows {
				return t, ErrTooManyRows.with(s.cfg.Limits.Rows)
			}
			all = append(all, k.check(row))
			one := &all[len(all)-1]
			one.row.Part = partOf(c.format, one.row.RowNo, no)
			one.marked = before.marked(row.Cells)
		}
		sl.rows, sl.last = len(all), ended
		if !admitted {
			sl.good = make([]*checked, 0, len(all))
		}
		switch {
		case admitted:
			for i := range all {
				if parts.skipped[all[i].row.RowNo] {
					all[i].skip()
				}
			}
		case before != nil:
			if err := before.skip(ctx, all); err != nil {
				return t, err
			}
		}
		for i := range all {
			switch {
			case all[i].skipped:
				t.skipped++
			case all[i].ok:
				addContent(t.content, &all[i])
			}
			sl.put(&all[i], &ordinal, admitted)
		}
		t.accepted += int(ordinal - sl.first)
		switch {
		case admitted && int(ordinal-sl.first) != done.accepted:
			return t, fmt.Errorf("part %d of list %d has %d good rows, %d were admitted", no, l.No, ordinal-sl.first, done.accepted)
		case !admitted && sl.rows > 0:
			d, err := s.cfg.Keys.Digest(digestPart, string(sl.sum.Sum(nil)))
			if err != nil {
				return t, err
			}
			sl.digest = d[:]
			if err := s.addDigests(l, sl); err != nil {
				return t, err
			}
			select {
			case out <- sl:
				last = sl
			case <-ctx.Done():
				return t, ctx.Err()
			}
		}
		if ended {
			if t.outline != nil {
				t.outline.Notes = notesOf(rows)
			}
			return t, nil
		}
	}
}

// addContent makes the row a part of what the same list has in common however it is saved: who is told what of which event.
func addContent(sum hash.Hash, c *checked) {
	r := &c.row
	id := ""
	if c.named {
		id = r.ExternalID
	}
	p := &r.Content.Person
	var b []byte
	for _, part := range [...]string{id, r.Content.Phones[0].Digits(), p.SNILS.Digits(), p.FullName().Reveal(), citizen.Date(p.BirthDate).String(), r.LifeEvent,
		c.measure, c.event.String(), r.Content.Text} {
		b = append(append(b, part...), 0)
	}
	sum.Write(b)
}

// put adds a row to its slice.
func (sl *slice) put(row *checked, ordinal *int32, admitted bool) {
	if !row.ok {
		switch {
		case admitted:
		case row.skipped:
			sl.known = append(sl.known, row)
		default:
			sl.bad = append(sl.bad, row)
		}
		return
	}
	row.row.Ordinal = *ordinal
	*ordinal++
	if admitted {
		return
	}
	sl.add(&row.row)
	sl.good = append(sl.good, row)
}

// add makes the row a part of what the slice's digest commits to: everything that decides what is sent, to whom, how and when.
func (sl *slice) add(r *dispatch.Row) {
	b := binary.BigEndian.AppendUint32(sl.buf[:0], uint32(r.Ordinal))
	b = binary.BigEndian.AppendUint32(b, uint32(r.RowNo))
	for _, p := range r.Content.Phones {
		b = append(append(b, p.Digits()...), 0)
	}
	for _, channel := range r.Channels {
		b = append(append(b, channel...), 0)
	}
	for _, part := range [...]string{r.ExternalID, r.Content.Text, r.Content.Person.SNILS.Digits(), r.Content.Person.FullName().Reveal(), string(r.Zones),
		r.LifeEvent, r.Template} {
		b = append(append(b, part...), 0)
	}
	for _, at := range [...]int64{r.NotBefore.UnixMicro(), r.ValidUntil.UnixMicro(), r.InformBy.UnixMicro()} {
		b = binary.BigEndian.AppendUint64(b, uint64(at))
	}
	sl.sum.Write(b)
	sl.buf = b
}

// checkerFor opens the file and makes the checker of its rows. With a fault of the columns it comes, too, with the header alone.
func (s *Service) checkerFor(l *List, e envelope, c claim, file io.ReaderAt) (k *checker, rows *listRows, err error) {
	snapshot := s.cfg.Catalog()
	rules, err := snapshot.Rules(c.at)
	if err != nil {
		return nil, nil, err
	}
	k = &checker{catalog: snapshot, rules: rules, at: c.at, agency: l.Agency, region: e.Region, envelope: &e.Header, segments: s.cfg.MaxSegments,
		routes: s.cfg.Routes, test: l.Test, lane: laneOf(l), pinned: e.Templates, filled: l.Tests != uuid.Nil, profile: e.Feed != nil && e.Feed.Profile}
	if l.Template != "" {
		template, ok := snapshot.Template(l.Template, l.TemplateVersion)
		if !ok {
			return nil, nil, ErrUnknownTemplate
		}
		k.template = template
	}
	if rows, err = s.openList(e, c, file); rows != nil {
		k.header = rows.header
	}
	if err != nil {
		return k, nil, err
	}
	k.ready()
	return k, rows, k.templateFault()
}

func laneOf(l *List) int16 {
	switch {
	case l.Kind == KindExpress:
		return dispatch.LaneSingle
	case l.Priority == PriorityBulk:
		return dispatch.LaneBulk
	}
	return dispatch.LaneNormal
}

// weightOf is the share beside other lists of the same agency: the urgent come first.
func weightOf(priority string) int16 {
	if priority == PriorityUrgent {
		return 8
	}
	return 1
}

const (
	gateSQL = `INSERT INTO list_parts (list_no, part, digest, rows, accepted, first_ordinal) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (list_no, part) DO NOTHING`
	addTotalsSQL = `UPDATE lists SET rows = rows + $2, accepted = accepted + $3, rejected = rejected + $4, warnings = warnings + $5,
		segments = segments + $6, skipped = skipped + $7, suppressed = suppressed + $8 WHERE no = $1 AND state = 'checking'`
	// The tables this transaction looks into are as often as not analysed while empty.
	byIndexSQL = `SET LOCAL enable_seqscan = off`
)

// admit writes one slice: its gate, its good rows, its faults and warnings, its journal entry, or none of them. Most of that may be done
// while the slice before is written, too, but no slice is committed before that one, so that those of a list that are admitted are always
// its first.
func (s *Service) admit(ctx context.Context, c claim, l *List, e envelope, key *citizen.DataKey, sl *slice) error {
	rules, err := s.cfg.Catalog().Rules(c.at)
	if err != nil {
		return err
	}
	suppress := rules.SuppressesDuplicates(l.Agency) && l.Tests == uuid.Nil
	if suppress { // which rows of the slice before are told must be known
		if err := sl.turn(ctx); err != nil {
			return err
		}
	}
	list := dispatch.List{No: l.No, Agency: l.Agency, Key: key, OnUncertain: l.OnUncertain, Sender: e.Sender, Weight: weightOf(l.Priority), Test: l.Test}
	rows := make([]*dispatch.Row, len(sl.good))
	for i, row := range sl.good {
		rows[i] = &row.row
	}
	if sl.before != nil || !sl.last {
		if err := s.cfg.Admission.MakeRuns(ctx, s.cfg.DB, list, rows); err != nil {
			return fmt.Errorf("slice %d: %w", sl.part, err)
		}
	}
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, gateSQL, l.No, sl.part, sl.digest, sl.rows, len(sl.good), sl.first)
		if err != nil {
			return fmt.Errorf("open the gate: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return s.sameSlice(ctx, tx, l.No, sl)
		}
		if err := s.personal(ctx, tx, l, e, sl, suppress); err != nil {
			return err
		}
		if len(rows) > 0 {
			if err := s.cfg.Admission.Write(ctx, tx, list, rows); err != nil {
				return err
			}
		}
		if err := s.writeVerdicts(ctx, tx, l.No, sl); err != nil {
			return err
		}
		if err := sl.turn(ctx); err != nil {
			return err
		}
		if err := s.holds(ctx, tx, c); err != nil {
			return err
		}
		return s.addUp(ctx, tx, l, sl)
	})
	switch {
	case errors.Is(err, postgres.ErrInDoubt):
		return fmt.Errorf("slice %d: %w", sl.part, err) // the gate tells, when the list is taken up again
	case err != nil:
		return fmt.Errorf("admit slice %d: %w", sl.part, err)
	}
	s.metrics.rows.WithLabelValues("accepted").Add(float64(len(sl.good)))
	s.metrics.rows.WithLabelValues("rejected").Add(float64(len(sl.bad)))
	return nil
}

// addUp adds the slice to the totals of its list and tells the journal. It locks the list: nothing that takes long may follow.
func (s *Service) addUp(ctx context.Context, tx pgx.Tx, l *List, sl *slice) error {
	segments, warnings, suppressed := 0, 0, 0
	for _, row := range sl.good {
		if row.row.Earlier != 0 {
			suppressed++
		} else {
			segments += row.row.Segments
		}
		if len(row.messages) > 0 {
			warnings++
		}
	}
	tag, err := tx.Exec(ctx, addTotalsSQL, l.No, sl.rows, len(sl.good), len(sl.bad), warnings, segments, len(sl.known), suppressed)
	if err != nil {
		return fmt.Errorf("add totals: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errLeaseLost
	}
	return s.append(ctx, tx, journal.System("ingest"), journal.Entry{Kind: journal.PartAdmitted, ListNo: l.No, Agency: l.Agency, Count: len(sl.good),
		Data: journal.Fields("part", fmt.Sprint(sl.part), "rows", fmt.Sprint(sl.rows), "rejected", fmt.Sprint(len(sl.bad)), "suppressed", fmt.Sprint(suppressed))})
}

// sameSlice lets a repeat of what was admitted pass, and nothing else.
func (s *Service) sameSlice(ctx context.Context, tx pgx.Tx, list int64, sl *slice) error {
	var was []byte
	if err := tx.QueryRow(ctx, `SELECT digest FROM list_parts WHERE list_no = $1 AND part = $2`, list, sl.part).Scan(&was); err != nil {
		return fmt.Errorf("read the gate: %w", err)
	}
	if !bytes.Equal(was, sl.digest) {
		return fmt.Errorf("part %d of list %d was admitted with other content", sl.part, list)
	}
	return nil
}

// addDigests makes the keyed digests by which people are found: of the first phone first, of what makes a row the same as another last. It is
// done while the slice before is written.
func (s *Service) addDigests(l *List, sl *slice) error {
	for _, row := range sl.good {
		r := &row.row
		digests, err := s.cfg.Keys.PersonDigests(make([]citizen.Digest, 0, 4), r.Content.Person, r.Content.Phones...)
		if err != nil {
			return err
		}
		same, err := s.sameDigest(l, row)
		if err != nil {
			return err
		}
		r.Digests = append(digests, same)
	}
	return nil
}

// same is the digest of what makes the row the same as another (Service.addDigests).
func (c *checked) same() citizen.Digest { return c.row.Digests[len(c.row.Digests)-1] }

// personal warns of refusals, and finds what was said before.
func (s *Service) personal(ctx context.Context, tx pgx.Tx, l *List, e envelope, sl *slice, suppress bool) error {
	if _, err := tx.Exec(ctx, byIndexSQL); err != nil {
		return fmt.Errorf("set planner: %w", err)
	}
	phones := make([]citizen.Digest, len(sl.good))
	for i, row := range sl.good {
		phones[i] = row.row.Digests[0]
	}
	refused, err := citizen.OptOutsOf(ctx, tx, phones)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		stopped := make(map[citizen.Digest]bool)
		for _, o := range refused {
			if o.Covers(l.Agency) {
				stopped[o.Digest] = true
			}
		}
		for i := range sl.good {
			if stopped[phones[i]] {
				sl.good[i].add(RuleOptOut, fieldPhone)
			}
		}
	}
	if err := s.warnOfDeaths(ctx, tx, sl); err != nil {
		return err
	}
	return s.duplicates(ctx, tx, l, e, sl, suppress)
}

// writeVerdicts stores faults and warnings, and lets a person be found by a row that was not taken.
func (s *Service) writeVerdicts(ctx context.Context, tx pgx.Tx, list int64, sl *slice) error {
	var out [][]any
	add := func(c *checked) {
		for i, m := range c.messages {
			rule, _ := RuleOf(m.Code)
			out = append(out, []any{list, c.row.RowNo, int16(i + 1), c.row.Part, int16(rule.Type), int16(m.Code), m.Field, c.row.ExternalID})
		}
	}
	for _, rows := range [...][]*checked{sl.good, sl.bad, sl.known} {
		for _, row := range rows {
			add(row)
		}
	}
	if len(out) == 0 {
		return nil
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"rejections"},
		[]string{"list_no", "row_no", "no", "part", "message_type", "rule_code", "field", "external_id"}, pgx.CopyFromRows(out))
	if err != nil {
		return fmt.Errorf("store verdicts: %w", err)
	}
	return s.indexRejected(ctx, tx, list, sl.bad)
}

// indexRejected lets people be found by rows that were not taken. A file that takes the place of another may have the same person in the
// same row.
func (s *Service) indexRejected(ctx context.Context, tx pgx.Tx, list int64, bad []*checked) error {
	var index []citizen.IndexEntry
	for _, row := range bad {
		r := &row.row
		found, err := s.cfg.Keys.PersonDigests(nil, r.Content.Person, r.Content.Phones...)
		if err != nil {
			return err
		}
		for _, d := range found {
			index = append(index, citizen.IndexEntry{Digest: d, Ref: citizen.Ref{Kind: citizen.RefRejection, ID: int64(dispatch.MakeID(list, r.RowNo))}})
		}
	}
	return citizen.AddToIndex(ctx, tx, index)
}
