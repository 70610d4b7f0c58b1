package dispatch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/journal"
)

// found is a receipt whose attempt is known.
type found struct {
	*pendingReceipt
	id                NotificationID
	runID             int32
	no, sequence      int16
	segment, segments int16
	run               *run
	key               refKey // in refs; 0 when it was looked up in the database
}

// receipts plans what receipts change. One whose message_id is in memory needs no look at the database; any other is looked up, then
// held for a moment (it may have overtaken its submit_sm_resp), then matched with what is uncertain, then kept as an orphan.
func (w *writing) receipts(ctx context.Context, tx pgx.Tx, all []*pendingReceipt) error {
	known := make([]found, 0, len(all))
	var unknown []*pendingReceipt
	for _, p := range all {
		if f, ok := w.known(p, p.MessageID); !ok {
			unknown = append(unknown, p)
		} else if f.segments > 1 && !w.hold(f.id) {
			w.again.receipts = append(w.again.receipts, p)
		} else {
			known = append(known, f)
		}
	}
	known, unknown, err := w.otherReading(ctx, tx, known, unknown)
	if err != nil {
		return err
	}
	if w.careful {
		ids := make([]int64, len(known))
		for i, f := range known {
			ids[i] = int64(f.id)
		}
		if err := w.load(ctx, tx, ids); err != nil {
			return err
		}
	}
	more, unknown, err := w.lookUp(ctx, tx, unknown)
	if err != nil {
		return err
	}
	for _, f := range append(known, more...) {
		if f.run, err = w.d.runOrLoad(ctx, tx, f.runID); err != nil {
			return err
		}
		if err := w.receipt(ctx, tx, f); err != nil {
			return err
		}
	}
	var orphans []*pendingReceipt
	for _, p := range unknown {
		if w.overdue(p) {
			orphans = append(orphans, p)
			continue
		}
		w.early(p)
	}
	return w.adopt(ctx, tx, orphans)
}

// early puts a receipt back that may have overtaken its submit_sm_resp.
func (w *writing) early(p *pendingReceipt) {
	if p.until.IsZero() {
		p.until = time.Now().Add(earlyWait)
	}
	w.again.receipts = append(w.again.receipts, p)
}

// known finds the attempt behind a message_id in memory: accepted in this very transaction, or earlier by this holder.
func (w *writing) known(p *pendingReceipt, messageID string) (found, bool) {
	if messageID == "" {
		return found{}, false
	}
	k := w.shared.refs.key(p.link, messageID)
	if f, ok := w.own[k]; ok {
		f.pendingReceipt = p
		return f, true
	}
	r, ok := w.shared.refs.get(k)
	return found{pendingReceipt: p, id: r.id, runID: r.run, no: 1, sequence: 1, segment: int16(r.segment), segments: int16(r.segments), key: k}, ok
}

// receipt plans what one receipt changes.
func (w *writing) receipt(ctx context.Context, tx pgx.Tx, f found) error {
	w.stored = append(w.stored, f.pendingReceipt)
	if f.State <= AttemptAccepted {
		return nil // it only says that the message is under way
	}
	reached := f.State
	if f.segments > 1 {
		states, err := w.segmentStates(ctx, tx, f)
		if err != nil {
			return err
		}
		if states[f.segment-1] < f.State {
			states[f.segment-1] = f.State
			w.attempts = append(w.attempts, attemptRow{id: f.id, at: w.now, entry: w.entry(journal.Entry{Kind: journal.Attempt, At: w.now,
				Agency: f.run.agency, ListNo: f.run.listNo, Notification: int64(f.id), Sequence: int(f.sequence), Attempt: int(f.no),
				Channel: f.run.channel, Link: w.d.linkName(f.link), State: Accepted.String(), From: Accepted.String(), Code: journal.Text(f.Code),
				Segment: int(f.segment), Segments: int(f.segments), Data: journal.Fields("segment_state", f.State.String())}),
				run: f.runID, link: f.link, no: f.no, sequence: f.sequence, segment: f.segment, segments: f.segments,
				state: f.State, messageID: f.MessageID, code: f.Code})
		}
		reached = whole(states)
	}
	if f.key != 0 {
		w.dropRefs = append(w.dropRefs, f.key)
	}
	if reached <= AttemptAccepted {
		return nil // other segments are still under way
	}
	st, ok := w.standing[f.id]
	if !ok {
		st = standing{state: Accepted, sequence: f.sequence, attempts: f.no}
	}
	reason := reasonOf(reached, f.Reason)
	if reached != AttemptDelivered && !st.state.Final() {
		if st.failed >= f.no || st.attempts > f.no {
			return nil // it has gone on already: what comes after decides
		}
		failed := attemptRow{id: f.id, at: w.now, run: f.runID, link: f.link, no: f.no, segment: f.segment,
			segments: f.segments, state: reached, messageID: f.MessageID, code: f.Code}
		moved, err := w.nextChannel(ctx, tx, f.run, failed, st, reason)
		if err != nil || moved {
			return err
		}
	}
	w.end(f.run, st, endRow{id: f.id, at: w.now, state: endOf(reached), attempt: f.no, link: f.link, reason: reason, code: f.Code})
	return nil
}

