package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ekc/postgres"
)

// release is set by the linker: -X main.release=1.2.3.
var release = "dev"

// versionInfo is what this binary is made of.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	Schema  string `json:"schema"` // digest of the migrations it has
}

func version() versionInfo {
	v := versionInfo{Version: release, Go: runtime.Version()}
	v.Schema, _ = postgres.SchemaDigest()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		v := version()
		if asJSON {
			return printJSON(cmd, v)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "ekc %s %s %s schema %s\n", v.Version, v.Commit, v.Go, v.Schema)
		return err
	}}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func jsonFlag(cmd *cobra.Command, v *bool) {
	cmd.Flags().BoolVar(v, "json", false, "print JSON for a machine")
}

func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
