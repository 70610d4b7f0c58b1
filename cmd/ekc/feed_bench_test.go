package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"

	"ekc/egisso"
	"ekc/egisso/kafkatest"
	"ekc/ingest"
	"ekc/journal"
	"ekc/smpp/smpptest"
)

// benchHub is a hub as a process, on a durable PostgreSQL and a real Apache Kafka. Lists of its source mse wait for a person once they are
// checked; single events of egisso go at once.
func benchHub(b *testing.B) (*crashHub, *kafkatest.Broker) {
	b.Helper()
	broker := kafkatest.Own(b)
	for topic, partitions := range map[string]int{mseTopic: mseParts, eventsTopic: 1, mseTopic + ".rejected": 1, eventsTopic + ".rejected": 1,
		egisso.StatusTopic: 4, egisso.ProtocolTopic: 4} {
		broker.MakeTopic(b, topic, partitions)
	}
	h := newCrashHub(b, func(c *smpptest.Config) { c.Keep = true }, "rate: 2000,")
	settings, err := os.OpenFile(h.config, os.O_APPEND|os.O_WRONLY, 0)
	must(b, err)
	_, err = fmt.Fprintf(settings, "kafka: {brokers: [%q], topics: [%s, %s]}\n", broker.Addr(), mseTopic, eventsTopic)
	must(b, err)
	must(b, settings.Close())
	return h, broker
}

const (
	mseTopic  = "mse.notification-lists.v1"
	mseAgency = "0003.000003"
	mseParts  = 4 // partitions of its topic
)

// checkedLists waits until so many lists are checked, and says since when the first of their parts was here.
func (h *crashHub) checkedLists(n int) time.Duration {
	h.t.Helper()
	var began time.Time
	h.await("the parts come", time.Minute, func() (bool, error) {
		began = time.Now()
		return h.count(`SELECT count(*) FROM feed_parts`) > 0, nil
	})
	h.await("the lists are checked", 5*time.Minute, func() (bool, error) { return h.count(`SELECT count(*) FROM lists WHERE state = 'ready'`) == n, nil })
	return time.Since(began)
}

// BenchmarkFeed is the way of a list by Kafka to ready beside the same parts given to ingest with no Kafka, and the way of a single event from
// its producer to the SMS centre: idle, and behind a list of a million rows that is being sent.
func BenchmarkFeed(b *testing.B) {
	const lists, parts, rows = 40, 5, 500
	var direct, byKafka []float64
	for b.Loop() {
		for range 3 {
			byKafka = append(byKafka, lists*parts*rows/feedRound(b, lists, parts, rows, true).Seconds())
			direct = append(direct, lists*parts*rows/feedRound(b, lists, parts, rows, false).Seconds())
		}
		slices.Sort(direct)
		slices.Sort(byKafka)
		b.ReportMetric(byKafka[1], "rows/s")
		b.ReportMetric(byKafka[1]/direct[1], "of_ingest_alone")
		b.Logf("%d rows in %d lists of %d parts, three rounds: by Kafka to ready %.0f rows/s, the same parts without Kafka %.0f rows/s: %.2f (hold 0.9, aim 0.98)",
			lists*parts*rows, lists, parts, byKafka[1], direct[1], byKafka[1]/direct[1])

		h, broker := benchHub(b)
		c := h.start("")
		idle := h.singleEvents(b, broker, 0)
		ref := h.submit(1_000_000, 1)
		h.approve(ref, 1_000_000)
		h.await("the list is being sent", time.Minute, func() (bool, error) { return h.smsc.Stats().Messages > 5000, nil })
		behind := h.singleEvents(b, broker, 1000)
		b.ReportMetric(float64(idle[99].Milliseconds()), "event_p99_ms")
		b.ReportMetric(float64(behind[99])/float64(idle[99]), "event_p99_behind_of_idle")
		b.Logf("a single event, produce to submit_sm: idle p50 %s, p99 %s; behind 1 000 000 rows p50 %s, p99 %s (%.1fx)", idle[50], idle[99], behind[50], behind[99],
			float64(behind[99])/float64(idle[99]))
		_ = c.Process.Kill()
	}
}

// feedRound brings lists to a hub of its own, and says how long they took from the first part to the last list checked.
func feedRound(b *testing.B, lists, parts, rows int, byKafka bool) time.Duration {
	b.Helper()
	h, broker := benchHub(b)
	messages := feedParts(lists, parts, rows)
	for i := range messages {
		messages[i].Value = []byte(strings.Replace(string(messages[i].Value), feedAgency, mseAgency, 1))
	}
	if byKafka {
		broker.Produce(b, mseTopic, messages...)
		c := h.start("")
		defer func() { _ = c.Process.Kill() }()
		return h.checkedLists(lists)
	}
	all := partsOf(b, messages)
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = h.lists.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	for i := range mseParts { // as many at once as the topic has partitions
		go func() {
			own := all[i*len(all)/mseParts : (i+1)*len(all)/mseParts]
			for batch := range slices.Chunk(own, 16) {
				if _, err := h.lists.TakeParts(b.Context(), batch); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	return h.checkedLists(lists)
}

// partsOf are messages as ingest takes them.
func partsOf(b *testing.B, messages []kafka.Message) []ingest.FeedPart {
	b.Helper()
	who := journal.Principal{Account: "source/mse", Agency: mseAgency, Source: "mse", Roles: []journal.Role{journal.RoleSourceSystem}}
	parts := make([]ingest.FeedPart, len(messages))
	for i, m := range messages {
		parsed, err := egisso.Parse(nil, m.Value, time.Now())
		must(b, err)
		p := parsed.Part
		p.Header.Source = "mse"
		parts[i] = ingest.FeedPart{Principal: who, ListID: p.ListID, Part: p.Part, Parts: p.Parts, Header: p.Header, Rows: p.Rows, Digest: p.Digest, HeaderDigest: p.HeaderDigest}
	}
	return parts
}

// singleEvents sends 100 single events, one after another, and returns how long each took from its producer to the SMS centre, sorted, the
// 0th once more at the front.
func (h *crashHub) singleEvents(b *testing.B, broker *kafkatest.Broker, from int) []time.Duration {
	b.Helper()
	const events = 100
	w := egisso.NewWriter([]string{broker.Addr()}, nil)
	defer w.Close()
	took := make([]time.Duration, 0, events)
	for i := range events + 3 { // the first join their group, open their connections
		phone := fmt.Sprintf("7900777%04d", from+i)
		id := uuid.NewString()
		value := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"time":"2026-11-25T08:00:00Z","data":{"list_id":%q,"part":1,"parts":1,"name":"событие","life_event":"OP-04",
			"rows":[{"external_id":"e-%d","phone":"+%s","text":"СФР: выплата назначена. Вопросы: 8-800-100-00-01"}]}}`, id, feedAgency, egisso.TypePart, id, i, phone)
		began := time.Now()
		must(b, w.Produce(b.Context(), egisso.Record{Topic: eventsTopic, Key: []byte(id), Value: []byte(value)}))
		h.await("the event is told", time.Minute, func() (bool, error) { return h.smsc.MessagesTo(phone) > 0, nil })
		for _, m := range slices.Backward(h.smsc.Messages()) {
			if strings.TrimPrefix(m.To, "+") == phone {
				took = append(took, m.At.Sub(began))
				break
			}
		}
	}
	took = took[3:]
	slices.Sort(took)
	return append(took[:1:1], took...)
}
