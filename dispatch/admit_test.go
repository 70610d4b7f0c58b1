package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/postgres"
)

// Slices of a list are written at once, and the second is not committed before the first: waited it for the first in the database too, or
// the first for it, neither would ever go on.
func TestRowsOfAWaitingListAreWrittenSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := w.admit(admit{rows: 1, lane: LaneBulk, waiting: true})
	key, err := w.keyring.ScopeKey(t.Context(), w.db, fmt.Sprint("list/", no), "0001.000001")
	if err != nil {
		t.Fatal(err)
	}
	list := List{No: no, Agency: "0001.000001", Key: key}
	row := func(i int) *Row {
		return &Row{Ordinal: int32(i + 1), RowNo: int32(i + 2), Part: 1, ExternalID: fmt.Sprint("x", i), Zones: "Europe/Moscow", Channels: []string{"sms"},
			Lane: LaneBulk, Segments: 1, Content: Content{Phones: []citizen.Phone{phoneOf(no, i)}, Text: "СФР: проверка"}}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // less than the time limit of a lock
	defer cancel()
	err = postgres.InTx(ctx, w.db, func(first pgx.Tx) error {
		if err := w.adm.Write(ctx, first, list, []*Row{row(1)}); err != nil {
			return err
		}
		// As one does who looked for the run before it was there.
		place, err := w.adm.place(list, row(2))
		if err != nil {
			return err
		}
		if _, err := w.db.Exec(ctx, makeRunSQL, runArgs(place, list, row(2))); err != nil {
			return err
		}
		return postgres.InTx(ctx, w.db, func(second pgx.Tx) error { return w.adm.Write(ctx, second, list, []*Row{row(2)}) })
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := w.int(`SELECT count(DISTINCT run) FROM outbox`); n != 1 {
		t.Errorf("the rows are in %d runs", n)
	}
}
