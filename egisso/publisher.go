package egisso

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"

	"ekc/catalog"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
)

// Reports is what a Publisher passes on. *ingest.Service is one.
type Reports interface {
	Reports(ctx context.Context, from int64, limit int, wanted func(*ingest.List) bool) (reports []ingest.Report, next int64, err error)
	ProtocolPages(ctx context.Context, l *ingest.List, most int) iter.Seq2[ingest.ProtocolPage, error]
	SourceOf(l *ingest.List) (source *catalog.Source, ok bool)
}

// PublisherConfig is what a Publisher is made of. Zero numbers take the defaults.
type PublisherConfig struct {
	DB       *pgxpool.Pool
	Reports  Reports
	Producer Producer
	Now      func() time.Time
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Client   *Client                 // reads at the beginning what sources have been told, to see whether the database is behind that; nil = not looked at
	Catalog  func() *catalog.Catalog // for the sources' own status topics; needed with Client

	Positions int           // of the journal, passed on at a time; 10,000
	Poll      time.Duration // how often it looks for what is new; 200 ms
}

// Publisher tells sources of the feed what became of their lists: it follows the journal by its position, so that each report is sent at
// least once and those of a list in their order, whichever process does it and however often it is killed. First the brokers have all of
// a stretch of the journal, then its end is saved; who has been told a sequence of a notification passes over it when it comes again.
//
// One number is kept for all sources. A source whose topic cannot be written to is left behind at the beginning of the stretch in which
// that was found, with a number of its own (followers "egisso/<source>"), and catches up by itself: it holds nobody else, and what it is
// owed stays where it is, in the journal.
type Publisher struct {
	cfg     PublisherConfig
	metrics publisherMetrics
	behind  atomic.Pointer[error]
}

// NewPublisher makes a Publisher; Run does its work.
func NewPublisher(c PublisherConfig) *Publisher {
	c.Positions = cmp.Or(c.Positions, 10_000)
	c.Poll = cmp.Or(c.Poll, 200*time.Millisecond)
	return &Publisher{cfg: c, metrics: newPublisherMetrics(c.Metrics)}
}

const (
	follower       = "egisso"
	laggard        = follower + "/"
	publisherLock  = 0x656b63_0201 // key of the advisory lock
	publisherIdle  = 2 * time.Minute
	sendWithin     = 45 * time.Second // more than a Writer tries
	recordsAtOnce  = 5000             // given to the producer
	bytesAtOnce    = 8 << 20
	protocolBytes  = 880 << 10 // of a page; the envelope comes on top
	laggardLongest = time.Minute
)

// Run passes reports on until ctx ends. Any number of processes may: one at a time works.
func (p *Publisher) Run(ctx context.Context) error {
	return postgres.Alone{Pool: p.cfg.DB, Log: p.cfg.Log, What: "tell sources of the feed what became of their lists", Key: publisherLock, Idle: publisherIdle}.Run(ctx,
		func(ctx context.Context, conn *pgx.Conn, healthy func()) error {
			if err := p.caughtUp(ctx, conn); err != nil {
				return err
			}
			f, err := p.follow(ctx, conn)
			if err != nil {
				return err
			}
			return f.run(ctx, healthy)
		})
}

// following is the work of the process whose turn it is.
type following struct {
	*Publisher
	conn   *pgx.Conn
	at     int64          // of all that do not lag
	behind map[string]lag // sources
	shown  time.Time
}

type lag struct {
	at    int64
	after time.Time // when it is tried again
	pause time.Duration
}

func (p *Publisher) follow(ctx context.Context, conn *pgx.Conn) (*following, error) {
	f := &following{Publisher: p, conn: conn, behind: make(map[string]lag)}
	var err error
	if f.at, err = journal.FollowerPosition(ctx, conn, follower); err != nil {
		return nil, err
	}
	laggards, err := journal.Followers(ctx, conn, laggard)
	if err != nil {
		return nil, err
	}
	for name, at := range laggards {
		f.behind[strings.TrimPrefix(name, laggard)] = lag{at: at}
	}
	return f, nil
}

func (f *following) run(ctx context.Context, healthy func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := postgres.Backoff{First: time.Second, Most: 10 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		more, err := f.round(ctx)
		f.show(ctx)
		switch {
		case errors.Is(err, errAway):
			f.metrics.failures.WithLabelValues("").Inc()
			f.cfg.Log.Warn("outcomes wait for the brokers", "err", err)
			if err := backoff.Wait(ctx); err != nil {
				return err
			}
			timer.Reset(0)
			continue
		case err != nil:
			return err
		}
		healthy()
		backoff.Reset()
		if more {
			timer.Reset(0)
		} else {
			timer.Reset(f.cfg.Poll)
		}
	}
}

// errAway says that no broker took or refused a record, or that none knows us: that is no source's fault, and nobody goes on.
var errAway = errors.New("the brokers do not answer")

// round takes everybody one stretch further; more says that there may be others.
func (f *following) round(ctx context.Context) (more bool, err error) {
	moved, err := f.ahead(ctx)
	if err != nil {
		return false, err
	}
	caught, err := f.catchUp(ctx)
	return moved || caught, err
}

