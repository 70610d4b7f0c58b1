package egisso

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/segmentio/kafka-go"

	"ekc/egisso/kafkatest"
	"ekc/fixtures"
	"ekc/ingest"
	"ekc/postgres/postgrestest"
)

func headersOf(m kafka.Message) map[string]string {
	all := make(map[string]string)
	for _, h := range m.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func goldenXML(t *testing.T, file string) []byte {
	t.Helper()
	b, err := (&fixtures.FeedMessage{File: file}).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatCannotBeTakenGoesBackWithItsReason(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "poison", 1, "max.message.bytes", "25000000")
	broker.MakeTopic(t, topic+rejectedSuffix, 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("egisso", topic))
	unstorable := uuid.New()
	w.lists.takeFail = func(parts []ingest.FeedPart) error {
		for _, p := range parts {
			if p.ListID == unstorable {
				return &pgconn.PgError{Code: "22021"}
			}
		}
		return nil
	}
	good, taken := uuid.New(), uuid.New()
	large := make([]byte, 20<<20)
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	foreign := partMessage(uuid.New(), 1, 1, "1")
	foreign.Value = bytes.Replace(foreign.Value, []byte(ourAgency), []byte(foreignAgency), 1)
	poison := []struct {
		message kafka.Message
		code    string
	}{
		{kafka.Message{Key: []byte("k"), Value: []byte("+79030000001 is no JSON"), Headers: []kafka.Header{{Key: "trace", Value: []byte("t-1")}}}, CodeNotJSON},
		{kafka.Message{}, ""}, // neither key nor value
		{foreign, "source_foreign"},
		{kafka.Message{Value: goldenXML(t, "deaths.xml"), Headers: []kafka.Header{{Key: "content-type", Value: []byte("application/xml")}, {Key: "ekc_type", Value: []byte(TypeDeaths)},
			{Key: "trace", Value: []byte("t-1")}}}, "xml_topic"},
		{partMessage(uuid.New(), 3, 2, "1"), CodePart},
		{partMessage(taken, 1, 1, "other content"), ingest.ErrPartDiffers.Code},
		{partMessage(unstorable, 1, 1, "1"), errUnstorable.Code},
		{kafka.Message{Key: []byte("large"), Value: large}, CodeTooLarge},
	}
	messages := []kafka.Message{partMessage(taken, 1, 1, "1")}
	for i, p := range poison {
		messages = append(messages, p.message, partMessage(good, i+1, len(poison), "1"))
	}
	broker.Produce(t, topic, messages...)
	w.start("first")
	w.drained(topic, 1)
	if n := w.lists.count(); n != len(poison)+1 {
		t.Errorf("%d good parts of %d are stored", n, len(poison)+1)
	}
	var back []kafka.Message
	eventually(t, "all are back", func() bool { back = broker.Read(t, topic+rejectedSuffix); return len(back) == len(poison) })
	byOffset := make(map[string]kafka.Message)
	for _, m := range back {
		byOffset[headersOf(m)[headerOffset]] = m
	}
	for i, p := range poison {
		offset := 2*i + 1
		m, ok := byOffset[fmt.Sprint(offset)]
		h := headersOf(m)
		if !ok || h[headerTopic] != topic || h[headerPartition] != "0" || !bytes.Equal(m.Key, p.message.Key) || p.code != "" && h[headerCode] != p.code {
			t.Errorf("%s: %v", p.code, h)
			continue
		}
		if h[headerDetail] == "" || strings.Contains(h[headerDetail], "9030000001") {
			t.Errorf("%s: detail %q", p.code, h[headerDetail])
		}
		if p.code != CodeTooLarge {
			if !bytes.Equal(m.Value, p.message.Value) || len(p.message.Headers) > 0 && h["trace"] != "t-1" {
				t.Errorf("%s did not come back as it was sent", p.code)
			}
			continue
		}
		sum := sha256.Sum256(large)
		if !bytes.Equal(m.Value, large[:rejectedHead]) || h[headerSHA256] != hex.EncodeToString(sum[:]) || h[headerSize] != fmt.Sprint(len(large)) {
			t.Errorf("a large message came back with %d bytes, %s of %s", len(m.Value), h[headerSHA256], h[headerSize])
		}
	}
	// Nothing of it lies open in the database, and each is in the journal once.
	var open, entries int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM feed_rejected WHERE feed_rejected::text LIKE '%9030000001%' OR position('9030000001'::bytea IN sealed_value) > 0`).Scan(&open); err != nil || open != 0 {
		t.Errorf("%d rejected messages lie open, %v", open, err)
	}
	if err := w.db.QueryRow(t.Context(), `SELECT coalesce(sum(count), 0) FROM journal WHERE kind = 'part.rejected'`).Scan(&entries); err != nil || entries != len(poison) {
		t.Errorf("%d entries of rejected messages, want %d, %v", entries, len(poison), err)
	}
}

func TestARejectedTopicThatComesLaterGetsWhatWaits(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "norejected", 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("egisso", topic))
	stop := w.start("first")
	for range 40 {
		broker.Produce(t, topic, kafka.Message{Value: []byte("rubbish")}, partMessage(uuid.New(), 1, 1, "1"))
	}
	w.drained(topic, 1)
	eventually(t, "the fault shows", func() bool {
		all := w.Status()
		return len(all) == 1 && all[0].Fault == FaultRejected && all[0].Lag == 0
	})
	stop()
	broker.MakeTopic(t, topic+rejectedSuffix, 1)
	w.start("second")
	eventually(t, "all are told", func() bool { return len(broker.Read(t, topic+rejectedSuffix)) >= 40 })
	eventually(t, "the fault is over", func() bool { all := w.Status(); return len(all) == 1 && all[0].Fault == "" })
	var waiting int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM feed_rejected WHERE published_at IS NULL`).Scan(&waiting); err != nil || waiting != 0 {
		t.Errorf("%d still wait, %v", waiting, err)
	}
	if n := len(broker.Read(t, topic+rejectedSuffix)); n != 40 {
		t.Errorf("%d messages told of 40", n)
	}
}

func TestABatchThatUnpacksWithoutEndIsRefusedAndPassed(t *testing.T) {
	t.Parallel()
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "bomb", 1)
	w := newFeedWorld(t, broker, postgrestest.New(t), feedSource("egisso", topic))
	broker.Produce(t, topic, partMessage(uuid.New(), 1, 1, "1"))
	broker.Produce(t, topic, kafka.Message{Value: make([]byte, 2*unpackedMost)}) // some kilobytes in the topic
	broker.Produce(t, topic, partMessage(uuid.New(), 1, 1, "1"))
	w.start("first")
	eventually(t, "the topic is read to its end", func() bool { return broker.Committed(t, w.config.Group+"."+topic, topic, 1)[0] == 3 })
	var code string
	if err := w.db.QueryRow(t.Context(), `SELECT code FROM feed_rejected WHERE offset_no = 1`).Scan(&code); err != nil || code != "unpacks_too_large" {
		t.Errorf("%q, %v", code, err)
	}
	if n := w.lists.count(); n != 2 {
		t.Errorf("%d parts are stored, want the one before and the one behind", n)
	}
}
