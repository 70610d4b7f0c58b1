package webhook

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ekc/journal"
	"ekc/openapi"
)

func TestDoorOfWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	accounts := openapi.NewAccounts(w.DB, w.Journal, time.Now, openapi.AccountsConfig{})
	server, err := openapi.New(openapi.Config{}, openapi.Deps{DB: w.DB, Accounts: accounts, Journal: w.Journal, Keyring: w.Keyring, Log: quiet,
		Metrics: prometheus.NewRegistry(), Now: time.Now, Doors: openapi.Doors{Lists: w.Lists, Webhooks: w.service()}})
	if err != nil {
		t.Fatal(err)
	}
	key := func(login, agency string, role journal.Role) string {
		kind := openapi.Person
		if role == journal.RoleSourceSystem {
			kind = openapi.Machine
		}
		n := openapi.NewAccount{Login: login, Kind: kind, Agency: agency, Roles: []journal.Role{role}}
		if kind == openapi.Machine {
			n.Source = "mse"
		}
		if _, err := accounts.CreateAccount(t.Context(), journal.System("test"), n); err != nil {
			t.Fatal(err)
		}
		_, secret, err := accounts.CreateKey(t.Context(), journal.System("test"), openapi.NewKey{Login: login})
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	mine, foreign := key("admin", agency, journal.RoleSegmentAdmin), key("foreign", another, journal.RoleSegmentAdmin)
	machine, duty := key("machine", agency, journal.RoleSourceSystem), key("duty", "", journal.RoleDutyEngineer)
	ask := func(key, method, path, body string, wants int, code string) string {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", body+path)
		}
		answer := httptest.NewRecorder()
		server.Handler().ServeHTTP(answer, r)
		text, _ := io.ReadAll(answer.Body)
		if answer.Code != wants || !strings.Contains(string(text), code) {
			t.Fatalf("%s %s: %d %s, want %d %s", method, path, answer.Code, text, wants, code)
		}
		return string(text)
	}
	const good = `{"url":"https://system.example/ekc?to=outcomes"}`
	var made struct {
		ID     int64
		URL    string
		Secret string
		State  string
	}
	if err := json.Unmarshal([]byte(ask(mine, http.MethodPost, "/v1/webhooks", good, 201, "")), &made); err != nil || !strings.HasPrefix(made.Secret, "whsec_") || made.State != "active" {
		t.Fatalf("%+v, %v", made, err)
	}
	ask(mine, http.MethodPost, "/v1/webhooks", good, 409, "shown_once")
	ask(mine, http.MethodPost, "/v1/webhooks", `{"url":"http://system.example/"}`, 422, "webhook_url")
	ask(machine, http.MethodPost, "/v1/webhooks", good, 403, "forbidden")
	ask(duty, http.MethodPost, "/v1/webhooks", good, 403, "forbidden")
	for _, who := range []string{mine, duty} {
		if list := ask(who, http.MethodGet, "/v1/webhooks", "", 200, "system.example"); strings.Contains(list, made.Secret) || strings.Contains(list, "whsec") {
			t.Errorf("the secret is shown again: %s", list)
		}
	}
	if list := ask(foreign, http.MethodGet, "/v1/webhooks", "", 200, ""); strings.Contains(list, "system.example") {
		t.Errorf("another agency sees %s", list)
	}
	ask(foreign, http.MethodDelete, "/v1/webhooks/1", "", 404, "webhook_not_found")
	ask(duty, http.MethodPost, "/v1/webhooks/1/replay", `{}`, 200, `"active"`)
	ask(mine, http.MethodPost, "/v1/webhooks/1/replay", `{"position":99999}`, 422, "webhook_position")
	ask(mine, http.MethodDelete, "/v1/webhooks/1", "", 204, "")
	ask(mine, http.MethodDelete, "/v1/webhooks/1", "", 404, "webhook_not_found")
}