// ahead passes on the next stretch to all that do not lag.
func (f *following) ahead(ctx context.Context) (moved bool, err error) {
	reports, next, err := f.cfg.Reports.Reports(ctx, f.at, f.cfg.Positions, func(l *ingest.List) bool {
		_, lags := f.behind[l.Source]
		return !lags && f.ours(l)
	})
	if err != nil || next == f.at {
		return false, err
	}
	failed, err := f.deliver(ctx, reports)
	if err != nil {
		return false, err
	}
	err = postgres.InTx(ctx, f.conn, func(tx pgx.Tx) error {
		for source := range failed {
			if err := journal.StartFollower(ctx, tx, laggard+source, f.at); err != nil {
				return err
			}
		}
		return journal.SaveFollower(ctx, tx, follower, f.at, next)
	})
	if err != nil {
		return false, err
	}
	for source, why := range failed {
		f.cfg.Log.Warn("a source cannot be told what became of its lists: it is left behind and tried again", "source", source, "err", why)
		f.behind[source] = lag{at: f.at}.later(f.cfg.Now())
	}
	f.at = next
	return true, nil
}

func (f *following) ours(l *ingest.List) bool {
	_, ok := f.cfg.Reports.SourceOf(l)
	return ok
}

func (l lag) later(now time.Time) lag {
	l.pause = min(max(2*l.pause, time.Second), laggardLongest)
	l.after = now.Add(l.pause)
	return l
}

// catchUp passes on the next stretch to each source that lags and whose pause is over; those that stand at one position are read for once.
func (f *following) catchUp(ctx context.Context) (moved bool, err error) {
	now := f.cfg.Now()
	due := make(map[int64][]string)
	for source, l := range f.behind {
		if !l.after.After(now) {
			due[l.at] = append(due[l.at], source)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(due)) {
		if err := f.catchUpFrom(ctx, at, due[at]); err != nil {
			return moved, err
		}
		moved = true
	}
	return moved, nil
}

func (f *following) catchUpFrom(ctx context.Context, at int64, sources []string) error {
	limit := int(min(int64(f.cfg.Positions), f.at-at)) // at least 1: who stands where the others do is no laggard
	reports, next, err := f.cfg.Reports.Reports(ctx, at, limit, func(l *ingest.List) bool {
		return slices.Contains(sources, l.Source) && f.ours(l)
	})
	if err != nil {
		return err
	}
	failed, err := f.deliver(ctx, reports)
	if err != nil {
		return err
	}
	err = postgres.InTx(ctx, f.conn, func(tx pgx.Tx) error {
		for _, source := range sources {
			var err error
			switch {
			case failed[source] != nil:
			case next >= f.at:
				err = journal.EndFollower(ctx, tx, laggard+source, at)
			default:
				err = journal.SaveFollower(ctx, tx, laggard+source, at, next)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, source := range sources {
		switch {
		case failed[source] != nil:
			f.behind[source] = f.behind[source].later(f.cfg.Now())
		case next >= f.at:
			delete(f.behind, source)
			f.cfg.Log.Info("a source has been told everything it had missed", "source", source)
		default:
			f.behind[source] = lag{at: next}
		}
	}
	return nil
}

// deliver writes reports to the topics of their sources. Which sources could not be told, and why, is returned; the error is errAway, or
// what kept it from reading. Much of what is delivered may have been written also where it fails.
func (f *following) deliver(ctx context.Context, reports []ingest.Report) (failed map[string]error, err error) {
	err = f.produce(ctx, reports, "")
	if _, refused := errors.AsType[*refusedError](err); !refused {
		return nil, err
	}
	failed = make(map[string]error)
	var sources []string
	for i := range reports {
		if s := reports[i].List.Source; !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	for _, source := range sources {
		err := f.produce(ctx, reports, source)
		if _, refused := errors.AsType[*refusedError](err); refused {
			failed[source] = err
			f.metrics.failures.WithLabelValues(source).Inc()
		} else if err != nil {
			return nil, err
		}
	}
	return failed, nil
}

// refusedError is a broker's refusal to write to a topic.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// produce writes the reports of one source, or of all when it is "".
func (f *following) produce(ctx context.Context, reports []ingest.Report, only string) error {
	var records []Record
	size := 0
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, sendWithin)
		defer cancel()
		err := f.cfg.Producer.Produce(ctx, records...)
		if err == nil {
			f.metrics.published.Add(float64(len(records)))
			records, size = records[:0], 0
			return nil
		}
		if _, answered := errors.AsType[kafka.Error](err); answered && !errors.Is(err, kafka.SASLAuthenticationFailed) {
			return &refusedError{err}
		}
		return fmt.Errorf("%w: %w", errAway, err)
	}
	add := func(r Record) error {
		records, size = append(records, r), size+len(r.Value)
		if len(records) < recordsAtOnce && size < bytesAtOnce {
			return nil
		}
		return flush()
	}
	for i := range reports {
		r := &reports[i]
		source, ok := f.cfg.Reports.SourceOf(r.List)
		if !ok || only != "" && only != source.Code {
			continue
		}
		topic, wants := topicOf(source, r)
		if !wants {
			continue
		}
		if err := f.events(ctx, r, func(e ingest.Event) error {
			record, err := recordOf(topic, e)
			if err == nil {
				err = add(record)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return flush()
}

// events are what a report is told by: one, or the pages of a load protocol.
func (f *following) events(ctx context.Context, r *ingest.Report, tell func(ingest.Event) error) error {
	e := r.Event()
	if !r.Checked {
		return tell(e)
	}
	for page, err := range f.cfg.Reports.ProtocolPages(ctx, r.List, protocolBytes) {
		if err != nil {
			return err
		}
		paged := e
		paged.ID, paged.Data = fmt.Sprintf("%s.%d", e.ID, page.Page), page
		if err := tell(paged); err != nil {
			return err
		}
	}
	return nil
}
