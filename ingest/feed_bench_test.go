package ingest

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
)

// benchRows are rows as a source sends them, all of other people.
func benchRows(n, from int) []InputRow {
	rows := make([]InputRow, n)
	for i := range rows {
		k := from + i
		rows[i] = InputRow{ExternalID: fmt.Sprintf("row-%d", k), Phone: fmt.Sprintf("+79%09d", 30_000_000+k), FamilyName: "Иванова", FirstName: fmt.Sprintf("Мария%d", k), Patronymic: "Петровна",
			BirthDate: fmt.Sprintf("19%02d-03-%02d", 40+k%50, 1+k%28), OKTMO: "45000000", LifeEvent: "OP-04", Measure: "", Text: fmt.Sprintf("СФР: выплата назначена, решение %d.", k)}
	}
	return rows
}

// BenchmarkFeed is a list of the feed, part by part, to ready; beside it what storing the parts takes of that.
func BenchmarkFeed(b *testing.B) {
	const rows, size = 50_000, 500
	for _, check := range []bool{false, true} {
		b.Run(map[bool]string{false: "store", true: "ready"}[check], func(b *testing.B) {
			h := newHub(b, trusting(b, false), func(c *Config) { c.SliceRows = 10_000 })
			done := 0
			for b.Loop() {
				b.StopTimer()
				parts := feedParts(b, uuid.New(), benchRows(rows, done), size)
				b.StartTimer()
				for i := 0; i < len(parts); i += 8 {
					if _, err := h.TakeParts(b.Context(), parts[i:min(i+8, len(parts))]); err != nil {
						b.Fatal(err)
					}
				}
				if check {
					h.checkAll()
				}
				done += rows
			}
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
