package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ekc/fixtures"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
	"ekc/smpp"
	"ekc/smpp/smpptest"
)

// shows says which doors may show what of a citizen, and why. Whatever is not here may show nothing: not in a table, file, log line,
// metric, status or answer, whether it went well or not.
//
// Exempt beside them, and so written without a canary:
//   - texts of the catalogue, which are the same for all;
//   - numbers and names of agencies, their letters and orders;
//   - staff: logins stand in the journal;
//   - what a sender calls a list, a row or a request (name, external_id, Idempotency-Key): it is kept as it was typed, unless it is a phone
//     or a SNILS where that is refused, which is tried here.
//
// Not looked at, because they are not the hub's: the SMS centre's record, the files an agency keeps, and the keys, which are in the
// environment of the hub alone.
var shows = []struct{ door, login, what, why string }{
	{"GET /v1/lists/*/preview", "loader", "data", "shows the text as it will leave, to the agency whose text it is; its phone is masked"},
	{"POST /v1/history/search", "auditor", "phone snils name birth_date data", "shows who was told what, to the role that may see it; each look is in the journal"},
}

// leakSettings in the environment makes a copy of the test the hub itself; they are its configuration.
const leakSettings = "EKC_TEST_LEAK_HUB"

// TestNobodyIsFoundInTheClear lets a hub of its own process deal with citizens in every way it has, the wrong ways too, and then looks for
// them in everything it touched: the database as a dump, column by column, as files with WAL, and as a log of every statement with its
// parameters; the hub's log at debug level, metrics, answers; its temporary, state, home and working folders.
func TestNobodyIsFoundInTheClear(t *testing.T) {
	if settings := os.Getenv(leakSettings); settings != "" {
		leakHub(t, settings)
		return
	}
	t.Parallel()
	manifest, err := fixtures.Read()
	if err != nil {
		t.Fatal(err)
	}
	l := newLeak(t, manifest.Canaries)
	l.start()
	l.speakWrong()
	l.goTheWholeWay()
	l.writeBack()
	l.bringBadFiles()
	l.refuseInDatabase()
	l.ask()
	l.searchForPersons()
	l.gatherDatabase()
	l.stop()
	l.gatherFiles()
	l.proveTheSearch()
	for _, p := range l.places {
		l.finder.search(p.text, func(n *needle, at int) {
			if !slices.Contains(p.may, n.what) {
				t.Errorf("%s: the %s of canary %d, at %d: %q", p.name, n.what, n.canary+1, at, p.text[max(0, at-60):min(len(p.text), at+60)])
			}
		})
	}
}

// leakHub is the hub of the test: listening on the file it inherits, until its standard input ends.
func leakHub(t *testing.T, settings string) {
	var environ []string
	if err := json.Unmarshal([]byte(settings), &environ); err != nil {
		t.Fatal(err)
	}
	config, err := readConfig("", environ)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseRoles(roleNames)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	h := &hub{config: config, roles: all, log: newLog(config.Log, os.Stderr), listener: listener, changeRules: quickRules}
	if err := h.run(ctx); err != nil {
		t.Fatal(err)
	}
}

type leak struct {
	*world
	canaries []fixtures.Canary
	finder   *finder
	dir      string
	server   *postgres.Server
	child    *exec.Cmd
	end      io.Closer
	temp     int // inotify of the temporary folder
	staff    staff
	auditor  *apiClient
	sent     openapi.List // the canaries' own list

	mu     sync.Mutex
	places []place
}

