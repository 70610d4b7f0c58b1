package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
)

// HistoryEntry is one thing that happened. Nothing personal is in it.
type HistoryEntry struct {
	Position       *int64            `json:"position" nullable:"true" doc:"Place in the provable order; null for some milliseconds after it happened"`
	At             time.Time         `json:"at"`
	Kind           journal.Kind      `json:"kind"`
	Actor          string            `json:"actor" doc:"Account; empty: the hub by itself"`
	Agency         string            `json:"agency"`
	Purpose        string            `json:"purpose,omitempty"`
	ListID         string            `json:"list_id,omitempty"`
	NotificationID string            `json:"notification_id,omitempty"`
	Data           map[string]string `json:"data"`
}

func (s *Server) registerHistory() {
	register(s, operation{id: "getHistory", method: http.MethodGet, path: "/v1/history", tag: "history", summary: "What happened, in the provable order",
		description: "Of a list, a notification, an actor, or of a span of time. Reading it is itself in the history."}, s.getHistory)
	register(s, operation{id: "searchHistory", method: http.MethodPost, path: "/v1/history/search", tag: "history", summary: "What a person was told", read: true,
		description: "By phone, or SNILS, or full name with birth date; the purpose is demanded and every search is in the history. Values are masked, unless the role may see them."}, s.searchHistory)
}

func (s *Server) getHistory(ctx context.Context, p journal.Principal, in *struct {
	Paging
	ListID         string    `query:"list_id" format:"uuid"`
	NotificationID string    `query:"notification_id" pattern:"^[0-9]{1,12}-[0-9]{1,8}$"`
	Actor          string    `query:"actor" maxLength:"64" pattern:"^[a-z][a-z0-9._/-]*$" doc:"Account"`
	Kind           []string  `query:"kind" maxItems:"20" doc:"As list.approved or outcome; several by commas"`
	From           time.Time `query:"from"`
	To             time.Time `query:"to" doc:"Before this time"`
}) (*answer[*Page[HistoryEntry]], error) {
	kinds, err := kindsOf(in.Kind)
	if err != nil {
		return nil, err
	}
	query := journal.Query{Actor: in.Actor, Kinds: kinds, From: in.From, To: in.To, After: in.After, Limit: in.Limit}
	var listNo int64
	if in.ListID != "" {
		list, err := s.listByID(ctx, p, in.ListID)
		if err != nil {
			return nil, err
		}
		listNo, query.ListNo = list.no, list.no
	}
	if in.After == "" { // the pages that follow are the same look
		err := s.record(ctx, journal.Entry{Kind: journal.HistoryRead, At: s.now(), Agency: p.Agency, Actor: p.Account, ListNo: listNo,
			Data: journal.Fields("notification_id", in.NotificationID, "of_actor", in.Actor, "kinds", strings.Join(in.Kind, " "))})
		if err != nil {
			return nil, fmt.Errorf("journal a look at the history: %w", err)
		}
	}
	if in.NotificationID != "" {
		id, list, err := s.notificationByID(ctx, p, in.NotificationID)
		if err != nil {
			return nil, err
		}
		if listNo != 0 && list.no != listNo {
			return nil, problem(CodeNotFound)
		}
		placed, err := s.historyOf(ctx, p, []dispatch.NotificationID{id}, list.createdAt, query)
		if err != nil {
			return nil, err
		}
		entries, err := s.historyEntries(ctx, placed)
		return answerOf(pageOf("getHistory", entries, len(entries), func(HistoryEntry) string { return "" }), err)
	}
	found, err := journal.History(ctx, s.db, p, query)
	switch {
	case errors.Is(err, journal.ErrCursor):
		return nil, problem(CodeCursor)
	case errors.Is(err, journal.ErrForbidden):
		return nil, problem(CodeForbidden)
	case err != nil:
		return nil, err
	}
	entries, err := s.historyEntries(ctx, found.Items)
	if err != nil {
		return nil, err
	}
	return &answer[*Page[HistoryEntry]]{&Page[HistoryEntry]{Items: entries, Next: found.Next}}, nil
}

