package egisso

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
)

// Lists takes what was read; everything is durable when a method returns nil, and may be offered again. *ingest.Service is one.
type Lists interface {
	// TakeParts stores parts, all in one transaction: nil for one that is stored, now or before, a fault for one that is refused.
	TakeParts(ctx context.Context, parts []ingest.FeedPart) (fates []*ingest.Fault, err error)
	// TakeRecall takes rows back, also those that come later; a refusal is an *ingest.Fault.
	TakeRecall(ctx context.Context, r ingest.Recall) error
	// TakeDeaths is told of people who have died.
	TakeDeaths(ctx context.Context, p journal.Principal, people []citizen.SNILS) error
	// HoldSource makes what came from a source wait.
	HoldSource(ctx context.Context, source, reason string) error
	// Crowded says that so much waits to be checked that no more lists should be taken now.
	Crowded(ctx context.Context) (bool, error)
}

// FeedConfig is what a Feed works with.
type FeedConfig struct {
	Brokers Brokers
	Group   string   // of consumers: each topic has its own, this name, a dot and the topic's
	Topics  []string // read only these; none = all of the catalogue's sources
	DB      *pgxpool.Pool
	Journal *journal.Writer
	Keys    *citizen.Keyring
	Catalog func() *catalog.Catalog
	Lists   Lists
	Process string // unique to this process
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Feed reads the topics of the catalogue's sources. Each has connections, a group, goroutines and a rejected topic of its own, so that
// one that is away, forbidden, slow or full of rubbish never touches another.
type Feed struct {
	Desk
	cfg     FeedConfig
	metrics *metrics

	mu      sync.Mutex
	readers map[string]*reader // by topic
	stopped map[string]standing
}

// followEvery is how soon a changed catalogue, a stop and a resumption take effect.
const followEvery = time.Second

// NewFeed makes a Feed; Run makes it work.
func NewFeed(c FeedConfig) *Feed {
	return &Feed{Desk: Desk{DB: c.DB, Journal: c.Journal, Now: c.Now}, cfg: c, metrics: newMetrics(c.Metrics), readers: make(map[string]*reader)}
}

// Run reads until ctx ends; then what is in hand is stored and committed.
func (f *Feed) Run(ctx context.Context) error {
	defer f.stopAll()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var said time.Time
	for {
		f.follow(ctx)
		if f.Now().Sub(said) >= statusEvery {
			said = f.Now()
			f.report(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Status is how this process's own reading goes; Desk.Status knows of every process.
func (f *Feed) Status() []SourceStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]SourceStatus, 0, len(f.readers))
	for _, r := range f.readers {
		all = append(all, r.gauge.status())
	}
	return all
}

// follow starts and stops readers as the catalogue and the stops want it.
func (f *Feed) follow(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, statusEvery)
	stopped, err := f.standings(bounded)
	cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.stopped = stopped
	} else if f.stopped == nil {
		return // it is not known yet what may be read
	}
	wanted := f.wanted()
	for topic, r := range f.readers {
		if wanted[topic] != r.source || r.ended() {
			r.cancel()
			if r.ended() {
				r.remove()
				delete(f.readers, topic)
			}
		}
	}
	for topic, source := range wanted {
		if f.readers[topic] != nil || ctx.Err() != nil {
			continue
		}
		r, err := f.start(ctx, source, topic)
		if err != nil {
			f.cfg.Log.Error("a topic of the feed cannot be read", "source", source, "topic", topic, "err", err)
			continue
		}
		f.readers[topic] = r
	}
}

// wanted are the topics to be read, with their sources. Of two sources with one topic the first has it.
func (f *Feed) wanted() map[string]string {
	topics := make(map[string]string)
	for _, s := range f.cfg.Catalog().Sources(f.Now()) {
		if s.Door != "feed" || f.stopped[s.Code].stopped {
			continue
		}
		for _, topic := range s.Topics {
			if _, taken := topics[topic]; !taken && (len(f.cfg.Topics) == 0 || slices.Contains(f.cfg.Topics, topic)) {
				topics[topic] = s.Code
			}
		}
	}
	return topics
}

// resumed is when a source was last let go on.
func (f *Feed) resumed(source string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped[source].resumed
}

func (f *Feed) start(ctx context.Context, source, topic string) (*reader, error) {
	client, err := NewClient(f.cfg.Brokers, topic, topic+rejectedSuffix)
	if err != nil {
		return nil, err
	}
	r := &reader{feed: f, source: source, topic: topic, express: isEvents(topic), done: make(chan struct{}), client: client,
		gauge: newGauge(source, topic, f.metrics, f.cfg.Log, f.Now)}
	r.writer = NewWriter(client.brokers, client.transport)
	r.rejecter = &rejecter{db: f.DB, keys: f.cfg.Keys, journal: f.Journal, source: source, topic: topic, now: f.Now, producer: r.writer,
		gauge: r.gauge, wake: make(chan struct{}, 1)}
	ctx, r.cancel = context.WithCancel(ctx)
	go r.run(ctx)
	return r, nil
}

func (f *Feed) report(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusEvery)
	defer cancel()
	if err := f.say(ctx, f.cfg.Process, f.Status()); err != nil && ctx.Err() == nil {
		f.cfg.Log.Warn("how the feed goes could not be written down", "err", err)
	}
}

func (f *Feed) stopAll() {
	f.mu.Lock()
	readers := f.readers
	f.readers = make(map[string]*reader)
	f.mu.Unlock()
	for _, r := range readers {
		r.cancel()
	}
	for _, r := range readers {
		<-r.done
		r.remove()
	}
}

// isMessages tells the topic of ЕГИССО's own messages by its name: what they say of deaths and facts is taken from nobody else.
func isMessages(topic string) bool { return strings.HasSuffix(topic, ".messages.v1") }

// isEvents tells a topic of single events by its name: egisso.notification-events.v1, and an agency's with the same contract.
func isEvents(topic string) bool { return strings.Contains(topic, ".notification-events.") }

// reader reads one topic.
type reader struct {
	feed          *Feed
	source, topic string
	express       bool
	client        *Client
	writer        *Writer // to the rejected topic
	gauge         *gauge
	rejecter      *rejecter
	cancel        context.CancelFunc
	done          chan struct{}
}

// run ends with ctx, or when the source was stopped.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	defer r.client.Close()
	defer func() { _ = r.writer.Close() }()
	c := &consumer{client: r.client, topic: r.topic, group: r.feed.cfg.Group + "." + r.topic, handle: r.handle, gauge: r.gauge}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return c.run(ctx) })
	parts.Go(func() error { return r.rejecter.run(ctx) })
	if err := parts.Wait(); err != nil {
		r.gauge.log.Error("the source is stopped until a person resumes it", "err", err)
	}
}

func (r *reader) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *reader) remove() { r.gauge.remove() }
