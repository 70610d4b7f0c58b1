package dispatch

import "hash/maphash"

// refs finds the attempt behind a message_id without asking the database. It only knows attempts this process recorded since it
// took the pool; whatever it does not know is looked up. A key is 64 bits of the link and the id: two ids that share one are both
// forgotten.
type refs struct {
	seed  maphash.Seed
	byKey map[refKey]ref
	parts map[NotificationID][]AttemptState // of messages of several segments, once a first receipt came
}

type refKey uint64

// refsMost bounds the memory for receipts outstanding: some 150 bytes each, all in all.
const refsMost = 4_000_000

type ref struct {
	id                NotificationID
	run               int32
	no, sequence      int16
	link              int16
	segment, segments uint8
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

func (r *refs) add(k refKey, f ref) {
	if have, ok := r.byKey[k]; ok && have != f {
		delete(r.byKey, k)
		return
	}
	if len(r.byKey) < refsMost {
		r.byKey[k] = f
	}
}

func (r *refs) drop(k refKey) {
	if f, ok := r.byKey[k]; ok {
		delete(r.byKey, k)
		if f.segments <= 1 {
			return
		}
		if states := r.parts[f.id]; states != nil {
			for _, s := range states {
				if s < AttemptExpired {
					return
				}
			}
			delete(r.parts, f.id)
		}
	}
}