// historyOf is the history of single notifications, narrowed by the query's kinds and times. It is short and comes whole.
func (s *Server) historyOf(ctx context.Context, p journal.Principal, ids []dispatch.NotificationID, since time.Time, query journal.Query) ([]journal.Placed, error) {
	entries, err := dispatch.EntriesOf(ctx, s.db, ids, since)
	if err != nil {
		return nil, err
	}
	placed, err := journal.ByIDs(ctx, s.db, p, entries)
	if errors.Is(err, journal.ErrForbidden) {
		return nil, problem(CodeForbidden)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(placed, func(e journal.Placed) bool {
		return len(query.Kinds) > 0 && !slices.Contains(query.Kinds, e.Entry.Kind) ||
			!query.From.IsZero() && e.Entry.At.Before(query.From) || !query.To.IsZero() && !e.Entry.At.Before(query.To)
	}), nil
}

// historyEntries gives entries the names used outside.
func (s *Server) historyEntries(ctx context.Context, placed []journal.Placed) ([]HistoryEntry, error) {
	nos := make([]int64, 0, len(placed))
	for i := range placed {
		if no := placed[i].Entry.ListNo; no != 0 && !slices.Contains(nos, no) {
			nos = append(nos, no)
		}
	}
	names, err := s.listNames(ctx, nos)
	if err != nil {
		return nil, err
	}
	out := make([]HistoryEntry, len(placed))
	for i := range placed {
		e := &placed[i].Entry
		out[i] = HistoryEntry{At: e.At, Kind: e.Kind, Actor: e.Actor, Agency: e.Agency, Purpose: e.Purpose, Data: dataOf(e)}
		if position := placed[i].Position; position != journal.NotPlaced {
			out[i].Position = &position
		}
		if id, ok := names[e.ListNo]; ok {
			out[i].ListID = id.String()
		}
		if e.Notification != 0 {
			out[i].NotificationID = dispatch.NotificationID(e.Notification).String()
		}
	}
	return out, nil
}

func (s *Server) listNames(ctx context.Context, nos []int64) (map[int64]uuid.UUID, error) {
	names := make(map[int64]uuid.UUID, len(nos))
	if len(nos) == 0 {
		return names, nil
	}
	rows, err := s.db.Query(ctx, `SELECT no, id FROM lists WHERE no = ANY ($1)`, nos)
	if err != nil {
		return nil, fmt.Errorf("read names of lists: %w", err)
	}
	var no int64
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&no, &id}, func() error { names[no] = id; return nil })
	if err != nil {
		return nil, fmt.Errorf("read names of lists: %w", err)
	}
	return names, nil
}

// dataOf is everything else an entry says, by the names of the journal.
func dataOf(e *journal.Entry) map[string]string {
	data := make(map[string]string)
	for _, f := range e.Data {
		data[f.Name] = f.Value
	}
	text := func(name, value string) {
		if value != "" {
			data[name] = value
		}
	}
	number := func(name string, value int) {
		if value != 0 {
			data[name] = strconv.Itoa(value)
		}
	}
	text("channel", e.Channel)
	text("link", e.Link)
	text("state", e.State)
	text("from", e.From)
	text("reason", e.Reason)
	text("code", e.Code)
	number("sequence", e.Sequence)
	number("attempt", e.Attempt)
	number("segment", e.Segment)
	number("segments", e.Segments)
	number("count", e.Count)
	return data
}

// searchBody says who is looked for and why.
type searchBody struct {
	Phone     string         `json:"phone,omitempty" maxLength:"32"`
	SNILS     string         `json:"snils,omitempty" maxLength:"20"`
	FullName  string         `json:"full_name,omitempty" maxLength:"200" doc:"With birth_date"`
	BirthDate string         `json:"birth_date,omitempty" maxLength:"10" example:"1950-03-15"`
	From      time.Time      `json:"from,omitempty" doc:"Of the history"`
	To        time.Time      `json:"to,omitempty"`
	Kinds     []journal.Kind `json:"kinds,omitempty" maxItems:"20"`
	Purpose   *purposeBody   `json:"purpose,omitempty" doc:"Demanded"`
}

