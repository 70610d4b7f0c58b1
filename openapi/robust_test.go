package openapi

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"ekc/journal"
)

// Whatever is sent, the answer is one the document describes and never a fault of ours.
func TestNothingSentIsAnsweredByAFault(t *testing.T) {
	t.Parallel()
	f := newTold(t)
	doc := load(t, f.server.Document())
	keys := make(map[journal.Role]string)
	keyFor := func(operation string) string {
		for _, role := range append([]journal.Role{journal.RoleAuditor}, table[operation].roles...) {
			if !table[operation].allows(journal.Principal{Roles: []journal.Role{role}}) || role == journal.RoleSourceSystem {
				continue
			}
			if keys[role] == "" {
				agency := agencyA
				if checkRoles(NewAccount{Kind: Person, Roles: []journal.Role{role}}) == nil {
					agency = ""
				}
				keys[role] = f.key("r-"+strings.ReplaceAll(string(role), "_", "-"), agency, role)
			}
			return keys[role]
		}
		t.Fatalf("no role for %s", operation)
		return ""
	}
	values := []string{"0", "-1", "99999999999999999999", "1e9", "x", strings.Repeat("x", 5000), "\xff\xfe", "a\x00b", "'; DROP TABLE lists", "Ж", "%", "..", "true", "2026-13-45", "Y2Fy"}
	bodies := []string{"", "null", "[]", `"x"`, "{}", `{"a":`, `{"reason":"a\u0000b"}`, `{"login":"a\u0000b"}`, "{\"reason\":\"\xff\xfe\xfd\"}", strings.Repeat("[", 20000), `{"roles":[null]}`,
		`{"scope":"template","target":"a\u0000b","reason":"проверка"}`, `{"expected":{"accepted":1e400}}`, `{"rows":[{"phone":"a\u0000b","text":"\u0000"}]}`,
		`{"full_name":"a\u0000b","birth_date":"1950-01-01","purpose":{"code":"complaint","reference":"a\u0000b"}}`, `{"phone":"\u0000"}`}
	check := func(name string, op *openapi3.Operation, r reply) {
		t.Helper()
		if r.status >= 500 && r.status != 501 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
			return
		}
		documented := op.Responses.Status(r.status)
		if documented == nil {
			if r.status != 405 && r.status != 501 && r.status != 307 && r.status != 301 {
				t.Errorf("%s: %d is not in the document", name, r.status)
			}
			return
		}
		media := documented.Value.Content.Get(r.header.Get("Content-Type"))
		if media == nil || !strings.Contains(r.header.Get("Content-Type"), "json") {
			return
		}
		var v any
		if err := json.Unmarshal([]byte(r.body), &v); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if err := media.Schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %d is not what the document says: %v: %s", name, r.status, err, r.body)
		}
	}
	real := strings.NewReplacer("{id}", f.ref.ID, "{kind}", "states", "{code}", "list.ready", "{login}", "loader")
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.OperationID == "followList" {
				continue
			}
			key, base := keyFor(op.OperationID), real.Replace(path)
			if strings.HasPrefix(path, "/v1/notifications/") {
				base = strings.Replace(path, "{id}", f.ids[0].String(), 1)
			}
			name := method + " " + path
			if method == "GET" {
				check(name, op, f.do(key, method, base, nil))
			}
			for _, p := range op.Parameters {
				for _, value := range values {
					label := name + " " + p.Value.Name + "=" + value[:min(len(value), 12)]
					switch p.Value.In {
					case "query":
						check(label, op, f.do(key, method, base+"?"+p.Value.Name+"="+url.QueryEscape(value), nil))
					case "path":
						if value != ".." {
							check(label, op, f.do(key, method, strings.Replace(path, "{"+p.Value.Name+"}", url.PathEscape(value), 1), nil))
						}
					}
				}
			}
			if op.RequestBody == nil {
				continue
			}
			for _, body := range bodies {
				check(name+" "+body[:min(len(body), 40)], op, f.do(key, method, base, []byte(body)))
				check(name+" form", op, f.do(key, method, base, []byte(body), "Content-Type", "multipart/form-data; boundary=x"))
			}
		}
	}
}
