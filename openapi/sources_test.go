package openapi

import (
	"context"
	"testing"

	"ekc/journal"
)

// stoppedFeed is a feed whose one source is stopped until somebody resumes it.
type stoppedFeed struct{ resumed []string }

func (f *stoppedFeed) FeedLinks(context.Context) ([]Link, error) {
	return []Link{{Name: "mse.notification-lists.v1", Kind: "kafka", Pool: "mse", State: "down", Stopped: true}}, nil
}

func (f *stoppedFeed) Resume(_ context.Context, p journal.Principal, source string) (bool, error) {
	stopped := len(f.resumed) == 0
	f.resumed = append(f.resumed, p.Account+" "+source)
	return stopped, nil
}

func TestAStoppedSourceIsShownAndResumedByWhoMay(t *testing.T) {
	t.Parallel()
	feed := &stoppedFeed{}
	w := newWorld(t, func(_ *Config, d *Deps) { d.Doors.Feed = feed })
	if err := w.server.doors.Lists.HoldSource(t.Context(), "mse", "transactions"); err != nil {
		t.Fatal(err)
	}
	engineer := w.key("engineer", "", journal.RoleDutyEngineer)
	var page Page[Source]
	w.do(engineer, "GET", "/v1/sources", "").into(t, &page)
	seen := 0
	for _, s := range page.Items {
		if held := s.Code == "mse"; held != (s.Held == "transactions") || held != (len(s.Links) == 1) {
			t.Errorf("%+v", s)
		}
		seen++
	}
	if seen < 4 {
		t.Errorf("%d sources", seen)
	}
	w.wants(w.do(w.key("loader", agencyA, journal.RoleListLoader), "POST", "/v1/sources/mse/resume", ""), 403, "forbidden")
	w.wants(w.do(engineer, "POST", "/v1/sources/nobody/resume", ""), 404, CodeNotFound)
	if r := w.do(engineer, "POST", "/v1/sources/mse/resume", ""); r.status != 204 {
		t.Errorf("got %d: %s", r.status, r.body)
	}
	w.wants(w.do(engineer, "POST", "/v1/sources/mse/resume", ""), 409, CodeNotStopped)
	if len(feed.resumed) != 2 || feed.resumed[0] != "engineer mse" {
		t.Errorf("resumed: %v", feed.resumed)
	}
}
