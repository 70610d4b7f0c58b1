package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"ekc/journal"
)

func TestHealthAndReadinessSayWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Check("database", func(ctx context.Context) error { return w.db.Ping(ctx) })
	var h health
	w.do("", "GET", "/healthz", nil).into(t, &h)
	if h.Status != "ok" || h.Version != "1.2.3" || h.Config != "abc" {
		t.Errorf("%+v", h)
	}
	var ready readiness
	w.do("", "GET", "/readyz", nil).into(t, &ready)
	if ready.Status != "ready" || len(ready.Checks) != 1 || !ready.Checks[0].OK {
		t.Errorf("%+v", ready)
	}
	w.server.Check("pool main", func(context.Context) error { return errors.New("held by nobody") })
	r := w.do("", "GET", "/readyz", nil)
	if err := json.Unmarshal([]byte(r.body), &ready); err != nil || r.status != 503 || ready.Status != "not_ready" || !ready.Checks[0].OK || ready.Checks[1].Reason != "held by nobody" {
		t.Errorf("%d %+v %v", r.status, ready, err)
	}
}

func TestMetricsHaveClosedLabelsFromTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.key("loader", agencyA, journal.RoleListLoader)
	series := func() map[string]bool {
		names := make(map[string]bool)
		for _, line := range strings.Split(w.do("", "GET", "/metrics", nil).body, "\n") {
			if end := strings.LastIndexByte(line, ' '); end > 0 && strings.HasPrefix(line, "ekc_http") {
				names[line[:end]] = true
			}
		}
		return names
	}
	before := series()
	for _, path := range []string{"/v1/lists/79035550199", "/79035550199", "/v1/lists?x=79035550199", "/v1/lists", "/healthz"} {
		w.do(key, "GET", path, nil)
		w.do("", "PURGE", path, nil)
	}
	after := series()
	if len(before) < 100 || !before[`ekc_http_request_seconds_count{class="2xx",route="GET /v1/lists/{id}"}`] {
		t.Errorf("%d series at the start", len(before))
	}
	for name := range after {
		if !before[name] {
			t.Errorf("a series that was not there at the start: %s", name)
		}
		if regexp.MustCompile(`\d{6}`).MatchString(name) {
			t.Errorf("a value in a label: %s", name)
		}
	}
}

func TestServeLetsRequestsFinishAndStops(t *testing.T) {
	t.Parallel()
	stops := &blockingStops{entered: make(chan struct{}), leave: make(chan struct{})}
	w := newWorld(t, func(c *Config, d *Deps) { d.Doors.Stops = stops; c.DrainTimeout = 10 * time.Second })
	key := w.key("engineer", "", journal.RoleDutyEngineer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.url = "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, listener) }()
	answered := make(chan reply, 1)
	go func() { answered <- w.do(key, "POST", "/v1/stops", stopBody) }()
	<-stops.entered
	stop()
	stops.leave <- struct{}{}
	if r := <-answered; r.status != 201 {
		t.Errorf("under way at the stop: %d %s", r.status, r.body)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := http.Get(w.url + "/healthz"); err == nil {
		t.Error("it still answers")
	}
}

func TestCatalogueIsReadByKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.key("loader", agencyA, journal.RoleListLoader)
	for _, kind := range []string{"life_events", "measures", "agencies", "offices", "sources", "templates", "rules", "states"} {
		var all, first Page[map[string]any]
		w.do(key, "GET", "/v1/catalog/"+kind+"?limit=500", nil).into(t, &all)
		if len(all.Items) == 0 || all.Items[0]["code"] == "" || all.Items[0]["title"] == "" {
			t.Errorf("%s: %+v", kind, all)
			continue
		}
		seen, after := 0, ""
		for range 500 {
			first = Page[map[string]any]{}
			w.do(key, "GET", "/v1/catalog/"+kind+"?limit=7&after="+after, nil).into(t, &first)
			seen += len(first.Items)
			if after = first.Next; after == "" {
				break
			}
		}
		if seen != len(all.Items) {
			t.Errorf("%s: %d by pages, %d at once", kind, seen, len(all.Items))
		}
		code, _ := all.Items[0]["code"].(string)
		var one map[string]any
		w.do(key, "GET", "/v1/catalog/"+kind+"/"+code, nil).into(t, &one)
		if one["code"] != code {
			t.Errorf("%s/%s: %v", kind, code, one)
		}
	}
	w.wants(w.do(key, "GET", "/v1/catalog/states/none.such", nil), 404, CodeNotFound)
	var state map[string]any
	w.do(key, "GET", "/v1/catalog/states/notification.delivered", nil).into(t, &state)
	if title, _ := state["title"].(string); !strings.ContainsAny(title, "абвгдежз") {
		t.Errorf("%v", state)
	}
}
