package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
)

func TestEveryCodeHasBothSentences(t *testing.T) {
	t.Parallel()
	for code, s := range sentences {
		if s.status < 400 || s.status > 599 || s.ru == "" || s.en == "" || problem(code).Title == "" {
			t.Errorf("%s: %+v", code, s)
		}
	}
}

func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	secret := errors.New("Иванов +79031234567")
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   Code
		told   bool
	}{
		{"a problem stays", fmt.Errorf("find: %w", problem(CodeNotFound)), 404, CodeNotFound, true},
		{"ingest: invalid", fmt.Errorf("x: %w", &ingest.Fault{Kind: ingest.FaultInvalid, Code: "empty_file", Detail: "Файл пустой."}), 422, "empty_file", true},
		{"ingest: too large", &ingest.Fault{Kind: ingest.FaultTooLarge, Code: "file_too_large"}, 413, "file_too_large", true},
		{"ingest: forbidden", &ingest.Fault{Kind: ingest.FaultForbidden, Code: "own_list"}, 403, "own_list", true},
		{"ingest: not found", &ingest.Fault{Kind: ingest.FaultNotFound, Code: "list_not_found"}, 404, "list_not_found", true},
		{"ingest: conflict", &ingest.Fault{Kind: ingest.FaultConflict, Code: "list_state"}, 409, "list_state", true},
		{"no row", fmt.Errorf("x: %w", pgx.ErrNoRows), 404, CodeNotFound, true},
		{"database slow", fmt.Errorf("x: %w", context.DeadlineExceeded), 503, CodeUnavailable, false},
		{"anything else", secret, 500, CodeInternal, false},
	} {
		p, told := problemOf(c.err)
		if p.Status != c.status || p.Code != c.code || told != c.told {
			t.Errorf("%s: %d %s told %t", c.name, p.Status, p.Code, told)
		}
		for _, language := range []string{"ru", "en"} {
			if s := p.speak(language, "r"); strings.Contains(s.Detail+fmt.Sprint(s.Errors), "Иванов") {
				t.Errorf("%s: repeats the error: %+v", c.name, s)
			}
		}
	}
}

func TestTheLanguageOfDetail(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"": false, "ru": true, "ru-RU,ru;q=0.9,en;q=0.8": true, "en-US,en;q=0.9,ru;q=0.5": false, "de, ru;q=0.3": true, "ru;q=0": false,
		"RU": true, "*": false, "ru;q=x": false, "en;q=0.5, ru;q=0.5": true,
	} {
		if got := wantsRussian(header); got != want {
			t.Errorf("%q: %t", header, got)
		}
	}
}

