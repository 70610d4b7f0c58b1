package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"ekc/citizen"
	"ekc/journal"
)

// Config are the settings of the door.
type Config struct {
	// Version of the program, shown by /healthz and in the document.
	Version string
	// ConfigDigest is shown by /healthz, so that two processes can be seen to run on the same settings.
	ConfigDigest string
	// UploadLimit is the most bytes of one uploaded file; zero means 200 MB.
	UploadLimit int64
	// BodyLimit is the most bytes of any other request; zero means 1 MiB. A list of JSON rows may have 16 times as many.
	BodyLimit int64
	// RequestTimeout ends any one request but uploads, downloads and streams; zero means 30s.
	RequestTimeout time.Duration
	// StallTimeout ends an upload or download in which nothing moved for so long; zero means 30s.
	StallTimeout time.Duration
	// KeepAnswers is how long an answer is kept for its Idempotency-Key; zero means 7 days.
	KeepAnswers time.Duration
	// DrainTimeout is how long requests may finish after Serve was told to stop; zero means 30s.
	DrainTimeout time.Duration
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&c.RequestTimeout, 30*time.Second)
	set(&c.StallTimeout, 30*time.Second)
	set(&c.KeepAnswers, 7*24*time.Hour)
	set(&c.DrainTimeout, 30*time.Second)
	if c.UploadLimit <= 0 {
		c.UploadLimit = 200 << 20
	}
	if c.BodyLimit <= 0 {
		c.BodyLimit = 1 << 20
	}
	return c
}

// Deps is what the server stands on. All but Doors are needed.
type Deps struct {
	DB       *pgxpool.Pool
	Accounts *Accounts
	Journal  *journal.Writer
	Keyring  *citizen.Keyring
	Log      *slog.Logger
	Metrics  *prometheus.Registry
	Now      func() time.Time
	Doors    Doors
}

// Server is the HTTP door. Make it with New, add what readiness depends on with Check, then Serve; or mount Handler.
type Server struct {
	config   Config
	db       *pgxpool.Pool
	accounts *Accounts
	journal  *journal.Writer
	keyring  *citizen.Keyring
	doors    Doors
	log      *slog.Logger
	now      func() time.Time
	metrics  *metrics

	mux      *http.ServeMux
	api      huma.API
	document []byte
	known    map[string]bool // names of our own, which a fault may repeat
	faults   []error         // of registration

	checksMu sync.Mutex
	checks   []check

	followers atomic.Int64 // readers of progress

	deniedMu sync.Mutex
	denied   map[denial]time.Time
}

// New builds the server with all its operations.
func New(c Config, d Deps) (*Server, error) {
	s := &Server{
		config: c.withDefaults(), db: d.DB, accounts: d.Accounts, journal: d.Journal, keyring: d.Keyring, doors: d.Doors, log: d.Log, now: d.Now,
		mux: http.NewServeMux(), known: make(map[string]bool), denied: make(map[denial]time.Time),
	}
	s.metrics = newMetrics(d.Metrics)
	s.api = humago.New(s.mux, s.humaConfig())
	s.api.UseMiddleware(s.authenticate, s.bound, s.idempotent)
	s.registerAccounts()
	s.registerLists()
	s.registerNotifications()
	s.registerHistory()
	s.registerSearch()
	s.registerCitizens()
	s.registerControl()
	s.registerSources()
	s.registerCatalog()
	s.registerWebhooks()
	s.registerHealth(d.Metrics)
	if err := s.finishDocument(); err != nil {
		s.faults = append(s.faults, err)
	}
	s.registerDocs()
	s.mux.HandleFunc("/", s.unmatched)
	if err := errors.Join(s.faults...); err != nil {
		return nil, fmt.Errorf("build the API: %w", err)
	}
	return s, nil
}

func (s *Server) humaConfig() huma.Config {
	c := huma.DefaultConfig("ИС ЕКЦ: шлюз исходящего информирования", s.config.Version)
	c.CreateHooks = nil // would add $schema, with the host's name, to every answer
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{s.transform}
	c.Info.Description = "Lists of messages in, people told by SMS, receipts back, history told. A person is never in an address: " +
		"searches are POST. Errors are RFC 9457 with a stable `code`; submitted values are never repeated. POST takes an `Idempotency-Key`."
	c.Servers = []*huma.Server{{URL: "/"}}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "A key of an account: ekc_live_… or ekc_test_…"},
	}
	c.Tags = []*huma.Tag{
		{Name: "lists", Description: "Lists: upload, protocol, approval, life"},
		{Name: "notifications", Description: "What became of each row"},
		{Name: "history", Description: "What happened, by whose order"},
		{Name: "control", Description: "Stops and links"},
		{Name: "catalog", Description: "What may be said"},
		{Name: "webhooks", Description: "Outcomes posted to those who have no Kafka"},
		{Name: "accounts", Description: "Who may ask"},
	}
	return c
}

