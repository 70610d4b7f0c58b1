package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
)

// Kinds of list: how it came.
const (
	KindFile    = "file"
	KindJSON    = "json"
	KindExpress = "express"
)

// chunkSize is how much of a file is sealed and stored at a time; nothing of it is ever elsewhere.
const chunkSize = 1 << 20

// envelope is what must be known of a list when it is checked; it is sealed as chunk 0, the file follows from chunk 1.
type envelope struct {
	Header
	Region    citizen.Region `json:"region,omitempty"`    // of the sender, for zones
	Templates map[string]int `json:"templates,omitempty"` // versions that rows may name, as they were in force when it came
	Trusted   bool           `json:"trusted,omitempty"`   // brought by its source's own key: the profile may approve it
	// Columns is the agency's mapping when the list came, with the list's own over it.
	Columns map[string]string `json:"columns,omitempty"`
	Feed    *feedEnvelope     `json:"feed,omitempty"` // nil for what did not come by the feed
}

// complete fills in what the source's profile says and checks what can be checked without the rows.
func (s *Service) complete(p journal.Principal, h Header) (_ envelope, _ *catalog.Template, err error) {
	c, now := s.cfg.Catalog(), s.cfg.Now()
	if h.Source == "" {
		h.Source = p.Source
	}
	if h.Source == "" {
		h.Source = "upload"
	}
	source, ok := c.Source(h.Source, now)
	if !ok || p.Has(journal.RoleSourceSystem) && p.Source != "" && p.Source != h.Source ||
		len(source.Agencies) > 0 && !slices.Contains(source.Agencies, p.Agency) {
		return envelope{}, nil, ErrUnknownSource
	}
	if h.LegalBasis == nil {
		h.LegalBasis = source.LegalBasis
	}
	if h.OrderedBy == "" {
		h.OrderedBy = source.OrderedBy
	}
	if len(h.Channels) == 0 {
		h.Channels = source.Channels
	}
	if h.Priority == "" {
		h.Priority = PriorityNormal
	}
	if h.OnUncertain == "" {
		h.OnUncertain = "resend"
	}
	if h.Name = strings.TrimSpace(h.Name); h.Name == "" {
		h.Name = "Список от " + now.UTC().Format("02.01.2006 15:04")
	}
	if err := checkFields(&h); err != nil {
		return envelope{}, nil, err
	}
	if h.Mapping, err = checkMapping(h.Mapping); err != nil {
		return envelope{}, nil, err
	}
	if !h.ValidUntil.IsZero() && !h.ValidUntil.Ends(citizen.DefaultZones).After(now) {
		return envelope{}, nil, ErrListExpired
	}
	e := envelope{Header: h, Templates: pinned(c, p.Agency, now), Trusted: p.Has(journal.RoleSourceSystem) && p.Source == h.Source}
	if a, ok := c.Agency(p.Agency, now); ok {
		e.Region = citizen.Region(a.Region)
	}
	e.Columns = h.Mapping
	if m, ok := c.Mapping(p.Agency, now); ok {
		e.Columns = catalog.MergeColumns(m.Columns, h.Mapping)
	}
	if h.LifeEvent != "" {
		event, ok := c.FindLifeEvent(h.LifeEvent, now)
		if !ok {
			return envelope{}, nil, ErrUnknownEvent
		}
		e.LifeEvent = event.Code
	}
	if h.Template == "" {
		e.Template = source.Templates[e.LifeEvent]
	}
	if e.Template == "" {
		return e, nil, nil
	}
	template, ok := c.FindTemplate(e.Template, now)
	if !ok || template.Answer || template.Agency != "" && template.Agency != p.Agency {
		return envelope{}, nil, ErrUnknownTemplate
	}
	e.Template = template.Code
	return e, template, nil
}

