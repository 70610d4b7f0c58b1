package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/dispatch/sms"
	"ekc/journal"
	"ekc/postgres"
)

const (
	poolName = "sms"
	linkName = "smsc-1"
	sender   = "SFR"
	slice    = 10_000 // rows of one admitting transaction
)

// hubRole is the hub without its doors: admission, the journal's sequencer, and dispatch with one SMS link.
type hubRole struct {
	keyring *citizen.Keyring
	db, hot *pgxpool.Pool
	adm     *dispatch.Admission
	metrics *dispatch.Metrics
	core    *dispatch.Core
	stop    context.CancelFunc
	running chan error
}

func (h *hubRole) perform(o order) (a answer, err error) {
	ctx := context.Background()
	switch o.Op {
	case "open":
		return a, h.open(ctx, o.URL)
	case "run":
		return a, h.run(ctx, o.Addr)
	case "admit":
		return a, h.admit(ctx, o)
	case "admit made":
		a.Seconds, err = h.admitMade(ctx, o)
		return a, err
	case "start", "pause", "resume":
		return a, h.move(ctx, o.Op, o.List)
	case "ends":
		a.N, err = h.ends()
		return a, err
	case "await": // until as many notifications have ended
		return a, h.await(func() (bool, error) {
			n, err := h.ends()
			return n >= o.N, err
		})
	case "await_sent": // until nothing of the list waits any more
		return a, h.await(func() (gone bool, err error) {
			err = h.db.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM outbox WHERE run IN (SELECT id FROM runs WHERE list_no = $1))`, o.List).Scan(&gone)
			return gone, err
		})
	case "singles":
		a.Waits, err = h.singles(ctx, o)
		return a, err
	case "usage":
		return a, nil
	case "profile":
		f, err := os.Create(o.File)
		if err != nil {
			return a, err
		}
		return a, pprof.StartCPUProfile(f)
	case "profiled":
		pprof.StopCPUProfile()
		f, err := os.Create(o.File + ".allocs")
		if err != nil {
			return a, err
		}
		defer f.Close()
		return a, pprof.Lookup("allocs").WriteTo(f, 0)
	}
	return a, errors.New("no such order")
}

func (h *hubRole) end() {
	if h.stop != nil {
		h.stop()
		if err := <-h.running; err != nil {
			fmt.Fprintln(os.Stderr, "hub:", err)
		}
	}
	if h.db != nil {
		h.hot.Close()
		h.db.Close()
	}
}

func (h *hubRole) open(ctx context.Context, url string) error {
	var err error
	if h.db, err = postgres.Open(ctx, postgres.Config{URL: url, Name: "bench"}); err != nil {
		return err
	}
	if h.hot, err = postgres.Open(ctx, postgres.Config{URL: url, Name: "bench hot", MaxConns: 8, PinPlans: true}); err != nil {
		return err
	}
	keys, err := citizen.LoadKeyset(os.Getenv(keysetVariable))
	if err != nil {
		return err
	}
	h.keyring = citizen.NewKeyring(keys, 100)
	h.adm = dispatch.NewAdmission(routes)
	return dispatch.EnsurePool(ctx, h.db, poolName, "sms", []string{linkName})
}

func routes(channel, _ string, _ citizen.Phone, _ bool) (string, bool) {
	return poolName, channel == "sms"
}

// run starts dispatch and returns when it holds its pool.
func (h *hubRole) run(ctx context.Context, addr string) error {
	var always citizen.Window
	for i := range always.Weekdays {
		always.Weekdays[i] = citizen.Hours{From: 0, To: 24 * 60}
	}
	rules := &dispatch.Rules{Window: func(string, bool) *citizen.Window { return &always }, PerDay: map[string]int{"sms": 3},
		GiveUp: 72 * time.Hour, UncertainWait: time.Minute,
		Retry: func(_ dispatch.Reason, tries int) (time.Duration, bool) { return time.Second, tries < 3 }}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h.metrics = dispatch.NewMetrics(prometheus.NewRegistry())
	dispatch.EaseCollector() // as serve does
	h.core = dispatch.New(dispatch.Config{DB: h.db, Hot: h.hot, Journal: journal.NewWriter(), Keyring: h.keyring,
		Rules: func() *dispatch.Rules { return rules }, Routes: routes, Process: fmt.Sprint("bench ", os.Getpid()), Log: log, Metrics: h.metrics})
	open := sms.Open(sms.Config{Log: log, Links: []sms.Link{{SMPP: linkConfig(addr), Senders: []sms.Sender{{Name: sender, TON: 5}}, DestTON: 1, DestNPI: 1}}})
	ctx, h.stop = context.WithCancel(ctx)
	h.running = make(chan error, 1)
	var g errgroup.Group
	g.Go(func() error { return journal.NewSequencer(h.db, log).Run(ctx) })
	g.Go(func() error {
		return h.core.Run(ctx, []dispatch.Pool{{Name: poolName, Channel: "sms", Links: []string{linkName}, Open: open}})
	})
	go func() { h.running <- g.Wait() }()
	return h.await(func() (bool, error) { return h.core.Holding()[poolName], nil })
}

// patience is how long nothing may change for before a run is given up.
const patience = 10 * time.Minute

func (h *hubRole) await(done func() (bool, error)) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("not done after %v", patience)
		case <-tick.C:
		}
	}
}

// ends is how many notifications this process has ended.
func (h *hubRole) ends() (int, error) {
	ch := make(chan prometheus.Metric, 64)
	h.metrics.Ends.Collect(ch)
	close(ch)
	var n float64
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			return 0, err
		}
		n += d.GetCounter().GetValue()
	}
	return int(n), nil
}

// admit writes the rows of a list, two slices at once and a third made meanwhile, as ingest does.
func (h *hubRole) admit(ctx context.Context, o order) error {
	g, ctx := errgroup.WithContext(ctx)
	slices := make(chan []*dispatch.Row, 1)
	g.Go(func() error {
		defer close(slices)
		return h.rows(o, func(rows []*dispatch.Row) error {
			select {
			case slices <- rows:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	g.Go(func() error { return h.writeAll(ctx, o, slices) })
	return g.Wait()
}

// admitMade writes the rows of a list as if they came from nowhere, with verdicts and digests; it returns how long that took.
func (h *hubRole) admitMade(ctx context.Context, o order) (seconds float64, err error) {
	made := make(chan []*dispatch.Row, o.N/slice+1)
	if err := h.rows(o, func(rows []*dispatch.Row) error { made <- rows; return nil }); err != nil {
		return 0, err
	}
	close(made)
	began := time.Now()
	err = h.writeAll(ctx, o, made)
	return time.Since(began).Seconds(), err
}

// rows makes the rows of a list, slice by slice.
func (h *hubRole) rows(o order, take func([]*dispatch.Row) error) error {
	for from := 1; from <= o.N; from += slice {
		rows := make([]*dispatch.Row, 0, slice)
		for i := from; i < from+slice && i <= o.N; i++ {
			row, err := h.row(o, i)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		if err := take(rows); err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes two slices at once, as ingest does.
func (h *hubRole) writeAll(ctx context.Context, o order, slices <-chan []*dispatch.Row) error {
	g, ctx := errgroup.WithContext(ctx)
	for range 2 {
		g.Go(func() error {
			for rows := range slices {
				if err := h.write(ctx, o, rows); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// write admits rows of a list in one transaction.
func (h *hubRole) write(ctx context.Context, o order, rows []*dispatch.Row) error {
	key, err := h.keyring.ScopeKey(ctx, h.db, fmt.Sprint("list/", o.List), o.Agency)
	if err != nil {
		return err
	}
	list := dispatch.List{No: o.List, Agency: o.Agency, Key: key}
	if err := h.adm.MakeRuns(ctx, h.db, list, rows); err != nil {
		return err
	}
	return postgres.InTx(ctx, h.db, func(tx pgx.Tx) error { return h.adm.Write(ctx, tx, list, rows) })
}

func (h *hubRole) row(o order, i int) (row *dispatch.Row, err error) {
	phone, err := citizen.ParsePhone("+" + number(o.List, i))
	if err != nil {
		return row, err
	}
	// Numbers up to 001-001-998 carry no control number.
	snils, _, err := citizen.ParseSNILS(digits("00000000000", 100*(1+i%1_000_000)))
	if err != nil {
		return row, err
	}
	person := citizen.Person{Family: "Образцова", First: "Мария", Patronymic: "Ивановна", SNILS: snils,
		BirthDate: citizen.BirthDate{Year: 1950 + i%60, Month: time.Month(1 + i%12), Day: 1 + i%28}}
	row = &dispatch.Row{Ordinal: int32(i), RowNo: int32(i), Part: int32(1 + i/1000), ExternalID: digits("00000000", i), Zones: "Europe/Moscow",
		Channels: []string{"sms"}, Lane: o.Lane, Segments: 1, LifeEvent: "benefit", Template: "benefit_paid",
		Content: dispatch.Content{Phones: []citizen.Phone{phone}, Text: text, Person: person}}
	indexed := citizen.Person{}
	if o.Digests > 1 {
		indexed = person
	}
	row.Digests, err = h.keyring.PersonDigests(nil, indexed, phone)
	if err != nil || o.Digests < everyDigest {
		return row, err
	}
	same, err := h.keyring.Digest("bench", row.ExternalID)
	row.Digests = append(row.Digests, same)
	return row, err
}

// number is a mobile number that no other row has and no behaviour of the simulator.
func number(list int64, i int) string {
	n := []byte("79100000000")
	n[3] += byte(list % 10)
	return digits(string(n), 1_000_000+i)
}

// digits adds n to the last of the zeros that s ends in. Rows are made while they are admitted: fmt would take a tenth of that.
func digits(s string, n int) string {
	b := []byte(s)
	for k := len(b) - 1; n > 0; k, n = k-1, n/10 {
		b[k] += byte(n % 10)
	}
	return string(b)
}

func (h *hubRole) move(ctx context.Context, to string, list int64) error {
	return postgres.InTx(ctx, h.db, func(tx pgx.Tx) error {
		switch to {
		case "start":
			return h.adm.Start(ctx, tx, list, time.Time{})
		case "pause":
			return h.adm.Pause(ctx, tx, list)
		default:
			return h.adm.Resume(ctx, tx, list)
		}
	})
}

// singlesEvery is the time between two single events.
const singlesEvery = 20 * time.Millisecond

// firstSingle keeps the numbers of single events apart from those of lists.
const firstSingle = 5_000_000

// singles produces events one after another, each a list of one row from o.List on, sealed, inserted and started in one transaction,
// and says how long each took from before that to its submit_sm.
func (h *hubRole) singles(ctx context.Context, o order) ([]time.Duration, error) {
	began := make(map[int64]time.Time, o.N)
	tick := time.NewTicker(singlesEvery)
	defer tick.Stop()
	first := o.List
	o.Lane = dispatch.LaneSingle
	for i := range o.N {
		<-tick.C
		at := time.Now()
		o.List = first + int64(i)
		err := postgres.InTx(ctx, h.db, func(tx pgx.Tx) error {
			key, err := h.keyring.ScopeKey(ctx, tx, fmt.Sprint("express/", o.Agency), o.Agency)
			if err != nil {
				return err
			}
			row, err := h.row(o, firstSingle+int(o.List))
			if err != nil {
				return err
			}
			if err := h.adm.Write(ctx, tx, dispatch.List{No: o.List, Agency: o.Agency, Key: key}, []*dispatch.Row{row}); err != nil {
				return err
			}
			return h.adm.Start(ctx, tx, o.List, time.Time{})
		})
		if err != nil {
			return nil, err
		}
		began[o.List] = at
	}
	var waits []time.Duration
	err := h.await(func() (bool, error) {
		waits = waits[:0]
		rows, err := h.db.Query(ctx, `SELECT notification, min(at) FROM attempts WHERE notification >= $1 AND notification < $2 GROUP BY 1`,
			int64(dispatch.MakeID(first, 0)), int64(dispatch.MakeID(first+int64(o.N), 0)))
		if err != nil {
			return false, err
		}
		var id dispatch.NotificationID
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{(*int64)(&id), &at}, func() error {
			waits = append(waits, at.Sub(began[id.List()]))
			return nil
		})
		return len(waits) == o.N, err
	})
	return waits, err
}
