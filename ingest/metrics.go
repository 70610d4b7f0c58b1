package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics have no label but the verdict of rows.
type metrics struct {
	rows           *prometheus.CounterVec
	checked        prometheus.Histogram
	approvedToSent prometheus.Histogram
	countersLag    prometheus.Gauge
	incomplete     prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_ingest_rows_total", Help: "Rows checked, by verdict."}, []string{"verdict"}),
		checked: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ekc_ingest_check_seconds", Help: "Time to check one list.",
			Buckets: []float64{0.1, 0.5, 1, 5, 15, 60, 300, 1800}}),
		approvedToSent: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ekc_ingest_approved_to_sent_seconds",
			Help: "From approval, or the hour set by it, to the first attempt of a list.", Buckets: []float64{0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 600}}),
		countersLag: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ekc_ingest_counters_lag", Help: "Journal entries that list counters have not taken in yet."}),
		incomplete: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ekc_ingest_feed_lists_incomplete",
			Help: "Lists of the feed whose missing parts have been waited for too long."}),
	}
	m.rows.WithLabelValues("accepted")
	m.rows.WithLabelValues("rejected")
	if reg != nil {
		reg.MustRegister(m.rows, m.checked, m.approvedToSent, m.countersLag, m.incomplete)
	}
	return m
}
