package openapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
)

// PersonBody says who is looked for and why.
type PersonBody struct {
	Phone     string       `json:"phone,omitempty" maxLength:"32"`
	SNILS     string       `json:"snils,omitempty" maxLength:"20"`
	FullName  string       `json:"full_name,omitempty" maxLength:"200" doc:"With birth_date"`
	BirthDate string       `json:"birth_date,omitempty" maxLength:"10" example:"1950-03-15"`
	Purpose   *purposeBody `json:"purpose,omitempty" doc:"Demanded"`
}

type purposeBody struct {
	Code      string `json:"code" pattern:"^[a-z][a-z0-9_]{1,39}$" example:"complaint"`
	Reference string `json:"reference" minLength:"1" maxLength:"64" doc:"Number of the document or request it is asked under; never a name, a phone or a SNILS"`
}

// give makes it the purpose of a principal; without one nothing personal is shown.
func (b *purposeBody) give(p *journal.Principal) error {
	if b == nil {
		return problem(CodePurpose)
	}
	if citizen.HoldsPersonal(b.Reference) || strings.ContainsFunc(b.Reference, unicode.IsControl) {
		return invalid("body.purpose.reference", "expected a number of a document, not of a person")
	}
	p.Purpose = journal.Purpose{Code: b.Code, Reference: b.Reference}
	return nil
}

// searchBody also narrows the history.
type searchBody struct {
	PersonBody
	From  time.Time      `json:"from,omitempty" doc:"Of the history"`
	To    time.Time      `json:"to,omitempty"`
	Kinds []journal.Kind `json:"kinds,omitempty" maxItems:"20"`
}

// FoundAnswer is what concerns a person.
type FoundAnswer struct {
	Found []Found `json:"found" doc:"Newest first; empty: in no list that you may see"`
	More  bool    `json:"more" doc:"There is more than is shown; narrow the search"`
}

// SearchAnswer is what concerns a person, and what happened to it.
type SearchAnswer struct {
	FoundAnswer
	Items    []HistoryEntry `json:"items" doc:"History of the found notifications"`
	Unmasked bool           `json:"unmasked" doc:"Values are shown in full"`
}

// Found is a notification, or a row that was rejected.
type Found struct {
	Kind         string            `json:"kind" enum:"notification,rejection"`
	List         FoundList         `json:"list"`
	Notification *Notification     `json:"notification,omitempty"`
	Row          int32             `json:"row" doc:"As its sender counts"`
	RuleCodes    []ingest.RuleCode `json:"rule_codes,omitempty" doc:"Why the row was rejected; sentences in the list's protocol"`
	Person       *FoundPerson      `json:"person,omitempty"`
	Text         string            `json:"text,omitempty" doc:"As it was sent; only unmasked"`
	Message      string            `json:"message,omitempty" doc:"ЕГИССО's own message from which the list was made, verbatim, with its measures; only unmasked"`

	id      dispatch.NotificationID
	startAt time.Time // of its list
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
	Tests           string              `json:"tests,omitempty" format:"uuid" doc:"Of a test sending: the list whose row it shows"`
	CreatedAt       time.Time           `json:"created_at"`
}

const (
	// foundMost bounds one search; a person with more is looked at by list.
	foundMost = 200
	// waitingMost bounds how many of them are asked what they wait for: each costs a look through the outbox of its list.
	waitingMost = 10
)

func (s *Server) registerSearch() {
	register(s, operation{id: "searchHistory", method: http.MethodPost, path: "/v1/history/search", tag: "history", summary: "What a person was told", read: true,
		description: "By phone, or SNILS, or full name with birth date; the purpose is demanded and every search is in the history. Values are masked, unless the role may see them."}, s.searchHistory)
	register(s, operation{id: "searchNotifications", method: http.MethodPost, path: "/v1/notifications/search", tag: "notifications", summary: "A person in the lists of the agency", read: true,
		description: "For who says that nothing came: each notification and each rejected row, and how it stands. By phone, or SNILS, or full name with birth date; the purpose is demanded and every search is in the history. Values are masked."}, s.searchNotifications)
}

