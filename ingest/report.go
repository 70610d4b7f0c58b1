package ingest

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
)

// Report is one thing that the sender of a list is told: that its check is over, or one of Status, Summary and Reply. Nothing personal is
// in it. A report has its place in the journal for ever, so that whoever tells them needs to keep one number.
type Report struct {
	Position int64
	At       time.Time
	List     *List // without counts
	Checked  bool  // its load protocol is ready: ProtocolPages
	Status   *Status
	Summary  *Summary
	Reply    *Reply
}

// Status is what became of one notification (CONTRACTS 2).
type Status struct {
	ListID            uuid.UUID  `json:"list_id"`
	ExternalID        string     `json:"external_id"`
	NotificationID    string     `json:"notification_id"`
	Part              int        `json:"part"`
	Row               int        `json:"row"`      // its place in the part, from 1
	Sequence          int        `json:"sequence"` // grows with each status of a notification
	State             string     `json:"state"`    // suppressed, accepted, uncertain, delivered, undelivered, expired, refused, unconfirmed, cancelled, out_of_time
	Final             bool       `json:"final"`
	Informed          bool       `json:"informed"` // delivered in all segments, or a call heard
	InTerm            string     `json:"in_term"`  // in_term, late, not_informed, no_term, open
	Reason            string     `json:"reason,omitempty"`
	Code              string     `json:"code,omitempty"` // the far side's own word
	Channel           string     `json:"channel,omitempty"`
	Attempt           int        `json:"attempt"`  // 0 = none was made
	Segments          int        `json:"segments"` // of an SMS
	OccurredAt        time.Time  `json:"occurred_at"`
	WaitingUntil      *time.Time `json:"waiting_until,omitempty"`      // of uncertain: for a late receipt, before the list's policy decides
	PossibleDuplicate bool       `json:"possible_duplicate,omitempty"` // sent again after an attempt whose answer was lost
}

// Summary is the end of a list: rows = accepted + rejected + skipped, and the counts add up to accepted.
type Summary struct {
	ListID     uuid.UUID      `json:"list_id"`
	State      string         `json:"state"` // completed, cancelled, refused
	Rows       int            `json:"rows"`
	Accepted   int            `json:"accepted"`
	Rejected   int            `json:"rejected"`
	Skipped    int            `json:"skipped"` // taken by an earlier list
	Counts     map[string]int `json:"counts"`  // notifications by state
	Informed   int            `json:"informed"`
	Reason     string         `json:"reason,omitempty"` // too_late: the answer to a cancel of a list that had ended
	OccurredAt time.Time      `json:"occurred_at"`
}

// Reply is what a citizen answered to a notification (CONTRACTS 2); never in his own words.
type Reply struct {
	ListID     uuid.UUID `json:"list_id"`
	ExternalID string    `json:"external_id"`
	Kind       string    `json:"kind"` // opt_out
	Question   string    `json:"question,omitempty"`
	Value      string    `json:"value,omitempty"`
	OccurredAt time.Time `json:"occurred_at"`
}

// ReplyOptOut is the kind of a reply by which a citizen wants no more messages.
const ReplyOptOut = "opt_out"

// SourceOf is the catalogue's entry of the source of a list that came by its topics; ok is false for any other list. A source that has
// ended hears of its lists by the entry that was in force when they came.
func (s *Service) SourceOf(l *List) (source *catalog.Source, ok bool) {
	if !l.byFeed {
		return nil, false
	}
	c := s.cfg.Catalog()
	if source, ok = c.Source(l.Source, s.cfg.Now()); !ok {
		source, ok = c.Source(l.Source, l.CreatedAt)
	}
	return source, ok && source.Door == "feed"
}

var reportKinds = []journal.Kind{journal.ListChecked, journal.ListRejected, journal.ListCompleted, journal.ListCancelled, journal.ListRefused,
	journal.Attempt, journal.Outcome, journal.OptOut, journal.RecallTooLate}

// reasonTooLate answers a cancel of what had left or ended: beside the state it is in, whose sequence stays what it was.
const reasonTooLate = "too_late"

// Reports reads at most limit positions of the journal beginning with from, and returns what the senders of the lists that are wanted are
// told by them, in the order of the positions, and the position to go on from; it is from itself when there is nothing new.
func (s *Service) Reports(ctx context.Context, from int64, limit int, wanted func(*List) bool) (reports []Report, next int64, err error) {
	entries, next, err := journal.Follow(ctx, s.cfg.DB, from, limit, reportKinds...)
	if err != nil {
		return nil, from, err
	}
	r := reporting{s: s, lists: make(map[int64]*List), wanted: wanted}
	if err := r.readLists(ctx, entries); err != nil {
		return nil, from, err
	}
	if err := r.readRows(ctx, entries); err != nil {
		return nil, from, err
	}
	for i := range entries {
		if err := r.entry(ctx, &entries[i]); err != nil {
			return nil, from, err
		}
	}
	return r.reports, next, nil
}

