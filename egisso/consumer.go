package egisso

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"ekc/postgres"
)

const (
	// topicBytes is what the fetches of one topic may bring at once, as it lies in the topic; its partitions share it. As much again
	// waits while a batch is being stored. Compressed JSON is some ten times that once it is unpacked.
	topicBytes = 4 << 20
	leastFetch = 256 << 10
	// batchBytes is what is stored together, unpacked; the fetch that passes it is still taken whole.
	batchBytes = 8 << 20

	sessionTimeout   = 6 * time.Second // without a heartbeat for so long, our partitions are given to others; also after a broker's restart
	heartbeatEvery   = 2 * time.Second
	rebalanceTimeout = 30 * time.Second
	// partitionsEvery is how soon a partition that was added is read.
	partitionsEvery = 10 * time.Second
)

// consumer is this process's part in reading one topic. What it promises: an offset is committed only after handle has returned nil for
// every message below it, and one of its own generation; so whatever happens is handled again, and never left out.
type consumer struct {
	client *Client // of this topic alone
	topic  string
	group  string
	// handle makes the messages durable, each in order of its partition, or returns why reading must end. It waits by itself while
	// that is not possible; ctx ends when the partitions are no longer ours.
	handle func(ctx context.Context, messages []message) error
	gauge  *gauge
}

// run reads until ctx ends, or handle says that reading must end: that error is returned.
func (c *consumer) run(ctx context.Context) error {
	wait := postgres.Backoff{First: 250 * time.Millisecond, Most: 10 * time.Second}
	for ctx.Err() == nil {
		err := c.client.findTopic(ctx, c.topic) // asking the coordinator for a topic that is not there may make it
		if err == nil {
			err = c.join(ctx, &wait)
		}
		if stop, ok := errors.AsType[*stopError](err); ok {
			return stop
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		c.gauge.fault(placeGroup, err)
		_ = wait.Wait(ctx)
	}
	return nil
}

// join takes part in the group from one rebalance to the next, until something fails.
func (c *consumer) join(ctx context.Context, wait *postgres.Backoff) error {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.group, Brokers: c.client.brokers, Dialer: c.client.dialer, Topics: []string{c.topic}, StartOffset: kafka.FirstOffset,
		SessionTimeout: sessionTimeout, HeartbeatInterval: heartbeatEvery, RebalanceTimeout: rebalanceTimeout,
		WatchPartitionChanges: true, PartitionWatchInterval: partitionsEvery, JoinGroupBackoff: time.Second,
		GroupBalancers: []kafka.GroupBalancer{kafka.RoundRobinGroupBalancer{}},
	})
	if err != nil {
		return err
	}
	defer group.Close()
	for {
		generation, err := group.Next(ctx)
		switch {
		case errors.Is(err, kafka.RebalanceInProgress):
			continue
		case err != nil:
			return fmt.Errorf("join group %s: %w", c.group, err)
		}
		progress, err := c.generation(ctx, generation)
		if progress {
			wait.Reset()
		}
		if err == nil {
			err = c.client.findTopic(ctx, c.topic)
		}
		if err != nil {
			return err
		}
	}
}

// generation reads the partitions we were given until the group is divided anew. It returns after what was in hand is stored and
// committed, or given up; progress says that anything was committed.
func (c *consumer) generation(ctx context.Context, g *kafka.Generation) (progress bool, err error) {
	assigned := g.Assignments[c.topic]
	c.gauge.assigned(assigned)
	ended := make(chan error, 1)
	g.Start(func(generation context.Context) {
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(generation, cancel)()
		parts, work := errgroup.WithContext(work)
		batches := make(chan fetched)
		most := max(topicBytes/max(len(assigned), 1), leastFetch)
		for _, a := range assigned {
			parts.Go(func() error { return c.read(work, a, most, batches) })
		}
		parts.Go(func() error {
			return c.settle(work, batches, func(next map[int]int64) error {
				err := g.CommitOffsets(map[string]map[int]int64{c.topic: next})
				progress = progress || err == nil
				return err
			})
		})
		ended <- parts.Wait()
	})
	err = <-ended
	c.gauge.assigned(nil)
	return progress, err
}

// read fetches a partition, one batch ahead of what is being stored. Errors of the broker are waited out; that the partition is
// another's by then is for the group to find.
func (c *consumer) read(ctx context.Context, a kafka.PartitionAssignment, most int, batches chan<- fetched) error {
	var wait postgres.Backoff
	offset := a.Offset
	for ctx.Err() == nil {
		err := error(nil)
		if offset < 0 { // nothing committed yet
			offset, err = c.client.firstOffset(ctx, c.topic, a.ID)
			if err != nil {
				offset = kafka.FirstOffset
			}
		}
		var f fetched
		if err == nil {
			f, err = c.client.fetch(ctx, c.topic, a.ID, offset, most)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafka.OffsetOutOfRange): // older than what the topic keeps, or the topic was made anew
			c.gauge.lost(a.ID, offset)
			offset = kafka.FirstOffset
			continue
		case err != nil:
			c.gauge.fault(a.ID, err)
			_ = wait.Wait(ctx)
			continue
		}
		wait.Reset()
		c.gauge.fetched(f, offset)
		if len(f.messages) > 0 {
			select {
			case batches <- f:
			case <-ctx.Done():
				return nil
			}
		}
		offset = f.next
	}
	return nil
}

// settle stores what was read and then commits its offsets.
func (c *consumer) settle(ctx context.Context, batches <-chan fetched, commit func(next map[int]int64) error) error {
	for {
		var messages []message
		var bytes int
		next := make(map[int]int64)
		take := func(f fetched) {
			messages, bytes, next[f.partition] = append(messages, f.messages...), bytes+f.bytes, f.next
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-batches:
			take(f)
		}
		for more := true; more && bytes < batchBytes; {
			select {
			case f := <-batches:
				take(f)
			default:
				more = false
			}
		}
		if err := c.handle(ctx, messages); err != nil {
			if _, stop := errors.AsType[*stopError](err); !stop && ctx.Err() != nil {
				return nil
			}
			return err
		}
		// The group may be being divided anew by now: the broker still takes it from a member of the old generation, or refuses it, and
		// then the new owner of the partition finds that all of it is stored already.
		if err := commit(next); err != nil {
			if ctx.Err() == nil {
				return fmt.Errorf("commit offsets: %w", err)
			}
			return nil
		}
		c.gauge.committed(next)
	}
}
