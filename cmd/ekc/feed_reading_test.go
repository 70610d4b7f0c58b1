package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"

	"ekc/egisso"
	"ekc/egisso/kafkatest"
	"ekc/fixtures"
	"ekc/ingest"
	"ekc/openapi"
	"ekc/postgres/postgrestest"
)

const (
	listsTopic  = "egisso.notification-lists.v1"
	eventsTopic = "egisso.notification-events.v1"
	feedAgency  = "0001.000001"
)

// feedParts makes lists of invented people as messages, parts×rows each; a list's key keeps its parts on one partition.
func feedParts(lists, parts, rows int) []kafka.Message {
	var messages []kafka.Message
	list, part := uuid.New(), 0
	var said []string
	n := 0
	for p := range fixtures.Persons(5) {
		n++
		said = append(said, fmt.Sprintf(`{"external_id":"row-%d","phone":%q,"snils":%q,"family_name":%q,"first_name":%q,"text":"СФР: выплата назначена. Вопросы: 8-800-100-00-01"}`,
			n, p.Phone, p.SNILS, p.Family, p.First))
		if len(said) < rows {
			continue
		}
		part++
		data := fmt.Sprintf(`{"list_id":%q,"part":%d,"parts":%d,"name":"список","life_event":"OP-04","rows":[%s]}`, list, part, parts, strings.Join(said, ","))
		messages = append(messages, kafka.Message{Key: []byte(list.String()), Value: fmt.Appendf(nil,
			`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"time":"2026-11-25T08:00:00Z","data":%s}`, uuid.NewString(), feedAgency, egisso.TypePart, data)})
		said = said[:0]
		if part == parts {
			if lists--; lists == 0 {
				break
			}
			list, part = uuid.New(), 0
		}
	}
	return messages
}

