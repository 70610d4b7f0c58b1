package egisso

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/egisso/kafkatest"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
)

// writerTo is a producer of a process of its own.
func writerTo(t *testing.T, b *kafkatest.Broker) *Writer {
	t.Helper()
	client, err := NewClient(Brokers{Addrs: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	writer := NewWriter([]string{b.Addr()}, client.Transport())
	t.Cleanup(func() { _ = writer.Close(); client.Close() })
	return writer
}

func hearTopics(t *testing.T, b *kafkatest.Broker, topics ...string) heard {
	t.Helper()
	var records []Record
	for _, topic := range topics {
		for _, m := range b.Read(t, topic) {
			r := Record{Topic: topic, Key: m.Key, Value: m.Value}
			for _, h := range m.Headers {
				r.Headers = append(r.Headers, Header{Key: h.Key, Value: h.Value})
			}
			records = append(records, r)
		}
	}
	return hear(t, records)
}

// passedOn waits until a list is over and everything in the journal is passed on, with nobody behind.
func (w *world) passedOn(l *ingest.List) {
	w.T.Helper()
	w.AwaitFor(90*time.Second, "everything is passed on", func() bool {
		if w.Get(l.ID).State != ingest.Completed {
			return false
		}
		var unplaced int
		err := w.DB.QueryRow(w.T.Context(), `SELECT count(*) FROM unplaced`).Scan(&unplaced)
		head, err2 := journal.Head(w.T.Context(), w.DB)
		at, err3 := journal.FollowerPosition(w.T.Context(), w.DB, follower)
		behind, err4 := journal.Followers(w.T.Context(), w.DB, laggard)
		if err := cmp.Or(err, err2, err3, err4); err != nil {
			w.T.Fatal(err)
		}
		return unplaced == 0 && at == head && len(behind) == 0
	})
}

// Two processes tell of a list; sessions are killed after the brokers have the records, and the broker is restarted and killed. In the topic
// are repeats, and no gap.
func TestOutcomesOverABrokerThatRestartsHaveNoGap(t *testing.T) {
	t.Parallel()
	b := kafkatest.Own(t)
	for _, topic := range []string{ProtocolTopic, StatusTopic, ReplyTopic} {
		b.MakeTopic(t, topic, 4)
	}
	w := newWorld(t)
	var mu sync.Mutex
	calls := 0
	publish := func() {
		writer := writerTo(t, b)
		w.publish(producerFunc(func(ctx context.Context, records ...Record) error {
			if err := writer.Produce(ctx, records...); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls%4 != 2 || calls > 12 {
				return nil
			}
			return w.killPublisher(ctx)
		}), func(c *PublisherConfig) { c.Positions = 40 })
	}
	publish()
	publish()
	const rows = 400
	l := w.load("mse", rows, 3)
	w.Approve(l)
	for i := 0; i < rows; i += 20 {
		w.End(l, i+1, i+20, dispatch.Delivered)
		switch i {
		case 100:
			if err := b.Restart(); err != nil {
				t.Fatal(err)
			}
		case 240:
			b.Kill()
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.passedOn(l)
	h := hearTopics(t, b, StatusTopic, ProtocolTopic)
	if !h.complete(l, rows) {
		t.Errorf("%d of %d rows, %d summaries, %d protocols", len(h.statuses), rows, h.summaries[l.ID.String()], h.protocols[l.ID.String()])
	}
	if h.repeats == 0 {
		t.Error("nobody died after writing")
	}
}

// A topic that a real broker does not have, or closes to us, holds its source alone; once it is there the source is told everything.
func TestSourceWhoseTopicIsMissingCatchesUpOnceItIsMade(t *testing.T) {
	t.Parallel()
	b := kafkatest.Own(t)
	for _, topic := range []string{ProtocolTopic, StatusTopic} {
		b.MakeTopic(t, topic, 2)
	}
	w := newWorld(t)
	own, _ := w.Catalog.Source("mse", time.Now())
	change := *own
	change.StatusTopic, change.Version = "mse.status", 2
	w.Catalog = w.Catalog.With([]catalog.Item{&change})
	w.publish(writerTo(t, b))
	held, free := w.load("mse", 30, 0), w.load("rostrud", 30, 0)
	w.Approve(held)
	w.Approve(free)
	w.End(held, 1, 30, dispatch.Delivered)
	w.End(free, 1, 30, dispatch.Delivered)
	w.AwaitFor(60*time.Second, "the other is told", func() bool { return hearTopics(t, b, StatusTopic, ProtocolTopic).complete(free, 30) })
	b.MakeTopic(t, "mse.status", 2)
	w.passedOn(held)
	if h := hearTopics(t, b, "mse.status", ProtocolTopic); !h.complete(held, 30) {
		t.Errorf("%d of 30 rows, %v, %v", len(h.statuses), h.summaries, h.protocols)
	}
}

// A database restored from an old dump does not tell its sources again what they have heard, nor other things under the same numbers.
func TestDatabaseBehindItsStatusTopicTellsNobodyUntilRecovered(t *testing.T) {
	t.Parallel()
	b := kafkatest.Own(t)
	for _, topic := range []string{ProtocolTopic, StatusTopic} {
		b.MakeTopic(t, topic, 3)
	}
	client, err := NewClient(Brokers{Addrs: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	publisher := func(w *world) *Publisher {
		return NewPublisher(PublisherConfig{DB: w.DB, Reports: w.Lists, Producer: writerTo(t, b), Now: time.Now, Log: quiet, Poll: 10 * time.Millisecond,
			Client: client, Catalog: func() *catalog.Catalog { return w.Catalog }})
	}
	tell := func(w *world, rows int) *ingest.List {
		l := w.load("mse", rows, 0)
		w.Approve(l)
		w.End(l, 1, rows, dispatch.Delivered)
		return l
	}
	w := newWorld(t)
	for range 2 { // begun again it goes on: the database has all that was told
		p := publisher(w)
		stop := w.Background(p.Run)
		w.passedOn(tell(w, 40))
		if err := p.Behind(); err != nil {
			t.Error(err)
		}
		stop()
	}

	old := newWorld(t) // as it was, or nearly, before all that
	l := tell(old, 5)
	p := publisher(old)
	old.Background(p.Run)
	old.Await("the database is found to be behind", func() bool { return p.Behind() != nil })
	if err := p.Behind(); !errors.Is(err, ErrBehind) || !strings.Contains(err.Error(), "ekc recover") || !strings.Contains(err.Error(), StatusTopic) {
		t.Error(err)
	}
	if at, err := journal.FollowerPosition(t.Context(), old.DB, follower); err != nil || at != 0 {
		t.Errorf("it has passed on the journal as far as %d, %v", at, err)
	}
	if h := hearTopics(t, b, StatusTopic, ProtocolTopic); h.summaries[l.ID.String()] != 0 || h.protocols[l.ID.String()] != 0 {
		t.Error("it told of a list")
	}

	err = postgres.InTx(t.Context(), old.DB, func(tx pgx.Tx) error { // as `ekc recover` does
		_, err := old.Journal.Append(t.Context(), tx, []journal.Entry{{Kind: journal.Recovered, At: time.Now(), Actor: journal.Recovery().Account}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	old.passedOn(l)
	if h := hearTopics(t, b, StatusTopic, ProtocolTopic); h.summaries[l.ID.String()] != 1 || p.Behind() != nil {
		t.Errorf("after the recovery: %v, %v", h.summaries, p.Behind())
	}
}

func TestProduceNamesTheTopicAndNothingOfTheRecord(t *testing.T) {
	t.Parallel()
	b := kafkatest.New(t)
	topic := b.Topic(t, "out", 3)
	writer := writerTo(t, b)
	var records []Record
	for n := range 300 {
		records = append(records, Record{Topic: topic, Key: fmt.Appendf(nil, "list-%d", n%7), Value: fmt.Appendf(nil, "%d", n)})
	}
	records = append(records, Record{Topic: topic, Key: []byte("list-0"), Value: []byte(strings.Repeat("x", MaxMessage))})
	if err := writer.Produce(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
	next := make(map[string]int)
	for _, m := range b.Read(t, topic) {
		if len(m.Value) == MaxMessage {
			continue
		}
		var n int
		if _, err := fmt.Sscan(string(m.Value), &n); err != nil || n < next[string(m.Key)] {
			t.Errorf("%s: %s out of order, %v", m.Key, m.Value, err)
		}
		next[string(m.Key)] = n
	}
	if len(next) != 7 {
		t.Errorf("%d keys", len(next))
	}
	for name, r := range map[string]Record{"nowhere": {Topic: "nowhere", Value: []byte("Иванов")}, topic: {Topic: topic, Value: []byte(strings.Repeat("Иванов", 200_000))}} {
		err := writer.Produce(t.Context(), r)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "Иванов") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWatchShowsWhatComesInItsOrder(t *testing.T) {
	t.Parallel()
	b := kafkatest.New(t)
	topic := b.Topic(t, "watched", 1)
	writer := writerTo(t, b)
	put := func(words ...string) {
		for _, word := range words {
			if err := writer.Produce(t.Context(), Record{Topic: topic, Key: []byte("k"), Value: []byte(word)}); err != nil {
				t.Error(err)
			}
		}
	}
	put("1", "2")
	enough := errors.New("enough")
	var got []string
	err := Watch(t.Context(), Brokers{Addrs: []string{b.Addr()}}, []string{topic}, true, func(of string, key, value []byte) error {
		if got = append(got, string(value)); len(got) == 2 {
			go put("3")
		}
		if len(got) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || strings.Join(got, " ") != "1 2 3" {
		t.Errorf("%v, %v", got, err)
	}
	if err := Watch(t.Context(), Brokers{Addrs: []string{b.Addr()}}, []string{"nowhere"}, true, nil); err == nil {
		t.Error("a topic that is not there")
	}
}
