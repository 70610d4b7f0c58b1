package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ekc/smpp/smpptest"
)

func (a *app) simulateCommand() *cobra.Command {
	return group("simulate", "Play the far side", simulateSMSC())
}

func simulateSMSC() *cobra.Command {
	var cfg smpptest.Config
	var english, useTLS bool
	cmd := &cobra.Command{Use: "smsc", Short: "Run an SMS centre that misbehaves on request", Args: cobra.NoArgs,
		Long: `Listens as an SMS centre (SMPP 3.4) until it is interrupted, then prints its record. Any system_id is let in but those of the
table below. The last two digits of a number +7 9xx 000 00 NN choose what happens to a message; every other number is accepted and
reported DELIVRD. --record appends a line for each event to a file.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if useTLS {
				server, _, err := smpptest.SelfSigned()
				if err != nil {
					return err
				}
				cfg.TLS = server
			}
			server, err := smpptest.Start(cfg)
			if err != nil {
				return fmt.Errorf("start the simulator: %w", err)
			}
			defer server.Close()
			out := cmd.OutOrStdout()
			_, _ = fmt.Fprintf(out, "SMS centre on %s\n\n", server.Addr())
			if err := smpptest.WriteTable(out, english); err != nil {
				return err
			}
			<-cmd.Context().Done()
			_, err = fmt.Fprintf(out, "\n%s", server.Summary())
			return err
		}}
	f := cmd.Flags()
	f.StringVar(&cfg.Addr, "addr", "127.0.0.1:2775", "host:port to listen on")
	f.BoolVar(&useTLS, "tls", false, "TLS with a certificate made now")
	f.IntVar(&cfg.Rate, "rate", 0, "segments a second for one system_id, ESME_RTHROTTLED above it; 0 is no limit")
	f.IntVar(&cfg.Window, "window", 0, "submit_sm of one link unanswered, ESME_RTHROTTLED above it; 0 is no limit")
	f.IntVar(&cfg.MaxBinds, "max-binds", 0, "links of one system_id, ESME_RALYBND above it; 0 is no limit")
	f.DurationVar(&cfg.Latency, "latency", 0, "delay of every response")
	f.DurationVar(&cfg.ReceiptDelay, "receipt-delay", 300*time.Millisecond, "delay of receipts")
	f.DurationVar(&cfg.ReceiptJitter, "receipt-jitter", 0, "added to it at random")
	f.StringVar(&cfg.RecordFile, "record", "", "`file` to append the record to")
	f.BoolVar(&english, "english", false, "the table in English")
	return cmd
}
