package openapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5"

	"ekc/journal"
	"ekc/postgres"
)

// call is what is known of the request under way. It belongs to the request's goroutine.
type call struct {
	id        string
	operation string // OperationID; empty outside the API
	principal journal.Principal
	secret    bool // the answer holds a secret: it is given once and not kept
}

type callKey struct{}

// callOf returns the call of a request; outside one, an empty call.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

type stoppingKey struct{}

// withStopping remembers that the process is told to stop by another context than the one that ends a request.
func withStopping(ctx, stop context.Context) context.Context {
	return context.WithValue(ctx, stoppingKey{}, stop)
}

// stopping is closed when the process was told to stop: streams without an end finish then.
func stopping(ctx context.Context) <-chan struct{} {
	if stop, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		return stop.Done()
	}
	return nil
}

// response remembers what was answered.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController through.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Handler is the whole door: operations, document, docs, health and metrics.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// serve surrounds every request: its number, headers that protect, one line of log, one observation, and an answer also when
// the handler panics. The path as sent is in neither: it may hold anything.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	c := &call{id: strings.ToLower(rand.Text()[:16])}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	out := &response{ResponseWriter: w}
	h := w.Header()
	h.Set("X-Request-Id", c.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		fault := recover()
		if fault != nil && fault != http.ErrAbortHandler {
			s.log.ErrorContext(r.Context(), "request handler panicked", "operation", c.operation, "request_id", c.id,
				"panic", panicText(fault), "stack", string(debug.Stack()))
			if out.status == 0 {
				s.writeProblem(out, r, problem(CodeInternal))
			}
		}
		took := time.Since(started)
		route := s.metrics.observe(r.Pattern, out.status, took)
		level := slog.LevelInfo
		if c.operation == "" {
			level = slog.LevelDebug // health checks and scrapes
		}
		s.log.LogAttrs(r.Context(), level, "http request", slog.String("request_id", c.id), slog.String("method", knownMethod(r.Method)),
			slog.String("route", route), slog.Int("status", out.status), slog.Int64("bytes", out.bytes),
			slog.Int64("duration_ms", took.Milliseconds()), slog.String("account", c.principal.Account), slog.String("agency", c.principal.Agency))
		if fault == http.ErrAbortHandler {
			panic(fault)
		}
	}()
	s.mux.ServeHTTP(out, r)
}

// panicText keeps what the runtime says (an index, a nil map) and drops what a library may have quoted.
func panicText(fault any) string {
	var runtimeError interface {
		error
		RuntimeError()
	}
	if err, ok := fault.(error); ok && errors.As(err, &runtimeError) {
		return runtimeError.Error()
	}
	return "not a runtime error"
}

func knownMethod(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS":
		return m
	}
	return "other"
}

// writeProblem answers outside huma.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p.speak(r.Header.Get("Accept-Language"), callOf(r.Context()).id))
}

// refuse answers from a middleware.
func (s *Server) refuse(ctx huma.Context, err error) {
	r, w := humago.Unwrap(ctx)
	p, _ := s.problem(ctx.Context(), err).(*Problem)
	s.writeProblem(w, r, p)
}

// unmatched answers what no operation takes: 405 when another method would do (RFC 9110 §15.5.6), else 404.
func (s *Server) unmatched(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" {
			allow = append(allow, method)
		}
	}
	p := problem(CodeNotFound)
	if len(allow) > 0 {
		p = problem(CodeMethod)
		p.allow = strings.Join(allow, ", ")
	}
	s.writeProblem(w, r, p)
}