type purposeBody struct {
	Code      string `json:"code" pattern:"^[a-z][a-z0-9_]{1,39}$" example:"complaint"`
	Reference string `json:"reference" minLength:"1" maxLength:"64" doc:"Number of the document or request it is asked under; never a name, a phone or a SNILS"`
}

// SearchAnswer is what concerns a person, and what happened to it.
type SearchAnswer struct {
	Found    []Found        `json:"found" doc:"Newest first; empty: in no list that you may see"`
	More     bool           `json:"more" doc:"There is more than is shown; narrow the search"`
	Items    []HistoryEntry `json:"items" doc:"History of the found notifications"`
	Unmasked bool           `json:"unmasked" doc:"Values are shown in full"`
}

// Found is a notification, or a row that was rejected.
type Found struct {
	Kind         string        `json:"kind" enum:"notification,rejection"`
	List         FoundList     `json:"list"`
	Notification *Notification `json:"notification,omitempty"`
	Row          int32         `json:"row" doc:"As its sender counts"`
	RuleCodes    []int         `json:"rule_codes,omitempty" doc:"Why the row was rejected; sentences in the list's protocol"`
	Person       *FoundPerson  `json:"person,omitempty"`
	Text         string        `json:"text,omitempty" doc:"As it was sent; only unmasked"`
}

// FoundPerson is whom the row was about, masked unless the answer says otherwise.
type FoundPerson struct {
	Phone     string `json:"phone"`
	SNILS     string `json:"snils,omitempty"`
	FullName  string `json:"full_name,omitempty"`
	BirthDate string `json:"birth_date,omitempty"`
}

// FoundList says by whose order it was.
type FoundList struct {
	ID              string              `json:"id"`
	Name            string              `json:"name"`
	Agency          string              `json:"agency"`
	State           string              `json:"state"`
	LegalBasis      *catalog.LegalBasis `json:"legal_basis,omitempty"`
	OrderedBy       string              `json:"ordered_by"`
	LoadedBy        string              `json:"loaded_by"`
	ApprovedBy      string              `json:"approved_by"`
	Template        string              `json:"template"`
	TemplateVersion int                 `json:"template_version"`
	CreatedAt       time.Time           `json:"created_at"`
}

// foundMost bounds one search; a person with more is looked at by list.
const foundMost = 200

func (s *Server) searchHistory(ctx context.Context, p journal.Principal, in *struct{ Body searchBody }) (*answer[SearchAnswer], error) {
	if in.Body.Purpose == nil {
		return nil, problem(CodePurpose)
	}
	if citizen.HoldsPersonal(in.Body.Purpose.Reference) || strings.ContainsFunc(in.Body.Purpose.Reference, unicode.IsControl) {
		return nil, invalid("body.purpose.reference", "expected a number of a document, not of a person")
	}
	by, digests, err := s.personOf(in.Body)
	if err != nil {
		return nil, err
	}
	p.Purpose = journal.Purpose{Code: in.Body.Purpose.Code, Reference: in.Body.Purpose.Reference}
	refs, err := citizen.LookupIndex(ctx, s.db, digests)
	if err != nil {
		return nil, err
	}
	out := SearchAnswer{Found: []Found{}, Items: []HistoryEntry{}, Unmasked: seesUnmasked(p)}
	query := journal.Query{From: in.Body.From, To: in.Body.To, Kinds: in.Body.Kinds}
	shown, since, err := s.found(ctx, p, refs, &out)
	if err != nil {
		return nil, err
	}
	// The look is in the journal before anything of it is shown.
	err = s.record(ctx, journal.Entry{Kind: journal.PersonSearched, At: s.now(), Agency: p.Agency, Actor: p.Account, Purpose: p.Purpose.String(),
		Count: len(out.Found), Data: journal.Fields("by", by, "unmasked", strconv.FormatBool(out.Unmasked))})
	if err != nil {
		return nil, fmt.Errorf("journal a search for a person: %w", err)
	}
	if len(shown) == 0 {
		return &answer[SearchAnswer]{out}, nil
	}
	if err := s.reveal(ctx, shown, &out); err != nil {
		return nil, err
	}
	placed, err := s.historyOf(ctx, p, shown, since, query)
	if err != nil {
		return nil, err
	}
	out.Items, err = s.historyEntries(ctx, placed)
	return answerOf(out, err)
}

