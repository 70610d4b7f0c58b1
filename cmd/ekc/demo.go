package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/egisso"
	"ekc/journal"
	"ekc/postgres"
	"ekc/smpp/smpptest"
)

func (a *app) demoCommand() *cobra.Command {
	var once, empty bool
	var addr, logFile string
	cmd := &cobra.Command{Use: "demo", Short: "Show everything in one process, with invented people", Args: cobra.NoArgs,
		Long: `Starts a private PostgreSQL, a Kafka broker, two SMS centres and the hub, all on loopback; makes accounts of two persons per agency; brings the
sample lists by HTTP as an operator would: upload, load protocol, approval by another person; shows how they are sent; sends messages of ЕГИССО
by Kafka, listens to what comes back, and prints a table of outcomes that adds up beside the SMS centres' own record. Then it stays, with addresses and keys to try, until it is interrupted.

With --once it ends after the samples: 0 only if every row ended as the samples say, else 3. With --empty it brings no samples: a place to
practise in, where docs/operator.md is walked. Nothing but loopback is needed. PGBIN names the folder with PostgreSQL's programs; without
it the usual places are searched.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once {
				addr = "127.0.0.1:0"
			}
			return runDemo(cmd.Context(), demoOptions{once: once, empty: empty, addr: addr, logFile: logFile}, cmd.OutOrStdout())
		}}
	cmd.Flags().BoolVar(&once, "once", false, "end after the samples")
	cmd.Flags().BoolVar(&empty, "empty", false, "bring no samples")
	cmd.MarkFlagsMutuallyExclusive("once", "empty")
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8080", "host:port of the API; a free port is taken when it is busy")
	cmd.Flags().StringVar(&logFile, "log", "", "`file` for the hub's log; by default it is kept in the demo's folder")
	return cmd
}

type demoOptions struct {
	once, empty   bool
	addr, logFile string
}

// demo is everything the demo runs.
type demo struct {
	demoOptions
	out      io.Writer
	dir      string
	server   *postgres.Server
	smscs    []*smpptest.Server
	brokers  egisso.Brokers
	adminKey string
	config   *Config
	hub      *hub
	url      string
}

// demoLinks are the SMS centres of the demo; they stand in for each other.
var demoLinks = []string{"vega", "altair"}

// demoSenders are the names the agencies of the samples speak under.
var demoSenders = map[string]string{"0002.000014": "SFR", "0003.000022": "MSE", "B202.000001": "Soczashita"}

func runDemo(ctx context.Context, o demoOptions, out io.Writer) (err error) {
	if err := raiseLoopback(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ekc-demo-")
	if err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// PostgreSQL runs as another user when this one is root, and must reach its folder.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	d := &demo{demoOptions: o, out: out, dir: dir}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	d.say("PostgreSQL…")
	d.server, err = postgres.Start(ctx, postgres.Local{Dir: filepath.Join(dir, "postgres"), MaxConnections: 60})
	if err != nil {
		return err
	}
	defer func() { _ = d.server.Stop() }()
	for range demoLinks {
		s, err := smpptest.Start(smpptest.Config{Keep: true, IDFormat: smpptest.Hex, LateReceipt: 2 * time.Second, RedeliverIn: time.Second, ReplyTo: "2442"})
		if err != nil {
			return fmt.Errorf("start an SMS centre: %w", err)
		}
		defer s.Close()
		d.smscs = append(d.smscs, s)
	}
	stopBroker, err := d.startBroker()
	if err != nil {
		return err
	}
	defer stopBroker()
	if err := d.configure(); err != nil {
		return err
	}
	log, closeLog, err := d.openLog()
	if err != nil {
		return err
	}
	defer closeLog()
	if err := d.prepareDatabase(ctx, log); err != nil {
		return err
	}
	listener, err := d.listen()
	if err != nil {
		return err
	}
	d.url = "http://" + listener.Addr().String()
	all, err := parseRoles(roleNames)
	if err != nil {
		return err
	}
	d.hub = &hub{config: d.config, roles: all, log: log, listener: listener, changeRules: openAroundTheClock,
		simulator: smpptest.Config{ReceiptDelay: 300 * time.Millisecond}}
	hubDone := make(chan error, 1)
	go func() { hubDone <- d.hub.run(ctx) }()
	shown := make(chan error, 1)
	go func() { shown <- d.show(ctx) }()
	select {
	case err = <-shown:
		stop()
		return errors.Join(err, <-hubDone)
	case err = <-hubDone:
		stop()
		if interrupted := <-shown; err == nil {
			err = errors.Join(errors.New("the hub ended by itself"), interrupted)
		}
		return err
	}
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", args...) }

// configure makes the configuration as an engineer would: by settings, checked.
func (d *demo) configure() error {
	keyset, err := citizen.NewKeyset()
	if err != nil {
		return err
	}
	exported, err := keyset.Export()
	if err != nil {
		return err
	}
	d.adminKey = rand.Text()
	state := filepath.Join(d.dir, "state")
	settings := []string{
		"EKC_HTTP_ADDR=" + d.addr, "EKC_DATABASE_URL=" + d.server.URL(), "EKC_KEYSET=" + string(exported), "EKC_ADMIN_KEY=" + d.adminKey,
		"EKC_STATE_DIR=" + state, "EKC_KAFKA_BROKERS=" + strings.Join(d.brokers.Addrs, ","), "EKC_DRAIN_TIMEOUT=5s", "EKC_LOG_FORMAT=text",
	}
	senders := `{name: "2442", ton: 3, two_way: true}`
	for _, agency := range sortedKeys(demoSenders) {
		senders += fmt.Sprintf(`, {name: %s, agency: "%s"}`, demoSenders[agency], agency)
	}
	entries := ""
	for i, name := range demoLinks {
		entries += fmt.Sprintf("{name: %s, pool: demo, addr: '%s', system_id: ekc, window: 1, rate: 100, response_timeout: 2s, "+
			"error_map: {err 001: unknown_number, err 006: absent_subscriber}, senders: [%s]}, ",
			name, d.smscs[i].Addr(), senders)
	}
	d.config, err = readConfig("", append(settings, "EKC_SMSC=["+entries+"]"))
	return err
}

func (d *demo) openLog() (*slog.Logger, func(), error) {
	path := d.logFile
	if path == "" {
		path = filepath.Join(d.dir, "ekc.log")
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return newLog(LogConfig{Level: "info", Format: "text"}, file), func() { _ = file.Close() }, nil
}

func (d *demo) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", d.addr)
	if err != nil {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("open the HTTP door: %w", err)
	}
	return listener, nil
}

// prepareDatabase makes the schema, the catalogue, and the demo's own versions of the rules.
func (d *demo) prepareDatabase(ctx context.Context, log *slog.Logger) error {
	db, err := awaitDatabase(ctx, postgres.Config{URL: d.config.Database.URL.Reveal(), Name: "ekc demo", MaxConns: 2}, log, func(error) {})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := postgres.Migrate(ctx, db); err != nil {
		return err
	}
	if _, err := catalog.Seed(ctx, db); err != nil {
		return err
	}
	return putDemoRules(ctx, db, time.Now())
}

// openAroundTheClock makes the demo independent of the hour at which it is run: the catalogue refuses a window before 08:00 or after
// 22:00, so the demo opens the ordinary one beside it. The urgent one stays as the catalogue has it; see demoRules.
func openAroundTheClock(r *dispatch.Rules) {
	inForce := r.Window
	var whole citizen.Window
	for day := range whole.Weekdays {
		whole.Weekdays[day] = citizen.Hours{From: 0, To: 24 * 60}
	}
	r.Window = func(channel string, wide bool) *citizen.Window {
		if wide {
			return inForce(channel, wide)
		}
		return &whole
	}
}

// demoRules are versions of the catalogue's rules that shorten what takes minutes in earnest. The urgent window is put where it is
// closed now, to show a list that waits.
func demoRules(now time.Time) []catalog.Item {
	short := func(d time.Duration) *catalog.Duration { v := catalog.Duration(d); return &v }
	closed := catalog.Span{Days: []catalog.Weekday{0, 1, 2, 3, 4, 5, 6}, From: 8 * 60, To: 9 * 60}
	if hour := now.In(moscow()).Hour(); hour < 12 {
		closed.From, closed.To = 20*60, 21*60
	}
	backoff := func(tries int, delays ...time.Duration) *catalog.Backoff {
		b := &catalog.Backoff{Tries: tries}
		for _, d := range delays {
			b.Delays = append(b.Delays, catalog.Duration(d))
		}
		return b
	}
	items := []*catalog.Rule{
		{Head: catalog.Head{Code: catalog.RuleWindowSMSUrgent}, Title: "Окно срочных СМС (демо: сейчас закрыто)", Window: &catalog.Window{Spans: []catalog.Span{closed}}},
		{Head: catalog.Head{Code: catalog.RuleGap}, Title: "Промежуток (демо)", Duration: short(2 * time.Second)},
		{Head: catalog.Head{Code: catalog.RuleGiveUp}, Title: "Ожидание отчёта (демо)", Duration: short(15 * time.Second)},
		{Head: catalog.Head{Code: catalog.RuleUncertainWait}, Title: "Ожидание при неясном исходе (демо)", Duration: short(4 * time.Second)},
		{Head: catalog.Head{Code: catalog.RuleRetryDefault}, Title: "Повтор (демо)", Backoff: backoff(5, time.Second, 2*time.Second)},
		{Head: catalog.Head{Code: "retry.throttled"}, Title: "Повтор при превышении скорости (демо)", Backoff: backoff(0, time.Second)},
		{Head: catalog.Head{Code: "retry.queue_full"}, Title: "Повтор при переполненной очереди (демо)", Backoff: backoff(5, time.Second)},
		{Head: catalog.Head{Code: "retry.smsc_system_error"}, Title: "Повтор при ошибке центра СМС (демо)", Backoff: backoff(4, time.Second)},
		{Head: catalog.Head{Code: "retry.sim_replaced"}, Title: "Повтор после замены SIM-карты (демо)", Backoff: backoff(2, 2*time.Second)},
		{Head: catalog.Head{Code: "retry.network"}, Title: "Повтор при сбое сети (демо)", Backoff: backoff(3, time.Second)},
	}
	out := make([]catalog.Item, len(items))
	for i, item := range items {
		item.Unverified = true
		out[i] = item
	}
	return out
}

func moscow() *time.Location { return time.FixedZone("MSK", 3*60*60) }

var demoPrincipal = journal.System("demo")