// authenticate finds out who asks and refuses everybody the table does not name. It comes first: the body is not read before.
func (s *Server) authenticate(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	c := callOf(ctx.Context())
	c.operation = op.OperationID
	scheme, bearer, _ := strings.Cut(ctx.Header("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		bearer = ""
	}
	p, err := s.accounts.Authenticate(ctx.Context(), strings.TrimSpace(bearer))
	if err != nil {
		if refused, ok := errors.AsType[*Problem](err); ok {
			s.metrics.refused.WithLabelValues(string(refused.Code)).Inc()
			s.log.WarnContext(ctx.Context(), "key refused", "operation", op.OperationID, "request_id", c.id, "code", string(refused.Code), "remote", ctx.RemoteAddr())
		}
		s.refuse(ctx, err)
		return
	}
	c.principal = p
	first := p.Account == adminKeyAccount && op.OperationID == "createAccount"
	if !first && !table[op.OperationID].allows(p) {
		s.metrics.refused.WithLabelValues(string(CodeForbidden)).Inc()
		s.recordDenied(ctx.Context(), p, op.OperationID)
		s.refuse(ctx, problem(CodeForbidden))
		return
	}
	next(ctx)
}

type denial struct{ account, operation string }

// deniedEvery keeps one account from filling the journal with what it may not do.
const deniedEvery = time.Minute

// recordDenied journals that an account tried what its roles do not allow. The refusal stands whether or not that succeeds.
func (s *Server) recordDenied(ctx context.Context, p journal.Principal, operation string) {
	now := s.now()
	key := denial{p.Account, operation}
	s.deniedMu.Lock()
	last, ok := s.denied[key]
	if ok && now.Sub(last) < deniedEvery {
		s.deniedMu.Unlock()
		return
	}
	if len(s.denied) >= rememberedMost {
		clear(s.denied)
	}
	s.denied[key] = now
	s.deniedMu.Unlock()
	err := s.record(ctx, journal.Entry{Kind: journal.AccessDenied, At: now, Agency: p.Agency, Actor: p.Account, Data: journal.Fields("operation", operation)})
	if err != nil {
		s.log.ErrorContext(ctx, "refusal was not journalled", "operation", operation, "request_id", callOf(ctx).id, "err", err)
	}
}

// record appends one entry in a transaction of its own.
func (s *Server) record(ctx context.Context, e journal.Entry) error {
	return postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		_, err := s.journal.Append(ctx, tx, []journal.Entry{e})
		return err
	})
}

// bound gives the request its time and its size. Bodies of ordinary operations are read here, whole; those of streams come
// through a reader that fails when nothing moves.
func (s *Server) bound(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	r, w := humago.Unwrap(ctx)
	control := http.NewResponseController(w)
	if op.Metadata[metaStream] == true {
		_ = control.SetWriteDeadline(time.Time{})
		next(ctx)
		return
	}
	limited, cancel := context.WithTimeout(r.Context(), s.config.RequestTimeout)
	defer cancel()
	r = r.WithContext(limited)
	if r.Body != nil && r.Body != http.NoBody && r.Method != http.MethodGet {
		_ = control.SetReadDeadline(time.Now().Add(s.config.RequestTimeout))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, op.MaxBodyBytes-1))
		_ = control.SetReadDeadline(time.Time{}) // or it would end the handler, too
		if err != nil {
			s.refuse(ctx, bodyError(err))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	next(humago.NewContext(op, r, w))
}

// bodyError says what went wrong while the body came in: the caller's side of it is the caller's fault.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	var timeout interface{ Timeout() bool }
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return problem(CodeTooLarge)
	case errors.As(err, &timeout) && timeout.Timeout():
		return problem(CodeTimeout)
	}
	return problem(CodeMalformed)
}

// stream puts deadlines that move with the data on the body and the answer of a long request.
type stream struct {
	control *http.ResponseController
	stall   time.Duration
}

func (s *Server) newStream(w http.ResponseWriter) stream {
	return stream{http.NewResponseController(w), s.config.StallTimeout}
}

// reader returns body, failing when nothing came for the stall time or more than limit bytes came.
func (t stream) reader(w http.ResponseWriter, body io.ReadCloser, limit int64) io.Reader {
	limited := http.MaxBytesReader(w, body, limit)
	return readerFunc(func(b []byte) (int, error) {
		_ = t.control.SetReadDeadline(time.Now().Add(t.stall))
		n, err := limited.Read(b)
		if err != nil {
			_ = t.control.SetReadDeadline(time.Time{})
		}
		return n, err
	})
}

// writer returns w, failing when the other side took nothing for the stall time.
func (t stream) writer(w io.Writer) io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		_ = t.control.SetWriteDeadline(time.Now().Add(t.stall))
		return w.Write(b)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// streamTo returns the answer's body for what is written over a longer time: each piece is sent on, and a reader that takes
// nothing ends it.
func (s *Server) streamTo(ctx huma.Context) io.Writer {
	_, w := humago.Unwrap(ctx)
	t := s.newStream(w)
	out := t.writer(w)
	return writerFunc(func(b []byte) (int, error) {
		n, err := out.Write(b)
		if err == nil {
			err = t.control.Flush()
		}
		return n, err
	})
}
