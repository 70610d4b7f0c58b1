package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// write appends entries to the journal and lets the counters take them in.
func (h *hub) write(entries ...journal.Entry) {
	h.t.Helper()
	err := postgres.InTx(h.t.Context(), h.db, func(tx pgx.Tx) error {
		_, err := h.cfg.Journal.Append(h.t.Context(), tx, entries)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.follow()
}

// follow lets the counters catch up with the journal.
func (h *hub) follow() {
	h.t.Helper()
	for more := true; more; {
		if err := place(h.t.Context(), h); err != nil {
			h.t.Fatal(err)
		}
		var err error
		if more, err = h.countSome(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := place(h.t.Context(), h); err != nil {
		h.t.Fatal(err)
	}
}

// reports reads all there are, so many positions at a time, since from; positions rise, and the next from is returned.
func (h *hub) reports(from int64, limit int) ([]Report, int64) {
	h.t.Helper()
	var all []Report
	for {
		some, next, err := h.Reports(h.t.Context(), from, limit, func(*List) bool { return true })
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range some {
			if r.Position < from || r.Position >= next {
				h.t.Fatalf("position %d between %d and %d", r.Position, from, next)
			}
		}
		all = append(all, some...)
		if next == from {
			return all, next
		}
		from = next
	}
}

// change is an entry of a notification that goes from one state to another.
func change(kind journal.Kind, l *List, ordinal int32, sequence int, from, to dispatch.State, more ...func(*journal.Entry)) journal.Entry {
	e := journal.Entry{Kind: kind, At: noon.Add(time.Duration(sequence) * time.Second), Agency: l.Agency, ListNo: l.No,
		Notification: int64(dispatch.MakeID(l.No, ordinal)), Sequence: sequence, Attempt: 1, Channel: "sms", From: from.String(), State: to.String()}
	for _, f := range more {
		f(&e)
	}
	return e
}

func TestReportsTellEveryChangeOnceAndASummaryThatAddsUp(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(func(x *Header) { x.InformBy.At = noon.Add(90 * time.Second) }),
		"Телефон;Текст;Внешний номер\n9030000001;Один;A-1\n9030000002;Два;A-2\n9030000003;Три;A-3\n123;Плохой;A-4\n")
	l = h.approve(l)
	h.follow()
	_, from := h.reports(0, 1000)
	h.write(
		change(journal.Attempt, l, 1, 1, dispatch.Pending, dispatch.Accepted),
		change(journal.Attempt, l, 2, 0, dispatch.Pending, dispatch.Pending, func(e *journal.Entry) { e.Reason = "throttled" }),
		change(journal.Attempt, l, 2, 1, dispatch.Pending, dispatch.Uncertain, func(e *journal.Entry) { e.Reason = "link_lost" }),
		change(journal.Attempt, l, 2, 1, dispatch.Uncertain, dispatch.Uncertain, func(e *journal.Entry) { e.Reason = "held" }),
		change(journal.Attempt, l, 1, 1, dispatch.Accepted, dispatch.Accepted, func(e *journal.Entry) { e.Segment = 1; e.Segments = 2 }),
		change(journal.Outcome, l, 3, 1, dispatch.Pending, dispatch.Suppressed, func(e *journal.Entry) { e.Reason = "opt_out"; e.Attempt = 0; e.Channel = "" }),
		change(journal.Outcome, l, 1, 2, dispatch.Accepted, dispatch.Undelivered, func(e *journal.Entry) { e.Reason = "undelivered"; e.Code = "UNDELIV" }),
		change(journal.Outcome, l, 2, 2, dispatch.Uncertain, dispatch.Delivered),
		change(journal.Outcome, l, 1, 3, dispatch.Undelivered, dispatch.Delivered, func(e *journal.Entry) { e.At = noon.Add(2 * time.Minute) }))
	got, _ := h.reports(from, 2)
	var told []string
	var summary *Summary
	for _, r := range got {
		if r.List.No != l.No {
			t.Fatalf("%+v", r)
		}
		switch st := r.Status; {
		case st != nil:
			id, err := dispatch.ParseNotificationID(st.NotificationID)
			state, _ := dispatch.ParseState(st.State)
			if err != nil || st.ListID != l.ID || id.List() != l.No || st.ExternalID != fmt.Sprintf("A-%d", id.Ordinal()) || st.Row != int(id.Ordinal())+1 ||
				st.Part != 1 || st.Final != state.Final() || st.Informed != (state == dispatch.Delivered) || st.Segments != 1 {
				t.Errorf("%+v", st)
			}
			told = append(told, fmt.Sprintf("%s/%d %s %s%s", st.ExternalID, st.Sequence, st.State, st.InTerm, strings.TrimSuffix(" "+st.Reason, " ")))
			if (st.WaitingUntil != nil) != (state == dispatch.Uncertain) {
				t.Errorf("waits until %v: %+v", st.WaitingUntil, st)
			}
		case r.Summary != nil:
			if summary != nil {
				t.Error("a second summary")
			}
			summary = r.Summary
		default:
			t.Errorf("%+v", r)
		}
	}
	want := "A-1/1 accepted open|A-2/1 uncertain open link_lost|A-3/1 suppressed not_informed opt_out|A-1/2 undelivered not_informed undelivered|" +
		"A-2/2 delivered in_term|A-1/3 delivered late"
	if s := strings.Join(told, "|"); s != want {
		t.Errorf("told %s\nwant %s", s, want)
	}
	if summary == nil {
		t.Fatal("no summary")
	}
	var sum int
	for _, n := range summary.Counts {
		sum += n
	}
	if summary.State != string(Completed) || summary.Accepted != 3 || sum != 3 || summary.Informed != 2 || summary.Rejected != 1 ||
		summary.Rows != summary.Accepted+summary.Rejected+summary.Skipped {
		t.Errorf("%+v", summary)
	}
}

// A list that is called back before it was started has its summary too, once, when its rows have ended.
func TestSummaryOfAListThatNeverStarted(t *testing.T) {
	t.Parallel()
	for _, state := range []State{Cancelled, Refused} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			l := h.load(listHeader(), goodFile)
			var err error
			if state == Cancelled {
				_, err = h.Cancel(t.Context(), loader, l.ID, "")
			} else {
				_, err = h.Refuse(t.Context(), approver, l.ID, "")
			}
			if err != nil {
				t.Fatal(err)
			}
			h.follow()
			got, from := h.reports(0, 100)
			if len(got) != 1 || !got[0].Checked {
				t.Fatalf("before its rows have ended: %+v", got)
			}
			for i := range int32(3) {
				if got, _ = h.reports(from, 100); len(got) != int(i) {
					t.Errorf("%d reports after %d rows", len(got), i)
				}
				h.write(change(journal.Outcome, l, i+1, 1, dispatch.Pending, dispatch.Cancelled))
			}
			h.write(change(journal.Outcome, l, 1, 2, dispatch.Cancelled, dispatch.Delivered)) // a late receipt makes no other summary
			var summaries []Summary
			got, _ = h.reports(from, 100)
			for _, r := range got {
				if r.Summary != nil {
					summaries = append(summaries, *r.Summary)
				}
			}
			if len(summaries) != 1 || summaries[0].State != string(state) || summaries[0].Counts["cancelled"]+summaries[0].Counts["delivered"] != 3 {
				t.Errorf("%+v", summaries)
			}
		})
	}
}

