package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"ekc/journal"
)

func TestGoodListBecomesReadyThenRuns(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), goodFile)
	if l.State != Ready || l.Rows != 3 || l.Accepted != 3 || l.Rejected != 0 || len(l.Digest) != 16 {
		t.Fatalf("%+v", l)
	}
	if n := h.number(`SELECT count(*) FROM outbox`); n != 3 {
		t.Fatalf("%d rows in the outbox", n)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE state <> 'waiting'`); n != 0 {
		t.Fatalf("%d runs go before approval", n)
	}
	l = h.approve(l)
	if l.State != Running || l.ApprovedBy != "approver" {
		t.Fatalf("%+v", l)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE state = 'active'`); n == 0 {
		t.Fatal("no run is active after approval")
	}
	for _, kind := range []journal.Kind{journal.ListCreated, journal.PartAdmitted, journal.ListChecked, journal.ListApproved, journal.ListStarted} {
		if n := h.number(`SELECT count(*) FROM journal WHERE kind = $1 AND list_no = $2`, string(kind), l.No); n != 1 {
			t.Errorf("%d entries %s", n, kind)
		}
	}
}

func TestLoaderMayNotApproveHisOwnList(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ref, err := h.Submit(t.Context(), approver, listHeader(), strings.NewReader(goodFile)) // has both roles
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	l := h.get(ref.ID)
	want := Expected{l.Accepted, l.DigestString()}
	_, err = h.Approve(t.Context(), approver, l.ID, want, time.Time{})
	wantFault(t, err, ErrOwnList)
	_, err = h.Refuse(t.Context(), approver, l.ID, "")
	wantFault(t, err, ErrOwnList)
	_, err = h.Approve(t.Context(), loader, l.ID, want, time.Time{})
	wantFault(t, err, ErrForbidden)
	if h.get(l.ID).State != Ready {
		t.Fatal("the list moved")
	}
}

func TestAnotherAgencysListDoesNotExist(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), goodFile)
	ctx := t.Context()
	want := Expected{l.Accepted, l.DigestString()}
	for name, do := range map[string]func() error{
		"get":      func() error { _, err := h.Get(ctx, stranger, l.ID); return err },
		"protocol": func() error { _, err := h.Protocol(ctx, stranger, l.ID, 0, 0); return err },
		"preview":  func() error { _, err := h.Preview(ctx, stranger, l.ID, 2); return err },
		"approve":  func() error { _, err := h.Approve(ctx, stranger, l.ID, want, time.Time{}); return err },
		"refuse":   func() error { _, err := h.Refuse(ctx, stranger, l.ID, ""); return err },
		"pause":    func() error { _, err := h.Pause(ctx, stranger, l.ID); return err },
		"resume":   func() error { _, err := h.Resume(ctx, stranger, l.ID); return err },
		"cancel":   func() error { _, err := h.Cancel(ctx, stranger, l.ID, ""); return err },
		"results":  func() error { _, err := h.Results(ctx, stranger, l.ID); return err },
		"replace": func() error {
			_, err := h.Replace(ctx, stranger, l.ID, Header{}, strings.NewReader(goodFile))
			return err
		},
		"unknown": func() error { _, err := h.Get(ctx, loader, uuid.New()); return err },
		"nobody":  func() error { _, err := h.Get(ctx, journal.Principal{}, l.ID); return err },
	} {
		if err := do(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lists, _, err := h.Lists(ctx, stranger, ListsQuery{})
	if err != nil || len(lists) != 0 {
		t.Errorf("lists: %d, %v", len(lists), err)
	}
	lists, _, err = h.Lists(ctx, auditor, ListsQuery{})
	if err != nil || len(lists) != 1 {
		t.Errorf("auditor sees %d lists, %v", len(lists), err)
	}
}

func TestApprovalIsOfWhatWasSeen(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), goodFile)
	for name, want := range map[string]Expected{
		"count":  {l.Accepted + 1, l.DigestString()},
		"digest": {l.Accepted, strings.Repeat("0", 32)},
	} {
		_, err := h.Approve(t.Context(), approver, l.ID, want, time.Time{})
		if !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := h.load(listHeader(), strings.Replace(goodFile, "назначена", "прекращена", 1))
	if other.DigestString() == l.DigestString() {
		t.Error("another text has the same digest")
	}
}

