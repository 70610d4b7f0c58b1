package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/ingest"
	"ekc/openapi"
)

func (a *app) listsCommand() *cobra.Command {
	var wait, asJSON bool
	var corrects, replaces string
	fields := make(map[string]*string)
	cmd := &cobra.Command{Use: "submit FILE", Short: "Bring a list: XLSX or CSV", Args: cobra.ExactArgs(1),
		Long: `Uploads the file and prints the list's id. With --wait it stays: shows how the list is checked and sent, and ends with 0 once
the list is completed, with 3 if it was rejected, refused or cancelled. Somebody else approves it meanwhile.

A mended file goes to its list: with --replaces while that waits for approval or was rejected, with --corrects once it was approved, which
makes a list of its own of the rows that were not taken before. What is not given stays as it was; --replaces takes nothing but the legal
basis, the order and the mapping.`,
		Example: `  ekc lists submit list.xlsx --template pension-granted --life-event OP-04 --legal-basis-code 178-FZ \
    --legal-basis-document "178-ФЗ" --legal-basis-date 1999-07-17 --ordered-by "письмо 12 от 01.02.2026" --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := clientFromEnv()
			if err != nil {
				return err
			}
			c.http.Timeout = 0
			form := make(map[string]string)
			for name, value := range fields {
				form[name] = *value
			}
			method, path := "POST", "/v1/lists"
			switch {
			case corrects != "":
				path += "/" + url.PathEscape(corrects) + "/corrections"
			case replaces != "":
				method, path = "PUT", path+"/"+url.PathEscape(replaces)+"/file"
			case form["name"] == "":
				form["name"] = filepath.Base(args[0])
			}
			ref, err := c.submitFile(cmd.Context(), method, path, args[0], form)
			if err != nil {
				return asExit(err)
			}
			if !wait {
				if asJSON {
					return printJSON(cmd, ref)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", ref.ID, ref.State)
				return err
			}
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "список %s\n", ref.ID)
			bar := newBar(cmd.ErrOrStderr())
			list, err := c.awaitList(cmd.Context(), ref.ID, ended, bar.show)
			bar.end()
			if err != nil {
				return asExit(err)
			}
			if asJSON {
				err = printJSON(cmd, list)
			} else {
				err = printOutcome(cmd.OutOrStdout(), list)
			}
			if err == nil && list.State != string(ingest.Completed) {
				return &exitError{exitFound, nil}
			}
			return err
		}}
	f := cmd.Flags()
	f.BoolVar(&wait, "wait", false, "stay until the list is over")
	f.StringVar(&corrects, "corrects", "", "`id` of an approved list that this file mends")
	f.StringVar(&replaces, "replaces", "", "`id` of a list, not approved yet, whose file this one takes the place of")
	cmd.MarkFlagsMutuallyExclusive("corrects", "replaces")
	for _, field := range []struct{ name, help string }{
		{"name", "name of the list; the file's when not given"}, {"life_event", "code or name of the life event"},
		{"template", "code or title of the template"}, {"channels", "plan: sms, voice, or «СМС, затем звонок»"},
		{"priority", "urgent, normal or bulk"}, {"on_uncertain", "resend or hold"}, {"legal_basis.code", "code of the legal basis"},
		{"legal_basis.document", "its document"}, {"legal_basis.date", "its date, 31.01.2026 or 2026-01-31"}, {"ordered_by", "order or letter"},
		{"valid_until", "day or time after which nothing is sent"}, {"not_before", "day or time before which nothing is sent"},
		{"inform_by", "day or time by which people must be told"}, {"sender", "sender by name"},
		{"mapping", `columns whose titles are not ours: {"Контакт": "phone", "Телефон": ""}`}, {"again", "true: the same file came before, and is meant to go again"},
	} {
		fields[field.name] = f.String(strings.NewReplacer("_", "-", ".", "-").Replace(field.name), "", field.help)
	}
	jsonFlag(cmd, &asJSON)
	return group("lists", "Bring lists", cmd)
}

// asExit gives an error of the API its exit code.
func asExit(err error) error {
	if unreachable(err) {
		return &exitError{exitUnreachable, err}
	}
	return err
}

// submitFile uploads a file as it is read from the disk.
func (c *apiClient) submitFile(ctx context.Context, method, path, name string, fields map[string]string) (openapi.ListRef, error) {
	file, err := os.Open(name)
	if err != nil {
		return openapi.ListRef{}, fmt.Errorf("open the list: %w", err)
	}
	defer func() { _ = file.Close() }()
	return c.upload(ctx, method, path, filepath.Base(name), file, fields)
}

func (c *apiClient) submit(ctx context.Context, name string, file io.Reader, fields map[string]string) (openapi.ListRef, error) {
	return c.upload(ctx, "POST", "/v1/lists", name, file, fields)
}

func (c *apiClient) upload(ctx context.Context, method, path, name string, file io.Reader, fields map[string]string) (openapi.ListRef, error) {
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		err := func() error {
			for _, field := range sortedKeys(fields) {
				if err := form.WriteField(field, fields[field]); err != nil {
					return err
				}
			}
			part, err := form.CreateFormFile("file", name)
			if err != nil {
				return err
			}
			if _, err := io.Copy(part, file); err != nil {
				return err
			}
			return form.Close()
		}()
		_ = writer.CloseWithError(err)
	}()
	defer func() { _ = reader.Close() }()
	var ref openapi.ListRef
	err := c.send(ctx, method, path, form.FormDataContentType(), reader, &ref)
	return ref, err
}

// ended lists are those nothing more happens to by itself, late receipts apart.
func ended(l openapi.List) bool {
	switch ingest.State(l.State) {
	case ingest.Completed, ingest.Rejected, ingest.Refused, ingest.Cancelled:
		return true
	}
	return false
}

const lookEvery = 250 * time.Millisecond

// awaitList looks at the list until it is as wanted. An API that does not answer for a while is waited for.
func (c *apiClient) awaitList(ctx context.Context, id string, wanted func(openapi.List) bool, show func(openapi.List)) (openapi.List, error) {
	var away time.Time
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var l openapi.List
		err := c.call(ctx, "GET", "/v1/lists/"+id, nil, &l)
		switch {
		case err == nil:
			away = time.Time{}
			show(l)
			if wanted(l) {
				return l, nil
			}
		case !unreachable(err) || ctx.Err() != nil:
			return l, err
		case away.IsZero():
			away = time.Now()
		case time.Since(away) > time.Minute:
			return l, err
		}
		select {
		case <-ctx.Done():
			return l, errors.New("interrupted; the list goes on without this command")
		case <-tick.C:
		}
	}
}
