package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"ekc/journal"
)

var update = flag.Bool("update", false, "rewrite testdata")

func load(t *testing.T, document []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsValidAndWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.do("", "GET", "/openapi.json", nil)
	doc := load(t, []byte(r.body))
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Servers) == 0 {
		t.Errorf("version %s, servers %v", doc.OpenAPI, doc.Servers)
	}
	if strings.Contains(r.body, "$schema") || strings.Contains(r.body, "ErrorModel") {
		t.Error("the document has $schema or huma's own errors")
	}
	seen := make(map[string]bool)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			name := method + " " + path
			seen[op.OperationID] = true
			if op.Summary == "" || len(op.Tags) != 1 || op.Security == nil || len(*op.Security) == 0 {
				t.Errorf("%s: summary %q, tags %v, security %v", name, op.Summary, op.Tags, op.Security)
			}
			if _, ok := table[op.OperationID]; !ok {
				t.Errorf("%s is not in the table of access", name)
			}
			for _, status := range []string{"401", "403", "404", "422", "500", "503"} {
				if res := op.Responses.Value(status); res == nil || res.Value.Content.Get("application/problem+json") == nil {
					t.Errorf("%s does not say what %s looks like", name, status)
				}
			}
			if op.Responses.Value("200") == nil && op.Responses.Value("201") == nil && op.Responses.Value("202") == nil && op.Responses.Value("204") == nil {
				t.Errorf("%s has no success", name)
			}
			asks := regexp.MustCompile(`/(search|check|profile)$`) // whoever only asks leaves no answer behind
			changes := !asks.MatchString(path)
			if method == http.MethodPost && changes && op.Parameters.GetByInAndName("header", "Idempotency-Key") == nil {
				t.Errorf("%s takes no Idempotency-Key", name)
			}
			for _, p := range op.Parameters {
				if regexp.MustCompile(`(?i)phone|snils|name$|birth|text`).MatchString(p.Value.Name) {
					t.Errorf("%s: %s would be in an address", name, p.Value.Name)
				}
			}
		}
	}
	for id := range table {
		if !seen[id] {
			t.Errorf("%s is in the table of access and nowhere else", id)
		}
	}

	var indented bytes.Buffer
	if err := json.Indent(&indented, w.server.Document(), "", "  "); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(golden, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(want), bytes.TrimSpace(indented.Bytes())) {
		t.Error("the contract has changed: look at the difference after `go test ./openapi -run Document -update`")
	}
}

var pathParameter = regexp.MustCompile(`\{[a-z]+\}`)

// address fills the parameters of a path with something that does not exist.
func address(path string) string {
	return pathParameter.ReplaceAllStringFunc(path, func(name string) string {
		switch {
		case name == "{kind}":
			return "measures"
		case strings.HasPrefix(path, "/v1/notifications"):
			return "999999-1"
		case strings.HasPrefix(path, "/v1/keys"), strings.HasPrefix(path, "/v1/stops"):
			return "999999"
		}
		return "6b9d6bcd-8f0f-4d2c-9c41-4c3c8f6a0001"
	})
}

func TestEveryOperationIsClosedToWhoIsNotNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	doc := load(t, w.server.Document())
	keys := make(map[journal.Role]string)
	for _, role := range journal.Roles() {
		agency := agencyA
		if checkRoles(NewAccount{Kind: Person, Roles: []journal.Role{role}}) == nil || role == journal.RoleASVSystem {
			agency = ""
		}
		keys[role] = w.key(strings.ReplaceAll(string(role), "_", "-"), agency, role)
	}
	bare := w.key("bare", agencyA, journal.RoleListLoader)
	if _, err := w.db.Exec(t.Context(), `UPDATE accounts SET roles = '{}' WHERE login = 'bare'`); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			name, url := method+" "+path, address(path)
			w.wants(w.do("", method, url, nil), 401, CodeUnauthorized)
			w.wants(w.do("ekc_live_aaaaaaaaaa_"+strings.Repeat("b", 52), method, url, nil), 401, CodeUnauthorized)
			if r := w.do(bare, method, url, nil); r.status != 403 {
				t.Errorf("%s without any role: %d", name, r.status)
			}
			if op.OperationID == "followList" {
				continue
			}
			for role, key := range keys {
				r := w.do(key, method, url, nil)
				allowed := table[op.OperationID].allows(journal.Principal{Roles: []journal.Role{role}})
				if !allowed && (r.status != 403 || r.problem(t).Code != CodeForbidden) {
					t.Errorf("%s as %s: got %d %s, want 403", name, role, r.status, r.body)
				}
				if allowed && r.status == 401 || r.status >= 500 && r.status != 501 {
					t.Errorf("%s as %s: %d %s", name, role, r.status, r.body)
				}
			}
		}
	}
	var denied int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM journal WHERE kind = 'access.denied'`).Scan(&denied); err != nil || denied == 0 {
		t.Errorf("refusals in the journal: %d, %v", denied, err)
	}
}

func TestAnOperationThatIsNotInTheTableStopsTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	register(w.server, operation{id: "forgotten", method: http.MethodGet, path: "/v1/forgotten", tag: "lists", summary: "x"},
		func(_ context.Context, _ journal.Principal, _ *empty) (*empty, error) { return &empty{}, nil })
	if len(w.server.faults) != 1 {
		t.Errorf("faults: %v", w.server.faults)
	}
	w.wants(w.do("", "GET", "/v1/forgotten", nil), 404, CodeNotFound)
}

func TestTheDocsPageAsksNobodyOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := w.do("", "GET", "/docs", nil)
	if page.status != 200 || !strings.Contains(page.header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", page.status, page.header)
	}
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") {
		t.Errorf("policy %q", policy)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(links) < 4 {
		t.Fatalf("links: %v", links)
	}
	if regexp.MustCompile(`(?i)https?:|//[a-z]`).MatchString(page.body) || strings.Contains(page.body, "<script>") {
		t.Error("the page names a host, or runs a script of its own text")
	}
	for _, link := range links {
		r := w.do("", "GET", link[1], nil)
		if r.status != 200 || len(r.body) < 100 {
			t.Errorf("%s: %d, %d bytes", link[1], r.status, len(r.body))
		}
	}
	if start := w.do("", "GET", "/docs/start.js", nil); regexp.MustCompile(`https?:`).MatchString(start.body) || !strings.Contains(start.body, "validatorUrl: null") {
		t.Error("the page's script would ask somebody outside")
	}
	if r := w.do("", "GET", "/docs/swagger-ui.css", nil, "Accept-Encoding", "identity"); r.header.Get("Content-Encoding") != "" || !strings.Contains(r.body, ".swagger-ui") {
		t.Errorf("without gzip: %v", r.header)
	}
}
