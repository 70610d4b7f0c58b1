package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// KindFeed is a list that came by the feed, in parts. A list of the topic of single events is KindExpress.
const KindFeed = "feed"

// formatFeed is how the parts of a feed's list are kept: chunk N of the file is part N (appendFeedRows). The columns are the envelope's.
const formatFeed = "feed"

// byTitle says that a list's rows came under our own names, not as a file with titles and a mapping.
func byTitle(format string) bool { return format != formatTable && format != formatFeed }

// PartRows is the most rows a part of the feed may have. A row's number in its list is (part-1)*PartRows + its place in the part, from 1.
const PartRows = 1000

// FeedPart is one part of a list that came by the feed.
type FeedPart struct {
	Principal   journal.Principal // Account "source/<code>", Source, Agency, Roles {RoleSourceSystem}
	ListID      uuid.UUID         // the sender's; becomes the list's own
	Part, Parts int
	Header      Header // Source is the catalogue's code; the same in every part
	Express     bool   // came by the topic of single events: lane 0
	Rows        []InputRow

	Digest       [32]byte // SHA-256 of the message's data in canonical JSON (RFC 8785)
	HeaderDigest [32]byte // the same of the data without part and rows

	// Verbatim is ЕГИССО's own message from which the list was made (10.33.O): kept sealed for the history's answer. Rows of such a list
	// may come without a phone: it is taken from what is known of the person.
	Verbatim []byte
	// Facts says that later messages may take rows back by their external id alone (10.06.S).
	Facts bool
	// Origin is where the message lies, for the journal: "topic[partition]@offset".
	Origin string
}

// feedEnvelope is what is known of a feed's list beside its header.
type feedEnvelope struct {
	Parts   int      `json:"parts"`
	Columns []Column `json:"columns"`
	Profile bool     `json:"profile,omitempty"` // phones were looked up by SNILS
	Facts   bool     `json:"facts,omitempty"`   // rows are found by their external ids alone
}

// lockRecalls is lockRecalls for the list of this envelope; nothing for one that did not come by the feed.
func (e *feedEnvelope) lockRecalls(ctx context.Context, tx pgx.Tx, list uuid.UUID) error {
	if e == nil {
		return nil
	}
	if e.Facts {
		if err := lockRecalls(ctx, tx, uuid.Nil); err != nil {
			return err
		}
	}
	return lockRecalls(ctx, tx, list)
}

// Refusals of parts of the feed.
var (
	ErrPartNumber    = &Fault{FaultInvalid, "part_number", "Номер части неверен: нужен от 1 до parts, а частей не больше 10000."}
	ErrPartRows      = &Fault{FaultTooLarge, "part_rows", "В части больше 1000 строк. Разделите список на несколько частей."}
	ErrForeignList   = &Fault{FaultConflict, "list_of_another", "Список с таким list_id уже есть и получен не от этого источника. Выберите для списка новый UUID."}
	ErrHeaderDiffers = &Fault{FaultConflict, "header_differs", "Заголовок части отличается от заголовка первой принятой части списка. Во всех частях он должен быть одинаковым."}
	ErrPartDiffers   = &Fault{FaultConflict, "part_differs", "Часть с этим номером уже принята с другим содержанием. Отправьте исправленные строки новым списком."}
	ErrListOver      = &Fault{FaultConflict, "list_over", "Список уже отменён. Отправьте строки новым списком."}
)

// maxFeedParts is the contract's.
const maxFeedParts = 10_000

// TakeParts stores parts, all of them in one transaction. Each gets its own fate: nil for one that is stored now or was before with the
// same content, a *Fault for one that is refused and changes nothing. With an error nothing is stored and all must be offered again. A
// list whose parts are all here is checked as any other.
func (s *Service) TakeParts(ctx context.Context, parts []FeedPart) (fates []*Fault, err error) {
	var whole bool
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		t := feedTaking{s: s, tx: tx, lists: make(map[uuid.UUID]*feedList)}
		fates, whole = make([]*Fault, len(parts)), false
		// Lists are locked in one order, whatever order their parts come in.
		order := make([]int, len(parts))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return bytes.Compare(parts[a].ListID[:], parts[b].ListID[:]) })
		for _, i := range order {
			err := t.take(ctx, &parts[i])
			var fault *Fault
			switch {
			case errors.As(err, &fault):
				fates[i] = fault
			case err != nil:
				return err
			}
		}
		if err := t.finish(ctx); err != nil {
			return err
		}
		whole = t.whole
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take parts: %w", err)
	}
	if whole {
		s.poke()
	}
	return fates, nil
}

