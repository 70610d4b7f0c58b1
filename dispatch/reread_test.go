package dispatch

import (
	"testing"
	"time"
)

// TestARowRecordedWhileTheOutboxIsReadIsNotTakenAgain: a snapshot taken before the recording commit shows a row that is no longer in hand.
func TestARowRecordedWhileTheOutboxIsReadIsNotTakenAgain(t *testing.T) {
	t.Parallel()
	r := &run{id: 1, claimed: 1}
	c := &claimed{id: MakeID(1, 1), run: r.id}
	d := &desk{runs: map[int32]*run{r.id: r}, inHand: map[NotificationID]*claimed{c.id: c}, gone: map[NotificationID]struct{}{}, now: time.Now}
	d.taking++
	d.forget(c, false)
	asked := map[int32]*pick{r.id: {run: r, limit: 10, fromHead: true}}
	if again := d.keepNew([]*claimed{{id: c.id, run: r.id}}, asked); len(again) != 0 {
		t.Error("the row would be sent a second time")
	}
	if d.taken(); len(d.gone) != 0 {
		t.Errorf("%d rows are remembered although nothing is being read", len(d.gone))
	}
}
