package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"

	"github.com/jackc/pgx/v5"
)

const feedSource = "egisso"

var feedPrincipal = journal.Principal{Account: "source/" + feedSource, Agency: agency, Source: feedSource, Roles: []journal.Role{journal.RoleSourceSystem}}

// trusting lets the seed's feed source start lists by itself.
func trusting(t testing.TB, trusted bool) func(*Config) {
	t.Helper()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if source, ok := item.(*catalog.Source); ok && source.Code == feedSource {
			source.AutoApproval, source.Agencies = nil, []string{agency}
			if trusted {
				source.AutoApproval = &catalog.Approval{Document: "Соглашение № 1", Date: "2026-01-01", By: "Начальник отдела"}
			}
		}
	}
	c := catalog.New(items)
	return func(cfg *Config) { cfg.Catalog = func() *catalog.Catalog { return c } }
}

// feedParts cuts rows into parts as a sender would.
func feedParts(t testing.TB, id uuid.UUID, rows []InputRow, size int, change ...func(*FeedPart)) []FeedPart {
	t.Helper()
	n := (len(rows) + size - 1) / size
	parts := make([]FeedPart, n)
	for i := range parts {
		part := rows[i*size : min((i+1)*size, len(rows))]
		b, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = FeedPart{Principal: feedPrincipal, ListID: id, Part: i + 1, Parts: n, Rows: slices.Clone(part), Digest: sha256.Sum256(b),
			HeaderDigest: sha256.Sum256([]byte("header")), Header: listHeader(func(h *Header) { h.Source = feedSource })}
		for _, f := range change {
			f(&parts[i])
		}
	}
	return parts
}

func feedRows(n int) []InputRow {
	rows := make([]InputRow, n)
	for i := range rows {
		rows[i] = InputRow{ExternalID: fmt.Sprintf("r-%d", i+1), Phone: fmt.Sprintf("+7903%07d", i+1), LifeEvent: "OP-04", Text: "СФР: выплата назначена."}
	}
	return rows
}

// take stores parts and wants this fate of every one.
func (h *hub) take(want *Fault, parts ...FeedPart) {
	h.t.Helper()
	fates, err := h.TakeParts(h.t.Context(), parts)
	if err != nil {
		h.t.Fatal(err)
	}
	for i, fate := range fates {
		if fate == nil && want == nil {
			continue
		}
		if fate == nil || want == nil || fate.Code != want.Code {
			h.t.Errorf("part %d: got %v, want %v", parts[i].Part, fate, want)
		}
	}
}

func (h *hub) recallNow(r Recall) {
	h.t.Helper()
	r.Principal, r.OccurredAt = feedPrincipal, noon
	if r.Reason == "" {
		r.Reason = "recalled"
	}
	if err := h.TakeRecall(h.t.Context(), r); err != nil {
		h.t.Fatal(err)
	}
}

func TestPartsInAnyOrderMakeOneListOnce(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, false), func(c *Config) { c.SliceRows = 70 })
	id := uuid.New()
	parts := feedParts(t, id, feedRows(250), 30)
	random := rand.New(rand.NewPCG(7, 7))
	var arrivals []FeedPart
	for range 3 {
		arrivals = append(arrivals, parts...)
	}
	random.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
	for len(arrivals) > 0 {
		n := min(1+random.IntN(4), len(arrivals))
		h.take(nil, arrivals[:n]...)
		arrivals = arrivals[n:]
	}
	h.checkAll()
	l := h.get(id)
	if l.State != Ready || l.Rows != 250 || l.Accepted != 250 || l.Kind != KindFeed {
		t.Fatalf("list is %s, %d rows, %d accepted, %s: want ready, 250, 250, feed", l.State, l.Rows, l.Accepted, l.Kind)
	}
	results, err := h.Results(t.Context(), feedPrincipal, id)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for r, err := range results {
		if err != nil {
			t.Fatal(err)
		}
		part, place := want/30+1, want%30+1
		want++
		if r.ExternalID != fmt.Sprintf("r-%d", want) || int(r.Part) != part || int(r.RowNo) != (part-1)*PartRows+place {
			t.Fatalf("row %d is %s, part %d, row %d", want, r.ExternalID, r.Part, r.RowNo)
		}
	}
	if want != 250 {
		t.Errorf("%d results, want 250", want)
	}
}