// feedTaking is one transaction that stores parts.
type feedTaking struct {
	s       *Service
	tx      pgx.Tx
	lists   map[uuid.UUID]*feedList
	entries []journal.Entry
	whole   bool // some list has all its parts
}

// feedList is a list as one transaction sees it.
type feedList struct {
	no              int64
	source, agency  string
	state           State
	key             *citizen.DataKey
	parts, received int
	header          []byte
	envelope        envelope
	columns         *table
	size            int64          // of what this transaction stored
	grown           bool           // the envelope is to be sealed anew
	taken           map[int][]byte // numbers of the parts that this transaction stored, with their keyed digests
}

func (t *feedTaking) take(ctx context.Context, p *FeedPart) error {
	switch {
	case p.Parts < 1 || p.Parts > maxFeedParts || p.Part < 1 || p.Part > p.Parts:
		return ErrPartNumber
	case len(p.Rows) == 0:
		return ErrNoInput
	case len(p.Rows) > PartRows:
		return ErrPartRows
	case p.ListID == uuid.Nil:
		return ErrHeaderField.with("list_id")
	}
	l, err := t.list(ctx, p)
	if err != nil {
		return err
	}
	switch {
	case l.source != p.Header.Source || l.agency != p.Principal.Agency:
		return ErrForeignList
	case l.parts != p.Parts:
		return ErrHeaderDiffers
	}
	if same, err := t.s.isDigest(digestHeader, p.HeaderDigest, l.header); err != nil || !same {
		return cmp.Or(err, error(ErrHeaderDiffers))
	}
	was, err := t.partDigest(ctx, l, p.Part)
	if err != nil {
		return err
	}
	if was != nil {
		if same, err := t.s.isDigest(digestPart, p.Digest, was); err != nil || !same {
			return cmp.Or(err, error(ErrPartDiffers))
		}
		return nil
	}
	if l.state != Receiving {
		return ErrListOver
	}
	return t.store(ctx, l, p)
}

const feedListSQL = `SELECT l.no, l.agency, l.state, l.data_key, coalesce(f.source, ''), coalesce(f.parts, 0), coalesce(f.received, 0), coalesce(f.header, '')
	FROM lists l LEFT JOIN feed_lists f ON f.list_no = l.no WHERE l.id = $1 FOR NO KEY UPDATE OF l`

// list finds the part's list, or makes it.
func (t *feedTaking) list(ctx context.Context, p *FeedPart) (*feedList, error) {
	if l := t.lists[p.ListID]; l != nil {
		return l, nil
	}
	l := &feedList{taken: make(map[int][]byte)}
	var key int64
	err := t.tx.QueryRow(ctx, feedListSQL, p.ListID).Scan(&l.no, &l.agency, &l.state, &key, &l.source, &l.parts, &l.received, &l.header)
	if errors.Is(err, pgx.ErrNoRows) {
		err = t.make(ctx, l, p)
	} else if err == nil && l.source != "" {
		if l.key, err = t.s.cfg.Keys.Key(ctx, t.tx, key); err == nil && l.state == Receiving {
			l.envelope, err = t.s.readEnvelope(ctx, t.tx, l.no, 1, l.key)
		}
	}
	if err != nil {
		return nil, err
	}
	if l.envelope.Feed != nil {
		l.columns = newTable(l.envelope.Feed.Columns)
	}
	t.lists[p.ListID] = l
	return l, nil
}

const (
	insertFeedSQL     = `INSERT INTO feed_lists (list_no, source, parts, header, last_at) VALUES ($1, $2, $3, $4, $5)`
	insertFeedFileSQL = `INSERT INTO list_files (list_no, file_no, format, size, digest, at) VALUES ($1, 1, '` + formatFeed + `', 0, '', $2)`
)

