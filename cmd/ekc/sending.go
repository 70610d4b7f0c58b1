package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"ekc/journal"
	"ekc/postgres"
)

// gate says why nothing is sent, or that it may.
type gate struct {
	mu   sync.Mutex
	open bool
	why  error
}

var errNotYet = errors.New("not looked yet whether this database is the one last seen")

func (g *gate) set(open bool, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.why = open, why
}

// reason is nil while sending is allowed.
func (g *gate) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.open:
		return nil
	case g.why == nil:
		return errNotYet
	}
	return g.why
}

const (
	stateEvery  = time.Second
	behindEvery = 2 * time.Second
)

// send runs the pools as long as the database has everything the state file saw. A database that is behind, since it was restored
// or failed over, is read and never sent from until `ekc recover` (promise 11).
func (h *hub) send(ctx context.Context) error {
	var wait postgres.Backoff
	behind := false
	for ctx.Err() == nil {
		err := h.state.Compare(ctx, h.db)
		switch {
		case err == nil:
			if behind {
				h.log.Info("the database was accepted, sending begins")
			}
			behind = false
			wait.Reset()
			h.sending.set(true, nil)
			err = h.sendWatched(ctx)
			h.sending.set(false, err)
			if err != nil {
				return err
			}
		case errors.Is(err, journal.ErrBehind):
			if !behind {
				h.log.Error("nothing is sent: run `ekc recover` once it is sure that this database is the right one", "err", err)
			}
			behind = true
			h.sending.set(false, err)
			select {
			case <-ctx.Done():
			case <-time.After(behindEvery):
			}
		case postgres.IsUnavailable(err):
			h.sending.set(false, errors.New("the database does not answer"))
			_ = wait.Wait(ctx)
		case ctx.Err() == nil:
			h.sending.set(false, err)
			return err
		}
	}
	return nil
}

// sendWatched runs the pools and notes the end of the journal every second. It returns nil when ctx has ended and everything is
// drained, and also when the database turned out to be behind: then it has stopped at once.
func (h *hub) sendWatched(ctx context.Context) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- h.core.Run(sending, h.pools) }()
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			h.saveState(context.WithoutCancel(ctx))
			return err
		case <-tick.C:
			if h.saveState(ctx) {
				stop()
				return <-done
			}
		}
	}
}

// saveState reports whether the database is behind what was seen of it.
func (h *hub) saveState(ctx context.Context) (behind bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := h.state.Save(ctx, h.db)
	switch {
	case err == nil || ctx.Err() != nil || postgres.IsUnavailable(err):
		return false
	case errors.Is(err, journal.ErrBehind):
		h.log.Error("the database lost what was seen of it: sending stops", "err", err)
		return true
	}
	h.log.Error("the end of the journal could not be noted", "err", err)
	return false
}