// reporting turns entries of the journal into reports.
type reporting struct {
	s       *Service
	lists   map[int64]*List // those that are wanted
	wanted  func(*List) bool
	rows    []dispatch.RowRef // by id
	doubted map[dispatch.NotificationID]int16
	late    map[dispatch.NotificationID]*dispatch.Status // taken back too late
	wait    time.Duration                                // of what is uncertain
	reports []Report
}

func (r *reporting) readLists(ctx context.Context, entries []journal.Placed) error {
	var nos []int64
	var last int64
	for i := range entries {
		if no := entries[i].Entry.ListNo; no != 0 && no != last {
			nos, last = append(nos, no), no
		}
	}
	slices.Sort(nos)
	return r.addLists(ctx, slices.Compact(nos))
}

func (r *reporting) addLists(ctx context.Context, nos []int64) error {
	found, err := ByNumber(ctx, r.s.cfg.DB, journal.System("ingest"), nos)
	if err != nil {
		return err
	}
	for no, l := range found {
		if l.Tests == uuid.Nil && r.wanted(l) {
			r.lists[no] = l
		}
	}
	return nil
}

func (r *reporting) readRows(ctx context.Context, entries []journal.Placed) (err error) {
	if rules, err := r.s.cfg.Catalog().Rules(r.s.cfg.Now()); err == nil {
		r.wait = rules.UncertainWait
	}
	var ids, again, late []dispatch.NotificationID
	since := r.s.cfg.Now()
	for i := range entries {
		e := &entries[i].Entry
		l, id := r.lists[e.ListNo], dispatch.NotificationID(e.Notification)
		_, told := dispatch.Told(e)
		switch {
		case l == nil:
			continue
		case told:
			ids = append(ids, id)
		case e.Kind == journal.RecallTooLate && id != 0:
			late = append(late, id)
		default:
			continue
		}
		if e.Attempt > 1 {
			again = append(again, id)
		}
		if l.CreatedAt.Before(since) {
			since = l.CreatedAt
		}
	}
	slices.Sort(ids)
	if r.rows, err = dispatch.RowsOf(ctx, r.s.cfg.DB, slices.Compact(ids)); err != nil {
		return err
	}
	if r.doubted, err = dispatch.Doubted(ctx, r.s.cfg.DB, again, since); err != nil {
		return err
	}
	statuses, err := dispatch.ReadStatus(ctx, r.s.cfg.DB, late, since)
	r.late = make(map[dispatch.NotificationID]*dispatch.Status, len(statuses))
	for i := range statuses {
		r.late[statuses[i].ID] = &statuses[i]
	}
	return err
}

// row finds what a notification is called by its sender; nil when it was purged.
func (r *reporting) row(id dispatch.NotificationID) *dispatch.RowRef {
	i, ok := slices.BinarySearchFunc(r.rows, id, func(row dispatch.RowRef, id dispatch.NotificationID) int { return int(max(-1, min(1, row.ID-id))) })
	if !ok {
		return nil
	}
	return &r.rows[i]
}

func (r *reporting) entry(ctx context.Context, p *journal.Placed) error {
	e := &p.Entry
	if e.Kind == journal.OptOut {
		return r.optOut(ctx, p)
	}
	l := r.lists[e.ListNo]
	if l == nil {
		return nil
	}
	report := Report{Position: p.Position, At: e.At, List: l}
	switch e.Kind {
	case journal.ListChecked, journal.ListRejected:
		report.Checked = true
	case journal.ListCompleted, journal.ListCancelled, journal.ListRefused:
		if e.Count == 0 {
			return nil // a person's word; its rows have yet to end
		}
		summary, err := r.summary(ctx, l, e)
		if err != nil {
			return err
		}
		report.Summary = summary
	case journal.RecallTooLate:
		if err := r.tooLate(ctx, l, e, &report); err != nil || report.Status == nil && report.Summary == nil {
			return err
		}
	default:
		if report.Status = r.status(l, e); report.Status == nil {
			return nil
		}
	}
	r.reports = append(r.reports, report)
	return nil
}

