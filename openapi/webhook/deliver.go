package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/ingest"
	"ekc/postgres"
)

const (
	deliveryLock  = 0x656b63_0301 // key of the advisory lock
	atOnce        = 16            // addresses that are being delivered to
	positions     = 5000          // of the journal, looked through at a time
	eventsAtOnce  = 500           // of one delivery
	bytesAtOnce   = 512 << 10
	connectWithin = 5 * time.Second
	answerWithin  = 15 * time.Second
	contentType   = "application/cloudevents-batch+json; charset=UTF-8"
)

// Run delivers until ctx ends. Any number of processes may: one at a time works.
func (s *Service) Run(ctx context.Context) error {
	return postgres.Alone{Pool: s.cfg.DB, Log: s.cfg.Log, What: "deliver to webhooks", Key: deliveryLock}.Run(ctx, s.work)
}

// endpoint is a webhook as it is delivered to.
type endpoint struct {
	id             int64
	agency, source string
	url, statuses  string
	replies        bool
	key            int64
	sealed         []byte
	position       int64
	version        string // of its row
	failures       int
	secret         string
	reached        int64 // looked through in memory, so that what tells it nothing is not read again
}

const (
	dueSQL  = `SELECT id FROM webhooks WHERE NOT dead AND (retry_at IS NULL OR retry_at <= $1) ORDER BY id`
	loadSQL = `SELECT id, agency, source, url, statuses, replies, data_key, sealed, position, xmin::text, failures FROM webhooks
		WHERE id = $1 AND NOT dead AND (retry_at IS NULL OR retry_at <= $2)`
)

// rounds is what the process whose turn it is knows of the webhooks.
type rounds struct {
	*Service
	room chan struct{}

	mu   sync.Mutex
	busy map[int64]bool
	// nothing says, by id, from which position saved to which other there is nothing to tell.
	nothing map[int64][2]int64
}

// work looks for webhooks that are due, and delivers to each by itself: a slow one keeps no other waiting.
func (s *Service) work(ctx context.Context, conn *pgx.Conn, healthy func()) error {
	r := &rounds{Service: s, room: make(chan struct{}, atOnce), busy: make(map[int64]bool), nothing: make(map[int64][2]int64)}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	for {
		rows, err := conn.Query(ctx, dueSQL, s.cfg.Now())
		if err != nil {
			return fmt.Errorf("find webhooks: %w", err)
		}
		due, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return fmt.Errorf("find webhooks: %w", err)
		}
		s.observe(ctx, conn)
		for _, id := range due {
			if r.begin(id) {
				running.Go(func() { r.visit(ctx, id) })
			}
		}
		healthy()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (r *rounds) begin(id int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[id] {
		return false
	}
	r.busy[id] = true
	return true
}

// visit delivers to one webhook what there is for it. Its row is read here, once nobody else of this process is at it.
func (r *rounds) visit(ctx context.Context, id int64) {
	defer func() { r.mu.Lock(); delete(r.busy, id); r.mu.Unlock() }()
	select {
	case r.room <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-r.room }()
	e := endpoint{id: id}
	err := r.cfg.DB.QueryRow(ctx, loadSQL, id, r.cfg.Now()).Scan(&e.id, &e.agency, &e.source, &e.url, &e.statuses, &e.replies, &e.key, &e.sealed, &e.position, &e.version, &e.failures)
	if errors.Is(err, pgx.ErrNoRows) {
		return
	}
	if err == nil {
		e.reached = e.position
		r.mu.Lock()
		if span := r.nothing[id]; span[0] == e.position {
			e.reached = max(span[0], span[1])
		}
		r.mu.Unlock()
		err = r.deliver(ctx, &e)
		r.mu.Lock()
		r.nothing[id] = [2]int64{e.position, e.reached}
		r.mu.Unlock()
	}
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn("delivery to a webhook was broken off", "webhook", id, "err", err)
	}
}

