package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	var asJSON bool
	check := &cobra.Command{Use: "check", Short: "Say what is wrong with the configuration, all at once", Args: cobra.NoArgs,
		Long: `Reads the file of --config, lays the environment over it and checks the whole, without connecting anywhere.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(a.configPath, os.Environ())
			var faults Faults
			if err != nil && !errors.As(err, &faults) {
				return err
			}
			if asJSON {
				result := struct {
					OK     bool     `json:"ok"`
					Digest string   `json:"digest,omitempty"`
					Faults []string `json:"faults"`
				}{OK: len(faults) == 0, Faults: append([]string{}, faults...)}
				if result.OK {
					if result.Digest, err = c.digest(); err != nil {
						return err
					}
				}
				if err := printJSON(cmd, result); err != nil {
					return err
				}
			}
			if len(faults) > 0 {
				if asJSON {
					return &exitError{exitFound, nil}
				}
				return &exitError{exitFound, faults}
			}
			if asJSON {
				return nil
			}
			digest, err := c.digest()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the configuration is good; digest %s\n", digest)
			return err
		}}
	jsonFlag(check, &asJSON)
	show := &cobra.Command{Use: "print", Short: "Print what is in force, secrets as ***", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(a.configPath, os.Environ())
			if err != nil {
				return err
			}
			out, err := c.printed()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		}}
	return group("config", "Check or print the configuration", check, show)
}
