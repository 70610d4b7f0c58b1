package openapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"ekc/ingest"
	"ekc/journal"
)

const goodFile = "Телефон;СНИЛС;ФИО;Код события;Текст;ОКТМО;Внешний номер\n" +
	"+7 903 000-00-01;112-233-445 95;Иванова Мария Петровна;OP-04;СФР: выплата назначена.;01000000;=a1\n" +
	"8 (903) 000-00-02;;Оглы Ян;OP-04;СФР: выплата назначена.;;a2\n" +
	"90300000;;;OP-04;СФР: выплата назначена.;45000000;a3\n"

// form makes a multipart body of names and values in turn; the name file carries a file.
func form(pairs ...string) (body []byte, contentType string) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "file" {
			part, _ := m.CreateFormFile("file", "список.csv")
			_, _ = part.Write([]byte(pairs[i+1]))
			continue
		}
		_ = m.WriteField(pairs[i], pairs[i+1])
	}
	_ = m.Close()
	return b.Bytes(), m.FormDataContentType()
}

// run checks lists in the background for as long as the test lasts.
func (w *world) run() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.server.doors.Lists.Run(ctx) }()
	w.Cleanup(func() { cancel(); <-done })
}

func (w *world) upload(key string, pairs ...string) reply {
	w.Helper()
	body, contentType := form(pairs...)
	return w.do(key, "POST", "/v1/lists", body, "Content-Type", contentType)
}

