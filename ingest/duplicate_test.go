package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/xuri/excelize/v2"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// suppressing makes the agency's rule that duplicates are not sent.
func suppressing(t testing.TB) func(*Config) {
	t.Helper()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	rule := &catalog.Rule{Head: catalog.Head{Code: catalog.RuleDuplicates + "." + agency, Version: 1}, Title: "Повторы", Policy: catalog.DuplicatesSuppress}
	c := catalog.New(append(items, rule))
	return func(cfg *Config) { cfg.Catalog = func() *catalog.Catalog { return c } }
}

// people is a file of people by number, each told of the same event.
func people(numbers ...int) string {
	var b strings.Builder
	b.WriteString("Телефон;Код события;Мера;Дата события;Текст\n")
	for _, n := range numbers {
		fmt.Fprintf(&b, "7903%07d;OP-04;M-001;01.11.2026;СФР: выплата назначена.\n", n)
	}
	return b.String()
}

// fate is what a list's rows are at, in their order: o in the outbox, d set aside, s suppressed, - neither.
func (h *hub) fate(l *List) string {
	h.t.Helper()
	rows, err := h.db.Query(h.t.Context(), `SELECT CASE WHEN o.id IS NOT NULL THEN CASE WHEN o.state = 3 AND o.reason = 'duplicate' THEN 's' ELSE 'e' END
			WHEN EXISTS (SELECT FROM outbox WHERE id = n.id) THEN 'o' WHEN d.id IS NOT NULL THEN 'd' ELSE '-' END
		FROM notifications n LEFT JOIN outcomes o ON o.id = n.id LEFT JOIN duplicates d ON d.id = n.id AND NOT d.ended WHERE n.id >> 24 = $1 ORDER BY n.id`, l.No)
	if err != nil {
		h.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(all, "")
}

func (h *hub) decide() {
	h.t.Helper()
	if err := h.endDuplicates(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// counted lets the counters take in all that has happened.
func (h *hub) counted(l *List) *List {
	h.t.Helper()
	for more := true; more; {
		if err := place(h.t.Context(), h); err != nil {
			h.t.Fatal(err)
		}
		var err error
		if more, err = h.countSome(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
	return h.get(l.ID)
}

// TestDryRunTellsRepeatsAsTheCheckDoes holds what is said before against what is said after, over slices.
func TestDryRunTellsRepeatsAsTheCheckDoes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"warned of": func(*Config) {}, "suppressed": suppressing(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, change, func(c *Config) { c.SliceRows = 2 })
			first := h.load(listHeader(), people(1, 2, 3))
			stored := func() int64 {
				return h.number(`SELECT (SELECT count(*) FROM lists) + (SELECT count(*) FROM data_keys) + (SELECT count(*) FROM persons_index) + (SELECT count(*) FROM duplicates)`)
			}
			before := stored()
			for _, again := range []bool{false, true} {
				file := people(4, 1, 5, 4, 4, 6, 2) // those of another slice, of the same one, of another list
				d, err := h.Check(t.Context(), loader, listHeader(func(x *Header) { x.Again = again }), strings.NewReader(file))
				if err != nil {
					t.Fatal(err)
				}
				if n := stored(); n != before {
					t.Errorf("%d rows are stored, %d were before", n, before)
				}
				l := h.load(listHeader(func(x *Header) { x.Again = again }), file)
				want := h.protocol(l)
				for i := range want.ErrorRecords {
					want.ErrorRecords[i].Part = 1 // slices are what a dry run has none of
				}
				if !reflect.DeepEqual(d.Protocol.ErrorRecords, want.ErrorRecords) || len(want.ErrorRecords) != 4 {
					t.Errorf("again %v: said %+v, then %+v", again, d.Protocol.ErrorRecords, want.ErrorRecords)
				}
				if p := d.Protocol; p.RecordNumSuppressed != want.RecordNumSuppressed || p.Segments != want.Segments || p.RecordNumWarning != want.RecordNumWarning {
					t.Errorf("again %v: said %+v, then %+v", again, p, want)
				}
				if rows := int(d.Estimate.Rows); rows != want.RecordNumSuccess-want.RecordNumSuppressed {
					t.Errorf("again %v: %d rows would wait, want %d", again, rows, want.RecordNumSuccess-want.RecordNumSuppressed)
				}
				if _, err := h.Refuse(t.Context(), approver, l.ID, ""); err != nil { // it tells nobody
					t.Fatal(err)
				}
				before = stored()
			}
			// Our own answer to a list: what it calls taken was.
			d, err := h.Check(t.Context(), loader, listHeader(), bytes.NewReader(h.download(h.ProtocolFile(t.Context(), loader, first.ID))))
			if err != nil || d.Fault == nil || d.Fault.Code != ErrNothingNew.Code || d.Protocol.RecordNumSkipped != 3 || d.Protocol.RecordNumSuccess != 0 || !d.Protocol.ErrorRecords[0].RecordOK {
				t.Errorf("%+v %v", d, err)
			}
		})
	}
}

func TestSuppressedDuplicatesAreAcceptedAndNotTold(t *testing.T) {
	t.Parallel()
	h := newHub(t, suppressing(t), func(c *Config) { c.SliceRows = 2 })
	first := h.load(listHeader(), people(1, 2, 1, 3, 1))
	if got := h.fate(first); got != "oodod" {
		t.Fatalf("within a file: %s", got)
	}
	if first.Accepted != 5 || first.Suppressed != 2 || first.Segments != 3 || first.Warnings != 2 {
		t.Errorf("%+v", first)
	}
	p := h.protocol(first)
	if p.RecordNumSuccess != 5 || p.RecordNumSuppressed != 2 || len(p.ErrorRecords) != 2 || !p.ErrorRecords[0].RecordOK || p.ErrorRecords[0].Messages[0].RuleCode != RuleSuppressed {
		t.Errorf("%+v", p)
	}
	h.decide()
	if got := h.fate(first); got != "oodod" {
		t.Fatalf("before its approval something ended: %s", got)
	}
	first = h.approve(first)
	h.decide()
	if got := h.fate(first); got != "oosos" {
		t.Fatalf("going: %s", got)
	}
	if first = h.counted(first); first.Counts[dispatch.Suppressed] != 2 || first.Counts[dispatch.Pending] != 3 || first.State != Running {
		t.Errorf("%s %v", first.State, first.Counts)
	}

	all := h.approve(h.load(listHeader(), people(1, 2, 3)))
	h.decide()
	if all = h.counted(all); h.fate(all) != "sss" || all.State != Completed || all.Counts[dispatch.Suppressed] != 3 {
		t.Errorf("a list of repeats only: %s %s %v", h.fate(all), all.State, all.Counts)
	}
	results, err := h.Results(t.Context(), loader, all.ID)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range results {
		if err != nil || r.State != dispatch.Suppressed || r.Reason != dispatch.ReasonDuplicate || r.At.IsZero() {
			t.Errorf("%+v %v", r, err)
		}
	}
	missed, err := h.NotInformedFile(t.Context(), loader, all.ID)
	if err != nil {
		t.Fatal(err)
	}
	var book bytes.Buffer
	if err := missed(&book); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(&book)
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := f.GetRows("Не уведомлены"); err != nil || len(rows) != 1 { // they are told by other rows
		t.Errorf("not informed: %q %v", rows, err)
	}
	if e, err := h.Estimate(t.Context(), loader, all.ID); err != nil || e.Rows != 0 {
		t.Errorf("%+v %v", e, err)
	}
	again := h.load(listHeader(func(x *Header) { x.Again = true }), people(1, 2, 2))
	if got := h.fate(again); got != "ood" {
		t.Errorf("a repeat that its loader has confirmed: %s", got)
	}
	ref, err := h.Submit(t.Context(), stranger, listHeader(), strings.NewReader(people(7, 7)))
	if err != nil {
		t.Fatal(err)
	}
	h.checkAll()
	if l, err := h.Get(t.Context(), stranger, ref.ID); err != nil || l.Suppressed != 0 || l.Warnings != 1 {
		t.Errorf("an agency without the rule: %+v %v", l, err)
	}
}

func TestADuplicateOfWhatIsNotToldIsTold(t *testing.T) {
	t.Parallel()
	ended := func(state dispatch.State) func(h *hub, l *List) {
		return func(h *hub, l *List) {
			l = h.approve(l)
			if _, err := h.db.Exec(h.t.Context(), `WITH gone AS (DELETE FROM outbox WHERE id >> 24 = $2 RETURNING id)
				INSERT INTO outcomes (id, at, entry, state, sequence, attempt) SELECT id, now(), 1, $1, 1, 1 FROM gone`, int16(state), l.No); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	must := func(h *hub, _ any, err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		become func(h *hub, l *List)
		fate   string
	}{
		{"goes", func(h *hub, l *List) { h.approve(l) }, "s"},
		{"paused", func(h *hub, l *List) { _, err := h.Pause(h.t.Context(), approver, h.approve(l).ID); must(h, nil, err) }, "s"},
		{"starts later", func(h *hub, l *List) {
			_, err := h.Approve(h.t.Context(), approver, l.ID, Expected{l.Accepted, l.DigestString()}, noon.Add(time.Hour))
			must(h, nil, err)
		}, "s"},
		{"refused", func(h *hub, l *List) { _, err := h.Refuse(h.t.Context(), approver, l.ID, ""); must(h, nil, err) }, "o"},
		{"cancelled", func(h *hub, l *List) { _, err := h.Cancel(h.t.Context(), loader, l.ID, ""); must(h, nil, err) }, "o"},
		{"being cancelled", func(h *hub, l *List) {
			_, err := h.Cancel(h.t.Context(), loader, h.approve(l).ID, "")
			must(h, nil, err)
		}, "o"},
		{"replaced by others", func(h *hub, l *List) {
			_, err := h.Replace(h.t.Context(), loader, l.ID, Header{}, strings.NewReader(people(2)))
			must(h, nil, err)
			h.checkAll()
		}, "o"},
		{"rejected", func(h *hub, l *List) {
			_, err := h.Replace(h.t.Context(), loader, l.ID, Header{}, strings.NewReader("Телефон;Текст\n1;т\n"))
			must(h, nil, err)
			h.checkAll()
		}, "o"},
		{"delivered", ended(dispatch.Delivered), "s"},
		{"never confirmed", ended(dispatch.Unconfirmed), "s"},
		{"undelivered", ended(dispatch.Undelivered), "o"},
		{"out of time", ended(dispatch.OutOfTime), "o"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, suppressing(t))
			first := h.load(listHeader(), people(1))
			second := h.load(listHeader(), people(1, 9))
			if got := h.fate(second); got != "do" {
				t.Fatalf("checked: %s", got)
			}
			tt.become(h, first)
			before := h.load(listHeader(), people(1, 8)) // admitted after what became of the first
			second = h.approve(second)
			h.decide()
			if got := h.fate(second); got != tt.fate+"o" {
				t.Errorf("going: %s, want %so", got, tt.fate)
			}
			if got := h.fate(before); tt.fate == "s" && got != "do" {
				t.Errorf("a third list: %s", got)
			}
			// Once the second goes, the third has its person told by it, or by the first.
			before = h.approve(before)
			h.decide()
			if got := h.fate(before); got != "so" {
				t.Errorf("the third list going: %s", got)
			}
			if second.State == Running {
				if n := h.number(`SELECT count(*) FROM runs WHERE list_no = $1 AND (state <> 'active' OR next_due > now())`, second.No); n != 0 {
					t.Error("the run of a row that is told after all sleeps")
				}
			}
		})
	}
}

func TestOfListsThatWaitTheOneThatGoesFirstTells(t *testing.T) {
	t.Parallel()
	h := newHub(t, suppressing(t))
	first := h.load(listHeader(), people(1, 2))
	second := h.load(listHeader(), people(2, 3, 2))
	third := h.load(listHeader(), people(2, 1))
	if a, b, c := h.fate(first), h.fate(second), h.fate(third); a+" "+b+" "+c != "oo dod dd" {
		t.Fatalf("checked: %s %s %s", a, b, c)
	}
	second = h.approve(second)
	h.decide()
	if a, b := h.fate(first), h.fate(second); a+" "+b != "od oos" {
		t.Fatalf("the second goes: %s %s", a, b)
	}
	first = h.approve(first)
	third = h.approve(third)
	h.decide()
	if a, b, c := h.fate(first), h.fate(second), h.fate(third); a+" "+b+" "+c != "os oos ss" {
		t.Fatalf("all go: %s %s %s", a, b, c)
	}
	if n := h.number(`SELECT count(*) FROM outbox`); n != 3 {
		t.Errorf("%d messages for three people", n)
	}
	if third = h.counted(third); third.State != Completed {
		t.Errorf("a list of repeats only is %s", third.State)
	}
	if first = h.get(first.ID); first.Counts[dispatch.Pending] != 1 || first.Counts[dispatch.Suppressed] != 1 {
		t.Errorf("%v", first.Counts)
	}
}

// A row whose phone has refused tells nobody; the next one, to another phone of the same person, does.
func TestARowThatIsRefusedByItsPhoneSuppressesNoOther(t *testing.T) {
	t.Parallel()
	for _, slice := range []int{1, 10} {
		h := newHub(t, suppressing(t), func(c *Config) { c.SliceRows = slice })
		phone, err := citizen.ParsePhone("79030000009")
		if err != nil {
			t.Fatal(err)
		}
		digests, err := h.cfg.Keys.PhoneDigests(phone)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := citizen.AddOptOut(t.Context(), h.db, digests, citizen.AllAgencies, citizen.OptOutBySMS, ""); err != nil {
			t.Fatal(err)
		}
		l := h.load(listHeader(), "Телефон;СНИЛС;Код события;Текст\n79030000009;112-233-445 95;OP-04;т\n79030000001;112-233-445 95;OP-04;т\n79030000002;112-233-445 95;OP-04;т\n")
		if got := h.fate(l); got != "ood" {
			t.Errorf("by slices of %d: %s", slice, got)
		}
	}
}

func TestARefusedListsDuplicatesEnd(t *testing.T) {
	t.Parallel()
	h := newHub(t, suppressing(t))
	l := h.load(listHeader(), people(1, 1))
	if _, err := h.Refuse(t.Context(), approver, l.ID, ""); err != nil {
		t.Fatal(err)
	}
	h.decide()
	if got := h.fate(l); got != "os" { // what waits is ended by the holder of its pool
		t.Errorf("%s", got)
	}
}

// Whichever slices of two lists come first: everybody is told once.
func TestTwoListsCheckedAtOnceTellEverybodyOnce(t *testing.T) {
	t.Parallel()
	h := newHub(t, suppressing(t), func(c *Config) { c.SliceRows = 20 })
	other := hubOn(t, h.db, h.cfg.Keys, suppressing(t), func(c *Config) { c.SliceRows = 7 })
	numbers, turned := make([]int, 200), make([]int, 200)
	for i := range numbers {
		numbers[i], turned[len(turned)-1-i] = i, i
	}
	for _, file := range []string{people(numbers...), people(turned...)} {
		if _, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(file)); err != nil {
			t.Fatal(err)
		}
	}
	var both sync.WaitGroup
	for _, s := range []*Service{h.Service, other.Service} {
		both.Go(func() {
			if found, err := s.checkNext(t.Context(), takesAny); err != nil || !found {
				t.Errorf("%v %v", found, err)
			}
		})
	}
	both.Wait()
	lists, _, err := h.Lists(t.Context(), approver, ListsQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		h.approve(l)
		h.decide()
	}
	if n := h.number(`SELECT count(*) FROM outbox`); n != 200 {
		t.Errorf("%d messages for 200 people", n)
	}
	if n := h.number(`SELECT count(*) FROM outcomes WHERE state = 3`); n != 200 {
		t.Errorf("%d are suppressed", n)
	}
}

