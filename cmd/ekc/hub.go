package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/dispatch/sms"
	"ekc/egisso"
	"ekc/inbound"
	"ekc/ingest"
	"ekc/ingest/inbox"
	"ekc/journal"
	"ekc/openapi"
	"ekc/openapi/webhook"
	"ekc/postgres"
	"ekc/smpp/smpptest"
)

// roles are the parts one process performs.
type roles struct{ api, feed, sms, voice, inbound bool }

var roleNames = []string{"api", "feed", "sms", "voice", "inbound"}

func parseRoles(names []string) (roles, error) {
	var r roles
	for _, name := range names {
		switch strings.TrimSpace(name) {
		case "api":
			r.api = true
		case "feed":
			r.feed = true
		case "sms":
			r.sms = true
		case "voice":
			r.voice = true
		case "inbound":
			r.inbound = true
		default:
			return r, fmt.Errorf("roles are %s", strings.Join(roleNames, ", "))
		}
	}
	if r == (roles{}) {
		return r, errors.New("at least one role is needed")
	}
	return r, nil
}

// hub is one process of the hub.
type hub struct {
	config   *Config
	roles    roles
	log      *slog.Logger
	listener net.Listener
	// For the demo and tests: changes the rules in force, the times of the built-in simulator, and hears of the points of a row's way.
	changeRules func(*dispatch.Rules)
	simulator   smpptest.Config
	reached     func(dispatch.Point)
	migrations  fs.FS // those the schema must have, the program's own or, in a test, those of a version to come

	process   string
	registry  *prometheus.Registry
	db, hot   *pgxpool.Pool
	keyring   *citizen.Keyring
	journal   *journal.Writer
	catalog   *catalog.Watcher
	lists     *ingest.Service
	webhooks  *webhook.Service
	core      *dispatch.Core
	register  *inbound.Register
	feed      *egisso.Feed // nil without brokers, as the two that follow
	publisher *egisso.Publisher
	closeFeed func()
	pools     []dispatch.Pool
	rules     *rules
	state     *journal.StateFile
	sending   gate
}

// capacity of the cache of data keys: a list in work each, and what receipts speak of.
const openKeys = 4096

// run works until ctx ends, drains, and returns nil; or returns what cannot be cured by waiting.
func (h *hub) run(ctx context.Context) error {
	h.process = processName()
	h.registry = newRegistry()
	if h.migrations == nil {
		h.migrations = postgres.Migrations()
	}
	door, err := newDoor(h.listener, h.config)
	if err != nil {
		return err
	}
	defer door.close()
	if err := h.open(ctx, door.waits); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer h.db.Close()
	defer h.hot.Close()
	if h.roles.sms {
		simulator, err := smpptest.Start(h.simulator)
		if err != nil {
			return fmt.Errorf("start the built-in simulator: %w", err)
		}
		defer simulator.Close()
		if err := h.makePools(simulator.Addr()); err != nil {
			return err
		}
	}
	if err := h.makeFeed(); err != nil {
		return err
	}
	server, err := h.server()
	if err != nil {
		return err
	}
	listener, err := door.handOver()
	if err != nil {
		return err
	}
	return h.work(ctx, server, listener)
}

var errSupport = errors.New("a part the others stand on has ended")

