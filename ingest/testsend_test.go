package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/journal"
)

// handset is the phone a loader looks at.
const handset = "+7 999 123-45-67"

// ages is a list of the template S-07.
const ages = "Телефон;ФИО;Возраст;ОКТМО;Отправить до\n+79030000001;Иванова Мария Петровна;60;45000000;\n123;;61;;\n+79030000002;;65;01000000;25.12.2026\n"

func agesHeader() Header {
	return listHeader(func(x *Header) {
		x.Template, x.LifeEvent, x.Sender, x.Priority = "S-07", "LE-03", "SFR", PriorityUrgent
	})
}

// testSend sends a row to the handset, and returns its list as it stands after the check.
func (h *hub) testSend(p journal.Principal, l *List, row int) *List {
	h.t.Helper()
	ref, err := h.TestSend(h.t.Context(), p, l.ID, row, handset)
	if err != nil {
		h.t.Fatal(err)
	}
	h.checkAll()
	return h.get(ref.ID)
}

// contents opens what would leave of a list.
func (h *hub) contents(l *List) []dispatch.Content {
	h.t.Helper()
	office := &dispatch.Office{DB: h.db, Keyring: h.cfg.Keys, Now: h.cfg.Now}
	var ids []dispatch.NotificationID
	for i := range l.Accepted {
		ids = append(ids, dispatch.MakeID(l.No, int32(i+1)))
	}
	found, err := office.Contents(h.t.Context(), ids)
	if err != nil {
		h.t.Fatal(err)
	}
	return slices.Collect(maps.Values(found))
}

