package openapi

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"ekc/dispatch"
	"ekc/journal"
)

func TestStopsAreSetShownAndLifted(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	engineer := f.key("engineer", "", journal.RoleDutyEngineer)
	var made createdStop
	r := f.do(engineer, "POST", "/v1/stops", map[string]any{"scope": "list", "target": f.ref.ID, "reason": "неверная сумма"})
	if r.into(t, &made); r.status != 201 || made.ID == 0 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var target string
	if err := f.db.QueryRow(t.Context(), `SELECT target FROM stops`).Scan(&target); err != nil || target != strconv.FormatInt(f.l.No, 10) {
		t.Errorf("dispatch looks for %q, %v", target, err)
	}
	f.do(engineer, "POST", "/v1/stops", map[string]any{"scope": "link", "target": "smsc-1", "reason": "работы"}).into(t, &made)
	var page, second Page[Stop]
	f.do(engineer, "GET", "/v1/stops?limit=1", nil).into(t, &page)
	f.do(engineer, "GET", "/v1/stops?limit=1&after="+page.Next, nil).into(t, &second)
	if len(page.Items) != 1 || page.Items[0].Target != "smsc-1" || len(second.Items) != 1 || second.Items[0].Target != f.ref.ID || second.Items[0].Actor != "engineer" || second.Next != "" {
		t.Errorf("%+v, then %+v", page, second)
	}
	var links Page[Link]
	f.do(engineer, "GET", "/v1/links", nil).into(t, &links)
	if len(links.Items) != 1 || links.Items[0].Name != "smsc-1" || links.Items[0].State != "down" || !links.Items[0].Stopped || links.Items[0].Kind != "smsc" {
		t.Errorf("%+v", links)
	}
	path := "/v1/stops/" + strconv.FormatInt(made.ID, 10)
	if r := f.do(engineer, "DELETE", path, nil); r.status != 204 {
		t.Errorf("%d %s", r.status, r.body)
	}
	f.wants(f.do(engineer, "DELETE", path, nil), 404, CodeNotFound)
	f.do(engineer, "GET", "/v1/stops", nil).into(t, &page)
	var all Page[Stop]
	f.do(engineer, "GET", "/v1/stops?all=true", nil).into(t, &all)
	if len(page.Items) != 1 || len(all.Items) != 2 || all.Items[0].LiftedBy != "engineer" {
		t.Errorf("in force %+v, all %+v", page, all)
	}
	f.do(engineer, "GET", "/v1/links", nil).into(t, &links)
	if links.Items[0].Stopped {
		t.Error("the link is still shown as stopped")
	}
	f.wants(f.do(engineer, "POST", "/v1/stops", map[string]any{"scope": "list", "target": "6b9d6bcd-8f0f-4d2c-9c41-4c3c8f6a0001", "reason": "нет такого"}), 404, CodeNotFound)
	f.wants(f.do(engineer, "POST", "/v1/stops", map[string]any{"scope": "agency", "reason": "без цели"}), 422, CodeInvalid)
	f.placed()
	var history Page[HistoryEntry]
	f.do(engineer, "GET", "/v1/history?kind=stop.set,stop.lifted", nil).into(t, &history)
	if len(history.Items) != 3 {
		t.Errorf("history: %+v", history.Items)
	}
}

func TestADecisionIsTakenOnlyForWhatWaitsForOne(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	approver := f.key("approver", agencyA, journal.RoleListApprover)
	stranger := f.key("stranger", agencyB, journal.RoleListApprover)
	path := "/v1/notifications/" + f.ids[1].String() + "/settle"
	f.wants(f.do(approver, "POST", path, `{"decision":"resend"}`), 409, CodeNotHeld)
	f.wants(f.do(stranger, "POST", path, `{"decision":"resend"}`), 404, CodeNotFound)
	f.wants(f.do(approver, "POST", path, `{"decision":"forget"}`), 422, CodeInvalid)
}

func TestWhatHasLeftIsTooLateToCancel(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	stranger := f.key("stranger", agencyB, journal.RoleListLoader)
	f.wants(f.do(f.loader, "POST", "/v1/notifications/"+f.ids[0].String()+"/cancel", nil), 409, CodeTooLate)
	f.wants(f.do(stranger, "POST", "/v1/notifications/"+f.ids[1].String()+"/cancel", nil), 404, CodeNotFound)
}

