package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ekc/dispatch"
	"ekc/postgres/measure"
)

// receiptDelay is how long after submit_sm the SMS centre sends the receipt.
const receiptDelay = 300 * time.Millisecond

// sample is one measured way of one round.
type sample struct {
	rate    float64 // messages a second
	app, pg float64 // CPU, milliseconds per 1,000 messages
	wal     float64 // bytes a message
	rss     int     // bytes at the end
}

// everyDigest is what a row of a list has in the persons index: phone, SNILS, name with birth date, what makes two rows the same.
const everyDigest = 4

// round is one interleaved round. All rates but Kannel's run until the last receipt is answered, its delay included.
type round struct {
	goSMPP, link, kannel               sample
	admission, sent                    sample  // of the hub: list to database; database to receipts committed
	written, writtenWhole              float64 // admitted rows a second, made before: with one digest, with every
	limitHeap, limitCopy, limitCommits float64
}

// interleave measures everything once a round, so that a neighbour's load falls on all alike.
func (b *bench) interleave(ctx context.Context) error {
	for i := range b.rounds {
		var r round
		var err error
		if r.goSMPP, err = b.wireRound(ctx, "go-smpp"); err != nil {
			return err
		}
		if r.link, err = b.wireRound(ctx, "link"); err != nil {
			return err
		}
		if err := b.hubRound(ctx, i, &r); err != nil {
			return err
		}
		if r.written, err = b.writing(ctx, i, 1); err != nil {
			return err
		}
		if r.writtenWhole, err = b.writing(ctx, i, everyDigest); err != nil {
			return err
		}
		if r.limitHeap, err = b.limitHeap(ctx, b.rows, min(slice, b.rows)); err != nil {
			return err
		}
		if r.limitCopy, err = b.limit(ctx, b.rows, min(slice, b.rows), limitSealed); err != nil {
			return err
		}
		if r.limitCommits, err = b.limit(ctx, b.rows, min(limitBatch, b.rows), limitRow); err != nil {
			return err
		}
		if b.kannel > 0 && b.noKannel == nil {
			if r.kannel, err = b.kannelRound(ctx); errors.Is(err, errNoKannel) {
				b.noKannel = err
			} else if err != nil {
				return err
			}
		}
		b.measured = append(b.measured, r)
		fmt.Fprintf(b.out, "round %d: wire %.0f (go-smpp's pdu) %.0f (ours), hub %.0f, with admission %.0f, Kannel %.0f msg/s; load %s\n", i+1,
			r.goSMPP.rate, r.link.rate, r.sent.rate, r.endToEnd(), r.kannel.rate, measure.Load())
	}
	return nil
}

func startSMSC(ctx context.Context, receipts time.Duration) (*child, string, error) {
	smsc, err := startChild(ctx, "smsc")
	if err != nil {
		return nil, "", err
	}
	a, err := smsc.do(order{Op: "listen", Delay: receipts})
	if err != nil {
		smsc.stop()
		return nil, "", err
	}
	return smsc, a.Addr, nil
}

func awaitCounts(ctx context.Context, smsc *child, done func(smscCounts) bool) (smscCounts, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := smsc.do(order{Op: "counts"})
		if err != nil || done(a.SMSC) {
			return a.SMSC, err
		}
		select {
		case <-ctx.Done():
			return a.SMSC, ctx.Err()
		case <-tick.C:
		}
	}
}

func (b *bench) wireRound(ctx context.Context, way string) (r sample, err error) {
	smsc, addr, err := startSMSC(ctx, receiptDelay)
	if err != nil {
		return r, err
	}
	defer smsc.stop()
	client, err := startChild(ctx, "wire")
	if err != nil {
		return r, err
	}
	defer client.stop()
	a, err := client.do(order{Op: way, Addr: addr, N: b.rows})
	r.rate, r.app, r.rss = float64(b.rows)/a.Seconds, a.CPU/float64(b.rows)*1e6, a.RSS
	return r, err
}

