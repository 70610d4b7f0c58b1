package smpptest

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"ekc/smpp"
)

// Stats are counts since the start. A message is complete when all its segments are accepted.
type Stats struct {
	Binds, BindsRefused int
	LinksOpen           int // bound now
	EnquireLinks        int // received
	NacksReceived       int
	Malformed           int // PDUs that could not be read or are not for an SMS centre

	Submitted int                 // submit_sm received, refused ones too
	Accepted  int                 // segments
	Refused   map[smpp.Status]int // submit_sm by command_status
	Nacked    int

	Messages       int // complete
	Incomplete     int // begun, some segments never accepted
	Destinations   int // numbers with at least one complete message
	Doubles        int // complete messages beyond the first with the same destination, sender and text
	DoubleSegments int // segments beyond the first with the same destination, sender, text, total and number
	NotAdjacent    int // segments that did not follow their predecessor on its link under one reference

	MaxOutstanding int // submit_sm of one link that were received and not answered
	MaxPerSecond   int // submit_sm of one system_id in any sliding second, by arrival
	MaxPer100ms    int

	Receipts         int // made; those waiting are Receipts - ReceiptsAcked - ReceiptsRejected
	ReceiptsOffered  int // deliver_sm sent, repeats too
	ReceiptsAcked    int // ESME_ROK
	ReceiptsRefused  int // refused for now, offered again later
	ReceiptsRejected int // ESME_RX_P_APPN, ESME_RX_R_APPN: not offered again
	Unanswered       int // deliver_sm offered again because no response came in time

	Incoming         int // segments of citizens' SMS made
	IncomingOffered  int
	IncomingAcked    int
	IncomingRefused  int
	IncomingRejected int

	First, Last time.Time // first and last accepted segment
}

// Waiting is how many receipts and segments of citizens' SMS are not acknowledged yet, those not yet due included.
func (s Stats) Waiting() int {
	return s.Receipts - s.ReceiptsAcked - s.ReceiptsRejected + s.Incoming - s.IncomingAcked - s.IncomingRejected
}

// Submitted is one accepted segment.
type Submitted struct {
	At                 time.Time
	Link               int // from 1, in order of connecting
	SystemID           string
	Sequence           uint32
	MessageID          string
	To                 string // digits
	From               smpp.Address
	Dest               smpp.Address
	Text               string
	DataCoding         byte
	ESMClass           byte
	Ref                uint16
	Segment, Segments  int // 1 and 1 for a message of one segment
	Octets             int // of text, without the user data header
	RegisteredDelivery byte
	ValidityPeriod     string
	ServiceType        string
	TLVs               []smpp.TLV

	concat  Concat
	from    *sender
	payload []byte
}

// Message is what a telephone shows: segments put together.
type Message struct {
	At         time.Time // of the last segment
	To         string
	From       string
	Text       string
	Segments   int
	Link       int
	MessageIDs []string // in order of segments
}

// Receipt is one receipt and what became of it.
type Receipt struct {
	MessageID string // as submit_sm_resp gave it
	To        string
	State     State
	Segment   int
	Offers    int
	Status    smpp.Status // of the last deliver_sm_resp
	Done      bool        // ESME_ROK, or refused for good
}

type record struct {
	keep     bool
	stats    Stats
	refusals map[smpp.Status]int

	copies   map[uint64]uint32 // complete messages by digest
	segments map[uint64]uint32 // segments of longer messages by digest
	byNumber map[uint64]uint32 // complete messages by destination
	open     map[assemblyKey]*assembly
	tried    map[uint64]struct{} // segments that have met a behaviour meant for the first copy only
	again    map[uint64]struct{} // refused segments of longer messages: they may come once more alone

	kept       []Submitted
	deliveries []*delivery
}

type assemblyKey struct {
	to     uint64
	from   *sender
	concat Concat
	ref    uint16
	total  uint8
}

type assembly struct {
	have   [4]uint64
	count  int
	digest uint64
}

func newRecord(keep bool) record {
	return record{
		keep:     keep,
		refusals: map[smpp.Status]int{},
		copies:   map[uint64]uint32{},
		segments: map[uint64]uint32{},
		byNumber: map[uint64]uint32{},
		open:     map[assemblyKey]*assembly{},
		tried:    map[uint64]struct{}{},
		again:    map[uint64]struct{}{},
	}
}

