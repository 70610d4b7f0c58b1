package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ekc/dispatch"
)

// long measures what must not grow with the length of lists, in one database: a list that is paused, one of another agency behind it,
// single events, and memory.
type long struct {
	admission  sample
	claims     claims
	idle, busy []time.Duration // single events: produce to submit_sm
	// Memory in bytes: a list whose receipts come, when a tenth and when all of it had ended; and one without receipts, when a tenth and
	// when all of it was accepted.
	rssTenth, rssWhole         int
	waitingTenth, waitingWhole int
}

const (
	pausedList, shortList, longList = 1, 2, 3
	firstIdle, firstBusy            = 1000, 2005 // lists of single events
)

func (b *bench) longLists(ctx context.Context) error {
	fmt.Fprintf(b.out, "long lists: %d rows paused, %d running, %d with every receipt outstanding\n", b.big, b.big, b.big)
	if err := b.database(ctx, "long"); err != nil {
		return err
	}
	l := &b.results.long
	for _, part := range []func(context.Context, *long) error{b.behindPaused, b.besideRunning, b.outstanding} {
		if err := part(ctx, l); err != nil {
			return err
		}
	}
	slices.Sort(l.idle)
	slices.Sort(l.busy)
	return nil
}

// behindPaused admits the list that stays paused, and lets a short one of another agency go out while the server explains each statement.
func (b *bench) behindPaused(ctx context.Context, l *long) error {
	smsc, addr, err := startSMSC(ctx, receiptDelay)
	if err != nil {
		return err
	}
	defer smsc.stop()
	admitting, err := startHub(ctx, b.server.Database("long"))
	if err != nil {
		return err
	}
	defer admitting.stop()
	if l.admission, err = b.stretch(ctx, admitting, b.big, order{Op: "admit", List: pausedList, Agency: "0001.000001", Lane: dispatch.LaneNormal, N: b.big, Digests: b.digests}); err != nil {
		return err
	}
	short := min(slice, b.big)
	for _, o := range []order{{Op: "start", List: pausedList}, {Op: "pause", List: pausedList},
		{Op: "admit", List: shortList, Agency: "0002.000002", Lane: dispatch.LaneNormal, N: short, Digests: b.digests}, {Op: "start", List: shortList}} {
		if _, err := admitting.do(o); err != nil {
			return err
		}
	}
	hub, err := startHub(ctx, b.server.Database("long", explaining...))
	if err != nil {
		b.noPlans = fmt.Errorf("the server cannot explain (auto_explain): %w", err)
		return nil
	}
	defer hub.stop()
	from := b.logSize()
	if err := runHub(ctx, hub, smsc, addr); err != nil {
		return err
	}
	if _, err := hub.do(order{Op: "await", N: short}); err != nil {
		return err
	}
	l.claims, err = b.claims(from)
	return err
}

// besideRunning produces single events while nothing else happens, and while a long list is going out; then lets the list end.
func (b *bench) besideRunning(ctx context.Context, l *long) error {
	smsc, addr, err := startSMSC(ctx, receiptDelay)
	if err != nil {
		return err
	}
	defer smsc.stop()
	hub, err := startHub(ctx, b.server.Database("long"))
	if err != nil {
		return err
	}
	defer hub.stop()
	if _, err := hub.do(order{Op: "admit", List: longList, Agency: "0002.000002", Lane: dispatch.LaneBulk, N: b.big, Digests: b.digests}); err != nil {
		return err
	}
	if err := runHub(ctx, hub, smsc, addr); err != nil {
		return err
	}
	a, err := hub.do(order{Op: "singles", List: firstIdle, N: b.singles, Agency: "0003.000003"})
	if err != nil {
		return err
	}
	l.idle = a.Waits
	if _, err := hub.do(order{Op: "await", N: b.singles}); err != nil {
		return err
	}
	if _, err := hub.do(order{Op: "start", List: longList}); err != nil {
		return err
	}
	if a, err = hub.do(order{Op: "await", N: b.singles + b.big/10}); err != nil {
		return err
	}
	l.rssTenth = a.RSS
	if a, err = hub.do(order{Op: "singles", List: firstBusy, N: b.singles, Agency: "0003.000003"}); err != nil {
		return err
	}
	l.busy = a.Waits
	if a, err = hub.do(order{Op: "await", N: b.big + 2*b.singles}); err != nil {
		return err
	}
	l.rssWhole = a.RSS
	return nil
}

// outstanding lets the paused list go out to an SMS centre that sends no receipt for an hour.
func (b *bench) outstanding(ctx context.Context, l *long) error {
	smsc, addr, err := startSMSC(ctx, time.Hour)
	if err != nil {
		return err
	}
	defer smsc.stop()
	hub, err := startHub(ctx, b.server.Database("long"))
	if err != nil {
		return err
	}
	defer hub.stop()
	if err := runHub(ctx, hub, smsc, addr); err != nil {
		return err
	}
	if _, err := hub.do(order{Op: "resume", List: pausedList}); err != nil {
		return err
	}
	if _, err := awaitCounts(ctx, smsc, func(c smscCounts) bool { return c.Accepted >= b.big/10 }); err != nil {
		return err
	}
	a, err := hub.do(order{Op: "usage"})
	if err != nil {
		return err
	}
	l.waitingTenth = a.RSS
	if _, err := awaitCounts(ctx, smsc, func(c smscCounts) bool { return c.Accepted >= b.big }); err != nil {
		return err
	}
	a, err = hub.do(order{Op: "await_sent", List: pausedList})
	l.waitingWhole = a.RSS
	return err
}
