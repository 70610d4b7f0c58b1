package smpp

import (
	"slices"
	"testing"
)

// CheckStamps fails if the stamps of written segments break the rate.
func CheckStamps(t *testing.T, results []SegmentResult, rate int) {
	t.Helper()
	var stamps []int64
	for _, r := range results {
		if r.Written {
			stamps = append(stamps, int64(r.At.Sub(results[0].At)))
		}
	}
	slices.Sort(stamps)
	checkWindows(t, stamps, rate)
}
