package egisso

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// This file is all that knows kafka-go from the reading side. Its Reader is not used: it hands out aborted transactions and control
// records as if they were messages, hides errors in a log, and counts messages where memory has to be bounded in bytes.

// Brokers says where the brokers are and who we are to them.
type Brokers struct {
	Addrs []string    // host:port, any of the cluster
	TLS   *tls.Config // nil is plaintext
	SASL  SASL        // the zero value is no login
}

// SASL is a login: mechanism plain, scram-sha-256 or scram-sha-512.
type SASL struct{ Mechanism, Username, Password string }

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "plain":
		return plain.Mechanism{Username: s.Username, Password: s.Password}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, s.Username, s.Password)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, s.Username, s.Password)
	}
	return nil, errors.New("SASL mechanisms are plain, scram-sha-256 and scram-sha-512")
}

const (
	clientID    = "ekc"
	dialTimeout = 5 * time.Second
	// metadataTTL is how soon a topic that was made, or a partition that moved, is noticed.
	metadataTTL = 2 * time.Second
	// fetchWait is how long the broker holds a fetch with nothing to give; what comes meanwhile is given at once.
	fetchWait = 500 * time.Millisecond
	// answerWithin bounds a request on top of that.
	answerWithin = 10 * time.Second
)

// Client speaks to the brokers about some topics. A topic read has a Client of its own, so that one topic's connections, refusals and
// metadata are not another's.
type Client struct {
	brokers   []string
	dialer    *kafka.Dialer
	transport *kafka.Transport
	kafka     *kafka.Client
}

// NewClient connects to nothing yet. Without topics it knows them all; Close lets go of its connections.
func NewClient(b Brokers, topics ...string) (*Client, error) {
	if len(b.Addrs) == 0 {
		return nil, errors.New("kafka: no brokers are given")
	}
	login, err := b.SASL.mechanism()
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c := &Client{
		brokers: b.Addrs,
		dialer:  &kafka.Dialer{ClientID: clientID, Timeout: dialTimeout, TLS: b.TLS, SASLMechanism: login, DualStack: true},
		transport: &kafka.Transport{ClientID: clientID, DialTimeout: dialTimeout, TLS: b.TLS, SASL: login,
			MetadataTTL: metadataTTL, MetadataTopics: topics},
	}
	c.kafka = &kafka.Client{Addr: kafka.TCP(b.Addrs...), Transport: c.transport}
	return c, nil
}

// Transport is for whoever writes by the same login.
func (c *Client) Transport() kafka.RoundTripper { return c.transport }

// Close lets go of the connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// message is one record as it lies in its topic.
type message struct {
	Partition     int
	Offset        int64
	At            time.Time // as its producer, or the broker, stamped it
	Key           []byte    // nil when there is none
	Value         []byte
	Headers       []Header
	Transactional bool // written inside a transaction, whether or not that was committed
	Control       bool // the end of a transaction, no message
	TooLarge      bool // nothing but its place is known: the batch it lies in unpacks to more than unpackedMost
}

func (m *message) size() int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// fetched is what one fetch brought from one partition, in the order of offsets.
type fetched struct {
	partition int
	messages  []message
	bytes     int
	next      int64 // the offset to go on from
	end       int64 // the offset the next message written will get
}

// findTopic fails when the topic is not there, or not for us.
func (c *Client) findTopic(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	r, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	for _, t := range r.Topics {
		if t.Name == topic {
			return t.Error
		}
	}
	return kafka.UnknownTopicOrPartition
}

// firstOffset is the oldest offset that is still kept.
func (c *Client) firstOffset(ctx context.Context, topic string, partition int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	r, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(partition)}},
	})
	if err != nil {
		return 0, err
	}
	for _, p := range r.Topics[topic] {
		if p.Partition == partition {
			return p.FirstOffset, p.Error
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}

// fetch waits up to fetchWait for what there is from an offset on, most bytes as they lie in the topic (compressed), though always
// one whole batch of its producer's. It reads uncommitted, since what is transactional is refused at sight and not after the
// transaction has ended.
func (c *Client) fetch(ctx context.Context, topic string, partition int, offset int64, most int) (fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWait+answerWithin)
	defer cancel()
	f := fetched{partition: partition, next: offset}
	r, err := c.kafka.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: int64(most), MaxWait: fetchWait,
	})
	if err == nil {
		err = r.Error
	}
	if errors.Is(err, errUnpacked) {
		f.messages, f.next, f.end = []message{{Partition: partition, Offset: offset, At: time.Unix(0, 0), TooLarge: true}}, offset+1, offset+1
		return f, nil
	}
	if err != nil {
		return f, err
	}
	f.end = r.HighWatermark
	batches := []kafka.RecordReader{r.Records}
	if stream, ok := r.Records.(*protocol.RecordStream); ok {
		batches = stream.Records
	}
	came := false
	for _, batch := range batches {
		var attributes protocol.Attributes
		switch b := batch.(type) {
		case *protocol.RecordBatch:
			attributes = b.Attributes
		case *protocol.ControlBatch:
			attributes = b.Attributes | protocol.Control
		}
		n, err := f.take(batch, attributes)
		if err != nil {
			return fetched{partition: partition, next: offset}, err
		}
		came = came || n > 0
	}
	if came && f.next == offset { // a batch that once had this offset: compaction took it
		f.next++
	}
	return f, nil
}

// take copies the messages of a batch and says how many there were; a batch may begin before the offset that was asked for.
func (f *fetched) take(batch kafka.RecordReader, attributes protocol.Attributes) (n int, err error) {
	for {
		r, err := batch.ReadRecord()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
		key, err := readBytes(r.Key)
		if err != nil {
			return n, err
		}
		value, err := readBytes(r.Value)
		if err != nil {
			return n, err
		}
		if r.Offset < f.next {
			continue
		}
		m := message{Partition: f.partition, Offset: r.Offset, At: r.Time, Key: key, Value: value,
			Transactional: attributes.Transactional(), Control: attributes.Control()}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, Header{Key: h.Key, Value: h.Value})
		}
		f.messages, f.bytes, f.next = append(f.messages, m), f.bytes+m.size(), r.Offset+1
	}
}

func readBytes(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	return kafka.ReadAll(b)
}