func (s *Server) searchHistory(ctx context.Context, p journal.Principal, in *struct{ Body searchBody }) (*answer[SearchAnswer], error) {
	unmasked := seesUnmasked(p)
	found, err := s.search(ctx, &p, in.Body.PersonBody, unmasked)
	if err != nil {
		return nil, err
	}
	out := SearchAnswer{FoundAnswer: found, Items: []HistoryEntry{}, Unmasked: unmasked}
	ids, since := notificationsOf(found.Found)
	if len(ids) == 0 {
		return &answer[SearchAnswer]{out}, nil
	}
	if unmasked {
		if err := s.addMessages(ctx, out.Found); err != nil {
			return nil, err
		}
	}
	placed, err := s.historyOf(ctx, p, ids, since, journal.Query{From: in.Body.From, To: in.Body.To, Kinds: in.Body.Kinds})
	if err != nil {
		return nil, err
	}
	out.Items, err = s.historyEntries(ctx, p, placed)
	return answerOf(out, err)
}

// addMessages adds the messages that lists of life events were made from.
func (s *Server) addMessages(ctx context.Context, found []Found) error {
	if s.doors.Lists == nil {
		return nil
	}
	nos := make([]int64, 0, len(found))
	for i := range found {
		nos = append(nos, found[i].id.List())
	}
	messages, err := s.doors.Lists.FeedMessages(ctx, nos)
	if err != nil {
		return err
	}
	for i := range found {
		found[i].Message = string(messages[found[i].id.List()])
	}
	return nil
}

func (s *Server) searchNotifications(ctx context.Context, p journal.Principal, in *struct{ Body PersonBody }) (*answer[FoundAnswer], error) {
	out, err := s.search(ctx, &p, in.Body, false)
	if err != nil {
		return nil, err
	}
	asked := 0
	for i := range out.Found {
		n := out.Found[i].Notification
		if n == nil || n.Final || asked == waitingMost {
			continue
		}
		asked++
		if err = s.waiting(ctx, n, out.Found[i].id, out.Found[i].startAt); err != nil {
			return nil, err
		}
	}
	return &answer[FoundAnswer]{out}, nil
}

// search finds what p may see of a person, and sets p's purpose. The look is in the journal before anything of it is shown.
func (s *Server) search(ctx context.Context, p *journal.Principal, who PersonBody, unmasked bool) (FoundAnswer, error) {
	out := FoundAnswer{Found: []Found{}}
	if err := who.Purpose.give(p); err != nil {
		return out, err
	}
	by, digests, err := s.personOf(who)
	if err != nil {
		return out, err
	}
	refs, err := citizen.LookupIndex(ctx, s.db, digests)
	if err != nil {
		return out, err
	}
	if err := s.found(ctx, *p, refs, &out); err != nil {
		return out, err
	}
	err = s.record(ctx, journal.Entry{Kind: journal.PersonSearched, At: s.now(), Agency: p.Agency, Actor: p.Account, Purpose: p.Purpose.String(),
		Count: len(out.Found), Data: journal.Fields("by", by, "unmasked", strconv.FormatBool(unmasked))})
	if err != nil {
		return out, fmt.Errorf("journal a search for a person: %w", err)
	}
	return out, s.reveal(ctx, out.Found, unmasked)
}

