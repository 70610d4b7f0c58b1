package main

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres/postgrestest"
)

// TestBadInputsGetTheirSentenceByHTTP is about what an operator sees: the status, the stable code, and a sentence in Russian that says
// what to do.
func TestBadInputsGetTheirSentenceByHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, postgrestest.NewURL(t), "EKC_HTTP_UPLOAD_LIMIT_MB=1")
	w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	stranger := w.person("stranger", "0003.000022", journal.RoleListLoader)
	stranger.base = w.url
	nobody := &apiClient{base: w.url, key: "ekc_live_aaaaaaaaaa_bbbbbbbbbb", http: s.loader.http}

	const head = "Телефон;ФИО;Текст\n"
	good := head + "+79001234567;Иванова Мария;СФР: вам положена выплата. Тел. 8-800-100-00-01\n"
	bring := func(c *apiClient, text string, fields map[string]string) (openapi.List, error) {
		all := map[string]string{"name": "список", "life_event": "OP-04"}
		for name, value := range fields {
			all[name] = value
		}
		ref, err := c.submit(t.Context(), "x.csv", strings.NewReader(text), all)
		if err != nil {
			return openapi.List{}, err
		}
		return w.await(s, ref.ID, func(l openapi.List) bool {
			return l.State != string(ingest.Receiving) && l.State != string(ingest.Checking)
		}), nil
	}
	basis := map[string]string{"ordered_by": "письмо 1", "legal_basis.code": "x", "legal_basis.document": "приказ", "legal_basis.date": "2026-01-15"}
	ready, err := bring(s.loader, good, basis)
	if err != nil || ready.State != string(ingest.Ready) {
		t.Fatalf("a good list is %s %s: %v", ready.State, ready.StateReason, err)
	}
	bare, err := bring(s.loader, good+"+79001234568;Петрова Мария;СФР: другое. Тел. 8-800-100-00-01\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	post := func(c *apiClient, list openapi.List, what string) error {
		body := map[string]any{"expected": map[string]any{"accepted": list.Accepted, "digest": list.Digest}}
		if what != "approve" {
			body = nil
		}
		return c.call(t.Context(), http.MethodPost, "/v1/lists/"+list.ID+"/"+what, body, nil)
	}

	for name, c := range map[string]struct {
		do     func() error
		status int
		code   string
	}{
		"wrong key": {func() error { _, err := bring(nobody, good, nil); return err }, 401, "unauthorized"},
		"no key": {func() error {
			return (&apiClient{base: w.url, http: s.loader.http}).call(t.Context(), "GET", "/v1/lists", nil, nil)
		}, 401, "unauthorized"},
		"file over the limit": {func() error {
			_, err := bring(s.loader, head+strings.Repeat("+79001234567;Иванова;текст\n", 60_000), nil)
			return err
		}, 413, ""},
		"another agency's list": {func() error { return stranger.call(t.Context(), "GET", "/v1/lists/"+ready.ID, nil, nil) }, 404, "list_not_found"},
		"unapproved start":      {func() error { return post(s.approver, ready, "resume") }, 409, "list_state"},
		"approve by the loader": {func() error { return post(s.loader, ready, "approve") }, 403, ""},
		"approve without basis": {func() error { return post(s.approver, bare, "approve") }, 409, "no_legal_basis"},
		"approve what changed": {func() error {
			changed := ready
			changed.Accepted++
			return post(s.approver, changed, "approve")
		}, 409, "list_changed"},
		"the same file again": {func() error { _, err := bring(s.loader, good, basis); return err }, 409, "same_file"},
		"unknown template": {func() error {
			_, err := bring(s.loader, good+"\n", map[string]string{"template": "нет такого"})
			return err
		}, 422, "unknown_template"},
		"unknown life event": {func() error {
			_, err := bring(s.loader, good+"\n\n", map[string]string{"life_event": "нет такого"})
			return err
		}, 422, "unknown_life_event"},
	} {
		t.Run(name, func(t *testing.T) {
			var refusal *apiError
			if err := c.do(); !errors.As(err, &refusal) {
				t.Fatalf("not refused: %v", err)
			}
			if refusal.Status != c.status || c.code != "" && string(refusal.Code) != c.code || !russian(refusal.Detail) {
				t.Errorf("%d %s: %s", refusal.Status, refusal.Code, refusal.Detail)
			}
		})
	}

	for name, c := range map[string]struct{ text, reason string }{
		"empty file":             {"", "Файл пустой"},
		"header missing":         {"+79001234567;Иванова\n+79001234568;Петрова\n", "нет строки с названиями столбцов"},
		"no phone column":        {"ФИО;Текст\nИванова;СФР\n", "Нет столбца с телефоном"},
		"5 000-character text":   {head + "+79001234569;Иванова;" + strings.Repeat("я", 5001) + "\n", "Ни одну строку нельзя принять"},
		"nothing under the head": {head, "нет ни одной заполненной строки"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := bring(s.loader, c.text, nil)
			var refusal *apiError
			switch {
			case errors.As(err, &refusal):
				if !strings.Contains(refusal.Detail, c.reason) {
					t.Errorf("refused with: %s", refusal.Detail)
				}
			case err != nil:
				t.Fatal(err)
			case l.State != string(ingest.Rejected) || !strings.Contains(l.StateReason, c.reason):
				t.Errorf("%s: %s", l.State, l.StateReason)
			}
		})
	}
	if n := w.smsc.Stats().Submitted; n != 0 {
		t.Errorf("%d messages left, and nothing was approved", n)
	}
}

func russian(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r >= 'а' && r <= 'я' })
}