// whole is what segment states make of a message: delivered when all are; failed as soon as one has failed.
func whole(states []AttemptState) AttemptState {
	least := AttemptDelivered
	for _, s := range states {
		if s == AttemptUndelivered || s == AttemptExpired || s == AttemptRefused {
			return max(s, AttemptExpired)
		}
		least = min(least, s)
	}
	return least
}

// segmentStates are the states of the segments of one attempt, from memory or from the attempts written before.
func (w *writing) segmentStates(ctx context.Context, tx pgx.Tx, f found) ([]AttemptState, error) {
	if states := w.parts[f.id]; len(states) == int(f.segments) {
		return states, nil
	}
	if w.parts == nil {
		w.parts = map[NotificationID][]AttemptState{}
	}
	if states := w.shared.refs.statesOf(f.id); len(states) == int(f.segments) {
		w.parts[f.id] = slices.Clone(states) // what was changed is kept once it is committed
		return w.parts[f.id], nil
	}
	states := make([]AttemptState, f.segments)
	rows, err := tx.Query(ctx, `SELECT segment, max(state) FROM attempts WHERE notification = $1 AND no = $2 GROUP BY segment`, int64(f.id), f.no)
	if err != nil {
		return nil, fmt.Errorf("read segments: %w", err)
	}
	var segment, state int16
	if _, err := pgx.ForEachRow(rows, []any{&segment, &state}, func() error {
		if int(segment) <= len(states) && segment > 0 {
			states[segment-1] = AttemptState(state)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read segments: %w", err)
	}
	for i := range states {
		states[i] = max(states[i], AttemptAccepted) // accepted in this very transaction
	}
	w.parts[f.id] = states
	return states, nil
}

const lookUpSQL = `
SELECT DISTINCT ON (u.n) u.n, a.notification, a.run, a.no, a.sequence, a.segment, a.segments
FROM unnest($1::int[], $2::text[], $3::smallint[]) AS u(n, message_id, link)
JOIN attempts a ON a.message_id = u.message_id AND a.link = u.link AND a.state = 4
ORDER BY u.n, a.at DESC`

// otherReading matches receipts by their message_id read in the other base. An id so read may belong to another message by chance, so
// the phone must agree.
func (w *writing) otherReading(ctx context.Context, tx pgx.Tx, known []found, unknown []*pendingReceipt) ([]found, []*pendingReceipt, error) {
	rest := unknown[:0]
	for _, p := range unknown {
		f, ok := w.known(p, p.Alternate)
		if ok = ok && !p.To.IsZero(); ok {
			digests, err := w.d.keyring.PhoneDigests(p.To)
			if err != nil {
				return nil, nil, fmt.Errorf("digest: %w", err)
			}
			refs, err := citizen.LookupIndex(ctx, tx, digests)
			if err != nil {
				return nil, nil, err
			}
			ok = slices.Contains(refs, citizen.Ref{Kind: citizen.RefNotification, ID: int64(f.id)})
		}
		switch {
		case !ok:
			rest = append(rest, p)
		case f.segments > 1 && !w.hold(f.id):
			w.again.receipts = append(w.again.receipts, p)
		default:
			known = append(known, f)
		}
	}
	return known, rest, nil
}

// lookUp finds attempts that are not in memory: recorded before this process took the pool, or tried more than once.
func (w *writing) lookUp(ctx context.Context, tx pgx.Tx, unknown []*pendingReceipt) ([]found, []*pendingReceipt, error) {
	var ns []int32
	var ids []string
	var links []int16
	for i, p := range unknown {
		if (p.until.IsZero() || w.overdue(p)) && p.MessageID != "" {
			ns, ids, links = append(ns, int32(i)), append(ids, p.MessageID), append(links, p.link)
		}
	}
	if len(ns) == 0 {
		return nil, unknown, nil
	}
	rows, err := tx.Query(ctx, lookUpSQL, ns, ids, links)
	if err != nil {
		return nil, nil, fmt.Errorf("look up receipts: %w", err)
	}
	var more []found
	var n int32
	var f found
	hit := make([]bool, len(unknown))
	if _, err := pgx.ForEachRow(rows, []any{&n, (*int64)(&f.id), &f.runID, &f.no, &f.sequence, &f.segment, &f.segments}, func() error {
		hit[n] = true
		f.pendingReceipt = unknown[n]
		more = append(more, f)
		return nil
	}); err != nil {
		return nil, nil, fmt.Errorf("look up receipts: %w", err)
	}
	// Held first and looked at after, so that what the other recorder has just changed is seen.
	mine := more[:0]
	var standing []int64
	for _, f := range more {
		if !w.hold(f.id) {
			w.again.receipts = append(w.again.receipts, f.pendingReceipt)
			continue
		}
		mine, standing = append(mine, f), append(standing, int64(f.id))
	}
	var rest []*pendingReceipt
	for i, p := range unknown {
		if !hit[i] {
			rest = append(rest, p)
		}
	}
	if err := w.load(ctx, tx, standing); err != nil {
		return nil, nil, err
	}
	// One that says nothing new may be of another message, to which the far side has given the same message_id again and whose response
	// is being recorded.
	news := mine[:0]
	for _, f := range mine {
		if st := w.standing[f.id]; f.State > AttemptAccepted && st.state.Final() && endOf(f.State) <= st.state && !w.overdue(f.pendingReceipt) {
			w.early(f.pendingReceipt)
		} else {
			news = append(news, f)
		}
	}
	return news, rest, nil
}

const adoptSQL = `
SELECT u.notification, u.digest, u.run, u.due_at, u.no, n.segments,
	(SELECT count(*) FROM orphan_receipts r WHERE r.digest = u.digest AND r.notification IS NULL AND r.state = 7 AND r.at >= u.since)
FROM uncertain u JOIN notifications n ON n.id = u.notification
WHERE u.digest = ANY($1) AND u.pool = $2
ORDER BY EXISTS (SELECT FROM outcomes o WHERE o.id = u.notification), u.since`

// adopt matches receipts of unknown messages with what is uncertain, by the destination: the process that sent it died before it
// learnt the message_id. What matches nothing is kept, since it may come before the crash is noticed.
func (w *writing) adopt(ctx context.Context, tx pgx.Tx, orphans []*pendingReceipt) error {
	if len(orphans) == 0 {
		return nil
	}
	byDigest := make(map[citizen.Digest][]*pendingReceipt)
	var digests [][]byte
	for _, p := range orphans {
		d, err := w.d.keyring.PhoneDigest(p.To)
		if err != nil || p.To.IsZero() || p.State <= AttemptAccepted {
			w.keepOrphan(p)
			continue
		}
		if byDigest[d] == nil {
			digests = append(digests, d[:])
		}
		byDigest[d] = append(byDigest[d], p)
	}
	type candidate struct {
		id     int64
		digest []byte
		run    int32
		due    time.Time
		no     int16
		parts  int
		heard  int // receipts of other segments that came before
	}
	rows, err := tx.Query(ctx, adoptSQL, digests, w.d.hold.pool)
	if err != nil {
		return fmt.Errorf("match receipts: %w", err)
	}
	candidates, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c candidate, err error) {
		return c, row.Scan(&c.id, &c.digest, &c.run, &c.due, &c.no, &c.parts, &c.heard)
	})
	if err != nil {
		return fmt.Errorf("match receipts: %w", err)
	}
	ids := make([]int64, 0, len(candidates))
	for _, c := range candidates {
		d := citizen.Digest(c.digest)
		if w.hold(NotificationID(c.id)) {
			ids = append(ids, c.id)
			continue
		}
		w.again.receipts = append(w.again.receipts, byDigest[d]...)
		delete(byDigest, d)
	}
	if err := w.load(ctx, tx, ids); err != nil {
		return err
	}
	used := map[citizen.Digest]int{} // of those heard before, by candidates before
	for _, c := range candidates {
		d := citizen.Digest(c.digest)
		waiting := byDigest[d]
		if len(waiting) == 0 {
			continue
		}
		heard := min(max(c.heard-used[d], 0), c.parts-1)
		mine := waiting[:min(len(waiting), c.parts-heard)]
		p := mine[0]
		for _, other := range mine[1:] {
			if other.State < AttemptDelivered {
				p = other // one segment that failed fails the message
			}
		}
		if p.State == AttemptDelivered && heard+len(mine) < c.parts {
			continue // other segments are still under way
		}
		byDigest[d] = waiting[len(mine):]
		used[d] += heard
		w.stored = append(w.stored, mine...)
		if heard > 0 {
			w.adopted = append(w.adopted, adoption{id: NotificationID(c.id), digest: d, state: AttemptDelivered, n: int16(heard)})
		}
		r, err := w.d.runOrLoad(ctx, tx, c.run)
		if err != nil {
			return err
		}
		id := NotificationID(c.id)
		st := w.standing[id]
		w.end(r, st, endRow{id: id, at: w.now, state: endOf(p.State), attempt: c.no, link: p.link, reason: reasonOf(p.State, p.Reason), code: p.Code})
		if !st.state.Final() {
			w.gone.add(c.run, c.due, id)
		}
	}
	for _, left := range byDigest {
		for _, p := range left {
			w.keepOrphan(p)
		}
	}
	return nil
}