// A value of each kind is put into every place it can be refused at; no answer and no line of log repeats it.
func TestRefusedValuesAreNeverRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.key("chief", "", journal.RoleSecurityAdmin)
	auditor := w.key("auditor", "", journal.RoleAuditor)
	loader := w.key("loader", agencyA, journal.RoleListLoader)
	approver := w.key("approver", agencyA, journal.RoleListApprover)
	engineer := w.key("engineer", "", journal.RoleDutyEngineer)
	const canary = "79035550199"
	json := func(s string) string { return strings.ReplaceAll(s, "CANARY", canary) }
	for _, c := range []struct {
		name, key, method, path string
		body                    any
		status                  int
		header                  []string
	}{
		{"property of the wrong type", admin, "POST", "/v1/accounts", json(`{"login":{"CANARY":1},"kind":"person","roles":["auditor"]}`), 422, nil},
		{"value outside a list", admin, "POST", "/v1/accounts", json(`{"login":"abc","kind":"CANARY","roles":["auditor"]}`), 422, nil},
		{"pattern", admin, "POST", "/v1/accounts", json(`{"login":"+CANARY","kind":"person","roles":["auditor"]}`), 422, nil},
		{"unknown property", admin, "POST", "/v1/accounts", json(`{"login":"abc","kind":"person","roles":["auditor"],"CANARY":1}`), 422, nil},
		{"unknown role", admin, "POST", "/v1/accounts", json(`{"login":"abc","kind":"person","roles":["CANARY"]}`), 422, nil},
		{"not JSON", admin, "POST", "/v1/accounts", canary + "{", 400, nil},
		{"bad time", admin, "POST", "/v1/keys", json(`{"login":"chief","expires_at":"CANARY"}`), 422, nil},
		{"unknown query parameter", auditor, "GET", "/v1/history?" + canary + "=1", nil, 422, nil},
		{"query value", auditor, "GET", "/v1/history?from=" + canary, nil, 422, nil},
		{"number", auditor, "GET", "/v1/history?limit=" + canary + "x", nil, 422, nil},
		{"cursor", auditor, "GET", "/v1/history?after=" + canary, nil, 422, nil},
		{"path", loader, "GET", "/v1/lists/" + canary, nil, 422, nil},
		{"unknown path", loader, "GET", "/v1/" + canary, nil, 404, nil},
		{"unknown path by another method", loader, "DELETE", "/" + canary, nil, 404, nil},
		{"no purpose", auditor, "POST", "/v1/history/search", json(`{"phone":"CANARY"}`), 422, nil},
		{"a person in the purpose", auditor, "POST", "/v1/history/search", json(`{"phone":"CANARY","purpose":{"code":"complaint","reference":"CANARY"}}`), 422, nil},
		{"search by what is no phone", auditor, "POST", "/v1/history/search", json(`{"phone":"CANARY CANARY","purpose":{"code":"complaint","reference":"1"}}`), 422, nil},
		{"no person in the lists of an agency", loader, "POST", "/v1/notifications/search", json(`{"snils":"CANARY","purpose":{"code":"complaint","reference":"1"}}`), 422, nil},
		{"rows of the wrong type", loader, "POST", "/v1/lists", json(`{"rows":[{"phone":CANARY}]}`), 422, nil},
		{"data of the wrong type", loader, "POST", "/v1/lists", json(`{"rows":[{"phone":"CANARY","data":{"CANARY":5}}]}`), 422, nil},
		{"unknown field of a row", loader, "POST", "/v1/lists", json(`{"rows":[{"CANARY":"CANARY"}]}`), 422, nil},
		{"bad day of a list", loader, "POST", "/v1/lists", json(`{"valid_until":"CANARY","rows":[{"phone":"CANARY"}]}`), 422, nil},
		{"content type", loader, "POST", "/v1/lists", canary, 415, []string{"Content-Type", "text/" + canary}},
		{"long key", admin, "POST", "/v1/accounts", json(`{"login":"abc","kind":"person","roles":["auditor"]}`), 422, []string{"Idempotency-Key", strings.Repeat(canary, 30)}},
		{"a phone in the reason of a stop", engineer, "POST", "/v1/stops", json(`{"scope":"all","reason":"просил CANARY не звонить"}`), 422, nil},
		{"a phone in the target of a stop", engineer, "POST", "/v1/stops", json(`{"scope":"template","target":"CANARY","reason":"проверка"}`), 422, nil},
		{"a phone in the reason of a refusal", approver, "POST", "/v1/lists/6b9d6bcd-8f0f-4d2c-9c41-4c3c8f6a0001/refuse", json(`{"reason":"номер CANARY неверен"}`), 422, nil},
		{"a phone in the reason of a cancel", approver, "POST", "/v1/lists/6b9d6bcd-8f0f-4d2c-9c41-4c3c8f6a0001/cancel", json(`{"reason":"номер CANARY неверен"}`), 422, nil},
		{"a landline for a test sending", loader, "POST", "/v1/lists/6b9d6bcd-8f0f-4d2c-9c41-4c3c8f6a0001/test-send", json(`{"phone":"CANARY","row":0}`), 422, nil},
		{"a kind that is none", auditor, "GET", "/v1/history?kind=" + canary, nil, 422, nil},
		{"an actor that is none", auditor, "GET", "/v1/history?actor=" + canary, nil, 422, nil},
		{"bearer", canary, "GET", "/v1/whoami", nil, 401, nil},
	} {
		for _, language := range []string{"ru", "en"} {
			r := w.do(c.key, c.method, c.path, c.body, append([]string{"Accept-Language", language}, c.header...)...)
			p := r.problem(t)
			if r.status != c.status || p.Detail == "" || p.RequestID == "" || p.RequestID != r.header.Get("X-Request-Id") || p.Type != "about:blank" {
				t.Errorf("%s: %d %s", c.name, r.status, r.body)
			}
			if strings.Contains(r.body, canary) || strings.Contains(fmt.Sprint(r.header), canary) {
				t.Errorf("%s: repeated: %s", c.name, r.body)
			}
			if isRussian := strings.ContainsAny(p.Detail, "абвгдежзиклмнопрст"); isRussian != (language == "ru") {
				t.Errorf("%s in %s: %q", c.name, language, p.Detail)
			}
		}
	}
	if log := w.log.String(); strings.Contains(log, canary) || !strings.Contains(log, `"route":"POST /v1/accounts"`) || !strings.Contains(log, `"account":"chief"`) {
		t.Errorf("the log repeats what was sent, or says too little:\n%.2000s", log)
	}
}