// work runs the parts. What the others need while they drain ends after them.
func (h *hub) work(ctx context.Context, server *openapi.Server, listener net.Listener) error {
	support, stopSupport := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSupport()
	parts, partsCtx := errgroup.WithContext(ctx)
	supports, supportCtx := errgroup.WithContext(support)
	supports.Go(func() error { return journal.NewSequencer(h.db, h.log).Run(supportCtx) })
	supports.Go(func() error { return h.catalog.Run(supportCtx) })
	supports.Go(func() error { return h.observe(supportCtx) })
	supports.Go(func() error { return h.register.Run(supportCtx) })
	supports.Go(func() error { return h.core.Partitions(supportCtx) })

	parts.Go(func() error { // nothing goes on without its support
		select {
		case <-partsCtx.Done():
			return nil
		case <-supportCtx.Done():
			return errSupport
		}
	})
	parts.Go(func() error { return server.Serve(partsCtx, listener) })
	if h.roles.api {
		parts.Go(func() error { return h.lists.Run(partsCtx) })
		parts.Go(func() error { return h.webhooks.Run(partsCtx) })
		parts.Go(func() error {
			return inbox.New(inbox.Config{Dir: filepath.Join(h.config.StateDir, "inbox"), DB: h.db, Catalog: h.catalog.Current, Lists: h.lists,
				Now: time.Now, Log: h.log}).Run(partsCtx)
		})
	}
	if h.feed != nil {
		defer h.closeFeed()
		parts.Go(func() error { return h.feed.Run(partsCtx) })
		parts.Go(func() error { return h.publisher.Run(partsCtx) })
	}
	if h.roles.sms {
		dispatch.EaseCollector()
		parts.Go(func() error { return h.send(partsCtx) })
	}
	h.log.Info("ready", "process", h.process, "addr", listener.Addr().String(), "version", version().Version)
	stopped := make(chan struct{})
	go func() {
		select {
		case <-partsCtx.Done():
			h.log.Info("stopping", "drain_timeout", h.config.DrainTimeout.String())
		case <-stopped:
		}
	}()
	err := parts.Wait()
	close(stopped)
	h.awaitOrder(support)
	stopSupport()
	if supportErr := supports.Wait(); err == nil || errors.Is(err, errSupport) {
		err = supportErr
	}
	h.log.Info("stopped")
	return err
}

// orderWithin is how long a process that stops waits for its last entries to get their place; another process does it otherwise.
const orderWithin = 2 * time.Second

func (h *hub) awaitOrder(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, orderWithin)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if age, err := journal.OldestUnplaced(ctx, h.db); err != nil || age == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// open waits for the database and makes what the parts stand on.
func (h *hub) open(ctx context.Context, told func(error)) error {
	if h.config.Keyset == "" {
		return errors.New("no key set: make one with `ekc keys init FILE` and name it in keyset, or EKC_KEYSET")
	}
	keyset, err := citizen.LoadKeyset(h.config.Keyset.Reveal())
	if err != nil {
		return err
	}
	h.keyring, h.journal = citizen.NewKeyring(keyset, openKeys), journal.NewWriter()
	if h.roles.sms || h.roles.voice {
		if err := os.MkdirAll(h.config.StateDir, 0o700); err != nil {
			return fmt.Errorf("make state_dir: %w", err)
		}
		h.state = journal.NewStateFile(h.config.StateDir)
	}
	url := h.config.Database.URL.Reveal()
	if h.db, err = awaitDatabase(ctx, postgres.Config{URL: url, Name: "ekc " + h.process}, h.log, told); err != nil {
		return err
	}
	if h.hot, err = awaitDatabase(ctx, postgres.Config{URL: url, Name: "ekc hot " + h.process, MaxConns: 8, PinPlans: true}, h.log, told); err != nil {
		h.db.Close()
		return err
	}
	if err = h.prepare(ctx, told); err != nil {
		h.hot.Close()
		h.db.Close()
	}
	return err
}

