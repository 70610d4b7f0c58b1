package smpptest

import "time"

// wheel keeps what is due later: a slot a millisecond, tasks of later rounds stay in their slot. Adding and firing cost the same however
// many are outstanding, so a million receipts may wait. Guarded by Server.mu.
type wheel struct {
	start time.Time
	now   int64 // the last millisecond whose slot was fired
	count int
	slots [wheelSlots][]task
	spare []task
}

const wheelSlots = 1 << 13

// task is a delivery to offer (d) or anything rarer (f).
type task struct {
	due int64
	d   *delivery
	f   func()
}

func (w *wheel) tick(t time.Time) int64 { return int64(t.Sub(w.start) / time.Millisecond) }

// add schedules t after d, never in the slot being fired.
func (w *wheel) add(now time.Time, after time.Duration, t task) {
	t.due = max(w.tick(now.Add(after)), w.now+1)
	slot := &w.slots[t.due%wheelSlots]
	*slot = append(*slot, t)
	w.count++
}

// fire runs every task due by now.
func (w *wheel) fire(now time.Time, run func(task)) {
	target := w.tick(now)
	if target-w.now > wheelSlots {
		w.now = target - wheelSlots // a long pause of the process: each slot is visited once
	}
	for w.now < target {
		w.now++
		slot := &w.slots[w.now%wheelSlots]
		if len(*slot) == 0 {
			continue
		}
		tasks := *slot
		*slot, w.spare = w.spare[:0], nil
		for i, t := range tasks {
			tasks[i] = task{}
			if t.due > target {
				*slot = append(*slot, t)
				continue
			}
			w.count--
			run(t)
		}
		w.spare = tasks[:0]
	}
}

// next is when to look again; false when nothing waits.
func (w *wheel) next() (time.Time, bool) {
	if w.count == 0 {
		return time.Time{}, false
	}
	for i := int64(1); i <= wheelSlots; i++ {
		if len(w.slots[(w.now+i)%wheelSlots]) > 0 {
			return w.start.Add(time.Duration(w.now+i) * time.Millisecond), true
		}
	}
	return time.Time{}, false
}
