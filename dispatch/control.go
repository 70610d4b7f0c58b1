package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/citizen"
)

// What may come between a claim and the wire is read again every refreshEvery. When it could not be read for staleAfter, nothing
// leaves: a stop that was committed must bite within two seconds in every process, also in one that cannot see it.
const (
	refreshEvery = 250 * time.Millisecond
	staleAfter   = 1500 * time.Millisecond
	// recentOptOuts is how far back a refresh looks; a claim checks all of them, and no attempt waits longer than half of this
	// between its claim and the wire.
	recentOptOuts = 2 * time.Minute
)

// StopScope is what a stop holds back.
type StopScope string

const (
	StopAll       StopScope = "all"
	StopAgency    StopScope = "agency"
	StopChannel   StopScope = "channel"
	StopPool      StopScope = "pool"
	StopLink      StopScope = "link"
	StopTemplate  StopScope = "template"
	StopLifeEvent StopScope = "life_event"
	StopList      StopScope = "list" // target is the list's number
)

// stopScopes lists the scopes of the contract.
func stopScopes() []StopScope {
	return []StopScope{StopAll, StopAgency, StopChannel, StopPool, StopLink, StopTemplate, StopLifeEvent, StopList}
}

type stopKey struct {
	scope  StopScope
	target string
}

// snapshot is what the holder of a pool knows of the world outside it. It is replaced whole.
type snapshot struct {
	asked   time.Time // before it was read
	stops   map[stopKey]bool
	runs    map[int32]string // states of the runs that have something claimed
	optOuts map[citizen.Digest][]string
}

// stopped says whether a stop holds the run back.
func (s *snapshot) stopped(r *run, poolName string) bool {
	_, yes := s.stoppedBy(r, poolName)
	return yes
}

// stoppedBy is the first stop that holds the run back, the widest scope first.
func (s *snapshot) stoppedBy(r *run, poolName string) (stopKey, bool) {
	if len(s.stops) == 0 {
		return stopKey{}, false
	}
	for _, k := range [...]stopKey{{StopAll, ""}, {StopAgency, r.agency}, {StopChannel, r.channel}, {StopPool, poolName},
		{StopTemplate, r.template}, {StopLifeEvent, r.lifeEvent}, {StopList, fmt.Sprint(r.listNo)}} {
		if (k.target != "" || k.scope == StopAll) && s.stops[k] {
			return k, true
		}
	}
	return stopKey{}, false
}

func (s *snapshot) optedOut(a *Attempt) bool {
	if len(s.optOuts) == 0 {
		return false
	}
	for _, d := range a.digests() {
		if optOutCovers(s.optOuts[d], a.Agency) {
			return true
		}
	}
	return false
}

func optOutCovers(scopes []string, agency string) bool {
	return slices.Contains(scopes, "all") || slices.Contains(scopes, agency)
}

// control keeps the snapshot fresh.
type control struct {
	db   *pgxpool.Pool
	busy func() []int32 // runs that have something claimed
	snap atomic.Pointer[snapshot]
}

// fresh returns the snapshot, or nil when it is too old to be trusted.
func (c *control) fresh() *snapshot {
	s := c.snap.Load()
	if s == nil {
		return nil
	}
	now := time.Now()
	if now.Sub(s.asked) > staleAfter || now.Round(0).Sub(s.asked.Round(0)) > staleAfter {
		return nil
	}
	return s
}

// keep refreshes until ctx ends. A failed refresh only lets the snapshot grow old.
func (c *control) keep(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		_ = c.refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *control) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s := &snapshot{asked: time.Now(), stops: map[stopKey]bool{}, runs: map[int32]string{}, optOuts: map[citizen.Digest][]string{}}
	var b pgx.Batch
	b.Queue(`SELECT scope, target FROM stops WHERE lifted_at IS NULL`).Query(func(rows pgx.Rows) error {
		var scope, target string
		_, err := pgx.ForEachRow(rows, []any{&scope, &target}, func() error {
			s.stops[stopKey{StopScope(scope), target}] = true
			return nil
		})
		return err
	})
	b.Queue(`SELECT id, state FROM runs WHERE id = ANY($1)`, c.busy()).Query(func(rows pgx.Rows) error {
		var id int32
		var state string
		_, err := pgx.ForEachRow(rows, []any{&id, &state}, func() error { s.runs[id] = state; return nil })
		return err
	})
	citizen.QueueRecentOptOuts(&b, recentOptOuts, func(d citizen.Digest, scope string) { s.optOuts[d] = append(s.optOuts[d], scope) })
	if err := c.db.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("refresh stops: %w", err)
	}
	c.snap.Store(s)
	return nil
}
