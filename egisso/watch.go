package egisso

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"ekc/postgres"
)

const watchBytes = 1 << 20 // of one fetch

// Watch reads topics as they grow, from their beginning or from now on, until ctx ends or take fails. take is called for one record at a
// time; those of a partition come in their order. It commits nothing.
func Watch(ctx context.Context, b Brokers, topics []string, whole bool, take func(topic string, key, value []byte) error) error {
	client, err := NewClient(b, topics...)
	if err != nil {
		return err
	}
	defer client.Close()
	var mu sync.Mutex
	one := func(topic string, m *message) error {
		mu.Lock()
		defer mu.Unlock()
		return take(topic, m.Key, m.Value)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, topic := range topics {
		ends, err := client.ends(ctx, topic)
		if err != nil {
			return fmt.Errorf("watch %s: %w", topic, err)
		}
		for partition, end := range ends {
			from := end.LastOffset
			if whole {
				from = end.FirstOffset
			}
			g.Go(func() error { return client.watch(ctx, topic, partition, from, one) })
		}
	}
	return g.Wait()
}

// watch follows one partition. A broker that is away is waited for.
func (c *Client) watch(ctx context.Context, topic string, partition int, from int64, take func(string, *message) error) error {
	backoff := postgres.Backoff{First: 200 * time.Millisecond, Most: 5 * time.Second}
	for ctx.Err() == nil {
		f, err := c.fetch(ctx, topic, partition, from, watchBytes)
		if err != nil {
			if backoff.Wait(ctx) != nil {
				break
			}
			continue
		}
		backoff.Reset()
		for i := range f.messages {
			if f.messages[i].Control {
				continue
			}
			if err := take(topic, &f.messages[i]); err != nil {
				return err
			}
		}
		from = f.next
	}
	return ctx.Err()
}

// ends are the first and the next offset of each partition of a topic.
func (c *Client) ends(ctx context.Context, topic string) (map[int]kafka.PartitionOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	r, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	var asked []kafka.OffsetRequest
	for _, t := range r.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return nil, t.Error
		}
		for _, p := range t.Partitions {
			asked = append(asked, kafka.FirstOffsetOf(p.ID), kafka.LastOffsetOf(p.ID))
		}
	}
	if len(asked) == 0 {
		return nil, kafka.UnknownTopicOrPartition
	}
	answer, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: asked}})
	if err != nil {
		return nil, err
	}
	ends := make(map[int]kafka.PartitionOffsets)
	for _, p := range answer.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		ends[p.Partition] = p
	}
	return ends, nil
}
