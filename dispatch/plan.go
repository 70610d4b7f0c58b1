package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/journal"
)

// write makes the plan and carries it out in tx.
func (w *writing) write(ctx context.Context, tx pgx.Tx, all work) error {
	w.standing = map[NotificationID]standing{}
	w.endOf = make(map[NotificationID]int, len(all.receipts))
	w.wake = map[int32]time.Time{}
	w.batches = map[*batch]int{}
	w.freshOnly = true

	var fenced error
	var b pgx.Batch
	w.d.hold.queueFence(&b, func(err error) { fenced = err })
	b.Queue(`SELECT pg_current_xact_id()::text`).QueryRow(func(row pgx.Row) error { return row.Scan(&w.xid) })
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("check fence: %w", err)
	}
	if fenced != nil {
		return fenced
	}
	all = w.mine(all)
	if err := w.lookUpTried(ctx, tx, all); err != nil {
		return err
	}
	for _, dec := range all.decisions {
		if err := w.decision(ctx, tx, dec); err != nil {
			return err
		}
	}
	for i := range all.results {
		if err := w.result(ctx, tx, &all.results[i]); err != nil {
			return err
		}
	}
	late, err := w.orphansOf(ctx, tx, all.results)
	if err != nil {
		return err
	}
	if err := w.receipts(ctx, tx, append(late, all.receipts...)); err != nil {
		return err
	}
	if err := w.giveUp(ctx, tx, all.giveUps); err != nil {
		return err
	}
	if err := w.carryOut(ctx, tx); err != nil {
		return err
	}
	w.d.reached(PointRecording)
	return nil
}

// mine leaves out what the other recorder's transaction may change too: it has to wait. A notification's first attempt, and what was
// decided of it before any, are nobody else's.
func (w *writing) mine(all work) work {
	all.results = joinLate(all.results)
	for i, res := range all.results {
		if (res.Attempt.row.tries > 0 || res.Late) && !w.hold(res.Attempt.ID) {
			if w.again.results == nil {
				all.results = slices.Clone(all.results)
			}
			w.again.results = append(w.again.results, res)
			all.results[i].Attempt = nil
		}
	}
	if w.again.results != nil {
		all.results = slices.DeleteFunc(all.results, func(res Result) bool { return res.Attempt == nil })
	}
	var decisions []decision
	for _, dec := range all.decisions {
		if dec.row.tries > 0 && !w.hold(dec.row.id) {
			w.again.decisions = append(w.again.decisions, dec)
		} else {
			decisions = append(decisions, dec)
		}
	}
	all.decisions = decisions
	var giveUps []giveUp
	for _, g := range all.giveUps {
		if w.hold(g.id) {
			giveUps = append(giveUps, g)
		} else {
			w.again.giveUps = append(w.again.giveUps, g)
		}
	}
	all.giveUps = giveUps
	return all
}

