package dispatch

import "testing"

func TestCollectorLetsAHeapGrowToItsFloorAndNoFurther(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, c := range []struct {
		alive   uint64
		percent int
	}{{0, 100}, {1 * mb, 2000}, {8 * mb, 700}, {16 * mb, 300}, {31 * mb, 106}, {32 * mb, 100}, {100 * mb, 100}, {4 << 30, 100}} {
		if got := collectorPercent(c.alive, 64*mb); got != c.percent {
			t.Errorf("%d MB alive: %d percent, want %d", c.alive/mb, got, c.percent)
		}
	}
}
