package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ekc/journal"
)

// verified is what `ekc journal verify` prints as JSON.
type verified struct {
	OK       bool   `json:"ok"`
	Size     int64  `json:"size"`
	Root     string `json:"root"`
	Rows     int64  `json:"rows"`
	Unplaced int64  `json:"unplaced"`
	Fault    string `json:"fault,omitempty"`
}

func (a *app) journalCommand() *cobra.Command {
	var asJSON bool
	var size int64
	var root string
	verify := &cobra.Command{Use: "verify", Short: "Read the whole journal and prove that it is whole", Args: cobra.NoArgs,
		Long: `Reads every entry in the provable order and computes every hash again. With --size and --root, a checkpoint kept earlier
outside the database, it also proves that the entries before it are still the same ones. Ends with 3 if anything was altered, removed or
put in another order.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			since := journal.Checkpoint{Size: size}
			var err error
			if since.Root, err = hex.DecodeString(root); err != nil || (size == 0) != (root == "") {
				return usage(cmd, errors.New("--size and --root are given both, as a checkpoint has them"))
			}
			c, err := a.config(true)
			if err != nil {
				return err
			}
			db, err := openDatabase(cmd.Context(), c, "journal verify")
			if err != nil {
				return err
			}
			defer db.Close()
			report, err := journal.Verify(cmd.Context(), db, since)
			if err != nil {
				return err
			}
			v := verified{OK: report.Fault == nil, Size: report.Size, Root: hex.EncodeToString(report.Root), Rows: report.Rows, Unplaced: report.Unplaced}
			if report.Fault != nil {
				v.Fault = report.Fault.Error()
			}
			if asJSON {
				err = printJSON(cmd, v)
			} else if v.OK {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "the journal is whole: %d entries, root %s, %d wait for their place\n", v.Size, v.Root, v.Unplaced)
			}
			switch {
			case err != nil || v.OK:
				return err
			case asJSON:
				return &exitError{exitFound, nil}
			}
			return &exitError{exitFound, fmt.Errorf("the journal is damaged: %s", v.Fault)}
		}}
	verify.Flags().Int64Var(&size, "size", 0, "entries of a checkpoint kept earlier")
	verify.Flags().StringVar(&root, "root", "", "its root in hexadecimal")
	jsonFlag(verify, &asJSON)
	return group("journal", "Prove the history", verify)
}
