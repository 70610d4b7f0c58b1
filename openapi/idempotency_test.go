package openapi

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"ekc/dispatch"
	"ekc/journal"
)

const stopBody = `{"scope":"channel","target":"sms","reason":"проверка связи"}`

func TestARepeatWithTheSameKeyHappensOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.key("engineer", "", journal.RoleDutyEngineer)
	other := w.key("engineer-2", "", journal.RoleDutyEngineer)
	first := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k1")
	again := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k1")
	if first.status != 201 || again.status != 201 || first.body != again.body || w.stops.count() != 1 {
		t.Fatalf("%d %q, then %d %q; %d stops", first.status, first.body, again.status, again.body, w.stops.count())
	}
	if again.header.Get("Idempotency-Replayed") != "true" || first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers: %v", again.header)
	}
	w.wants(w.do(key, "POST", "/v1/stops", strings.Replace(stopBody, "sms", "voice", 1), "Idempotency-Key", "k1"), 409, CodeKeyReused)
	if r := w.do(other, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k1"); r.status != 201 || w.stops.count() != 2 {
		t.Errorf("the same key of another account: %d, %d stops", r.status, w.stops.count())
	}
	if r := w.do(key, "POST", "/v1/stops", stopBody); r.status != 201 || w.stops.count() != 3 {
		t.Errorf("without a key: %d, %d stops", r.status, w.stops.count())
	}
	w.clock.move(7*24*time.Hour + time.Minute)
	if r := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k1"); r.status != 201 || w.stops.count() != 4 {
		t.Errorf("after seven days: %d, %d stops", r.status, w.stops.count())
	}
	var plain int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM idempotency_keys WHERE octet_length(digest) <> 16`).Scan(&plain); err != nil || plain != 0 {
		t.Errorf("%d rows without a keyed digest, %v", plain, err)
	}
}

// blockingStops lets the first call wait, and can be made to fail.
type blockingStops struct {
	fakeStops
	entered, leave chan struct{}
	fail           error
}

func (b *blockingStops) SetStop(ctx context.Context, p journal.Principal, scope dispatch.StopScope, target, reason string) (int64, error) {
	if b.entered != nil {
		b.entered <- struct{}{}
		<-b.leave
	}
	if b.fail != nil {
		err := b.fail
		b.fail = nil
		return 0, err
	}
	return b.fakeStops.SetStop(ctx, p, scope, target, reason)
}

func TestASecondOneMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	stops := &blockingStops{entered: make(chan struct{}), leave: make(chan struct{})}
	w := newWorld(t, func(_ *Config, d *Deps) { d.Doors.Stops = stops })
	key := w.key("engineer", "", journal.RoleDutyEngineer)
	var wg sync.WaitGroup
	var first reply
	wg.Go(func() { first = w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k") })
	<-stops.entered
	r := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k")
	w.wants(r, 409, CodeInProgress)
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.wants(w.do(key, "POST", "/v1/stops", strings.Replace(stopBody, "sms", "voice", 1), "Idempotency-Key", "k"), 409, CodeKeyReused)
	close(stops.leave)
	wg.Wait()
	if r := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k"); first.status != 201 || r.body != first.body || stops.count() != 1 {
		t.Errorf("first %d, then %d %s, %d stops", first.status, r.status, r.body, stops.count())
	}
}

func TestAFailedCallMayBeTriedAgainAndAnAbandonedOneToo(t *testing.T) {
	t.Parallel()
	stops := &blockingStops{fail: context.DeadlineExceeded}
	w := newWorld(t, func(_ *Config, d *Deps) { d.Doors.Stops = stops })
	key := w.key("engineer", "", journal.RoleDutyEngineer)
	w.wants(w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k"), 503, CodeUnavailable)
	if r := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k"); r.status != 201 {
		t.Errorf("after a failure: %d %s", r.status, r.body)
	}
	// A process that died while it worked leaves its row under way.
	if _, err := w.db.Exec(t.Context(), `UPDATE idempotency_keys SET status = NULL, answer = NULL, at = $1`, w.clock.now()); err != nil {
		t.Fatal(err)
	}
	w.wants(w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k"), 409, CodeInProgress)
	w.clock.move(abandonedAfter + time.Second)
	if r := w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "k"); r.status != 201 || stops.count() != 2 {
		t.Errorf("abandoned: %d %s", r.status, r.body)
	}
	refused := w.do(key, "POST", "/v1/stops", `{"scope":"all","target":"x","reason":"проверка"}`, "Idempotency-Key", "bad")
	again := w.do(key, "POST", "/v1/stops", `{"scope":"all","target":"x","reason":"проверка"}`, "Idempotency-Key", "bad")
	if refused.status != 422 || again.body != refused.body || again.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a refusal is an answer too: %d %s, then %s", refused.status, refused.body, again.body)
	}
}

func TestAKeysSecretIsNotKeptForARepeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.key("chief", "", journal.RoleSecurityAdmin)
	w.key("clerk", agencyA, journal.RoleListLoader)
	r := w.do(admin, "POST", "/v1/keys", `{"login":"clerk"}`, "Idempotency-Key", "k")
	var made createdKey
	r.into(t, &made)
	w.wants(w.do(admin, "POST", "/v1/keys", `{"login":"clerk"}`, "Idempotency-Key", "k"), 409, CodeShownOnce)
	var kept []byte
	if err := w.db.QueryRow(t.Context(), `SELECT coalesce(answer, '') FROM idempotency_keys`).Scan(&kept); err != nil || len(kept) != 0 {
		t.Errorf("kept %q, %v", kept, err)
	}
	if r := w.do(made.Secret, "GET", "/v1/whoami", nil); r.status != 200 {
		t.Errorf("the key does not work: %s", r.body)
	}
	var page Page[Key]
	w.do(admin, "GET", "/v1/keys?login=clerk", nil).into(t, &page)
	if b, _ := json.Marshal(page); len(page.Items) != 2 || strings.Contains(string(b), made.Secret[len(made.Secret)-52:]) {
		t.Errorf("keys: %s", b)
	}
}

func TestOldAnswersAreSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.key("engineer", "", journal.RoleDutyEngineer)
	w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "old")
	w.clock.move(7*24*time.Hour + time.Minute)
	w.do(key, "POST", "/v1/stops", stopBody, "Idempotency-Key", "new")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.server.sweep(ctx) }()
	for {
		var left []string
		if err := w.db.QueryRow(t.Context(), `SELECT array_agg(key) FROM idempotency_keys`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if len(left) == 1 && left[0] == "new" {
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("left: %v", left)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	<-done
}
