package egisso

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/segmentio/kafka-go"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/ingest/ingesttest"
	"ekc/journal"
)

// topicLog is a Producer for tests of what is said, not of its delivery: it keeps what it is given, and fails as told.
type topicLog struct {
	mu      sync.Mutex
	records []Record
	fails   func(topic string) error
}

func (l *topicLog) Produce(_ context.Context, records ...Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		if l.fails != nil {
			if err := l.fails(r.Topic); err != nil {
				return err
			}
		}
		l.records = append(l.records, r)
	}
	return nil
}

func (l *topicLog) failing(fails func(topic string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = fails
}

func (l *topicLog) all() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

// world is a hub whose lists came by the feed.
type world struct{ *ingesttest.Hub }

const participant = "0003.000003"

var (
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
	loader = journal.Principal{Account: "source/mse", Agency: participant, Source: "mse", Roles: []journal.Role{journal.RoleSourceSystem}}
)

func newWorld(t *testing.T) *world { return &world{ingesttest.New(t)} }

func (w *world) publish(p Producer, change ...func(*PublisherConfig)) (stop func()) {
	c := PublisherConfig{DB: w.DB, Reports: w.Lists, Producer: p, Now: time.Now, Log: quiet, Poll: 10 * time.Millisecond}
	for _, f := range change {
		f(&c)
	}
	return w.Background(NewPublisher(c).Run)
}

// load brings a list of a source by the feed, with so many good rows and as many bad ones after them.
func (w *world) load(source string, good, bad int) *ingest.List {
	w.T.Helper()
	rows := make([]ingest.InputRow, 0, good+bad)
	for i := range good {
		rows = append(rows, ingest.InputRow{ExternalID: fmt.Sprintf("good-%d", i+1), Phone: fmt.Sprintf("903%07d", i), FamilyName: canaryName, Text: "МСЭ: приём назначен."})
	}
	rows[0].SNILS = canarySNILS
	for i := range bad {
		rows = append(rows, ingest.InputRow{ExternalID: fmt.Sprintf("bad-%d", i+1), Phone: canaryPhone, FamilyName: canaryName, Text: "МСЭ: приём назначен."})
	}
	id := uuid.New()
	parts := (len(rows)-1)/ingest.PartRows + 1
	no := 0
	for some := range slices.Chunk(rows, ingest.PartRows) {
		no++
		part := ingest.FeedPart{Principal: loader, ListID: id, Part: no, Parts: parts, Rows: some, Digest: [32]byte{1}, HeaderDigest: [32]byte{2},
			Header: ingest.Header{Name: "Список", Source: source, LegalBasis: &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление", Date: "2020-12-03"}, OrderedBy: "Приказ"}}
		part.Principal.Agency, part.Principal.Source = w.agency(source), source
		fates, err := w.Lists.TakeParts(w.T.Context(), []ingest.FeedPart{part})
		if err != nil || fates[0] != nil {
			w.T.Fatal(fates, err)
		}
	}
	return w.Checked(id)
}

// upload brings a list of one row by hand.
func (w *world) upload() *ingest.List {
	w.T.Helper()
	person := journal.Principal{Account: "loader", Agency: participant, Roles: []journal.Role{journal.RoleListLoader}}
	ref, err := w.Lists.Submit(w.T.Context(), person, ingest.Header{Name: "Список", LegalBasis: &catalog.LegalBasis{Code: "PP-1994", Document: "Постановление", Date: "2020-12-03"},
		OrderedBy: "Приказ"}, strings.NewReader("Телефон;Текст\n9031234567;МСЭ: приём назначен.\n"))
	if err != nil {
		w.T.Fatal(err)
	}
	return w.Checked(ref.ID)
}

// agency is whose lists a source brings.
func (w *world) agency(source string) string {
	entry, ok := w.Catalog.Source(source, time.Now())
	if !ok {
		w.T.Fatalf("no source %s", source)
	}
	return entry.Agencies[0]
}

// killPublisher ends the session of whoever publishes, as it ends when its process is killed: the position is not saved.
func (w *world) killPublisher(ctx context.Context) error {
	_, err := w.DB.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, publisherLock&0xffffffff)
	return err
}

// heard is what a source makes of the records: of each notification the sequences in their order, repeats left out.
type heard struct {
	statuses  map[string][]int
	summaries map[string]int
	protocols map[string]int
	repeats   int
}

func hear(t *testing.T, records []Record) heard {
	t.Helper()
	h := heard{make(map[string][]int), make(map[string]int), make(map[string]int), 0}
	ids := make(map[string]bool)
	for _, r := range records {
		var e struct {
			ID, Type string
			Data     struct {
				ListID         string `json:"list_id"`
				PackageID      string `json:"package_id"`
				NotificationID string `json:"notification_id"`
				Sequence       int
			}
		}
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		if list := string(r.Key); list != e.Data.ListID && list != e.Data.PackageID {
			t.Errorf("key %s of %s", list, r.Value)
		}
		if i := slices.IndexFunc(r.Headers, func(h Header) bool { return h.Key == PositionHeader }); i < 0 || string(r.Headers[i].Value) == "" {
			t.Errorf("no position: %v", r.Headers)
		}
		if ids[e.ID] {
			h.repeats++
			continue
		}
		ids[e.ID] = true
		switch e.Type {
		case ingest.EventStatus:
			h.statuses[e.Data.NotificationID] = append(h.statuses[e.Data.NotificationID], e.Data.Sequence)
		case ingest.EventSummary:
			h.summaries[string(r.Key)]++
		case ingest.EventProtocol:
			h.protocols[string(r.Key)]++
		}
	}
	return h
}

// complete says that everything of a list was heard, in its order.
func (h heard) complete(l *ingest.List, rows int) bool {
	n := 0
	for id, sequences := range h.statuses {
		if strings.HasPrefix(id, strconv.FormatInt(l.No, 10)+"-") && slices.Equal(sequences, []int{1, 2}) {
			n++
		}
	}
	return n == rows && h.summaries[l.ID.String()] == 1 && h.protocols[l.ID.String()] >= 1
}

const (
	canaryName  = "Канарейкина Желтая Певунья"
	canaryPhone = "8903111"
	canarySNILS = "112-233-445 95"
)

func TestSourceHearsOfItsListAndNothingPersonal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var out topicLog
	w.publish(&out)
	l := w.load("mse", 3, 2)
	upload := w.upload()
	w.Approve(l)
	w.Approve(upload)
	w.End(upload, 1, 1, dispatch.Delivered)
	w.End(l, 1, 3, dispatch.Delivered)
	w.Await("everything is told", func() bool { return hear(t, out.all()).complete(l, 3) })
	schemas := compiled(t)
	for _, r := range out.all() {
		var e struct {
			Type string
			Data json.RawMessage
		}
		err := json.Unmarshal(r.Value, &e)
		var data any
		if err == nil {
			data, err = jsonschema.UnmarshalJSON(bytes.NewReader(e.Data))
		}
		if err == nil {
			err = schemas[e.Type].Validate(data)
		}
		if err != nil || len(r.Value) > MaxMessage {
			t.Errorf("not by the contract: %v: %s", err, r.Value)
		}
		want := StatusTopic
		if strings.Contains(string(r.Value), `"type":"`+ingest.EventProtocol) {
			want = ProtocolTopic
		}
		if r.Topic != want || string(r.Key) == upload.ID.String() {
			t.Errorf("on %s: %s", r.Topic, r.Value)
		}
		whole := fmt.Sprintf("%s %s %v", r.Key, r.Value, r.Headers)
		for _, canary := range []string{"Канарейкина", "Певунья", "903000", "8903111", "112-233", "11223344595", "приём"} {
			if strings.Contains(whole, canary) {
				t.Errorf("%q is in %s", canary, whole)
			}
		}
	}
}

// A source that asks for ends only does not hear of acceptance, and hears on the topics of its own.
func TestSourceHearsAsItsEntrySays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, _ := w.Catalog.Source("mse", time.Now())
	change := *own
	change.Statuses, change.StatusTopic, change.ProtocolTopic, change.Version = "final", "mse.status", "mse.protocols", 2
	w.Catalog = w.Catalog.With([]catalog.Item{&change})
	var out topicLog
	w.publish(&out)
	l := w.load("mse", 2, 0)
	w.Approve(l)
	w.End(l, 1, 2, dispatch.Undelivered)
	w.Await("the summary", func() bool { return hear(t, out.all()).summaries[l.ID.String()] == 1 })
	for id, sequences := range hear(t, out.all()).statuses {
		if !slices.Equal(sequences, []int{2}) {
			t.Errorf("%s: %v", id, sequences)
		}
	}
	for _, r := range out.all() {
		if r.Topic != "mse.status" && r.Topic != "mse.protocols" {
			t.Errorf("on %s: %s", r.Topic, r.Value)
		}
	}
}