// make opens the list of a part that is the first of it to come. What its header says wrong is a fault, and nothing is left of the list.
func (t *feedTaking) make(ctx context.Context, l *feedList, p *FeedPart) error {
	s := t.s
	if !mayLoad(p.Principal) {
		return ErrForbidden
	}
	if len(p.Header.Mapping) > 0 {
		return ErrHeaderField.with("mapping")
	}
	if err := newTable(nil).cover(p.Rows); err != nil { // before anything is written: a refused part leaves no list
		return err
	}
	e, template, err := s.complete(p.Principal, p.Header)
	if err != nil {
		return err
	}
	e.Feed = &feedEnvelope{Parts: p.Parts, Profile: len(p.Verbatim) > 0 || p.Facts, Facts: p.Facts}
	kind := KindFeed
	if p.Express {
		kind = KindExpress
	}
	ref := Ref{ID: p.ListID}
	if l.key, err = s.insertList(ctx, t.tx, p.Principal, arrival{envelope: e, template: template, kind: kind, format: formatFeed}, &ref); err != nil {
		return err
	}
	header, err := s.cfg.Keys.Digest(digestHeader, string(p.HeaderDigest[:]))
	if err != nil {
		return err
	}
	l.no, l.source, l.agency, l.state, l.parts, l.header, l.envelope = ref.No, p.Header.Source, p.Principal.Agency, Receiving, p.Parts, header[:], e
	now := s.cfg.Now()
	if _, err := t.tx.Exec(ctx, insertFeedSQL, l.no, l.source, l.parts, l.header, now); err != nil {
		return fmt.Errorf("store list of the feed: %w", err)
	}
	if _, err := t.tx.Exec(ctx, insertFeedFileSQL, l.no, now); err != nil {
		return fmt.Errorf("store list of the feed: %w", err)
	}
	head, err := json.Marshal(e)
	if err == nil {
		_, err = t.tx.Exec(ctx, insertChunkSQL, l.no, 1, 0, l.key.Seal(nil, head, chunkAAD(l.no, 1, 0)))
	}
	if err != nil {
		return fmt.Errorf("store list header: %w", err)
	}
	t.entries = append(t.entries, journal.Entry{Kind: journal.ListCreated, ListNo: l.no, Agency: l.agency, Actor: p.Principal.Account, State: string(Receiving),
		Data: journal.Fields("list_id", p.ListID.String(), "source", l.source, "format", formatFeed, "parts", fmt.Sprint(l.parts), "priority", e.Priority)})
	return nil
}

// partDigest is the keyed digest under which a part was stored; nil when it was not.
func (t *feedTaking) partDigest(ctx context.Context, l *feedList, part int) (was []byte, err error) {
	if b := l.taken[part]; b != nil {
		return b, nil
	}
	err = t.tx.QueryRow(ctx, `SELECT digest FROM feed_parts WHERE list_no = $1 AND part = $2`, l.no, part).Scan(&was)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("look for part %d: %w", part, err)
	}
	return was, nil
}

const (
	insertPartSQL = `INSERT INTO feed_parts (list_no, part, digest, rows, at) VALUES ($1, $2, $3, $4, $5)`
	insertFactSQL = `INSERT INTO feed_facts (source, external_id, list_no) SELECT $1, id, $3 FROM unnest($2::text[]) AS id ON CONFLICT DO NOTHING`
)

