package dispatch

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// heapFloor is what the heap of a sending process may always grow to: what it keeps alive is small and what it lets go of is much, so
// that by the usual rule it would collect a few megabytes many times a second.
const heapFloor = 64 << 20

// EaseCollector lets the heap of this process grow to 64 MB before garbage is collected; above, the collector follows its usual rule.
// GOGC in the environment is the operator's own rule and stays.
func EaseCollector() {
	if os.Getenv("GOGC") == "" {
		setCollector(heapFloor)
	}
}

// setCollector sets the collector's percentage after each collection, by what it left alive.
func setCollector(floor uint64) {
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(alive)
	debug.SetGCPercent(collectorPercent(alive[0].Value.Uint64(), floor))
	collected := &struct{ self any }{} // has a pointer, so that it does not share its memory with others
	runtime.AddCleanup(collected, setCollector, floor)
}

// collectorPercent is how much may be added to what is alive before the next collection, so that the heap reaches floor, and at least as
// much again (runtime/debug.SetGCPercent).
func collectorPercent(alive, floor uint64) int {
	const usual, most = 100, 2000
	if alive == 0 || alive >= floor/2 {
		return usual
	}
	return int(min(most, (floor-alive)*100/alive))
}