// startHub starts the hub on a database; dispatch does not run yet.
func startHub(ctx context.Context, url string) (*child, error) {
	hub, err := startChild(ctx, "hub")
	if err != nil {
		return nil, err
	}
	if _, err = hub.do(order{Op: "open", URL: url}); err != nil {
		hub.stop()
		return nil, err
	}
	return hub, nil
}

// stretch performs an order of the hub and measures it per row.
func (b *bench) stretch(ctx context.Context, hub *child, rows int, orders ...order) (r sample, err error) {
	before, err := b.usage(ctx)
	if err != nil {
		return r, err
	}
	began, err := hub.do(order{Op: "usage"})
	if err != nil {
		return r, err
	}
	var last answer
	seconds := 0.0
	for _, o := range orders {
		if last, err = hub.do(o); err != nil {
			return r, err
		}
		seconds += last.Seconds
	}
	after, err := b.usage(ctx)
	n := float64(rows)
	return sample{rate: n / seconds, app: (last.CPU - began.CPU) / n * 1e6, pg: (after.cpu - before.cpu) / n * 1e6,
		wal: (after.wal - before.wal) / n, rss: last.RSS}, err
}

func (b *bench) hubRound(ctx context.Context, no int, r *round) error {
	name := fmt.Sprintf("round%d", no)
	if err := b.database(ctx, name); err != nil {
		return err
	}
	smsc, addr, err := startSMSC(ctx, receiptDelay)
	if err != nil {
		return err
	}
	defer smsc.stop()
	hub, err := startHub(ctx, b.server.Database(name))
	if err != nil {
		return err
	}
	defer hub.stop()
	profile := func(op, what string) {
		if b.profile != "" {
			_, _ = hub.do(order{Op: op, File: filepath.Join(b.profile, fmt.Sprintf("%s%d.pprof", what, no))})
		}
	}
	profile("profile", "admission")
	if r.admission, err = b.stretch(ctx, hub, b.rows, order{Op: "admit", List: 1, Agency: "0001.000001", Lane: dispatch.LaneBulk, N: b.rows, Digests: b.digests}); err != nil {
		return err
	}
	profile("profiled", "admission")
	if err := runHub(ctx, hub, smsc, addr); err != nil {
		return err
	}
	profile("profile", "dispatch")
	if r.sent, err = b.stretch(ctx, hub, b.rows, order{Op: "start", List: 1}, order{Op: "await", N: b.rows}); err != nil {
		return err
	}
	profile("profiled", "dispatch")
	a, err := smsc.do(order{Op: "counts"})
	if err == nil && (a.SMSC.Accepted != b.rows || a.SMSC.Doubles > 0) {
		err = fmt.Errorf("the SMS centre has %d messages of %d and %d doubles", a.SMSC.Accepted, b.rows, a.SMSC.Doubles)
	}
	return err
}

// writing is how many admitted rows a second the database takes, with so many digests each.
func (b *bench) writing(ctx context.Context, no, digests int) (perSecond float64, err error) {
	name := fmt.Sprintf("written%d_%d", no, digests)
	if err := b.database(ctx, name); err != nil {
		return 0, err
	}
	hub, err := startHub(ctx, b.server.Database(name))
	if err != nil {
		return 0, err
	}
	defer hub.stop()
	a, err := hub.do(order{Op: "admit made", List: 1, Agency: "0001.000001", Lane: dispatch.LaneBulk, N: b.rows, Digests: digests})
	return float64(b.rows) / a.Seconds, err
}

// runHub starts dispatch and waits for its bind.
func runHub(ctx context.Context, hub, smsc *child, addr string) error {
	if _, err := hub.do(order{Op: "run", Addr: addr}); err != nil {
		return err
	}
	_, err := awaitCounts(ctx, smsc, func(c smscCounts) bool { return c.Links > 0 })
	return err
}
