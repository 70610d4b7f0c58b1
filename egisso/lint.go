package egisso

import (
	"errors"
	"hash/maphash"
	"time"

	"github.com/google/uuid"
)

// Codes of faults between the messages of a list, which no message shows alone. They are those of admission.
const (
	CodeHeaderDiffers = "header_differs"
	CodePartDiffers   = "part_differs"
)

// Linter holds messages against the contract as the feed does, without a server: each by itself, and the parts of a list with each other. What
// rows are worth, and who may bring them, only the hub knows.
type Linter struct {
	Now    time.Time
	Events bool // they are for the topic of single events
	lists  map[uuid.UUID]*lintedList
	order  []uuid.UUID
}

type lintedList struct {
	parts  int
	header [32]byte
	seen   map[int][32]byte // digests by part
	ids    idSet
}

// idSet are external ids, or their hashes: of five million that differ two look alike once in a million times.
type idSet struct {
	seed maphash.Seed
	seen map[uint64]struct{}
}

func newIDSet() idSet { return idSet{maphash.MakeSeed(), make(map[uint64]struct{})} }

// put reports whether the id was there.
func (s *idSet) put(id string) (again bool) {
	h := maphash.String(s.seed, id)
	if _, again = s.seen[h]; !again {
		s.seen[h] = struct{}{}
	}
	return again
}

// Add looks at one message. It comes also with faults that are only between it and others.
func (l *Linter) Add(headers []Header, value []byte) (*Message, []*Problem) {
	m, err := Parse(headers, value, l.Now)
	if err == nil && m.Part != nil && l.Events {
		err = m.Part.CheckEvent()
	}
	var first *Problem
	switch {
	case errors.As(err, &first):
		faults := append([]*Problem{{first.Code, first.Detail, first.Field, first.Row, nil}}, first.Others...)
		return m, faults
	case m.Part == nil:
		return m, nil
	}
	return m, l.against(m.Part)
}

// against holds a part against those of its list that came before.
func (l *Linter) against(p *Part) []*Problem {
	if l.lists == nil {
		l.lists = make(map[uuid.UUID]*lintedList)
	}
	list := l.lists[p.ListID]
	if list == nil {
		list = &lintedList{parts: p.Parts, header: p.HeaderDigest, seen: make(map[int][32]byte), ids: newIDSet()}
		l.lists[p.ListID], l.order = list, append(l.order, p.ListID)
	}
	var d problems
	switch was, again := list.seen[p.Part]; {
	case list.header != p.HeaderDigest:
		d.add(CodeHeaderDiffers, 0, "", "Заголовок части отличается от заголовка первой части того же списка. Во всех частях он одинаковый, и parts тоже.")
	case again && was != p.Digest:
		d.add(CodePartDiffers, 0, "part", "Часть с этим номером уже была с другим содержанием.")
	case !again:
		list.seen[p.Part] = p.Digest
		for i := range p.Rows {
			if list.ids.put(p.Rows[i].ExternalID) {
				d.add(CodeIDTwice, i+1, "rows.external_id", "Такой же внешний номер в другой части списка.")
			}
		}
	}
	return d.all
}

// Missing are the lists, in the order in which they came, of which parts were not there, with how many.
func (l *Linter) Missing() (lists []uuid.UUID, parts []int) {
	for _, id := range l.order {
		if n := l.lists[id].parts - len(l.lists[id].seen); n > 0 {
			lists, parts = append(lists, id), append(parts, n)
		}
	}
	return lists, parts
}