// What was tried again after an attempt whose answer was lost is marked, also at its end.
func TestReportsMarkPossibleDuplicates(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.approve(h.load(listHeader(), goodFile))
	id := int64(dispatch.MakeID(l.No, 1))
	second := func(e *journal.Entry) { e.Attempt = 2 }
	for no, state := range map[int]dispatch.AttemptState{1: dispatch.AttemptUncertain, 2: dispatch.AttemptAccepted} {
		_, err := h.db.Exec(t.Context(), `INSERT INTO attempts (notification, at, entry, run, link, no, sequence, state) VALUES ($1, $2, 1, 1, 1, $3, 1, $4)`, id, noon, no, int16(state))
		if err != nil {
			t.Fatal(err)
		}
	}
	h.follow()
	_, from := h.reports(0, 100)
	h.write(change(journal.Attempt, l, 1, 1, dispatch.Pending, dispatch.Uncertain),
		change(journal.Attempt, l, 1, 2, dispatch.Uncertain, dispatch.Uncertain, second), // refused for a while: not told
		change(journal.Attempt, l, 1, 2, dispatch.Uncertain, dispatch.Uncertain, second, func(e *journal.Entry) { e.Data = journal.Fields("told", "again") }),
		change(journal.Attempt, l, 1, 3, dispatch.Uncertain, dispatch.Accepted, second),
		change(journal.Outcome, l, 1, 4, dispatch.Accepted, dispatch.Delivered, second),
		change(journal.Outcome, l, 2, 1, dispatch.Accepted, dispatch.Delivered, second))
	got, _ := h.reports(from, 100)
	var marks string
	for _, r := range got {
		marks += fmt.Sprintf("%s:%d:%t ", r.Status.NotificationID, r.Status.Sequence, r.Status.PossibleDuplicate)
	}
	if want := "1-1:1:false 1-1:2:true 1-1:3:true 1-1:4:true 1-2:1:false "; marks != want {
		t.Errorf("%s, want %s", marks, want)
	}
}

