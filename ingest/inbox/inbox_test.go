package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/xuri/excelize/v2"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres/postgrestest"
)

// office is a watched folder on a database of its own; its clock moves when the test says so.
type office struct {
	*Inbox
	t      *testing.T
	db     *pgxpool.Pool
	lists  *ingest.Service
	config Config
	dir    string
	mu     sync.Mutex
	now    time.Time
}

const (
	agency = "0002.000014"
	source = "penza"
	good   = "Телефон;Текст\n+79030000001;СФР: выплата назначена.\n123;СФР: выплата назначена.\n"
)

var basis = &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление № 1994", Date: "2020-12-03"}

func newOffice(t *testing.T, change func(*catalog.Source)) *office {
	t.Helper()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	s := &catalog.Source{Head: catalog.Head{Code: source, Version: 1}, Title: "Папка Пензы", Door: catalog.DoorFolder, Agencies: []string{agency},
		LegalBasis: basis, OrderedBy: "Приказ № 1", Statuses: "all", Channels: []string{"sms"}}
	if change != nil {
		change(s)
	}
	if err := catalog.Validate(s); err != nil {
		t.Fatal(err)
	}
	c := catalog.New(append(items, s))
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, db: postgrestest.New(t), now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	if err := dispatch.EnsurePool(t.Context(), o.db, "sms", "sms", []string{"smsc"}); err != nil {
		t.Fatal(err)
	}
	routes := func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "sms", channel == "sms" }
	log := slog.New(slog.DiscardHandler)
	o.lists = ingest.New(ingest.Config{DB: o.db, Catalog: func() *catalog.Catalog { return c }, Keys: citizen.NewKeyring(keys, 16), Journal: journal.NewWriter(),
		Admission: dispatch.NewAdmission(routes), Routes: routes, Now: o.clock, Log: log, Limits: ingest.Limits{FileBytes: 1 << 20}, Poll: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); _ = o.lists.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	o.config = Config{Dir: filepath.Join(t.TempDir(), "inbox"), DB: o.db, Catalog: func() *catalog.Catalog { return c }, Lists: o.lists, Now: o.clock, Log: log}
	o.Inbox = New(o.config)
	o.dir = filepath.Join(o.config.Dir, source)
	o.see() // makes the folder
	return o
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *office) wait(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func (o *office) see() {
	o.t.Helper()
	if err := o.look(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// settle looks until nothing is being taken any more.
func (o *office) settle() {
	o.t.Helper()
	o.see()
	o.wait(10 * time.Second)
	o.see()
	for deadline := time.Now().Add(20 * time.Second); len(o.in(taking)) > 0; {
		if time.Now().After(deadline) {
			o.t.Fatal("files stay on their way")
		}
		time.Sleep(5 * time.Millisecond)
		o.see()
	}
}

func (o *office) put(name, content string) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// in lists what lies in a directory of the folder, without the names of the list and the hour before it.
func (o *office) in(dir string) []string {
	o.t.Helper()
	found, err := os.ReadDir(filepath.Join(o.dir, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		name := e.Name()
		if _, own, ok := strings.Cut(name, "_"); ok {
			name = own
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// read returns the file in a directory whose name ends so.
func (o *office) read(dir, end string) []byte {
	o.t.Helper()
	found, err := filepath.Glob(filepath.Join(o.dir, dir, "*"+end))
	if err != nil || len(found) != 1 {
		o.t.Fatalf("%s in %s: %v %v", end, dir, found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

func (o *office) states() string {
	o.t.Helper()
	var s string
	if err := o.db.QueryRow(o.t.Context(), `SELECT coalesce(string_agg(state || ' ' || name, ', ' ORDER BY no), '') FROM lists`).Scan(&s); err != nil {
		o.t.Fatal(err)
	}
	return s
}

func (o *office) want(dir string, names ...string) {
	o.t.Helper()
	if got := o.in(dir); !slices.Equal(got, names) {
		o.t.Errorf("%s has %q, want %q", dir, got, names)
	}
}

func TestAFileIsTakenOnceItIsWholeAndComesBackWithItsProtocol(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	o.put("ноябрь.csv", good[:20])
	o.see()
	o.wait(4 * time.Second)
	o.put("ноябрь.csv", good) // somebody is still writing it
	o.see()
	o.wait(4 * time.Second)
	o.see()
	if s := o.states(); s != "" {
		t.Fatalf("taken before it was whole: %s", s)
	}
	for _, name := range []string{".hidden.csv", "later.csv.part", "~later.csv"} {
		o.put(name, good)
	}
	o.settle()
	if s := o.states(); s != "ready ноябрь" { // no decision of the source's: it waits for a person
		t.Fatal(s)
	}
	o.want(taken, "ноябрь.csv.protocol.json", "ноябрь.csv.protocol.xlsx") // the file is sealed in the database, and nowhere in the open
	o.want(refused)
	var p ingest.Protocol
	if err := json.Unmarshal(o.read(taken, ".json"), &p); err != nil || p.RecordNum != 2 || p.RecordNumSuccess != 1 || len(p.ErrorRecords) != 1 {
		t.Errorf("%+v %v", p, err)
	}
	f, err := excelize.OpenReader(strings.NewReader(string(o.read(taken, ".xlsx"))))
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := f.GetRows("Список"); err != nil || len(rows) != 3 || rows[2][2] != "не принята" {
		t.Errorf("%q %v", rows, err)
	}
	// The same file again is somebody's mistake, and told.
	o.put("ещё раз.csv", good)
	o.settle()
	if s := o.states(); s != "ready ноябрь" {
		t.Error(s)
	}
	o.want(refused, "ещё раз.csv", "ещё раз.csv.txt")
	if why := string(o.read(refused, ".txt")); !strings.Contains(why, "уже загружен") {
		t.Error(why)
	}
}

func TestOfAFileWithoutRemarksNoRowLiesInTheOpen(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	o.put("a.csv", "Телефон;Текст\n+79030000001;СФР: выплата назначена.\n")
	o.settle()
	o.want(taken, "a.csv.protocol.json")
	if b := string(o.read(taken, ".json")); strings.Contains(b, "9030000001") {
		t.Error(b)
	}
}

func TestTheSourcesProfileApproves(t *testing.T) {
	t.Parallel()
	o := newOffice(t, func(s *catalog.Source) {
		s.AutoApproval = &catalog.Approval{Document: "Регламент", Date: "2026-01-01", By: "руководитель"}
	})
	o.put("9031234567.csv", good) // a name that is somebody's phone is not shown to everybody
	o.settle()
	if s := o.states(); s != "running Папка Пензы" {
		t.Error(s)
	}
}

func TestWhatIsNoListIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	outside := filepath.Join(t.TempDir(), "outside.csv")
	if err := os.WriteFile(outside, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link.csv": outside, "inner.csv": "taken"} {
		if err := os.Symlink(to, filepath.Join(o.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	o.put("a\nb.csv", good)
	o.put(strings.Repeat("я", 100)+".csv", good)
	o.put("big.csv", "Телефон;Текст\n"+strings.Repeat("+79030000001;т\n", 100_000))
	o.put("empty.csv", "")
	o.put("old.xls", "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"+strings.Repeat("x", 600))
	o.put("bad.csv", "Телефон;Текст\n1;т\n")
	o.settle()
	o.want(taken)
	o.want(refused, "bad.csv", "bad.csv.protocol.json", "bad.csv.protocol.xlsx", "bad.csv.txt", "big.csv", "big.csv.txt", "empty.csv", "empty.csv.txt",
		"file", "file", "file.txt", "file.txt", "inner.csv", "inner.csv.txt", "link.csv", "link.csv.txt", "old.xls", "old.xls.protocol.json", "old.xls.txt")
	for _, name := range []string{"_bad.csv.txt", "_big.csv.txt", "_empty.csv.txt", "_old.xls.txt", "_link.csv.txt"} {
		if why := string(o.read(refused, name)); !strings.HasSuffix(why, ".\r\n") {
			t.Errorf("%s: %q", name, why)
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != good {
		t.Error("what a link led to was touched")
	}
	if s := o.states(); strings.Contains(s, "ready") {
		t.Error(s)
	}
}

// A process dies between any two steps: the file is one list, and is answered.
func TestAFileWhoseProcessDiedIsOneList(t *testing.T) {
	t.Parallel()
	p := journal.Principal{Account: "source/" + source, Agency: agency, Source: source, Roles: []journal.Role{journal.RoleSourceSystem}}
	submit := func(o *office, id uuid.UUID) {
		if _, err := o.lists.Submit(o.t.Context(), p, ingest.Header{ID: id, Name: "a", Source: source}, strings.NewReader(good)); err != nil {
			o.t.Fatal(err)
		}
	}
	for name, leave := range map[string]func(o *office, id uuid.UUID){
		"before its list":            func(o *office, id uuid.UUID) { o.move("a.csv", taking+"/"+id.String()+".new_a.csv") },
		"of the version before this": func(o *office, _ uuid.UUID) { o.move("a.csv", taking+"/a.csv") },
		"while its list was stored": func(o *office, id uuid.UUID) {
			r, w := io.Pipe()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = o.lists.Submit(o.t.Context(), p, ingest.Header{ID: id, Name: "died", Source: source}, r)
			}()
			if _, err := w.Write([]byte(good[:20])); err != nil {
				o.t.Error(err)
			}
			o.t.Cleanup(func() { w.CloseWithError(errors.New("died")); <-ended })
			o.move("a.csv", taking+"/"+id.String()+".new_a.csv")
		},
		"after its list": func(o *office, id uuid.UUID) {
			submit(o, id)
			o.move("a.csv", taking+"/"+id.String()+".new_a.csv")
		},
		"before its protocol": func(o *office, id uuid.UUID) {
			submit(o, id)
			o.move("a.csv", taking+"/"+id.String()+"_a.csv")
			o.put(taken+"/.unready", "half")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, nil)
			o.put("a.csv", good)
			leave(o, uuid.New())
			o.settle()
			if s := strings.TrimPrefix(o.states(), "receiving died, "); s != "ready a" {
				t.Error(s)
			}
			o.want(taken, "a.csv.protocol.json", "a.csv.protocol.xlsx")
			o.want(refused)
		})
	}
}

// A process dies while it refuses the bytes of an earlier list: the file does not come back as that list.
func TestARefusalWhoseProcessDiedStaysOne(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	o.put("a.csv", good)
	o.settle()
	o.put("b.csv", good)
	o.move("b.csv", taking+"/"+uuid.NewString()+".new_b.csv")
	o.settle()
	o.want(taken, "a.csv.protocol.json", "a.csv.protocol.xlsx")
	o.want(refused, "b.csv", "b.csv.txt")
	if why := string(o.read(refused, "b.csv.txt")); !strings.Contains(why, "уже загружен") {
		t.Error(why)
	}
}

// The database was restored from a time before the list: a person decides, the file is still there.
func TestAFileWhoseListIsForgottenComesBack(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	o.put("a.csv", good)
	id := uuid.NewString()
	o.move("a.csv", taking+"/"+id+"_a.csv")
	o.settle()
	o.want(taken)
	o.want(refused, "a.csv", "a.csv.txt")
	if why := string(o.read(refused, ".txt")); !strings.Contains(why, id) || o.states() != "" {
		t.Error(why, o.states())
	}
}

func (o *office) move(from, to string) {
	o.t.Helper()
	if err := os.Rename(filepath.Join(o.dir, from), filepath.Join(o.dir, to)); err != nil {
		o.t.Fatal(err)
	}
}

func TestOfSeveralProcessesOneTakes(t *testing.T) {
	t.Parallel()
	o := newOffice(t, nil)
	all := []*Inbox{o.Inbox, New(o.config), New(o.config)}
	for _, name := range []string{"a", "b", "c", "d"} {
		o.put(name+".csv", strings.Replace(good, "выплата", "выплата "+name, 1))
	}
	together := func() {
		var wg sync.WaitGroup
		for _, b := range all {
			wg.Go(func() {
				if err := b.look(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for range 3 { // each has seen the files
		together()
	}
	o.wait(10 * time.Second)
	for range 5 {
		together()
	}
	o.settle()
	if s := o.states(); strings.Count(s, "ready") != 4 || strings.Count(s, ",") != 3 {
		t.Error(s)
	}
	o.want(refused)
}
