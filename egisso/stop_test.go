package egisso

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"ekc/egisso/kafkatest"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// transaction writes a part inside a transaction, as a producer with transactional.id does.
func transaction(t *testing.T, broker *kafkatest.Broker, topic string, commit bool) uuid.UUID {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.TransactionalID(kafkatest.Name("tx")))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	list := uuid.New()
	m := partMessage(list, 1, 1, "1")
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: m.Key, Value: m.Value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestATransactionStopsItsSourceUntilAPersonResumesIt(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic, other := broker.Topic(t, "transactional", 1), broker.Topic(t, "innocent", 1)
	broker.MakeTopic(t, topic+rejectedSuffix, 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("sinner", topic), feedSource("innocent", other))
	w.start("first")
	before := uuid.New()
	broker.Produce(t, topic, partMessage(before, 1, 1, "1"))
	w.drained(topic, 1)
	aborted := transaction(t, broker, topic, false)
	committed := transaction(t, broker, topic, true)
	after := uuid.New()
	broker.Produce(t, topic, partMessage(after, 1, 1, "1"))

	var stop SourceStatus
	eventually(t, "the source is stopped", func() bool {
		all, err := w.Desk.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(s SourceStatus) bool { return s.Source == "sinner" && s.Fault == FaultTransactions })
		if i >= 0 {
			stop = all[i]
		}
		return i >= 0
	})
	if stop.Topic != topic || stop.Detail != "раздел 0, смещение 1" {
		t.Errorf("%+v", stop)
	}
	broker.Produce(t, other, partMessage(uuid.New(), 1, 1, "1"))
	w.drained(other, 1)
	w.lists.with(func() {
		if len(w.lists.parts) != 2 || !slices.Contains(w.lists.held, "sinner") {
			t.Errorf("%d parts are stored, held %v", len(w.lists.parts), w.lists.held)
		}
	})
	if n := broker.Committed(t, w.config.Group+"."+topic, topic, 1)[0]; n != 1 {
		t.Errorf("offset %d is committed, want 1", n)
	}
	eventually(t, "the reader is gone", func() bool { return len(w.Status()) == 1 })

	person := journal.Principal{Account: "duty", Roles: []journal.Role{journal.RoleDutyEngineer}}
	if err := w.Resume(t.Context(), person, "innocent"); !errors.Is(err, ErrNotStopped) {
		t.Errorf("resuming what was not stopped: %v", err)
	}
	if err := w.Resume(t.Context(), person, "sinner"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what came after is stored", func() bool { return w.lists.count() == 3 })
	w.lists.with(func() {
		for name, list := range map[string]uuid.UUID{"aborted": aborted, "committed": committed} {
			if _, there := w.lists.parts[partName(list, 1)]; there {
				t.Errorf("the %s transaction's part is stored", name)
			}
		}
		if _, there := w.lists.parts[partName(after, 1)]; !there {
			t.Error("the part behind the transactions is not stored")
		}
	})
	eventually(t, "its messages are rejected", func() bool { return len(broker.Read(t, topic+rejectedSuffix)) == 2 })

	transaction(t, broker, topic, true)
	eventually(t, "another transaction stops it again", func() bool {
		stops, err := w.stops(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(stops) == 1
	})
	var acts int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM journal WHERE kind = 'source.changed'`).Scan(&acts); err != nil || acts != 3 {
		t.Errorf("%d entries about the source, want stop, resumption, stop; %v", acts, err)
	}
}

func TestWhileTheDatabaseIsAwayNothingIsCommittedAndWorkResumesAlone(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "away", 2)
	server := postgrestest.Durable(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL(), MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	w := newFeedWorld(t, broker, db, feedSource("egisso", topic))
	w.lists.takeFail = func([]ingest.FeedPart) error { return db.Ping(t.Context()) } // as the real ones, they need the database
	w.start("first")
	broker.Produce(t, topic, partMessage(uuid.New(), 1, 1, "1"))
	w.drained(topic, 2)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		broker.Produce(t, topic, partMessage(uuid.New(), 1, 1, fmt.Sprint(i)), kafka.Message{Value: []byte("rubbish")})
	}
	eventually(t, "the fault shows", func() bool { all := w.Feed.Status(); return len(all) == 1 && all[0].Fault == FaultDatabase })
	sum := func() (n int64) {
		for _, offset := range broker.Committed(t, w.config.Group+"."+topic, topic, 2) {
			n += max(offset, 0)
		}
		return n
	}
	if n := sum(); n != 1 {
		t.Errorf("%d offsets are committed without a database, want the one before", n)
	}
	time.Sleep(sessionTimeout + time.Second) // the group must not take the reader for dead while it waits
	if n := w.Feed.Status()[0].Partitions; n != 2 {
		t.Errorf("%d partitions are left to a reader that waits", n)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.drained(topic, 2)
	if w.lists.count() != 21 || w.rejected() != 20 {
		t.Errorf("%d parts, %d rejected", w.lists.count(), w.rejected())
	}
	eventually(t, "the fault is over", func() bool { all := w.Feed.Status(); return all[0].Fault != FaultDatabase })
}
