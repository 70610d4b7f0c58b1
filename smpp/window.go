package smpp

import "time"

// maxWindow is as many unanswered submit_sm as one bind may have.
const maxWindow = 10000

// window holds one bind's unanswered submit_sm, found by their sequence number. Only our own requests are in it: the SMSC counts its
// own from one as well, and the same number on both sides is the normal case.
type window struct {
	slots      []slot
	mask       uint32
	sequence   uint32
	used, size int
	late       map[uint32]slot
	lateOrder  []uint32
}

type slot struct {
	msg      *outgoing // nil: free
	sequence uint32
	segment  int
	tries    int       // ESME_RTHROTTLED answers so far
	at       time.Time // zero until the write
}

// lateFactor times the window is how many unanswered submits are remembered after they were given up.
const lateFactor = 16

func newWindow(size int) window {
	n := 16
	for n < 2*size {
		n *= 2
	}
	return window{slots: make([]slot, n), mask: uint32(n - 1), size: size, late: map[uint32]slot{}, sequence: 1}
}

// next is a sequence number (SMPP 3.4 §3.2: 1 to 0x7FFFFFFF).
func (w *window) next() uint32 {
	if w.sequence++; w.sequence > 0x7FFFFFFF {
		w.sequence = 1
	}
	return w.sequence
}

func (w *window) free() int { return w.size - w.used }

// open takes a free place; there must be one. A place still waiting for a slow answer is passed over with its number.
func (w *window) open(msg *outgoing, segment, tries int) uint32 {
	for {
		seq := w.next()
		if s := &w.slots[seq&w.mask]; s.msg == nil {
			*s = slot{msg: msg, sequence: seq, segment: segment, tries: tries}
			w.used++
			return seq
		}
	}
}

// stamp tells when the submits of these numbers are written.
func (w *window) stamp(seqs []uint32, at time.Time) {
	for _, seq := range seqs {
		w.slots[seq&w.mask].at = at
	}
}

// take frees the place of an answered submit.
func (w *window) take(seq uint32) (slot, bool) {
	s := &w.slots[seq&w.mask]
	if s.msg == nil || s.sequence != seq || s.at.IsZero() {
		return slot{}, false
	}
	taken := *s
	*s = slot{}
	w.used--
	return taken, true
}

// expire gives up what was written before the moment, and remembers it for a late answer.
func (w *window) expire(before time.Time, given func(slot)) {
	if w.used == 0 {
		return
	}
	for i := range w.slots {
		s := w.slots[i]
		if s.msg == nil || s.at.IsZero() || !s.at.Before(before) {
			continue
		}
		w.slots[i] = slot{}
		w.used--
		if len(w.lateOrder) >= lateFactor*w.size {
			delete(w.late, w.lateOrder[0])
			w.lateOrder = w.lateOrder[1:]
		}
		w.late[s.sequence] = s
		w.lateOrder = append(w.lateOrder, s.sequence)
		given(s)
	}
}

// takeLate finds a submit that was given up.
func (w *window) takeLate(seq uint32) (slot, bool) {
	s, ok := w.late[seq]
	if ok {
		delete(w.late, seq)
	}
	return s, ok
}

func (w *window) clear(each func(slot)) {
	for i := range w.slots {
		if s := w.slots[i]; s.msg != nil {
			w.slots[i] = slot{}
			w.used--
			each(s)
		}
	}
}
