package sms_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/dispatch/sms"
	"ekc/smpp/smpptest"
)

// lenientDesk lets everything through and counts what comes back.
type lenientDesk struct {
	mu       sync.Mutex
	withheld int
}

func (d *lenientDesk) MayWrite() bool                 { return true }
func (d *lenientDesk) Allowed(*dispatch.Attempt) bool { return true }
func (d *lenientDesk) Stopped(string) bool            { return false }
func (d *lenientDesk) Report(dispatch.LinkState)      {}

func (d *lenientDesk) Receipts(_ []dispatch.Receipt, done func(error)) { done(nil) }

func (d *lenientDesk) Settle(results []dispatch.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range results {
		if results[i].Verdict == dispatch.VerdictWithheld {
			d.withheld++
		}
	}
}

// TestSMSCThatDoesNotAnswerHoldsNoMoreThanItsShare: what one link holds is taken from what the whole pool may have unrecorded; beyond its
// share the others would have nothing left.
func TestSMSCThatDoesNotAnswerHoldsNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	smsc := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.Latency = time.Hour }))
	link := smscLink("smsc-1", smsc.Addr())
	link.Unrecorded, link.SMPP.ResponseTimeout = 8, time.Hour
	desk := &lenientDesk{}
	ch := sms.Open(sms.Config{Links: []sms.Link{link}, Log: slog.New(slog.DiscardHandler)})(desk)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ch.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); ch.Room() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the link is not bound")
		}
	}
	phone, err := citizen.ParsePhone("+79101000101")
	if err != nil {
		t.Fatal(err)
	}
	attempts := func(n int, single bool) (all []*dispatch.Attempt) {
		for range n {
			all = append(all, &dispatch.Attempt{To: phone, Text: "СФР: проверка", Single: single})
		}
		return all
	}
	for _, step := range []struct {
		what           string
		n              int
		single         bool
		withheld, room int
	}{
		{"a list may have three quarters of the share", 20, false, 14, 2},
		{"and no more of it", 1, false, 15, 2},
		{"single messages have the rest", 3, true, 16, 0},
	} {
		ch.Start(attempts(step.n, step.single))
		desk.mu.Lock()
		if desk.withheld != step.withheld || ch.Room() != step.room {
			t.Errorf("%s: %d came back so far, room %d; want %d and %d", step.what, desk.withheld, ch.Room(), step.withheld, step.room)
		}
		desk.mu.Unlock()
	}
}