func (w *writing) keepOrphan(p *pendingReceipt) {
	w.orphans = append(w.orphans, p)
	w.stored = append(w.stored, p)
}

// reasonOf is why a message was not delivered: the far side's reason, or the state itself.
func reasonOf(s AttemptState, why Reason) Reason {
	switch {
	case s == AttemptDelivered || s <= AttemptAccepted:
		return ReasonNone
	case why != ReasonNone:
		return why
	case s == AttemptExpired:
		return ReasonExpired
	default:
		return ReasonUndelivered
	}
}

// slow says of a result that its receipts may have been kept as orphans already.
func (w *writing) slow(res *Result) bool { return w.now.Sub(res.At) >= earlyWait/2 }

// orphansOf finds receipts that were kept as orphans because the response to their submit_sm was slow.
func (w *writing) orphansOf(ctx context.Context, tx pgx.Tx, results []Result) ([]*pendingReceipt, error) {
	var ids []string
	var links []int16
	var whose []int64
	for i := range results {
		res := &results[i]
		if res.Verdict != VerdictAccepted || !w.slow(res) {
			continue
		}
		for _, p := range res.Parts {
			if p.MessageID == "" {
				continue
			}
			ids, links, whose = append(ids, p.MessageID), append(links, w.d.linkNo(res.Link)), append(whose, int64(res.Attempt.ID))
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `UPDATE orphan_receipts o SET notification = u.id FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS u(message_id, link, id)
		WHERE o.message_id = u.message_id AND o.link = u.link AND o.notification IS NULL RETURNING o.link, o.message_id, o.state, o.code`, ids, links, whose)
	if err != nil {
		return nil, fmt.Errorf("look up early receipts: %w", err)
	}
	late, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*pendingReceipt, error) {
		p := &pendingReceipt{ack: &ack{left: 1, done: func(error) {}}}
		err := row.Scan(&p.link, &p.MessageID, &p.State, &p.Code)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("look up early receipts: %w", err)
	}
	return late, nil
}
