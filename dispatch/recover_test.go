package dispatch

import (
	"testing"
	"time"

	"ekc/journal"
)

func TestRestoredDatabaseHoldsWhatWasDueAndAPersonDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wire := newFakeWire()
	list := w.admit(admit{rows: 5, edit: func(i int, r *Row) {
		if i == 4 {
			r.NotBefore = time.Now().Add(time.Hour) // cannot have gone: it was not due
		}
	}})
	waiting := w.admit(admit{rows: 2, waiting: true})
	found, err := w.core("recover").Recover(t.Context(), []Pool{{Name: "p1", Channel: "sms", Links: []string{"l1"}}})
	if err != nil {
		t.Fatal(err)
	}
	if found.Marked != 4 || len(found.Waiting) != 1 || found.Waiting[0] != waiting {
		t.Fatalf("found %+v, want 4 marked and list %d waiting", found, waiting)
	}
	w.start("a", w.pool(wire, nil))
	later := w.admit(admit{rows: 3})
	w.awaitState(later, Delivered, 3)
	if _, sent := wire.count(); sent != 3 {
		t.Fatalf("%d messages left, want only the 3 of the list that came after the restore", sent)
	}
	office := &Office{DB: w.db, Journal: w.journal, Keyring: w.keyring, Now: time.Now}
	p := journal.Principal{Account: "duty"}
	if err := office.Settle(t.Context(), p, "0001.000001", MakeID(list, 1), DecideResend); err != nil {
		t.Fatal(err)
	}
	if err := office.Settle(t.Context(), p, "0001.000001", MakeID(list, 2), DecideSent); err != nil {
		t.Fatal(err)
	}
	if err := office.Settle(t.Context(), p, "0001.000001", MakeID(list, 2), DecideSent); err != ErrNotHeld {
		t.Errorf("deciding twice: %v, want ErrNotHeld", err)
	}
	w.awaitState(list, Delivered, 1)
	w.awaitState(list, Unconfirmed, 1)
	if n := w.int(`SELECT sequence FROM outcomes WHERE id = $1`, int64(MakeID(list, 1))); n != 3 {
		t.Errorf("sequence %d after uncertain, accepted, delivered; want 3", n)
	}
}
