// Command ekc is the one binary of the hub: it wires the packages together, and gives engineers, operators and the demo their
// commands. It promises that a wrong setting is told before anything starts, that a database that is away is waited for, and that
// the first SIGTERM lets what is on the wire finish. What is sent, and when, it leaves to the packages below.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // zones are known also where the machine has none

	"github.com/spf13/cobra"

	"ekc/postgres"
)

// Exit codes (CONTRACTS 5).
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFound       = 3
	exitUnreachable = 4
)

const exitHelp = `
Exit codes: 0 done, 1 failed, 2 wrong use, 3 found something wrong, 4 unreachable.`

// exitError is an error with the code the process ends with. A nil err has been told already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: its result is the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if text := err.Error(); text != "" {
		_, _ = fmt.Fprintln(errOut, "ekc: "+text)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var exit *exitError
	var netErr *net.OpError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, postgres.ErrBehind), errors.Is(err, postgres.ErrChanged):
		return exitFound
	case postgres.IsUnavailable(err), errors.As(err, &netErr):
		return exitUnreachable
	}
	return exitFailed
}

// app is what commands share: where the settings are.
type app struct{ configPath string }

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "ekc",
		Short: "ИС ЕКЦ: integration hub and outbound informing gateway",
		Long: `ekc takes lists of messages about life events, tells people by SMS, and keeps a history that explains every row.

  ekc demo                everything in one process, with invented people
  ekc serve               the hub itself, by the configuration of --config
  ekc config check        what is wrong with the configuration
  ekc status              what is wrong with the hub, since when, what to do

Commands that speak HTTP (lists, status, trace, stop) go to EKC_URL with the key in EKC_KEY.
` + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&a.configPath, "config", os.Getenv("EKC_CONFIG"), "configuration `file`; also EKC_CONFIG")
	root.AddCommand(a.serveCommand(), a.demoCommand(), a.migrateCommand(), a.configCommand(), a.keysCommand(), a.listsCommand(), a.statusCommand(),
		a.traceCommand(), a.stopCommand(), a.recoverCommand(), a.simulateCommand(), a.catalogCommand(), a.journalCommand(), a.smscCommand(), a.feedCommand(), a.versionCommand())
	finishCommand(root)
	return root
}

// finishCommand makes wrong use end with its code, and every help name the codes.
func finishCommand(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(cmd, err)
			}
			return nil
		}
	}
	if !strings.Contains(cmd.Long, exitHelp) {
		cmd.Long = strings.TrimSpace(cmd.Long+"\n") + "\n" + exitHelp
		if strings.TrimSpace(cmd.Long) == strings.TrimSpace(exitHelp) {
			cmd.Long = cmd.Short + ".\n" + exitHelp
		}
	}
	for _, sub := range cmd.Commands() {
		finishCommand(sub)
	}
}

func usage(cmd *cobra.Command, err error) error {
	return &exitError{exitUsage, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
}

// group is a command that only has others under it.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		_ = cmd.Help()
		return &exitError{exitUsage, errors.New("say which: " + cmd.CommandPath() + " …")}
	}}
	cmd.AddCommand(subs...)
	return cmd
}

// config reads the settings; a command that needs the database says so.
func (a *app) config(needDatabase bool) (*Config, error) {
	c, err := readConfig(a.configPath, os.Environ())
	if err != nil {
		return nil, err
	}
	if needDatabase && c.Database.URL == "" {
		return nil, errors.New("no database is named: set database.url in the configuration, or EKC_DATABASE_URL")
	}
	return c, nil
}

// newLog is the process's log, which goes to standard error.
func newLog(c LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked with the configuration
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
