package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets copies of the test take the roles, as copies of the program do.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(serveRole(role))
	}
	os.Exit(m.Run())
}

// TestSmallRunMeasuresEverything plays the whole bench with small sizes; what it measures then says nothing.
func TestSmallRunMeasuresEverything(t *testing.T) {
	var out strings.Builder
	s := settings{rounds: 1, rows: 1000, big: 3000, singles: 3, digests: 3}
	if err := run(t.Context(), &out, s); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, line := range []string{"wire, go-smpp's pdu", "wire, smpp.Link", "hub: list admitted to receipt committed", "dispatch to receipt committed, of wire",
		"buffers of a claim behind 3000 paused rows, runs and outbox: median", "its p99 against idle", "RSS with 3000 receipts outstanding"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("nothing is said of %q", line)
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Error("a figure was divided by nothing")
	}
	t.Log(out.String())
}

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		of   []time.Duration
		p    int
		want time.Duration
	}{{nil, 99, 0}, {hundred[:1], 50, 1}, {hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred[:3], 50, 2}} {
		if got := percentile(c.of, c.p); got != c.want {
			t.Errorf("%d %% of %d: %d, want %d", c.p, len(c.of), got, c.want)
		}
	}
}
