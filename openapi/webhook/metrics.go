package webhook

import (
	"context"
	"crypto/tls"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	endpoints           *prometheus.GaugeVec
	delivered, failures prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) metrics {
	m := metrics{
		endpoints: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ekc_webhooks",
			Help: "Webhooks by state; dead ones wait for a person. Of the process that delivers."}, []string{"state"}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_webhook_events_total", Help: "Events that webhooks have taken."}),
		failures:  prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_webhook_failures_total", Help: "Deliveries that webhooks have not taken."}),
	}
	for _, state := range []string{"active", "failing", "dead"} {
		m.endpoints.WithLabelValues(state)
	}
	if registry != nil {
		registry.MustRegister(m.endpoints, m.delivered, m.failures)
	}
	return m
}

const statesSQL = `SELECT count(*) FILTER (WHERE NOT dead AND failures = 0), count(*) FILTER (WHERE NOT dead AND failures > 0), count(*) FILTER (WHERE dead) FROM webhooks`

func (s *Service) observe(ctx context.Context, conn *pgx.Conn) {
	var active, failing, dead int64
	if err := conn.QueryRow(ctx, statesSQL).Scan(&active, &failing, &dead); err != nil {
		return // the next statement says so
	}
	s.metrics.endpoints.WithLabelValues("active").Set(float64(active))
	s.metrics.endpoints.WithLabelValues("failing").Set(float64(failing))
	s.metrics.endpoints.WithLabelValues("dead").Set(float64(dead))
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &verify) || errors.As(err, &header) || errors.As(err, &alert)
}
