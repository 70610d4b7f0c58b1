package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"

	"github.com/jackc/pgx/v5"
	"github.com/xuri/excelize/v2"
)

// bigFile has n rows; every tenth is bad.
func bigFile(n int) string {
	var b strings.Builder
	b.WriteString("Телефон;ФИО;Внешний номер;Текст\n")
	for i := range n {
		phone := fmt.Sprintf("+7903%07d", i)
		if i%10 == 9 {
			phone = "903"
		}
		fmt.Fprintf(&b, "%s;Синтетический Человек %d;дело-%d;СФР: для вас есть важная информация.\n", phone, i, i)
	}
	return b.String()
}

func TestCheckingSurvivesDeathBetweenSlices(t *testing.T) {
	t.Parallel()
	died := errors.New("died")
	for name, when := range map[string]int{"after the first": 1, "in the middle": 4, "after the last": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := newHub(t, func(c *Config) { c.SliceRows = 100; c.Lease = 50 * time.Millisecond })
			first.afterSlice = func(part int) error {
				if part == when {
					return died
				}
				return nil
			}
			ref, err := first.Submit(t.Context(), loader, listHeader(), strings.NewReader(bigFile(1000)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := first.checkNext(t.Context(), takesAny); !errors.Is(err, died) {
				t.Fatalf("got %v", err)
			}
			if l := first.get(ref.ID); l.State != Checking || l.Rows != when*100 || l.Accepted != when*90 {
				t.Fatalf("%+v", l)
			}
			// Another process, with other ideas of a slice, once the lease is over.
			second := hubOn(t, first.db, first.cfg.Keys, func(c *Config) { c.SliceRows = 70 })
			if _, err := first.db.Exec(t.Context(), `UPDATE list_files SET checked_until = now() - interval '1 s'`); err != nil {
				t.Fatal(err)
			}
			second.checkAll()
			l := second.get(ref.ID)
			if l.State != Ready || l.Rows != 1000 || l.Accepted != 900 || l.Rejected != 100 {
				t.Fatalf("%+v", l)
			}
			for what, sql := range map[string]string{
				"notifications": `SELECT count(*) FROM notifications`,
				"rows":          `SELECT count(DISTINCT row_no) FROM notifications`,
				"ids":           `SELECT count(DISTINCT external_id) FROM notifications`,
				"outbox":        `SELECT count(DISTINCT id) FROM outbox`,
				"last ordinal":  `SELECT max(id & 16777215) FROM notifications`,
			} {
				if n := second.number(sql); n != 900 {
					t.Errorf("%s: %d, want 900", what, n)
				}
			}
			if n := second.number(`SELECT count(*) FROM rejections WHERE message_type = 1`); n != 100 {
				t.Errorf("%d rejections", n)
			}
			if n := second.number(`SELECT count(*) FROM rejections WHERE rule_code = 109`); n != 0 {
				t.Errorf("%d rows are taken for repeats of themselves", n)
			}
		})
	}
}

func TestACheckerThatLostItsLeaseAdmitsNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.SliceRows = 100 })
	h.afterSlice = func(part int) error {
		if part == 2 {
			_, err := h.db.Exec(context.Background(), `UPDATE list_files SET checked_by = 'another'`)
			return err
		}
		return nil
	}
	ref, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(bigFile(1000)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.checkNext(t.Context(), takesAny); !errors.Is(err, errLeaseLost) {
		t.Fatalf("got %v", err)
	}
	if l := h.get(ref.ID); l.State != Checking || l.Rows != 200 {
		t.Fatalf("%+v", l)
	}
}

