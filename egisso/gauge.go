package egisso

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
)

func isNetwork(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}

// metrics of all topics; a topic's series come and go with its reader.
type metrics struct {
	lag, lastPart, fault *prometheus.GaugeVec
	messages             *prometheus.CounterVec
}

// Fates of a message, for metrics.
const (
	fateTaken    = "taken" // stored now, or before with the same content
	fateRejected = "rejected"
)

func newMetrics(registry prometheus.Registerer) *metrics {
	labels := []string{"source", "topic"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		registry.MustRegister(g)
		return g
	}
	m := &metrics{
		lag:      gauge("ekc_feed_lag", "Messages of the partitions this process reads that are not stored yet."),
		lastPart: gauge("ekc_feed_last_part_timestamp_seconds", "When this process last stored a message of the topic; 0 is not yet."),
		fault:    gauge("ekc_feed_fault", "1 while something keeps the topic, or a part of it, from being read."),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_feed_messages_total",
			Help: "Messages read: taken (repeats too), or rejected."}, append(labels, "fate")),
	}
	registry.MustRegister(m.messages)
	return m
}

// lostFor is how long messages that were lost are shown.
const lostFor = 24 * time.Hour

// Places a fault is known by, beside its partition: each is over by its own success.
const (
	placeGroup    = -1
	placeStore    = -2
	placeRejected = -3
	placeLost     = -4
)

// gauge is what is known of the reading of one topic in this process.
type gauge struct {
	source, topic string
	metrics       *metrics
	log           *slog.Logger
	now           func() time.Time

	mu         sync.Mutex
	partitions map[int]position
	faults     map[int]sourceFault // by partition or place
	lastPart   time.Time
}

type position struct{ stored, end int64 }

type sourceFault struct {
	code  FaultCode
	since time.Time
}

func newGauge(source, topic string, m *metrics, log *slog.Logger, now func() time.Time) *gauge {
	g := &gauge{source: source, topic: topic, metrics: m, log: log.With("source", source, "topic", topic), now: now,
		partitions: make(map[int]position), faults: make(map[int]sourceFault)}
	for _, fate := range []string{fateTaken, fateRejected} {
		m.messages.WithLabelValues(source, topic, fate)
	}
	m.lastPart.WithLabelValues(source, topic)
	g.show()
	return g
}

// remove takes the topic's series away.
func (g *gauge) remove() {
	for _, v := range []*prometheus.GaugeVec{g.metrics.lag, g.metrics.lastPart, g.metrics.fault} {
		v.DeleteLabelValues(g.source, g.topic)
	}
	g.metrics.messages.DeletePartialMatch(prometheus.Labels{"source": g.source, "topic": g.topic})
}

func (g *gauge) assigned(partitions []kafka.PartitionAssignment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.partitions)
	for _, p := range partitions {
		g.partitions[p.ID] = position{stored: -1} // its first fetch says where it stands
	}
	for place := range g.faults {
		if place >= 0 || place == placeGroup && partitions != nil {
			g.over(place)
		}
	}
	g.show()
}

func (g *gauge) fetched(f fetched, from int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.partitions[f.partition]
	if p.stored < 0 {
		p.stored = from
	}
	p.end = f.end
	g.partitions[f.partition] = p
	g.over(f.partition)
	g.show()
}

func (g *gauge) committed(next map[int]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for partition, offset := range next {
		p := g.partitions[partition]
		p.stored = offset
		g.partitions[partition] = p
	}
	g.show()
}

func (g *gauge) taken(n, rejected int) {
	g.metrics.messages.WithLabelValues(g.source, g.topic, fateTaken).Add(float64(n))
	g.metrics.messages.WithLabelValues(g.source, g.topic, fateRejected).Add(float64(rejected))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over(placeStore)
	if g.lastPart = g.now(); n+rejected > 0 {
		g.metrics.lastPart.WithLabelValues(g.source, g.topic).Set(float64(g.lastPart.UnixMilli()) / 1000)
	}
	g.show()
}

// lost notes that the topic no longer has the messages from an offset on.
func (g *gauge) lost(partition int, offset int64) {
	g.log.Error("messages are gone from the topic that were not read: reading goes on with the oldest that is kept", "partition", partition, "offset", offset)
	g.set(placeLost, FaultLost, nil)
}

// fault is told of every failure, and logs the first of its kind.
func (g *gauge) fault(place int, err error) { g.set(place, faultOf(err), err) }

func (g *gauge) set(place int, code FaultCode, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.faults[place].code != code {
		g.faults[place] = sourceFault{code, g.now()}
		if err != nil {
			g.log.Warn("the topic cannot be read", "code", code, "err", err)
		}
	}
	g.show()
}

func (g *gauge) clear(place int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over(place)
	g.show()
}

func (g *gauge) over(place int) {
	f, ok := g.faults[place]
	if !ok {
		return
	}
	delete(g.faults, place)
	g.log.Info("over", "code", f.code, "duration_ms", g.now().Sub(f.since).Milliseconds())
}

func (g *gauge) show() {
	g.metrics.lag.WithLabelValues(g.source, g.topic).Set(float64(g.lag()))
	faulty := 0.0
	if len(g.faults) > 0 {
		faulty = 1
	}
	g.metrics.fault.WithLabelValues(g.source, g.topic).Set(faulty)
}

func (g *gauge) lag() (n int64) {
	for _, p := range g.partitions {
		if p.stored >= 0 {
			n += max(p.end-p.stored, 0)
		}
	}
	return n
}

// status is the topic as this process sees it; of several faults the oldest.
func (g *gauge) status() SourceStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.faults[placeLost]; ok && g.now().Sub(f.since) > lostFor {
		g.over(placeLost)
	}
	s := SourceStatus{Source: g.source, Topic: g.topic, Partitions: len(g.partitions), Lag: g.lag(), LastPart: g.lastPart}
	for _, place := range slices.Sorted(maps.Keys(g.faults)) {
		if f := g.faults[place]; s.Fault == "" || f.since.Before(s.Since) {
			s.Fault, s.Since = f.code, f.since
		}
	}
	return s
}
