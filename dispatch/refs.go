package dispatch

import (
	"hash/maphash"
	"sync"
)

// refs finds the attempt behind a message_id without asking the database. It only knows first attempts that this process recorded since it
// took the pool; whatever it does not know is looked up. A key is 64 bits of the link and the id: two ids that share one are both
// forgotten.
type refs struct {
	seed maphash.Seed

	mu    sync.Mutex
	byKey map[refKey]ref
	parts map[NotificationID][]AttemptState // of messages of several segments, once a first receipt came
}

type refKey uint64

// refsMost bounds the memory for receipts outstanding: some 50 bytes each, all in all.
const refsMost = 4_000_000

// ref is a segment of a first attempt, which the far side has accepted: its number is 1, and so is its sequence.
type ref struct {
	id                NotificationID
	run               int32
	segment, segments uint8
}

// newRef is what a committed transaction makes known.
type newRef struct {
	key refKey
	ref ref
}

func newRefs() refs {
	return refs{seed: maphash.MakeSeed(), byKey: map[refKey]ref{}, parts: map[NotificationID][]AttemptState{}}
}

func (r *refs) key(link int16, messageID string) refKey {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.WriteString(messageID)
	_ = h.WriteByte(byte(link))
	_ = h.WriteByte(byte(link >> 8))
	return refKey(h.Sum64())
}

func (r *refs) get(k refKey) (ref, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.byKey[k]
	return f, ok
}

// statesOf are the states of the segments of a message as far as receipts have told them; nil when none has.
func (r *refs) statesOf(id NotificationID) []AttemptState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.parts[id]
}

// change makes known what a transaction that is committed has changed.
func (r *refs) change(added []newRef, dropped []refKey, parts map[NotificationID][]AttemptState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range added {
		if have, ok := r.byKey[n.key]; ok && have != n.ref {
			delete(r.byKey, n.key)
		} else if len(r.byKey) < refsMost {
			r.byKey[n.key] = n.ref
		}
	}
	for id, states := range parts {
		r.parts[id] = states
	}
	for _, k := range dropped {
		r.drop(k)
	}
}

func (r *refs) drop(k refKey) {
	f, ok := r.byKey[k]
	if !ok {
		return
	}
	delete(r.byKey, k)
	if f.segments <= 1 {
		return
	}
	for _, s := range r.parts[f.id] {
		if s < AttemptExpired {
			return
		}
	}
	delete(r.parts, f.id)
}

// busy says which notifications the transactions under way may change.
type busy struct {
	mu sync.Mutex
	by map[NotificationID]*writing
}

// take is ok when nobody else has the notification; first when the plan did not have it before.
func (b *busy) take(id NotificationID, w *writing) (ok, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if has, taken := b.by[id]; taken {
		return has == w, false
	}
	b.by[id] = w
	return true, true
}

func (b *busy) release(ids []NotificationID) {
	if len(ids) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.by, id)
	}
}