// personOf reads who is looked for; exactly one way of saying it is taken.
func (s *Server) personOf(b PersonBody) (by string, digests []citizen.Digest, err error) {
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

// found adds what p may see of the references, newest list first.
func (s *Server) found(ctx context.Context, p journal.Principal, refs []citizen.Ref, out *FoundAnswer) error {
	refs = slices.DeleteFunc(refs, func(r citizen.Ref) bool { return r.Kind != citizen.RefNotification && r.Kind != citizen.RefRejection })
	slices.SortFunc(refs, func(a, b citizen.Ref) int { return cmp.Compare(b.ID, a.ID) })
	nos := make([]int64, 0, len(refs))
	for _, r := range refs {
		nos = append(nos, dispatch.NotificationID(r.ID).List())
	}
	lists, err := ingest.ByNumber(ctx, s.db, p, nos)
	if err != nil {
		return err
	}
	var rejected []dispatch.NotificationID
	byList := make(map[int64][]dispatch.NotificationID)
	for _, r := range refs {
		id := dispatch.NotificationID(r.ID)
		list, ok := lists[id.List()]
		if !ok {
			continue
		}
		if len(out.Found) == foundMost {
			out.More = true
			break
		}
		f := Found{Kind: "notification", List: foundList(list), id: id, startAt: list.StartAt}
		if r.Kind == citizen.RefRejection {
			f.Kind, f.Row = "rejection", id.Ordinal()
			rejected = append(rejected, id)
		} else {
			byList[id.List()] = append(byList[id.List()], id)
		}
		out.Found = append(out.Found, f)
	}
	read := make(map[string]*Notification)
	for no, ids := range byList {
		notifications, err := s.readNotifications(ctx, lists[no], ids)
		if err != nil {
			return err
		}
		for i := range notifications {
			read[notifications[i].NotificationID] = &notifications[i]
		}
	}
	faults, err := ingest.FaultsOf(ctx, s.db, rejected)
	if err != nil {
		return err
	}
	for i := range out.Found {
		f := &out.Found[i]
		if f.Kind == "rejection" {
			f.RuleCodes = faults[f.id]
			continue
		}
		if f.Notification = read[f.id.String()]; f.Notification != nil {
			f.Row = f.Notification.Row
		}
	}
	// The index may still lead to rows of a file that another has replaced.
	out.Found = slices.DeleteFunc(out.Found, func(f Found) bool { return f.Notification == nil && f.RuleCodes == nil })
	return nil
}

func foundList(l *ingest.List) FoundList {
	out := FoundList{ID: l.ID.String(), Name: l.Name, Agency: l.Agency, State: string(l.State), LegalBasis: l.LegalBasis, OrderedBy: l.OrderedBy,
		LoadedBy: l.LoadedBy, ApprovedBy: l.ApprovedBy, Template: l.Template, TemplateVersion: l.TemplateVersion, CreatedAt: l.CreatedAt}
	if l.Tests != uuid.Nil {
		out.Tests = l.Tests.String()
	}
	return out
}

// notificationsOf are the notifications among what was found, and the creation of the oldest of their lists.
func notificationsOf(found []Found) (ids []dispatch.NotificationID, since time.Time) {
	for i := range found {
		f := &found[i]
		if f.Notification == nil {
			continue
		}
		ids = append(ids, f.id)
		if since.IsZero() || f.List.CreatedAt.Before(since) {
			since = f.List.CreatedAt
		}
	}
	return ids, since
}

// reveal adds whom the found notifications were for: masked, or in full with the text.
func (s *Server) reveal(ctx context.Context, found []Found, unmasked bool) error {
	ids, _ := notificationsOf(found)
	if s.doors.Contents == nil || len(ids) == 0 {
		return nil
	}
	contents, err := s.doors.Contents.Contents(ctx, ids)
	if err != nil {
		return fmt.Errorf("open what was told: %w", err)
	}
	for i := range found {
		f := &found[i]
		c, ok := contents[f.id]
		if f.Notification == nil || !ok || len(c.Phones) == 0 {
			continue
		}
		person := FoundPerson{Phone: c.Phones[0].String(), FullName: c.Person.Initials()}
		if !c.Person.SNILS.IsZero() {
			person.SNILS = c.Person.SNILS.String()
		}
		if unmasked {
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