func TestTestSendingShowsARowAsItLeavesAndCountsNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(agesHeader(), ages)
	count := func() {
		t.Helper()
		err := place(t.Context(), h)
		for more := true; more && err == nil; {
			more, err = h.countSome(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	count()
	before := h.get(l.ID)
	test := h.testSend(loader, l, 4)
	if test.State != Running || test.Kind != KindExpress || test.Tests != l.ID || test.Accepted != 1 || test.Name != "Проверка строки 4: Список" ||
		test.LegalBasis == nil || *test.LegalBasis != *basis || test.OrderedBy != l.OrderedBy || test.LoadedBy != "loader" || test.ApprovedBy != "rule/caps.tests_per_list" ||
		test.Template != "S-07" || test.TemplateVersion != 1 || test.Priority != PriorityUrgent {
		t.Errorf("%+v", test)
	}
	sent := h.contents(test)
	if len(sent) != 1 || !strings.HasPrefix(sent[0].Text, "Проверка: СФР") || !strings.Contains(sent[0].Text, "исполняется 65 лет") ||
		len(sent[0].Phones) != 1 || sent[0].Phones[0].E164() != "+79991234567" || sent[0].Person.FullName().Reveal() != "" {
		t.Errorf("%+v", sent)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE list_no = $1 AND state = 'active' AND lane = 0 AND template = 'S-07' AND life_event = 'LE-03' AND sender = 'SFR'
		AND wide_window AND NOT exempt AND valid_until IS NOT NULL`, test.No); n != 1 {
		t.Errorf("%d runs as the tested list's would be", n)
	}
	// Without a row it is the first; in the tested list nothing has changed, and it is still to be approved.
	first := h.testSend(loader, l, 0)
	if sent := h.contents(first); len(sent) != 1 || !strings.Contains(sent[0].Text, "исполняется 60 лет") {
		t.Errorf("%+v", sent)
	}
	count()
	if after := h.get(l.ID); !reflect.DeepEqual(after, before) || after.Counts[dispatch.Pending] != 2 {
		t.Errorf("the tested list was %+v, is %+v", before, after)
	}
	if test = h.get(test.ID); test.Counts[dispatch.Pending] != 1 {
		t.Errorf("counts of the test sending: %v", test.Counts)
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE list_no = $1 AND state <> 'waiting'`, l.No); n != 0 {
		t.Errorf("%d runs of the tested list go", n)
	}
	page, err := journal.History(t.Context(), h.db, auditor, journal.Query{ListNo: l.No, Actor: "loader", Limit: 10,
		Kinds: []journal.Kind{journal.ListTestSent, journal.PersonalViewed}})
	if err != nil || len(page.Items) != 4 {
		t.Fatalf("%+v, %v", page, err)
	}
	for i, e := range page.Items {
		row, of, ordinal := "4", test.ID, int32(2)
		if i > 1 {
			row, of, ordinal = "2", first.ID, 1
		}
		data := map[string]string{}
		for _, f := range e.Entry.Data {
			data[f.Name] = f.Value
		}
		if e.Entry.Agency != agency || e.Entry.Notification != int64(dispatch.MakeID(l.No, ordinal)) || data["row"] != row || data["test_list_id"] != of.String() ||
			(e.Entry.Kind == journal.PersonalViewed) != (data["what"] == "test_send") {
			t.Errorf("entry %d: %+v", i, e.Entry)
		}
	}
}

func TestSegmentsOfATestSendingAreCountedWithItsMark(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	long := strings.Repeat("щ", 665) // ten segments, and with the mark eleven
	l := h.load(listHeader(), "Телефон;Текст\n+79030000001;"+strings.Repeat("щ", 65)+"\n+79030000002;"+long+"\n")
	if l.Segments != 1+10 {
		t.Fatalf("%+v", l)
	}
	if test := h.testSend(loader, l, 2); test.Segments != 2 {
		t.Errorf("%d segments", test.Segments)
	}
	_, err := h.TestSend(t.Context(), loader, l.ID, 3, handset)
	wantFault(t, err, ErrTestLong)
}

func TestWhoMaySendATestAndOfWhichList(t *testing.T) {
	t.Parallel()
	now := noon
	h := newHub(t, func(c *Config) { c.Now = func() time.Time { return now } })
	ctx := t.Context()
	l := h.load(listHeader(), goodFile)
	refused := func(name string, p journal.Principal, of *List, row int, phone string, want *Fault) {
		t.Helper()
		ref, err := h.TestSend(ctx, p, of.ID, row, phone)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, %v, want %s", name, ref, err, want.Code)
		}
	}
	roles := func(r ...journal.Role) journal.Principal {
		return journal.Principal{Account: "other", Agency: agency, Roles: r}
	}
	refused("another agency's", stranger, l, 0, handset, ErrNotFound)
	refused("an approver", roles(journal.RoleListApprover), l, 0, handset, ErrForbidden)
	refused("a machine", roles(journal.RoleSourceSystem), l, 0, handset, ErrForbidden)
	refused("an auditor", auditor, l, 0, handset, ErrForbidden)
	trial := loader
	trial.Test = true
	refused("a test key's, of a list that is meant", trial, l, 0, handset, ErrForbidden)
	for name, phone := range map[string]string{"none": "", "a landline": "8 495 123-45-67", "nonsense": "почта", "toll-free": "8 800 100-00-01", "abroad": "+49 30 1234567"} {
		refused(name, loader, l, 0, phone, ErrTestPhone)
	}
	refused("the header", loader, l, 1, handset, ErrRowNotFound)
	refused("a row that is not there", loader, l, 9, handset, ErrRowNotFound)
	withBad := h.load(listHeader(), strings.Replace(goodFile, "9030000003", "90300", 1))
	refused("a row that was not taken", loader, withBad, 4, handset, ErrRowNotFound)
	refused("no basis", loader, h.load(listHeader(func(x *Header) { x.LegalBasis, x.Again = nil, true }), goodFile), 0, handset, ErrNoBasis)
	refused("no order", loader, h.load(listHeader(func(x *Header) { x.OrderedBy, x.Again = "", true }), goodFile), 0, handset, ErrNoOrder)
	refused("the list of a test sending", loader, h.testSend(loader, l, 0), 0, handset, ErrTestOfTest)

	if _, err := h.db.Exec(ctx, `INSERT INTO stops (scope, target, reason, actor) VALUES ('list', $1, 'сумма', 'engineer')`, fmt.Sprint(l.No)); err != nil {
		t.Fatal(err)
	}
	refused("a list that is stopped", loader, l, 0, handset, ErrTestStopped)
	if _, err := h.db.Exec(ctx, `UPDATE stops SET lifted_at = now()`); err != nil {
		t.Fatal(err)
	}

	l, err := h.Approve(ctx, approver, l.ID, Expected{l.Accepted, l.DigestString()}, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	h.testSend(loader, l, 0) // approved
	now = noon.Add(time.Hour)
	if err := h.startDue(ctx); err != nil {
		t.Fatal(err)
	}
	running := h.get(l.ID)
	h.testSend(loader, running, 0)
	if running, err = h.Pause(ctx, loader, running.ID); err != nil {
		t.Fatal(err)
	}
	refused("a paused list", loader, running, 0, handset, ErrState)
	if running, err = h.Cancel(ctx, loader, running.ID, ""); err != nil {
		t.Fatal(err)
	}
	refused("a cancelled list", loader, running, 0, handset, ErrState)

	late := h.load(listHeader(func(x *Header) { x.Again, x.ValidUntil = true, Moment{At: now.Add(time.Hour)} }), goodFile)
	now = now.Add(2 * time.Hour)
	refused("a list whose time is over", loader, late, 0, handset, ErrListExpired)
}

func TestATestSendingOfATestListStaysOnTheSimulators(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	trial := loader
	trial.Test = true
	ref, err := h.Submit(t.Context(), trial, listHeader(), strings.NewReader(goodFile))
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	for name, p := range map[string]journal.Principal{"a test key": trial, "a live key": loader} {
		if test := h.testSend(p, h.get(ref.ID), 0); !test.Test || test.State != Running {
			t.Errorf("%s: %+v", name, test)
		}
	}
	if n := h.number(`SELECT count(*) FROM runs WHERE NOT test`); n != 0 {
		t.Errorf("%d runs could leave for a configured account", n)
	}
}

func TestTestSendingsAreAsManyAsTheRulesSay(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := noon
	h := newHub(t, func(c *Config) { c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now } })
	load := func() *List { return h.load(listHeader(func(x *Header) { x.Again = true }), goodFile) }
	// atOnce sends as many as are given, and returns how many were let through and what the others were told.
	atOnce := func(want *Fault, by func(i int) journal.Principal, of ...*List) (done int) {
		t.Helper()
		var group sync.WaitGroup
		errs := make([]error, len(of))
		for i := range of {
			group.Go(func() { _, errs[i] = h.TestSend(context.WithoutCancel(t.Context()), by(i), of[i].ID, 0, handset) })
		}
		group.Wait()
		for _, err := range errs {
			if err == nil {
				done++
			} else {
				wantFault(t, err, want)
			}
		}
		h.checkAll()
		return done
	}
	l := load()
	n := atOnce(ErrTestsOfList, func(i int) journal.Principal {
		p := loader
		p.Account = fmt.Sprint("loader-", i)
		return p
	}, l, l, l, l, l, l, l, l)
	if n != 3 {
		t.Errorf("%d of a list by several at once", n)
	}
	for range 6 {
		l = load()
		for range 3 {
			h.testSend(loader, l, 0)
		}
	}
	others := []*List{load(), load(), load(), load(), load(), load()}
	if n := atOnce(ErrTestsOfADay, func(int) journal.Principal { return loader }, others...); n != 2 {
		t.Errorf("%d more by one account at once, want 2 up to 20", n)
	}
	l = load()
	_, err := h.TestSend(t.Context(), loader, l.ID, 0, handset)
	wantFault(t, err, ErrTestsOfADay)
	var fault *Fault
	if errors.As(err, &fault) && !strings.Contains(fault.Detail, " 20 ") {
		t.Errorf("the number is not told: %s", fault.Detail)
	}
	colleague := loader
	colleague.Account = "colleague"
	h.testSend(colleague, l, 0)
	l = load()
	mu.Lock()
	now = noon.Add(25 * time.Hour)
	mu.Unlock()
	h.testSend(loader, l, 0)

	// A catalogue without the rules permits none.
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	items = slices.DeleteFunc(items, func(i catalog.Item) bool { return i.Header().Code == catalog.RuleTestsPerList })
	bare := catalog.New(items)
	h.cfg.Catalog = func() *catalog.Catalog { return bare }
	_, err = h.TestSend(t.Context(), loader, load().ID, 0, handset)
	wantFault(t, err, ErrTestsOfList)
}

func TestATestSendingMakesNoRowADuplicate(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const file = "Телефон;Код события;Текст\n+79991234567;OP-04;СФР: выплата назначена.\n"
	l := h.load(listHeader(func(x *Header) { x.LifeEvent = "OP-04" }), strings.Replace(file, "+79991234567", "+79030000001", 1))
	h.testSend(loader, l, 0)
	if later := h.load(listHeader(), file); later.Warnings != 0 || later.Accepted != 1 {
		t.Errorf("%+v", h.protocol(later).ErrorRecords)
	}
	if again := h.load(listHeader(func(x *Header) { x.Again = true }), file); again.Warnings != 1 {
		t.Errorf("%+v", h.protocol(again).ErrorRecords)
	}
}
