package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"
)

func (a *app) serveCommand() *cobra.Command {
	var names []string
	cmd := &cobra.Command{Use: "serve", Short: "Run the hub", Args: cobra.NoArgs,
		Long: `Runs the hub by the configuration of --config until SIGTERM; then it claims no more, lets what is on the wire and in the
doors finish for drain_timeout, and ends. A second signal ends it at once. Any number of processes may run on one database: each pool of
links is held by one of them, the others stand by. A database that is away is waited for.

Roles: api is HTTP and the checking of lists, feed the reading of Kafka's topics, sms the links to SMS centres and the registering of what
citizens write over them; voice and inbound have nothing to do yet. Every process answers /healthz, /readyz and /metrics.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			performs, err := parseRoles(names)
			if err != nil {
				return usage(cmd, err)
			}
			c, err := a.config(true)
			if err != nil {
				return err
			}
			listener, err := net.Listen("tcp", c.HTTP.Addr)
			if err != nil {
				return &exitError{exitFailed, fmt.Errorf("open the HTTP door: %w", err)}
			}
			h := &hub{config: c, roles: performs, log: newLog(c.Log, cmd.ErrOrStderr()), listener: listener}
			return h.run(cmd.Context())
		}}
	cmd.Flags().StringSliceVar(&names, "roles", roleNames, "parts to perform, by commas")
	return cmd
}
