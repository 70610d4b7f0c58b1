package inbound_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/inbound"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
	"ekc/smpp"
	"ekc/smpp/smpptest"
)

// hold keeps every registering transaction waiting just before its end, until released.
func (w *world) hold() (release func()) {
	w.t.Helper()
	tx, err := w.db.Begin(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), `LOCK TABLE unplaced IN ACCESS EXCLUSIVE MODE`); err != nil {
		w.t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.Background()) })
	w.t.Cleanup(release)
	return release
}

const heldTransactions = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`

func TestMessageIsAcknowledgedOnlyAfterCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	smsc := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.RedeliverIdle = time.Minute }))
	w.run()
	w.link(smsc, 1)
	release := w.hold()
	smsc.Deliver(smpptest.Incoming{From: phone(1), To: "2442", Text: "Когда будет выплата?"})
	w.await("the transaction stands before its end", func() bool { return w.int(heldTransactions) == 1 })
	if s := smsc.Stats(); s.IncomingAcked+s.IncomingRefused != 0 {
		t.Fatalf("answered before the commit: %+v", s)
	}
	// The server ends the session: nothing was stored, and the SMSC is told to offer it again.
	if n := w.int(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`); n != 1 {
		t.Fatalf("%d sessions ended", n)
	}
	w.awaitSMSC(smsc, "refused", func(s smpptest.Stats) bool { return s.IncomingRefused > 0 })
	release()
	w.awaitSMSC(smsc, "acknowledged", answered)
	if texts := w.texts(); !slices.Equal(texts, []string{"Когда будет выплата?"}) {
		t.Errorf("%q", texts)
	}
	if n := w.int(`SELECT sum(count) FROM journal WHERE kind = 'inbound.registered'`); n != 1 {
		t.Errorf("%d journal entries", n)
	}
}

func TestLostAcknowledgementMakesNoSecondMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *inbound.Config) { c.Clock = time.Now })
	smsc := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.RedeliverIdle = time.Minute }))
	w.run()
	w.link(smsc, 2)
	release := w.hold()
	smsc.Deliver(smpptest.Incoming{From: phone(1), To: "2442", Text: "Стоп"})
	smsc.Deliver(smpptest.Incoming{From: phone(2), To: "2442", Text: strings.Repeat("Где моя справка? ", 12)})
	w.await("the transaction stands before its end", func() bool { return w.int(heldTransactions) > 0 })
	smsc.DropLinks() // both responses go nowhere
	release()
	w.await("both are registered", func() bool { return w.int(`SELECT count(*) FROM inbound_messages`) == 2 })
	w.awaitSMSC(smsc, "offered again and acknowledged", answered)
	if s := smsc.Stats(); s.IncomingOffered <= s.Incoming {
		t.Fatalf("nothing was offered again: %+v", s)
	}
	if n := w.int(`SELECT count(*) FROM inbound_messages`); n != 2 {
		t.Errorf("%d messages of two", n)
	}
	if n := w.int(`SELECT count(*) FROM inbound_parts WHERE message IS NULL`); n != 0 {
		t.Errorf("%d parts wait again", n)
	}
	if n := w.int(`SELECT count(*) FROM opt_outs`); n != 1 {
		t.Errorf("%d refusals", n)
	}
}

