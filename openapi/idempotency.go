package openapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5"

	"ekc/citizen"
)

// digestRequest keeps digests of requests apart from those of persons.
const digestRequest citizen.DigestKind = "request"

const (
	// abandonedAfter is when a call that has not renewed its row is taken to have died with its process.
	abandonedAfter = 20 * time.Second
	renewEvery     = 5 * time.Second
	// keptAnswer is the most that is kept of an answer; no operation that takes an Idempotency-Key answers more.
	keptAnswer = 1 << 20
)

// recorder holds an answer back until it is kept.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	under  http.ResponseWriter
}

func (w *recorder) Header() http.Header { return w.header }
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}
func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
func (w *recorder) Unwrap() http.ResponseWriter { return w.under }

// idempotent makes a POST with an Idempotency-Key happen once: a repeat gets the first answer, another content under the same
// key is refused, a second one while the first is under way as well. Answers of 500 and above are not kept, so that the same key
// may be tried again.
func (s *Server) idempotent(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	key := ctx.Header("Idempotency-Key")
	if key == "" || op.Method != http.MethodPost || op.Metadata[metaRead] == true {
		next(ctx)
		return
	}
	if len(key) > 255 {
		s.refuse(ctx, invalid("header.Idempotency-Key", "expected length <= 255"))
		return
	}
	if citizen.HoldsPersonal(key) { // it is kept
		s.refuse(ctx, invalid("header.Idempotency-Key", "expected no phone and no SNILS"))
		return
	}
	r, w := humago.Unwrap(ctx)
	claim := &claim{s: s, login: callOf(ctx.Context()).principal.Account, key: key, digest: newRequestDigest(r)}
	streamed := op.Metadata[metaStream] == true
	if !streamed {
		body, err := io.ReadAll(r.Body) // in memory already
		if err != nil {
			s.refuse(ctx, bodyError(err))
			return
		}
		claim.digest.Write(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	known, err := claim.take(ctx.Context(), streamed)
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	if known != nil {
		if streamed { // the repeat has to be read to be compared
			if err := s.digestUpload(w, r, claim.digest); err != nil {
				s.refuse(ctx, err)
				return
			}
		}
		s.replay(ctx, claim, known)
		return
	}

	stop := claim.renew(ctx.Context())
	rec := &recorder{header: w.Header(), under: w}
	finished := false
	defer func() {
		stop()
		if !finished {
			claim.drop(ctx.Context())
		}
	}()
	r = r.WithContext(context.WithValue(r.Context(), digestKey{}, claim.digest))
	next(humago.NewContext(op, r, rec))
	stop()
	if rec.status >= 500 || rec.status == http.StatusRequestTimeout || rec.status == http.StatusTooManyRequests || rec.body.Len() > keptAnswer {
		claim.drop(ctx.Context())
	} else if err := claim.keep(ctx.Context(), rec, callOf(ctx.Context()).secret); err != nil {
		// It has happened, so it is answered; a repeat will find the key under way until the row is abandoned.
		s.log.ErrorContext(ctx.Context(), "answer was not kept", "operation", op.OperationID, "request_id", callOf(ctx.Context()).id, "err", err)
	}
	finished = true
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes())
}

type digestKey struct{}

// requestDigest returns what an upload has to be written to while it is read; io.Discard when nobody compares.
func requestDigest(ctx context.Context) io.Writer {
	if h, ok := ctx.Value(digestKey{}).(hash.Hash); ok {
		return h
	}
	return io.Discard
}

func newRequestDigest(r *http.Request) hash.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s\n", r.Method, r.URL.Path)
	return h
}

// claim is one call's hold on its key.
type claim struct {
	s          *Server
	login, key string
	digest     hash.Hash
}

// keptCall is the row of an earlier call.
type keptCall struct {
	digest []byte
	status *int
	answer []byte
}

const takeKeySQL = `INSERT INTO idempotency_keys AS k (login, key, digest, at) VALUES (@login, @key, @digest, @now)
	ON CONFLICT (login, key) DO UPDATE SET digest = excluded.digest, status = NULL, answer = NULL, at = excluded.at
	WHERE k.at < @expired OR k.status IS NULL AND k.at < @abandoned AND k.digest = ANY (@same)`

const keptCallSQL = `SELECT digest, status, answer FROM idempotency_keys WHERE login = $1 AND key = $2`

