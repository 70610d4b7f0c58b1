package ingest

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/journal"
)

// CheckOffline is CheckJSON for who has neither hub nor database: rows are held against the rules and a catalogue, and any link may take
// them. It says nothing of when they would be through.
func CheckOffline(ctx context.Context, c *catalog.Catalog, now time.Time, p journal.Principal, h Header, rows []InputRow) (DryRun, error) {
	table, kind, err := tableOf(h, rows)
	if err != nil {
		return DryRun{}, err
	}
	s := New(Config{Catalog: func() *catalog.Catalog { return c }, Now: func() time.Time { return now }, Metrics: prometheus.NewRegistry(),
		Routes: func(string, string, citizen.Phone, bool) (string, bool) { return "any", true }})
	out, _, _, err := s.dryRun(ctx, p, h, kind, formatTable, table.Bytes())
	return out, err
}
