package egisso

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/egisso/kafkatest"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres/postgrestest"
)

// fakeLists stores what ingest would, in memory. What ingest does with it is ingest's to test.
type fakeLists struct {
	mu       sync.Mutex
	parts    map[string][32]byte // by list and part
	recalls  []ingest.Recall
	order    []string // parts and recalls as they came
	held     []string
	express  int
	crowded  bool
	takeFail func(parts []ingest.FeedPart) error
}

func newFakeLists() *fakeLists { return &fakeLists{parts: make(map[string][32]byte)} }

func partName(list uuid.UUID, part int) string { return fmt.Sprintf("%s/%d", list, part) }

func (l *fakeLists) TakeParts(_ context.Context, parts []ingest.FeedPart) ([]*ingest.Fault, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.takeFail != nil {
		if err := l.takeFail(parts); err != nil {
			return nil, err
		}
	}
	fates := make([]*ingest.Fault, len(parts))
	for i, p := range parts {
		name := partName(p.ListID, p.Part)
		was, there := l.parts[name]
		switch {
		case !there:
			l.parts[name] = p.Digest
			l.order = append(l.order, name)
			if p.Express {
				l.express++
			}
		case was != p.Digest:
			fates[i] = ingest.ErrPartDiffers
		}
	}
	return fates, nil
}

func (l *fakeLists) TakeRecall(_ context.Context, r ingest.Recall) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recalls = append(l.recalls, r)
	l.order = append(l.order, "recall "+r.ListID.String())
	return nil
}

func (l *fakeLists) TakeDeaths(context.Context, journal.Principal, []citizen.SNILS) error { return nil }

func (l *fakeLists) HoldSource(_ context.Context, source, _ string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, source)
	return nil
}

func (l *fakeLists) Crowded(context.Context) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crowded, nil
}

func (l *fakeLists) with(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
}

func (l *fakeLists) count() (n int) {
	l.with(func() { n = len(l.parts) })
	return n
}

const (
	ourAgency     = "0001.000001"
	foreignAgency = "0009.000009"
)

func feedSource(code string, topics ...string) *catalog.Source {
	return &catalog.Source{Head: catalog.Head{Code: code, Version: 1}, Title: code, Door: "feed", Topics: topics, Agencies: []string{ourAgency},
		Statuses: "all", Channels: []string{"sms"}}
}

// feedWorld is a feed at work.
type feedWorld struct {
	*Feed
	t       *testing.T
	broker  *kafkatest.Broker
	db      *pgxpool.Pool
	lists   *fakeLists
	catalog *atomic.Pointer[catalog.Catalog]
	keys    *citizen.Keyring
	config  FeedConfig
}

func newFeedWorld(t *testing.T, broker *kafkatest.Broker, db *pgxpool.Pool, sources ...*catalog.Source) *feedWorld {
	t.Helper()
	keyset, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &feedWorld{t: t, broker: broker, db: db, lists: newFakeLists(), catalog: new(atomic.Pointer[catalog.Catalog]), keys: citizen.NewKeyring(keyset, 100)}
	w.setSources(sources...)
	w.config = FeedConfig{Brokers: Brokers{Addrs: []string{broker.Addr()}}, Group: kafkatest.Name("ekc"), DB: w.db, Journal: journal.NewWriter(),
		Keys: w.keys, Catalog: w.catalog.Load, Lists: w.lists, Process: "test", Log: testLog(t), Now: time.Now}
	return w
}

func (w *feedWorld) setSources(sources ...*catalog.Source) {
	items := make([]catalog.Item, len(sources))
	for i, s := range sources {
		items[i] = s
	}
	w.catalog.Store(catalog.New(items))
}

// start runs a feed of the world's settings; stop waits for its end.
func (w *feedWorld) start(process string) (stop func()) {
	w.t.Helper()
	c := w.config
	c.Process, c.Metrics = process, prometheus.NewRegistry()
	w.Feed = NewFeed(c)
	feed := w.Feed
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// event is a message of the contract in structured mode.
func event(source, kind, data string) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":%q,"type":%q,"time":"2026-11-25T08:00:00Z","datacontenttype":"application/json","data":%s}`,
		uuid.NewString(), source, kind, data)
}

