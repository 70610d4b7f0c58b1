package sms_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/dispatch/sms"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
	"ekc/smpp"
	"ekc/smpp/smpptest"
)

// hub is dispatch with one SMS pool on a real database.
type hub struct {
	t       *testing.T
	db      *pgxpool.Pool
	keyring *citizen.Keyring
	rules   dispatch.Rules
	adm     *dispatch.Admission
	core    *dispatch.Core
	inbound atomic.Int64
}

func newHub(t *testing.T) *hub {
	url := postgrestest.NewURL(t)
	open := func(pin bool) *pgxpool.Pool {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Name: "test", MaxConns: 8, PinPlans: pin})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db
	}
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	var whole citizen.Window
	for i := range whole.Weekdays {
		whole.Weekdays[i] = citizen.Hours{From: 0, To: 24 * 60}
	}
	h := &hub{t: t, db: open(false), keyring: citizen.NewKeyring(keys, 10)}
	h.rules = dispatch.Rules{Window: func(string, bool) *citizen.Window { return &whole }, GiveUp: 12 * time.Second, UncertainWait: 2 * time.Second,
		Retry: func(_ dispatch.Reason, tries int) (time.Duration, bool) { return 50 * time.Millisecond, tries < 3 }}
	routes := func(channel, _ string, _ citizen.Phone, _ bool) (string, bool) { return "p1", channel == "sms" }
	h.adm = dispatch.NewAdmission(routes)
	out := io.Discard
	if os.Getenv("EKC_TEST_LOG") != "" {
		out = os.Stderr
	}
	h.core = dispatch.New(dispatch.Config{DB: h.db, Hot: open(true), Journal: journal.NewWriter(), Keyring: h.keyring,
		Rules: func() *dispatch.Rules { return &h.rules }, Routes: routes, Process: "test", Drain: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(out, nil))})
	if err := dispatch.EnsurePool(t.Context(), h.db, "p1", "sms", []string{"smsc-1", "smsc-2"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hub) admit(no int64, phones []string, text func(i int) string) {
	h.t.Helper()
	err := postgres.InTx(h.t.Context(), h.db, func(tx pgx.Tx) error {
		key, err := h.keyring.ScopeKey(h.t.Context(), tx, fmt.Sprint("list/", no), "0001.000001")
		if err != nil {
			return err
		}
		rows := make([]*dispatch.Row, len(phones))
		for i, number := range phones {
			phone, err := citizen.ParsePhone(number)
			if err != nil {
				return err
			}
			_, n := smpp.Segments(text(i))
			rows[i] = &dispatch.Row{Ordinal: int32(i + 1), RowNo: int32(i + 1), Part: 1, ExternalID: fmt.Sprint(i), Zones: "Europe/Moscow",
				Channels: []string{"sms"}, Lane: dispatch.LaneNormal, Segments: n,
				Content: dispatch.Content{Phones: []citizen.Phone{phone}, Text: text(i)}}
			if rows[i].Digests, err = h.keyring.PersonDigests(nil, citizen.Person{}, phone); err != nil {
				return err
			}
		}
		if err := h.adm.Write(h.t.Context(), tx, dispatch.List{No: no, Agency: "0001.000001", Key: key}, rows); err != nil {
			return err
		}
		return h.adm.Start(h.t.Context(), tx, no, time.Time{})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hub) run(links ...sms.Link) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	out := io.Discard
	if os.Getenv("EKC_TEST_LOG") != "" {
		out = os.Stderr
	}
	open := sms.Open(sms.Config{Links: links, Log: slog.New(slog.NewTextHandler(out, nil)),
		Messages: func(in []smpp.Incoming, done func(error)) { h.inbound.Add(int64(len(in))); done(nil) }})
	names := []string{}
	for _, l := range links {
		names = append(names, l.SMPP.Name)
	}
	go func() {
		done <- h.core.Run(ctx, []dispatch.Pool{{Name: "p1", Channel: "sms", Links: names, Open: open}})
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
	h.t.Cleanup(stop)
	return stop
}

func smscLink(name, addr string) sms.Link {
	return sms.Link{SMPP: smpp.Config{Name: name, Addr: addr, SystemID: "ekc", Password: "secret", Window: 100, ResponseTimeout: time.Second},
		Senders: []sms.Sender{{Name: "SFR", TON: 5, NPI: 0}}, DestTON: 1, DestNPI: 1}
}

// ends waits until all rows of a list have one, and returns them by ordinal with their reasons.
func (h *hub) ends(no int64, n int) map[int]string {
	h.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		rows, err := h.db.Query(context.Background(), `SELECT id & 16777215, state, reason FROM outcomes WHERE id >> 24 = $1`, no)
		if err != nil {
			h.t.Fatal(err)
		}
		all := map[int]string{}
		var id int
		var state dispatch.State
		var reason string
		if _, err := pgx.ForEachRow(rows, []any{&id, &state, &reason}, func() error {
			all[id] = strings.TrimSuffix(state.String()+" "+reason, " ")
			return nil
		}); err != nil {
			h.t.Fatal(err)
		}
		if len(all) == n {
			return all
		}
		if time.Now().After(deadline) {
			var state string
			_ = h.db.QueryRow(context.Background(), `SELECT json_build_object('outbox', (SELECT json_agg(o) FROM outbox o), 'runs', (SELECT json_agg(json_build_object(
				'state', state, 'next_due', next_due)) FROM runs), 'leases', (SELECT json_agg(ids) FROM leases), 'attempts', (SELECT count(*) FROM attempts))`).Scan(&state)
			h.t.Fatalf("%d of %d rows have an end: %v\n%s", len(all), n, all, state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestEveryBehaviourOfAnSMSCEndsExplained sends one message to each magic number of the simulator: apart to those that break the link,
// since a broken link makes others uncertain too, and the receipt of an uncertain one is believed by its phone alone. With a window of one
// only the message that breaks the link is left without an answer: twice unanswered, it would wait for a person.
func TestEveryBehaviourOfAnSMSCEndsExplained(t *testing.T) {
	t.Parallel()
	breaks := func(b smpptest.Behaviour) bool { return b.Code >= 30 && b.Code < 40 }
	// A number that is throttled whenever it is tried holds its link back for a minute; smpp's own tests have it.
	stays := func(b smpptest.Behaviour) bool { return !breaks(b) && b.Code != smpptest.Throttled }
	t.Run("link breaks", func(t *testing.T) { t.Parallel(); testBehaviours(t, breaks, 1) })
	t.Run("link stays", func(t *testing.T) { t.Parallel(); testBehaviours(t, stays, 100) })
}

func testBehaviours(t *testing.T, pick func(smpptest.Behaviour) bool, window int) {
	h := newHub(t)
	smsc := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) {
		c.SlowResponse, c.IDFormat = 1500*time.Millisecond, smpptest.Hex
		c.LateReceipt = 2 * time.Second
	}))
	want := map[smpptest.Code]string{
		smpptest.QueueFull: "refused queue_full", smpptest.SystemError: "refused smsc_system_error",
		smpptest.InvalidDestination: "refused invalid_number", smpptest.InvalidSource: "refused invalid_sender",
		smpptest.SubmitFailed: "refused submit_failed", smpptest.Undelivered: "undelivered", smpptest.Expired: "expired",
		smpptest.Rejected: "undelivered", smpptest.Deleted: "undelivered", smpptest.Unknown: "unconfirmed no_receipt",
		smpptest.NoReceipt: "unconfirmed no_receipt",
		smpptest.Nack:      "refused smsc_system_error", smpptest.SegmentUndelivered: "undelivered", smpptest.SIMReplaced: "undelivered", smpptest.NoSuchNumber: "undelivered",
	}
	var phones []string
	table := slices.DeleteFunc(smpptest.Behaviours(), func(b smpptest.Behaviour) bool { return !pick(b) })
	for _, b := range table {
		phones = append(phones, smpptest.Number(901, b.Code))
	}
	long := strings.Repeat("СФР: проверка. ", 8)
	h.admit(1, phones, func(i int) string {
		// The simulator breaks the link once for each segment: two would leave a message unanswered twice.
		if window > 1 && (i%2 == 0 || table[i].Code == smpptest.SegmentUndelivered) {
			return long // two segments
		}
		return "СФР: проверка"
	})
	link := smscLink("smsc-1", smsc.Addr())
	link.SMPP.Window = window
	stop := h.run(link)
	ends := h.ends(1, len(table))
	for i, b := range table {
		expected, ok := want[b.Code]
		if !ok {
			expected = "delivered"
		}
		got := ends[i+1]
		if b.Code == smpptest.UndeliveredDelivered && strings.HasPrefix(got, "undelivered") {
			deadline := time.Now().Add(10 * time.Second)
			for got != "delivered" && time.Now().Before(deadline) {
				got = h.ends(1, len(table))[i+1]
			}
		}
		if got != expected && !strings.HasPrefix(got, expected+" ") {
			t.Errorf("%02d %s: %q, want %q", b.Code, b.Name, got, expected)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := smsc.Wait(ctx, func(s smpptest.Stats) bool { return s.Waiting() == 0 }); err != nil {
		t.Errorf("%d deliver_sm were never acknowledged", smsc.Stats().Waiting())
	}
	stop()
	s := smsc.Stats()
	if s.NotAdjacent != 0 {
		t.Errorf("%d segments were not adjacent", s.NotAdjacent)
	}
	t.Logf("doubles %d, receipts %d acknowledged %d, incoming %d registered %d", s.Doubles, s.Receipts, s.ReceiptsAcked, s.Incoming, h.inbound.Load())
}

// TestLinkDownIsStoodInForByTheOther loses one SMSC of the pool.
func TestLinkDownIsStoodInForByTheOther(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	one, two := smpptest.NewServer(t), smpptest.NewServer(t)
	one.Pause()
	var phones []string
	for i := range 500 {
		phones = append(phones, fmt.Sprintf("+7901%07d", i+1000))
	}
	h.run(smscLink("smsc-1", one.Addr()), smscLink("smsc-2", two.Addr()))
	h.admit(1, phones, func(int) string { return "СФР: проверка" })
	for id, end := range h.ends(1, len(phones)) {
		if end != "delivered" {
			t.Fatalf("row %d: %s", id, end)
		}
	}
	if s := two.Stats(); s.Messages == 0 || s.Doubles != 0 {
		t.Errorf("the other SMSC got %d messages and %d doubles", s.Messages, s.Doubles)
	}
}