// digest of a segment leaves out its reference, which a second copy may change.
func (s *Server) digest(to uint64, from *sender, g segment) uint64 {
	h := maphash.Bytes(s.seed, g.text)
	h = mix(h ^ to)
	h = mix(h ^ from.hash)
	return mix(h ^ uint64(g.total)<<8 ^ uint64(g.seq))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// met says whether this segment has come before, and notes that it has.
func (r *record) met(digest uint64) bool {
	if _, ok := r.tried[digest]; ok {
		return true
	}
	r.tried[digest] = struct{}{}
	return false
}

func (r *record) wasRefused(digest uint64, g segment) bool {
	if g.total == 1 {
		return false
	}
	_, ok := r.again[digest]
	return ok
}

func (r *record) accept(l *link, seq uint32, id, to uint64, from *sender, m *smpp.ShortMessage, g segment, digest uint64, now time.Time) {
	st := &r.stats
	st.Accepted++
	if st.First.IsZero() {
		st.First = now
	}
	st.Last = now
	if g.total == 1 {
		r.complete(to, digest)
	} else {
		r.segment(to, from, g, digest)
	}
	if !r.keep {
		return
	}
	k := Submitted{
		At: now, Link: l.no, SystemID: l.acct.systemID, Sequence: seq, MessageID: l.s.messageID(id, false),
		To: string(appendDigits(nil, to)), From: from.Address, Dest: m.Dest, DataCoding: m.DataCoding, ESMClass: m.ESMClass,
		Ref: g.ref, Segment: int(g.seq), Segments: int(g.total), Octets: len(g.text), RegisteredDelivery: m.RegisteredDelivery,
		ValidityPeriod: m.ValidityPeriod, ServiceType: m.ServiceType,
		concat: g.concat, from: from, payload: slices.Clone(g.text),
	}
	for _, p := range m.TLVs {
		k.TLVs = append(k.TLVs, smpp.TLV{Tag: p.Tag, Value: slices.Clone(p.Value)})
	}
	r.kept = append(r.kept, k)
}

func (r *record) segment(to uint64, from *sender, g segment, digest uint64) {
	if r.segments[digest]++; r.segments[digest] > 1 {
		r.stats.DoubleSegments++
	}
	key := assemblyKey{to, from, g.concat, g.ref, g.total}
	a := r.open[key]
	if a == nil {
		a = &assembly{}
		r.open[key] = a
	}
	word, bit := g.seq/64, uint64(1)<<(g.seq%64)
	if a.have[word]&bit != 0 {
		return // the same segment again while the others are still missing: counted above
	}
	a.have[word] |= bit
	a.digest += digest // a sum, so that the order does not matter
	if a.count++; a.count == int(g.total) {
		delete(r.open, key)
		r.complete(to, mix(a.digest))
	}
}

func (r *record) complete(to, digest uint64) {
	r.stats.Messages++
	r.byNumber[to]++
	if r.copies[digest]++; r.copies[digest] > 1 {
		r.stats.Doubles++
	}
}

func (r *record) created(d *delivery) {
	if d.part != nil {
		r.stats.Incoming++
	} else {
		r.stats.Receipts++
	}
	if r.keep {
		r.deliveries = append(r.deliveries, d)
	}
}

// slidingRate keeps the stamps of the last second.
type slidingRate struct {
	stamps            []time.Duration // a ring, its length a power of two
	first, tenth, end int             // positions, growing: first <= i < end stand at stamps[i%len(stamps)]
	maxSecond         int
	maxTenth          int
}

func (r *slidingRate) expire(now time.Duration) {
	mask := len(r.stamps) - 1
	for r.first < r.end && now-r.stamps[r.first&mask] >= time.Second {
		r.first++
	}
	r.tenth = max(r.tenth, r.first)
	for r.tenth < r.end && now-r.stamps[r.tenth&mask] >= 100*time.Millisecond {
		r.tenth++
	}
}

// count is how many came in the second that ends now.
func (r *slidingRate) count(now time.Duration) int {
	r.expire(now)
	return r.end - r.first
}

func (r *slidingRate) add(now time.Duration) {
	r.expire(now)
	if r.end-r.first == len(r.stamps) {
		grown := make([]time.Duration, max(64, 2*len(r.stamps)))
		for i := r.first; i < r.end; i++ {
			grown[i%len(grown)] = r.stamps[i%len(r.stamps)]
		}
		r.stamps = grown
	}
	r.stamps[r.end%len(r.stamps)] = now
	r.end++
	r.maxSecond = max(r.maxSecond, r.end-r.first)
	r.maxTenth = max(r.maxTenth, r.end-r.tenth)
}

// Stats are the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.rec.stats
	st.Refused = maps.Clone(s.rec.refusals)
	st.Incomplete = len(s.rec.open)
	st.Destinations = len(s.rec.byNumber)
	for _, a := range s.accounts {
		st.LinksOpen += len(a.links)
	}
	return st
}