func partMessage(list uuid.UUID, part, parts int, id string) kafka.Message {
	return kafka.Message{Key: []byte(list.String()), Value: event(ourAgency, TypePart, fmt.Sprintf(
		`{"list_id":%q,"part":%d,"parts":%d,"rows":[{"external_id":%q,"phone":"+79030000001"}]}`, list, part, parts, id))}
}

func cancelMessage(list uuid.UUID) kafka.Message {
	return kafka.Message{Key: []byte(list.String()), Value: event(ourAgency, TypeCancel, fmt.Sprintf(
		`{"list_id":%q,"all":true,"reason":"recalled","occurred_at":"2026-11-25T08:00:00Z"}`, list))}
}

func (w *feedWorld) rejected() (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), `SELECT count(*) FROM feed_rejected`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// drained waits until everything written to the topic is stored and its offsets are committed.
func (w *feedWorld) drained(topic string, partitions int) {
	w.t.Helper()
	want := len(w.broker.Read(w.t, topic))
	eventually(w.t, "the topic is read to its end", func() bool {
		var sum int64
		for _, offset := range w.broker.Committed(w.t, w.config.Group+"."+topic, topic, partitions) {
			sum += max(offset, 0)
		}
		return int(sum) == want
	})
}

func TestEveryPartLandsOnceWhateverIsRepeatedAndWhoeverReads(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "lists", 4)
	broker.MakeTopic(t, topic+rejectedSuffix, 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("egisso", topic))
	stopFirst := w.start("first")
	const lists, parts, rounds = 20, 10, 4
	ids := make([]uuid.UUID, lists)
	for i := range ids {
		ids[i] = uuid.New()
	}
	for round := range rounds {
		var messages []kafka.Message
		for i := range lists * parts {
			// Every part comes in two rounds, in an order of its own, with rubbish between.
			if list, part := ids[i%lists], (i*7)/lists%parts+1; (i+round)%2 == 0 || round%2 == 0 {
				messages = append(messages, partMessage(list, part, parts, fmt.Sprint("row-", part)))
			}
			if i%25 == 0 {
				messages = append(messages, kafka.Message{Key: []byte(ids[i%lists].String()), Value: []byte("rubbish")})
			}
		}
		broker.Produce(t, topic, messages...)
		switch round {
		case 0:
			eventually(t, "something is stored", func() bool { return w.lists.count() > 0 })
			w.start("second")
		case 1:
			stopFirst()
		case 2:
			w.start("third")
		}
	}
	w.drained(topic, 4)
	if n := w.lists.count(); n != lists*parts {
		t.Errorf("%d parts of %d are stored", n, lists*parts)
	}
	if n := w.rejected(); n != rounds*lists*parts/25 {
		t.Errorf("%d messages of %d are rejected", n, rounds*lists*parts/25)
	}
}

func TestPartsAndCancelsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "order", 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("egisso", topic))
	early, late := uuid.New(), uuid.New()
	broker.Produce(t, topic, cancelMessage(early), partMessage(early, 1, 1, "1"), partMessage(late, 1, 1, "1"), cancelMessage(late))
	w.start("first")
	w.drained(topic, 1)
	want := []string{"recall " + early.String(), partName(early, 1), partName(late, 1), "recall " + late.String()}
	w.lists.with(func() {
		if !slices.Equal(w.lists.order, want) {
			t.Errorf("%v, want %v", w.lists.order, want)
		}
		if r := w.lists.recalls[0]; !r.All || r.Reason != "recalled" || r.Principal.Agency != ourAgency || r.Principal.Source != "egisso" || r.Principal.Account != "source/egisso" {
			t.Errorf("%+v", r)
		}
	})
}

