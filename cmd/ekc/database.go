package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"ekc/dispatch"
	"ekc/journal"
	"ekc/postgres"
)

// openDatabase is for commands: it does not wait, and the schema must be the one this program knows.
func openDatabase(ctx context.Context, c *Config, name string) (*pgxpool.Pool, error) {
	db, err := postgres.Open(ctx, postgres.Config{URL: c.Database.URL.Reveal(), Name: "ekc " + name, MaxConns: 4})
	if err != nil {
		return nil, err
	}
	if err := postgres.Check(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// awaitDatabase opens a pool as soon as the database answers. told is called with every reason it does not; only a fault that
// waiting cannot cure is returned.
func awaitDatabase(ctx context.Context, c postgres.Config, log *slog.Logger, told func(error)) (*pgxpool.Pool, error) {
	var wait postgres.Backoff
	waiting := false
	for {
		db, err := postgres.Open(ctx, c)
		switch {
		case err == nil:
			if waiting {
				log.Info("the database answers")
			}
			return db, nil
		case !postgres.IsUnavailable(err):
			return nil, err
		case !waiting:
			log.Warn("waiting for the database", "err", err)
			waiting = true
		}
		told(err)
		if err := wait.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

func (a *app) migrateCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the database's schema up to date", Args: cobra.NoArgs,
		Long: `Applies the migrations the database has not, each in a transaction of its own. Migrations expand first: the version of
the program that runs now goes on running. A database newer than this program is left as it is.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(true)
			if err != nil {
				return err
			}
			db, err := postgres.Open(cmd.Context(), postgres.Config{URL: c.Database.URL.Reveal(), Name: "ekc migrate", MaxConns: 2})
			if err != nil {
				return err
			}
			defer db.Close()
			applied, err := postgres.Migrate(cmd.Context(), db)
			if asJSON {
				return errors.Join(err, printJSON(cmd, map[string]any{"applied": append([]string{}, applied...)}))
			}
			for _, name := range applied {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), "applied "+name)
			}
			if err == nil && len(applied) == 0 {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), "the schema is up to date")
			}
			return err
		}}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// journalRecovery notes that a person put a restored database to work.
func journalRecovery(ctx context.Context, db *pgxpool.Pool, writer *journal.Writer, found dispatch.Restored) error {
	return postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		_, err := writer.Append(ctx, tx, []journal.Entry{{Kind: journal.Recovered, At: time.Now(), Actor: journal.Recovery().Account,
			Count: found.Marked, Reason: string(dispatch.ReasonRestored)}})
		return err
	})
}
