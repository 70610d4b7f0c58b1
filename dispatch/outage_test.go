package dispatch

import (
	"context"
	"sync"
	"testing"
	"time"

	"ekc/citizen"
	"ekc/journal"
	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

// newWorldOn is newWorld on a server of the test's own.
func newWorldOn(t *testing.T, url string) *world {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Name: "test", MaxConns: 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	keys, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, url: url, keyring: citizen.NewKeyring(keys, 100), journal: journal.NewWriter(), rules: Rules{
		Window: alwaysOpen, GiveUp: time.Hour, UncertainWait: 100 * time.Millisecond,
		Retry: func(_ Reason, tries int) (time.Duration, bool) { return 10 * time.Millisecond, tries < 5 },
	}}
	w.adm = NewAdmission(w.routes)
	if err := EnsurePool(t.Context(), db, "p1", "sms", []string{"l1"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDatabaseKilledMidRunLosesNothingAndWorkResumesAlone(t *testing.T) {
	t.Parallel()
	const rows, unrecorded = 3000, 400
	for _, c := range []struct {
		name string
		away time.Duration
	}{{"for a moment", time.Second}, {"for longer than the right to write", writeFor + 2*time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := postgrestest.Durable(t)
			w := newWorldOn(t, srv.URL())
			wire := newFakeWire()
			list := w.admit(admit{rows: rows})
			var mu sync.Mutex
			possible := 0
			var desk Desk
			p := w.pool(wire, func(a *Attempt) Result {
				mu.Lock()
				if a.Possible {
					possible++
				}
				mu.Unlock()
				id := wire.take(a.To)
				time.Sleep(time.Millisecond / 2)
				desk.Receipts([]Receipt{{Link: "l1", MessageID: id, State: AttemptDelivered, To: a.To}}, func(error) {})
				return accepted(a, id)
			})
			p.Unrecorded = unrecorded
			open := p.Open
			p.Open = func(d Desk) Channel { desk = d; return open(d) }
			w.start("a", p)
			w.await("a third is sent", func() bool { _, n := wire.count(); return n > rows/3 })
			if err := srv.Kill(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.away) // the outage itself
			_, before := wire.count()
			time.Sleep(200 * time.Millisecond)
			if _, n := wire.count(); n != before {
				t.Errorf("%d messages left without a database", n-before)
			}
			if err := srv.Restart(context.Background()); err != nil {
				t.Fatal(err)
			}
			back := time.Now()
			w.await("everybody is told", func() bool {
				var n int
				err := w.db.QueryRow(context.Background(), `SELECT count(*) FROM outcomes WHERE state = 10`).Scan(&n)
				return err == nil && n == rows
			})
			if s := w.states(list); s[Delivered] != rows {
				t.Errorf("states %v, want all delivered", s)
			}
			phones, sent := wire.count()
			t.Logf("all told %s after the database was back; %d of %d left twice, %d attempts were marked", time.Since(back).Round(time.Millisecond), sent-phones, rows, possible)
			if phones != rows {
				t.Errorf("%d phones were told, want %d", phones, rows)
			}
			mu.Lock()
			defer mu.Unlock()
			if sent-phones > unrecorded || sent-phones > possible {
				t.Errorf("%d left twice, %d of them marked; at most %d may, and all marked", sent-phones, possible, unrecorded)
			}
			w.await("outbox and leases are empty", func() bool {
				return w.int(`SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM leases)`) == 0
			})
			if n := w.int(`SELECT count(*) FROM (SELECT FROM attempts WHERE state = 4 GROUP BY message_id HAVING count(*) > 1) x`); n != 0 {
				t.Errorf("%d attempts were written down twice", n)
			}
		})
	}
}