func TestWhatWaitsSaysUntilWhen(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	var n Notification
	f.do(f.loader, "GET", "/v1/notifications/"+f.ids[1].String(), nil).into(t, &n)
	if n.WaitingUntil != nil {
		t.Errorf("it waits until %v, though it may leave at once", n.WaitingUntil)
	}
	due := f.clock.now().Add(3 * time.Hour)
	if _, err := f.db.Exec(t.Context(), `UPDATE outbox SET due_at = $2 WHERE id = $1`, int64(f.ids[1]), due); err != nil {
		t.Fatal(err)
	}
	f.do(f.loader, "GET", "/v1/notifications/"+f.ids[1].String(), nil).into(t, &n)
	if n.WaitingUntil == nil || !n.WaitingUntil.Equal(due) {
		t.Errorf("%v, want %v", n.WaitingUntil, due)
	}
}

func TestWhatWaitsSaysAtWhichGate(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	path := "/v1/notifications/" + f.ids[1].String()
	gate := func() Waiting {
		t.Helper()
		var n Notification
		f.do(f.loader, "GET", path, nil).into(t, &n)
		if n.WaitingFor == nil {
			return Waiting{}
		}
		return *n.WaitingFor
	}
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := f.db.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	if w := gate(); w.Gate != "approval" || w.Until != nil {
		t.Errorf("before the approval: %+v", w)
	}
	hour := f.clock.now().Add(4 * time.Hour)
	exec(`UPDATE runs SET state = 'active', next_due = $1`, hour)
	exec(`UPDATE lists SET start_at = $1`, hour)
	if w := gate(); w.Gate != "start" || w.Until == nil || !w.Until.Equal(hour) {
		t.Errorf("before its hour: %+v", w)
	}
	f.clock.move(5 * time.Hour)
	engineer := f.key("engineer", "", journal.RoleDutyEngineer)
	var made createdStop
	f.do(engineer, "POST", "/v1/stops", map[string]any{"scope": "list", "target": f.ref.ID, "reason": "неверная сумма"}).into(t, &made)
	if w := gate(); w.Gate != "stop" || w.Stop != made.ID {
		t.Errorf("%+v, want stop %d", w, made.ID)
	}
	exec(`DELETE FROM outbox`)
	accepted := f.clock.now().Add(-5*time.Hour + 5*time.Second)
	if w := gate(); w.Gate != "receipt" || w.Until == nil || !w.Until.Equal(accepted.Add(72*time.Hour)) || w.Detail.Since == nil || !w.Detail.Since.Equal(accepted) {
		t.Errorf("accepted: %+v", w)
	}
	path = "/v1/notifications/" + f.ids[0].String()
	if w := gate(); w.Gate != "" {
		t.Errorf("delivered: %+v", w)
	}
	stranger := f.key("stranger", agencyB, journal.RoleListLoader)
	f.wants(f.do(stranger, "GET", "/v1/notifications/"+f.ids[1].String(), nil), 404, CodeNotFound)
}

func TestTheDocumentHasEveryGate(t *testing.T) {
	t.Parallel()
	field, _ := reflect.TypeFor[Waiting]().FieldByName("Gate")
	var want []string
	for _, g := range dispatch.Gates() {
		want = append(want, string(g))
	}
	if have := field.Tag.Get("enum"); have != strings.Join(want, ",") {
		t.Errorf("the document says %s, want %s", have, strings.Join(want, ","))
	}
}

func TestOneNotificationIsAListOfOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	var ref ListRef
	r := w.do(loader, "POST", "/v1/notifications", `{"external_id":"z-1","phone":"+79030000001","text":"СФР: выплата назначена.","life_event":"OP-04","ordered_by":"Приказ № 7","ext":{"case":5}}`)
	if r.into(t, &ref); r.status != 202 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if l := w.reaches(loader, ref.URL, "ready"); l.Rows != 1 || l.Accepted != 1 || l.Kind != "express" || l.OrderedBy != "Приказ № 7" {
		t.Errorf("%+v", l)
	}
	if p := w.do(loader, "POST", "/v1/notifications", `{"phone":79030000001}`).problem(t); p.Code != CodeInvalid || !strings.Contains(p.Errors[0].Location, "phone") {
		t.Errorf("%+v", p)
	}
}