func TestApprovalNeedsBasisAndOrder(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(func(x *Header) { x.LegalBasis = nil }), goodFile)
	_, err := h.Approve(t.Context(), approver, l.ID, Expected{l.Accepted, l.DigestString()}, time.Time{})
	wantFault(t, err, ErrNoBasis)
	l = h.load(listHeader(func(x *Header) { x.OrderedBy = ""; x.Again = true }), goodFile)
	_, err = h.Approve(t.Context(), approver, l.ID, Expected{l.Accepted, l.DigestString()}, time.Time{})
	wantFault(t, err, ErrNoOrder)
}

func TestEveryChangeInAWrongStateIsRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ctx := t.Context()
	ready := h.load(listHeader(), goodFile)
	_, err := h.Pause(ctx, approver, ready.ID)
	wantFault(t, err, ErrState)
	_, err = h.Resume(ctx, approver, ready.ID)
	wantFault(t, err, ErrState)
	running := h.approve(ready)
	_, err = h.Approve(ctx, approver, running.ID, Expected{running.Accepted, running.DigestString()}, time.Time{})
	wantFault(t, err, ErrState)
	_, err = h.Refuse(ctx, approver, running.ID, "")
	wantFault(t, err, ErrState)
	_, err = h.Replace(ctx, loader, running.ID, Header{}, strings.NewReader(goodFile))
	wantFault(t, err, ErrState)
	paused, err := h.Pause(ctx, loader, running.ID)
	if err != nil || paused.State != Paused {
		t.Fatalf("%v %v", paused, err)
	}
	_, err = h.Resume(ctx, loader, running.ID)
	wantFault(t, err, ErrForbidden)
	if l, err := h.Resume(ctx, approver, running.ID); err != nil || l.State != Running {
		t.Fatalf("%v %v", l, err)
	}
	l, err := h.Cancel(ctx, approver, running.ID, "ошибка в дате")
	if err != nil || l.State != Cancelling || l.StateReason != "ошибка в дате" {
		t.Fatalf("%v %v", l, err)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE state <> 'cancelling'`); n != 0 {
		t.Fatalf("%d runs are not being cancelled", n)
	}
	_, err = h.Cancel(ctx, approver, running.ID, "")
	wantFault(t, err, ErrState)
}

func TestStartAtALaterHour(t *testing.T) {
	t.Parallel()
	now := noon
	h := newHub(t, func(c *Config) { c.Now = func() time.Time { return now } })
	l := h.load(listHeader(), goodFile)
	at := noon.Add(3 * time.Hour)
	l, err := h.Approve(t.Context(), approver, l.ID, Expected{l.Accepted, l.DigestString()}, at)
	if err != nil || l.State != Approved || !l.StartAt.Equal(at) {
		t.Fatalf("%+v %v", l, err)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE next_due = $1`, at); n == 0 {
		t.Fatal("no run waits for the hour")
	}
	if err := h.startDue(t.Context()); err != nil || h.get(l.ID).State != Approved {
		t.Fatalf("%v %v", h.get(l.ID).State, err)
	}
	now = at
	if err := h.startDue(t.Context()); err != nil || h.get(l.ID).State != Running {
		t.Fatalf("%v %v", h.get(l.ID).State, err)
	}
}

func TestRefusedListSendsNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), goodFile)
	l, err := h.Refuse(t.Context(), approver, l.ID, "не тот текст")
	if err != nil || l.State != Refused || l.EndedAt.IsZero() {
		t.Fatalf("%+v %v", l, err)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE state <> 'cancelling'`); n != 0 {
		t.Fatalf("%d runs could still go", n)
	}
}

func TestSameFileIsNoticedAndTheLoaderDecides(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	first := h.load(listHeader(), goodFile)
	_, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(goodFile))
	wantFault(t, err, ErrSameFile)
	var fault *Fault
	if errors.As(err, &fault) && !strings.Contains(fault.Detail, first.ID.String()) {
		t.Errorf("the first list is not named: %s", fault.Detail)
	}
	if n := h.number(`SELECT count(*) FROM lists`); n != 1 {
		t.Fatalf("%d lists after a refused upload", n)
	}
	if n := h.number(`SELECT count(*) FROM list_file_chunks WHERE list_no <> $1`, first.No); n != 0 {
		t.Fatalf("%d chunks are left", n)
	}
	second := h.load(listHeader(func(x *Header) { x.Again = true }), goodFile)
	if second.State != Ready || second.Warnings != 3 {
		t.Fatalf("%+v", second)
	}
	for _, r := range h.protocol(second).ErrorRecords {
		if !r.RecordOK || r.Messages[0].RuleCode != RuleDuplicate {
			t.Errorf("row %d: %+v", r.Row, r.Messages)
		}
	}
	if _, err := h.Submit(t.Context(), stranger, listHeader(), strings.NewReader(goodFile)); err != nil {
		t.Errorf("another agency's file: %v", err)
	}
}

func TestAnotherFileTakesThePlace(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(func(x *Header) { x.OrderedBy = "" }), "Телефон;Текст\n123;а\n456;б\n+79030000001;в\n")
	if l.State != Rejected {
		t.Fatalf("%+v", l)
	}
	for round := range 2 {
		file := fmt.Sprintf("Телефон;Текст\n+79030000001;Сообщение %d\n+79030000002;Сообщение\n123;плохая\n", round)
		if _, err := h.Replace(t.Context(), loader, l.ID, Header{OrderedBy: "Приказ № 2"}, strings.NewReader(file)); err != nil {
			t.Fatal(err)
		}
		h.checkAll()
		got := h.get(l.ID)
		if got.State != Ready || got.Rows != 3 || got.Accepted != 2 || got.Rejected != 1 || got.OrderedBy != "Приказ № 2" || got.StateReason != "" {
			t.Fatalf("round %d: %+v", round, got)
		}
		if p := h.protocol(got); len(p.ErrorRecords) != 1 {
			t.Fatalf("round %d: %+v", round, p.ErrorRecords)
		}
	}
	if n := h.number(`SELECT count(*) FROM notifications`); n != 2 {
		t.Fatalf("%d notifications", n)
	}
	if n := h.number(`SELECT min(id & 16777215) FROM notifications`); n != 4 { // 1 was the first file's, 2 and 3 the second's
		t.Fatalf("ordinals begin with %d: those of the replaced file are given again", n)
	}
}

func TestPreviewShowsTheRowAsItLeavesAndIsJournalled(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(func(x *Header) { x.Template, x.LifeEvent = "S-07", "LE-03" }),
		"Телефон;Возраст;ОКТМО\n+79030000001;60;45000000\n123;61;\n+79030000002;65;01000000\n")
	if l.State != Ready || l.Template != "S-07" || l.TemplateVersion != 1 {
		t.Fatalf("%+v", l)
	}
	p, err := h.Preview(t.Context(), approver, l.ID, 4)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Accepted || !strings.Contains(p.Text, "исполняется 65 лет") || p.Segments != 2 || p.Phone != "+7 903 ***-**-02" ||
		p.Zones != "Asia/Barnaul" || p.NotificationID.Ordinal() != 2 {
		t.Errorf("%+v", p)
	}
	p, err = h.Preview(t.Context(), approver, l.ID, 3)
	if err != nil || p.Accepted || len(p.Messages) != 1 || p.Messages[0].RuleCode != RulePhone {
		t.Errorf("%+v %v", p, err)
	}
	_, err = h.Preview(t.Context(), approver, l.ID, 1)
	wantFault(t, err, ErrRowNotFound)
	_, err = h.Preview(t.Context(), approver, l.ID, 5)
	wantFault(t, err, ErrRowNotFound)
	if n := h.number(`SELECT count(*) FROM journal WHERE kind = 'personal.viewed' AND actor = 'approver'`); n != 2 {
		t.Errorf("%d looks in the journal", n)
	}
}

func TestJSONRowsAndTheSourcesOwnApproval(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	system := journal.Principal{Account: "egisso", Agency: "0001.000001", Source: "egisso", Roles: []journal.Role{journal.RoleSourceSystem}}
	rows := []InputRow{
		{ExternalID: "a-1", Phones: []string{"+79030000001", "+78312000000"}, FirstName: "Мария", Data: map[string]string{"years": "60"}, Ext: []byte(`{"k":1}`)},
		{ExternalID: "a-2", Phone: "9030000002", Data: map[string]string{"Возраст": "61"}},
		{ExternalID: "a-2", Phone: "9030000003", Data: map[string]string{"Возраст": "61"}},
	}
	ref, err := h.SubmitJSON(t.Context(), system, Header{Source: "egisso", LifeEvent: "LE-03"}, rows[:1])
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	l, err := h.Get(t.Context(), system, ref.ID)
	if err != nil || l.State != Running || l.Kind != KindExpress || l.ApprovedBy != "source/egisso" {
		t.Fatalf("%+v %v", l, err)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE lane = 0 AND state = 'active' AND list_no = $1`, l.No); n != 1 {
		t.Errorf("%d active runs in lane 0", n)
	}
	person := journal.Principal{Account: "operator", Agency: "0001.000001", Roles: []journal.Role{journal.RoleListLoader}}
	ref, err = h.SubmitJSON(t.Context(), person, Header{Source: "egisso", LifeEvent: "LE-03"}, rows[1:])
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if l, err = h.Get(t.Context(), person, ref.ID); err != nil || l.State != Ready || l.Kind != KindJSON || l.Accepted != 1 {
		t.Fatalf("a person's list went without approval: %+v %v", l, err)
	}
	proto, err := h.Protocol(t.Context(), person, ref.ID, 0, 0)
	if err != nil || len(proto.ErrorRecords) != 1 || proto.ErrorRecords[0].Messages[0].RuleCode != RuleIDTwice {
		t.Errorf("%+v %v", proto, err)
	}
	_, err = h.SubmitJSON(t.Context(), person, Header{}, nil)
	wantFault(t, err, ErrNoInput)
}

