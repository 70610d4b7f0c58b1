package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"ekc/postgres/postgrestest"
)

// story is what happens to two agencies' lists; At grows by a second an entry.
func story(t *testing.T) (ctx context.Context, q Querier) {
	t.Helper()
	pool, w := postgrestest.New(t), NewWriter()
	other := NewWriter() // another process, with other ids
	at := noon
	tell := func(w *Writer, e Entry, n int) {
		entries := make([]Entry, n)
		for i := range entries {
			at = at.Add(time.Second)
			e.At = at
			e.Notification = e.ListNo<<24 | int64(i)
			entries[i] = e
		}
		mustAppend(t, pool, w, entries...)
	}
	for _, list := range []Entry{{Agency: "A", ListNo: 1}, {Agency: "B", ListNo: 2}} {
		person := Entry{Kind: ListApproved, Agency: list.Agency, ListNo: list.ListNo, Actor: "chief-" + list.Agency}
		hub := Entry{Kind: Attempt, Agency: list.Agency, ListNo: list.ListNo, State: "accepted"}
		tell(other, person, 1)
		tell(w, hub, 40)
		hub.Kind = Outcome
		tell(other, hub, 40)
		person.Kind = ListPaused
		tell(w, person, 1)
	}
	tell(w, Entry{Kind: StopSet, Actor: "engineer"}, 1)
	// The same actor's name in another agency's entry.
	tell(w, Entry{Kind: ListPaused, Agency: "B", ListNo: 2, Actor: "chief-A"}, 1)
	mustPlace(t, pool)
	return t.Context(), pool
}

