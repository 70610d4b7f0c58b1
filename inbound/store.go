package inbound

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
	"ekc/smpp"
)

// Kinds of keyed digests.
const (
	digestMessage citizen.DigestKind = "inbound_message"
	digestSet     citizen.DigestKind = "inbound_set"
	digestPart    citizen.DigestKind = "inbound_part"
)

// contact is a message on its way into the database.
type contact struct {
	Message
	idem  *citizen.Digest // nil when joined from parts
	phone citizen.Phone   // zero: the sender is no phone of this country
	parts []*part         // in order, when joined
	in    smpp.Incoming   // otherwise
}

// writing is one transaction of a Register.
type writing struct {
	r   *Register
	tx  pgx.Tx
	now time.Time

	contacts []*contact
	known    map[citizen.Digest]*known // by idem
	again    []*known                  // opt-outs that were offered again
	sets     map[citizen.Digest]*set   // by every digest a set's key may have been written with
	drop     []int64                   // parts of messages so old that an equal part is a new one
	consumed []*part
	added    []*part

	repeated, optOuts int
}

// known is a message that came whole and is registered, or will be by this transaction.
type known struct {
	no      int64
	at      time.Time
	kind    Kind
	contact *contact // of this transaction
	phone   citizen.Phone
}

// store registers a batch; it is durable when store returns nil.
func (r *Register) store(ctx context.Context, batch []smpp.Incoming) error {
	return r.write(ctx, func(ctx context.Context, w *writing) error { return w.batch(ctx, batch) })
}

// write runs one transaction and counts what it did once that is certain.
func (r *Register) write(ctx context.Context, fn func(context.Context, *writing) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	started := time.Now()
	var w *writing
	err := postgres.InTx(ctx, r.DB, func(tx pgx.Tx) error {
		w = &writing{r: r, tx: tx, now: r.Clock(), known: map[citizen.Digest]*known{}, sets: map[citizen.Digest]*set{}}
		if err := fn(ctx, w); err != nil {
			return err
		}
		return w.finish(ctx)
	})
	if err != nil {
		return err
	}
	m := &r.metrics
	m.seconds.Observe(time.Since(started).Seconds())
	m.repeated.Add(float64(w.repeated))
	m.optOuts.Add(float64(w.optOuts))
	for _, c := range w.contacts {
		m.registered.WithLabelValues(string(c.Kind)).Inc()
		if !c.Complete {
			m.incomplete.Inc()
		}
	}
	return nil
}

// incoming is a message of a batch with its digests.
type incoming struct {
	smpp.Incoming
	idems    [][]citizen.Digest // by time bucket: its own, the one before, the one after; each under every index key
	setKeys  []citizen.Digest
	contents []citizen.Digest
}

func (w *writing) batch(ctx context.Context, batch []smpp.Incoming) error {
	all := make([]incoming, len(batch))
	var idems, setKeys [][]byte
	locks := map[int32]bool{}
	for i := range batch {
		in := &all[i]
		in.Incoming = batch[i]
		if in.At.IsZero() {
			in.At = w.now
		}
		if err := w.digest(in); err != nil {
			return err
		}
		for _, bucket := range in.idems {
			idems = appendDigests(idems, bucket)
		}
		setKeys = appendDigests(setKeys, in.setKeys)
		if in.setKeys != nil {
			locks[stripe(in.setKeys[0])] = true
		} else {
			locks[stripe(in.idems[0][0])] = true
		}
	}
	if err := w.lock(ctx, locks); err != nil {
		return err
	}
	if err := w.loadKnown(ctx, idems); err != nil {
		return err
	}
	if err := w.loadSets(ctx, setKeys); err != nil {
		return err
	}
	for i := range all {
		if in := &all[i]; in.setKeys != nil {
			w.part(in)
		} else {
			w.whole(in)
		}
	}
	return nil
}

func (w *writing) digest(in *incoming) error {
	var err error
	if in.Concat.Total > 1 {
		// The link is left out: parts of one message may come through two SMSCs.
		key := fmt.Sprintf("%s\x00%s\x00%d\x00%d", in.From.Addr, in.To.Addr, in.Concat.Ref, in.Concat.Total)
		if in.setKeys, err = w.r.Keyring.Digests(digestSet, key); err != nil {
			return fmt.Errorf("digest part: %w", err)
		}
		content := append([]byte{in.Coding, in.Concat.Seq}, in.Octets...)
		if in.contents, err = w.r.Keyring.Digests(digestPart, string(content)); err != nil {
			return fmt.Errorf("digest part: %w", err)
		}
		return nil
	}
	content := fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d %d\x00", in.Link, in.From.Addr, in.To.Addr, in.Concat.Ref, in.Coding)
	content = append(content, in.Octets...)
	bucket := in.At.UnixNano() / int64(w.r.RepeatWithin)
	for _, b := range [...]int64{bucket, bucket - 1, bucket + 1} {
		d, err := w.r.Keyring.Digests(digestMessage, string(binary.BigEndian.AppendUint64(content, uint64(b))))
		if err != nil {
			return fmt.Errorf("digest message: %w", err)
		}
		in.idems = append(in.idems, d)
	}
	return nil
}

