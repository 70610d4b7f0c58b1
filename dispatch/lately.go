package dispatch

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// lately says of most phones that nobody has contacted them within a day, without a look at the database for each. Holders of all pools of
// the channel write down whom they contacted (pool_contacts), in the transaction that records the attempts, and every claim reads what is
// new there. It may err in one way only: a phone it does not rule out is looked for among the attempts.
type lately struct {
	mu         sync.Mutex
	read       map[int16]int64 // by pool: the last row of pool_contacts that was read
	since      time.Time       // when young was begun
	young, old *phoneMarks     // of contacts read since then, and of those read in the time before
}

// contactsLast is for how long a contact is remembered at least: caps look back a day, by clocks that may differ.
const contactsLast = 25 * time.Hour

// phoneMarks has a bit for each value of the first 25 bits of a phone's digest: of a million phones a day it takes one in thirty for another.
type phoneMarks [1 << 19]uint64

func (m *phoneMarks) set(head uint32) { m[head>>13] |= 1 << (head >> 7 & 63) }

func (m *phoneMarks) has(head uint32) bool { return m != nil && m[head>>13]&(1<<(head>>7&63)) != 0 }

// phoneHead is what pool_contacts keeps of a phone's digest, in bytes.
const phoneHead = 4

const newContactsSQL = `
SELECT p.no, p.contacts_fence = p.fence AND p.contacts_since < $4, c.no, c.phones
FROM pools p
LEFT JOIN unnest($2::smallint[], $3::bigint[]) AS r(pool, no) ON r.pool = p.no
LEFT JOIN pool_contacts c ON c.pool = p.no AND c.no > coalesce(r.no, 0) AND c.at > $4
WHERE p.channel = $1`

// queue asks for what is new. Once the batch is through, complete says whether all contacts of the last day are known: they are not while
// a holder writes none down, being of an older version, nor for a day after.
func (l *lately) queue(b *pgx.Batch, channel string, now time.Time, complete *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.young == nil || now.Sub(l.since) >= contactsLast {
		l.young, l.old, l.since = new(phoneMarks), l.young, now
	}
	pools, nos := make([]int16, 0, len(l.read)), make([]int64, 0, len(l.read))
	for pool, no := range l.read {
		pools, nos = append(pools, pool), append(nos, no)
	}
	b.Queue(newContactsSQL, channel, pools, nos, now.Add(-contactsLast)).Query(func(rows pgx.Rows) error {
		*complete = true
		var pool int16
		var known bool
		var no *int64
		var phones pgtype.DriverBytes
		last := map[int16]int64{}
		_, err := pgx.ForEachRow(rows, []any{&pool, &known, &no, &phones}, func() error {
			*complete = *complete && known
			if no != nil {
				last[pool] = max(last[pool], *no)
				l.mark(phones)
			}
			return nil
		})
		if err == nil {
			l.advance(last)
		}
		return err
	})
}

func (l *lately) mark(phones []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; len(phones) >= phoneHead; phones = phones[phoneHead:] {
		l.young.set(binary.BigEndian.Uint32(phones))
	}
}

// advance notes how far the rows were read: all of them, and another claim may have read further.
func (l *lately) advance(last map[int16]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pool, no := range last {
		l.read[pool] = max(l.read[pool], no)
	}
}

// among keeps the digests, and what stands beside them, of phones that may have been contacted.
func (l *lately) among(digests [][]byte, beside []int64) (kept [][]byte, keptBeside []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, digest := range digests {
		if head := binary.BigEndian.Uint32(digest); l.young.has(head) || l.old.has(head) {
			kept, keptBeside = append(kept, digest), append(keptBeside, beside[i])
		}
	}
	return kept, keptBeside
}

// contacted notes for pool_contacts that the attempt counts as a contact: under each of its digests, since another holder may not have the
// newest key yet.
func (w *writing) contacted(a *Attempt) {
	for _, digest := range a.digests() {
		w.contacts = append(w.contacts, digest[:phoneHead]...)
	}
}