func TestEqualWordsAreOneMessageOnlyWhenTheyComeSoon(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		start time.Duration // into the time bucket
		after time.Duration
		edit  func(*smpp.Incoming)
		want  int
	}{
		{"at once", 0, 0, nil, 1},
		{"soon", time.Minute, 4 * time.Minute, nil, 1},
		{"soon, over the edge of a bucket", 9 * time.Minute, 9 * time.Minute, nil, 1},
		{"just before the limit", 0, 10*time.Minute - time.Microsecond, nil, 1},
		{"at the limit", 0, 10 * time.Minute, nil, 2},
		{"late, in the next bucket", 0, 19 * time.Minute, nil, 2},
		{"an hour later", 0, time.Hour, nil, 2},
		{"stamped earlier by another process", 0, -time.Minute, nil, 1},
		{"another sender", 0, 0, func(m *smpp.Incoming) { m.From.Addr = phone(2) }, 2},
		{"another recipient", 0, 0, func(m *smpp.Incoming) { m.To.Addr = "2443" }, 2},
		{"another link", 0, 0, func(m *smpp.Incoming) { m.Link = "smsc-2" }, 2},
		{"another text", 0, 0, func(m *smpp.Incoming) { m.Octets = append(m.Octets, 0, '!') }, 2},
		{"another reference of one part of one", 0, 0, func(m *smpp.Incoming) { m.Concat = smpp.Concat{Ref: 7, Total: 1, Seq: 1} }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, together := range []bool{false, true} {
				w := newWorld(t, nil)
				w.run()
				first, second := message(phone(1), "Да"), message(phone(1), "Да")
				first.At = noon.Truncate(10 * time.Minute).Add(c.start)
				second.At = first.At.Add(c.after)
				if c.edit != nil {
					c.edit(&second)
				}
				if together {
					w.mustTake(first, second)
				} else {
					w.mustTake(first)
					w.mustTake(second)
				}
				if n := w.int(`SELECT count(*) FROM inbound_messages`); n != c.want {
					t.Errorf("together %t: %d messages, want %d", together, n, c.want)
				}
			}
		})
	}
}

func TestSecondStopCountsAfterTheFirstWasTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run()
	w.mustTake(message(phone(1), "СТОП"))
	p, _ := citizen.ParsePhone(phone(1))
	digests, err := w.keyring.PhoneDigests(p)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := citizen.LiftOptOuts(t.Context(), w.db, digests, citizen.AllAgencies); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	w.pass(5 * time.Minute)
	w.mustTake(message(phone(1), "СТОП"))
	if got := w.optOuts(phone(1)); len(got) != 1 || got[0].Cause != fmt.Sprint("inbound/", w.messages()[0].No) {
		t.Errorf("%d refusals hold", len(got))
	}
	if n := w.int(`SELECT sum(count) FROM journal WHERE kind = 'opt_out'`); n != 2 {
		t.Errorf("%d opt_out entries, want 2", n)
	}
}

func TestOnlyABareStopWritesAnOptOut(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"СТОП": true, "стоп": true, "STOP": true, "stop": true, "StoP": true, "CTOП": true, "CT0П": true, "«Стоп»": true, "  Стоп!!!\n": true,
		"стоп.": true, "Стоп 🙏": true, "ОТПИСАТЬСЯ": true, "нет рассылке": true, "Не  присылайте": true, "unsubscribe": true, "хватит": true,
		"СТОП пожалуйста": false, "не стоп": false, "СТОПКА": false, "СТОП СФР": false, "нет": false, "старт": false, "": false, "?": false,
		strings.Repeat(" ", 69) + "стоп" + strings.Repeat(" ", 40): true, // two segments
	}
	w := newWorld(t, nil)
	smsc := smpptest.NewServer(t)
	w.run()
	w.link(smsc, 2)
	order := make([]string, 0, len(cases))
	for text := range cases {
		order = append(order, text)
		smsc.Deliver(smpptest.Incoming{From: phone(len(order)), To: "2442", Text: text})
	}
	w.awaitSMSC(smsc, "all are acknowledged", answered)
	if n := len(w.messages()); n != len(cases) {
		t.Errorf("%d messages, want %d", n, len(cases))
	}
	stops := 0
	for i, text := range order {
		got := w.optOuts(phone(i + 1))
		if (len(got) == 1) != cases[text] {
			t.Errorf("%q: %d refusals", text, len(got))
		}
		for _, o := range got {
			stops++
			if o.Scope != citizen.AllAgencies || o.Source != citizen.OptOutBySMS || !o.Covers("0001.000001") ||
				w.int(`SELECT count(*) FROM inbound_messages WHERE kind = 'opt_out' AND 'inbound/' || no = $1`, o.Cause) != 1 {
				t.Errorf("%q: scope %s, source %s, cause %s", text, o.Scope, o.Source, o.Cause)
			}
		}
	}
	if n := w.int(`SELECT count(*) FROM opt_outs`); n != stops {
		t.Errorf("%d refusals, %d of them by these phones", n, stops)
	}
	if n := w.int(`SELECT sum(count) FROM journal WHERE kind = 'opt_out'`); n != stops {
		t.Errorf("%d opt_out entries, want %d", n, stops)
	}
}