// checkFields also brings the plan into its one form.
func checkFields(h *Header) error {
	bad := func(field string) error { return ErrHeaderField.with(field) }
	switch {
	case utf8.RuneCountInString(h.Name) > 200 || !utf8.ValidString(h.Name) || badCharacters(h.Name) || strings.Contains(h.Name, "\n"):
		return bad("name")
	case !slices.Contains([]string{PriorityUrgent, PriorityNormal, PriorityBulk}, h.Priority):
		return bad("priority")
	case h.OnUncertain != "resend" && h.OnUncertain != "hold":
		return bad("on_uncertain")
	case utf8.RuneCountInString(h.OrderedBy) > 500 || badCharacters(h.OrderedBy):
		return bad("ordered_by")
	case len(h.Sender) > 64 || badCharacters(h.Sender):
		return bad("sender")
	case citizen.HoldsPersonal(h.Name): // these are shown to everybody who sees the list
		return bad("name")
	case citizen.HoldsPersonal(h.OrderedBy):
		return bad("ordered_by")
	}
	plan, ok := ParseChannels(strings.Join(h.Channels, ","))
	if !ok {
		return bad("channels")
	}
	h.Channels = plan
	if b := h.LegalBasis; b != nil {
		day, err := citizen.ParseDate(b.Date)
		if err != nil || b.Code == "" || b.Document == "" || len(b.Code) > 64 ||
			utf8.RuneCountInString(b.Document) > 500 || badCharacters(b.Code+b.Document) {
			return ErrBasis
		}
		h.LegalBasis = &catalog.LegalBasis{Code: b.Code, Document: b.Document, Date: day.String()}
	}
	return nil
}

// Submit takes a list as a file and returns once the whole of it is stored, sealed; what it says is found out afterwards (Run). The file
// is read to its end, or to the limit. The same bytes twice are ErrSameFile unless the header says Again.
func (s *Service) Submit(ctx context.Context, p journal.Principal, h Header, file io.Reader) (Ref, error) {
	return s.submit(ctx, p, h, KindFile, "", file)
}

func (s *Service) submit(ctx context.Context, p journal.Principal, h Header, kind, format string, file io.Reader) (Ref, error) {
	if !mayLoad(p) {
		return Ref{}, ErrForbidden
	}
	e, template, err := s.complete(p, h)
	if err != nil {
		return Ref{}, err
	}
	return s.take(ctx, p, arrival{envelope: e, template: template, kind: kind, format: format}, file)
}

// arrival is a list on its way in, its header complete.
type arrival struct {
	envelope envelope
	template *catalog.Template // the list's own; nil when rows bring theirs
	kind     string
	format   string    // of the file; "" = found out when it comes
	corrects int64     // the list whose mended file this is; 0 = none
	testSend *testSend // what it shows of another list; nil for a list of its own
}

// take stores a list and its file.
func (s *Service) take(ctx context.Context, p journal.Principal, a arrival, file io.Reader) (Ref, error) {
	ref := Ref{ID: a.envelope.ID, State: Receiving}
	if ref.ID == uuid.Nil {
		ref.ID = uuid.New()
	}
	key, err := s.open(ctx, p, a, &ref)
	if err != nil {
		return Ref{}, err
	}
	up := upload{s: s, list: ref.No, file: 1, key: key, format: a.format, envelope: a.envelope}
	err = up.store(ctx, file)
	if err == nil {
		err = s.closeUpload(ctx, p, &up, &ref, a.testSend, a.corrects)
	}
	if err != nil {
		s.drop(ctx, &up, true)
		return Ref{}, err
	}
	s.poke()
	return ref, nil
}

const insertListSQL = `
INSERT INTO lists (id, agency, source, kind, name, state, life_event, template, template_version, channels, priority, on_uncertain,
	legal_basis, ordered_by, not_before, valid_until, inform_by, test, tests, corrects, data_key, loaded_by, created_at)
VALUES (@id, @agency, @source, @kind, @name, 'receiving', @life_event, @template, @template_version, @channels, @priority, @on_uncertain,
	@legal_basis, @ordered_by, @not_before, @valid_until, @inform_by, @test, @tests, @corrects, @data_key, @loaded_by, @created_at)
RETURNING no`