// all follows the cursor to the end.
func all(t *testing.T, ctx context.Context, q Querier, p Principal, query Query) (items []Placed) {
	t.Helper()
	for range 1000 {
		page, err := History(ctx, q, p, query)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, page.Items...)
		if query.After = page.Next; page.Next == "" {
			return items
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestHistoryIsCompleteInOrderAndOnlyWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	ctx, q := story(t)
	clerk := func(agency string) Principal {
		return Principal{Account: "clerk", Agency: agency, Roles: []Role{RoleListLoader}}
	}
	for _, c := range []struct {
		name  string
		who   Principal
		query Query
		want  int
	}{
		{"everything, for the operator's auditor", auditor, Query{}, 166},
		{"everything of A", clerk("A"), Query{}, 82},
		{"everything of B", clerk("B"), Query{}, 83},
		{"an agency that has nothing", clerk("C"), Query{}, 0},
		{"own list", clerk("A"), Query{ListNo: 1}, 82},
		{"another's list", clerk("A"), Query{ListNo: 2}, 0},
		{"another's list, own actor", clerk("A"), Query{ListNo: 2, Actor: "chief-A"}, 0},
		{"own actor, also named in another's entry", clerk("A"), Query{Actor: "chief-A"}, 2},
		{"another's actor", clerk("B"), Query{Actor: "chief-A"}, 1},
		{"the operator's own acts", clerk("A"), Query{Actor: "engineer"}, 0},
		{"the operator's own acts, by kind", clerk("A"), Query{Kinds: []Kind{StopSet}}, 0},
		{"the operator's own acts, for the auditor", auditor, Query{Kinds: []Kind{StopSet}}, 1},
		{"narrowed by the auditor", auditor, Query{Agency: "B"}, 83},
		{"kinds of a list", auditor, Query{ListNo: 2, Kinds: []Kind{ListApproved, ListPaused}}, 3},
		{"kinds by time", clerk("B"), Query{Kinds: []Kind{ListApproved, ListPaused}}, 3},
		{"from a time", auditor, Query{From: noon.Add(83 * time.Second)}, 84},
		{"to a time", clerk("A"), Query{To: noon.Add(42 * time.Second)}, 41},
		{"a second of a list", auditor, Query{ListNo: 1, From: noon.Add(10 * time.Second), To: noon.Add(11 * time.Second)}, 1},
		{"long ago", auditor, Query{To: noon.Add(-24 * time.Hour)}, 0},
		{"not yet", auditor, Query{From: noon.Add(24 * time.Hour)}, 0},
	} {
		for _, limit := range []int{0, 1, 7} {
			t.Run(fmt.Sprintf("%s by %d", c.name, limit), func(t *testing.T) {
				c.query.Limit = limit
				items := all(t, ctx, q, c.who, c.query)
				if len(items) != c.want {
					t.Fatalf("%d entries, want %d", len(items), c.want)
				}
				if !slices.IsSortedFunc(items, func(a, b Placed) int { return int(a.Position - b.Position) }) {
					t.Error("not in the order of positions")
				}
				for i, p := range items {
					if !c.who.Sees(p.Entry.Agency) || i > 0 && p.Position == items[i-1].Position {
						t.Errorf("%+v", p)
					}
				}
			})
		}
	}
}

func TestHistoryRefusesByDefault(t *testing.T) {
	t.Parallel()
	ctx, q := story(t)
	for name, c := range map[string]struct {
		who   Principal
		query Query
		want  error
	}{
		"nobody":                       {Principal{}, Query{}, ErrForbidden},
		"no role":                      {Principal{Account: "x", Agency: "A"}, Query{ListNo: 1}, ErrForbidden},
		"a loader without agency":      {Principal{Roles: []Role{RoleListLoader}}, Query{ListNo: 1}, ErrForbidden},
		"another agency asked by name": {Principal{Agency: "A", Roles: []Role{RoleAuditor}}, Query{Agency: "B"}, ErrForbidden},
		"an invented cursor":           {auditor, Query{After: "MTAw"}, ErrCursor},
		"a broken cursor":              {auditor, Query{After: "%"}, ErrCursor},
	} {
		if page, err := History(ctx, q, c.who, c.query); !errors.Is(err, c.want) || len(page.Items) > 0 {
			t.Errorf("%s: %d entries, %v", name, len(page.Items), err)
		}
	}
}

func TestByIDsShowsOwnAgencyOnly(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	a := mustAppend(t, pool, w, Entry{Kind: Attempt, At: noon, Agency: "A", ListNo: 1}, Entry{Kind: Attempt, At: noon, Agency: "B", ListNo: 2})
	mustPlace(t, pool)
	late := mustAppend(t, pool, w, Entry{Kind: Outcome, At: noon, Agency: "A", ListNo: 1})
	ids := []int64{late[0], a[1], a[0], 1, late[0] + 1}
	clerk := Principal{Account: "clerk", Agency: "A", Roles: []Role{RoleListLoader}}
	found, err := ByIDs(t.Context(), pool, clerk, ids)
	if err != nil || len(found) != 2 || found[0].ID != a[0] || found[0].Position != 0 || found[1].ID != late[0] || found[1].Position != NotPlaced {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err = ByIDs(t.Context(), pool, Principal{}, ids); !errors.Is(err, ErrForbidden) || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err = ByIDs(t.Context(), pool, auditor, ids); err != nil || len(found) != 3 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestRowGivenToAnotherAgencyIsNotShownToIt(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	ids := mustAppend(t, pool, w, Entry{Kind: ListApproved, At: noon, Agency: "B", ListNo: 2, Actor: "chief"})
	mustPlace(t, pool)
	if _, err := pool.Exec(t.Context(), `UPDATE journal SET agency = 'A'`); err != nil {
		t.Fatal(err)
	}
	clerk := Principal{Account: "clerk", Agency: "A", Roles: []Role{RoleListLoader}}
	for _, query := range []Query{{ListNo: 2}, {Actor: "chief"}, {}} {
		if items := all(t, t.Context(), pool, clerk, query); len(items) > 0 {
			t.Errorf("%+v: %+v", query, items)
		}
	}
	if found, err := ByIDs(t.Context(), pool, clerk, ids); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestHistoryByTimeStartsNearItAndMissesNothing(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	const n, from = 3 * windowPositions, 11_000
	entries := attempts(1, n)
	for i := range entries {
		entries[i].At = noon.Add(time.Duration(i) * time.Second)
	}
	since := entries[from].At
	// One of another process, whose clock was ahead, stands well before the others of its time.
	entries[9_000].At = since.Add(time.Second)
	for some := range slices.Chunk(entries, 512) {
		mustAppend(t, pool, w, some...)
	}
	mustPlace(t, pool)
	first, err := firstSince(t.Context(), pool, 0, n, since.Add(-commitLag))
	if err != nil || first < n/4 || first > 9_000 {
		t.Errorf("begins at %d of %d, %v", first, n, err)
	}
	if items := all(t, t.Context(), pool, auditor, Query{From: since, To: since.Add(5 * time.Second)}); len(items) != 6 || items[0].ID%blockSize != 9_000 {
		t.Errorf("%+v", items)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor(0))
	f.Add(cursor(1 << 40))
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseCursor(s); err == nil && n < 0 {
			t.Errorf("%q is position %d", s, n)
		}
	})
}
