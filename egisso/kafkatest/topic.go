package kafkatest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// within bounds what a helper asks of the broker.
const within = 30 * time.Second

func (b *Broker) client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(b.Addr()), Transport: &kafka.Transport{MetadataTTL: time.Second}, Timeout: within}
}

// Name is a name for a topic or a group that no other test has.
func Name(prefix string) string { return prefix + "." + strings.ToLower(rand.Text()[:10]) }

// MakeTopic makes a topic and returns when it can be written; settings are pairs such as "max.message.bytes", "20000000".
func (b *Broker) MakeTopic(t testing.TB, name string, partitions int, settings ...string) {
	t.Helper()
	topic := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}
	for i := 0; i+1 < len(settings); i += 2 {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
	}
	conn, err := kafka.DialContext(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.CreateTopics(topic); err != nil {
		t.Fatalf("make topic %s: %v", name, err)
	}
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		found, err := conn.ReadPartitions(name)
		if err == nil && len(found) == partitions {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("topic %s does not come up: %v", name, err)
		}
	}
}

// Topic makes a topic of the test's own, whose name begins with the prefix.
func (b *Broker) Topic(t testing.TB, prefix string, partitions int, settings ...string) string {
	t.Helper()
	name := Name(prefix)
	b.MakeTopic(t, name, partitions, settings...)
	return name
}

// Produce writes messages, those of one key to one partition, and returns when the broker has them. Their Topic must be empty.
func (b *Broker) Produce(t testing.TB, topic string, messages ...kafka.Message) {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	w := &kafka.Writer{Addr: kafka.TCP(b.Addr()), Topic: topic, Transport: transport, Balancer: kafka.Murmur2Balancer{Consistent: true},
		RequiredAcks: kafka.RequireAll, Compression: kafka.Zstd, BatchBytes: 256 << 20, BatchTimeout: time.Millisecond}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := w.WriteMessages(ctx, messages...); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
}

// Read reads a topic from its beginning to what is its end now, ordered by partition and offset. Control records are left out.
func (b *Broker) Read(t testing.TB, topic string) []kafka.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	conn, err := kafka.DialContext(ctx, "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	partitions, err := conn.ReadPartitions(topic)
	_ = conn.Close()
	if err != nil {
		t.Fatalf("read %s: %v", topic, err)
	}
	var all []kafka.Message
	for _, p := range partitions {
		all = append(all, b.readPartition(ctx, t, topic, p.ID)...)
	}
	slices.SortFunc(all, func(a, b kafka.Message) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return all
}

func (b *Broker) readPartition(ctx context.Context, t testing.TB, topic string, partition int) []kafka.Message {
	t.Helper()
	conn, err := kafka.DialLeader(ctx, "tcp", b.Addr(), topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	first, last, err := conn.ReadOffsets()
	_ = conn.Close()
	if err != nil {
		t.Fatalf("read the offsets of %s: %v", topic, err)
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{b.Addr()}, Topic: topic, Partition: partition, MinBytes: 1, MaxBytes: 64 << 20,
		MaxWait: 100 * time.Millisecond})
	defer r.Close()
	if err := r.SetOffset(first); err != nil {
		t.Fatal(err)
	}
	var all []kafka.Message
	for next := first; next < last; {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("read %s: %v", topic, err)
		}
		next = m.Offset + 1
		all = append(all, m)
	}
	return all
}

// Committed is what a group has committed of a topic, by partition; a partition without a commit is -1.
func (b *Broker) Committed(t testing.TB, group, topic string, partitions int) map[int]int64 {
	t.Helper()
	asked := make([]int, partitions)
	for i := range asked {
		asked[i] = i
	}
	client := b.client()
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	var r *kafka.OffsetFetchResponse
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if r, err = client.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: asked}}); err == nil {
			err = r.Error
		}
		if err == nil {
			break
		}
		code, ok := errors.AsType[kafka.Error](err) // a new broker has no coordinator of groups yet
		if !ok || !code.Temporary() && code != kafka.NotCoordinatorForGroup || time.Now().After(deadline) {
			t.Fatalf("committed offsets of %s: %v", group, err)
		}
	}
	offsets := make(map[int]int64)
	for _, p := range r.Topics[topic] {
		offsets[p.Partition] = p.CommittedOffset
	}
	return offsets
}

// Deny forbids the user of the SASL listener everything with a topic.
func (b *Broker) Deny(t testing.TB, topic string) {
	t.Helper()
	client := b.client()
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	r, err := client.CreateACLs(t.Context(), &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:" + Username, Host: "*", Operation: kafka.ACLOperationTypeAll, PermissionType: kafka.ACLPermissionTypeDeny,
	}}})
	if err == nil {
		for _, refused := range r.Errors {
			if refused != nil {
				err = refused
			}
		}
	}
	if err != nil {
		t.Fatalf("deny %s: %v", topic, err)
	}
}
