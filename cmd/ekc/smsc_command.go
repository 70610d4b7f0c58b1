package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/smpp"
)

func (a *app) smscCommand() *cobra.Command {
	var wait time.Duration
	check := &cobra.Command{Use: "check NAME", Short: "Bind to a configured SMS centre, and unbind", Args: cobra.ExactArgs(1),
		Long: `Binds once with the account's settings, sends nothing, unbinds, and prints the account's passport. Mind that an SMS centre
may count this bind against the ones a running hub has.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.config(false)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(c.SMSC, func(s SMSCConfig) bool { return s.Name == args[0] })
			if i < 0 {
				return &exitError{exitUsage, errors.New("no smsc of this name is configured")}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			passport, states, err := tryBind(ctx, c.SMSC[i])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			_, _ = fmt.Fprintln(out, passport)
			failed := false
			for _, name := range sortedKeys(states) {
				s := states[name]
				line := fmt.Sprintf("%s: %s", name, s.Phase)
				if s.Phase == smpp.Refused {
					line += " with " + s.Status.String()
				}
				if s.Err != nil {
					line += ": " + s.Err.Error()
				}
				_, _ = fmt.Fprintln(out, line)
				failed = failed || s.Phase != smpp.Bound
			}
			if failed || len(states) == 0 {
				return &exitError{exitUnreachable, errors.New("not all binds came up")}
			}
			return nil
		}}
	check.Flags().DurationVar(&wait, "wait", 15*time.Second, "how long to wait for the answer")
	return group("smsc", "Look at SMS centres", check)
}

// tryBind tries each bind once and returns how each ended, by name.
func tryBind(ctx context.Context, s SMSCConfig) (string, map[string]smpp.BindState, error) {
	cfg, err := linkConfig(s)
	if err != nil {
		return "", nil, err
	}
	if cfg.TLS, err = clientTLSConfig(s.TLS); err != nil {
		return "", nil, err
	}
	each := 1
	if cfg.Bind == smpp.TXRX {
		each = 2
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	states := make(map[string]smpp.BindState)
	link := smpp.NewLink(cfg, smpp.Handlers{State: func(s smpp.BindState) {
		if ctx.Err() != nil || s.Phase == smpp.Connecting {
			return
		}
		if _, known := states[s.Bind]; !known {
			states[s.Bind] = s
		}
		if len(states) == cfg.Binds*each {
			cancel()
		}
	}}, slog.New(slog.DiscardHandler), time.Now)
	if err := link.Run(ctx); err != nil {
		return "", nil, err
	}
	return link.Passport(), states, nil
}

// clientTLSConfig is nil for a connection in the clear.
func clientTLSConfig(t *ClientTLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates: %s has none", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read our certificate: %s", strings.TrimPrefix(err.Error(), "tls: "))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