func TestPartsStoredByTwoProcessesAtOnceAreThereOnce(t *testing.T) {
	t.Parallel()
	db := newHub(t, trusting(t, false))
	id := uuid.New()
	parts := feedParts(t, id, feedRows(120), 10)
	var g sync.WaitGroup
	for range 3 {
		g.Add(1)
		go func() {
			defer g.Done()
			for i := 0; i < len(parts); {
				// Two that make the list at once meet at its id: the later one offers its parts again.
				if _, err := db.TakeParts(t.Context(), parts[i:i+2]); err == nil {
					i += 2
				} else if t.Context().Err() != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	g.Wait()
	db.checkAll()
	if l := db.get(id); l.Accepted != 120 {
		t.Errorf("%d rows accepted, want 120", l.Accepted)
	}
}

func TestPartsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, false))
	id := uuid.New()
	parts := feedParts(t, id, feedRows(30), 10)
	h.take(nil, parts[0])
	with := func(change func(*FeedPart)) FeedPart {
		p := parts[1]
		p.Rows = slices.Clone(p.Rows)
		change(&p)
		return p
	}
	other := feedPrincipal
	other.Agency = "B202.000001"
	for name, c := range map[string]struct {
		part FeedPart
		want *Fault
	}{
		"part 4 of 3":           {with(func(p *FeedPart) { p.Part = 4 }), ErrPartNumber},
		"part 0":                {with(func(p *FeedPart) { p.Part = 0 }), ErrPartNumber},
		"too many parts":        {with(func(p *FeedPart) { p.Parts = 10_001 }), ErrPartNumber},
		"no rows":               {with(func(p *FeedPart) { p.Rows = nil }), ErrNoInput},
		"1001 rows":             {with(func(p *FeedPart) { p.Rows = feedRows(1001) }), ErrPartRows},
		"other parts":           {with(func(p *FeedPart) { p.Parts = 4 }), ErrHeaderDiffers},
		"other header":          {with(func(p *FeedPart) { p.HeaderDigest[0]++ }), ErrHeaderDiffers},
		"other content":         {with(func(p *FeedPart) { p.Part = 1; p.Digest[0]++ }), ErrPartDiffers},
		"another agency's list": {with(func(p *FeedPart) { p.Principal = other }), ErrForeignList},
		"another source's list": {with(func(p *FeedPart) { p.Header.Source = "upload" }), ErrForeignList},
		"no list id":            {with(func(p *FeedPart) { p.ListID = uuid.Nil }), ErrHeaderField},
		"201 names in a new list": {with(func(p *FeedPart) {
			p.ListID, p.Rows[0].Data = uuid.New(), make(map[string]string)
			for i := range maxData + 1 {
				p.Rows[0].Data[fmt.Sprint("имя ", i)] = "1"
			}
		}), ErrTooManyFields},
		"unknown template": {with(func(p *FeedPart) { p.ListID = uuid.New(); p.Header.Template = "NONE" }), ErrUnknownTemplate},
		"unknown source":   {with(func(p *FeedPart) { p.ListID = uuid.New(); p.Header.Source = "nobody" }), ErrUnknownSource},
	} {
		t.Run(name, func(t *testing.T) {
			fates, err := h.TakeParts(t.Context(), []FeedPart{c.part, parts[0]})
			if err != nil {
				t.Fatal(err)
			}
			if fates[0] == nil || fates[0].Code != c.want.Code {
				t.Errorf("got %v, want %s", fates[0], c.want.Code)
			}
			if fates[1] != nil {
				t.Errorf("its neighbour was refused too: %v", fates[1])
			}
		})
	}
	uploaded := h.load(listHeader(), goodFile)
	h.take(ErrForeignList, with(func(p *FeedPart) { p.ListID = uploaded.ID }))
	h.take(nil, parts...)
	h.checkAll()
	if l := h.get(id); l.State != Ready || l.Accepted != 30 {
		t.Errorf("after all of it the list is %s with %d rows, want ready with 30", l.State, l.Accepted)
	}
	if n := h.number(`SELECT count(*) FROM lists`); n != 2 {
		t.Errorf("%d lists, want 2: a refused part leaves none", n)
	}
}

