package egisso

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"ekc/journal"
)

// ErrBehind says that sources have been told of more than the database has: it was restored, or failed over to a copy that was behind.
// Its numbers would be told a second time, of something else.
var ErrBehind = errors.New("the database is behind what sources have been told: it was restored or replaced; " +
	"be sure that it is the right one, stop every ekc serve, and run ekc recover")

// compareEvery is how often a database that is behind is looked at again.
const compareEvery = 5 * time.Second

// Behind is why nothing is told though it is this process's turn: ErrBehind, or nil.
func (p *Publisher) Behind() error {
	if why := p.behind.Load(); why != nil {
		return *why
	}
	return nil
}

// caughtUp waits until the database has everything that its sources were told, or a person has said since that it is to go on (`ekc recover`).
func (p *Publisher) caughtUp(ctx context.Context, conn *pgx.Conn) error {
	for {
		err := p.compare(ctx, conn)
		if !errors.Is(err, ErrBehind) {
			p.behind.Store(nil)
			return err
		}
		if p.behind.Swap(&err) == nil {
			p.cfg.Log.Error("sources are told nothing", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(compareEvery):
		}
	}
}

// compare holds the end of the journal against the last records of the status topics. Records from before a recovery are left out: what they
// tell of may be lost for good.
func (p *Publisher) compare(ctx context.Context, conn *pgx.Conn) error {
	if p.cfg.Client == nil {
		return nil
	}
	recovered, err := journal.LastRecovered(ctx, conn)
	if err != nil {
		return err
	}
	topics := []string{StatusTopic}
	for _, s := range p.cfg.Catalog().Sources(p.cfg.Now()) {
		if s.StatusTopic != "" && !slices.Contains(topics, s.StatusTopic) {
			topics = append(topics, s.StatusTopic)
		}
	}
	for _, topic := range topics {
		told, err := p.cfg.Client.lastTold(ctx, topic, recovered)
		switch {
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			continue
		case errors.Is(err, kafka.TopicAuthorizationFailed):
			p.cfg.Log.Warn("a status topic cannot be read: whether the database is behind it is not known", "topic", topic, "err", err)
			continue
		case err != nil:
			return fmt.Errorf("read the end of %s: %w", topic, err)
		}
		head, err := journal.Head(ctx, conn) // afterwards: another may have told more meanwhile
		if err != nil {
			return err
		}
		if told >= head {
			return fmt.Errorf("%w (%s tells of journal position %d, the database ends before %d)", ErrBehind, topic, told, head)
		}
	}
	return nil
}

// lastTold is the greatest position that the last records of a topic's partitions tell of, those from before a time left out; -1 = none.
func (c *Client) lastTold(ctx context.Context, topic string, since time.Time) (told int64, err error) {
	ends, err := c.ends(ctx, topic)
	if err != nil {
		return 0, err
	}
	told = -1
	for partition, end := range ends {
		if end.LastOffset <= end.FirstOffset {
			continue
		}
		f, err := c.fetch(ctx, topic, partition, end.LastOffset-1, watchBytes)
		if err != nil {
			return 0, err
		}
		for _, m := range f.messages {
			for _, h := range m.Headers {
				if at, err := strconv.ParseInt(string(h.Value), 10, 64); h.Key == PositionHeader && err == nil && m.At.After(since) {
					told = max(told, at)
				}
			}
		}
	}
	return told, nil
}