func appendDigests(to [][]byte, digests []citizen.Digest) [][]byte {
	for i := range digests {
		to = append(to, digests[i][:])
	}
	return to
}

// lockClass keeps the advisory locks of this package apart; stripes bounds how many one transaction holds.
const (
	lockClass = 0x656b69
	stripes   = 64
)

func stripe(d citizen.Digest) int32 { return int32(d[0] % stripes) }

const lockStripes = `SELECT pg_advisory_xact_lock(@class, stripe) FROM unnest(@stripes::int[]) AS stripe`

// lock lets one transaction at a time decide about equal messages and about one set of parts, in whatever process; taken in
// order, so that two cannot wait for each other.
func (w *writing) lock(ctx context.Context, wanted map[int32]bool) error {
	list := make([]int32, 0, len(wanted))
	for s := range wanted {
		list = append(list, s)
	}
	slices.Sort(list)
	if _, err := w.tx.Exec(ctx, lockStripes, pgx.NamedArgs{"class": lockClass, "stripes": list}); err != nil {
		return fmt.Errorf("lock inbound messages: %w", err)
	}
	return nil
}

const selectKnown = `SELECT idem, no, at, kind FROM inbound_messages WHERE idem = ANY(@idems)`

func (w *writing) loadKnown(ctx context.Context, idems [][]byte) error {
	if len(idems) == 0 {
		return nil
	}
	rows, err := w.tx.Query(ctx, selectKnown, pgx.NamedArgs{"idems": idems})
	if err != nil {
		return fmt.Errorf("look for redelivered messages: %w", err)
	}
	var idem []byte
	var k known
	_, err = pgx.ForEachRow(rows, []any{&idem, &k.no, &k.at, &k.kind}, func() error {
		found := k
		w.known[citizen.Digest(idem)] = &found
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for redelivered messages: %w", err)
	}
	return nil
}

// whole plans what a message that came whole changes. Buckets are as long as the time in which an equal message is a redelivery: those
// that are that close stand in one bucket or in two neighbours, so the unique idem keeps them apart from all others.
func (w *writing) whole(in *incoming) {
	phone := phoneOf(in.From)
	for _, bucket := range in.idems {
		for _, d := range bucket {
			k := w.known[d]
			if k == nil || in.At.Sub(k.at).Abs() >= w.r.RepeatWithin {
				continue
			}
			w.repeated++
			if k.kind == KindOptOut && k.contact == nil {
				k.phone = phone
				w.again = append(w.again, k)
			}
			return
		}
	}
	c := &contact{idem: &in.idems[0][0], in: in.Incoming, phone: phone, Message: Message{Link: in.Link, At: in.At, Parts: 1, Complete: true}}
	c.From, c.To, c.Text, c.Exact = in.From, in.To, in.Text, in.Exact
	if !in.Exact {
		c.Raw = []RawPart{{Seq: 1, Coding: in.Coding, Octets: in.Octets}}
	}
	w.contacts = append(w.contacts, c)
	// Its kind is not asked of an equal one in the same batch: the opt-out is written once anyway.
	w.known[*c.idem] = &known{at: c.At, contact: c}
}

// finish writes what was planned.
func (w *writing) finish(ctx context.Context) error {
	if err := w.joinParts(ctx); err != nil {
		return err
	}
	var entries []journal.Entry
	if len(w.contacts) > 0 || len(w.added) > 0 {
		key, err := w.r.Keyring.ScopeKey(ctx, w.tx, "inbound/"+w.now.UTC().Format("2006-01"), "")
		if err != nil {
			return err
		}
		if entries, err = w.register(ctx, key); err != nil {
			return err
		}
		if err := w.saveParts(ctx, key); err != nil {
			return err
		}
	}
	optOuts, err := w.optOut(ctx)
	if err != nil {
		return err
	}
	_, err = w.r.Journal.Append(ctx, w.tx, append(entries, optOuts...))
	return err
}

const nextNumbers = `SELECT nextval('inbound_messages_no_seq') FROM generate_series(1, @count)`

// Numbers are taken first, because the seal names its row; one that is rolled back stays unused.
const insertMessages = `
INSERT INTO inbound_messages (no, channel, link, at, parts, complete, kind, idem, data_key, sealed) OVERRIDING SYSTEM VALUE
SELECT no, 'sms', link, at, parts, complete, kind, idem, @data_key, sealed
FROM unnest(@nos::bigint[], @links::text[], @ats::timestamptz[], @parts::smallint[], @complete::boolean[], @kinds::text[],
	@idems::bytea[], @sealed::bytea[]) AS row (no, link, at, parts, complete, kind, idem, sealed)`

// register writes the messages and what leads to them, and gives their journal entries.
func (w *writing) register(ctx context.Context, key *citizen.DataKey) ([]journal.Entry, error) {
	n := len(w.contacts)
	if n == 0 {
		return nil, nil
	}
	numbers, err := takeNumbers(ctx, w.tx, nextNumbers, n)
	if err != nil {
		return nil, err
	}
	links, kinds, ats := make([]string, n), make([]string, n), make([]time.Time, n)
	parts, complete, idems, sealed := make([]int16, n), make([]bool, n), make([][]byte, n), make([][]byte, n)
	entries := make([]journal.Entry, n)
	var index []citizen.IndexEntry
	var plain []byte
	for i, c := range w.contacts {
		c.No, c.Channel, c.Kind, c.Salt = numbers[i], "sms", KindMessage, citizen.NewSalt()
		if c.Complete && !c.phone.IsZero() && citizen.IsStop(c.Text) {
			c.Kind = KindOptOut
		}
		plain = c.encode(plain[:0])
		links[i], kinds[i], ats[i], parts[i], complete[i] = c.Link, string(c.Kind), c.At, int16(c.Parts), c.Complete
		sealed[i] = key.Seal(nil, plain, citizen.RowAAD("inbound_messages", c.No))
		if c.idem != nil {
			idems[i] = c.idem[:]
		}
		if !c.phone.IsZero() {
			d, err := w.r.Keyring.PhoneDigest(c.phone)
			if err != nil {
				return nil, fmt.Errorf("digest phone: %w", err)
			}
			index = append(index, citizen.IndexEntry{Digest: d, Ref: citizen.Ref{Kind: citizen.RefInbound, ID: c.No}})
		}
		commitment := citizen.Commitment([]byte(c.Text), c.Salt)
		e := journal.Entry{Kind: journal.InboundRegistered, At: w.now, Channel: c.Channel, Link: c.Link, State: string(c.Kind),
			Segments: c.Parts, Commitment: commitment[:], Data: journal.Fields("no", strconv.FormatInt(c.No, 10))}
		if !c.Complete {
			e.Reason = "incomplete"
		}
		entries[i] = e
	}
	_, err = w.tx.Exec(ctx, insertMessages, pgx.NamedArgs{"data_key": key.ID, "nos": numbers, "links": links, "ats": ats, "parts": parts,
		"complete": complete, "kinds": kinds, "idems": idems, "sealed": sealed})
	if err != nil {
		return nil, fmt.Errorf("store inbound messages: %w", err)
	}
	return entries, citizen.WriteIndex(ctx, w.tx, index)
}

// optOut writes the refusals. A refusal that is offered again is written again if it does not hold: whoever took it back meanwhile
// may not have meant the citizen's second STOP, and not to send is the safe side.
func (w *writing) optOut(ctx context.Context) ([]journal.Entry, error) {
	stops := w.again
	for _, c := range w.contacts {
		if c.Kind == KindOptOut {
			stops = append(stops, &known{no: c.No, phone: c.phone})
		}
	}
	var entries []journal.Entry
	for _, k := range stops {
		digests, err := w.r.Keyring.PhoneDigests(k.phone)
		if err != nil {
			return nil, fmt.Errorf("digest phone: %w", err)
		}
		cause := "inbound/" + strconv.FormatInt(k.no, 10)
		added, err := citizen.AddOptOut(ctx, w.tx, digests, citizen.AllAgencies, citizen.OptOutBySMS, cause)
		if err != nil {
			return nil, err
		}
		if added {
			w.optOuts++
			entries = append(entries, journal.Entry{Kind: journal.OptOut, At: w.now, Channel: "sms",
				Data: journal.Fields("cause", cause, "scope", citizen.AllAgencies)})
		}
	}
	return entries, nil
}

func takeNumbers(ctx context.Context, tx pgx.Tx, sql string, n int) ([]int64, error) {
	rows, err := tx.Query(ctx, sql, pgx.NamedArgs{"count": n})
	if err != nil {
		return nil, fmt.Errorf("take inbound numbers: %w", err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("take inbound numbers: %w", err)
	}
	return numbers, nil
}
