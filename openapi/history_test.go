package openapi

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
)

// told is a list of agencyA whose first row was delivered, with the history dispatch writes.
type told struct {
	*world
	ref     ListRef
	l       *ingest.List
	ids     []dispatch.NotificationID
	loader  string
	auditor string
}

// withOffice makes dispatch's own office the door to stops, links and contents.
func withOffice(_ *Config, d *Deps) {
	rules := &dispatch.Rules{GiveUp: 72 * time.Hour, Window: func(string, bool) *citizen.Window { return &citizen.Window{} }}
	office := &dispatch.Office{DB: d.DB, Journal: d.Journal, Keyring: d.Keyring, Now: d.Now, Rules: func() *dispatch.Rules { return rules }}
	d.Doors.Stops, d.Doors.Links, d.Doors.Contents, d.Doors.Gates = office, office, office, office
}

func newTold(t *testing.T) *told {
	t.Helper()
	w := newWorld(t, withOffice)
	w.run()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = journal.NewSequencer(w.db, slog.New(slog.DiscardHandler)).Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	f := &told{world: w, loader: w.key("loader", agencyA, journal.RoleListLoader), auditor: w.key("auditor", "", journal.RoleAuditor)}
	w.upload(f.loader, append(listFieldsOfForm, "file", goodFile)...).into(t, &f.ref)
	w.reaches(f.loader, f.ref.URL, "ready")
	l, err := w.server.listByID(t.Context(), journal.Principal{Roles: []journal.Role{journal.RoleAuditor}}, f.ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.l = l
	f.ids = []dispatch.NotificationID{dispatch.MakeID(l.No, 1), dispatch.MakeID(l.No, 2)}

	// Row 1: the first attempt's answer was lost, the second was delivered in both segments. Row 2: accepted.
	at := w.clock.now()
	f.attempt(0, 1, 1, 1, dispatch.AttemptUncertain, at.Add(time.Second), "")
	f.attempt(0, 2, 1, 2, dispatch.AttemptAccepted, at.Add(2*time.Second), "")
	f.attempt(0, 2, 2, 2, dispatch.AttemptAccepted, at.Add(2*time.Second), "")
	f.attempt(0, 2, 1, 2, dispatch.AttemptDelivered, at.Add(3*time.Second), "000")
	last := f.attempt(0, 2, 2, 3, dispatch.AttemptDelivered, at.Add(4*time.Second), "000")
	_, err = w.db.Exec(t.Context(), `INSERT INTO outcomes (id, at, entry, state, sequence, attempt, link, code) VALUES ($1, $2, $3, 10, 4, 2, 1, '000')`,
		int64(f.ids[0]), at.Add(4*time.Second), last)
	if err != nil {
		t.Fatal(err)
	}
	f.attempt(1, 1, 1, 1, dispatch.AttemptAccepted, at.Add(5*time.Second), "")
	return f
}

// attempt writes an attempt's row and its entry, and returns the entry's id.
func (f *told) attempt(row, no, segment, sequence int, state dispatch.AttemptState, at time.Time, code string) int64 {
	f.Helper()
	tx, err := f.db.Begin(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	ids, err := f.server.journal.Append(f.Context(), tx, []journal.Entry{{Kind: journal.Attempt, At: at, Agency: agencyA, ListNo: f.l.No, Notification: int64(f.ids[row]),
		Attempt: no, Segment: segment, Sequence: sequence, State: state.String(), Channel: "sms", Link: "smsc-1", Code: code}})
	if err != nil {
		f.Fatal(err)
	}
	_, err = tx.Exec(f.Context(), `INSERT INTO attempts (notification, at, entry, run, link, no, sequence, segment, segments, state, code)
		VALUES (@id, @at, @entry, (SELECT min(id) FROM runs), (SELECT no FROM links), @no, @sequence, @segment, 2, @state, @code)`,
		pgx.NamedArgs{"id": int64(f.ids[row]), "at": at, "entry": ids[0], "no": no, "sequence": sequence, "segment": segment, "state": int16(state), "code": code})
	if err != nil {
		f.Fatal(err)
	}
	if err := tx.Commit(f.Context()); err != nil {
		f.Fatal(err)
	}
	return ids[0]
}

// placed waits until everything written so far has its position.
func (f *told) placed() {
	f.Helper()
	for range 500 {
		var left int
		if err := f.db.QueryRow(f.Context(), `SELECT count(*) FROM unplaced`).Scan(&left); err != nil {
			f.Fatal(err)
		}
		if left == 0 {
			return
		}
		select {
		case <-f.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	f.Fatal("the sequencer does not come along")
}

func TestANotificationIsToldWithItsAttempts(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	var n Notification
	f.do(f.loader, "GET", "/v1/notifications/"+f.ids[0].String(), nil).into(t, &n)
	if n.State != "delivered" || !n.Final || !n.Informed || !n.PossibleDuplicate || n.Sequence != 4 || n.Attempt != 2 || n.ListID != f.ref.ID || n.Channel != "sms" {
		t.Errorf("%+v", n)
	}
	if len(n.Attempts) != 2 || n.Attempts[0].State != "uncertain" || n.Attempts[1].State != "delivered" || n.Attempts[1].Link != "smsc-1" || n.Attempts[1].Code != "000" {
		t.Errorf("attempts: %+v", n.Attempts)
	}
	f.do(f.loader, "GET", "/v1/notifications/"+f.ids[1].String(), nil).into(t, &n)
	if n.State != "accepted" || n.Final || n.Informed || n.Attempt != 1 {
		t.Errorf("%+v", n)
	}
	for state, want := range map[string]int{"": 2, "delivered": 1, "accepted": 1, "pending": 0, "uncertain": 0, "undelivered": 0, "suppressed": 0} {
		var page Page[Notification]
		f.do(f.loader, "GET", "/v1/notifications?list_id="+f.ref.ID+"&state="+state, nil).into(t, &page)
		if len(page.Items) != want || page.Next != "" {
			t.Errorf("state %q: %+v", state, page)
		}
		for _, item := range page.Items {
			if state != "" && item.State != state {
				t.Errorf("asked for %q, got %q", state, item.State)
			}
		}
	}
	if _, err := f.db.Exec(t.Context(), `UPDATE attempts SET state = 2, sequence = 2 WHERE notification = $1`, int64(f.ids[1])); err != nil {
		t.Fatal(err)
	}
	var page Page[Notification]
	f.do(f.loader, "GET", "/v1/notifications?list_id="+f.ref.ID+"&state=uncertain", nil).into(t, &page)
	if len(page.Items) != 1 || page.Items[0].State != "uncertain" || page.Items[0].Sequence != 2 {
		t.Errorf("uncertain: %+v", page)
	}
}

func TestASegmentThatLagsHoldsTheAttemptBack(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	f.attempt(1, 1, 2, 1, dispatch.AttemptUndelivered, f.clock.now().Add(6*time.Second), "001")
	f.attempt(1, 1, 1, 1, dispatch.AttemptDelivered, f.clock.now().Add(7*time.Second), "000")
	var n Notification
	f.do(f.loader, "GET", "/v1/notifications/"+f.ids[1].String(), nil).into(t, &n)
	if len(n.Attempts) != 1 || n.Attempts[0].State != "undelivered" || n.Attempts[0].Code != "001" {
		t.Errorf("%+v", n.Attempts)
	}
}

func TestInTerm(t *testing.T) {
	t.Parallel()
	term := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	before, after := term.Add(-time.Hour), term.Add(time.Hour)
	for _, c := range []struct {
		state   dispatch.State
		at, now time.Time
		term    *time.Time
		want    string
	}{
		{dispatch.Delivered, before, after, &term, "in_term"},
		{dispatch.Delivered, after, after, &term, "late"},
		{dispatch.Undelivered, before, before, &term, "not_informed"},
		{dispatch.Unconfirmed, before, before, &term, "not_informed"},
		{dispatch.Accepted, before, before, &term, "open"},
		{dispatch.Pending, before, after, &term, "not_informed"},
		{dispatch.Delivered, before, after, nil, "no_term"},
	} {
		if got := dispatch.TermOf(c.state, c.at, c.term, c.now); string(got) != c.want {
			t.Errorf("%s at %v: %s, want %s", c.state, c.at, got, c.want)
		}
	}
}

func TestHistoryIsToldAndReadingItIsInIt(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	f.placed()
	var page Page[HistoryEntry]
	f.do(f.auditor, "GET", "/v1/history?limit=500&list_id="+f.ref.ID, nil).into(t, &page)
	kinds := map[journal.Kind]int{}
	for i, e := range page.Items {
		if e.Kind == journal.HistoryRead {
			continue // this very look, when it was placed in time
		}
		kinds[e.Kind]++
		if e.Position == nil || i > 0 && *e.Position <= *page.Items[i-1].Position || e.ListID != f.ref.ID || e.Agency != agencyA {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if kinds[journal.ListCreated] != 1 || kinds[journal.Attempt] != 6 || kinds[journal.ListChecked] != 1 {
		t.Errorf("kinds: %v", kinds)
	}
	f.do(f.loader, "GET", "/v1/history?notification_id="+f.ids[0].String(), nil).into(t, &page)
	if len(page.Items) != 5 || page.Items[0].NotificationID != f.ids[0].String() || page.Items[4].Data["state"] != "delivered" || page.Items[4].Data["code"] != "000" {
		t.Errorf("of one notification: %+v", page.Items)
	}
	f.placed()
	var looks Page[HistoryEntry]
	f.do(f.auditor, "GET", "/v1/history?kind=history.read&actor=auditor", nil).into(t, &looks)
	looks.Items = slices.DeleteFunc(looks.Items, func(e HistoryEntry) bool { return e.Data["of_actor"] != "" }) // this very look, when it was placed in time
	if len(looks.Items) != 1 || looks.Items[0].Actor != "auditor" || looks.Items[0].ListID != f.ref.ID {
		t.Errorf("the look is not in the history: %+v", looks.Items)
	}
	var first, second Page[HistoryEntry]
	f.do(f.auditor, "GET", "/v1/history?kind=attempt&limit=4", nil).into(t, &first)
	f.do(f.auditor, "GET", "/v1/history?kind=attempt&limit=4&after="+first.Next, nil).into(t, &second)
	if len(first.Items) != 4 || first.Next == "" || len(second.Items) != 2 || *second.Items[0].Position <= *first.Items[3].Position {
		t.Errorf("pages of %d and %d", len(first.Items), len(second.Items))
	}
	var none Page[HistoryEntry]
	f.do(f.auditor, "GET", "/v1/history?kind=attempt&to="+f.clock.now().Add(-time.Hour).Format(time.RFC3339), nil).into(t, &none)
	if len(none.Items) != 0 {
		t.Errorf("before everything: %+v", none.Items)
	}
	stranger := f.key("stranger", agencyB, journal.RoleListLoader)
	f.wants(f.do(stranger, "GET", "/v1/history?list_id="+f.ref.ID, nil), 404, CodeNotFound)
	f.wants(f.do(stranger, "GET", "/v1/history?notification_id="+f.ids[0].String(), nil), 404, CodeNotFound)
	f.do(stranger, "GET", "/v1/history?actor=loader", nil).into(t, &none)
	if len(none.Items) != 0 {
		t.Errorf("another agency's acts: %+v", none.Items)
	}
}