func TestStopFromWhatIsNoRussianPhoneIsOnlyRegistered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		from  smpp.Address
		phone bool
	}{
		{"international", smpp.Address{TON: 1, NPI: 1, Addr: "79036550550"}, true},
		{"international with its plus", smpp.Address{TON: 1, NPI: 1, Addr: "+79036550550"}, true},
		{"marked international, written with 8", smpp.Address{TON: 1, NPI: 1, Addr: "89036550550"}, true},
		{"unknown type", smpp.Address{TON: 0, Addr: "79036550550"}, true},
		{"national", smpp.Address{TON: 2, NPI: 1, Addr: "9036550550"}, true},
		{"name that looks like a phone", smpp.Address{TON: 5, Addr: "79036550550"}, false},
		{"name", smpp.Address{TON: 5, Addr: "Bank"}, false},
		{"short code", smpp.Address{TON: 0, Addr: "2442"}, false},
		{"network specific", smpp.Address{TON: 3, Addr: "9036550550"}, false},
		{"German, ten digits, a code of Ryazan", smpp.Address{TON: 1, NPI: 1, Addr: "4912345678"}, false},
		{"Kazakhstan", smpp.Address{TON: 1, NPI: 1, Addr: "77011234567"}, false},
		{"none", smpp.Address{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.run()
			m := message("", "СТОП")
			m.From = c.from
			w.mustTake(m)
			got := w.messages()
			if len(got) != 1 || got[0].From != c.from || (got[0].Kind == inbound.KindOptOut) != c.phone {
				t.Fatalf("%d messages", len(got))
			}
			want := 0
			if c.phone {
				want = 1
				if len(w.optOuts("+79036550550")) != 1 {
					t.Error("no refusal")
				}
			}
			if n := w.int(`SELECT count(*) FROM opt_outs`); n != want {
				t.Errorf("%d refusals, want %d", n, want)
			}
			if n := w.int(`SELECT count(*) FROM persons_index WHERE ref_kind = 3 AND ref = $1`, got[0].No); n != want {
				t.Errorf("%d index entries, want %d", n, want)
			}
		})
	}
}

func TestEmptyAndUnreadableMessagesGetNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run()
	odd := message(phone(1), "Да")
	odd.Octets = append(odd.Octets, 0x04)
	odd.Text, odd.Exact = smpp.DecodeText(odd.Coding, odd.Octets)
	binary := message(phone(2), "")
	binary.Coding, binary.Octets = 0x04, []byte{0, 1, 0xFF}
	binary.Text, binary.Exact = smpp.DecodeText(binary.Coding, binary.Octets)
	w.mustTake(message(phone(3), ""), odd, binary)
	got := w.messages()
	if len(got) != 3 {
		t.Fatalf("%d messages", len(got))
	}
	if got[0].Text != "" || !got[0].Exact || got[0].Raw != nil {
		t.Error("the empty one is not kept as it was")
	}
	for i, m := range []smpp.Incoming{odd, binary} {
		if g := got[i+1]; g.Exact || g.Text != m.Text || len(g.Raw) != 1 || g.Raw[0].Coding != m.Coding || !slices.Equal(g.Raw[0].Octets, m.Octets) {
			t.Errorf("unreadable %d: exact %t, raw parts %d", i, g.Exact, len(g.Raw))
		}
	}
	if got[0].No == got[1].No || got[0].From.Addr != phone(3) || got[0].To.Addr != "2442" || !got[0].At.Equal(noon) || got[0].Link != "smsc-1" {
		t.Error("number, sender, recipient, time or link are not kept")
	}
	if _, err := inbound.Load(t.Context(), w.db, w.keyring, 999); !errors.Is(err, inbound.ErrNotFound) {
		t.Error(err)
	}
}

func TestJournalCommitsToTheTextByASealedSalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run()
	w.mustTake(message(phone(1), "СТОП"))
	m := w.messages()[0]
	var entries []byte
	if err := w.db.QueryRow(t.Context(), `SELECT entries FROM journal WHERE kind = 'inbound.registered'`).Scan(&entries); err != nil {
		t.Fatal(err)
	}
	e, err := journal.Decode(entries[1:]) // one entry, led by a length of one byte
	if err != nil {
		t.Fatal(err)
	}
	want := citizen.Commitment([]byte(m.Text), m.Salt)
	if !slices.Equal(e.Commitment, want[:]) || e.Get("no") != fmt.Sprint(m.No) || e.Link != "smsc-1" || e.State != "opt_out" || e.Channel != "sms" || e.Segments != 1 {
		t.Errorf("%+v", e)
	}
	if n := w.int(`SELECT count(*) FROM data_keys WHERE scope = 'inbound/2026-11'`); n != 1 {
		t.Errorf("%d data keys of the month", n)
	}
	w.pass(20 * 24 * time.Hour)
	w.mustTake(message(phone(1), "СТОП"))
	if n := w.int(`SELECT count(*) FROM data_keys`); n != 2 {
		t.Errorf("%d data keys in two months", n)
	}
}

func TestNoPhoneAndNoTextIsInClear(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	stop := w.run()
	const secret, word, half = "Прошу Калистрата Незабудкина уведомить", "Отписаться", "Половина Незабудкиной"
	w.mustTake(message("79036550550", secret), message("79036550551", word), part("79036550552", half, 9, 1, 2),
		part("79036550553", secret, 9, 1, 2), part("79036550553", half, 9, 2, 2))
	odd := message("79036550554", secret)
	odd.Octets, odd.Exact = append(odd.Octets, 4), false
	w.mustTake(odd)
	// A fault of the database must not say it either.
	if _, err := w.db.Exec(t.Context(), `ALTER TABLE opt_outs ADD CHECK (source <> 'sms') NOT VALID`); err != nil {
		t.Fatal(err)
	}
	if err := w.take(message("79036550555", "Стоп")); err == nil {
		t.Fatal("stored against the constraint")
	}
	stop()
	var dump strings.Builder
	rows, err := w.db.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		rows, err := w.db.Query(t.Context(), `SELECT t::text FROM `+pgx.Identifier{table}.Sanitize()+` t`)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&dump, table, len(lines), strings.Join(lines, "\n"))
	}
	for _, table := range []string{"inbound_messages 4", "inbound_parts 3", "persons_index 4", "opt_outs 1"} {
		if !strings.Contains(dump.String(), table) {
			t.Fatalf("no %q in the dump", table)
		}
	}
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&dump, w.log, families)
	for _, m := range w.messages() {
		fmt.Fprintf(&dump, "%v %+v %#v %v\n", m, m, m, m.Content)
	}
	lower := strings.ToLower(dump.String())
	for _, canary := range []string{"903655055", "Калистрата", "Незабудкин", "Отписаться", "Половина"} {
		var wide []byte
		for _, u := range utf16.Encode([]rune(canary)) {
			wide = append(wide, byte(u>>8), byte(u))
		}
		inner := base64.StdEncoding.EncodeToString([]byte(canary))
		for form, s := range map[string]string{"clear": canary, "hex": hex.EncodeToString([]byte(canary)), "UTF-16": hex.EncodeToString(wide),
			"base64": inner[:len(inner)/4*4-4]} {
			if strings.Contains(lower, strings.ToLower(s)) {
				t.Errorf("%s stands there in %s", canary, form)
			}
		}
	}
}