// personOf reads who is looked for; exactly one way of saying it is taken.
func (s *Server) personOf(b searchBody) (by string, digests []citizen.Digest, err error) {
	ways := 0
	for _, given := range []bool{b.Phone != "", b.SNILS != "", b.FullName != "" || b.BirthDate != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return "", nil, problem(CodePerson)
	}
	switch {
	case b.Phone != "":
		phone, err := citizen.ParsePhone(b.Phone)
		if err != nil {
			return "", nil, invalid("body.phone", "expected a Russian phone number")
		}
		digests, err = s.keyring.PhoneDigests(phone)
		return "phone", digests, err
	case b.SNILS != "":
		snils, _, err := citizen.ParseSNILS(b.SNILS)
		if err != nil {
			return "", nil, invalid("body.snils", "expected a SNILS with its control number")
		}
		digests, err = s.keyring.Digests(citizen.DigestSNILS, snils.Digits())
		return "snils", digests, err
	}
	birth, err := citizen.ParseDate(b.BirthDate)
	if err != nil {
		return "", nil, problem(CodePerson)
	}
	var person citizen.Person
	person.Family, person.First, person.Patronymic = citizen.SplitName(b.FullName)
	person.BirthDate = citizen.BirthDate(birth)
	key := person.NameBirth()
	if key == "" {
		return "", nil, problem(CodePerson)
	}
	digests, err = s.keyring.Digests(citizen.DigestNameBirth, key)
	return "name", digests, err
}

const foundListsSQL = `SELECT no, id, name, agency, state, legal_basis, ordered_by, loaded_by, approved_by, template, template_version, created_at
	FROM lists WHERE no = ANY ($1)`

const foundRulesSQL = `SELECT list_no, row_no, rule_code FROM rejections WHERE (list_no, row_no) IN (SELECT * FROM unnest($1::bigint[], $2::int[])) AND message_type = 1 ORDER BY list_no, row_no, no`

// found fills in what p may see of the references, newest list first, and returns the notifications among it and the creation
// of the oldest of their lists.
func (s *Server) found(ctx context.Context, p journal.Principal, refs []citizen.Ref, out *SearchAnswer) (ids []dispatch.NotificationID, since time.Time, err error) {
	slices.SortFunc(refs, func(a, b citizen.Ref) int { return int(max(-1, min(1, b.ID-a.ID))) })
	refs = slices.DeleteFunc(refs, func(r citizen.Ref) bool { return r.Kind != citizen.RefNotification && r.Kind != citizen.RefRejection })
	nos := make([]int64, 0, len(refs))
	for _, r := range refs {
		nos = append(nos, dispatch.NotificationID(r.ID).List())
	}
	lists, err := s.foundLists(ctx, nos)
	if err != nil {
		return nil, since, err
	}
	var rejectedLists []int64
	var rejectedRows []int32
	byList := make(map[int64][]dispatch.NotificationID)
	for _, r := range refs {
		id := dispatch.NotificationID(r.ID)
		list, ok := lists[id.List()]
		if !ok || !p.Sees(list.Agency) {
			continue
		}
		if len(out.Found) == foundMost {
			out.More = true
			break
		}
		f := Found{Kind: "notification", List: list}
		if r.Kind == citizen.RefRejection {
			f.Kind, f.Row = "rejection", id.Ordinal()
			rejectedLists, rejectedRows = append(rejectedLists, id.List()), append(rejectedRows, id.Ordinal())
		} else {
			f.Notification = &Notification{NotificationID: id.String()}
			byList[id.List()] = append(byList[id.List()], id)
			ids = append(ids, id)
			if since.IsZero() || list.CreatedAt.Before(since) {
				since = list.CreatedAt
			}
		}
		out.Found = append(out.Found, f)
	}
	read := make(map[string]Notification, len(ids))
	for no, some := range byList {
		list := lists[no]
		notifications, err := s.readNotifications(ctx, listRef{no: no, id: uuid.MustParse(list.ID), agency: list.Agency, createdAt: list.CreatedAt}, some)
		if err != nil {
			return nil, since, err
		}
		for _, n := range notifications {
			read[n.NotificationID] = n
		}
	}
	rules, err := s.rulesOf(ctx, rejectedLists, rejectedRows)
	if err != nil {
		return nil, since, err
	}
	for i := range out.Found {
		f := &out.Found[i]
		if f.Notification != nil {
			*f.Notification = read[f.Notification.NotificationID]
			f.Row = f.Notification.Row
		} else {
			f.RuleCodes = rules[f.List.ID+"/"+strconv.Itoa(int(f.Row))]
		}
	}
	return ids, since, nil
}