func TestValidatorsMessagesAreKeptOnlyWhereTheyAreOurs(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		`expected value to be one of "a, b"`:                               `expected value to be one of "a, b"`,
		"expected string to be RFC 4122 uuid: invalid UUID length: secret": "expected string to be RFC 4122 uuid",
		"expected required property login to be present":                   "expected required property login to be present",
		"invalid character 's' looking for beginning of value":             "the value does not fit",
		`parsing time "secret" as "2006"`:                                  "the value does not fit",
		"invalid integer":                                                  "invalid integer",
	} {
		if got := safeMessage(message); got != want {
			t.Errorf("%q: got %q", message, got)
		}
	}
	known := map[string]bool{"body": true, "rows": true, "phone": true}
	for location, want := range map[string]string{
		"body.rows[3].phone": "body.rows[3].phone", "body.rows[3].+7903": "body.rows[3].*", "body.Иванов": "body.*", "": "", "body.rows[x].phone": "body.*.phone",
	} {
		if got := safeLocation(location, known); got != want {
			t.Errorf("%q: got %q", location, got)
		}
	}
}

func TestOtherMethodsAndBodiesAreRefusedInForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, _ *Deps) { c.BodyLimit = 2000 })
	admin := w.key("chief", "", journal.RoleSecurityAdmin)
	r := w.do(admin, "DELETE", "/v1/accounts", nil)
	w.wants(r, http.StatusMethodNotAllowed, CodeMethod)
	if got := r.header.Get("Allow"); got != "GET, POST" {
		t.Errorf("Allow: %q", got)
	}
	w.wants(w.do(admin, "POST", "/v1/accounts", `{"title":"`+strings.Repeat("x", 3000)+`"}`), 413, CodeTooLarge)
	w.wants(w.do(admin, "POST", "/v1/accounts", ""), 400, CodeMalformed)
	for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "X-Request-Id"} {
		if r.header.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if r := w.do("", "GET", "/v1/whoami", nil); r.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
}

func TestAPanicIsAnsweredAndSaysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.mux.HandleFunc("GET /panics", func(http.ResponseWriter, *http.Request) { panic("Иванов +79035550199") })
	r := w.do("", "GET", "/panics", nil)
	w.wants(r, 500, CodeInternal)
	if log := w.log.String(); !strings.Contains(log, "request handler panicked") || strings.Contains(log, "79035550199") {
		t.Errorf("log: %s", log)
	}
}

func TestNumbersOfPeopleAreFoundInSentences(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"просил не звонить 8 (903) 555-01-99": true,
		"+79035550199": true,
		"СНИЛС 112-233-445 95 указан неверно":         true,
		"Приказ № 17/2026 от 01.02.2026":              false,
		"обращение 2026-0000123":                      false,
		"список 6b9d6bcd-8f0f-4d2c-9c41-4c3c8f6a0001": false,
		"": false,
	} {
		if got := citizen.HoldsPersonal(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
