package smpp

import "time"

// limiter keeps one account's rate over all its binds: in any second no more than rate segments, in any tenth no more than a tenth of
// that plus one, by the stamps it is told. It does not read a clock and is not safe for concurrent use: whoever asks allowed holds the
// limiter until the stamp of what was written is recorded.
//
// A third, finer window keeps the flow smooth inside the tenth; it is a habit, not a promise.
type limiter struct {
	rate    int // zero: no limit
	stamps  []int64
	count   int // segments recorded ever
	windows [3]limitWindow
	debt    int // segments of a message_payload that are still to be paid for

	// share is the part of rate in use, out of shareWhole; less after throttling.
	share      int
	pausedTill int64
	pause      time.Duration // the last pause, doubled while refusals follow one another
	recovered  int64         // when share was last raised
	answeredAt int64         // stamp of the last segment taken into account as throttled
}

type limitWindow struct {
	span int64 // nanoseconds
	most int
	tail int // the first recorded segment that is still inside
}

const (
	shareWhole = 20
	shareLeast = 2 // a tenth
	// pauseFirst and pauseMost bound how long a link stays silent after ESME_RTHROTTLED.
	pauseFirst = 200 * time.Millisecond
	pauseMost  = 15 * time.Second
	// recoverEvery is how long a link must go unthrottled for one more twentieth of its rate.
	recoverEvery = time.Second
	// batchMost bounds one write of a link without a rate.
	batchMost = 256
)

func newLimiter(rate int) *limiter {
	l := &limiter{rate: rate, share: shareWhole}
	if rate > 0 {
		l.stamps = make([]int64, rate)
		l.setWindows()
	}
	return l
}

// effective is the rate in use now.
func (l *limiter) effective() int {
	return max(1, l.rate*l.share/shareWhole)
}

func (l *limiter) setWindows() {
	r := l.effective()
	spans := [3]time.Duration{time.Second, 100 * time.Millisecond, 20 * time.Millisecond}
	most := [3]int{r, min(r, r/10+1), min(r, r/40+1)}
	for i := range l.windows {
		l.windows[i].span, l.windows[i].most = int64(spans[i]), most[i]
	}
}

// allowed is how many segments may be stamped at now, a reading in nanoseconds that never goes back.
func (l *limiter) allowed(now int64) int {
	n := l.free(now)
	if paid := min(n, l.debt); paid > 0 {
		l.record(now, paid)
		l.debt -= paid
		n -= paid
	}
	return n
}

// owe makes the limiter count a submit_sm that the SMSC will cut into n segments: the others are taken out of what comes next.
func (l *limiter) owe(n int) {
	if l.rate > 0 {
		l.debt += n - 1
	}
}

func (l *limiter) free(now int64) int {
	l.recover(now)
	if now < l.pausedTill {
		return 0
	}
	if l.rate == 0 {
		return batchMost
	}
	n := l.rate
	for i := range l.windows {
		w := &l.windows[i]
		for w.tail < l.count && l.stamps[w.tail%l.rate] < now-w.span {
			w.tail++
		}
		n = min(n, w.most-(l.count-w.tail))
	}
	return max(n, 0)
}

// next is the earliest moment when allowed can be above zero, if nothing else is recorded.
func (l *limiter) next(now int64) int64 {
	at := max(now, l.pausedTill)
	if l.rate == 0 {
		return at
	}
	for i := range l.windows {
		w := &l.windows[i]
		if over := l.count - w.most; over >= w.tail && over >= 0 {
			at = max(at, l.stamps[over%l.rate]+w.span+1)
		}
	}
	return at
}

// record tells that n segments were stamped at now; n is at most what was allowed.
func (l *limiter) record(now int64, n int) {
	if l.rate == 0 {
		return
	}
	for range n {
		l.stamps[l.count%l.rate] = now
		l.count++
	}
}

// throttled tells that a segment stamped at sent was refused with ESME_RTHROTTLED: the link falls silent, then goes on at half its
// rate. Refusals of what was written before the last one took effect are the same event.
func (l *limiter) throttled(sent, now int64) {
	if sent <= l.answeredAt && l.pause > 0 {
		return
	}
	if l.pause == 0 {
		l.pause = pauseFirst
	} else {
		l.pause = min(2*l.pause, pauseMost)
	}
	l.answeredAt = now
	l.pausedTill = now + int64(l.pause)
	l.recovered = l.pausedTill
	l.share = max(l.share/2, shareLeast)
	if l.rate > 0 {
		l.setWindows()
	}
}

// recover gives back a twentieth of the rate for each second without a refusal.
func (l *limiter) recover(now int64) {
	for l.share < shareWhole && now >= l.recovered+int64(recoverEvery) {
		l.share++
		l.recovered += int64(recoverEvery)
		l.pause = 0
		l.setWindows()
	}
}