func (r *reporting) status(l *List, e *journal.Entry) *Status {
	state, told := dispatch.Told(e)
	if !told {
		return nil
	}
	id := dispatch.NotificationID(e.Notification)
	row := r.row(id)
	if row == nil {
		return nil
	}
	part, place := l.place(int(row.Part), int(row.RowNo))
	st := &Status{ListID: l.ID, ExternalID: row.ExternalID, NotificationID: id.String(), Part: part, Row: place, Sequence: e.Sequence, State: state.String(), Final: state.Final(), Informed: state == dispatch.Delivered, InTerm: string(dispatch.TermOf(state, e.At, row.InformBy, e.At)),
		Reason: e.Reason, Code: e.Code, Channel: e.Channel, Attempt: e.Attempt, Segments: int(row.Segments), OccurredAt: e.At.UTC()}
	if first, ok := r.doubted[id]; ok && int(first) < e.Attempt {
		st.PossibleDuplicate = true
	}
	if state == dispatch.Uncertain && e.Reason != string(dispatch.ReasonRestored) && r.wait > 0 {
		until := e.At.Add(r.wait).UTC()
		st.WaitingUntil = &until
	}
	return st
}

// tooLate answers a cancel: of a row by the state it is in by now, of a list by its summary.
func (r *reporting) tooLate(ctx context.Context, l *List, e *journal.Entry, report *Report) (err error) {
	if e.Notification == 0 {
		if state := State(e.State); state == Completed || state == Cancelled || state == Refused {
			if report.Summary, err = r.summary(ctx, l, e); err == nil {
				report.Summary.Reason = reasonTooLate
			}
		}
		return err
	}
	known := r.late[dispatch.NotificationID(e.Notification)]
	if known == nil {
		return nil
	}
	state := known.State
	if state == dispatch.Pending { // it is on the wire
		state = dispatch.Uncertain
	}
	part, place := l.place(int(known.Part), int(known.RowNo))
	report.Status = &Status{ListID: l.ID, ExternalID: known.ExternalID, NotificationID: known.ID.String(), Part: part, Row: place, Sequence: int(known.Sequence),
		State: state.String(), Final: state.Final(), Informed: state == dispatch.Delivered, InTerm: string(dispatch.TermOf(state, known.At, known.InformBy, e.At)),
		Reason: reasonTooLate, Code: known.Code, Channel: known.Channel, Attempt: int(known.Attempt), Segments: int(known.Segments), OccurredAt: e.At.UTC(),
		PossibleDuplicate: known.Possible}
	return nil
}

// summary counts by the counters, which had seen the end of every row when they wrote the entry. Receipts that came since have moved a
// row from one count to another.
func (r *reporting) summary(ctx context.Context, l *List, e *journal.Entry) (*Summary, error) {
	counted := *l
	if err := r.s.addCounts(ctx, []*List{&counted}); err != nil {
		return nil, err
	}
	summary := &Summary{ListID: l.ID, State: e.State, Rows: l.Rows, Accepted: l.Accepted, Rejected: l.Rejected, Skipped: l.Skipped,
		Counts: make(map[string]int), Informed: int(counted.Counts[dispatch.Delivered]), OccurredAt: e.At.UTC()}
	for state, n := range counted.Counts {
		summary.Counts[state.String()] = int(n)
	}
	return summary, nil
}

// optOut tells each source and each agency that a person of theirs wants no more messages: by the newest row that has the phone.
func (r *reporting) optOut(ctx context.Context, p *journal.Placed) error {
	e := &p.Entry
	refusals, err := citizen.OptOutsOfCause(ctx, r.s.cfg.DB, e.Get("cause"), e.At)
	if err != nil {
		return err
	}
	newest := make(map[[2]string]dispatch.NotificationID)
	for _, refusal := range refusals {
		refs, err := citizen.LookupIndex(ctx, r.s.cfg.DB, []citizen.Digest{refusal.Digest})
		if err != nil {
			return err
		}
		var ids []dispatch.NotificationID
		var nos []int64
		for _, ref := range refs {
			if ref.Kind == citizen.RefNotification {
				id := dispatch.NotificationID(ref.ID)
				ids, nos = append(ids, id), append(nos, id.List())
			}
		}
		if err := r.addLists(ctx, slices.Compact(nos)); err != nil {
			return err
		}
		for _, id := range ids { // the index gives them in their order
			if l := r.lists[id.List()]; l != nil && refusal.Covers(l.Agency) {
				newest[[2]string{l.Source, l.Agency}] = id
			}
		}
	}
	ids := make([]dispatch.NotificationID, 0, len(newest))
	for _, id := range newest {
		ids = append(ids, id)
	}
	rows, err := dispatch.RowsOf(ctx, r.s.cfg.DB, ids)
	if err != nil {
		return err
	}
	for _, row := range rows {
		l := r.lists[row.ID.List()]
		r.reports = append(r.reports, Report{Position: p.Position, At: e.At, List: l,
			Reply: &Reply{ListID: l.ID, ExternalID: row.ExternalID, Kind: ReplyOptOut, OccurredAt: e.At.UTC()}})
	}
	return nil
}
