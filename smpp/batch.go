package smpp

import (
	"sync"
	"time"
)

// batcher hands what many goroutines add to one handler, in order, never two calls at once. Without a linger the handler's own time
// makes the batches; with one, a batch waits that long for company.
type batcher[T any] struct {
	most   int
	linger time.Duration
	wake   chan struct{}
	full   chan struct{}

	mu    sync.Mutex
	items []T
}

func newBatcher[T any](most int, linger time.Duration) *batcher[T] {
	return &batcher[T]{most: most, linger: linger, wake: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

func (b *batcher[T]) add(items ...T) {
	if len(items) == 0 {
		return
	}
	b.mu.Lock()
	b.items = append(b.items, items...)
	n := len(b.items)
	b.mu.Unlock()
	signal(b.wake)
	if n >= b.most {
		signal(b.full)
	}
}

func (b *batcher[T]) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items)
}

// run calls handle until stop is closed and nothing is left. handle may keep the slice.
func (b *batcher[T]) run(stop <-chan struct{}, handle func([]T)) {
	linger := time.NewTimer(time.Hour)
	defer linger.Stop()
	for {
		stopping := false
		select {
		case <-b.wake:
		case <-stop:
			stopping = true
		}
		if b.linger > 0 && !stopping && b.waiting() < b.most {
			linger.Reset(b.linger)
			select {
			case <-linger.C:
			case <-b.full:
			case <-stop:
			}
		}
		b.mu.Lock()
		items := b.items
		b.items = make([]T, 0, min(len(items), b.most)) // the next batch is likely as long
		b.mu.Unlock()
		for len(items) > 0 {
			n := min(len(items), b.most)
			handle(items[:n:n])
			items = items[n:]
		}
		if stopping {
			return
		}
	}
}

// signal makes a reader of c run once more; it never blocks.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