// open makes the list and its data key. It is nothing yet: only closeUpload tells anybody of it.
func (s *Service) open(ctx context.Context, p journal.Principal, a arrival, ref *Ref) (key *citizen.DataKey, err error) {
	err = postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) (err error) {
		key, err = s.insertList(ctx, tx, p, a, ref)
		return err
	})
	return key, err
}

// insertList makes the list's row and its data key as part of tx.
func (s *Service) insertList(ctx context.Context, tx pgx.Tx, p journal.Principal, a arrival, ref *Ref) (*citizen.DataKey, error) {
	test, tests, corrects := p.Test, any(nil), any(nil)
	if a.corrects != 0 {
		corrects = a.corrects
	}
	if a.testSend != nil {
		if err := s.permitTest(ctx, tx, p, a.testSend.list.ID); err != nil {
			return nil, err
		}
		test, tests = a.testSend.list.Test, a.testSend.list.No
	}
	key, err := s.cfg.Keys.ScopeKey(ctx, tx, "list/"+ref.ID.String(), p.Agency)
	if err != nil {
		return nil, err
	}
	args, err := headerArgs(a.envelope, a.template)
	if err != nil {
		return nil, err
	}
	args["id"], args["agency"], args["kind"], args["test"], args["tests"], args["corrects"] = ref.ID, p.Agency, a.kind, test, tests, corrects
	args["data_key"], args["loaded_by"], args["created_at"] = key.ID, p.Account, s.cfg.Now()
	if err := tx.QueryRow(ctx, insertListSQL, args).Scan(&ref.No); err != nil {
		return nil, fmt.Errorf("make list: %w", err)
	}
	return key, nil
}

// headerArgs are the columns of lists that repeat the header, for people: a day without a time is shown in Moscow's.
func headerArgs(e envelope, template *catalog.Template) (pgx.NamedArgs, error) {
	var basis any
	if e.LegalBasis != nil {
		b, err := json.Marshal(e.LegalBasis)
		if err != nil {
			return nil, fmt.Errorf("encode legal basis: %w", err)
		}
		basis = b
	}
	version := 0
	if template != nil {
		version = template.Version
	}
	return pgx.NamedArgs{"source": e.Source, "name": e.Name, "life_event": e.LifeEvent, "template": e.Template, "template_version": version,
		"channels": e.Channels, "priority": e.Priority, "on_uncertain": e.OnUncertain, "legal_basis": basis, "ordered_by": e.OrderedBy,
		"not_before":  timeOrNil(e.NotBefore.Starts(citizen.DefaultZones)),
		"valid_until": timeOrNil(e.ValidUntil.Ends(citizen.DefaultZones)),
		"inform_by":   timeOrNil(e.InformBy.Ends(citizen.DefaultZones))}, nil
}

// upload is one file on its way into the database.
type upload struct {
	s        *Service
	list     int64
	file     int32
	key      *citizen.DataKey
	format   string // "" = found out now
	envelope envelope
	size     int64
	digests  [][]byte // of its bytes, under every index key, the current one first
}

const (
	insertFileSQL  = `INSERT INTO list_files (list_no, file_no, format, size, digest, at) VALUES ($1, $2, $3, 0, '', $4)`
	insertChunkSQL = `INSERT INTO list_file_chunks (list_no, file_no, chunk_no, sealed) VALUES ($1, $2, $3, $4)`
)

func chunkAAD(list int64, file, chunk int32) []byte {
	return citizen.RowAAD("list_file_chunks", list<<24|int64(file)<<16|int64(chunk))
}

