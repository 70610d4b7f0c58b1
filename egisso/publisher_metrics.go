package egisso

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ekc/journal"
)

type publisherMetrics struct {
	lag, age, behind prometheus.Gauge
	published        prometheus.Counter
	failures         *prometheus.CounterVec
}

func newPublisherMetrics(registry prometheus.Registerer) publisherMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		if registry != nil {
			registry.MustRegister(g)
		}
		return g
	}
	m := publisherMetrics{
		lag:       gauge("ekc_publisher_lag_positions", "How far the source that lags most is behind the journal, in positions; of the process that publishes."),
		age:       gauge("ekc_publisher_oldest_seconds", "Age of the oldest journal entry that is not passed on; of the process that publishes."),
		behind:    gauge("ekc_publisher_sources_behind", "Sources whose topic cannot be written to, and that catch up with what they missed."),
		published: prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_publisher_records_total", Help: "Records the brokers have taken, repeats too."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_publisher_failures_total",
			Help: "Times a source's topic could not be written to; without a source: that no broker answered."}, []string{"source"}),
	}
	m.failures.WithLabelValues("")
	if registry != nil {
		registry.MustRegister(m.published, m.failures)
	}
	return m
}

const showEvery = time.Second

// show sets what is read from the journal. A database that does not answer is told of elsewhere.
func (f *following) show(ctx context.Context) {
	if now := f.cfg.Now(); now.Sub(f.shown) < showEvery {
		return
	}
	f.shown = f.cfg.Now()
	oldest := f.at
	for _, l := range f.behind {
		oldest = min(oldest, l.at)
	}
	f.metrics.behind.Set(float64(len(f.behind)))
	head, err := journal.Head(ctx, f.conn)
	if err != nil {
		return
	}
	f.metrics.lag.Set(float64(head - oldest))
	if oldest >= head {
		f.metrics.age.Set(0)
		return
	}
	next, _, err := journal.Follow(ctx, f.conn, oldest, 1)
	if err == nil && len(next) > 0 {
		f.metrics.age.Set(max(0, f.cfg.Now().Sub(next[0].Entry.At).Seconds()))
	}
}