// TestKilledHubsAndARestartedBrokerAdmitEveryRowOnce brings lists by Kafka, every part twice and in any order, with rubbish between, to
// hubs that join, leave and are killed, over a broker that is restarted and killed.
func TestKilledHubsAndARestartedBrokerAdmitEveryRowOnce(t *testing.T) {
	rows, kills := crashSize("EKC_CRASH_ROWS", 4000), min(crashSize("EKC_CRASH_KILLS", 5), 10)
	const parts = 5
	perPart := 20
	if rows >= 50_000 { // make crash: 100 000 rows of its other tests are 1 000 parts of 500 here
		perPart, rows = 500, 5*rows
	}
	broker := kafkatest.Own(t)
	for _, topic := range []string{listsTopic, listsTopic + ".rejected", egisso.StatusTopic, egisso.ProtocolTopic} {
		broker.MakeTopic(t, topic, 6)
	}
	h := newCrashHub(t, nil, "")
	settings, err := os.OpenFile(h.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(settings, "kafka: {brokers: [%q], topics: [%s]}\n", broker.Addr(), listsTopic); err != nil {
		t.Fatal(err)
	}
	if err := settings.Close(); err != nil {
		t.Fatal(err)
	}
	lists := rows / (parts * perPart)
	rows = lists * parts * perPart
	once := feedParts(lists, parts, perPart)
	random := rand.New(rand.NewPCG(7, uint64(rows)))
	var messages []kafka.Message
	for range 2 {
		for _, i := range random.Perm(len(once)) {
			messages = append(messages, once[i])
		}
	}
	rubbish := 0
	written := 0
	steps := kills + 2
	hub := h.start("")
	for step := range steps {
		for upTo := (step + 1) * len(messages) / steps; written < upTo; {
			n := min(100, upTo-written)
			broker.Produce(t, listsTopic, append(messages[written:written+n:written+n], kafka.Message{Key: messages[written].Key, Value: []byte("rubbish")})...)
			written, rubbish = written+n, rubbish+1
		}
		switch {
		case step < kills:
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			other := h.start("")
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			_ = hub.Process.Kill() // while the other joins, has joined, or takes over
			hub.killed(0)
			hub = other
		case step == kills:
			if err := broker.Restart(); err != nil {
				t.Fatal(err)
			}
		default:
			broker.Kill()
			if err := broker.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.await("every list is complete", time.Duration(crashSize("EKC_CRASH_MINUTES", 3))*time.Minute, func() (bool, error) {
		return h.count(`SELECT count(*) FROM lists WHERE state = 'completed'`) == lists, nil
	})
	h.hearEnds(egisso.Brokers{Addrs: []string{broker.Addr()}}, rows, lists)
	hub.stop(t)
	t.Logf("%d rows in %d parts, each sent twice, %d of rubbish between, %d kills of the hub", rows, len(once), rubbish, kills)
	if n := h.count(`SELECT count(*) FROM feed_parts`); n != len(once) {
		t.Errorf("%d parts are stored, want %d", n, len(once))
	}
	if n := h.count(`SELECT coalesce(sum(accepted), 0) FROM lists`); n != rows {
		t.Errorf("%d rows were accepted, want %d", n, rows)
	}
	if n := h.count(`SELECT count(*) FROM notifications`); n != rows {
		t.Errorf("%d notifications, want %d", n, rows)
	}
	if s := h.smsc.Stats(); s.Destinations != rows {
		t.Errorf("%d phones were told, want %d", s.Destinations, rows)
	}
	if n := h.count(`SELECT count(*) FROM feed_rejected`); n != rubbish {
		t.Errorf("%d messages are rejected, want %d", n, rubbish)
	}
}

// hearEnds listens to the status topic from its beginning until it has told the end of every row and of every list, and looks for gaps in
// what it told of each row: statuses may come twice, never out of their order.
func (h *crashHub) hearEnds(from egisso.Brokers, rows, lists int) {
	h.t.Helper()
	const endBit = 1 << 31
	told := make(map[string]uint32, rows) // by notification: bit n for the status with sequence n
	summaries := make(map[string]bool)
	ended := 0
	all := errors.New("all of it came")
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	err := egisso.Watch(ctx, from, []string{egisso.StatusTopic}, true, func(_ string, _, value []byte) error {
		var e struct {
			Type string
			Data struct {
				List     string `json:"list_id"`
				Row      string `json:"notification_id"`
				Sequence int
				State    string
				Final    bool
			}
		}
		if err := json.Unmarshal(value, &e); err != nil {
			return err
		}
		s := &e.Data
		switch {
		case e.Type == ingest.EventSummary:
			summaries[s.List] = true
		case s.Sequence < 31:
			told[s.Row] |= 1 << s.Sequence
			if s.State == "delivered" && s.Final && told[s.Row]&endBit == 0 {
				told[s.Row] |= endBit
				ended++
			}
		}
		if ended == rows && len(summaries) == lists {
			return all
		}
		return nil
	})
	gaps := 0
	for _, heard := range told {
		if heard = heard &^ endBit >> 1; heard&(heard+1) != 0 {
			gaps++
		}
	}
	h.t.Logf("the status topic tells the ends of %d rows and %d lists", ended, len(summaries))
	if !errors.Is(err, all) || len(told) != rows || gaps != 0 {
		h.t.Errorf("the status topic tells the ends of %d rows, want %d, and of %d lists, want %d, with gaps in %d rows: %v", ended, rows, len(summaries), lists, gaps, err)
	}
}

func TestAListWithMissingPartsIsAFindingOfStatus(t *testing.T) {
	t.Parallel()
	s := &situation{At: time.Now(), Lists: []openapi.List{
		{ID: "a", Name: "Не целиком", Agency: feedAgency, State: string(ingest.Receiving), StateReason: "Не пришли части списка: 1."},
		{ID: "b", Name: "Приходит", Agency: feedAgency, State: string(ingest.Receiving)}}}
	s.judgeLists()
	if len(s.Findings) != 1 || !strings.Contains(s.Findings[0].What, "«Не целиком»: Не пришли части") || !strings.Contains(s.Findings[0].Do, "/v1/lists/a/cancel") {
		t.Errorf("%+v", s.Findings)
	}
}

func TestAFaultOfASourceIsSeenInLinksReadinessAndStatus(t *testing.T) {
	t.Parallel()
	broker := kafkatest.Own(t)
	broker.MakeTopic(t, listsTopic, 1)
	w := newWorld(t, postgrestest.NewURL(t), "EKC_KAFKA_BROKERS="+broker.Addr(), "EKC_KAFKA_TOPICS="+listsTopic+","+eventsTopic)
	w.start(slog.New(slog.DiscardHandler))
	duty := w.staff().duty
	broker.Produce(t, listsTopic, feedParts(1, 1, 5)...)
	links := func() map[string]openapi.Link {
		var page openapi.Page[openapi.Link]
		if err := duty.call(t.Context(), http.MethodGet, "/v1/links", nil, &page); err != nil {
			t.Fatal(err)
		}
		all := make(map[string]openapi.Link)
		for _, l := range page.Items {
			all[l.Name] = l
		}
		return all
	}
	await(t, "the topics show", func() bool {
		all := links()
		good, bad := all[listsTopic], all[eventsTopic]
		return good.State == "up" && good.Kind == "kafka" && good.Lag != nil && *good.Lag == 0 && good.LastPart != nil &&
			bad.State == "down" && bad.Reason == "источник egisso, тема "+eventsTopic+": такой темы нет" && bad.Advice != "" && bad.Since != nil
	})
	var ready struct {
		Status string
		Checks []struct {
			Name, Reason string
			OK           bool
		}
	}
	if err := duty.call(t.Context(), http.MethodGet, "/readyz", nil, &ready); err != nil || ready.Status != "ready" || !strings.Contains(fmt.Sprint(ready), "такой темы нет") {
		t.Errorf("%v %+v: a source's fault is a remark, and the process is ready", err, ready)
	}
	s := &situation{At: time.Now()}
	for _, l := range links() {
		if l.Kind == "kafka" {
			s.Links = append(s.Links, l)
		}
	}
	s.judgeLinks()
	if len(s.Findings) != 1 || !strings.Contains(s.Findings[0].What, eventsTopic) || s.Findings[0].Section != "the-feed" || s.Findings[0].Do == "" {
		t.Errorf("%+v", s.Findings)
	}
}