// take claims the key for this call, or returns the earlier call that has it. A streamed call does not know its digest yet and
// leaves it empty.
func (c *claim) take(ctx context.Context, streamed bool) (*keptCall, error) {
	digest, same := []byte{}, [][]byte{{}}
	if !streamed {
		var err error
		if same, err = c.digests(); err != nil {
			return nil, err
		}
		digest = same[0]
	}
	for range 2 { // a row may be swept between the two statements
		now := c.s.now()
		tag, err := c.s.db.Exec(ctx, takeKeySQL, pgx.NamedArgs{
			"login": c.login, "key": c.key, "digest": digest, "same": same, "now": now,
			"expired": now.Add(-c.s.config.KeepAnswers), "abandoned": now.Add(-abandonedAfter),
		})
		if err != nil {
			return nil, fmt.Errorf("claim idempotency key: %w", err)
		}
		if tag.RowsAffected() == 1 {
			return nil, nil
		}
		var known keptCall
		err = c.s.db.QueryRow(ctx, keptCallSQL, c.login, c.key).Scan(&known.digest, &known.status, &known.answer)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read idempotency key: %w", err)
		}
		if known.status == nil {
			if !streamed && !slices.ContainsFunc(same, func(d []byte) bool { return bytes.Equal(d, known.digest) }) {
				return nil, problem(CodeKeyReused)
			}
			p := problem(CodeInProgress)
			p.retryAfter = "1"
			return nil, p
		}
		return &known, nil
	}
	p := problem(CodeInProgress)
	p.retryAfter = "1"
	return nil, p
}

// digests returns the keyed digest of what was written, under the current key first.
func (c *claim) digests() ([][]byte, error) {
	all, err := c.s.keyring.Digests(digestRequest, hex.EncodeToString(c.digest.Sum(nil)))
	if err != nil {
		return nil, fmt.Errorf("digest request: %w", err)
	}
	out := make([][]byte, len(all))
	for i := range all {
		out[i] = all[i][:]
	}
	return out, nil
}

func (s *Server) replay(ctx huma.Context, c *claim, known *keptCall) {
	same, err := c.digests()
	switch {
	case err != nil:
		s.refuse(ctx, err)
		return
	case !slices.ContainsFunc(same, func(d []byte) bool { return bytes.Equal(d, known.digest) }):
		s.refuse(ctx, problem(CodeKeyReused))
		return
	case known.answer == nil:
		s.refuse(ctx, problem(CodeShownOnce))
		return
	}
	s.metrics.replays.Inc()
	_, w := humago.Unwrap(ctx)
	contentType := "application/json"
	if *known.status >= 400 {
		contentType = "application/problem+json"
	}
	if len(known.answer) > 0 {
		w.Header().Set("Content-Type", contentType)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(*known.status)
	_, _ = w.Write(known.answer)
}

// renew keeps the row alive while the call is under way; stop ends that and waits.
func (c *claim) renew(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = c.s.db.Exec(ctx, `UPDATE idempotency_keys SET at = $3 WHERE login = $1 AND key = $2 AND status IS NULL`, c.login, c.key, c.s.now())
			}
		}
	}()
	return func() { cancel(); <-done }
}

const keepAnswerSQL = `UPDATE idempotency_keys SET digest = @digest, status = @status, answer = @answer, at = @now
	WHERE login = @login AND key = @key AND status IS NULL`

// keep stores the answer; one with a secret is remembered as given, without its text.
func (c *claim) keep(ctx context.Context, rec *recorder, secret bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	digests, err := c.digests()
	if err != nil {
		return err
	}
	answer := append([]byte{}, rec.body.Bytes()...) // not nil: an empty answer is an answer
	if secret {
		answer = nil
	}
	_, err = c.s.db.Exec(ctx, keepAnswerSQL, pgx.NamedArgs{
		"login": c.login, "key": c.key, "digest": digests[0], "status": rec.status, "answer": answer, "now": c.s.now(),
	})
	return err
}

// drop gives the key back: nothing happened that a repeat should be told.
func (c *claim) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = c.s.db.Exec(ctx, `DELETE FROM idempotency_keys WHERE login = $1 AND key = $2 AND status IS NULL`, c.login, c.key)
}

const sweepEvery = time.Hour

// sweep deletes answers past their time, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		_, err := s.db.Exec(ctx, `DELETE FROM idempotency_keys WHERE at < $1`, s.now().Add(-s.config.KeepAnswers))
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "old answers were not deleted", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
