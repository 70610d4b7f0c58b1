package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ekc/citizen"
	"ekc/journal"
	"ekc/openapi"
)

func (a *app) keysCommand() *cobra.Command {
	initKeyset := &cobra.Command{Use: "init FILE", Short: "Make the key set that seals personal data", Args: cobra.ExactArgs(1),
		Long: `Writes a new key set to FILE, readable by its owner only, and refuses to overwrite one. Whoever has this file and the
database can read everything; without it nothing in the database can be read again. Keep a copy apart from the database's backups.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			keyset, err := citizen.NewKeyset()
			if err != nil {
				return err
			}
			if err := writeKeyset(keyset, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "made %s; set keyset: %s in the configuration, and keep a copy apart from the database's backups\n", args[0], args[0])
			return err
		}}
	return group("keys", "Make key sets and keys of accounts", initKeyset, a.keysCreate())
}

// writeKeyset makes the file and never writes over one.
func writeKeyset(keyset *citizen.Keyset, path string) error {
	text, err := keyset.Export()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; a key set is never overwritten", path)
	}
	if err != nil {
		return fmt.Errorf("make key set file: %w", err)
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write key set file: %w", err)
	}
	return nil
}

func (a *app) keysCreate() *cobra.Command {
	var n openapi.NewAccount
	var key openapi.NewKey
	var roles []string
	var lives time.Duration
	var asJSON bool
	cmd := &cobra.Command{Use: "create LOGIN", Short: "Make a key of an account, and the account if --role is given", Args: cobra.ExactArgs(1),
		Long: `Makes a key straight in the database: for the first accounts, and for when nobody can administer any more. The key is
printed once and cannot be had again; its making is in the journal as the act of system/keys. With --role the account is made first.`,
		Example: `  ekc keys create petrova --role security_admin
  ekc keys create demo.loader --role list_loader --agency 0002.000014 --test`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.config(true)
			if err != nil {
				return err
			}
			db, err := openDatabase(cmd.Context(), c, "keys")
			if err != nil {
				return err
			}
			defer db.Close()
			accounts := openapi.NewAccounts(db, journal.NewWriter(), time.Now, openapi.AccountsConfig{})
			by := journal.System("keys")
			n.Login, key.Login = args[0], args[0]
			for _, role := range roles {
				n.Roles = append(n.Roles, journal.Role(role))
			}
			if len(roles) > 0 {
				if _, err := accounts.CreateAccount(cmd.Context(), by, n); err != nil {
					return err
				}
			}
			if lives > 0 {
				key.Expires = time.Now().Add(lives)
			}
			made, secret, err := accounts.CreateKey(cmd.Context(), by, key)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, struct {
					openapi.Key
					Secret string `json:"secret"`
				}{made, secret})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", secret)
			return err
		}}
	f := cmd.Flags()
	f.StringArrayVar(&roles, "role", nil, "role of a new account; several times for several")
	f.StringVar(&n.Kind, "kind", openapi.Person, "of a new account: person or system")
	f.StringVar(&n.Title, "title", "", "who a new account is, for people")
	f.StringVar(&n.Agency, "agency", "", "code of a new account's agency; none: the operator of the system")
	f.StringVar(&n.Source, "source", "", "of a new system: its entry in the catalogue of sources")
	f.BoolVar(&key.Test, "test", false, "a test key: its lists go to the built-in simulator only")
	f.DurationVar(&lives, "lives", 0, "how long the key works; 0: until it is revoked")
	jsonFlag(cmd, &asJSON)
	return cmd
}