func TestAnInterruptedCheckSuppressesTheSameRows(t *testing.T) {
	t.Parallel()
	for die := 1; die <= 3; die++ {
		h := newHub(t, suppressing(t), func(c *Config) { c.SliceRows = 2; c.Lease = time.Millisecond })
		ref, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(people(1, 2, 1, 3, 3, 2)))
		if err != nil {
			t.Fatal(err)
		}
		h.afterSlice = func(part int) error {
			if part == die {
				return errors.New("killed")
			}
			return nil
		}
		if _, err := h.checkNext(t.Context(), takesAny); err == nil {
			t.Fatal("it was not interrupted")
		}
		h.afterSlice = nil
		if _, err := h.db.Exec(t.Context(), `UPDATE list_files SET checked_until = NULL`); err != nil {
			t.Fatal(err)
		}
		for h.get(ref.ID).State == Checking { // a renewal that was given up may yet come, and hold for a millisecond
			h.checkAll()
		}
		if l := h.get(ref.ID); l.State != Ready || l.Suppressed != 3 || h.fate(l) != "oododd" {
			t.Errorf("killed after slice %d: %s %d %s", die, l.State, l.Suppressed, h.fate(l))
		}
	}
}

// A list that names one person in every row must not take the square of its rows.
func TestTheSearchForDuplicatesIsBoundedForEachPerson(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), people(make([]int, 200)...))
	var one []byte
	if err := h.db.QueryRow(t.Context(), `SELECT digest FROM persons_index GROUP BY digest HAVING count(*) >= 200 LIMIT 1`).Scan(&one); err != nil {
		t.Fatal(err)
	}
	found := 0
	err := postgres.InTx(t.Context(), h.db, func(tx pgx.Tx) error {
		digests := [][]byte{one, one, one} // as a slice with the person in three rows asks
		return h.earlier(t.Context(), tx, earlierSQL, l, digests, nil, func(citizen.Digest, dispatch.NotificationID, bool) { found++ })
	})
	if err != nil || found == 0 || found > 50 {
		t.Errorf("%d earlier rows were read for one person, want at most 50: %v", found, err)
	}
}

func TestADuplicateIsCancelledByItself(t *testing.T) {
	t.Parallel()
	h := newHub(t, suppressing(t))
	l := h.load(listHeader(), people(1, 1))
	id := dispatch.MakeID(l.No, 2)
	office := &dispatch.Office{DB: h.db, Journal: journal.NewWriter(), Keyring: h.cfg.Keys, Now: h.cfg.Now, Rules: func() *dispatch.Rules { return &dispatch.Rules{} }}
	if w, err := office.WaitingFor(t.Context(), id, time.Time{}); err != nil || w.Gate != dispatch.GateApproval {
		t.Errorf("%+v %v", w, err)
	}
	if err := office.Cancel(t.Context(), approver, agency, id); err != nil {
		t.Fatal(err)
	}
	if err := office.Cancel(t.Context(), approver, agency, id); !errors.Is(err, dispatch.ErrTooLate) {
		t.Errorf("a second time: %v", err)
	}
	l = h.approve(l)
	h.decide()
	if got := h.fate(l); got != "oe" {
		t.Errorf("%s", got)
	}
}