// store seals the file chunk by chunk as it comes in; each chunk is committed by itself, so that a slow sender holds no transaction.
func (u *upload) store(ctx context.Context, file io.Reader) error {
	if u.file > 200 {
		return ErrTooLarge.with(u.s.cfg.Limits.FileBytes >> 20)
	}
	if _, err := u.s.cfg.DB.Exec(ctx, insertFileSQL, u.list, u.file, u.format, u.s.cfg.Now()); err != nil {
		return fmt.Errorf("store file: %w", err)
	}
	head, err := json.Marshal(u.envelope)
	if err != nil {
		return fmt.Errorf("encode list header: %w", err)
	}
	if err := u.chunk(ctx, 0, head); err != nil {
		return err
	}
	sum := sha256.New()
	buf := make([]byte, chunkSize)
	for no := int32(1); ; no++ {
		n, err := fill(file, buf)
		if n > 0 {
			if u.size += int64(n); u.size > u.s.cfg.Limits.FileBytes {
				return ErrTooLarge.with(u.s.cfg.Limits.FileBytes >> 20)
			}
			if no == 1 && u.format == "" {
				u.format = "csv"
				if bytes.HasPrefix(buf[:n], []byte("PK")) {
					u.format = "xlsx"
				}
			}
			sum.Write(buf[:n])
			if err := u.chunk(ctx, no, buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return u.sum(sum)
		case err != nil:
			return fmt.Errorf("%w: %w", ErrBadUpload, err)
		}
	}
}

// fill reads until buf is full, the file ends with io.EOF, or reading fails. io.ErrUnexpectedEOF is a failure here: it is what an upload
// that broke off ends with.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	if n == len(buf) {
		err = nil
	}
	return n, err
}

func (u *upload) sum(sum hash.Hash) error {
	if u.size == 0 {
		return ErrEmptyFile
	}
	all, err := u.s.cfg.Keys.Digests(digestFile, string(sum.Sum(nil)))
	if err != nil {
		return err
	}
	for i := range all {
		u.digests = append(u.digests, all[i][:])
	}
	return nil
}

// Kinds of digest that ingest makes.
const (
	digestFile      citizen.DigestKind = "list_file"
	digestPart      citizen.DigestKind = "list_part"
	digestHeader    citizen.DigestKind = "list_header" // what all parts of a list of the feed say alike
	digestList      citizen.DigestKind = "list"
	digestRows      citizen.DigestKind = "list_rows" // what a list says, in whatever file
	digestDuplicate citizen.DigestKind = "duplicate" // person, event, measure, event date within an agency
)

func (u *upload) chunk(ctx context.Context, no int32, plain []byte) error {
	sealed := u.key.Seal(nil, plain, chunkAAD(u.list, u.file, no))
	if _, err := u.s.cfg.DB.Exec(ctx, insertChunkSQL, u.list, u.file, no, sealed); err != nil {
		return fmt.Errorf("store file: %w", err)
	}
	return nil
}

// patientlySQL lifts the limit of a statement for a transaction that removes a list of any size.
const patientlySQL = `SET LOCAL statement_timeout = '30min'`

const (
	sameFileSQL = `SELECT l.id, l.created_at FROM list_files f JOIN lists l ON l.no = f.list_no
		WHERE f.digest = ANY($1) AND f.complete AND l.agency = $2 AND l.no <> $3 AND l.state NOT IN ('rejected','refused','cancelled')
		ORDER BY l.no DESC LIMIT 1`
	completeFileSQL = `UPDATE list_files SET complete = true, size = $3, digest = $4, format = $5, at = $6 WHERE list_no = $1 AND file_no = $2`
	toCheckingSQL   = `UPDATE lists SET state = 'checking' WHERE no = $1 AND state = 'receiving'`
)

