package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/egisso"
	"ekc/fixtures"
	"ekc/ingest"
	"ekc/openapi"
)

// startBroker is the demo's Kafka: a broker that speaks the protocol, in this process, without Java. It has the topics of the seed's sources.
func (d *demo) startBroker() (stop func(), err error) {
	items, err := catalog.SeedItems()
	if err != nil {
		return nil, err
	}
	topics := []string{egisso.ProtocolTopic, egisso.StatusTopic, egisso.ReplyTopic}
	for _, item := range items {
		if source, ok := item.(*catalog.Source); ok {
			for _, topic := range source.Topics {
				topics = append(topics, topic, topic+".rejected")
			}
		}
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		return nil, fmt.Errorf("start the demo's Kafka: %w", err)
	}
	d.brokers = egisso.Brokers{Addrs: cluster.ListenAddrs()}
	return cluster.Close, nil
}

// recalledRow is taken back before its list comes; the other row of that list is told.
const recalledRow = "дело-2640"

// feedScenes are the golden messages that the demo sends, by their names, each with what its rows end as; "" = it brings no list.
var feedScenes = []struct{ name, end, sentence string }{
	{"a list of one part, brought once more", "delivered", "список в одной части; она же ещё раз; она же с другим содержанием"},
	{"three parts, out of order", "delivered", "список в трёх частях, не по порядку"},
	{"a single event", "delivered", "одно событие: уходит раньше списков"},
	{"a cancel before its list", "delivered", "отмена одной строки раньше её списка"},
	{"a cancel after its list", "cancelled", "список, который ждёт завтрашнего дня, и его отмена"},
	{"10.33.O", "delivered", "сообщение 10.33.O: в нём только СНИЛС, телефон берётся из профиля; и такое же с истёкшим сроком"},
	{"cut off", "", "обрывок"},
	{"a phone for an external id", "", "строка, названная телефоном"},
}

// knownCitizen is whom the sample of 10.33.O is about; an operator has his phone.
const knownCitizen = `{"snils": "000-005-060 32", "phone": "+79030005600", "told_by": "citizen", "purpose": {"code": "contact", "reference": "ОБР-1"}}`

// playFeed sends messages of ЕГИССО by Kafka, as its producers would, and listens to what comes back.
func (d *demo) playFeed(ctx context.Context, p *people) ([]*played, error) {
	d.say("\nТеперь то же по Kafka (%s):", strings.Join(d.brokers.Addrs, ", "))
	if err := p.operator.call(ctx, http.MethodPut, "/v1/citizens/profile", json.RawMessage(knownCitizen), nil); err != nil {
		return nil, err
	}
	golden, err := fixtures.ReadFeed()
	if err != nil {
		return nil, err
	}
	sent := d.told()
	writer := egisso.NewWriter(d.brokers.Addrs, nil)
	defer writer.Close()
	ends := make(map[string]string) // by list
	rejected := 0
	for _, scene := range feedScenes {
		i := slices.IndexFunc(golden.Scenes, func(s fixtures.FeedScene) bool { return s.Name == scene.name })
		if i < 0 {
			return nil, fmt.Errorf("the samples have no messages %q", scene.name)
		}
		for _, m := range golden.Scenes[i].Messages {
			list, err := sendGolden(ctx, writer, &m)
			if err != nil {
				return nil, err
			}
			if m.Fate == "rejected" {
				rejected++
			} else if list != "" && scene.end != "" {
				ends[list] = scene.end
			}
		}
		d.say("  %s", scene.sentence)
	}
	heard, err := d.hear(ctx, sortedKeys(ends), rejected)
	if err != nil {
		return nil, err
	}
	var all []*played
	messages := 0
	for _, id := range sortedKeys(ends) {
		one, err := d.compareFeed(ctx, p, id, ends[id], heard)
		if err != nil {
			return nil, err
		}
		messages += int(one.list.Counts["delivered"])
		all = append(all, one)
	}
	d.say("Из тем ЕКЦ пришло: протоколов %d, статусов %d, итогов %d; в темы .rejected вернулось сообщений: %d.", heard.protocols, heard.statuses, len(heard.summaries), heard.rejected)
	switch {
	case heard.rejected != rejected:
		all[0].miss("в темы .rejected вернулось %d сообщений, а должно быть %d", heard.rejected, rejected)
	case d.told()-sent != messages:
		all[0].miss("центры СМС записали %d сообщений, а доставлено %d", d.told()-sent, messages)
	}
	return all, nil
}

// told is how many whole messages the SMS centres have.
func (d *demo) told() (n int) {
	for _, s := range d.smscs {
		n += s.Stats().Messages
	}
	return n
}