// A topic that is missing holds its source alone, and that loses nothing: it is told in order once the topic is there, also by another
// process.
func TestTopicThatRefusesHoldsNoOtherSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, _ := w.Catalog.Source("mse", time.Now())
	change := *own
	change.StatusTopic, change.Version = "mse.status", 2
	w.Catalog = w.Catalog.With([]catalog.Item{&change})
	var out topicLog
	out.failing(func(topic string) error {
		if topic == "mse.status" {
			return fmt.Errorf("produce to %s: %w", topic, kafka.TopicAuthorizationFailed)
		}
		return nil
	})
	small := func(c *PublisherConfig) { c.Positions = 5 }
	stop := w.publish(&out, small)
	held, free := w.load("mse", 20, 0), w.load("rostrud", 20, 0)
	w.Approve(held)
	w.Approve(free)
	for i := range 20 {
		w.End(held, i+1, i+1, dispatch.Delivered)
		w.End(free, i+1, i+1, dispatch.Delivered)
	}
	w.Await("the other source is told", func() bool { return hear(t, out.all()).complete(free, 20) })
	if h := hear(t, out.all()); h.complete(held, 20) || h.summaries[held.ID.String()] > 0 {
		t.Error("the source was told on a topic that is closed to us")
	}
	stop()
	if laggards, err := journal.Followers(t.Context(), w.DB, "egisso/"); err != nil || len(laggards) != 1 {
		t.Fatalf("%v, %v", laggards, err)
	}
	w.publish(&out, small)
	out.failing(nil)
	w.Await("the source is told all it missed", func() bool { return hear(t, out.all()).complete(held, 20) })
	w.Await("nobody lags", func() bool {
		laggards, err := journal.Followers(t.Context(), w.DB, "egisso/")
		return err == nil && len(laggards) == 0
	})
	more := w.load("mse", 1, 0)
	w.Approve(more)
	w.End(more, 1, 1, dispatch.Delivered)
	w.Await("it goes on with the others", func() bool { return hear(t, out.all()).complete(more, 1) })
}