func TestColumnsThatOnlyLaterPartsHaveAreTemplateData(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, false))
	id := uuid.New()
	rows := feedRows(4)
	rows[2].Data = map[string]string{"Сумма": "100"}
	rows[3].OKTMO = "45000000"
	h.take(nil, feedParts(t, id, rows, 1)...)
	h.checkAll()
	if l := h.get(id); l.Accepted != 4 {
		t.Fatalf("%d rows accepted, want 4: %+v", l.Accepted, h.protocol(l).ErrorRecords)
	}
	p, err := h.Preview(t.Context(), feedPrincipal, id, 3*PartRows+1)
	if err != nil {
		t.Fatal(err)
	}
	if p.ExternalID != "r-4" || p.Zones == "" {
		t.Errorf("row 1 of part 4 is %s in zones %q", p.ExternalID, p.Zones)
	}
}

func TestTrustedFeedStartsByItself(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	id := uuid.New()
	h.take(nil, feedParts(t, id, feedRows(3), 2)...)
	h.checkAll()
	l := h.get(id)
	if l.State != Running || l.ApprovedBy != "source/"+feedSource {
		t.Errorf("list is %s, approved by %q: want running, by its source", l.State, l.ApprovedBy)
	}
}

func TestSingleEventOfTheFeedIsAnExpressList(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	id := uuid.New()
	h.take(nil, feedParts(t, id, feedRows(1), 1, func(p *FeedPart) { p.Express = true })...)
	if found, err := h.checkNext(t.Context(), takesExpress); err != nil || !found {
		t.Fatalf("the checker of single events did not take it: %v", err)
	}
	if lane := h.number(`SELECT lane FROM runs WHERE list_no = $1`, h.get(id).No); lane != int64(dispatch.LaneSingle) {
		t.Errorf("it goes in lane %d, want 0", lane)
	}
}