// sendGolden sends one message, and returns the list it brings. A list that waits for a day of January waits for tomorrow here.
func sendGolden(ctx context.Context, to egisso.Producer, m *fixtures.FeedMessage) (list string, err error) {
	b, err := m.Bytes()
	if err != nil {
		return "", err
	}
	b = []byte(strings.ReplaceAll(string(b), `"not_before": "2026-01-20"`, `"not_before": "`+time.Now().AddDate(0, 0, 1).Format(time.DateOnly)+`"`))
	headers := []egisso.Header{{Key: "content-type", Value: []byte(m.ContentType())}}
	if m.EKCType != "" {
		headers = append(headers, egisso.Header{Key: "ekc_type", Value: []byte(m.EKCType)})
	}
	if parsed, err := egisso.Parse(headers, b, time.Now()); err == nil && parsed.Part != nil {
		list = parsed.Part.ListID.String()
	}
	return list, to.Produce(ctx, egisso.Record{Topic: m.Topic, Key: []byte(list), Value: b, Headers: headers})
}

// heard is what came back by Kafka.
type heard struct {
	protocols, statuses, rejected int
	last                          map[[2]string]ingest.Status // by list and external id: the one with the highest sequence
	summaries                     map[string]ingest.Summary
}

// hearFor is how long the demo waits for what must come back.
const hearFor = time.Minute

// hear listens until each list has its summary and every rejected message is back.
func (d *demo) hear(ctx context.Context, lists []string, rejected int) (*heard, error) {
	h := &heard{last: make(map[[2]string]ingest.Status), summaries: make(map[string]ingest.Summary)}
	all := errors.New("everything is back")
	ctx, cancel := context.WithTimeout(ctx, hearFor)
	defer cancel()
	topics := []string{egisso.ProtocolTopic, egisso.StatusTopic, "egisso.notification-lists.v1.rejected", "egisso.messages.v1.rejected"}
	err := egisso.Watch(ctx, d.brokers, topics, true, func(topic string, _, value []byte) error {
		if err := h.take(topic, value); err != nil {
			return err
		}
		if h.rejected >= rejected && !slices.ContainsFunc(lists, func(id string) bool { _, ok := h.summaries[id]; return !ok }) {
			return all
		}
		return nil
	})
	if errors.Is(err, all) || errors.Is(ctx.Err(), context.DeadlineExceeded) { // what did not come is missed below
		return h, nil
	}
	return h, err
}

func (h *heard) take(topic string, value []byte) error {
	if strings.HasSuffix(topic, ".rejected") {
		h.rejected++
		return nil
	}
	var e struct {
		Type string
		Data json.RawMessage
	}
	if err := json.Unmarshal(value, &e); err != nil {
		return fmt.Errorf("read an event of %s: %w", topic, err)
	}
	switch e.Type {
	case ingest.EventProtocol:
		h.protocols++
	case ingest.EventStatus:
		var s ingest.Status
		if err := json.Unmarshal(e.Data, &s); err != nil {
			return fmt.Errorf("read a status: %w", err)
		}
		h.statuses++
		if key := [2]string{s.ListID.String(), s.ExternalID}; s.Sequence >= h.last[key].Sequence {
			h.last[key] = s
		}
	case ingest.EventSummary:
		var s ingest.Summary
		if err := json.Unmarshal(e.Data, &s); err != nil {
			return fmt.Errorf("read a summary: %w", err)
		}
		h.summaries[s.ListID.String()] = s
	}
	return nil
}

// compareFeed holds what came back about a list against what the hub says of it and what the sample should come to.
func (d *demo) compareFeed(ctx context.Context, p *people, id, end string, h *heard) (*played, error) {
	one := &played{sample: fixtures.Sample{Approve: true}}
	var list openapi.List
	if err := p.duty.call(ctx, http.MethodGet, "/v1/lists/"+id, nil, &list); err != nil {
		return nil, err
	}
	one.list, one.sample.Name = list, "Kafka: "+list.Name
	statuses := 0
	for key, s := range h.last {
		if key[0] != id {
			continue
		}
		statuses++
		want := end
		if s.ExternalID == recalledRow {
			want = dispatch.Cancelled.String()
		}
		if s.State != want || !s.Final {
			one.miss("строка %s: последний статус %s, а должен быть %s", s.ExternalID, s.State, want)
		}
	}
	summary := h.summaries[id]
	if statuses != list.Accepted || summary.Accepted != list.Accepted || summary.Rows != list.Rows || summary.Informed != int(list.Counts["delivered"]) {
		one.miss("статусы есть о %d строках; итог говорит: строк %d, принято %d, извещено %d; а в списке строк %d, принято %d, доставлено %d", statuses, summary.Rows,
			summary.Accepted, summary.Informed, list.Rows, list.Accepted, list.Counts["delivered"])
	}
	for state, n := range list.Counts {
		if summary.Counts[state] != int(n) {
			one.miss("итог говорит: %s %d, а в списке %d", state, summary.Counts[state], n)
		}
	}
	return one, nil
}
