package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ekc/egisso"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
)

// brokers are those of the configuration, as the feed wants them.
func brokers(c KafkaConfig) (egisso.Brokers, error) {
	encryption, err := clientTLSConfig(c.TLS)
	if err != nil {
		return egisso.Brokers{}, fmt.Errorf("kafka: %w", err)
	}
	return egisso.Brokers{Addrs: c.Brokers, TLS: encryption,
		SASL: egisso.SASL{Mechanism: c.SASL.Mechanism, Username: c.SASL.Username, Password: c.SASL.Password.Reveal()}}, nil
}

// makeFeed makes what reads the topics, if there are brokers to read from.
func (h *hub) makeFeed() error {
	if !h.roles.feed || len(h.config.Kafka.Brokers) == 0 {
		return nil
	}
	from, err := brokers(h.config.Kafka)
	if err != nil {
		return err
	}
	h.feed = egisso.NewFeed(egisso.FeedConfig{
		Brokers: from, Group: h.config.Kafka.Group, Topics: h.config.Kafka.Topics, DB: h.db, Journal: h.journal, Keys: h.keyring,
		Catalog: h.catalog.Current, Lists: h.lists, Process: h.process, Log: h.log, Metrics: h.registry, Now: time.Now,
	})
	client, err := egisso.NewClient(from)
	if err != nil {
		return err
	}
	writer := egisso.NewWriter(from.Addrs, client.Transport())
	h.publisher = egisso.NewPublisher(egisso.PublisherConfig{DB: h.db, Reports: h.lists, Producer: writer, Now: time.Now, Log: h.log, Metrics: h.registry,
		Client: client, Catalog: h.catalog.Current})
	h.closeFeed = func() {
		_ = writer.Close() // what it was given last is told again by whoever publishes next
		client.Close()
	}
	return nil
}

// feedReadiness says what is wrong with the topics this process reads. It works on without them, so that is a remark.
func (h *hub) feedReadiness(context.Context) error {
	var wrong []string
	for _, s := range h.feed.Status() {
		if s.Fault != "" {
			wrong = append(wrong, feedSentence(s))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return openapi.Remark(strings.Join(wrong, "; "))
}

func feedSentence(s egisso.SourceStatus) string {
	sentence := fmt.Sprintf("источник %s, тема %s: %s", s.Source, s.Topic, s.Fault.What())
	if s.Detail != "" {
		sentence += " (" + s.Detail + ")"
	}
	return sentence
}

// feedLinks shows the topics of the feed among the links.
type feedLinks struct {
	desk  egisso.Desk
	lists *ingest.Service
}

// Resume ends the hold on the source's lists before it is read again: a person who is interrupted in between asks once more.
func (f feedLinks) Resume(ctx context.Context, p journal.Principal, source string) (stopped bool, err error) {
	if err := f.lists.LetSourceGo(ctx, p, source); err != nil {
		return false, err
	}
	err = f.desk.Resume(ctx, p, source)
	if errors.Is(err, egisso.ErrNotStopped) {
		return false, nil
	}
	return err == nil, err
}

func (f feedLinks) FeedLinks(ctx context.Context) ([]openapi.Link, error) {
	all, err := f.desk.Status(ctx)
	if err != nil {
		return nil, err
	}
	links := make([]openapi.Link, len(all))
	for i, s := range all {
		links[i] = feedLink(s)
	}
	return links, nil
}

func feedLink(s egisso.SourceStatus) openapi.Link {
	l := openapi.Link{Name: s.Topic, Kind: "kafka", Pool: s.Source, Holder: s.Process, State: "up", Lag: &s.Lag}
	if !s.LastPart.IsZero() {
		l.LastPart = &s.LastPart
	}
	if s.Partitions == 0 {
		l.State = "standby"
	}
	if s.Fault != "" {
		l.Reason, l.Advice, l.Since = feedSentence(s), s.Fault.Do(), &s.Since
	}
	switch s.Fault {
	case "", egisso.FaultLost, egisso.FaultRejected: // it is read
	case egisso.FaultSilent:
		l.State, l.Lag = "unknown", nil
	case egisso.FaultTransactions:
		l.State, l.Stopped, l.Lag = "down", true, nil
	default:
		l.State = "down"
	}
	return l
}

// judgeTopic is a finding about a topic of the feed that something is wrong with.
func (s *situation) judgeTopic(l openapi.Link) {
	if l.Reason == "" {
		return
	}
	f := finding{What: l.Reason, Since: l.Since, Do: l.Advice, Section: "the-feed", Whom: "ведомства источника " + l.Pool + ": их списки не принимаются"}
	if l.State == "up" {
		f.Whom = "ведомства источника " + l.Pool
	}
	s.add(f)
}

func (r *configReader) checkKafka(k KafkaConfig) {
	for i, broker := range k.Brokers {
		r.address(fmt.Sprintf("kafka.brokers[%d]", i), broker)
		r.needTLS("kafka", "brokers", broker, k.TLS != nil, k.InsecureBecause)
	}
	r.clientTLS("kafka.tls", k.TLS)
	if (k.SASL.Mechanism == "") != (k.SASL.Username == "") {
		r.fault("kafka.sasl", "mechanism and username are needed both, or none")
	}
	if k.SASL.Mechanism != "" && k.SASL.Password == "" {
		r.fault("kafka.sasl.password", "it is needed with a mechanism; meant for the environment: EKC_KAFKA_SASL_PASSWORD")
	}
	if len(k.Brokers) > 0 && k.Group == "" {
		r.fault("kafka.group", "expected a name")
	}
}