// Wait returns when ok holds, or with the context's error.
func (s *Server) Wait(ctx context.Context, ok func(Stats) bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok(s.Stats()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// MessagesTo is how many complete messages were accepted for a number, in the digits the client sent.
func (s *Server) MessagesTo(destination string) int {
	n, ok := packDigits([]byte(destination))
	if !ok {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.rec.byNumber[n])
}

// Counts gives complete messages by destination, in no order, until yield returns false.
func (s *Server) Counts(yield func(destination string, messages int) bool) {
	s.mu.Lock()
	counts := maps.Clone(s.rec.byNumber)
	s.mu.Unlock()
	for n, c := range counts {
		if !yield(string(appendDigits(nil, n)), int(c)) {
			return
		}
	}
}

// Submitted are the accepted segments in order of arrival; nil without Config.Keep.
func (s *Server) Submitted() []Submitted {
	s.mu.Lock()
	kept := slices.Clone(s.rec.kept)
	s.mu.Unlock()
	for i := range kept {
		kept[i].Text = decodeText(kept[i].DataCoding, kept[i].payload)
	}
	return kept
}

// Messages are the complete messages, in the order they became complete; nil without Config.Keep.
func (s *Server) Messages() []Message {
	type parts struct {
		segs []*Submitted
		have int
	}
	open := map[assemblyKey]*parts{}
	var out []Message
	kept := s.Submitted()
	for i := range kept {
		k := &kept[i]
		n, _ := packDigits([]byte(k.To))
		key := assemblyKey{n, k.from, k.concat, k.Ref, uint8(k.Segments)}
		p := open[key]
		if p == nil {
			p = &parts{segs: make([]*Submitted, k.Segments)}
			open[key] = p
		}
		if p.segs[k.Segment-1] == nil {
			p.segs[k.Segment-1] = k
			p.have++
		}
		if p.have < k.Segments {
			continue
		}
		delete(open, key)
		m := Message{At: k.At, To: k.To, From: k.From.Addr, Segments: k.Segments, Link: k.Link}
		var payload []byte // joined before it is decoded: a character may stand across the cut
		for _, g := range p.segs {
			payload = append(payload, g.payload...)
			m.MessageIDs = append(m.MessageIDs, g.MessageID)
		}
		m.Text = decodeText(k.DataCoding, payload)
		out = append(out, m)
	}
	return out
}

// Receipts are all receipts made so far, in order of their messages; nil without Config.Keep.
func (s *Server) Receipts() []Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Receipt
	for _, d := range s.rec.deliveries {
		if d.part == nil {
			out = append(out, Receipt{
				MessageID: s.messageID(d.id, false), To: string(appendDigits(nil, d.to)), State: d.state,
				Segment: int(d.segment), Offers: int(d.offers), Status: d.status, Done: d.done,
			})
		}
	}
	return out
}

// Redeliver offers every receipt for the destination that was done with once more, and says how many; 0 without Config.Keep.
func (s *Server) Redeliver(destination string) int {
	to, ok := packDigits([]byte(destination))
	if !ok {
		return 0
	}
	s.lock()
	defer s.mu.Unlock()
	n := 0
	for _, d := range slices.Clone(s.rec.deliveries) {
		if d.part == nil && d.done && d.to == to {
			again := *d
			again.done, again.offers, again.status = false, 0, 0
			s.rec.created(&again)
			again.account.offer(s, &again)
			n++
		}
	}
	return n
}