// transform puts every error into the form of Problem, in the caller's language, whoever made it.
func (s *Server) transform(ctx huma.Context, _ string, v any) (any, error) {
	var p *Problem
	switch v := v.(type) {
	case *huma.ErrorModel:
		p = fromHuma(v, s.known)
	case *Problem:
		p = v
	default:
		return v, nil
	}
	return p.speak(ctx.Header("Accept-Language"), callOf(ctx.Context()).id), nil
}

// operation is what a door says about one of its operations.
type operation struct {
	id, method, path, tag, summary, description string
	status                                      int   // of success; zero means 200, or 204 without a body
	errors                                      []int // beside those every operation has
	stream                                      bool  // reads or writes for longer than one request's time
	read                                        bool  // a POST that changes nothing: takes no Idempotency-Key
	bodyLimit                                   int64 // zero means Config.BodyLimit
}

// register adds an operation: its access from the table, its security and error answers, and the turning of errors into problems.
func register[I, O any](s *Server, o operation, handle func(context.Context, journal.Principal, *I) (*O, error)) {
	if _, ok := table[o.id]; !ok {
		s.faults = append(s.faults, fmt.Errorf("operation %s is not in the table of access", o.id))
		return
	}
	op := s.describe(o)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		if (o.tag == "lists" || o.tag == "citizens" || o.tag == "sources") && s.doors.Lists == nil || o.tag == "webhooks" && s.doors.Webhooks == nil {
			return nil, problem(CodeNotHere)
		}
		out, err := handle(ctx, callOf(ctx).principal, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
	s.metrics.add(strings.ToUpper(op.Method) + " " + op.Path)
}

// metadata keys of huma.Operation.
const (
	metaStream = "stream"
	metaRead   = "read"
)

func (s *Server) describe(o operation) huma.Operation {
	a := table[o.id]
	who := "Any account."
	if !a.anyone {
		who = "Roles: " + strings.Join(roleNames(a.roles), ", ") + "."
	}
	limit := o.bodyLimit
	if limit == 0 {
		limit = s.config.BodyLimit
	}
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag}, Summary: o.summary,
		Description: strings.TrimSpace(o.description + "\n\n" + who), DefaultStatus: o.status,
		Security:        []map[string][]string{{"bearer": {}}},
		Responses:       map[string]*huma.Response{},
		MaxBodyBytes:    limit,
		BodyReadTimeout: -1, // bound() reads bodies, with a deadline of its own
		Metadata:        map[string]any{metaStream: o.stream, metaRead: o.read},
		Extensions:      map[string]any{"x-roles": roleNames(a.roles)},
	}
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	statuses := append([]int{400, 401, 403, 404, 422, 500, 503}, o.errors...)
	if o.method == http.MethodPost || o.method == http.MethodPut {
		statuses = append(statuses, 408, 413, 415)
	}
	for _, status := range statuses {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
		}
	}
	if o.method == http.MethodPost && !o.read {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header",
			Description: "Makes a repeat safe: the first answer is given again, another body is refused with 409",
			Schema:      &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(255)},
		})
		op.Responses["409"] = &huma.Response{Description: http.StatusText(409), Content: op.Responses["500"].Content}
	}
	return op
}

// problem is what the caller gets for err; what he is not told is logged here, once.
func (s *Server) problem(ctx context.Context, err error) error {
	p, told := problemOf(err)
	if !told {
		c := callOf(ctx)
		s.log.ErrorContext(ctx, "request failed", "operation", c.operation, "request_id", c.id, "code", string(p.Code), "err", err)
	}
	return p
}

// finishDocument names what faults may repeat, drops huma's own error schemas and renders the document.
func (s *Server) finishDocument() error {
	doc := s.api.OpenAPI()
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	for _, word := range []string{"body", "path", "query", "header"} {
		s.known[word] = true
	}
	for _, schema := range schemas {
		for name := range schema.Properties {
			s.known[name] = true
		}
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			for _, param := range op.Parameters {
				s.known[param.Name] = true
			}
		}
	}
	var err error
	if s.document, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("render the document: %w", err)
	}
	return nil
}

// Document is the OpenAPI 3.1 document as served.
func (s *Server) Document() []byte { return s.document }

// Serve answers on the listener until ctx ends, then lets requests finish for DrainTimeout. It returns nil after that.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      s.config.RequestTimeout + 10*time.Second, // also what resets the deadline of a stream before it
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(discardAddresses{s.log.Handler()}, slog.LevelDebug),
	}
	requests, stopStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStreams()
	server.BaseContext = func(net.Listener) context.Context { return withStopping(requests, ctx) }

	sweeping, stopSweeping := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() { defer close(swept); s.sweep(sweeping) }()
	defer func() { stopSweeping(); <-swept }()
	failed := make(chan error, 1)
	ended := make(chan struct{})
	go func() { defer close(ended); failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		stopStreams()
		_ = server.Close()
	}
	<-ended
	return nil
}