func TestProtocolPagesHoldEveryRowOnceAndFit(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	var file strings.Builder
	file.WriteString("Телефон;Текст;Внешний номер\n")
	for i := range 3000 {
		fmt.Fprintf(&file, "%s;Текст;N-%d\n", map[bool]string{true: "123", false: fmt.Sprintf("903%07d", i)}[i%3 == 0], i)
	}
	l := h.load(listHeader(), file.String())
	for name, c := range map[string]struct{ most, pages int }{"one": {900 << 10, 1}, "several": {protocolHead + 50<<10, 0}} {
		last, pages := 0, 0
		seen := map[string]bool{}
		for page, err := range h.ProtocolPages(t.Context(), l, c.most) {
			if err != nil {
				t.Fatal(err)
			}
			if pages++; page.Page != pages || page.RecordNum != 3000 || page.RecordNumSuccess != 2000 || page.State != Ready || page.PackageID != l.ID {
				t.Fatalf("%s: %+v", name, page)
			}
			last = page.Pages
			b, err := json.Marshal(page)
			if err != nil || len(b) > c.most || strings.Contains(string(b), `"next"`) {
				t.Errorf("%s: page %d has %d bytes: %v", name, page.Page, len(b), err)
			}
			for _, r := range page.ErrorRecords {
				if seen[r.ExternalID] || r.RecordOK || r.Messages[0].RuleCode != RulePhone || r.ExternalID != fmt.Sprintf("N-%d", r.Row-2) {
					t.Errorf("%s: %+v", name, r)
				}
				seen[r.ExternalID] = true
			}
		}
		if len(seen) != 1000 || pages != last || c.pages != 0 && pages != c.pages || c.pages == 0 && pages < 3 {
			t.Errorf("%s: %d rows on %d pages of %d", name, len(seen), pages, last)
		}
	}
	l = h.load(listHeader(), goodFile)
	for page, err := range h.ProtocolPages(t.Context(), l, 900<<10) {
		if err != nil || page.Pages != 1 || len(page.ErrorRecords) != 0 || page.RecordNumSuccess != 3 {
			t.Errorf("nothing to complain of: %+v, %v", page, err)
		}
	}
}

func TestRowsOfPartsAreNamedByTheirPlace(t *testing.T) {
	t.Parallel()
	l := List{Kind: KindFeed}
	for row, want := range map[int][2]int{1: {1, 1}, 1000: {1, 1000}, 1001: {2, 1}, 2500: {3, 500}} {
		if part, place := l.place(1, row); part != want[0] || place != want[1] {
			t.Errorf("row %d: part %d, row %d", row, part, place)
		}
	}
}

