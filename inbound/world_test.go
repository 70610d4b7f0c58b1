package inbound_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"ekc/citizen"
	"ekc/inbound"
	"ekc/journal"
	"ekc/postgres/postgrestest"
	"ekc/smpp"
	"ekc/smpp/smpptest"
)

// noon is where the clock of a world stands: in the middle of a month.
var noon = time.Date(2026, 11, 16, 12, 0, 0, 0, time.UTC)

// world is a register on a database of its own. Its clock stands still but for what a test adds, and is that of messages too.
type world struct {
	t       testing.TB
	db      *pgxpool.Pool
	keyring *citizen.Keyring
	reg     *inbound.Register
	metrics *prometheus.Registry
	log     *syncBuffer
	ahead   atomic.Int64
}

func newWorld(t testing.TB, change func(*inbound.Config)) *world {
	return newWorldOn(t, postgrestest.New(t), change)
}

func newWorldOn(t testing.TB, db *pgxpool.Pool, change func(*inbound.Config)) *world {
	t.Helper()
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, keyring: citizen.NewKeyring(keys, 10), log: &syncBuffer{}}
	w.again(change)
	return w
}

// again makes a new register on the same database, as a restart does.
func (w *world) again(change func(*inbound.Config)) {
	w.metrics = prometheus.NewRegistry()
	cfg := inbound.Config{DB: w.db, Keyring: w.keyring, Journal: journal.NewWriter(), Clock: w.now, Metrics: w.metrics,
		Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	w.reg = inbound.NewRegister(cfg)
}

func (w *world) now() time.Time { return noon.Add(time.Duration(w.ahead.Load())) }

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// run runs the register until stop, or the end of the test.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	reg := w.reg
	go func() { done <- reg.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// take hands over one batch and waits for its answer; the messages come now unless they say otherwise.
func (w *world) take(batch ...smpp.Incoming) error {
	for i := range batch {
		if batch[i].At.IsZero() {
			batch[i].At = w.now()
		}
	}
	answer := make(chan error, 1)
	w.reg.Messages(batch, func(err error) { answer <- err })
	select {
	case err := <-answer:
		return err
	case <-time.After(30 * time.Second):
		return errors.New("no answer")
	}
}

func (w *world) mustTake(batch ...smpp.Incoming) {
	w.t.Helper()
	if err := w.take(batch...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sweep() {
	w.t.Helper()
	if err := w.reg.Sweep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) int(sql string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// messages are all that is registered, in the order of their numbers.
func (w *world) messages() []inbound.Message {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), `SELECT no FROM inbound_messages ORDER BY no`)
	if err != nil {
		w.t.Fatal(err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		w.t.Fatal(err)
	}
	var all []inbound.Message
	for _, no := range numbers {
		m, err := inbound.Load(context.Background(), w.db, w.keyring, no)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func (w *world) texts() []string {
	var texts []string
	for _, m := range w.messages() {
		texts = append(texts, m.Text)
	}
	return texts
}

func (w *world) optOuts(phone string) []citizen.OptOut {
	w.t.Helper()
	p, err := citizen.ParsePhone(phone)
	if err != nil {
		w.t.Fatal(err)
	}
	digests, err := w.keyring.PhoneDigests(p)
	if err != nil {
		w.t.Fatal(err)
	}
	found, err := citizen.OptOutsOf(context.Background(), w.db, digests)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s\n%s", what, w.log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// link binds the register to an SMS centre.
func (w *world) link(smsc *smpptest.Server, binds int) {
	link := smpp.NewLink(smpp.Config{Name: "smsc-1", Addr: smsc.Addr(), SystemID: "ekc", Password: "secret", Binds: binds},
		smpp.Handlers{Messages: w.reg.Messages}, slog.New(slog.NewTextHandler(w.log, nil)), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- link.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.awaitSMSC(smsc, "binds are up", func(s smpptest.Stats) bool { return s.LinksOpen == binds })
}

func (w *world) awaitSMSC(smsc *smpptest.Server, what string, ok func(smpptest.Stats) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := smsc.Wait(ctx, ok); err != nil {
		w.t.Fatalf("never: %s: %+v\n%s", what, smsc.Stats(), w.log)
	}
}

func answered(s smpptest.Stats) bool { return s.Incoming > 0 && s.Waiting() == 0 }

// message is a whole SMS as a link gives it.
func message(from, text string) smpp.Incoming {
	return in(from, text, smpp.Concat{})
}

func in(from, text string, place smpp.Concat) smpp.Incoming {
	var octets []byte
	for _, r := range text { // the basic plane is enough here
		octets = append(octets, byte(r>>8), byte(r))
	}
	m := smpp.Incoming{Link: "smsc-1", From: smpp.Address{TON: 1, NPI: 1, Addr: from}, To: smpp.Address{NPI: 1, Addr: "2442"},
		Coding: smpp.CodingUCS2, Octets: octets, Concat: place}
	m.Text, m.Exact = smpp.DecodeText(m.Coding, m.Octets)
	return m
}

func part(from, text string, ref uint16, seq, total uint8) smpp.Incoming {
	return in(from, text, smpp.Concat{Ref: ref, Seq: seq, Total: total})
}

func phone(i int) string { return fmt.Sprintf("7901%07d", i) }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