func newLeak(t *testing.T, canaries []fixtures.Canary) *leak {
	t.Helper()
	l := &leak{canaries: canaries, finder: newFinder(canaries), dir: t.TempDir()}
	// Run by root, PostgreSQL works as another user and must reach its folder.
	for _, dir := range []string{filepath.Dir(l.dir), l.dir} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if l.server, err = postgres.Start(t.Context(), postgres.Local{Dir: filepath.Join(l.dir, "postgres")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.server.Stop() })
	l.world = newWorld(t, l.server.URL(), "EKC_LOG_LEVEL=debug")
	l.open()
	if _, err := postgres.Migrate(t.Context(), l.db); err != nil {
		t.Fatal(err)
	}
	// A database whose owner logs all there is: what a statement carries is written down even if no table keeps it.
	for _, setting := range []string{"log_statement = 'all'", "log_parameter_max_length = -1", "log_parameter_max_length_on_error = -1",
		"log_error_verbosity = 'verbose'", "log_min_error_statement = 'error'"} {
		if _, err := l.db.Exec(t.Context(), `ALTER DATABASE ekc SET `+setting); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// start runs the hub as a process whose every folder is the test's.
func (l *leak) start() {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	l.url = "http://" + listener.Addr().String()
	file, err := listener.(*net.TCPListener).File()
	if err == nil {
		err = listener.Close()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	settings, err := json.Marshal(l.settings)
	if err != nil {
		l.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	l.child = exec.Command(exe, "-test.run=^TestNobodyIsFoundInTheClear$", "-test.timeout=10m")
	l.child.Env = []string{"PATH=" + os.Getenv("PATH"), leakSettings + "=" + string(settings)}
	for _, variable := range []string{"TMPDIR", "HOME", "XDG_CACHE_HOME", "PWD"} {
		dir := filepath.Join(l.dir, "hub", variable)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			l.t.Fatal(err)
		}
		l.child.Env = append(l.child.Env, variable+"="+dir)
		l.child.Dir = dir
	}
	if l.temp, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err == nil {
		_, err = unix.InotifyAddWatch(l.temp, filepath.Join(l.dir, "hub", "TMPDIR"), unix.IN_CREATE|unix.IN_MOVED_TO)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(l.dir, "hub.log"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer out.Close()
	l.child.Stdout, l.child.Stderr, l.child.ExtraFiles = out, out, []*os.File{file}
	if l.end, err = l.child.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	if err := l.child.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = l.child.Process.Kill() })
	l.awaitReady()
	l.staff = staff{l.hire("loader", testAgency, journal.RoleListLoader), l.hire("approver", testAgency, journal.RoleListApprover),
		l.hire("duty", "", journal.RoleDutyEngineer)}
	l.auditor = l.hire("auditor", "", journal.RoleAuditor)
}

func (l *leak) stop() {
	l.t.Helper()
	_ = l.end.Close()
	if err := l.child.Wait(); err != nil {
		l.t.Errorf("the hub ended with: %v", err)
	}
	if n, _ := unix.Read(l.temp, make([]byte, 4096)); n > 0 {
		l.t.Error("a file was made in the temporary folder, where nothing keeps it from being found")
	}
	_ = unix.Close(l.temp)
}

// hire makes a person whose every answer is searched.
func (l *leak) hire(login, agency string, role journal.Role) *apiClient {
	c := l.person(login, agency, role)
	c.http.Transport = &overheard{l, login}
	return c
}

// try sends what should get this status, 0 being any refusal; that the answer says nothing of anybody is seen later.
func (l *leak) try(c *apiClient, status int, method, path, contentType, body string, headers ...string) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = resp.Body.Close()
	if status == 0 && resp.StatusCode/100 != 4 || status != 0 && resp.StatusCode != status {
		l.t.Errorf("%s %s %.80s: status %d, want %d", method, path, body, resp.StatusCode, status)
	}
}

// speakWrong puts persons where they do not belong: into keys, addresses, fields with other names, bodies cut short.
func (l *leak) speakWrong() {
	c := l.canaries[0]
	family, phone := url.QueryEscape(c.Family), url.QueryEscape(c.Phone)
	const js = "application/json"
	quoted := fmt.Sprintf(`"%s %s %s %s %s"`, c.Family, c.Phone, c.SNILS, c.BirthDate, c.Data)
	id := "00000000-0000-4000-8000-000000000000"
	for _, key := range []string{c.Phone, "ekc_live_" + c.Phone[1:], "ekc_live_" + c.Phone[1:] + "_" + c.Data} {
		wrong := *l.staff.loader
		wrong.key = key
		l.try(&wrong, 401, "GET", "/v1/lists", js, "")
	}
	l.try(l.staff.duty, 403, "POST", "/v1/history/search", js, `{"phone":`+quoted+`}`)
	for _, w := range []struct {
		who                *apiClient
		status             int
		method, path, body string
	}{
		{l.staff.loader, 404, "GET", "/v1/persons/" + phone, ""},
		{l.staff.loader, 404, "GET", "/" + family, ""},
		{l.staff.loader, 422, "GET", "/v1/lists/" + phone, ""},
		{l.staff.loader, 422, "GET", "/v1/lists?" + family + "=" + phone, ""},
		{l.staff.loader, 422, "GET", "/v1/notifications?list_id=" + phone + "&state=" + family, ""},
		{l.auditor, 422, "GET", "/v1/history?actor=" + family + "&from=" + phone + "&kind=" + family, ""},
		{l.auditor, 422, "GET", "/v1/history?kind=" + url.QueryEscape(c.Data), ""},
		{l.auditor, 422, "GET", "/v1/history?limit=" + phone + "x", ""},
		{l.auditor, 422, "POST", "/v1/history/search", `{"phone":"` + c.Phone + `","from":` + quoted + `,"purpose":{"code":"complaint","reference":"1"}}`},
		{l.auditor, 422, "GET", "/v1/history?list_id=" + id + "&after=" + phone + "&notification_id=" + phone, ""},
		{l.auditor, 422, "POST", "/v1/history/search", `{"full_name":` + quoted + `}`},
		{l.auditor, 422, "POST", "/v1/history/search", `{"phone":` + quoted + `,"purpose":{"code":"complaint","reference":"1"}}`},
		{l.auditor, 422, "POST", "/v1/history/search", `{"phone":"` + c.Phone + `","purpose":{"code":"complaint","reference":"` + c.Phone + `"}}`},
		{l.auditor, 422, "POST", "/v1/history/search", `{"phone":"` + c.Phone + `","purpose":{"code":` + quoted + `,"reference":"1"}}`},
		{l.auditor, 422, "POST", "/v1/history/search", `{"snils":"` + c.SNILS + `","birth_date":["` + c.BirthDate + `"],` + quoted + `:1}`},
		{l.auditor, 400, "POST", "/v1/history/search", `{"snils":"` + c.SNILS + `","full_name":` + c.Family},
		{l.staff.loader, 422, "POST", "/v1/lists", `{"name":"x","rows":[{"phone":{"is":` + quoted + `}}]}`},
		{l.staff.loader, 422, "POST", "/v1/lists", `{"name":"x","rows":[{` + quoted + `:"` + c.Phone + `"}]}`},
		{l.staff.loader, 400, "POST", "/v1/lists", `{"name":"x","rows":[{"phone":"` + c.Phone + `","family_name":"` + c.Family + `"`},
		{l.staff.loader, 422, "POST", "/v1/lists", `{"name":"x","life_event":` + quoted + `,"rows":[{"phone":"` + c.Phone + `"}]}`},
		{l.staff.loader, 422, "POST", "/v1/lists", `{"name":"x","template":` + quoted + `,"rows":[{"phone":"` + c.Phone + `"}]}`},
		{l.staff.loader, 422, "POST", "/v1/lists", `{"name":"x","valid_until":` + quoted + `,"rows":[{"phone":"` + c.Phone + `"}]}`},
		{l.staff.loader, 422, "POST", "/v1/notifications", `{"phone":["` + c.Phone + `"],"text":` + quoted + `}`},
		{l.staff.loader, 422, "POST", "/v1/lists/" + id + "/cancel", `{"reason":"звонила ` + c.Phone + `"}`},
		{l.staff.duty, 422, "POST", "/v1/stops", `{"scope":"list","target":` + quoted + `,"reason":"СНИЛС ` + c.SNILS + `"}`},
	} {
		l.try(w.who, w.status, w.method, w.path, js, w.body)
	}
	for name, value := range map[string]string{c.Family: c.Phone, "priority": c.Data, "channels": c.Family, "inform_by": c.BirthDate + c.Data} {
		body, contentType := form(map[string]string{name: value}, "x.csv", "Телефон\n"+c.Phone+"\n")
		l.try(l.staff.loader, 422, "POST", "/v1/lists", contentType, body)
		l.try(l.staff.loader, 0, "POST", "/v1/lists", contentType, body[:len(body)/2])
	}
	// What is no HTTP at all, and an upload that breaks off after the citizens.
	list := l.file()
	body, contentType := form(listFields("оборвано"), "x.csv", string(list))
	for _, raw := range []string{
		"GET /" + phone + " HTTP/9.9\r\nX-" + family + ": " + c.Phone + "\r\n\r\n",
		c.Phone + " " + c.SNILS + "\r\n\r\n",
		fmt.Sprintf("POST /v1/lists HTTP/1.1\r\nHost: ekc\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			l.staff.loader.key, contentType, len(body)+1000, body[:len(body)-10]),
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
		if err != nil {
			l.t.Fatal(err)
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		answer, _ := io.ReadAll(conn)
		l.add("answer to what is no request", answer)
		_ = conn.Close()
	}
}

func form(fields map[string]string, name, file string) (body, contentType string) {
	var b strings.Builder
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "--limit\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", field, fields[field])
	}
	fmt.Fprintf(&b, "--limit\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\n\r\n%s\r\n--limit--\r\n", name, file)
	return b.String(), "multipart/form-data; boundary=limit"
}

// listFields are of a list whose people come by other doors, too, and whose texts may speak of health.
func listFields(name string) map[string]string {
	return map[string]string{"again": "true", "name": name, "life_event": "OP-06", "ordered_by": "письмо 1", "legal_basis.code": "152-FZ-10",
		"legal_basis.document": "приказ", "legal_basis.date": "2026-01-15"}
}

// file is the canaries' list as its agency has it.
func (l *leak) file() []byte {
	sample := fixtures.Sample{File: "canaries.csv"}
	text, err := sample.Bytes()
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

// bring uploads a file under a name that names a citizen, and waits for what is said of it.
func (l *leak) bring(name string, file []byte, want ingest.State) openapi.List {
	l.t.Helper()
	c := l.canaries[0]
	ref, err := l.staff.loader.submit(l.t.Context(), c.Family+" "+c.Phone+".csv", bytes.NewReader(file), listFields(name))
	if err != nil {
		l.t.Fatalf("%s: %v", name, err)
	}
	return l.checked(name, ref.ID, want)
}

func (l *leak) checked(name, id string, want ingest.State) openapi.List {
	l.t.Helper()
	list := l.await(l.staff, id, func(l openapi.List) bool {
		return l.State != string(ingest.Receiving) && l.State != string(ingest.Checking)
	})
	l.must(l.staff.loader, "GET", "/v1/lists/"+id+"/protocol", nil, nil)
	if list.State != string(want) {
		l.t.Fatalf("%s is %s (%s), want %s", name, list.State, list.StateReason, want)
	}
	return list
}

func (l *leak) must(c *apiClient, method, path string, in, out any) {
	l.t.Helper()
	if err := c.call(l.t.Context(), method, path, in, out); err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// deliver previews a list, lets it go and waits for its end.
func (l *leak) deliver(list openapi.List, rows ...int) openapi.List {
	l.t.Helper()
	for _, row := range rows {
		l.must(l.staff.loader, "GET", fmt.Sprintf("/v1/lists/%s/preview?row=%d", list.ID, row), nil, nil)
	}
	l.must(l.staff.approver, "POST", "/v1/lists/"+list.ID+"/approve",
		map[string]any{"expected": map[string]any{"accepted": list.Accepted, "digest": list.Digest}}, nil)
	list = l.await(l.staff, list.ID, ended)
	for _, path := range []string{"/results.csv", "/protocol.xlsx", "/results.xlsx", "/not-informed.xlsx", "/estimate", "/progress"} {
		req, err := http.NewRequestWithContext(l.t.Context(), "GET", l.url+"/v1/lists/"+list.ID+path, http.NoBody)
		if err != nil {
			l.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+l.staff.loader.key)
		if resp, err := l.staff.loader.http.Do(req); err != nil || resp.StatusCode != http.StatusOK {
			l.t.Errorf("%s: %v", path, err)
		}
	}
	return list
}

// goTheWholeWay tells the canaries by a file, by a workbook, by JSON with a template, and by a single notification.
func (l *leak) goTheWholeWay() {
	l.sent = l.deliver(l.bring("файл", l.file(), ingest.Ready), 2, 3)
	if l.sent.Counts["delivered"] != int64(len(l.canaries)) {
		l.t.Fatalf("the canaries were not told: %v", l.sent.Counts)
	}
	book := l.bring("книга", l.workbook(), ingest.Ready)
	l.must(l.staff.loader, "POST", "/v1/lists/"+book.ID+"/cancel", map[string]string{"reason": "довольно"}, nil)

	basis := map[string]string{"code": "x", "document": "приказ", "date": "2026-01-15"}
	var rows []map[string]any
	for i, c := range l.canaries {
		rows = append(rows, map[string]any{"external_id": "дело-" + strconv.Itoa(i), "phones": []string{c.Phone}, "snils": c.SNILS, "family_name": c.Family,
			"first_name": c.First, "patronymic": c.Patronymic, "birth_date": c.BirthDate, "data": map[string]string{"date": "15.03.2027", "time": c.Data},
			"ext": map[string]any{"кто": c.Family, "телефон": c.Phone, "слово": c.Data}})
	}
	var ref openapi.ListRef
	l.must(l.staff.loader, "POST", "/v1/lists", map[string]any{"name": "строки", "life_event": "OP-02", "template": "S-04", "legal_basis": basis,
		"ordered_by": "письмо 2", "rows": rows}, &ref)
	list := l.checked("rows", ref.ID, ingest.Ready)
	var test openapi.ListRef // the first canary's row on the second one's phone
	l.must(l.staff.loader, "POST", "/v1/lists/"+list.ID+"/test-send", map[string]any{"row": 1, "phone": l.canaries[1].Phone}, &test)
	if l.await(l.staff, test.ID, ended).Counts["delivered"] != 1 {
		l.t.Errorf("a row was not sent to a handset")
	}
	l.deliver(list, 1)

	c := l.canaries[1]
	one, err := json.Marshal(map[string]any{"phone": c.Phone, "snils": c.SNILS, "family_name": c.Family, "text": "СФР: дело " + c.Data,
		"legal_basis": basis, "ordered_by": "письмо 3", "life_event": "OP-06"})
	if err != nil {
		l.t.Fatal(err)
	}
	for range 2 { // the second is answered from what is kept of the first
		l.try(l.staff.loader, 202, "POST", "/v1/notifications", "application/json", string(one), "Idempotency-Key", "письмо-3")
	}
	l.try(l.staff.loader, 409, "POST", "/v1/notifications", "application/json", strings.Replace(string(one), "дело", "тело", 1), "Idempotency-Key", "письмо-3")
}

// workbook is the canaries' list as a spreadsheet whose parts are not compressed: a piece of it left anywhere is legible.
func (l *leak) workbook() []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	part := func(name, text string) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>`+text)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
	var sheet strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(strings.TrimPrefix(string(l.file()), "\uFEFF")), "\n") {
		sheet.WriteString("<row>")
		for cell := range strings.SplitSeq(strings.TrimSpace(line), ";") {
			sheet.WriteString(`<c t="inlineStr"><is><t>` + cell + `</t></is></c>`)
		}
		sheet.WriteString("</row>")
	}
	const types, relations = "http://schemas.openxmlformats.org/package/2006/", "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	const main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	const kind = "application/vnd.openxmlformats-officedocument.spreadsheetml."
	part("[Content_Types].xml", `<Types xmlns="`+types+`content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>`+
		`<Override PartName="/xl/workbook.xml" ContentType="`+kind+`sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="`+kind+`worksheet+xml"/></Types>`)
	part("_rels/.rels", `<Relationships xmlns="`+types+`relationships"><Relationship Id="r1" Type="`+relations+`/officeDocument" Target="xl/workbook.xml"/></Relationships>`)
	part("xl/workbook.xml", `<workbook xmlns="`+main+`" xmlns:r="`+relations+`"><sheets><sheet name="Список" sheetId="1" r:id="r1"/></sheets></workbook>`)
	part("xl/_rels/workbook.xml.rels", `<Relationships xmlns="`+types+`relationships"><Relationship Id="r1" Type="`+relations+`/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`)
	part("xl/worksheets/sheet1.xml", `<worksheet xmlns="`+main+`"><sheetData>`+sheet.String()+`</sheetData></worksheet>`)
	if err := z.Close(); err != nil {
		l.t.Fatal(err)
	}
	return b.Bytes()
}

// writeBack has the citizens write, whole, in parts and never whole, and their SMS centre say of them what it should not.
func (l *leak) writeBack() {
	first, second := l.canaries[0], l.canaries[1]
	long := fmt.Sprintf("Я %s %s %s, родился %s, СНИЛС %s, телефон %s, не понимаю, что такое %s, и куда мне с этим идти. Ответьте, пожалуйста.",
		second.Family, second.First, second.Patronymic, second.BirthDate, second.SNILS, second.Phone, second.Data)
	// Receipts whose every word is the phone, for a message that is known and for one that is not.
	var known string
	for _, s := range l.smsc.Submitted() {
		if s.To == first.Phone[1:] {
			known = s.MessageID
		}
	}
	for i, id := range []string{known, "nobody's"} {
		text := fmt.Sprintf("id:%s sub:001 dlvrd:000 submit date:%[2]s done date:%[2]s stat:%[2]s err:%[2]s text:%[2]s", id, first.Phone[2:])
		l.smsc.Inject(smpp.AppendDeliverSM(nil, uint32(1_000_000+i), &smpp.ShortMessage{ESMClass: 4, ShortMessage: []byte(text),
			Source: smpp.Address{TON: 1, NPI: 1, Addr: first.Phone[1:]}, Dest: smpp.Address{TON: 5, Addr: "SFR"}}))
	}
	segments := l.smsc.Deliver(smpptest.Incoming{From: first.Phone[1:], To: "2442", Text: "СТОП"})
	segments += l.smsc.Deliver(smpptest.Incoming{From: second.Phone[1:], To: "2442", Text: long, Shuffle: true})
	segments += l.smsc.Deliver(smpptest.Incoming{From: second.Phone[1:], To: "2442", Text: long + " Ещё раз.", Concat: smpptest.SAR, Hold: 1})
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	if err := l.smsc.Wait(ctx, func(s smpptest.Stats) bool { return s.IncomingAcked >= segments }); err != nil {
		l.t.Fatalf("what the citizens wrote was not acknowledged: %v", err)
	}
	var messages, parts, refusals int
	if err := l.db.QueryRow(ctx, `SELECT (SELECT count(*) FROM inbound_messages), (SELECT count(*) FROM inbound_parts WHERE message IS NULL),
		(SELECT count(*) FROM opt_outs)`).Scan(&messages, &parts, &refusals); err != nil || messages != 2 || parts == 0 || refusals == 0 {
		l.t.Errorf("%d messages, %d parts, %d refusals are registered (%v)", messages, parts, refusals, err)
	}
	after := l.deliver(l.bring("после отказа", append(l.file(), '\n'), ingest.Ready), 2)
	if after.Counts["suppressed"] != 1 {
		l.t.Errorf("after a STOP: %v", after.Counts)
	}
}

// bringBadFiles brings citizens in wrong columns, which gives verdicts, and in files that are none.
func (l *leak) bringBadFiles() {
	c := l.canaries[0]
	titles := "Телефон;Телефон 2;СНИЛС;Фамилия;Имя;Отчество;Дата рождения;Код события;Код меры;ОКТМО;Канал;Язык;Код шаблона;Внешний номер;Отправить до;Текст;" + c.Data
	row := func(change map[string]string) string {
		cells := map[string]string{"Телефон": c.Phone, "СНИЛС": c.SNILS, "Фамилия": c.Family, "Имя": c.First, "Отчество": c.Patronymic,
			"Дата рождения": c.BirthDate, "Текст": "СФР: дело " + c.Data}
		maps.Copy(cells, change)
		var out []string
		for title := range strings.SplitSeq(titles, ";") {
			out = append(out, cells[title])
		}
		return strings.Join(out, ";") + "\n"
	}
	wrong := []map[string]string{
		{"Телефон": c.Family}, {"Телефон": c.Phone + ", " + l.canaries[1].Phone}, {"Телефон": c.Phone + " доб. 12"}, {"Телефон": "#REF!"},
		{"СНИЛС": c.Phone + c.Data}, {"Дата рождения": c.BirthDate + c.Data}, {"Код события": c.Family},
		{"Код меры": c.Data}, {"Канал": c.Data}, {"Код шаблона": c.Data}, {"Код шаблона": c.Family, "Текст": ""}, {"Код шаблона": "S-04", "Текст": ""},
		{"Внешний номер": c.Phone}, {"Внешний номер": c.Phone[2:]}, {"Внешний номер": c.SNILS}, {"Внешний номер": strings.Repeat(c.Family, 9)},
		{"Отправить до": c.BirthDate}, {"Текст": c.Data + " {{ " + c.Family + " }}"}, {"Текст": strings.Repeat(c.Data+" ", 200)},
		{"Фамилия": c.Family + "\x01"}, {"Имя": strings.Repeat(c.Family, 3000)},
	}
	list := titles + "\n"
	for _, change := range wrong {
		list += row(change)
	}
	for _, change := range []map[string]string{{"Телефон 2": c.Family}, {"ОКТМО": c.Phone}, {"Язык": c.Data}} { // taken, with a warning
		list += row(change)
	}
	for range wrong {
		list += row(nil)
	}
	bad := l.bring("ошибки", []byte(list), ingest.Ready)
	var protocol ingest.Protocol
	l.must(l.staff.loader, "GET", "/v1/lists/"+bad.ID+"/protocol", nil, &protocol)
	for i := range wrong {
		if !slices.ContainsFunc(protocol.ErrorRecords, func(r ingest.RecordResult) bool { return r.Row == i+2 && !r.RecordOK }) {
			l.t.Errorf("row %d of the wrong ones was taken", i)
		}
	}
	if bad.Warnings < 3 {
		l.t.Errorf("%d rows were taken with a warning, want at least 3", bad.Warnings)
	}
	l.must(l.staff.loader, "GET", "/v1/lists/"+bad.ID+"/preview?row=2", nil, nil)

	book := l.workbook()
	for name, file := range map[string]string{
		"всё плохо":     titles + "\n" + row(wrong[0]) + row(wrong[1]) + row(nil),
		"без заголовка": strings.SplitN(string(l.file()), "\n", 2)[1],
		"без телефона":  "Фамилия;СНИЛС;" + c.Data + "\n" + c.Family + ";" + c.SNILS + ";\n",
		"дважды":        "Телефон;Тел.;" + c.Family + ";" + c.Family + "\n" + c.Phone + ";" + c.Phone + ";;\n",
		"страница":      "<html><body><table><tr><td>" + c.Phone + "</td><td>" + c.Family + "</td></tr></table></body></html>",
		"кавычка":       "Телефон;Текст\n" + c.Phone + ";\"" + c.Family + "\n",
		"не таблица":    "\x00\x01\x02" + c.Phone + c.Family + c.SNILS,
		"обрезана":      string(book[:len(book)*2/3]),
		"подменена":     strings.Replace(string(book), c.Data, strings.ToUpper(c.Data), 1), // the sum does not fit any more
	} {
		l.bring(name, []byte(file), ingest.Rejected)
	}
}

// refuseInDatabase has the database refuse what it is given for a while, so that errors of storing are logged, and kills it.
func (l *leak) refuseInDatabase() {
	refuse := func(table string, refused func() error) {
		l.t.Helper()
		if _, err := l.db.Exec(l.t.Context(), `ALTER TABLE `+table+` ADD CONSTRAINT nothing CHECK (false) NOT VALID`); err != nil {
			l.t.Fatal(err)
		}
		if err := refused(); err != nil {
			l.t.Fatalf("%s: %v", table, err)
		}
		if _, err := l.db.Exec(l.t.Context(), `ALTER TABLE `+table+` DROP CONSTRAINT nothing`); err != nil {
			l.t.Fatal(err)
		}
	}
	refuse("list_file_chunks", func() error {
		body, contentType := form(listFields("не принят"), "x.csv", string(l.file())+"\n\n")
		l.try(l.staff.loader, 500, "POST", "/v1/lists", contentType, body)
		return nil
	})
	var ref openapi.ListRef
	refuse("notifications", func() (err error) {
		ref, err = l.staff.loader.submit(l.t.Context(), "x.csv", strings.NewReader(string(l.file())+"\n\n\n"), listFields("не сохранён"))
		if err != nil {
			return err
		}
		return l.logged("postgres/postgres.log", `relation "notifications`)
	})
	refuse("inbound_messages", func() error {
		l.smsc.Deliver(smpptest.Incoming{From: l.canaries[1].Phone[1:], To: "2442", Text: l.canaries[1].Family})
		return l.logged("hub.log", "inbound messages not stored")
	})
	if err := l.server.Kill(); err != nil {
		l.t.Fatal(err)
	}
	l.try(l.staff.loader, 503, "GET", "/v1/lists/"+ref.ID, "", "")
	if err := l.server.Restart(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	l.db.Reset() // its connections are dead
	l.awaitReady()
}

// logged waits until a log of the test's folder says so.
func (l *leak) logged(file, what string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(l.dir, file))
		if err != nil || bytes.Contains(text, []byte(what)) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not say %q", file, what)
		}
	}
}