func (s *Server) foundLists(ctx context.Context, nos []int64) (map[int64]FoundList, error) {
	rows, err := s.db.Query(ctx, foundListsSQL, nos)
	if err != nil {
		return nil, fmt.Errorf("read lists of a search: %w", err)
	}
	lists := make(map[int64]FoundList)
	var no int64
	var id uuid.UUID
	var l FoundList
	_, err = pgx.ForEachRow(rows, []any{&no, &id, &l.Name, &l.Agency, &l.State, &l.LegalBasis, &l.OrderedBy, &l.LoadedBy, &l.ApprovedBy, &l.Template, &l.TemplateVersion, &l.CreatedAt}, func() error {
		l.ID = id.String()
		lists[no] = l
		l.LegalBasis = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read lists of a search: %w", err)
	}
	return lists, nil
}

func (s *Server) rulesOf(ctx context.Context, lists []int64, rowNos []int32) (map[string][]int, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	names, err := s.listNames(ctx, lists)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, foundRulesSQL, lists, rowNos)
	if err != nil {
		return nil, fmt.Errorf("read rejections of a search: %w", err)
	}
	rules := make(map[string][]int)
	var no int64
	var row, code int
	_, err = pgx.ForEachRow(rows, []any{&no, &row, &code}, func() error {
		key := names[no].String() + "/" + strconv.Itoa(row)
		rules[key] = append(rules[key], code)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rejections of a search: %w", err)
	}
	return rules, nil
}

// reveal adds whom the found notifications were for: masked, and in full with the text for who may see that.
func (s *Server) reveal(ctx context.Context, ids []dispatch.NotificationID, out *SearchAnswer) error {
	if s.doors.Contents == nil {
		return nil
	}
	contents, err := s.doors.Contents.Contents(ctx, ids)
	if err != nil {
		return fmt.Errorf("open what was told: %w", err)
	}
	for i := range out.Found {
		f := &out.Found[i]
		if f.Notification == nil {
			continue
		}
		id, err := dispatch.ParseNotificationID(f.Notification.NotificationID)
		c, ok := contents[id]
		if err != nil || !ok || len(c.Phones) == 0 {
			continue
		}
		person := FoundPerson{Phone: c.Phones[0].String(), FullName: c.Person.Initials()}
		if !c.Person.SNILS.IsZero() {
			person.SNILS = c.Person.SNILS.String()
		}
		if out.Unmasked {
			person = FoundPerson{Phone: c.Phones[0].E164(), FullName: c.Person.FullName().Reveal()}
			if !c.Person.SNILS.IsZero() {
				person.SNILS = c.Person.SNILS.Grouped()
			}
			if c.Person.BirthDate != (citizen.BirthDate{}) {
				person.BirthDate = citizen.Date(c.Person.BirthDate).String()
			}
			f.Text = c.Text
		}
		f.Person = &person
	}
	return nil
}
