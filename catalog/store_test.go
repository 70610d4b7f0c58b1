package catalog

import (
	"context"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

var editor = journal.Principal{Account: "editor", Roles: []journal.Role{journal.RoleKBEditor}}

func put(t *testing.T, db *pgxpool.Pool, item Item) {
	t.Helper()
	if err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) error { return Put(t.Context(), tx, editor, item) }); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, db *pgxpool.Pool) *Catalog {
	t.Helper()
	c, err := Load(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSeedOnceByTwoAtATime(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	added, errs := make([]int, 2), make([]error, 2)
	for i := range added {
		wg.Go(func() { added[i], errs[i] = Seed(t.Context(), db) })
	}
	wg.Wait()
	if errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	if added[0]+added[1] != len(items) || added[0]*added[1] != 0 {
		t.Errorf("added %v of %d", added, len(items))
	}
	if n, err := Seed(t.Context(), db); n != 0 || err != nil {
		t.Errorf("a third seed added %d, %v", n, err)
	}
	var rows int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM catalog_items WHERE version = 1`).Scan(&rows); err != nil || rows != len(items) {
		t.Errorf("%d rows, %v", rows, err)
	}
}

func TestSeedComesBackFromTheDatabaseAsItWas(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	if _, err := Seed(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	c, want, now := load(t, db), seeded(t), day("2026-12-01")
	if len(c.Faults()) > 0 {
		t.Error(c.Faults())
	}
	for _, fault := range c.Check(now) {
		t.Error(fault)
	}
	same := func(got, want Item) {
		t.Helper()
		g, w := *got.Header(), *want.Header()
		if !g.From.Equal(w.From) || !g.To.Equal(w.To) || g.CreatedBy != "seed" || g.CreatedAt.IsZero() {
			t.Errorf("%s: head %+v, want %+v", w.Code, g, w)
		}
		*got.Header() = w
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", w.Code, got, want)
		}
	}
	for i, e := range want.LifeEvents(now) {
		same(c.LifeEvents(now)[i], e)
	}
	for i, s := range want.Sources(now) {
		same(c.Sources(now)[i], s)
	}
	for i, tmpl := range want.Templates(now) {
		same(c.Templates(now)[i], tmpl)
	}
	for i, r := range want.RuleItems(now) {
		same(c.RuleItems(now)[i], r)
	}
	for i, s := range want.States(now) {
		same(c.States(now)[i], s)
	}
}

func TestSeedLeavesAnAgencysOwnVersionsAlone(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	own := &Rule{Head: Head{Code: RuleSMSPerDay}, Title: "лимит", Count: new(1)}
	put(t, db, own)
	if _, err := Seed(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	r, err := load(t, db).Rules(time.Now())
	if err != nil || r.SMSPerDay != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPutMakesTheNextVersion(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	if _, err := Seed(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(24 * time.Hour).Truncate(time.Microsecond)
	next := &Template{Head: Head{Code: "S-01", Agency: "0001.000001", From: tomorrow}, Title: "Новое пособие", LifeEvent: "LE-01",
		Channel: "sms", Language: "ru", Body: "СФР: новый текст. 8-800-100-00-01"}
	put(t, db, next)
	if next.Version != 2 || next.CreatedBy != "editor" || next.CreatedAt.IsZero() {
		t.Errorf("head after Put: %+v", next.Head)
	}
	c := load(t, db)
	if now, _ := c.TemplateAt("S-01", time.Now()); now.Version != 1 {
		t.Errorf("version %d is in force before its time", now.Version)
	}
	if later, _ := c.TemplateAt("S-01", tomorrow); later.Version != 2 || later.Agency != "0001.000001" || later.CreatedBy != "editor" || !later.From.Equal(tomorrow) {
		t.Errorf("in force tomorrow: %+v", later)
	}
	if old, ok := c.Template("S-01", 1); !ok || !strings.Contains(old.Body, "единое пособие") {
		t.Error("the pinned version is gone")
	}
	// An item made wrong is refused before the database is asked.
	if err := Put(t.Context(), nil, editor, &Template{Head: Head{Code: "S-01"}}); err == nil {
		t.Error("an invalid item was written")
	}
}

func TestPutByManyAtATimeGivesEachAVersion(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	const writers = 8
	var wg sync.WaitGroup
	versions := make([]int, writers)
	for i := range versions {
		wg.Go(func() {
			m := &Measure{Head: Head{Code: "M"}, Name: "мера"}
			err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) error { return Put(t.Context(), tx, editor, m) })
			if err != nil {
				t.Error(err)
			}
			versions[i] = m.Version
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, v := range versions {
		if v < 1 || v > writers || seen[v] {
			t.Errorf("versions %v", versions)
		}
		seen[v] = true
	}
}

func TestUnreadableRowHurtsItsOwnCodeOnly(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	if _, err := Seed(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	const insert = `INSERT INTO catalog_items (kind, code, version, effective_from, body) VALUES ($1, $2, $3, $4, $5)`
	from := day("2026-06-01")
	for _, row := range []struct {
		kind, code string
		version    int
		body       string
	}{
		{"template", "S-01", 2, `{"title": "т", "channel": "sms", "language": "ru", "body": "{{"}`},                 // does not parse
		{"measure", "M-001", 2, `{"name": 5}`},                                                                      // another type
		{"measure", "M-002", 2, `{"name": "Новое имя", "icon": "x"}`},                                               // a field of a later release
		{"rule", "caps.letters", 1, `{"title": "Писем в сутки", "count": 4}`},                                       // a rule of a later release
		{"letter", "L-1", 1, `{"anything": true}`},                                                                  // a kind of a later release
		{"life_event", "LE-01", 2, `{"name": "Рождение ребёнка", "measures": ["M-001"], "term": {"complex": [1]}}`}, // likewise
	} {
		if _, err := db.Exec(t.Context(), insert, row.kind, row.code, row.version, from, row.body); err != nil {
			t.Fatal(err)
		}
	}
	c := load(t, db)
	if len(c.Faults()) != 3 {
		t.Errorf("faults %v", c.Faults())
	}
	if tmpl, ok := c.TemplateAt("S-01", from); ok {
		t.Errorf("version %d stands in for one that cannot be read", tmpl.Version)
	}
	if _, ok := c.TemplateAt("S-01", from.Add(-time.Second)); !ok {
		t.Error("the version before is gone for its own time too")
	}
	if _, ok := c.Template("S-01", 1); !ok {
		t.Error("the pinned version is gone")
	}
	if _, ok := c.Measure("M-001", from); ok {
		t.Error("M-001 is found")
	}
	if m, _ := c.Measure("M-002", from); m == nil || m.Version != 2 || m.Name != "Новое имя" {
		t.Errorf("M-002: %+v", m)
	}
	if e, _ := c.LifeEvent("LE-01", from); e == nil || e.Version != 2 {
		t.Errorf("LE-01: %+v", e)
	}
	if _, ok := c.TemplateAt("S-02", from); !ok {
		t.Error("a bystander is gone")
	}
	if _, err := c.Rules(from); err != nil {
		t.Error(err)
	}
	// It is not written out as if it were not there, and bringing its older version back is a change.
	if exported := c.Export(from); slices.ContainsFunc(exported, func(i Item) bool { return i.Header().Code == "S-01" }) || len(exported) < 200 {
		t.Errorf("S-01 is among the %d items exported", len(exported))
	}
	old, _ := c.Template("S-01", 1)
	again := *old
	if changes := c.Changes([]Item{&again}); len(changes) != 1 {
		t.Errorf("bringing the old S-01 back changes %d", len(changes))
	}
	if back, _ := c.With([]Item{&again}).TemplateAt("S-01", from); back == nil || back.Version != 3 {
		t.Errorf("brought back: %+v", back)
	}
}

func TestWatcherSeesAChangeWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	if _, err := Seed(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	w, err := Watch(t.Context(), db, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	before := w.Current()
	put(t, db, &Rule{Head: Head{Code: RuleSMSPerDay}, Title: "лимит", Count: new(7)})
	committed := time.Now()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for w.Current() == before && time.Since(committed) < 10*time.Second {
		<-poll.C
	}
	if took := time.Since(committed); took > 2*time.Second {
		t.Errorf("seen after %v", took)
	}
	if r, err := w.Current().Rules(time.Now()); err != nil || r.SMSPerDay != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := before.Rules(time.Now()); err != nil || r.SMSPerDay != 4 {
		t.Errorf("the old snapshot changed: %+v, %v", r, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWatcherLoadsNothingWhileNothingChanges(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	w, err := Watch(t.Context(), db, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	before := w.Current()
	if err := w.refresh(t.Context()); err != nil || w.Current() != before {
		t.Errorf("loaded again, %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.refresh(ended); err == nil || w.Current() != before {
		t.Errorf("the snapshot is gone with the database, %v", err)
	}
}