func (h *hub) cancelled(l *List) []string {
	h.t.Helper()
	results, err := h.Results(h.t.Context(), feedPrincipal, l.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []string
	for r, err := range results {
		if err != nil {
			h.t.Fatal(err)
		}
		if r.State == dispatch.Cancelled {
			ids = append(ids, r.ExternalID)
		}
	}
	return ids
}

func TestRowsAreTakenBackBeforeDuringAndAfterTheirList(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	id := uuid.New()
	h.recallNow(Recall{ListID: id, ExternalIDs: []string{"r-1", "nobody"}})
	parts := feedParts(t, id, feedRows(5), 2)
	h.take(nil, parts[0])
	h.recallNow(Recall{ListID: id, ExternalIDs: []string{"r-2"}, Reason: "death"})
	h.take(nil, parts[1:]...)
	h.checkAll()
	l := h.get(id)
	if got := h.cancelled(l); !slices.Equal(got, []string{"r-1", "r-2"}) {
		t.Errorf("cancelled once checked: %v, want r-1 and r-2", got)
	}
	h.recallNow(Recall{ListID: id, ExternalIDs: []string{"r-3"}})
	h.recallNow(Recall{ListID: id, ExternalIDs: []string{"r-3"}}) // again
	if got := h.cancelled(l); !slices.Equal(got, []string{"r-1", "r-2", "r-3"}) {
		t.Errorf("cancelled while it runs: %v, want r-1 to r-3", got)
	}
	if n := h.number(`SELECT count(*) FROM outbox`); n != 2 {
		t.Errorf("%d rows still to be sent, want 2", n)
	}
	if n := h.number(`SELECT count(*) FROM journal WHERE kind = 'recall.too_late' AND list_no = $1`, l.No); n != 0 {
		t.Errorf("%d rows of the journal say too late, want none: the cancel was only read again", n)
	}
	office := &dispatch.Office{DB: h.db, Journal: h.cfg.Journal, Now: h.cfg.Now}
	if err := office.Cancel(t.Context(), approver, agency, dispatch.MakeID(l.No, 4)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h.recallNow(Recall{ListID: id, ExternalIDs: []string{"r-4", "r-5"}})
	}
	if n := h.number(`SELECT coalesce(sum(count), 0) FROM journal WHERE kind = 'recall.too_late' AND list_no = $1`, l.No); n != 1 {
		t.Errorf("%d answers say too late, want 1, of r-4", n)
	}
	if got := h.cancelled(l); len(got) != 5 {
		t.Errorf("cancelled: %v, want all five", got)
	}
}

func TestWholeListIsTakenBackBeforeItIsHere(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	id := uuid.New()
	h.recallNow(Recall{ListID: id, All: true})
	h.take(nil, feedParts(t, id, feedRows(3), 2)...)
	h.checkAll()
	if l := h.get(id); l.State != Cancelling || h.number(`SELECT count(*) FROM runs WHERE state <> 'cancelling'`) != 0 {
		t.Errorf("list is %s, want cancelling with all its runs", l.State)
	}
	running := uuid.New()
	h.take(nil, feedParts(t, running, feedRows(3), 2)...)
	h.checkAll()
	h.recallNow(Recall{ListID: running, All: true})
	if l := h.get(running); l.State != Cancelling {
		t.Errorf("list is %s, want cancelling", l.State)
	}
}

func TestOnlyItsSourceTakesAListBack(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	l := h.load(listHeader(), goodFile)
	for name, r := range map[string]Recall{
		"an uploaded list":   {Principal: feedPrincipal, ListID: l.ID, All: true, Reason: "recalled"},
		"a phone for a name": {Principal: feedPrincipal, ListID: uuid.New(), ExternalIDs: []string{"+79030000001"}, Reason: "recalled"},
		"all and some":       {Principal: feedPrincipal, ListID: uuid.New(), All: true, ExternalIDs: []string{"a"}, Reason: "recalled"},
		"nothing":            {Principal: feedPrincipal, ListID: uuid.New(), Reason: "recalled"},
		"an unknown reason":  {Principal: feedPrincipal, ListID: uuid.New(), All: true, Reason: "whim"},
		"nobody's":           {ListID: uuid.New(), All: true, Reason: "recalled"},
	} {
		var fault *Fault
		if err := h.TakeRecall(t.Context(), r); !errors.As(err, &fault) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

func TestFactsAreTakenBackWithoutNamingAList(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	first, second := uuid.New(), uuid.New()
	facts := func(p *FeedPart) { p.Facts = true }
	h.take(nil, feedParts(t, first, feedRows(3), 3, facts)...)
	h.checkAll()
	h.recallNow(Recall{ExternalIDs: []string{"r-2", "later"}, Reason: "termination"})
	if got := h.cancelled(h.get(first)); !slices.Equal(got, []string{"r-2"}) {
		t.Errorf("cancelled: %v, want r-2", got)
	}
	rows := feedRows(2)
	rows[1].ExternalID = "later"
	h.take(nil, feedParts(t, second, rows, 3, facts)...)
	h.checkAll()
	if got := h.cancelled(h.get(second)); !slices.Equal(got, []string{"later"}) {
		t.Errorf("cancelled: %v, want the one that was taken back before it came", got)
	}
}

func TestMissingPartsAreComplainedOfAndTheListGoesOnWhenTheyCome(t *testing.T) {
	t.Parallel()
	now := noon
	h := newHub(t, trusting(t, true), func(c *Config) { c.Now = func() time.Time { return now } })
	id := uuid.New()
	parts := feedParts(t, id, feedRows(3), 1)
	h.take(nil, parts[:2]...)
	now = now.Add(2 * time.Hour)
	for range 2 {
		if err := h.missParts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if l := h.get(id); l.State != Receiving || !strings.Contains(l.StateReason, "части списка: 1") {
		t.Errorf("list is %s, %q", l.State, l.StateReason)
	}
	if n := h.number(`SELECT count(*) FROM journal WHERE kind = 'parts.missing'`); n != 1 {
		t.Errorf("complained %d times, want once", n)
	}
	h.take(nil, parts[2])
	h.checkAll()
	if l := h.get(id); l.State != Running || l.StateReason != "" {
		t.Errorf("list is %s, %q: want running and no complaint", l.State, l.StateReason)
	}
}

func TestIncompleteListCanBeCancelledByAPerson(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	id := uuid.New()
	parts := feedParts(t, id, feedRows(3), 1)
	h.take(nil, parts[:2]...)
	if _, err := h.Cancel(t.Context(), approver, id, "не дождались"); err != nil {
		t.Fatal(err)
	}
	h.take(ErrListOver, parts[2])
	h.take(nil, parts[0]) // a repeat is a repeat
}

func TestHeldSourceWaitsForAPerson(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	running, later := uuid.New(), uuid.New()
	h.take(nil, feedParts(t, running, feedRows(3), 3)...)
	h.checkAll()
	for range 2 {
		if err := h.HoldSource(t.Context(), feedSource, "transactional"); err != nil {
			t.Fatal(err)
		}
	}
	if l := h.get(running); l.State != Paused {
		t.Errorf("list is %s, want paused", l.State)
	}
	h.take(nil, feedParts(t, later, feedRows(2), 3)...)
	h.checkAll()
	if l := h.get(later); l.State != Ready {
		t.Errorf("list is %s, want ready: nobody knows what its source meant", l.State)
	}
	if err := h.LetSourceGo(t.Context(), journal.System("test"), feedSource); err != nil {
		t.Fatal(err)
	}
	free := uuid.New()
	h.take(nil, feedParts(t, free, feedRows(1), 3)...)
	h.checkAll()
	if l := h.get(free); l.State != Running {
		t.Errorf("list is %s, want running", l.State)
	}
	if l := h.get(running); l.State != Paused {
		t.Errorf("list is %s, want paused: its approver lets it go", l.State)
	}
}

const knownSNILS = "11223344595"

func lifeEvent(snils string) []InputRow {
	return []InputRow{{ExternalID: "m-1", SNILS: snils, LifeEvent: "OP-04", Text: "СФР: выплата назначена."}}
}

func TestPhoneOfALifeEventComesFromWhatIsKnown(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	verbatim := func(p *FeedPart) { p.Verbatim = []byte("<request>…</request>") }
	unknown := uuid.New()
	h.take(nil, feedParts(t, unknown, lifeEvent(knownSNILS), 1, verbatim)...)
	h.checkAll()
	l := h.get(unknown)
	if p := h.protocol(l); l.State != Rejected || len(p.ErrorRecords) != 1 || p.ErrorRecords[0].Messages[0].RuleCode != RuleNoContact {
		t.Fatalf("list is %s, its protocol %+v: want rejected by rule %d", l.State, p.ErrorRecords, RuleNoContact)
	}

	h.load(listHeader(), goodFile) // its first row is this person's
	byRow := uuid.New()
	h.take(nil, feedParts(t, byRow, lifeEvent(knownSNILS), 1, verbatim)...)
	h.checkAll()
	preview := func(id uuid.UUID) string {
		p, err := h.Preview(t.Context(), feedPrincipal, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		return p.Phone
	}
	row, _ := citizen.ParsePhone("+79030000001")
	if got := preview(byRow); got != row.String() {
		t.Errorf("it goes to %s, want the phone of the accepted row", got)
	}

	if _, err := h.db.Exec(t.Context(), `INSERT INTO outcomes (id, at, entry, state, sequence, attempt) SELECT id, now(), 1, $1, 2, 1 FROM notifications`,
		int16(dispatch.Undelivered)); err != nil {
		t.Fatal(err)
	}
	missed := uuid.New()
	h.take(nil, feedParts(t, missed, lifeEvent(knownSNILS), 1, verbatim)...)
	h.checkAll()
	if l := h.get(missed); l.State != Rejected {
		t.Errorf("list is %s: it goes to the phone that the last message did not reach", l.State)
	}

	snils, _, _ := citizen.ParseSNILS(knownSNILS)
	own, _ := citizen.ParsePhone("+79161234567")
	err := postgres.InTx(t.Context(), h.db, func(tx pgx.Tx) error {
		return citizen.PutContact(context.WithoutCancel(t.Context()), tx, h.cfg.Keys, snils, citizen.Contact{Phone: own, Trust: citizen.TrustCitizen, By: "operator", At: noon})
	})
	if err != nil {
		t.Fatal(err)
	}
	byProfile := uuid.New()
	h.take(nil, feedParts(t, byProfile, lifeEvent(knownSNILS), 1, verbatim)...)
	h.checkAll()
	if got := preview(byProfile); got != own.String() {
		t.Errorf("it goes to %s, want the phone of the profile", got)
	}

	no := h.get(byProfile).No
	messages, err := h.FeedMessages(t.Context(), []int64{no})
	if err != nil || string(messages[no]) != "<request>…</request>" {
		t.Errorf("the message is %q, %v", messages[no], err)
	}
	if n := h.number(`SELECT count(*) FROM feed_messages WHERE sealed LIKE '%request%'`); n != 0 {
		t.Error("the message lies in the clear")
	}
}
