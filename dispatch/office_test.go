package dispatch

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"ekc/journal"
)

func TestOneNotificationIsCancelledOnlyWhileItHasNotLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 3, edit: func(i int, r *Row) {
		if i > 0 {
			r.NotBefore = time.Now().Add(time.Hour)
		}
	}})
	w.start("a", w.pool(wire, nil))
	w.awaitState(list, Delivered, 1)
	office := &Office{DB: w.db, Journal: w.journal, Keyring: w.keyring, Now: time.Now}
	p := journal.Principal{Account: "operator"}
	if err := office.Cancel(t.Context(), p, "0001.000001", MakeID(list, 2)); err != nil {
		t.Fatal(err)
	}
	for _, late := range []NotificationID{MakeID(list, 1), MakeID(list, 2), MakeID(list, 99)} {
		if err := office.Cancel(t.Context(), p, "0001.000001", late); !errors.Is(err, ErrTooLate) {
			t.Errorf("%s: %v, want ErrTooLate", late, err)
		}
	}
	// Leased: it may be on the wire.
	if _, err := w.db.Exec(t.Context(), `INSERT INTO leases (run, pool, fence, ids, first_due, first_id, last_due, last_id)
		SELECT run, 1, 99, ARRAY[id], due_at, id, due_at, id FROM outbox WHERE id = $1`, int64(MakeID(list, 3))); err != nil {
		t.Fatal(err)
	}
	if err := office.Cancel(t.Context(), p, "0001.000001", MakeID(list, 3)); !errors.Is(err, ErrTooLate) {
		t.Errorf("leased: %v, want ErrTooLate", err)
	}
	if s := w.states(list); s[Cancelled] != 1 || s[Delivered] != 1 || s[Pending] != 1 {
		t.Errorf("states %v", s)
	}
}

func TestStopsAreListedAndShowOnTheLinksTheyHoldBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := EnsurePool(t.Context(), w.db, "p2", "sms", []string{"l2"}); err != nil {
		t.Fatal(err)
	}
	office := &Office{DB: w.db, Journal: w.journal, Keyring: w.keyring, Now: time.Now}
	p := journal.Principal{Account: "engineer"}
	stopped := func() (names []string) {
		pools, err := office.Pools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, pool := range pools {
			for _, l := range pool.Links {
				if l.Stopped {
					names = append(names, l.Name)
				}
			}
		}
		return names
	}
	var last int64
	for _, c := range []struct {
		scope  StopScope
		target string
		want   string
	}{
		{StopAll, "", "[l1 l2]"}, {StopChannel, "sms", "[l1 l2]"}, {StopPool, "p2", "[l2]"}, {StopLink, "l1", "[l1]"},
		{StopChannel, "voice", "[]"}, {StopAgency, "p1", "[]"}, {StopList, "1", "[]"},
	} {
		id, err := office.SetStop(t.Context(), p, c.scope, c.target, "проверка")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(stopped()); got != c.want {
			t.Errorf("a stop of %s %s shows on %s, want %s", c.scope, c.target, got, c.want)
		}
		if err := office.LiftStop(t.Context(), p, id); err != nil {
			t.Fatal(err)
		}
		if got := stopped(); got != nil {
			t.Errorf("after the stop of %s %s was lifted: %v", c.scope, c.target, got)
		}
		last = id
	}
	if _, err := office.SetStop(t.Context(), p, StopAll, "", "ночь"); err != nil {
		t.Fatal(err)
	}
	inForce, err := office.Stops(t.Context(), 0, false, 10)
	if err != nil || len(inForce) != 1 || inForce[0].Reason != "ночь" || inForce[0].LiftedAt != nil {
		t.Errorf("in force: %+v, %v", inForce, err)
	}
	page, err := office.Stops(t.Context(), last+1, true, 2)
	if err != nil || len(page) != 2 || page[0].ID != last || page[0].LiftedBy != "engineer" || page[1].ID >= last {
		t.Errorf("lifted ones: %+v, %v", page, err)
	}
}