func TestWhoMayNotLoad(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for name, p := range map[string]journal.Principal{
		"nobody":                 {},
		"auditor":                auditor,
		"approver":               {Account: "a", Agency: agency, Roles: []journal.Role{journal.RoleListApprover}},
		"operator of the system": {Account: "a", Roles: []journal.Role{journal.RoleListLoader}},
	} {
		_, err := h.Submit(t.Context(), p, listHeader(), strings.NewReader(goodFile))
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := h.Submit(t.Context(), loader, listHeader(func(x *Header) { x.Source = "egisso" }), strings.NewReader(goodFile))
	wantFault(t, err, ErrUnknownSource)
}

func TestDryRunSaysWhatCheckingWouldAndStoresNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	d, err := h.Check(t.Context(), loader, listHeader(), strings.NewReader("Телефон;Примечание;Текст\n79030000001;x;а\n1;x;а\n8 495 000-00-00;x;а\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := d.Protocol
	if p.RecordNum != 3 || p.RecordNumSuccess != 2 || p.RecordNumWarning != 1 || p.Segments != 2 || len(p.ErrorRecords) != 2 {
		t.Errorf("%+v", p)
	}
	if len(p.Columns) != 3 || p.Columns[0].Name != "phone" || p.Columns[1].Name != "" {
		t.Errorf("%+v", p.Columns)
	}
	_, err = h.Check(t.Context(), loader, listHeader(), strings.NewReader("СНИЛС\n1\n"))
	wantFault(t, err, ErrNoPhoneColumn)
	if n := h.number(`SELECT (SELECT count(*) FROM lists) + (SELECT count(*) FROM data_keys)`); n != 0 {
		t.Error("something was stored")
	}
}
