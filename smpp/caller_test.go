package smpp_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"ekc/smpp"
	"ekc/smpp/smpptest"
)

// caller is the link's caller in a test: it keeps what it is told, and waits for what a test expects.
type caller struct {
	t *testing.T
	*smpp.Link
	stop  context.CancelFunc
	ended chan struct{}
	err   error

	mu       sync.Mutex
	changed  chan struct{} // closed and renewed at each news
	results  []smpp.SegmentResult
	receipts []smpp.Receipt
	messages []smpp.Incoming
	states   []smpp.BindState
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// start runs a link to srv until the test ends. change may set fields of the configuration and handlers of its own.
func start(t *testing.T, srv *smpptest.Server, change func(*smpp.Config, *smpp.Handlers)) *caller {
	t.Helper()
	c := &caller{t: t, ended: make(chan struct{}), changed: make(chan struct{})}
	cfg := smpp.Config{Name: "smsc", Addr: srv.Addr(), SystemID: "ekc", Password: "secret", Window: 100, ResponseTimeout: 10 * time.Second}
	h := smpp.Handlers{
		Results: func(r []smpp.SegmentResult) { c.news(func() { c.results = append(c.results, r...) }) },
		Receipts: func(r []smpp.Receipt, done func(error)) {
			c.news(func() { c.receipts = append(c.receipts, r...) })
			done(nil)
		},
		Messages: func(m []smpp.Incoming, done func(error)) {
			c.news(func() { c.messages = append(c.messages, m...) })
			done(nil)
		},
		State: func(s smpp.BindState) { c.news(func() { c.states = append(c.states, s) }) },
	}
	if change != nil {
		change(&cfg, &h)
	}
	c.Link = smpp.NewLink(cfg, h, slog.New(slog.DiscardHandler), time.Now)
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() {
		c.err = c.Run(ctx)
		close(c.ended)
	}()
	t.Cleanup(func() {
		stop()
		<-c.ended
	})
	binds := max(cfg.Binds, 1)
	if cfg.Bind == smpp.TXRX {
		binds *= 2
	}
	c.wait("bind", func() bool { return c.count(smpp.Bound) >= binds })
	return c
}

func (c *caller) news(add func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add()
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns once ok holds; ok is asked with the lock held.
func (c *caller) wait(what string, ok func() bool) {
	c.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		c.mu.Lock()
		good, changed := ok(), c.changed
		c.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			c.t.Fatalf("waited in vain for: %s (stats %+v)", what, c.Stats())
		}
	}
}

func (c *caller) count(p smpp.Phase) (n int) {
	for _, s := range c.states {
		if s.Phase == p {
			n++
		}
	}
	return n
}

// waitResults waits for n results and returns them.
func (c *caller) waitResults(n int) []smpp.SegmentResult {
	c.t.Helper()
	c.wait(fmt.Sprintf("%d results", n), func() bool { return len(c.results) >= n })
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]smpp.SegmentResult(nil), c.results...)
}

// send gives all messages to the link, as many at a time as it has room for.
func (c *caller) send(messages []smpp.Message) {
	c.t.Helper()
	late := time.After(patience)
	for len(messages) > 0 {
		n := 0
		for room := c.Room(); n < len(messages) && room > 0; n++ {
			_, segments := smpp.Segments(messages[n].Text)
			room -= segments
		}
		c.Start(messages[:n])
		messages = messages[n:]
		if n == 0 {
			select {
			case <-late:
				c.t.Fatal("no room")
			case <-time.After(time.Millisecond):
			}
		}
	}
}

func message(id uint64, code smpptest.Code, text string) smpp.Message {
	return smpp.Message{
		ID: id, From: smpp.Address{TON: 5, Addr: "EKC"}, RegisteredDelivery: true, Text: text,
		To: smpp.Address{TON: 1, NPI: 1, Addr: smpptest.Number(int(id)%100, code)},
	}
}

func messages(n int, code smpptest.Code, text string) []smpp.Message {
	all := make([]smpp.Message, n)
	for i := range all {
		all[i] = message(uint64(i+1), code, fmt.Sprint(text, " ", i+1))
	}
	return all
}

// verdicts counts first results by verdict, and fails on a segment with two of them.
func verdicts(t *testing.T, results []smpp.SegmentResult) map[smpp.Verdict]int {
	t.Helper()
	type key struct {
		id      uint64
		segment int
	}
	seen, n := map[key]bool{}, map[smpp.Verdict]int{}
	for _, r := range results {
		if r.Late {
			continue
		}
		k := key{r.ID, r.Segment}
		if seen[k] {
			t.Errorf("message %d segment %d has two results", r.ID, r.Segment)
		}
		seen[k] = true
		n[r.Verdict]++
	}
	return n
}

// waitServer waits until the SMS centre's counts are as they should be.
func waitServer(t *testing.T, srv *smpptest.Server, what string, ok func(smpptest.Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Wait(ctx, ok); err != nil {
		t.Fatalf("%s: %v (%+v)", what, err, srv.Stats())
	}
}