// deliver posts what an endpoint has not taken yet, until there is no more or it fails. The error is our own trouble, not the far side's.
func (s *Service) deliver(ctx context.Context, e *endpoint) error {
	for ctx.Err() == nil {
		reports, next, err := s.cfg.Reports.Reports(ctx, e.reached, positions, func(l *ingest.List) bool {
			return l.Agency == e.agency && (e.source == "" || l.Source == e.source)
		})
		if err != nil || next == e.reached {
			return err
		}
		taken, err := s.post(ctx, e, reports, next)
		if err != nil || !taken {
			return err
		}
		e.reached = next
		if next-e.position > 10*positions { // nothing was told for long: not to begin so far back after a restart
			if err := s.save(ctx, e, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// post delivers reports in batches and saves after each how far it came; taken is false when the far side did not take one.
func (s *Service) post(ctx context.Context, e *endpoint, reports []ingest.Report, next int64) (taken bool, err error) {
	var batch []json.RawMessage
	size := 0
	for i := range reports {
		r := &reports[i]
		if !e.wants(r) {
			continue
		}
		// What has one position stays together: it is all taken, or all told again.
		if (len(batch) >= eventsAtOnce || size >= bytesAtOnce) && r.Position != reports[i-1].Position {
			if taken, err := s.send(ctx, e, batch, r.Position); err != nil || !taken {
				return false, err
			}
			batch, size = nil, 0
		}
		b, err := json.Marshal(r.Event())
		if err != nil {
			return false, fmt.Errorf("encode event: %w", err)
		}
		batch, size = append(batch, b), size+len(b)
	}
	if len(batch) == 0 {
		return true, nil
	}
	return s.send(ctx, e, batch, next)
}

// wants leaves out load protocols: who sends lists by HTTP reads them there.
func (e *endpoint) wants(r *ingest.Report) bool {
	switch {
	case r.Status != nil:
		return r.Status.Final || e.statuses == "all"
	case r.Reply != nil:
		return e.replies
	}
	return r.Summary != nil
}

func (s *Service) send(ctx context.Context, e *endpoint, batch []json.RawMessage, next int64) (taken bool, err error) {
	if e.secret == "" {
		key, err := s.cfg.Keyring.Key(ctx, s.cfg.DB, e.key)
		if err != nil {
			return false, err
		}
		secret, err := key.Open(nil, e.sealed, citizen.RowAAD("webhooks", e.id))
		if err != nil {
			return false, fmt.Errorf("open secret: %w", err)
		}
		e.secret = string(secret)
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return false, fmt.Errorf("encode batch: %w", err)
	}
	fault := s.request(ctx, e, body)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if fault != "" {
		return false, s.failed(ctx, e, fault)
	}
	s.metrics.delivered.Add(float64(len(batch)))
	return true, s.save(ctx, e, next)
}

// request is one POST; what is returned says why it was not taken, in a word of a closed list, since the far side's own may hold anything.
func (s *Service) request(ctx context.Context, e *endpoint, body []byte) (fault string) {
	now := s.cfg.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return "bad_url"
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "ekc")
	req.Header.Set(HeaderID, strconv.FormatInt(e.id, 10))
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(HeaderSignature, Sign(e.secret, now, body))
	answer, err := s.client.Do(req)
	if err != nil {
		return faultOf(err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 16<<10) // so that the connection can be used again
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		return ""
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return "redirect"
	}
	return "http_" + strconv.Itoa(answer.StatusCode)
}

func faultOf(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, errAddress):
		return "address_not_allowed"
	case errors.As(err, &dns):
		return "name_not_found"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case isTLS(err):
		return "tls"
	}
	return "unreachable"
}

// A row moves only from the version that was read: what was replayed, or done by another process, meanwhile is not undone, even where it is to
// be told again from the very position that is being told.
const (
	saveSQL = `UPDATE webhooks SET position = $3, failures = 0, fault = '', since = NULL, retry_at = NULL
		WHERE id = $1 AND xmin = $2::text::xid RETURNING xmin::text`
	failSQL = `UPDATE webhooks SET failures = failures + 1, fault = $3, since = coalesce(since, $4), retry_at = $5, dead = failures + 1 >= $6
		WHERE id = $1 AND xmin = $2::text::xid RETURNING xmin::text, failures, dead`
)

var errMoved = errors.New("the webhook was changed meanwhile")

func (s *Service) save(ctx context.Context, e *endpoint, next int64) error {
	err := s.cfg.DB.QueryRow(ctx, saveSQL, e.id, e.version, next).Scan(&e.version)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("save position of webhook: %w", err)
	}
	if e.failures > 0 {
		s.cfg.Log.Info("a webhook takes what it is told again", "webhook", e.id)
	}
	e.position, e.reached, e.failures = next, next, 0
	return nil
}

func (s *Service) failed(ctx context.Context, e *endpoint, fault string) error {
	s.metrics.failures.Inc()
	now := s.cfg.Now()
	pause := min(time.Second<<min(e.failures, 20), s.cfg.Longest)
	var dead bool
	err := s.cfg.DB.QueryRow(ctx, failSQL, e.id, e.version, fault, now, now.Add(pause), s.cfg.Tries).Scan(&e.version, &e.failures, &dead)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("save failure of webhook: %w", err)
	}
	switch {
	case dead:
		s.cfg.Log.Error("a webhook is given up: it waits for POST /v1/webhooks/{id}/replay", "webhook", e.id, "code", fault)
	case e.failures == 1:
		s.cfg.Log.Warn("a webhook does not take what it is told", "webhook", e.id, "code", fault)
	}
	return nil
}
