package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
)

// backend is where status, trace and stop ask: the API, or, when that does not answer, the same operations performed by this
// command on the database itself, with the same key and the same rights.
type backend struct {
	*apiClient
	away  error // why the API was not asked; nil when it was
	close func()
}

// answerWithin is how long the API may take to show that it is there.
const answerWithin = 3 * time.Second

func (a *app) backend(ctx context.Context, errOut io.Writer) (*backend, error) {
	client, err := clientFromEnv()
	if err == nil {
		probe, cancel := context.WithTimeout(ctx, answerWithin)
		err = client.call(probe, http.MethodGet, "/healthz", nil, nil)
		cancel()
		if err == nil {
			return &backend{apiClient: client, close: func() {}}, nil
		}
		if !unreachable(err) {
			return nil, err
		}
	}
	away := err
	c, err := readConfig(a.configPath, os.Environ())
	if err != nil || c.Database.URL == "" {
		return nil, &exitError{exitUnreachable, fmt.Errorf("API не отвечает (%w), а база данных не названа: укажите --config или EKC_DATABASE_URL", away)}
	}
	key := os.Getenv("EKC_KEY")
	if key == "" {
		return nil, &exitError{exitUsage, errors.New("EKC_KEY is empty; make a key of your own: ekc keys create LOGIN --role duty_engineer")}
	}
	_, _ = fmt.Fprintf(errOut, "API не отвечает (%v): ответ взят прямо из базы данных.\n", away)
	handler, closeAll, err := localAPI(ctx, c)
	if err != nil {
		return nil, err
	}
	local := &apiClient{base: "http://database", key: key, http: &http.Client{Transport: handlerTransport{handler}}}
	return &backend{apiClient: local, away: away, close: closeAll}, nil
}

// localAPI is the HTTP door without a listener.
func localAPI(ctx context.Context, c *Config) (http.Handler, func(), error) {
	keyset, err := citizen.LoadKeyset(c.Keyset.Reveal())
	if err != nil {
		return nil, nil, fmt.Errorf("the key set is needed as well: %w", err)
	}
	db, err := openDatabase(ctx, c, "command")
	if err != nil {
		return nil, nil, err
	}
	keyring, writer, log := citizen.NewKeyring(keyset, 16), journal.NewWriter(), slog.New(slog.DiscardHandler)
	watcher, err := catalog.Watch(ctx, db, log)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	whither := routes(c)
	lists := ingest.New(ingest.Config{DB: db, Catalog: watcher.Current, Keys: keyring, Journal: writer, Admission: dispatch.NewAdmission(whither),
		Routes: whither, Now: time.Now, Log: log})
	inForce := &rules{catalog: watcher.Current, now: time.Now, permitted: permittedPhones(c), log: log}
	office := &dispatch.Office{DB: db, Journal: writer, Keyring: keyring, Now: time.Now, Rules: inForce.current, Simulators: []string{simulatorPool}}
	server, err := openapi.New(openapi.Config{Version: version().Version}, openapi.Deps{
		DB: db, Accounts: openapi.NewAccounts(db, writer, time.Now, openapi.AccountsConfig{}), Journal: writer, Keyring: keyring, Log: log,
		Metrics: prometheus.NewRegistry(), Now: time.Now,
		Doors: doors(office, lists, watcher),
	})
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return server.Handler(), db.Close, nil
}

