package openapi

import (
	"testing"
	"time"

	"ekc/dispatch"
)

func TestALinkIsAsItsHolderLastSaid(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(d time.Duration) *time.Time { v := now.Add(d); return &v }
	held := dispatch.PoolState{Name: "main", Channel: "sms", Holder: "a", RenewedAt: at(-time.Second)}
	lost := held
	lost.RenewedAt = at(-time.Minute)
	bound := dispatch.BindState{Name: "trx", State: "bound"}
	refused := dispatch.BindState{Name: "tx", State: "refused", Code: "ESME_RINVPASWD", Retry: time.Date(2026, 11, 23, 9, 1, 0, 0, time.UTC)}
	report := func(at *time.Time, binds ...dispatch.BindState) dispatch.LinkReport {
		return dispatch.LinkReport{Name: "smsc-1", At: at, State: dispatch.LinkState{Binds: binds}}
	}
	for name, c := range map[string]struct {
		pool                  dispatch.PoolState
		link                  dispatch.LinkReport
		state, reason, holder string
	}{
		"one of its binds is bound":    {held, report(at(-time.Second), refused, bound), "up", "", "a"},
		"refused":                      {held, report(at(-time.Second), refused), "down", "tx refused with ESME_RINVPASWD, next try at 09:01:00 UTC", "a"},
		"the holder is silent":         {held, report(at(-time.Minute), bound), "unknown", "its holder has said nothing lately", "a"},
		"the holder never spoke":       {held, report(nil), "unknown", "its holder has said nothing lately", "a"},
		"the holder has lost the pool": {lost, report(at(-time.Second), bound), "down", "no process holds its pool", ""},
		"nobody ever had it":           {dispatch.PoolState{Name: "main", Channel: "sms"}, report(nil), "down", "no process holds its pool", ""},
	} {
		l := LinkOf(c.pool, c.link, now)
		if l.State != c.state || l.Reason != c.reason || l.Holder != c.holder || l.Kind != "smsc" || l.Pool != "main" {
			t.Errorf("%s: %+v", name, l)
		}
	}
}
