package ingest

import (
	"errors"
	"hash/maphash"
	"io"

	"ekc/citizen"
)

// seen finds values that occur more than once in a list, by 64-bit hashes: two different values share one once in thirty million lists
// of a million rows. Of a large file it remembers only what a first reading found suspicious, so that memory does not grow with the
// rows; of a small one, everything.
type seen struct {
	suspects *hashTable // nil = everything is remembered
	table    *hashTable
}

func newSeen() *seen { return &seen{table: newHashTable()} }

// put remembers value under h and returns what was there before.
func (s *seen) put(h uint64, value uint32) (was uint32, again bool) {
	if s.suspects != nil && !s.suspects.has(h) {
		return 0, false
	}
	return s.table.put(h, value)
}

// hashTable maps hashes to small values: 12 bytes a slot, where a map would take forty.
type hashTable struct {
	keys   []uint64
	values []uint32
	used   int
}

func newHashTable() *hashTable {
	return &hashTable{keys: make([]uint64, 64), values: make([]uint32, 64)}
}

// slot is where the hash is, or belongs. Zero marks a free slot, so a hash of zero counts as one.
func (t *hashTable) slot(h uint64) int {
	mask := uint64(len(t.keys) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		if t.keys[i] == 0 || t.keys[i] == h {
			return int(i)
		}
	}
}

func (t *hashTable) has(h uint64) bool {
	h = max(h, 1)
	return t.keys[t.slot(h)] == h
}

func (t *hashTable) put(h uint64, value uint32) (was uint32, again bool) {
	h = max(h, 1)
	if t.used*4 >= len(t.keys)*3 {
		keys, values := t.keys, t.values
		t.keys, t.values = make([]uint64, 2*len(keys)), make([]uint32, 2*len(values))
		for i, k := range keys {
			if k != 0 {
				at := t.slot(k)
				t.keys[at], t.values[at] = k, values[i]
			}
		}
	}
	at := t.slot(h)
	if t.keys[at] == h {
		return t.values[at], true
	}
	t.keys[at], t.values[at] = h, value
	t.used++
	return value, false
}

// sieve is a Bloom filter: it takes for new nearly everything that is.
type sieve []uint64

func newSieve(bits int64) sieve {
	words := 1 << 10
	for int64(words)*64 < bits {
		words *= 2
	}
	return make(sieve, words)
}

// again reports whether the hash was probably here before, and remembers it.
func (s sieve) again(h uint64) bool {
	mask := uint64(len(s)*64 - 1)
	step := h>>32 | 1
	all := true
	for range 4 {
		bit := h & mask
		if s[bit/64]&(1<<(bit%64)) == 0 {
			all = false
			s[bit/64] |= 1 << (bit % 64)
		}
		h += step
	}
	return all
}

// The ids and phones of a list are all remembered when its file is below a size, or is a workbook or came by the feed, so that its
// rows are counted before the first is read, with no more than so many: 25 MB for each of the two. A larger file is read twice.
const (
	everythingBelow = 8 << 20
	everyRowOf      = 1_500_000
)

// remembersAll says whether the ids and phones of a file of this size need no first reading.
func remembersAll(rows *listRows, size int64) bool {
	switch r := rows.rows.(type) {
	case *xlsxReader:
		return size <= everythingBelow || r.outline.rows <= everyRowOf
	case *feedReader:
		return size <= everythingBelow || r.parts*PartRows <= everyRowOf
	}
	return size <= everythingBelow
}

// lookAhead reads a large file once for the ids and phones that occur more than once, or look like it.
func (c *checker) lookAhead(rows rowReader, size int64) error {
	sieves := [2]sieve{newSieve(size / 4), newSieve(size / 4)}
	c.phones.suspects = newHashTable()
	if c.ids != nil {
		c.ids.suspects = newHashTable()
	}
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c.ids != nil {
			if h := c.hashID(row); sieves[0].again(h) {
				c.ids.suspects.put(h, 0)
			}
		}
		if phone, err := citizen.ParsePhone(c.header.value(row.Cells, fieldPhone)); err == nil {
			if h := maphash.String(c.seed, phone.Digits()); sieves[1].again(h) {
				c.phones.suspects.put(h, 0)
			}
		}
	}
}