// handlerTransport calls a handler in place of the network.
type handlerTransport struct{ handler http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

func (a *app) stopCommand() *cobra.Command {
	var reason string
	var lift int64
	var asJSON bool
	cmd := &cobra.Command{Use: "stop SCOPE [TARGET]", Short: "Stop everything, or what is named; --lift ends a stop", Args: cobra.MaximumNArgs(2),
		Long: `Holds back what is named, in every process within 2 s, until it is lifted: restarts do not end it. SCOPE is all, agency,
channel, pool, link, template, life_event or list; TARGET is its code, name or id. When the API does not answer, the stop is written
to the database.`,
		Example: `  ekc stop all --reason "сообщения с неверной суммой"
  ekc stop agency 0002.000014 --reason "просьба агентства, тел. 15:40"
  ekc stop --lift 12`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (lift > 0) == (len(args) > 0) {
				return usage(cmd, errors.New("say what to stop, or --lift ID"))
			}
			if lift == 0 && len(reason) < 3 {
				return usage(cmd, errors.New("--reason is for who finds the stop in the night"))
			}
			b, err := a.backend(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer b.close()
			if lift > 0 {
				if err := b.call(cmd.Context(), http.MethodDelete, fmt.Sprintf("/v1/stops/%d", lift), nil, nil); err != nil {
					return asExit(err)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "остановка %d снята\n", lift)
				return err
			}
			body := map[string]string{"scope": args[0], "reason": reason}
			if len(args) == 2 {
				body["target"] = args[1]
			}
			var made struct {
				ID int64 `json:"id"`
			}
			if err := b.call(cmd.Context(), http.MethodPost, "/v1/stops", body, &made); err != nil {
				return asExit(err)
			}
			if asJSON {
				return printJSON(cmd, made)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "остановка %d действует; снять: ekc stop --lift %d\n", made.ID, made.ID)
			return err
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever finds it; no personal data")
	cmd.Flags().Int64Var(&lift, "lift", 0, "end the stop with this `id`")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) recoverCommand() *cobra.Command {
	var yes, asJSON bool
	cmd := &cobra.Command{Use: "recover", Short: "Let a restored or failed-over database send again", Args: cobra.NoArgs,
		Long: `After a restore or a failover the database may not know what was already sent, so serve sends nothing. Make sure that this
database is the right one and that no process still sends from another; then run this on each machine that has a state_dir. Everything that
was due is marked as uncertain and held for a person: nothing is sent a second time blindly. Stop every "ekc serve" first.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return usage(cmd, errors.New("--yes says that this database is the right one and nothing sends from another"))
			}
			c, err := a.config(true)
			if err != nil {
				return err
			}
			found, err := recoverDatabase(cmd.Context(), c, newLog(c.Log, cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, map[string]any{"marked": found.Marked, "waiting_lists": found.Waiting})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "база принята: под вопросом %d сообщений, каждое ждёт решения человека; списков, которые могли начаться после копии: %d %v\n",
				found.Marked, len(found.Waiting), found.Waiting)
			return err
		}}
	cmd.Flags().BoolVar(&yes, "yes", false, "this database is the right one, and nothing sends from another")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// recoverDatabase marks what may have gone, journals it, and takes the database's present state for the true one.
func recoverDatabase(ctx context.Context, c *Config, log *slog.Logger) (dispatch.Restored, error) {
	keyset, err := citizen.LoadKeyset(c.Keyset.Reveal())
	if err != nil {
		return dispatch.Restored{}, err
	}
	db, err := openDatabase(ctx, c, "recover")
	if err != nil {
		return dispatch.Restored{}, err
	}
	defer db.Close()
	watcher, err := catalog.Watch(ctx, db, log)
	if err != nil {
		return dispatch.Restored{}, err
	}
	writer := journal.NewWriter()
	inForce := &rules{catalog: watcher.Current, now: time.Now, log: log}
	core := dispatch.New(dispatch.Config{DB: db, Hot: db, Journal: writer, Keyring: citizen.NewKeyring(keyset, openKeys), Rules: inForce.current,
		Routes: routes(c), Process: processName(), Log: log, Now: time.Now})
	found, err := core.Recover(ctx, poolNames(c))
	if err != nil {
		return found, err
	}
	if err := journalRecovery(ctx, db, writer, found); err != nil {
		return found, err
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return found, fmt.Errorf("make state_dir: %w", err)
	}
	return found, journal.NewStateFile(c.StateDir).Accept(ctx, db)
}