// reaches waits until the list is in the state.
func (w *world) reaches(key, url, state string) List {
	w.Helper()
	var l List
	for range 500 {
		w.do(key, "GET", url, nil).into(w.T, &l)
		if l.State == state {
			return l
		}
		select {
		case <-w.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.Fatalf("the list stays %s (%s), want %s", l.State, l.StateReason, state)
	return l
}

var listFieldsOfForm = []string{"name", "Выплаты за ноябрь", "legal_basis", `{"code":"PP-1994","document":"Постановление № 1994","date":"2020-12-03"}`,
	"ordered_by", "Приказ № 7", "channels", "СМС", "valid_until", "31.12.2199"}

func TestAListFromUploadToApprovalAndResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	approver := w.key("approver", agencyA, journal.RoleListApprover)
	stranger := w.key("stranger", agencyB, journal.RoleListLoader, journal.RoleListApprover)

	r := w.upload(loader, append(listFieldsOfForm, "file", goodFile)...)
	var ref ListRef
	r.into(t, &ref)
	if r.status != 202 || ref.URL != "/v1/lists/"+ref.ID {
		t.Fatalf("%d %s", r.status, r.body)
	}
	l := w.reaches(loader, ref.URL, "ready")
	if l.Rows != 3 || l.Accepted != 2 || l.Rejected != 1 || l.Digest == "" || l.LoadedBy != "loader" || l.Agency != agencyA || l.LegalBasis == nil || l.OrderedBy != "Приказ № 7" || l.ValidUntil == nil {
		t.Errorf("%+v", l)
	}

	var protocol ingest.Protocol
	w.do(loader, "GET", ref.URL+"/protocol", nil).into(t, &protocol)
	if len(protocol.ErrorRecords) != 1 || protocol.ErrorRecords[0].Messages[0].RuleCode != 101 || protocol.RecordNumSuccess != 2 {
		t.Errorf("protocol: %+v", protocol)
	}
	var preview Preview
	w.do(loader, "GET", ref.URL+"/preview?row=2", nil).into(t, &preview)
	if !preview.Accepted || preview.Text != "СФР: выплата назначена." || strings.Contains(preview.Phone, "000-00-01") {
		t.Errorf("preview: %+v", preview)
	}

	expected := map[string]any{"expected": map[string]any{"accepted": l.Accepted, "digest": l.Digest}}
	w.wants(w.do(loader, "POST", ref.URL+"/approve", expected), 403, CodeForbidden)
	w.wants(w.do(approver, "POST", ref.URL+"/approve", map[string]any{"expected": map[string]any{"accepted": 3, "digest": l.Digest}}), 409, "list_changed")
	for _, act := range []string{"approve", "refuse", "pause", "resume", "cancel"} {
		body := any(map[string]any{"reason": "ошибка"})
		switch act {
		case "approve":
			body = expected
		case "pause", "resume":
			body = nil
		}
		w.wants(w.do(stranger, "POST", ref.URL+"/"+act, body), 404, "list_not_found")
	}
	for _, path := range []string{"", "/protocol", "/preview?row=2", "/results.csv", "/protocol.xlsx", "/results.xlsx", "/not-informed.xlsx", "/progress"} {
		w.wants(w.do(stranger, "GET", ref.URL+path, nil), 404, "list_not_found")
	}
	w.wants(w.do(stranger, "GET", "/v1/notifications?list_id="+ref.ID, nil), 404, CodeNotFound)
	var none Page[List]
	w.do(stranger, "GET", "/v1/lists", nil).into(t, &none)
	if len(none.Items) != 0 {
		t.Errorf("another agency's lists: %+v", none)
	}

	var running List
	w.do(approver, "POST", ref.URL+"/approve", expected).into(t, &running)
	if running.ApprovedBy != "approver" {
		t.Errorf("%+v", running)
	}
	w.reaches(loader, ref.URL, "running")
	var paused List
	w.do(loader, "POST", ref.URL+"/pause", nil).into(t, &paused)
	if paused.State != "paused" {
		t.Errorf("%+v", paused)
	}
	w.wants(w.do(approver, "POST", ref.URL+"/pause", nil), 409, "list_state")
	w.do(approver, "POST", ref.URL+"/resume", nil).into(t, &running)

	csv := w.do(loader, "GET", ref.URL+"/results.csv", nil)
	lines := strings.Split(strings.TrimSpace(csv.body), "\r\n")
	if csv.status != 200 || !strings.HasPrefix(csv.body, "\uFEFFСтрока;") || len(lines) != 3 || !strings.HasPrefix(lines[1], "2;'=a1;") || !strings.Contains(lines[1], ";pending;") {
		t.Errorf("results: %d %q", csv.status, csv.body)
	}
	for _, name := range []string{"protocol", "results", "not-informed"} {
		file := w.do(loader, "GET", ref.URL+"/"+name+".xlsx", nil)
		if file.status != 200 || !strings.HasPrefix(file.body, "PK") || file.header.Get("Content-Type") != workbookType ||
			file.header.Get("Content-Disposition") != `attachment; filename="`+name+"-"+ref.ID+`.xlsx"` {
			t.Errorf("%s: %d %v", name, file.status, file.header)
		}
	}
	w.wants(w.do(w.key("duty", "", journal.RoleDutyEngineer), "GET", ref.URL+"/protocol.xlsx", nil), 403, CodeForbidden)
	var page Page[Notification]
	w.do(loader, "GET", "/v1/notifications?limit=1&list_id="+ref.ID, nil).into(t, &page)
	if len(page.Items) != 1 || page.Next == "" || page.Items[0].ExternalID != "=a1" || page.Items[0].State != "pending" || page.Items[0].InTerm != "open" {
		t.Errorf("first page: %+v", page)
	}
	var second Page[Notification]
	w.do(loader, "GET", "/v1/notifications?limit=1&list_id="+ref.ID+"&after="+page.Next, nil).into(t, &second)
	if len(second.Items) != 1 || second.Next != "" || second.Items[0].ExternalID != "a2" {
		t.Errorf("second page: %+v", second)
	}
	w.wants(w.do(loader, "GET", "/v1/notifications?state=delivered&list_id="+ref.ID+"&after="+page.Next, nil), 422, CodeCursor)
	w.wants(w.do(stranger, "GET", "/v1/notifications/"+page.Items[0].NotificationID, nil), 404, CodeNotFound)

	var correction ListRef
	body, contentType := form("file", strings.Replace(goodFile, "\n90300000;", "\n9030000003;", 1))
	w.do(loader, "POST", ref.URL+"/corrections", body, "Content-Type", contentType, "Idempotency-Key", "исправление").into(t, &correction)
	if again := w.do(loader, "POST", ref.URL+"/corrections", body, "Content-Type", contentType, "Idempotency-Key", "исправление"); !strings.Contains(again.body, correction.ID) {
		t.Errorf("repeated: %d %s", again.status, again.body)
	}
	if c := w.reaches(loader, correction.URL, "ready"); c.Corrects != ref.ID || c.Accepted != 1 || c.Skipped != 2 || c.OrderedBy != "Приказ № 7" {
		t.Errorf("%+v", c)
	}
	w.wants(w.do(stranger, "POST", ref.URL+"/corrections", body, "Content-Type", contentType), 404, "list_not_found")
	w.wants(w.do(loader, "POST", correction.URL+"/corrections", body, "Content-Type", contentType), 409, "list_state")

	var cancelled List
	w.do(loader, "POST", ref.URL+"/cancel", map[string]any{"reason": "ошибка в списке"}).into(t, &cancelled)
	if cancelled.State != "cancelling" && cancelled.State != "cancelled" {
		t.Errorf("%+v", cancelled)
	}
	if log := w.log.String(); strings.Contains(log, "Иванова") || strings.Contains(log, "выплата назначена") || strings.Contains(log, "9030000001") {
		t.Error("the log holds personal data")
	}
}

func TestACheckTellsEverythingAndStoresNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	body, contentType := form(append(listFieldsOfForm, "file", goodFile)...)
	r := w.do(loader, "POST", "/v1/lists/check", body, "Content-Type", contentType, "Idempotency-Key", "k")
	var d DryRun
	r.into(t, &d)
	if r.status != 200 || d.Protocol.RecordNum != 3 || d.Protocol.RecordNumSuccess != 2 || len(d.Protocol.ErrorRecords) != 1 || d.Protocol.Columns[0].Name != "phone" || d.Estimate == nil ||
		d.Estimate.Segments != 2 || d.Estimate.FinishesAt == nil || d.Estimate.Hours == nil || !strings.Contains(r.body, `"cost":null`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	rows := `{"rows":[{"phone":"+79030000001","text":"СФР: выплата назначена."}]}`
	if r = w.do(loader, "POST", "/v1/lists/check", rows); r.status != 200 || !strings.Contains(r.body, `"record_num_success":1`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	w.wants(w.do(w.key("approver", agencyA, journal.RoleListApprover), "POST", "/v1/lists/check", rows), 403, CodeForbidden)
	w.wants(w.upload(loader, "template", "нет такого", "file", goodFile), 422, "unknown_template")
	var left int
	if err := w.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM lists) + (SELECT count(*) FROM list_file_chunks) + (SELECT count(*) FROM idempotency_keys)`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
	var ref ListRef
	w.upload(loader, append(listFieldsOfForm, "file", goodFile)...).into(t, &ref)
	w.wants(w.do(loader, "GET", ref.URL+"/estimate", nil), 409, "list_state")
	w.run()
	w.reaches(loader, ref.URL, "ready")
	var e Estimate
	if w.do(loader, "GET", ref.URL+"/estimate", nil).into(t, &e); e.Rows != 2 || e.Cost != nil || e.FinishesAt == nil || !strings.HasPrefix(e.Sentence, "Закончим примерно ") {
		t.Errorf("%+v", e)
	}
}

func TestARepeatedUploadIsOneList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	send := func(key string, pairs ...string) reply {
		body, contentType := form(pairs...) // another boundary each time
		return w.do(loader, "POST", "/v1/lists", body, "Content-Type", contentType, "Idempotency-Key", key)
	}
	first := send("u1", append(listFieldsOfForm, "file", goodFile)...)
	again := send("u1", append(listFieldsOfForm, "file", goodFile)...)
	if first.status != 202 || again.status != 202 || first.body != again.body {
		t.Fatalf("%d %s, then %d %s", first.status, first.body, again.status, again.body)
	}
	w.wants(send("u1", append(listFieldsOfForm, "file", goodFile+"\n")...), 409, CodeKeyReused)
	w.wants(send("u1", append([]string{"name", "x"}, "file", goodFile)...), 409, CodeKeyReused)
	w.wants(send("u2", append(listFieldsOfForm, "file", goodFile)...), 409, "same_file")
	w.wants(send("u2", append(listFieldsOfForm, "file", goodFile)...), 409, "same_file")
	var lists int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM lists`).Scan(&lists); err != nil || lists != 1 {
		t.Errorf("%d lists, %v", lists, err)
	}
	rows := `{"name":"x","rows":[{"phone":"+79030000001","text":"СФР: выплата назначена.","life_event":"OP-04"}]}`
	a := w.do(loader, "POST", "/v1/lists", rows, "Idempotency-Key", "j1")
	b := w.do(loader, "POST", "/v1/lists", rows, "Idempotency-Key", "j1")
	if a.status != 202 || a.body != b.body {
		t.Errorf("JSON: %d %s, then %d %s", a.status, a.body, b.status, b.body)
	}
}

func TestBadUploadsAreToldAndLeaveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, _ *Deps) { c.UploadLimit = 4000 })
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	big := goodFile + strings.Repeat("x", 4000)
	broken, brokenType := form("file", goodFile)
	for _, c := range []struct {
		name   string
		reply  reply
		status int
		code   Code
	}{
		{"no file", w.upload(loader, "name", "x"), 422, CodeNoFile},
		{"fields after the file", w.upload(loader, "file", goodFile, "name", "x"), 422, CodeFileLast},
		{"unknown field", w.upload(loader, "phone", "x", "file", goodFile), 422, CodeInvalid},
		{"a mapping that is no object", w.upload(loader, "mapping", "[1]", "file", goodFile), 422, CodeInvalid},
		{"a mapping to nothing of ours", w.upload(loader, "mapping", `{"Контакт":"телефакс"}`, "file", goodFile), 422, "bad_mapping"},
		{"bad priority", w.upload(loader, "priority", "x", "file", goodFile), 422, CodeInvalid},
		{"bad channel", w.upload(loader, "channels", "почта", "file", goodFile), 422, CodeInvalid},
		{"bad day", w.upload(loader, "valid_until", "завтра", "file", goodFile), 422, CodeInvalid},
		{"a field too long", w.upload(loader, "name", strings.Repeat("x", formFieldBytes+1), "file", goodFile), 413, CodeTooLarge},
		{"file over the limit", w.upload(loader, "file", big), 413, CodeTooLarge},
		{"unknown template", w.upload(loader, "template", "нет такого", "file", goodFile), 422, "unknown_template"},
		{"cut short", w.do(loader, "POST", "/v1/lists", broken[:len(broken)-80], "Content-Type", brokenType), 400, CodeMalformed},
		{"no rows", w.do(loader, "POST", "/v1/lists", `{"rows":[]}`), 422, "no_rows"},
		{"JSON twice", w.do(loader, "POST", "/v1/lists", `{"rows":[]} {}`), 400, CodeMalformed},
	} {
		if p := c.reply.problem(t); c.reply.status != c.status || p.Code != c.code {
			t.Errorf("%s: %d %s", c.name, c.reply.status, c.reply.body)
		}
	}
	var lists, chunks int
	if err := w.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM lists), (SELECT count(*) FROM list_file_chunks)`).Scan(&lists, &chunks); err != nil || lists != 0 || chunks != 0 {
		t.Errorf("%d lists, %d chunks, %v", lists, chunks, err)
	}
}

func TestProgressComesAsEventsUntilTheListEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	var ref ListRef
	w.upload(loader, append(listFieldsOfForm, "file", goodFile)...).into(t, &ref)
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+ref.URL+"/progress", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+loader)
	req.Header.Set("Last-Event-ID", "17")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	if _, err := w.db.Exec(t.Context(), `UPDATE lists SET state = 'checking' WHERE id = $1`, ref.ID); err != nil {
		t.Fatal(err)
	}
	var states []string
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var l List
		if err := json.Unmarshal([]byte(data), &l); err != nil {
			t.Fatal(err)
		}
		states = append(states, l.State)
		if len(states) == 1 {
			if _, err := w.db.Exec(t.Context(), `UPDATE lists SET state = 'cancelled' WHERE id = $1`, ref.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := fmt.Sprint(states); got != "[checking cancelled]" {
		t.Errorf("states %s", got)
	}
}

func TestARowIsSentToTheLoadersOwnHandset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withOffice)
	w.run()
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	approver := w.key("approver", agencyA, journal.RoleListApprover)
	auditor := w.key("auditor", "", journal.RoleAuditor)
	stranger := w.key("stranger", agencyB, journal.RoleListLoader)
	var ref, test ListRef
	w.upload(loader, append(listFieldsOfForm, "file", goodFile)...).into(t, &ref)
	w.reaches(loader, ref.URL, "ready")
	send := func(key, body string, header ...string) reply {
		return w.do(key, "POST", ref.URL+"/test-send", body, header...)
	}
	r := send(loader, `{"row":3,"phone":"8 999 123-45-67"}`, "Idempotency-Key", "проверка")
	if r.into(t, &test); r.status != 202 || test.URL == ref.URL {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if again := send(loader, `{"row":3,"phone":"8 999 123-45-67"}`, "Idempotency-Key", "проверка"); again.body != r.body {
		t.Errorf("repeated: %d %s", again.status, again.body)
	}
	if l := w.reaches(loader, test.URL, "running"); l.Tests != ref.ID || l.Accepted != 1 || l.Kind != "express" || l.OrderedBy != "Приказ № 7" || l.Segments != 1 {
		t.Errorf("%+v", l)
	}
	if l := w.reaches(loader, ref.URL, "ready"); l.Tests != "" || l.Accepted != 2 {
		t.Errorf("%+v", l)
	}
	var found SearchAnswer
	w.do(auditor, "POST", "/v1/history/search", `{"phone":"+79991234567","purpose":{"code":"complaint","reference":"1"}}`).into(t, &found)
	if len(found.Found) != 1 || found.Found[0].Text != "Проверка: СФР: выплата назначена." || found.Found[0].List.Tests != ref.ID || found.Found[0].Person.FullName != "" {
		t.Errorf("%+v", found.Found)
	}

	w.wants(send(approver, `{"phone":"+79991234567"}`), 403, CodeForbidden)
	w.wants(send(stranger, `{"phone":"+79991234567"}`), 404, "list_not_found")
	w.wants(send(loader, `{"row":3}`), 422, CodeInvalid)
	w.wants(send(loader, `{"row":4,"phone":"+79991234567"}`), 404, "row_not_found")
	w.wants(w.do(loader, "POST", test.URL+"/test-send", `{"phone":"+79991234567"}`), 409, "test_of_test")
	for range 2 {
		send(loader, `{"phone":"+79991234567"}`).into(t, &test)
	}
	p := send(loader, `{"phone":"+79991234567"}`, "Accept-Language", "ru").problem(t)
	if p.Status != 409 || p.Code != "tests_of_list" || p.Detail != "Больше проверок этого списка отправить нельзя: правила разрешают 3 на один список." {
		t.Errorf("%+v", p)
	}
	p = send(loader, `{"phone":"8 495 123-45-67"}`, "Accept-Language", "ru").problem(t)
	if p.Status != 422 || p.Code != "test_phone" || p.Detail != "Укажите мобильный номер, на который придёт проверка: +7 и 10 цифр." {
		t.Errorf("%+v", p)
	}
}

func TestAMappingComesWithTheUploadAndIsShownInTheProtocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	var ref ListRef
	w.upload(loader, append(listFieldsOfForm, "mapping", `{"Контакт": "Телефон", "Телефон": ""}`, "file",
		"Контакт;Телефон;Текст\n+7 903 000-00-01;8 495 000-00-00;СФР: выплата назначена.\n")...).into(t, &ref)
	l := w.reaches(loader, ref.URL, "ready")
	var protocol ingest.Protocol
	w.do(loader, "GET", ref.URL+"/protocol", nil).into(t, &protocol)
	if l.Accepted != 1 || len(protocol.Columns) != 3 || protocol.Columns[0].Name != "phone" || !protocol.Columns[0].Mapped || protocol.Columns[1].Name != "" {
		t.Errorf("%+v %+v", l, protocol.Columns)
	}
}
