package smpp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestLimiterHoldsUnderAnySchedule drives the limiter with random arrivals, delays between question and stamp, and throttling, and
// then checks every window of the stamps.
func TestLimiterHoldsUnderAnySchedule(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		rate := []int{1, 2, 3, 9, 10, 11, 30, 99, 100, 250, 1000}[rnd.IntN(11)]
		l := newLimiter(rate)
		now := int64(rnd.IntN(1e9))
		var stamps []int64
		for len(stamps) < 6*rate+20 {
			n := l.allowed(now)
			if n == 0 {
				at := l.next(now)
				if at <= now {
					t.Fatalf("seed %d: nothing allowed, and next is not later", seed)
				}
				if whole := l.share == shareWhole; whole && at-1 > now && l.allowed(at-1) > 0 {
					t.Fatalf("seed %d: next is later than need be", seed)
				}
				now = at + []int64{0, 0, 0, 1, 17e6, 300e6}[rnd.IntN(6)]
				continue
			}
			now += []int64{0, 0, 1, 40e6}[rnd.IntN(4)] // encoding took a while
			k := 1 + rnd.IntN(n)
			l.record(now, k)
			for range k {
				stamps = append(stamps, now)
			}
			if rnd.IntN(200) == 0 {
				l.throttled(now, now)
			}
			now += []int64{0, 0, 0, 1, 1e6, 99e6, 1e9}[rnd.IntN(7)]
		}
		checkWindows(t, stamps, rate)
	}
}

// checkWindows fails if any second holds more than rate stamps, or any tenth more than a tenth of it plus one.
func checkWindows(t *testing.T, stamps []int64, rate int) {
	t.Helper()
	for _, w := range []struct {
		span time.Duration
		most int
	}{{time.Second, rate}, {100 * time.Millisecond, rate/10 + 1}} {
		for i := w.most; i < len(stamps); i++ {
			if d := stamps[i] - stamps[i-w.most]; d <= int64(w.span) {
				t.Fatalf("rate %d: %d segments within %v", rate, w.most+1, time.Duration(d))
			}
		}
	}
}

func TestLimiterUsesTheWholeRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{1, 7, 10, 30, 100, 1000, 5000} {
		l := newLimiter(rate)
		sent := 0
		for now := int64(0); now < 10e9; now += 1e6 { // a writer that wakes every millisecond
			n := l.allowed(now)
			l.record(now, n)
			sent += n
		}
		if sent < 95*rate*10/100 || sent > 10*rate+rate/10+1 {
			t.Errorf("rate %d: %d sent in ten seconds", rate, sent)
		}
	}
}

func TestLimiterThrottledOncePerEvent(t *testing.T) {
	t.Parallel()
	l := newLimiter(100)
	l.record(5, 10)
	for range 10 {
		l.throttled(5, 20)
	}
	if l.effective() != 50 || l.pause != pauseFirst {
		t.Fatalf("one burst of refusals: rate %d, pause %v", l.effective(), l.pause)
	}
	resumed := 20 + int64(pauseFirst)
	if l.allowed(resumed-1) != 0 || l.allowed(resumed) == 0 {
		t.Fatal("the pause is not what it says")
	}
	l.throttled(resumed, resumed+1)
	if l.effective() != 25 || l.pause != 2*pauseFirst {
		t.Fatalf("second refusal: rate %d, pause %v", l.effective(), l.pause)
	}
	l.allowed(resumed + int64(time.Minute))
	if l.effective() != 100 {
		t.Fatalf("after a quiet minute: rate %d", l.effective())
	}
}

func TestMessagePayloadIsPaidForInSegments(t *testing.T) {
	t.Parallel()
	const rate, segments = 30, 3
	l := newLimiter(rate)
	sent := 0
	for now := int64(0); now < 10e9; now += 1e6 {
		if l.allowed(now) > 0 {
			l.owe(segments)
			l.record(now, 1)
			sent++
		}
	}
	if sent > 10*rate/segments+2 || sent < 9*rate/segments {
		t.Fatalf("%d texts of %d segments in ten seconds at %d/s", sent, segments, rate)
	}
}
