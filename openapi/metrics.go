package openapi

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the door. Every label comes from a closed set: routes are templates, statuses are classes.
type metrics struct {
	seconds  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	replays  prometheus.Counter
	inFlight prometheus.Gauge
	routes   map[string]bool
}

const otherRoute = "other"

var classes = []string{"2xx", "3xx", "4xx", "5xx"}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ekc_http_request_seconds", Help: "Time from the request's header to the end of the answer, by route template and class of status.",
			Buckets: []float64{.002, .01, .05, .2, 1, 5, 30},
		}, []string{"route", "class"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ekc_http_refused_total", Help: "Requests refused because of who asked, by code.",
		}, []string{"code"}),
		replays: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ekc_http_replays_total", Help: "Answers given again for their Idempotency-Key.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ekc_http_in_flight", Help: "Requests under way."}),
		routes:   make(map[string]bool),
	}
	registry.MustRegister(m.seconds, m.refused, m.replays, m.inFlight)
	for _, code := range []Code{CodeUnauthorized, CodeAdminKeyUsed, CodeForbidden} {
		m.refused.WithLabelValues(string(code))
	}
	m.add(otherRoute)
	return m
}

// add makes a route known and its series present at zero.
func (m *metrics) add(route string) {
	m.routes[route] = true
	for _, class := range classes {
		m.seconds.WithLabelValues(route, class)
	}
}

// observe counts an answer and returns the route it was counted under.
func (m *metrics) observe(pattern string, status int, took time.Duration) string {
	if !m.routes[pattern] {
		pattern = otherRoute
	}
	class := "5xx" // also when nothing could be answered
	if status >= 200 && status < 600 {
		class = classes[status/100-2]
	}
	m.seconds.WithLabelValues(pattern, class).Observe(took.Seconds())
	return pattern
}

// discardAddresses keeps net/http's own complaints (broken TLS hellos, bad requests), which quote what was sent, at a level and
// in words of ours.
type discardAddresses struct{ slog.Handler }

func (h discardAddresses) Handle(ctx context.Context, r slog.Record) error {
	return h.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, "http connection failed", r.PC))
}
