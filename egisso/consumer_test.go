package egisso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"ekc/egisso/kafkatest"
)

const patience = 2 * time.Minute // a broker starts in seconds, on a machine with nothing else to do

// eventually waits for what another process or goroutine is doing.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// testReader is a consumer with a group of its own that can be stopped.
type testReader struct {
	*consumer
	stop func() error // waits for its end
}

func startReader(t *testing.T, brokers Brokers, topic, group string, handle func(context.Context, []message) error) *testReader {
	t.Helper()
	client, err := NewClient(brokers, topic)
	if err != nil {
		t.Fatal(err)
	}
	c := &consumer{client: client, topic: topic, group: group, handle: handle,
		gauge: newGauge("test", topic, newMetrics(prometheus.NewRegistry()), testLog(t), time.Now)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	r := &testReader{consumer: c, stop: sync.OnceValue(func() error { cancel(); err := <-ended; client.Close(); return err })}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// store is where a test's messages end up: how often each offset was handled.
type store struct {
	mu   sync.Mutex
	seen map[string]int // by partition and offset
	next map[int]int64  // per partition: all below it are stored
}

func newStore() *store { return &store{seen: make(map[string]int), next: make(map[int]int64)} }

func (s *store) put(messages []message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		s.seen[fmt.Sprintf("%d/%d", m.Partition, m.Offset)]++
		if m.Offset == s.next[m.Partition] {
			s.next[m.Partition]++
		}
	}
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func counted(from, n int) []kafka.Message {
	all := make([]kafka.Message, n)
	for i := range all {
		all[i] = kafka.Message{Key: fmt.Append(nil, "list-", (from+i)%17), Value: fmt.Append(nil, "part ", from+i)}
	}
	return all
}

func TestAnOffsetIsCommittedOnlyAfterItsMessageIsStored(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	const partitions, n = 4, 400
	topic, group := broker.Topic(t, "property", partitions), kafkatest.Name("group")
	stored := newStore()
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	// Each try fails more often than not, in every way it can: before it has stored anything, or after.
	handle := func(ctx context.Context, messages []message) error {
		mu.Lock()
		fate := random.IntN(4)
		mu.Unlock()
		switch fate {
		case 0:
			return errors.New("failed before it was stored")
		case 1:
			stored.put(messages)
			return errors.New("failed after it was stored")
		}
		stored.put(messages)
		return nil
	}
	startReader(t, Brokers{Addrs: []string{broker.Addr()}}, topic, group, handle)
	check := func() bool {
		committed := broker.Committed(t, group, topic, partitions)
		stored.mu.Lock()
		defer stored.mu.Unlock()
		for partition, offset := range committed {
			if offset > stored.next[partition] {
				t.Fatalf("offset %d of partition %d is committed, and only what is below %d is stored", offset, partition, stored.next[partition])
			}
		}
		return len(stored.seen) == n
	}
	for i := range 8 {
		broker.Produce(t, topic, counted(i*n/8, n/8)...)
		check()
	}
	eventually(t, "every message is stored", check)
	eventually(t, "every offset is committed", func() bool {
		var sum int64
		for _, offset := range broker.Committed(t, group, topic, partitions) {
			sum += max(offset, 0)
		}
		return sum == n
	})
}

func TestConsumersThatJoinAndLeaveLeaveNothingOut(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	const partitions, n = 6, 1200
	topic, group := broker.Topic(t, "rebalance", partitions), kafkatest.Name("group")
	stored := newStore()
	handle := func(_ context.Context, messages []message) error { stored.put(messages); return nil }
	brokers := Brokers{Addrs: []string{broker.Addr()}}
	first := startReader(t, brokers, topic, group, handle)
	for i := range 4 {
		broker.Produce(t, topic, counted(i*n/4, n/4)...)
		switch i {
		case 0:
			eventually(t, "the first reads", func() bool { return stored.count() > 0 })
		case 1:
			second := startReader(t, brokers, topic, group, handle)
			eventually(t, "the second has its part", func() bool { return second.gauge.status().Partitions == partitions/2 })
		case 2:
			if err := first.stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all is stored", func() bool { return stored.count() == n })
}

func TestABrokerThatRestartsIsReadOnFrom(t *testing.T) {
	t.Parallel()
	broker := kafkatest.Own(t)
	topic, group := broker.Topic(t, "restart", 2), kafkatest.Name("group")
	stored := newStore()
	r := startReader(t, Brokers{Addrs: []string{broker.Addr()}}, topic, group, func(_ context.Context, m []message) error { stored.put(m); return nil })
	for i := range 3 {
		broker.Produce(t, topic, counted(i*100, 100)...)
		eventually(t, "what was written is stored", func() bool { return stored.count() == (i+1)*100 })
		switch i {
		case 0:
			if err := broker.Stop(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the broker's absence shows", func() bool { return r.gauge.status().Fault == FaultBroker })
			if err := broker.Start(); err != nil {
				t.Fatal(err)
			}
		case 1:
			broker.Kill()
			if err := broker.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the fault is over", func() bool { return r.gauge.status().Fault == "" && r.gauge.status().Lag == 0 })
}

func TestFaultsOfTopicsHaveTheirNames(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	good, denied := broker.Topic(t, "good", 1), broker.Topic(t, "denied", 1)
	broker.Deny(t, denied)
	missing := kafkatest.Name("missing")
	secure := func(password string) Brokers {
		return Brokers{Addrs: []string{broker.SecureAddr()}, TLS: broker.TLS(), SASL: SASL{"scram-sha-512", kafkatest.Username, password}}
	}
	plainToTLS := secure(kafkatest.Password)
	plainToTLS.TLS = nil
	stranger := secure(kafkatest.Password)
	stranger.TLS = broker.TLS()
	stranger.TLS.RootCAs = nil
	for name, c := range map[string]struct {
		brokers Brokers
		topic   string
		want    FaultCode
	}{
		"good":                  {secure(kafkatest.Password), good, ""},
		"wrong password":        {secure("wrong"), good, FaultLogin},
		"no TLS where it is":    {plainToTLS, good, FaultBroker},
		"unknown authority":     {stranger, good, FaultCertificate},
		"topic is not there":    {secure(kafkatest.Password), missing, FaultTopicMissing},
		"topic is not for us":   {secure(kafkatest.Password), denied, FaultTopicDenied},
		"nobody at the address": {Brokers{Addrs: []string{"127.0.0.1:1"}}, good, FaultBroker},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stored := newStore()
			r := startReader(t, c.brokers, c.topic, kafkatest.Name("group"), func(_ context.Context, m []message) error { stored.put(m); return nil })
			if c.want != "" {
				eventually(t, string(c.want), func() bool { return r.gauge.status().Fault == c.want })
				return
			}
			broker.Produce(t, c.topic, counted(0, 1)...)
			eventually(t, "the message comes", func() bool { return stored.count() == 1 })
		})
	}
	t.Run("a topic that comes later", func(t *testing.T) {
		t.Parallel()
		stored, later := newStore(), kafkatest.Name("later")
		r := startReader(t, secure(kafkatest.Password), later, kafkatest.Name("group"), func(_ context.Context, m []message) error { stored.put(m); return nil })
		eventually(t, "it is missing", func() bool { return r.gauge.status().Fault == FaultTopicMissing })
		broker.MakeTopic(t, later, 2)
		broker.Produce(t, later, counted(0, 10)...)
		eventually(t, "it is read", func() bool { return stored.count() == 10 && r.gauge.status().Fault == "" })
	})
}

func TestASingleMessageIsHandedOutAtOnce(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "events", 4)
	came := make(chan time.Time, 1)
	r := startReader(t, Brokers{Addrs: []string{broker.Addr()}}, topic, kafkatest.Name("group"), func(context.Context, []message) error {
		came <- time.Now()
		return nil
	})
	eventually(t, "it reads", func() bool { return r.gauge.status().Partitions == 4 })
	best := time.Hour
	for i := range 5 {
		began := time.Now()
		broker.Produce(t, topic, counted(i, 1)...)
		best = min(best, (<-came).Sub(began))
	}
	if best >= fetchWait {
		t.Errorf("the best of five took %s: it waits for the fetch to end", best)
	}
}

func TestAFetchTakesALargeMessageWhole(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "large", 1, "max.message.bytes", "25000000")
	large := make([]byte, 20<<20)
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	broker.Produce(t, topic, kafka.Message{Value: []byte("small")}, kafka.Message{Value: large, Headers: []kafka.Header{{Key: "h", Value: []byte("v")}}})
	got := make(chan message, 2)
	startReader(t, Brokers{Addrs: []string{broker.Addr()}}, topic, kafkatest.Name("group"), func(_ context.Context, messages []message) error {
		for _, m := range messages {
			got <- m
		}
		return nil
	})
	first, second := <-got, <-got
	if string(first.Value) != "small" || first.Key != nil || len(first.Headers) != 0 {
		t.Errorf("%+v", first)
	}
	if !bytes.Equal(second.Value, large) || len(second.Headers) != 1 || string(second.Headers[0].Value) != "v" {
		t.Error("the large message came otherwise than it was sent")
	}
}

func TestMessagesThatRetentionTookAreToldOf(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic, group := broker.Topic(t, "retention", 1), kafkatest.Name("group")
	stored := newStore()
	handle := func(_ context.Context, m []message) error { stored.put(m); return nil }
	brokers := Brokers{Addrs: []string{broker.Addr()}}
	broker.Produce(t, topic, counted(0, 5)...)
	first := startReader(t, brokers, topic, group, handle)
	eventually(t, "the first five are read", func() bool { return broker.Committed(t, group, topic, 1)[0] == 5 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	broker.Produce(t, topic, counted(5, 5)...)
	deleteBefore(t, broker, topic, 8)
	second := startReader(t, brokers, topic, group, handle)
	eventually(t, "what is left is read", func() bool { return stored.count() == 7 })
	if s := second.gauge.status(); s.Fault != FaultLost {
		t.Errorf("fault %q, want %q", s.Fault, FaultLost)
	}
}

// deleteBefore takes the first messages of partition 0 away, as retention does.
func deleteBefore(t *testing.T, broker *kafkatest.Broker, topic string, offset int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := kmsg.NewPtrDeleteRecordsRequest()
	r.TimeoutMillis = 10_000
	r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: offset}}}}
	answer, err := r.RequestWith(t.Context(), client)
	if err != nil || answer.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("delete records: %v %+v", err, answer)
	}
}
