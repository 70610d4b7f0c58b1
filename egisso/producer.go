package egisso

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Record is one record to be written. Records of one key keep their order: they stay on one partition of their topic.
type Record struct {
	Topic   string
	Key     []byte
	Value   []byte
	Headers []Header
}

// Producer writes records. When Produce returns nil every replica that must have them has them; after an error any of them may have
// been written, so that who must not lose them writes them again.
type Producer interface {
	Produce(ctx context.Context, records ...Record) error
}

const (
	// produceBytes bounds a record, headers and all, and a batch: what brokers take unless told otherwise (message.max.bytes).
	produceBytes = 1_000_000
	// produceBatch is records of one request; produceLinger is how long a part of that waits for company.
	produceBatch  = 2000
	produceLinger = 5 * time.Millisecond
	// A request is tried so often, for so long each time, before its records are given back to the caller.
	produceTries   = 3
	produceTimeout = 10 * time.Second
)

// Writer is the Producer of the feed: zstd, all replicas, the partition of a key the same that Java's clients choose. It is safe for
// concurrent use; Close lets go of its connections.
type Writer struct{ kafka *kafka.Writer }

// NewWriter makes a Writer for the brokers. The transport has TLS and who we are; nil is neither.
func NewWriter(brokers []string, transport kafka.RoundTripper) *Writer {
	return &Writer{&kafka.Writer{
		Addr: kafka.TCP(brokers...), Transport: transport, Balancer: kafka.Murmur2Balancer{Consistent: true}, RequiredAcks: kafka.RequireAll,
		Compression: kafka.Zstd, BatchBytes: produceBytes, BatchSize: produceBatch, BatchTimeout: produceLinger, MaxAttempts: produceTries,
		ReadTimeout: produceTimeout, WriteTimeout: produceTimeout,
	}}
}

// Produce writes the records and returns when the brokers have them all. Topics are not made by it: one that is missing is an error,
// and of a call with several topics nothing is known then; who wants to know calls once for each.
func (w *Writer) Produce(ctx context.Context, records ...Record) error {
	messages := make([]kafka.Message, len(records))
	for i := range records {
		r := &records[i]
		messages[i] = kafka.Message{Topic: r.Topic, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			messages[i].Headers = append(messages[i].Headers, kafka.Header{Key: h.Key, Value: h.Value})
		}
	}
	err := w.kafka.WriteMessages(ctx, messages...)
	if all, ok := errors.AsType[kafka.WriteErrors](err); ok {
		for i, one := range all {
			if one != nil {
				return fmt.Errorf("produce to %s: %w", records[i].Topic, one)
			}
		}
	}
	if tooLarge, ok := errors.AsType[kafka.MessageTooLargeError](err); ok { // its text would be the record itself
		return fmt.Errorf("produce to %s: %w", tooLarge.Message.Topic, kafka.MessageSizeTooLarge)
	}
	if err != nil && len(records) > 0 {
		return fmt.Errorf("produce to %s: %w", records[0].Topic, err)
	}
	return nil
}

// Close waits for what is being written and lets go of the connections.
func (w *Writer) Close() error {
	if err := w.kafka.Close(); err != nil {
		return fmt.Errorf("close producer: %w", err)
	}
	return nil
}
