package dispatch

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what dispatch counts. Labels come from closed sets.
type Metrics struct {
	Held       *prometheus.GaugeVec   // 1 while this process holds the pool
	PoolFaults *prometheus.CounterVec // times a pool stopped for an unexpected reason
	Results    *prometheus.CounterVec // by pool, verdict
	Ends       *prometheus.CounterVec // by channel, state
	Receipts   *prometheus.CounterVec // by pool, fate: settled, orphan
	Unrecorded *prometheus.GaugeVec   // claimed and not yet recorded
	Record     prometheus.Histogram   // seconds of one recording transaction
}

// NewMetrics registers the metrics; a nil registry leaves them unregistered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Held:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ekc_dispatch_pool_held", Help: "1 while this process holds the pool."}, []string{"pool"}),
		PoolFaults: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_dispatch_pool_faults_total", Help: "Times a pool stopped for an unexpected reason."}, []string{"pool"}),
		Results:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_dispatch_results_total", Help: "Results of attempts."}, []string{"pool", "verdict"}),
		Ends:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_dispatch_ends_total", Help: "Notifications that ended, raises included."}, []string{"channel", "state"}),
		Receipts:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ekc_dispatch_receipts_total", Help: "Receipts stored."}, []string{"pool", "fate"}),
		Unrecorded: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ekc_dispatch_unrecorded", Help: "Notifications claimed and not yet recorded."}, []string{"pool"}),
		Record:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ekc_dispatch_record_seconds", Help: "Duration of one recording transaction.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
	}
	if reg != nil {
		reg.MustRegister(m.Held, m.PoolFaults, m.Results, m.Ends, m.Receipts, m.Unrecorded, m.Record)
	}
	return m
}

// present puts a pool's series there at zero from the start.
func (m *Metrics) present(p Pool) {
	m.Held.WithLabelValues(p.Name)
	m.PoolFaults.WithLabelValues(p.Name)
	m.Unrecorded.WithLabelValues(p.Name)
	for v := VerdictAccepted; v <= VerdictWithheld; v++ {
		m.Results.WithLabelValues(p.Name, v.String())
	}
	for _, fate := range [...]string{"settled", "orphan"} {
		m.Receipts.WithLabelValues(p.Name, fate)
	}
	for _, s := range States() {
		if s.Final() {
			m.Ends.WithLabelValues(p.Channel, s.String())
		}
	}
}