// closeUpload makes the list one that exists: its file is whole and waits to be checked.
func (s *Service) closeUpload(ctx context.Context, p journal.Principal, u *upload, ref *Ref, shows *testSend, corrects int64) error {
	return postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error {
		reason, err := s.sameFile(ctx, tx, p.Agency, u, u.envelope.Again)
		if err != nil {
			return err
		}
		if err := s.onlyCorrection(ctx, tx, u.list); err != nil {
			return err
		}
		if err := s.completeFile(ctx, tx, u); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, toCheckingSQL, u.list); err != nil {
			return fmt.Errorf("store list: %w", err)
		}
		ref.State = Checking
		if shows != nil {
			if err := s.recordTest(ctx, tx, p, shows, ref); err != nil {
				return err
			}
		}
		data := []string{"list_id", ref.ID.String(), "source", u.envelope.Source, "format", u.format, "bytes", fmt.Sprint(u.size),
			"priority", u.envelope.Priority}
		if corrects != 0 {
			data = append(data, "corrects_no", fmt.Sprint(corrects))
		}
		return s.append(ctx, tx, p, journal.Entry{Kind: journal.ListCreated, ListNo: u.list, Agency: p.Agency, State: string(Checking),
			Reason: reason, Data: journal.Fields(data...)})
	})
}

func (s *Service) completeFile(ctx context.Context, tx pgx.Tx, u *upload) error {
	if _, err := tx.Exec(ctx, completeFileSQL, u.list, u.file, u.size, u.digests[0], u.format, s.cfg.Now()); err != nil {
		return fmt.Errorf("store file: %w", err)
	}
	return nil
}

// sameFile refuses bytes that this agency has sent before, unless they are meant to go again.
func (s *Service) sameFile(ctx context.Context, tx pgx.Tx, agency string, u *upload, again bool) (reason string, err error) {
	if !byTitle(u.format) { // lists by the interface are told apart by their Idempotency-Key
		return "", nil
	}
	var id uuid.UUID
	var at time.Time
	err = tx.QueryRow(ctx, sameFileSQL, u.digests, agency, u.list).Scan(&id, &at)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for the same file: %w", err)
	case again:
		return "same_file_again", nil
	}
	return "", ErrSameFile.with(at.In(moscow()).Format("02.01.2006 в 15:04")+" (МСК)", id)
}

// moscow is the zone in which people of an agency are told times.
func moscow() *time.Location {
	if l := citizen.DefaultZones.Locations(); len(l) > 0 {
		return l[0]
	}
	return time.UTC
}

// append writes one entry as part of tx, for the principal, now.
func (s *Service) append(ctx context.Context, tx pgx.Tx, p journal.Principal, e journal.Entry) error {
	e.At, e.Actor = s.cfg.Now(), p.Account
	if p.Purpose.Code != "" {
		e.Purpose = p.Purpose.String()
	}
	_, err := s.cfg.Journal.Append(ctx, tx, []journal.Entry{e})
	return err
}

// drop removes what an upload left that did not come to its end; whole says that the list goes with it. What cannot be removed now is
// removed by sweep.
func (s *Service) drop(ctx context.Context, u *upload, whole bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := postgres.InTx(ctx, s.cfg.DB, func(tx pgx.Tx) error { return s.removeFile(ctx, tx, u.list, u.file, whole) })
	if err != nil {
		s.cfg.Log.Warn("an unfinished upload could not be removed yet", "list_no", u.list, "err", err)
	}
}

// removeFile deletes a file that was never complete, and its list when that was never more than the file.
func (s *Service) removeFile(ctx context.Context, tx pgx.Tx, list int64, file int32, whole bool) error {
	steps := []string{
		`DELETE FROM list_file_chunks c USING list_files f
			WHERE c.list_no = $1 AND c.file_no = $2 AND f.list_no = $1 AND f.file_no = $2 AND NOT f.complete`,
		`DELETE FROM list_files WHERE list_no = $1 AND file_no = $2 AND NOT complete`,
	}
	for _, sql := range steps {
		if _, err := tx.Exec(ctx, sql, list, file); err != nil {
			return fmt.Errorf("remove unfinished file: %w", err)
		}
	}
	if !whole {
		return nil
	}
	var key int64
	err := tx.QueryRow(ctx, `DELETE FROM lists WHERE no = $1 AND state = 'receiving' RETURNING data_key`, list).Scan(&key)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove unfinished list: %w", err)
	}
	return s.cfg.Keys.DestroyKey(ctx, tx, key)
}
