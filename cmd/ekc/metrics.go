package main

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/openapi"
	"ekc/smpp"
)

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	v := version()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ekc_build_info", Help: "1, with the version in its labels.",
		ConstLabels: prometheus.Labels{"version": v.Version, "schema": v.Schema}}, func() float64 { return 1 })
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

const observeEvery = 5 * time.Second

// observer keeps the metrics that are read from the database, the same in every process.
type observer struct {
	unplaced, up, sending      prometheus.Gauge
	linkUp, linkAlarm, linkOff *prometheus.GaugeVec
}

func newObserver(registry prometheus.Registerer, c *Config) *observer {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		registry.MustRegister(g)
		return g
	}
	byLink := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"link"})
		registry.MustRegister(g)
		for _, s := range c.SMSC {
			g.WithLabelValues(s.Name)
		}
		return g
	}
	return &observer{
		unplaced:  gauge("ekc_journal_unplaced_seconds", "Age of the oldest journal entry that waits for its place in the order."),
		up:        gauge("ekc_database_up", "1 when the database answered within 2 s."),
		sending:   gauge("ekc_sending_allowed", "0 while nothing is sent since the database is not the one last seen, or does not answer."),
		linkUp:    byLink("ekc_link_up", "1 while at least one bind of the link is up, whichever process has it."),
		linkAlarm: byLink("ekc_link_alarm", "1 while a person must see to a bind of the link."),
		linkOff:   byLink("ekc_link_maintenance", "1 in the link's hours of maintenance."),
	}
}

func (h *hub) observe(ctx context.Context) error {
	o := newObserver(h.registry, h.config)
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		h.observeOnce(ctx, o)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (h *hub) observeOnce(ctx context.Context, o *observer) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	age, err := journal.OldestUnplaced(ctx, h.db)
	var all []dispatch.PoolState
	if err == nil {
		all, err = h.office().Pools(ctx)
	}
	o.up.Set(oneIf(err == nil))
	o.sending.Set(oneIf(!h.roles.sms || h.sending.reason() == nil))
	if err != nil {
		return
	}
	o.unplaced.Set(age.Seconds())
	now := time.Now()
	for _, p := range all {
		held := p.Held(now)
		for _, l := range p.Links {
			i := slices.IndexFunc(h.config.SMSC, func(s SMSCConfig) bool { return s.Name == l.Name })
			if i < 0 {
				continue // the simulator, or a link that is no longer configured
			}
			o.linkUp.WithLabelValues(l.Name).Set(oneIf(openapi.LinkOf(p, l, now).State == "up"))
			o.linkAlarm.WithLabelValues(l.Name).Set(oneIf(held && slices.ContainsFunc(l.State.Binds, func(b dispatch.BindState) bool {
				return b.Alarm && b.State != string(smpp.Bound)
			})))
			o.linkOff.WithLabelValues(l.Name).Set(oneIf(inMaintenance(h.config.SMSC[i].Maintenance, now)))
		}
	}
}

// inMaintenance reports whether one of the agreed spans is open now.
func inMaintenance(spans []MaintenanceConfig, now time.Time) bool {
	local := now.In(moscow())
	minute := catalog.Clock(local.Hour()*60 + local.Minute())
	return slices.ContainsFunc(spans, func(m MaintenanceConfig) bool {
		return (len(m.Days) == 0 || slices.Contains(m.Days, catalog.Weekday(local.Weekday()))) && minute >= m.From && minute < m.To
	})
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