// prepare does what needs the database once.
func (h *hub) prepare(ctx context.Context, told func(error)) error {
	patiently := func(do func() error) error {
		var wait postgres.Backoff
		for {
			err := do()
			if !postgres.IsUnavailable(err) {
				return err
			}
			told(err)
			if err := wait.Wait(ctx); err != nil {
				return err
			}
		}
	}
	err := patiently(func() error { return postgres.CheckFor(ctx, h.db, h.migrations) })
	if err == nil && h.config.Catalog.Seed {
		err = patiently(func() error {
			n, err := catalog.Seed(ctx, h.db)
			if n > 0 {
				h.log.Info("catalogue seeded", "items", n)
			}
			return err
		})
	}
	if err == nil {
		err = patiently(func() error {
			h.catalog, err = catalog.Watch(ctx, h.db, h.log)
			return err
		})
	}
	if err != nil {
		return err
	}
	// A list can be routed to a pool before anybody holds it.
	for _, p := range poolNames(h.config) {
		if err := patiently(func() error { return dispatch.EnsurePool(ctx, h.db, p.Name, p.Channel, p.Links) }); err != nil {
			return err
		}
	}
	whither := routes(h.config)
	h.lists = ingest.New(ingest.Config{
		DB: h.db, Catalog: h.catalog.Current, Keys: h.keyring, Journal: h.journal, Admission: dispatch.NewAdmission(whither), Routes: whither,
		Now: time.Now, Log: h.log, Metrics: h.registry, Limits: ingest.Limits{FileBytes: int64(h.config.HTTP.UploadLimitMB) << 20},
	})
	h.webhooks = webhook.New(webhook.Config{DB: h.db, Reports: h.lists, Catalog: h.catalog.Current, Keyring: h.keyring, Journal: h.journal, Now: time.Now,
		Log: h.log, Metrics: h.registry, Networks: h.config.Webhooks.Networks})
	h.register = inbound.NewRegister(inbound.Config{DB: h.db, Keyring: h.keyring, Journal: h.journal, Log: h.log, Metrics: h.registry})
	h.rules = &rules{catalog: h.catalog.Current, now: time.Now, permitted: permittedPhones(h.config), change: h.changeRules, log: h.log}
	h.core = dispatch.New(dispatch.Config{
		DB: h.db, Hot: h.hot, Journal: h.journal, Keyring: h.keyring, Rules: h.rules.current, Routes: whither, Process: h.process,
		Drain: h.config.DrainTimeout.Std(), Log: h.log, Metrics: dispatch.NewMetrics(h.registry), Now: time.Now, Reached: h.reached,
	})
	return nil
}

func (h *hub) makePools(simulator string) (err error) {
	if h.pools, err = pools(h.config, h.register.Messages, h.log); err != nil {
		return err
	}
	simulated := pool(simulatorPool, []sms.Link{simulatorLink(simulator)}, 0, h.register.Messages, h.log)
	simulated.Simulated = true
	h.pools = append(h.pools, simulated)
	return nil
}

// server is the HTTP door; a process without role api serves health and metrics alone.
func (h *hub) server() (*openapi.Server, error) {
	digest, err := h.config.digest()
	if err != nil {
		return nil, err
	}
	deps := openapi.Deps{
		DB: h.db, Accounts: openapi.NewAccounts(h.db, h.journal, time.Now, openapi.AccountsConfig{AdminKey: h.config.AdminKey.Reveal()}),
		Journal: h.journal, Keyring: h.keyring, Log: h.log, Metrics: h.registry, Now: time.Now,
	}
	if h.roles.api {
		deps.Doors = doors(h.office(), h.lists, h.catalog)
		deps.Doors.Webhooks = h.webhooks
	}
	server, err := openapi.New(openapi.Config{
		Version: version().Version, ConfigDigest: digest, UploadLimit: int64(h.config.HTTP.UploadLimitMB) << 20, DrainTimeout: h.config.DrainTimeout.Std(),
	}, deps)
	if err != nil {
		return nil, err
	}
	server.Check("database", func(ctx context.Context) error {
		if err := h.db.Ping(ctx); err != nil {
			return errors.New("the database does not answer")
		}
		return nil
	})
	if h.roles.sms {
		server.Check("sending", func(context.Context) error { return h.sending.reason() })
	}
	if h.feed != nil {
		server.Check("feed", h.feedReadiness)
		server.Check("telling", func(context.Context) error { return h.publisher.Behind() })
	}
	return server, nil
}

func (h *hub) office() *dispatch.Office {
	return &dispatch.Office{DB: h.db, Journal: h.journal, Keyring: h.keyring, Now: time.Now, Rules: h.rules.current, Simulators: []string{simulatorPool}}
}

func doors(office *dispatch.Office, lists *ingest.Service, watcher *catalog.Watcher) openapi.Doors {
	return openapi.Doors{Lists: lists, Stops: office, Links: office, Contents: office, Gates: office, Catalog: watcher,
		Feed: feedLinks{egisso.Desk{DB: office.DB, Journal: office.Journal, Now: office.Now}, lists}}
}

// processName is unique to this process and says where it runs.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:6]))
}
