package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets copies of the test be the readers, as copies of the program are.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(serveRole(role, os.Args[1]))
	}
	os.Exit(m.Run())
}

// TestSmallRunMeasuresEverything plays the whole bench with small files; what it measures then says nothing.
func TestSmallRunMeasuresEverything(t *testing.T) {
	ekc := filepath.Join(t.TempDir(), "ekc")
	if said, err := exec.CommandContext(t.Context(), "go", "build", "-o", ekc, "ekc/cmd/ekc").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	t.Setenv("PATH", "") // the peers that may be installed or not take seconds each
	var out strings.Builder
	if err := run(t.Context(), &out, settings{rounds: 1, rows: 300, ekc: ekc, peers: true}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, line := range []string{wayInflate, wayCSV, wayReader, wayHub, wayExcelize, "CSV: reader against the limit", "not measured: xlsx2csv: not installed",
		"XLSX, shared strings: upload to ready, peak memory"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("nothing is said of %q", line)
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Error("a figure was divided by nothing")
	}
	t.Log(out.String())
}