func TestListsWaitWhileTooManyWaitToBeCheckedAndEventsDoNot(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	bulk, events := broker.Topic(t, "agency.notification-lists", 1), broker.Topic(t, "agency.notification-events", 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("agency", bulk, events))
	w.lists.crowded = true
	w.start("first")
	broker.Produce(t, bulk, partMessage(uuid.New(), 1, 1, "1"))
	broker.Produce(t, events, partMessage(uuid.New(), 1, 1, "1"), partMessage(uuid.New(), 1, 2, "1"))
	w.drained(events, 1)
	if w.lists.count() != 1 || w.lists.express != 1 || w.rejected() != 1 {
		t.Errorf("%d parts, %d of them express, %d rejected: the event alone should be taken, and a list in two parts refused there",
			w.lists.count(), w.lists.express, w.rejected())
	}
	eventually(t, "the list shows as lag", func() bool {
		return slices.ContainsFunc(w.Status(), func(s SourceStatus) bool { return s.Topic == bulk && s.Lag == 1 })
	})
	w.lists.with(func() { w.lists.crowded = false })
	w.drained(bulk, 1)
	if w.lists.count() != 2 {
		t.Error("the list is not taken when there is room again")
	}
}

func TestASourceInTroubleTouchesNoOther(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	good, rubbish, denied, stuck := broker.Topic(t, "good", 2), broker.Topic(t, "rubbish", 2), broker.Topic(t, "denied", 1), broker.Topic(t, "stuck", 1)
	missing := kafkatest.Name("missing")
	broker.Deny(t, denied)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("good", good), feedSource("rubbish", rubbish), feedSource("denied", denied),
		feedSource("missing", missing), feedSource("stuck", stuck))
	w.config.Brokers = Brokers{Addrs: []string{broker.SecureAddr()}, TLS: broker.TLS(), SASL: SASL{"scram-sha-512", kafkatest.Username, kafkatest.Password}}
	w.lists.takeFail = func(parts []ingest.FeedPart) error {
		if parts[0].Principal.Source == "stuck" {
			return errors.New("a fault of the program's own")
		}
		return nil
	}
	w.start("first")
	broker.Produce(t, stuck, partMessage(uuid.New(), 1, 1, "1"))
	for range 300 {
		broker.Produce(t, rubbish, kafka.Message{Value: []byte("{")})
	}
	for range 5 {
		broker.Produce(t, good, partMessage(uuid.New(), 1, 1, "1"))
	}
	w.drained(good, 2)
	w.drained(rubbish, 2)
	if w.lists.count() != 5 || w.rejected() != 300 {
		t.Errorf("%d parts are stored, %d messages rejected", w.lists.count(), w.rejected())
	}
	want := map[string]FaultCode{"good": "", "rubbish": FaultRejected, "denied": FaultTopicDenied, "missing": FaultTopicMissing, "stuck": FaultStore}
	faults := func(all []SourceStatus) map[string]FaultCode {
		got := make(map[string]FaultCode)
		for _, s := range all {
			got[s.Source] = s.Fault
		}
		return got
	}
	var got map[string]FaultCode
	eventually(t, "each source has its own fault", func() bool {
		got = faults(w.Status())
		return maps.Equal(got, want)
	})
	eventually(t, "and the database knows", func() bool {
		all, err := w.Desk.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return maps.Equal(faults(all), want)
	})
	if n := broker.Committed(t, w.config.Group+"."+stuck, stuck, 1)[0]; n > 0 {
		t.Errorf("offset %d is committed of what could not be stored", n)
	}
}

func TestAChangedCatalogueIsFollowed(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	before, after := broker.Topic(t, "before", 1), broker.Topic(t, "after", 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("egisso", before))
	w.start("first")
	broker.Produce(t, before, partMessage(uuid.New(), 1, 1, "1"))
	w.drained(before, 1)
	changed := feedSource("egisso", after)
	changed.Agencies = []string{foreignAgency}
	w.setSources(changed)
	broker.Produce(t, after, partMessage(uuid.New(), 1, 1, "1"))
	w.drained(after, 1)
	if w.lists.count() != 1 || w.rejected() != 1 {
		t.Errorf("%d parts, %d rejected: the new topic's part is of an agency that is no longer the source's", w.lists.count(), w.rejected())
	}
	eventually(t, "the old topic is left", func() bool { all := w.Status(); return len(all) == 1 && all[0].Topic == after })
}