func TestDatabaseAwayAcknowledgesNothingAndComesBackAlone(t *testing.T) {
	t.Parallel()
	srv := postgrestest.Durable(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: srv.URL(), MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	w := newWorldOn(t, db, func(c *inbound.Config) { c.Clock = time.Now })
	smsc := smpptest.NewServer(t, smpptest.With(func(c *smpptest.Config) { c.RedeliverIdle = time.Minute }))
	w.run()
	w.link(smsc, 1)
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		smsc.Deliver(smpptest.Incoming{From: phone(i), To: "2442", Text: "Стоп"})
	}
	w.awaitSMSC(smsc, "each is refused", func(s smpptest.Stats) bool { return s.IncomingRefused >= 20 })
	if s := smsc.Stats(); s.IncomingAcked != 0 || s.IncomingRejected != 0 {
		t.Fatalf("acknowledged without a database: %+v", s)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.awaitSMSC(smsc, "all are acknowledged", answered)
	if n, stops := w.int(`SELECT count(*) FROM inbound_messages`), w.int(`SELECT count(*) FROM opt_outs`); n != 20 || stops != 20 {
		t.Errorf("%d messages, %d refusals, want 20 and 20", n, stops)
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *inbound.Config) { c.Queue = 500 })
	var mu sync.Mutex
	refused, stored := 0, 0
	give := func() {
		batch := make([]smpp.Incoming, 100)
		for i := range batch {
			batch[i] = message(phone(i), fmt.Sprint(&batch[i]))
			batch[i].At = w.now()
		}
		w.reg.Messages(batch, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
			} else {
				stored++
			}
		})
	}
	for range 8 {
		give() // nobody stores yet: Messages must return all the same
	}
	mu.Lock()
	if refused != 3 || stored != 0 {
		t.Errorf("%d calls refused, want 3 of 8", refused)
	}
	mu.Unlock()
	stop := w.run()
	w.await("the others are stored", func() bool { mu.Lock(); defer mu.Unlock(); return stored == 5 })
	stop()
	give()
	mu.Lock()
	defer mu.Unlock()
	if refused != 4 {
		t.Error("a call after the end is not refused")
	}
}

func TestEndAnswersWhatWasTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer := make(chan error, 1)
	w.reg.Messages([]smpp.Incoming{message(phone(1), "Да")}, func(err error) { answer <- err })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.reg.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if n := len(w.messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestOneBatchThatCannotBeStoredDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	bad := message(phone(1), "Да")
	bad.Link = "smsc\n1" // no journal entry takes it
	answers := make([]chan error, 3)
	for i, m := range []smpp.Incoming{message(phone(2), "Да"), bad, message(phone(3), "Да")} {
		answers[i] = make(chan error, 1)
		w.reg.Messages([]smpp.Incoming{m}, func(err error) { answers[i] <- err })
	}
	w.run()
	for i, a := range answers {
		if err := <-a; (err != nil) != (i == 1) {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	if n := len(w.messages()); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestMetricsStandAtZeroAndCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.wantMetrics(map[string]float64{"registered_total message": 0, "registered_total opt_out": 0, "incomplete_total": 0, "refused_total": 0})
	w.run()
	w.mustTake(message(phone(1), "Стоп"), message(phone(2), "Да"), message(phone(2), "Да"), part(phone(3), "Раз", 1, 1, 2), part(phone(4), "Раз", 1, 1, 2))
	w.pass(16 * time.Minute)
	w.mustTake(part(phone(4), "Раз", 2, 1, 2))
	w.sweep()
	w.wantMetrics(map[string]float64{"registered_total message": 3, "registered_total opt_out": 1, "incomplete_total": 2, "repeated_total": 1,
		"opt_outs_total": 1, "parts_waiting": 1, "queued": 0, "refused_total": 0})
}

// wantMetrics compares metrics, named without their prefix and with the value of their label.
func (w *world) wantMetrics(want map[string]float64) {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "ekc_inbound_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			w.t.Errorf("%s: %v (there: %t), want %v", name, v, ok, value)
		}
	}
}
