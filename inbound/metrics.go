package inbound

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	registered   *prometheus.CounterVec // by kind
	incomplete   prometheus.Counter
	repeated     prometheus.Counter
	optOuts      prometheus.Counter
	refused      prometheus.Counter
	queued       prometheus.Gauge
	partsWaiting prometheus.Gauge
	seconds      prometheus.Histogram
}

// newMetrics registers the metrics; a nil registry leaves them unregistered.
func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		registered:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_inbound_registered_total", Help: "Messages of citizens that got a number."}, []string{"kind"}),
		incomplete:   prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_inbound_incomplete_total", Help: "Messages registered without all of their parts."}),
		repeated:     prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_inbound_repeated_total", Help: "Messages and parts offered again that were stored already."}),
		optOuts:      prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_inbound_opt_outs_total", Help: "Refusals written because of a message."}),
		refused:      prometheus.NewCounter(prometheus.CounterOpts{Name: "ekc_inbound_refused_total", Help: "Messages and parts that could not be stored; the SMSC offers them again."}),
		queued:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "ekc_inbound_queued", Help: "Messages and parts that wait to be stored."}),
		partsWaiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ekc_inbound_parts_waiting", Help: "Parts that wait for the rest of their message, as of the last sweep."}),
		seconds:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ekc_inbound_register_seconds", Help: "Duration of one registering transaction.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
	}
	for _, k := range []Kind{KindMessage, KindOptOut} {
		m.registered.WithLabelValues(string(k))
	}
	if reg != nil {
		reg.MustRegister(m.registered, m.incomplete, m.repeated, m.optOuts, m.refused, m.queued, m.partsWaiting, m.seconds)
	}
	return m
}