// joinLate makes an uncertain attempt whose response has come meanwhile an accepted one.
func joinLate(results []Result) []Result {
	var late map[*Attempt]*Result
	for i := range results {
		if r := &results[i]; r.Late {
			if late == nil {
				late = make(map[*Attempt]*Result)
			}
			late[r.Attempt] = r
		}
	}
	if late == nil {
		return results
	}
	joined := make([]Result, 0, len(results))
	used := make(map[*Attempt]bool)
	for _, r := range results {
		if l := late[r.Attempt]; l != nil && !r.Late && r.Verdict == VerdictUncertain {
			used[r.Attempt] = true
			r = *l
			r.Late = false
		} else if r.Late && used[r.Attempt] {
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// lookUpTried reads the standing of notifications that had attempts before: a late receipt may have been first.
func (w *writing) lookUpTried(ctx context.Context, tx pgx.Tx, all work) error {
	var ids []int64
	for i := range all.results {
		if a := all.results[i].Attempt; w.careful || a.row.tries > 0 || all.results[i].Late {
			ids = append(ids, int64(a.ID))
		}
	}
	for _, dec := range all.decisions {
		if w.careful || dec.row.tries > 0 {
			ids = append(ids, int64(dec.row.id))
		}
	}
	return w.load(ctx, tx, ids)
}

func (w *writing) load(ctx context.Context, tx pgx.Tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := loadStanding(ctx, tx, ids)
	if err != nil {
		return err
	}
	for id, s := range found {
		if _, ok := w.standing[id]; !ok {
			w.standing[id] = s
		}
	}
	return nil
}

// stand is what is known of a notification: from the database where it had to be asked, else from the row itself.
func (w *writing) stand(c *claimed) standing {
	if s, ok := w.standing[c.id]; ok {
		s.sequence = max(s.sequence, c.sequence)
		return s
	}
	return standing{state: c.from, sequence: c.sequence, attempts: c.tries}
}

func (w *writing) entry(e journal.Entry) int {
	w.entries = append(w.entries, e)
	return len(w.entries) - 1
}

// end plans an outcome, or a raise of one; what would lower it is dropped.
func (w *writing) end(r *run, st standing, e endRow) {
	if st.state.Final() && e.state <= st.state {
		return
	}
	if st.state.Final() {
		w.freshOnly = false
	}
	if _, looked := w.standing[e.id]; looked {
		w.freshOnly = false
	} else {
		w.assumed = true
	}
	at, twice := w.endOf[e.id]
	if twice {
		have := &w.ends[at]
		if e.state <= have.state {
			return
		}
		// Two receipts of one message in one transaction: the entry of the lower end stays, as the history of what was heard.
		st.state, st.sequence = have.state, have.sequence
	}
	if e.state >= Expired && (e.attempt > 1 || !w.freshOnly) {
		w.proven = append(w.proven, int64(e.id))
	}
	e.sequence = st.sequence + 1
	e.entry = w.entry(journal.Entry{Kind: journal.Outcome, At: e.at, Agency: r.agency, ListNo: r.listNo, Notification: int64(e.id),
		Sequence: int(e.sequence), Attempt: int(e.attempt), Channel: r.channel, Link: w.d.linkName(e.link), State: e.state.String(),
		From: st.state.String(), Reason: string(e.reason), Code: journal.Text(e.code)})
	st.state, st.sequence = e.state, e.sequence
	w.standing[e.id] = st
	if twice {
		w.ends[at] = e
		return
	}
	w.endOf[e.id] = len(w.ends)
	w.ends = append(w.ends, e)
}

func (w *writing) decision(ctx context.Context, tx pgx.Tx, dec decision) error {
	c, r := dec.row, dec.run
	w.settled = append(w.settled, c)
	st := w.stand(c)
	switch {
	case st.state.Final():
		w.gone.add(c.run, c.due, c.id)
	case dec.state.Final():
		w.gone.add(c.run, c.due, c.id)
		if dec.state == Undelivered || dec.state == Refused || dec.state == Expired {
			failed := attemptRow{id: c.id, at: w.now, run: c.run, no: c.tries, segment: 1, segments: 1, code: dec.code}
			if dec.adopted != nil {
				failed.state = AttemptUndelivered // its orphan receipt said so
			}
			moved, err := w.nextChannel(ctx, tx, r, failed, st, dec.reason)
			if moved && dec.adopted != nil {
				w.adopted = append(w.adopted, *dec.adopted)
			}
			if err != nil || moved {
				return err
			}
		}
		w.end(r, st, endRow{id: c.id, at: w.now, state: dec.state, attempt: c.tries, reason: dec.reason, code: dec.code})
		if dec.adopted != nil {
			w.adopted = append(w.adopted, *dec.adopted)
		}
	default:
		w.gone.add(c.run, c.due, c.id)
		later := outRow{run: c.run, tries: c.tries, sequence: st.sequence, due: dec.due, id: c.id}
		w.putLater(later)
		if st.state == Uncertain {
			w.moved = append(w.moved, later)
		}
		if dec.reason == ReasonHeld {
			w.entry(journal.Entry{Kind: journal.Attempt, At: w.now, Agency: r.agency, ListNo: r.listNo, Notification: int64(c.id),
				Sequence: int(st.sequence), Attempt: int(c.tries), Channel: r.channel, State: st.state.String(), From: st.state.String(),
				Reason: string(ReasonHeld)})
		}
	}
	return nil
}

func (w *writing) putLater(o outRow) {
	w.back = append(w.back, o)
	if at, ok := w.wake[o.run]; !ok || o.due.Before(at) {
		w.wake[o.run] = o.due
	}
}

func (w *writing) result(ctx context.Context, tx pgx.Tx, res *Result) error {
	a := res.Attempt
	c, r := a.row, a.run
	if res.Late {
		return w.late(ctx, tx, res)
	}
	w.batches[a.batch]++
	if res.Verdict == VerdictWithheld {
		w.released = append(w.released, c)
		return nil
	}
	w.settled = append(w.settled, c)
	w.gone.add(c.run, c.due, c.id)
	at := res.At
	if at.IsZero() {
		at = w.now
	}
	st := w.stand(c)
	link := w.d.linkNo(res.Link)
	entry := journal.Entry{Kind: journal.Attempt, At: at, Agency: r.agency, ListNo: r.listNo, Notification: int64(c.id), Attempt: int(a.No),
		Channel: r.channel, Link: res.Link, From: st.state.String(), Reason: string(res.Reason), Code: journal.Text(res.Code),
		Segments: max(len(res.Parts), 1), Commitment: a.commitment[:]}
	if a.Possible {
		entry.Data = journal.Fields("possible_duplicate", "true")
	}
	row := attemptRow{id: c.id, at: at, run: r.id, link: link, no: a.No, segment: 1, segments: int16(max(len(res.Parts), 1)), code: res.Code}
	// add writes the attempt down; told says that the sender hears of the state it brought, so that it has a sequence of its own.
	add := func(reached State, told bool) {
		if st.state.Final() {
			reached = st.state // a late receipt of an earlier attempt stands
		} else if told {
			st.sequence++
			if st.state == reached {
				entry.Data = append(entry.Data, toldAgain)
			}
		}
		entry.State, entry.Sequence = reached.String(), int(st.sequence)
		row.entry, row.sequence = w.entry(entry), st.sequence
		st.state = reached
		if c.tries > 0 || w.careful {
			w.standing[c.id] = st
		}
	}
	switch res.Verdict {
	case VerdictAccepted, VerdictDelivered:
		w.contacted(a)
		add(Accepted, true)
		parts := res.Parts
		if len(parts) == 0 {
			parts = []Part{{State: AttemptAccepted}}
		}
		for i, p := range parts {
			row.segment, row.state, row.messageID, row.code = int16(i+1), p.State, p.MessageID, p.Code
			w.attempts = append(w.attempts, row)
			if p.State == AttemptAccepted && p.MessageID != "" && !st.state.Final() {
				w.remember(res, row)
			}
		}
		if slices.ContainsFunc(parts, func(p Part) bool { return p.State == AttemptRefused }) {
			w.end(r, st, endRow{id: c.id, at: at, state: Undelivered, attempt: a.No, link: link, reason: ReasonPartial, code: res.Code})
		}
		if res.Verdict == VerdictDelivered {
			w.end(r, st, endRow{id: c.id, at: at, state: Delivered, attempt: a.No, link: link, code: res.Code})
		}
	case VerdictTemporary:
		add(st.state, false)
		row.state = AttemptRefused
		w.attempts = append(w.attempts, row)
		pause, again := w.rules.Retry(res.Reason, int(a.No))
		due := w.now.Add(pause)
		switch {
		case st.state.Final():
		case again && (c.valid == nil || due.Before(*c.valid)):
			w.putLater(outRow{run: c.run, tries: a.No, sequence: st.sequence, due: due, id: c.id})
		case again:
			w.end(r, st, endRow{id: c.id, at: w.now, state: OutOfTime, attempt: a.No, link: link, reason: ReasonValidUntil, code: res.Code})
		default:
			return w.last(ctx, tx, r, c.id, a.No, link, st, res.Reason, res.Code)
		}
	case VerdictUncertain:
		w.contacted(a)
		add(Uncertain, true)
		row.state = AttemptUncertain
		w.attempts = append(w.attempts, row)
		if !st.state.Final() {
			due := w.now.Add(w.rules.UncertainWait)
			w.putLater(outRow{run: c.run, tries: a.No, sequence: st.sequence, due: due, id: c.id})
			w.uncertain = append(w.uncertain, uncertainRow{a: a, link: link, due: due, sequence: st.sequence, since: at})
		}
	default: // permanent
		add(st.state, false)
		row.state = AttemptRefused
		w.attempts = append(w.attempts, row)
		if !st.state.Final() {
			return w.last(ctx, tx, r, c.id, a.No, link, st, res.Reason, res.Code)
		}
	}
	return nil
}

// remember keeps what finds the attempt behind an accepted segment's message_id: for receipts to come, and for one that came before.
func (w *writing) remember(res *Result, row attemptRow) {
	k := w.shared.refs.key(row.link, row.messageID)
	if row.no == 1 && row.sequence == 1 && row.segments < 256 {
		w.newRefs = append(w.newRefs, newRef{k, ref{id: row.id, run: row.run, segment: uint8(row.segment), segments: uint8(row.segments)}})
	}
	if w.slow(res) {
		if w.own == nil {
			w.own = map[refKey]found{}
		}
		w.own[k] = found{id: row.id, runID: row.run, no: row.no, sequence: row.sequence, segment: row.segment, segments: row.segments, key: k}
	}
}

// late takes the response of an attempt that was given up as uncertain: it did leave, and under which message_id. What still waits to be
// sent again is taken out; receipts settle the rest.
func (w *writing) late(ctx context.Context, tx pgx.Tx, res *Result) error {
	a := res.Attempt
	id, r, link := a.ID, a.run, w.d.linkNo(res.Link)
	st := w.stand(a.row)
	if st.state != Uncertain {
		return nil // decided meanwhile
	}
	w.contacted(a)
	st.state, st.sequence = Accepted, st.sequence+1
	w.standing[id] = st
	e := w.entry(journal.Entry{Kind: journal.Attempt, At: res.At, Agency: r.agency, ListNo: r.listNo, Notification: int64(id),
		Sequence: int(st.sequence), Attempt: int(a.No), Channel: r.channel, Link: res.Link, State: Accepted.String(), From: Uncertain.String(),
		Code: journal.Text(res.Code), Segments: len(res.Parts), Data: journal.Fields("late", "true")})
	for i, p := range res.Parts {
		w.attempts = append(w.attempts, attemptRow{id: id, at: res.At, entry: e, run: r.id, link: link, no: a.No, sequence: st.sequence,
			segment: int16(i + 1), segments: int16(len(res.Parts)), state: p.State, messageID: p.MessageID, code: p.Code})
	}
	rows, err := tx.Query(ctx, `DELETE FROM uncertain WHERE notification = $1 RETURNING run, due_at`, int64(id))
	if err != nil {
		return fmt.Errorf("late response: %w", err)
	}
	var run int32
	var due time.Time
	if _, err := pgx.ForEachRow(rows, []any{&run, &due}, func() error { w.gone.add(run, due, id); return nil }); err != nil {
		return fmt.Errorf("late response: %w", err)
	}
	return nil
}

// last moves the notification to the next channel of its plan, or ends it as this channel did.
func (w *writing) last(ctx context.Context, tx pgx.Tx, r *run, id NotificationID, no, link int16, st standing, why Reason, code string) error {
	moved, err := w.nextChannel(ctx, tx, r, attemptRow{id: id, no: no, link: link, code: code}, st, why)
	if err != nil || moved {
		return err
	}
	w.end(r, st, endRow{id: id, at: w.now, state: Refused, attempt: no, link: link, reason: why, code: code})
	return nil
}

// A list that is held back holds its next channels too: the state is the run's own, but for "done", which only says that its outbox
// is empty. DO UPDATE locks the run against being put to sleep, and sees one that another transaction has just made.
const nextRunSQL = `
INSERT INTO runs (list_no, agency, pool, channel, plan, step, lane, weight, zones, wide_window, exempt, on_uncertain, data_key,
	life_event, template, sender, test, valid_until, state)
SELECT list_no, agency, @pool, @channel, plan, @step, lane, weight, zones, wide_window, exempt, on_uncertain, data_key,
	life_event, template, sender, test, valid_until, CASE state WHEN 'done' THEN 'active' ELSE state END
FROM runs WHERE id = @run AND state <> 'cancelling'
ON CONFLICT (list_no, pool, zones, wide_window, lane, plan, step, template, life_event, valid_until, on_uncertain)
	DO UPDATE SET next_due = runs.next_due
RETURNING id`

// nextChannel puts the notification into the run of the next channel of its plan that some link performs. failed is the attempt that
// brought it there; with a state it is written down, so that another receipt of the same failure changes nothing.
func (w *writing) nextChannel(ctx context.Context, tx pgx.Tx, r *run, failed attemptRow, st standing, why Reason) (bool, error) {
	for step := int(r.step) + 1; step < len(r.plan); step++ {
		pool, ok := w.d.poolFor(r.plan[step], r.agency, r.test)
		if !ok {
			continue
		}
		var next int32
		err := tx.QueryRow(ctx, nextRunSQL, pgx.NamedArgs{"run": r.id, "pool": pool, "channel": r.plan[step], "step": step}).Scan(&next)
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil // cancelled
		}
		if err != nil {
			return false, fmt.Errorf("next channel: %w", err)
		}
		e := w.entry(journal.Entry{Kind: journal.Attempt, At: w.now, Agency: r.agency, ListNo: r.listNo, Notification: int64(failed.id),
			Sequence: int(st.sequence), Attempt: int(failed.no), Channel: r.channel, State: Pending.String(), From: st.state.String(),
			Reason: string(why), Code: journal.Text(failed.code), Data: journal.Fields("next", r.plan[step])})
		if failed.state != 0 {
			failed.entry, failed.sequence = e, st.sequence
			w.attempts = append(w.attempts, failed)
		}
		st.failed = failed.no
		w.standing[failed.id] = st
		w.putLater(outRow{run: next, tries: failed.no, sequence: st.sequence, due: w.now, id: failed.id})
		return true, nil
	}
	return false, nil
}