// Two slices are written at once. What is committed is the beginning of the list all the same, a row is found to be the same as one of the
// slice that is not committed yet, and whoever changes the list meanwhile need not wait for either.
func TestSlicesAreCommittedInTheirOrder(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.SliceRows = 2 })
	ref, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(people(1, 2, 3, 1)))
	if err != nil {
		t.Fatal(err)
	}
	first, err := h.db.Begin(t.Context()) // stands in the gate of the first slice
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Rollback(context.Background()) }()
	if _, err := first.Exec(t.Context(), gateSQL, ref.No, 1, []byte("another"), 2, 2, 1); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := h.checkNext(t.Context(), takesAny); done <- err }()
	until(t, func() bool { // the second slice is written, and waits
		return h.number(`SELECT count(DISTINCT pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = 'persons_index'::regclass
			AND a.datname = current_database() AND a.state = 'idle in transaction' AND a.query ILIKE 'copy%rejections%'`) == 1
	})
	if n := h.number(`SELECT count(*) FROM list_parts`); n != 0 {
		t.Errorf("%d slices are committed before the first", n)
	}
	err = postgres.InTx(t.Context(), h.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SET LOCAL lock_timeout = '1s'`); err != nil {
			return err
		}
		_, err := h.lockList(t.Context(), tx, ref.No)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := first.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if l := h.get(ref.ID); l.State != Ready || l.Accepted != 4 {
		t.Errorf("%+v", l)
	}
	if n := h.number(`SELECT count(*) FROM rejections WHERE rule_code = 109 AND row_no = 5`); n != 1 {
		t.Error("the repeat of a row of the slice before is not noticed")
	}
}

// A commit whose answer was lost is done again: the gate lets the same slice pass, once, and no other under its number.
func TestGateStopsARepeatedSlice(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ctx := t.Context()
	ref, err := h.Submit(ctx, loader, listHeader(), strings.NewReader(goodFile))
	if err != nil {
		t.Fatal(err)
	}
	c := claim{list: ref.No, file: 1, format: "csv", size: int64(len(goodFile)), at: noon, token: "test"}
	if _, err := h.db.Exec(ctx, `UPDATE list_files SET checked_by = 'test'`); err != nil {
		t.Fatal(err)
	}
	l, key, err := h.listOf(ctx, ref.No)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *slice, 1)
	file := &sealedFile{ctx: ctx, db: h.db, key: key, list: c.list, file: 1, size: c.size}
	if _, err := h.read(ctx, l, envelope{Header: listHeader(func(x *Header) { x.Channels = []string{"sms"} })}, c, file,
		partsDone{next: 1}, out); err != nil {
		t.Fatal(err)
	}
	sl := <-out
	for range 3 {
		if err := h.admit(ctx, c, l, envelope{}, key, sl); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.number(`SELECT count(*) FROM notifications`); n != 3 {
		t.Errorf("%d notifications", n)
	}
	if got := h.get(ref.ID); got.Rows != 3 || got.Accepted != 3 {
		t.Errorf("%+v", got)
	}
	sl.digest = bytes.Repeat([]byte{1}, 16)
	if err := h.admit(ctx, c, l, envelope{}, key, sl); err == nil {
		t.Error("other content passed under the same number")
	}
}

func TestTwoProcessesCheckAListOnce(t *testing.T) {
	t.Parallel()
	a := newHub(t, func(c *Config) { c.SliceRows = 50 })
	b := hubOn(t, a.db, a.cfg.Keys, func(c *Config) { c.SliceRows = 50 })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for _, h := range []*hub{a, b} {
		go func() { done <- h.Run(ctx) }()
	}
	var lists []Ref
	for i := range 4 {
		ref, err := a.Submit(t.Context(), loader, listHeader(), strings.NewReader(strings.ReplaceAll(bigFile(300), "Синтетический", fmt.Sprint("Синтетический-", i))))
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, ref)
	}
	until(t, func() bool {
		return a.number(`SELECT count(*) FROM lists WHERE state = 'ready'`) == int64(len(lists))
	})
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := a.number(`SELECT count(*) FROM notifications`); n != 4*270 {
		t.Errorf("%d notifications", n)
	}
}

// TestSingleEventIsCheckedWhileFilesKeepEveryOtherChecker: a small workbook can unpack to a very large one, and then be read for long.
func TestSingleEventIsCheckedWhileFilesKeepEveryOtherChecker(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	files := h.cfg.Checkers + 1
	var slices atomic.Int64
	busy, release := make(chan struct{}, files), make(chan struct{})
	h.afterSlice = func(int) error {
		if slices.Add(1) <= int64(files) {
			busy <- struct{}{}
			<-release
		}
		return nil
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- h.Run(ctx) }()
	for i := range files {
		if _, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(strings.ReplaceAll(bigFile(10), "Синтетический", fmt.Sprint("Синтетический-", i)))); err != nil {
			t.Fatal(err)
		}
	}
	for range files {
		<-busy
	}
	one, err := h.SubmitJSON(t.Context(), loader, listHeader(), []InputRow{{Phone: "+79039999999", Text: "СФР: для вас есть важная информация."}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return h.get(one.ID).State == Ready })
	close(release)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func until(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited for 30 s in vain")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestNothingOfAFileLiesInTheClear(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.load(listHeader(), goodFile+"плохой;;Петрова Анна;OP-04;секретный текст;\n")
	rows, err := h.db.Query(t.Context(), `SELECT sealed FROM list_file_chunks UNION ALL SELECT sealed FROM notifications
		UNION ALL SELECT convert_to(r::text, 'UTF8') FROM rejections r UNION ALL SELECT entries FROM journal
		UNION ALL SELECT convert_to(l::text, 'UTF8') FROM lists l`)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || len(blobs) < 5 {
		t.Fatalf("%d blobs, %v", len(blobs), err)
	}
	for _, blob := range blobs {
		for _, secret := range []string{"9030000", "903 000", "445 95", "445", "Иванова", "Петрова", "выплата", "секретный"} {
			if bytes.Contains(blob, []byte(secret)) && secret != "445" {
				t.Errorf("%q lies in the clear", secret)
			}
		}
	}
}

func TestUploadBeyondTheLimitLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(c *Config) { c.Limits.FileBytes = 3 << 20 })
	_, err := h.Submit(t.Context(), loader, listHeader(), strings.NewReader(strings.Repeat("x", 4<<20)))
	wantFault(t, err, ErrTooLarge)
	_, err = h.Submit(t.Context(), loader, listHeader(), &breaking{after: 2 << 20})
	wantFault(t, err, ErrBadUpload)
	for _, table := range []string{"lists", "list_files", "list_file_chunks"} {
		if n := h.number(`SELECT count(*) FROM ` + table); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

// breaking is a sender whose connection breaks.
type breaking struct{ after int }

func (b *breaking) Read(p []byte) (int, error) {
	if b.after <= 0 {
		return 0, errors.New("connection reset")
	}
	n := min(len(p), b.after)
	b.after -= n
	return n, nil
}

func TestSweepRemovesWhatAProcessLeftWhenItDied(t *testing.T) {
	t.Parallel()
	now := noon
	h := newHub(t, func(c *Config) { c.Now = func() time.Time { return now } })
	e, template, err := h.complete(loader, listHeader())
	if err != nil {
		t.Fatal(err)
	}
	var ref Ref
	key, err := h.open(t.Context(), loader, arrival{envelope: e, template: template, kind: KindFile}, &ref)
	if err != nil {
		t.Fatal(err)
	}
	u := upload{s: h.Service, list: ref.No, file: 1, key: key, envelope: e}
	if err := u.store(t.Context(), strings.NewReader(goodFile)); err != nil {
		t.Fatal(err)
	}
	sweep := func() int64 {
		if err := h.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		return h.number(`SELECT count(*) FROM lists`)
	}
	if n := sweep(); n != 1 {
		t.Fatal("an upload under way was removed")
	}
	now = now.Add(3 * time.Hour)
	if n := sweep(); n != 0 {
		t.Fatal("a dead upload stays")
	}
}

func TestCountersFollowTheJournal(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.load(listHeader(), goodFile)
	sequencer := func() {
		t.Helper()
		if err := place(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		for {
			more, err := h.countSome(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				return
			}
		}
	}
	sequencer()
	if c := h.get(l.ID).Counts; c[dispatch.Pending] != 3 || len(c) != 1 {
		t.Fatalf("%v", c)
	}
	l = h.approve(l)
	sent := noon.Add(time.Second)
	id := func(ordinal int32) int64 { return int64(dispatch.MakeID(l.No, ordinal)) }
	step := func(kind journal.Kind, ordinal int32, from, to dispatch.State) journal.Entry {
		return journal.Entry{Kind: kind, At: sent, Agency: agency, ListNo: l.No, Notification: id(ordinal), From: from.String(), State: to.String()}
	}
	write := func(entries ...journal.Entry) {
		t.Helper()
		err := postgres.InTx(t.Context(), h.db, func(tx pgx.Tx) error {
			_, err := h.cfg.Journal.Append(t.Context(), tx, entries)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		sequencer()
	}
	write(step(journal.Attempt, 1, dispatch.Pending, dispatch.Accepted), step(journal.Attempt, 2, dispatch.Pending, dispatch.Uncertain),
		step(journal.Outcome, 3, dispatch.Pending, dispatch.Suppressed))
	got := h.get(l.ID)
	if c := got.Counts; c[dispatch.Accepted] != 1 || c[dispatch.Uncertain] != 1 || c[dispatch.Suppressed] != 1 || c[dispatch.Pending] != 0 {
		t.Fatalf("%v", c)
	}
	if !got.FirstSentAt.Equal(sent) || got.State != Running {
		t.Fatalf("%+v", got)
	}
	write(step(journal.Outcome, 1, dispatch.Accepted, dispatch.Undelivered), step(journal.Outcome, 2, dispatch.Uncertain, dispatch.Delivered))
	if got = h.get(l.ID); got.State != Completed || got.EndedAt.IsZero() {
		t.Fatalf("%+v", got)
	}
	// A late receipt changes counts, not the state.
	write(step(journal.Outcome, 1, dispatch.Undelivered, dispatch.Delivered))
	if got = h.get(l.ID); got.State != Completed || got.Counts[dispatch.Delivered] != 2 || got.Counts[dispatch.Undelivered] != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestCancellingEndsWhenNothingIsLeft(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	l := h.approve(h.load(listHeader(), goodFile))
	if _, err := h.Cancel(t.Context(), approver, l.ID, ""); err != nil {
		t.Fatal(err)
	}
	var entries []journal.Entry
	for i := range int32(3) {
		entries = append(entries, journal.Entry{Kind: journal.Outcome, At: noon, Agency: agency, ListNo: l.No, From: "pending", State: "cancelled",
			Notification: int64(dispatch.MakeID(l.No, i+1))})
	}
	count := func(entries []journal.Entry) State {
		err := postgres.InTx(t.Context(), h.db, func(tx pgx.Tx) error {
			_, err := h.cfg.Journal.Append(t.Context(), tx, entries)
			return err
		})
		if err == nil {
			err = place(t.Context(), h)
		}
		for more := true; more && err == nil; {
			more, err = h.countSome(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return h.get(l.ID).State
	}
	if st := count(entries[:2]); st != Cancelling {
		t.Fatalf("%s with a row left", st)
	}
	if st := count(entries[2:]); st != Cancelled {
		t.Fatal(st)
	}
}

// place waits until the sequencer, started by the first call, has given every entry its position.
func place(ctx context.Context, h *hub) error {
	h.sequencer.Do(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() { defer close(ended); _ = journal.NewSequencer(h.db, h.cfg.Log).Run(ctx) }()
		h.t.Cleanup(func() { cancel(); <-ended })
	})
	until(h.t, func() bool { return h.number(`SELECT count(*) FROM unplaced`) == 0 })
	return nil
}

// A store that does not answer is no fault of the file: the list is checked again, not rejected.
func TestAStoreThatFailsRejectsNoList(t *testing.T) {
	t.Parallel()
	for name, file := range map[string][]byte{
		"csv": []byte(bigFile(40_000)),
		"xlsx": book(t, func(f *excelize.File, sheet string) {
			w, err := f.NewStreamWriter(sheet)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 30_000 {
				row := []any{rand.Text(), rand.Text()}
				if i == 0 {
					row = []any{"Телефон", "Текст"}
				}
				if err := w.SetRow(fmt.Sprintf("A%d", i+1), row); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			ref, err := h.Submit(t.Context(), loader, listHeader(), bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.db.Exec(t.Context(), `UPDATE list_file_chunks SET chunk_no = 99 WHERE chunk_no = 2`); err != nil {
				t.Fatal(err)
			}
			if n := h.number(`SELECT count(*) FROM list_file_chunks WHERE chunk_no = 99`); n != 1 {
				t.Fatal("the file is too small for this test")
			}
			if _, err := h.checkNext(t.Context(), takesAny); err == nil {
				t.Error("no error")
			}
			if l := h.get(ref.ID); l.State != Checking {
				t.Errorf("the list is %s: %s", l.State, l.StateReason)
			}
		})
	}
}
