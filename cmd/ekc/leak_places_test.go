package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ekc/openapi"
)

// place is something that is searched; may is what it may show.
type place struct {
	name string
	text []byte
	may  []string
}

func (l *leak) add(name string, text []byte, may ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places = append(l.places, place{name, text, may})
}

// overheard keeps every answer, head and body.
type overheard struct {
	*leak
	login string
}

func (o *overheard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	door, may := r.Method+" "+r.URL.Path, []string(nil)
	for _, s := range shows {
		if ok, _ := filepath.Match(s.door, door); ok && s.login == o.login && resp.StatusCode == http.StatusOK {
			may = strings.Fields(s.what)
		}
	}
	var head bytes.Buffer
	_ = resp.Header.Write(&head)
	o.add(fmt.Sprintf("answer %d to %s of %s", resp.StatusCode, door, o.login), append(head.Bytes(), body...), may...)
	return resp, err
}

// ask reads every door that tells of lists, notifications and the hub.
func (l *leak) ask() {
	nobody := &apiClient{base: l.url, http: &http.Client{Timeout: 10 * time.Second, Transport: &overheard{l, "nobody"}}}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/openapi.json", "/docs"} {
		l.try(nobody, 200, "GET", path, "", "")
	}
	for _, path := range []string{"/v1/links", "/v1/stops?all=true"} {
		l.must(l.staff.duty, "GET", path, nil, nil)
	}
	l.must(l.auditor, "GET", "/v1/history?limit=500&from=2026-01-01T00:00:00Z", nil, nil)
	var lists openapi.Page[openapi.List]
	l.must(l.staff.loader, "GET", "/v1/lists?limit=200", nil, &lists)
	var last string
	for _, list := range lists.Items {
		l.must(l.auditor, "GET", "/v1/history?limit=500&list_id="+list.ID, nil, nil)
		var page openapi.Page[openapi.Notification]
		l.must(l.staff.loader, "GET", "/v1/notifications?limit=100&list_id="+list.ID, nil, &page)
		for _, n := range page.Items {
			last = n.NotificationID
			l.must(l.staff.loader, "GET", "/v1/notifications/"+last, nil, nil)
			l.must(l.auditor, "GET", "/v1/history?notification_id="+last, nil, nil)
		}
	}
	var out bytes.Buffer
	told, err := (&backend{apiClient: l.staff.loader}).trail(l.t.Context(), last)
	if err == nil {
		err = told.print(&out)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	state, err := (&backend{apiClient: l.staff.duty}).situation(l.t.Context())
	if err == nil {
		err = state.print(&out)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.add("ekc trace and ekc status", out.Bytes())
}

// searchForPersons finds the canaries by all they are known by: in full for the auditor, masked for the loader.
func (l *leak) searchForPersons() {
	for _, c := range l.canaries {
		for _, by := range []map[string]any{{"phone": c.Phone}, {"snils": c.SNILS},
			{"full_name": c.Family + " " + c.First + " " + c.Patronymic, "birth_date": c.BirthDate}} {
			by["purpose"] = map[string]string{"code": "complaint", "reference": "жалоба 7"}
			for _, who := range []*apiClient{l.auditor, l.staff.loader} {
				var found openapi.SearchAnswer
				l.must(who, "POST", "/v1/history/search", by, &found)
				if len(found.Found) == 0 {
					l.t.Errorf("a canary is not found by %v", by)
				}
			}
			var box openapi.FoundAnswer
			l.must(l.staff.loader, "POST", "/v1/notifications/search", by, &box)
			if len(box.Found) == 0 {
				l.t.Errorf("a canary is not found in the lists of its agency by %v", by)
			}
		}
	}
}

// gatherDatabase reads every column as text and as the octets in it, the statements under way, and the dump as pg_dump makes it.
func (l *leak) gatherDatabase() {
	ctx := l.t.Context()
	conn, err := l.db.Acquire(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
		UNION ALL VALUES ('pg_stat_activity'), ('pg_stats'), ('pg_description'), ('pg_prepared_statements') ORDER BY 1`)
	if err != nil {
		l.t.Fatal(err)
	}
	var table string
	var tables []string
	for rows.Next() {
		if err := rows.Scan(&table); err != nil {
			l.t.Fatal(err)
		}
		tables = append(tables, table)
	}
	for _, table := range tables {
		for _, format := range []string{"text", "binary"} {
			var out bytes.Buffer
			if _, err := conn.Conn().PgConn().CopyTo(ctx, &out, `COPY (SELECT * FROM `+table+`) TO STDOUT (FORMAT `+format+`)`); err != nil {
				if table == "pg_stats" && format == "binary" { // anyarray has no binary form
					continue
				}
				l.t.Fatalf("%s: %v", table, err)
			}
			l.add("table "+table+" as "+format, out.Bytes())
		}
	}
	// The programs of the server that runs, with its libraries.
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", l.server.PID()))
	if err != nil {
		l.t.Fatal(err)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", l.server.PID()))
	if err != nil {
		l.t.Fatal(err)
	}
	dump := exec.Command(filepath.Join(filepath.Dir(program), "pg_dump"), "--dbname="+l.server.URL(), "--inserts")
	if _, err := os.Stat(dump.Path); err != nil {
		l.t.Log("there is no pg_dump; its work was done by COPY of every table")
		return
	}
	dump.Env = strings.Split(strings.TrimRight(string(environ), "\x00"), "\x00")
	out, err := dump.Output()
	if err != nil {
		l.t.Fatalf("pg_dump: %v", err)
	}
	l.add("pg_dump", out)
}

// gatherFiles reads everything that is on the disk once the hub and the database have ended.
func (l *leak) gatherFiles() {
	l.db.Close()
	if err := l.server.Stop(); err != nil {
		l.t.Fatal(err)
	}
	for _, root := range []string{l.dir, l.config.StateDir} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			l.add(strings.TrimPrefix(path, filepath.Dir(root)), text)
			return err
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// proveTheSearch holds that there was something to be found, that it would have been found, and that the places are those meant.
func (l *leak) proveTheSearch() {
	var wire bytes.Buffer
	for _, m := range l.smsc.Messages() {
		fmt.Fprintln(&wire, m.To, m.Text)
	}
	for name, seen := range map[string]struct {
		text []byte
		what []string
	}{
		"the file as sent":    {l.file(), []string{"phone", "snils", "name", "birth_date", "data"}},
		"what the SMSC has":   {wire.Bytes(), []string{"phone", "data"}},
		"what the auditor is": {l.answers("POST /v1/history/search of auditor"), []string{"phone", "snils", "name", "birth_date", "data"}},
		"the previews":        {l.answers("/preview of loader"), []string{"data"}},
	} {
		found := map[string]bool{}
		l.finder.search(seen.text, func(n *needle, _ int) { found[fmt.Sprint(n.canary, n.what)] = true })
		for i := range l.canaries {
			for _, what := range seen.what {
				if !found[fmt.Sprint(i, what)] {
					l.t.Errorf("the %s of canary %d is not found in %s, where it is", what, i+1, name)
				}
			}
		}
	}
	for name, words := range map[string]string{"hub.log": `"level":"DEBUG"`, "postgres/postgres.log": "parameters: $1", "/position": "journal ", "answer 401": "",
		"table public.rejections as binary": "PGCOPY", "table public.inbound_messages as text": "\\x", "pg_wal": "", "table pg_stat_activity as text": "ekc ", "/metrics": "ekc_"} {
		if !slices.ContainsFunc(l.places, func(p place) bool {
			return strings.Contains(p.name, name) && len(p.text) > 0 && bytes.Contains(p.text, []byte(words))
		}) {
			l.t.Errorf("%s with %q was not searched", name, words)
		}
	}
}

func (l *leak) answers(of string) (all []byte) {
	for _, p := range l.places {
		if strings.HasSuffix(p.name, of) {
			all = append(all, p.text...)
		}
	}
	return all
}