// A citizen's STOP is told to every source that has a row with this phone, once, by the newest such row; to nobody of another phone.
func TestOptOutIsToldToTheSourcesOfThePhone(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const file = "Телефон;Текст;Внешний номер\n9030000001;Один;%s\n9030000002;Два;other\n"
	h.load(listHeader(), fmt.Sprintf(file, "old"))
	l := h.load(listHeader(func(x *Header) { x.Again = true }), fmt.Sprintf(file, "new"))
	h.follow()
	_, from := h.reports(0, 100)
	phone, err := citizen.ParsePhone("+79030000001")
	if err != nil {
		t.Fatal(err)
	}
	digests, err := h.cfg.Keys.PhoneDigests(phone)
	if err != nil {
		t.Fatal(err)
	}
	err = postgres.InTx(t.Context(), h.db, func(tx pgx.Tx) error {
		_, err := citizen.AddOptOut(t.Context(), tx, digests, citizen.AllAgencies, citizen.OptOutBySMS, "inbound/7")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.write(journal.Entry{Kind: journal.OptOut, At: time.Now(), Channel: "sms", Data: journal.Fields("cause", "inbound/7", "scope", "all")},
		journal.Entry{Kind: journal.OptOut, At: time.Now(), Channel: "sms", Data: journal.Fields("cause", "inbound/8", "scope", "all")})
	got, _ := h.reports(from, 100)
	if len(got) != 1 || got[0].Reply == nil || *got[0].Reply != (Reply{ListID: l.ID, ExternalID: "new", Kind: ReplyOptOut, OccurredAt: got[0].Reply.OccurredAt}) {
		t.Errorf("%+v", got)
	}
	if other, _, err := h.Reports(t.Context(), from, 100, func(l *List) bool { return l.ID == uuid.Nil }); err != nil || len(other) != 0 {
		t.Errorf("not wanted: %+v, %v", other, err)
	}
}

// What is taken back after it has left is answered: a row by the state it is in, a list by its summary again; neither is a new change.
func TestCancelThatComesTooLateIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.approve(h.load(listHeader(), goodFile))
	h.write(change(journal.Outcome, l, 1, 2, dispatch.Accepted, dispatch.Delivered))
	if _, err := h.db.Exec(t.Context(), `INSERT INTO outcomes (id, at, entry, state, sequence, attempt) VALUES ($1, $2, 1, $3, 2, 1)`,
		int64(dispatch.MakeID(l.No, 1)), noon, int16(dispatch.Delivered)); err != nil {
		t.Fatal(err)
	}
	_, from := h.reports(0, 100)
	tooLate := func(ordinal int32, state State) journal.Entry {
		e := journal.Entry{Kind: journal.RecallTooLate, At: noon.Add(time.Minute), Agency: l.Agency, ListNo: l.No, State: string(state), Reason: "death"}
		if ordinal > 0 {
			e.Notification = int64(dispatch.MakeID(l.No, ordinal))
		}
		return e
	}
	h.write(tooLate(1, ""), tooLate(2, ""), tooLate(0, Completed), tooLate(0, Rejected))
	got, _ := h.reports(from, 100)
	if len(got) != 3 || got[0].Status == nil || got[1].Status == nil || got[2].Summary == nil {
		t.Fatalf("%+v", got)
	}
	if st := got[0].Status; st.State != "delivered" || st.Sequence != 2 || st.Reason != "too_late" || !st.Informed || !st.OccurredAt.Equal(noon.Add(time.Minute)) {
		t.Errorf("told before: %+v", st)
	}
	if st := got[1].Status; st.State != "uncertain" || st.Final || st.Reason != "too_late" {
		t.Errorf("on the wire: %+v", st)
	}
	if s := got[2].Summary; s.State != "completed" || s.Reason != "too_late" || s.Accepted != 3 {
		t.Errorf("the list: %+v", s)
	}
}
