package dispatch

import (
	"errors"
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