func (t *feedTaking) store(ctx context.Context, l *feedList, p *FeedPart) error {
	s := t.s
	if l.envelope.Feed.Profile {
		if err := s.fillPhones(ctx, t.tx, p.Rows); err != nil {
			return err
		}
	}
	columns := len(l.columns.columns)
	if err := l.columns.cover(p.Rows); err != nil {
		return err
	}
	l.grown = l.grown || len(l.columns.columns) > columns
	plain := appendFeedRows(nil, l.columns, p.Rows)
	digest, err := s.cfg.Keys.Digest(digestPart, string(p.Digest[:]))
	if err != nil {
		return err
	}
	var b pgx.Batch
	b.Queue(insertChunkSQL, l.no, 1, p.Part, l.key.Seal(nil, plain, chunkAAD(l.no, 1, int32(p.Part))))
	b.Queue(insertPartSQL, l.no, p.Part, digest[:], len(p.Rows), s.cfg.Now())
	if l.envelope.Feed.Facts {
		ids := make([]string, len(p.Rows))
		for i := range p.Rows {
			ids[i] = p.Rows[i].ExternalID
		}
		b.Queue(insertFactSQL, l.source, ids, l.no)
	}
	entry := journal.Entry{Kind: journal.PartReceived, ListNo: l.no, Agency: l.agency, Actor: p.Principal.Account, Count: len(p.Rows),
		Data: journal.Fields("part", fmt.Sprint(p.Part), "origin", p.Origin)}
	if len(p.Verbatim) > 0 {
		salt := citizen.NewSalt()
		commitment := citizen.Commitment(p.Verbatim, salt)
		entry.Commitment = commitment[:]
		b.Queue(`INSERT INTO feed_messages (list_no, sealed) VALUES ($1, $2)`, l.no,
			l.key.Seal(nil, append(salt[:], p.Verbatim...), citizen.RowAAD("feed_messages", l.no)))
	}
	if err := t.tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("store part %d: %w", p.Part, err)
	}
	t.entries = append(t.entries, entry)
	l.taken[p.Part] = digest[:]
	l.size += int64(len(plain))
	return nil
}

const (
	resealSQL       = `UPDATE list_file_chunks SET sealed = $2 WHERE list_no = $1 AND file_no = 1 AND chunk_no = 0`
	receivedSQL     = `UPDATE feed_lists SET received = received + $2, last_at = $3, overdue = false WHERE list_no = $1`
	growFileSQL     = `UPDATE list_files SET size = size + $2, complete = $3, at = $4 WHERE list_no = $1 AND file_no = 1`
	nothingAmissSQL = `UPDATE lists SET state_reason = '' WHERE no = $1 AND state_reason <> ''`
)

// finish writes what the parts have changed of their lists.
func (t *feedTaking) finish(ctx context.Context) error {
	s := t.s
	now := s.cfg.Now()
	for _, id := range slices.SortedFunc(maps.Keys(t.lists), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		l := t.lists[id]
		if len(l.taken) == 0 {
			continue
		}
		whole := l.received+len(l.taken) == l.parts
		var b pgx.Batch
		if l.grown {
			l.envelope.Feed.Columns = l.columns.columns
			head, err := json.Marshal(l.envelope)
			if err != nil {
				return fmt.Errorf("encode list header: %w", err)
			}
			b.Queue(resealSQL, l.no, l.key.Seal(nil, head, chunkAAD(l.no, 1, 0)))
		}
		b.Queue(receivedSQL, l.no, len(l.taken), now)
		b.Queue(growFileSQL, l.no, l.size, whole, now)
		b.Queue(nothingAmissSQL, l.no)
		if whole {
			b.Queue(toCheckingSQL, l.no)
		}
		if err := t.tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("store parts of list %d: %w", l.no, err)
		}
		t.whole = t.whole || whole
	}
	if len(t.entries) == 0 {
		return nil
	}
	for i := range t.entries {
		t.entries[i].At = now
	}
	_, err := s.cfg.Journal.Append(ctx, t.tx, t.entries)
	return err
}

// isDigest tells whether a stored keyed digest is that of sum under any index key.
func (s *Service) isDigest(kind citizen.DigestKind, sum [32]byte, stored []byte) (bool, error) {
	all, err := s.cfg.Keys.Digests(kind, string(sum[:]))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(d citizen.Digest) bool { return bytes.Equal(d[:], stored) }), nil
}

// fillPhones gives rows without a phone the one that is known of their person.
func (s *Service) fillPhones(ctx context.Context, tx pgx.Tx, rows []InputRow) error {
	for i := range rows {
		r := &rows[i]
		if r.Phone != "" || len(r.Phones) > 0 {
			continue
		}
		snils, _, err := citizen.ParseSNILS(r.SNILS)
		if err != nil {
			continue // the check says so
		}
		phones, err := s.contactsOf(ctx, tx, snils)
		if err != nil {
			return err
		}
		for _, phone := range phones {
			r.Phones = append(r.Phones, phone.Digits())
		}
	}
	return nil
}