// While no broker answers nothing moves, and nobody is taken for a laggard.
func TestBrokersAwayLoseNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var out topicLog
	tries := 0
	out.failing(func(string) error { tries++; return errors.New("dial tcp: connection refused") })
	w.publish(&out)
	l := w.load("mse", 5, 1)
	w.Approve(l)
	w.End(l, 1, 5, dispatch.Delivered)
	w.Await("it was tried twice", func() bool { out.mu.Lock(); defer out.mu.Unlock(); return tries >= 2 })
	if laggards, err := journal.Followers(t.Context(), w.DB, "egisso/"); err != nil || len(laggards) != 0 || len(out.all()) != 0 {
		t.Fatalf("%v, %v, %d records", laggards, err, len(out.all()))
	}
	out.failing(nil)
	w.Await("everything is told", func() bool { return hear(t, out.all()).complete(l, 5) })
	if tries > 10 {
		t.Errorf("%d tries", tries)
	}
}

// Whatever is killed between writing and saving, what comes again comes whole: repeats, but no gap, also with two processes.
func TestKillBetweenWriteAndSaveRepeatsAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var out topicLog
	var died int
	dying := producerFunc(func(ctx context.Context, records ...Record) error {
		out.mu.Lock()
		died++
		n := died
		out.mu.Unlock()
		if n == 2 || n == 5 {
			return cmp.Or(w.killPublisher(ctx), errors.New("it died before it wrote"))
		}
		if err := out.Produce(ctx, records...); err != nil {
			return err
		}
		if n < 8 && n%3 == 1 {
			return w.killPublisher(ctx)
		}
		return nil
	})
	small := func(c *PublisherConfig) { c.Positions = 7 }
	w.publish(dying, small)
	w.publish(dying, small)
	l := w.load("mse", 30, 0)
	w.Approve(l)
	for i := range 10 {
		w.End(l, 3*i+1, 3*i+3, dispatch.Delivered)
	}
	w.Await("everything is told", func() bool { return hear(t, out.all()).complete(l, 30) })
	if h := hear(t, out.all()); h.repeats == 0 {
		t.Error("nobody died after writing")
	}
}

type producerFunc func(ctx context.Context, records ...Record) error

func (f producerFunc) Produce(ctx context.Context, records ...Record) error {
	return f(ctx, records...)
}
