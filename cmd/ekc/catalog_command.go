package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"ekc/catalog"
	"ekc/journal"
	"ekc/postgres"
)

const documentHelp = `The file is YAML: the kinds (life_event, measure, agency, office, source, template, rule, state), and under each a list of items.
A bare list is a list of templates. - is standard input or output.`

func (a *app) catalogCommand() *cobra.Command {
	return group("catalog", "Check, write out and bring in what may be said", a.catalogLintCommand(), a.catalogExportCommand(), a.catalogImportCommand())
}

func (a *app) catalogLintCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "lint [FILE|-]", Short: "Say what is wrong with templates and the rest of a catalogue", Args: cobra.MaximumNArgs(1),
		Long: `Reads a file of the catalogue, lays it over what the product comes with, and says in Russian what is wrong and what to do. Without
FILE the product's own catalogue is checked. Needs no server and no database. With --config it also asks whether the configured senders
can be answered. Ends with 3 if there are errors; advice alone ends with 0.
` + documentHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			var senders []SenderConfig
			if a.configPath != "" {
				c, err := a.config(false)
				if err != nil {
					return err
				}
				for _, s := range c.SMSC {
					senders = append(senders, s.Senders...)
				}
			}
			items, err := catalog.SeedItems()
			if err != nil {
				return err
			}
			before := catalog.New(nil)
			after := catalog.New(items)
			var faults error
			if len(args) == 1 {
				data, err := readDocument(cmd, args[0])
				if err != nil {
					return err
				}
				items, faults = catalog.ParseDocument(data)
				before, after = after, after.With(items)
			}
			r := lintCatalog(before, after, items, time.Now(), senders)
			if faults != nil {
				r.fault(faults)
				r.judge()
			}
			return tellReport(cmd, r, asJSON)
		}}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// tellReport ends with the code for something found when there are errors, which have been told then.
func tellReport(cmd *cobra.Command, r *catalogReport, asJSON bool) error {
	tell := func() error { return r.print(cmd.OutOrStdout()) }
	if asJSON {
		tell = func() error { return printJSON(cmd, r) }
	}
	err := tell()
	if err == nil && !r.OK {
		return &exitError{exitFound, nil}
	}
	return err
}

func readDocument(cmd *cobra.Command, name string) ([]byte, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, &exitError{exitFailed, fmt.Errorf("read the catalogue's file: %w", err)}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, catalog.MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read the catalogue's file: %w", err)
	}
	return data, nil
}

func (a *app) catalogExportCommand() *cobra.Command {
	var seed bool
	cmd := &cobra.Command{Use: "export [FILE|-]", Short: "Write the catalogue as a file", Args: cobra.MaximumNArgs(1),
		Long: `Writes for every code the version in force and those to come, from the database; with --seed what the product comes with, from
nowhere. The same catalogue gives the same bytes, so the file may be kept under version control. Ends with 3 if an item of a later
release could not be read and is left out.
` + documentHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := catalog.SeedItems()
			var left error
			if !seed {
				items, left, err = a.exported(cmd)
			}
			if err != nil {
				return err
			}
			document, err := catalog.FormatDocument(items)
			if err != nil {
				return err
			}
			if len(args) == 0 || args[0] == "-" {
				_, err = cmd.OutOrStdout().Write(document)
			} else if err = os.WriteFile(args[0], document, 0o644); err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: записей: %d\n", args[0], len(items))
			}
			if err == nil && left != nil {
				return &exitError{exitFound, fmt.Errorf("left out: %w", left)}
			}
			return err
		}}
	cmd.Flags().BoolVar(&seed, "seed", false, "what the product comes with, without a database")
	return cmd
}

func (a *app) exported(cmd *cobra.Command) (items []catalog.Item, left, err error) {
	c, err := a.config(true)
	if err != nil {
		return nil, nil, err
	}
	db, err := openDatabase(cmd.Context(), c, "catalog export")
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	now, err := catalog.Load(cmd.Context(), db)
	if err != nil {
		return nil, nil, err
	}
	return now.Export(time.Now()), errors.Join(now.Faults()...), nil
}

// imported is what `ekc catalog import` prints as JSON.
type imported struct {
	*catalogReport
	Changed []importedItem `json:"changed"`
	Same    int            `json:"same"`
	DryRun  bool           `json:"dry_run"`
}

type importedItem struct {
	Kind    catalog.Kind `json:"kind"`
	Code    string       `json:"code"`
	Version int          `json:"version"`
}

var errDryRun = errors.New("dry run")

func (a *app) catalogImportCommand() *cobra.Command {
	var asJSON, dry bool
	cmd := &cobra.Command{Use: "import FILE|-", Short: "Bring a file into the catalogue: new versions of what changed", Args: cobra.ExactArgs(1),
		Long: `Compares the file with the database and writes a new version of each item that differs; what is the same, and what the file
does not name, stays. Everything is checked as by lint first: on an error nothing is written, and it ends with 3. Lists that run keep the
version they were checked with. A running hub sees the change within two seconds.
` + documentHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readDocument(cmd, args[0])
			if err != nil {
				return err
			}
			items, err := catalog.ParseDocument(data)
			if err != nil {
				r := &catalogReport{Templates: []lintedTemplate{}, Faults: []catalogFault{}}
				r.fault(err)
				return tellReport(cmd, r, asJSON)
			}
			out, err := a.importItems(cmd, items, dry)
			if err != nil {
				return err
			}
			if !out.OK || asJSON {
				if asJSON {
					err = printJSON(cmd, out)
				} else {
					err = out.print(cmd.OutOrStdout())
				}
				if err == nil && !out.OK {
					return &exitError{exitFound, nil}
				}
				return err
			}
			verb := "записано"
			if dry {
				verb = "будет записано"
			}
			for _, c := range out.Changed {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s, версия %d\n", verb, kindTitles[c.Kind], c.Code, c.Version)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "новых версий: %d, без изменений: %d\n", len(out.Changed), out.Same)
			return err
		}}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and write nothing")
	return cmd
}

func (a *app) importItems(cmd *cobra.Command, items []catalog.Item, dry bool) (*imported, error) {
	ctx := cmd.Context()
	c, err := a.config(true)
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, c, "catalog import")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var senders []SenderConfig
	for _, s := range c.SMSC {
		senders = append(senders, s.Senders...)
	}
	now, actor, writer := time.Now(), journal.System("catalog"), journal.NewWriter()
	out := &imported{Changed: []importedItem{}, DryRun: dry}
	err = postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		changes, err := catalog.Import(ctx, tx, actor, items, func(before, after *catalog.Catalog, changes []catalog.Item) error {
			out.catalogReport = lintCatalog(before, after, changes, now, senders)
			for _, item := range changes {
				out.Changed = append(out.Changed, importedItem{item.Kind(), item.Header().Code, item.Header().Version})
			}
			out.Same = len(items) - len(changes)
			if dry || !out.OK {
				return errDryRun
			}
			return nil
		})
		if err != nil || len(changes) == 0 {
			return err
		}
		entries := make([]journal.Entry, len(changes))
		for i, item := range changes {
			h := item.Header()
			entries[i] = journal.Entry{Kind: journal.CatalogChanged, At: now, Actor: actor.Account, Agency: h.Agency,
				Data: journal.Fields("kind", string(item.Kind()), "code", h.Code, "version", fmt.Sprint(h.Version))}
		}
		_, err = writer.Append(ctx, tx, entries)
		return err
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return out, err
}
