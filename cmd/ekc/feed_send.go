package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"ekc/catalog"
	"ekc/egisso"
	"ekc/ingest"
)

func (a *app) feedSendCommand() *cobra.Command {
	var s egisso.Sending
	var dryRun bool
	var channels, list, mapping string
	var basis catalog.LegalBasis
	moments := make(map[string]*string)
	cmd := &cobra.Command{Use: "send FILE", Short: "Cut a list into messages of the feed and send them", Args: cobra.ExactArgs(1),
		Long: `Reads a list, XLSX, CSV or the JSON that POST /v1/lists takes, cuts it into parts and writes them to a topic through kafka.brokers of the
configuration (EKC_KAFKA_BROKERS). Nothing is written unless the contract takes all of it. The list's id is printed: with it (--list-id) the
same file can be sent once more, and what came before is a repeat. --dry-run prints the messages instead, one a line.`,
		Example: `  ekc feed send list.xlsx --source 0002.000014 --life-event LE-03 --template S-07 --ordered-by "письмо 12 от 01.02.2026" \
    --legal-basis-code PP-1994 --legal-basis-document "ПП РФ № 1994" --legal-basis-date 2020-12-03`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fillSending(&s, list, channels, basis, moments); err != nil {
				return usage(cmd, err)
			}
			var columns map[string]string
			if mapping != "" {
				if err := json.Unmarshal([]byte(mapping), &columns); err != nil {
					return usage(cmd, errors.New(`--mapping: expected {"their title": "ours"}`))
				}
			}
			rows, done, err := openSending(args[0], &s, columns)
			if err != nil {
				return listFault(err)
			}
			defer done()
			s.Now = time.Now()
			if dryRun {
				return listFault(s.Each(rows, func(r egisso.Record) error {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", r.Value)
					return err
				}))
			}
			w, close, err := a.producer()
			if err != nil {
				return err
			}
			defer close()
			parts, err := sendParts(cmd.Context(), w, &s, rows)
			if err != nil {
				return listFault(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s parts %d\n", s.ListID, parts)
			return err
		}}
	f := cmd.Flags()
	f.StringVar(&s.Topic, "topic", "egisso.notification-lists.v1", "topic of the source")
	f.StringVar(&s.Source, "source", "", "participant code of the list's agency")
	f.StringVar(&list, "list-id", "", "UUID of the list; without it a new one")
	f.IntVar(&s.Rows, "parts-of", egisso.MaxRows, "rows of a part at most")
	f.StringVar(&s.Header.Name, "name", "", "name of the list; the file's when not given")
	f.StringVar(&s.Header.LifeEvent, "life-event", "", "code or name of the life event")
	f.StringVar(&s.Header.Template, "template", "", "code or title of the template")
	f.StringVar(&channels, "channels", "", "plan: sms, voice, or «СМС, затем звонок»")
	f.StringVar(&s.Header.Priority, "priority", "", "urgent, normal or bulk")
	f.StringVar(&s.Header.OrderedBy, "ordered-by", "", "order or letter")
	f.StringVar(&basis.Code, "legal-basis-code", "", "code of the legal basis")
	f.StringVar(&basis.Document, "legal-basis-document", "", "its document")
	f.StringVar(&basis.Date, "legal-basis-date", "", "its date, 2006-01-02")
	for name, help := range map[string]string{"valid-until": "day or time after which nothing is sent", "not-before": "day or time before which nothing is sent",
		"inform-by": "day or time by which people must be told"} {
		moments[name] = f.String(name, "", help)
	}
	f.StringVar(&mapping, "mapping", "", `columns whose titles are not ours: {"Контакт": "phone", "Телефон": ""}`)
	f.BoolVar(&dryRun, "dry-run", false, "print the messages and send nothing")
	return cmd
}

// listFault gives what is wrong with a list its exit code and its sentences, which repeat no value.
func listFault(err error) error {
	var problem *egisso.Problem
	var fault *ingest.Fault
	switch {
	case errors.As(err, &problem):
		lines := []string{problem.Detail}
		for _, p := range problem.Others {
			lines = append(lines, p.Detail)
		}
		return &exitError{exitFound, errors.New(strings.Join(lines, "\n"))}
	case errors.As(err, &fault):
		return &exitError{exitFound, errors.New(fault.Detail)}
	case errors.Is(err, egisso.ErrNoRows), errors.Is(err, egisso.ErrTooManyParts):
		return &exitError{exitFound, err}
	}
	return err
}

// fillSending takes what flags say of a list.
func fillSending(s *egisso.Sending, list, channels string, basis catalog.LegalBasis, moments map[string]*string) (err error) {
	if s.Source == "" {
		return errors.New("--source: whose list is it?")
	}
	if s.Rows < 1 || s.Rows > egisso.MaxRows {
		return fmt.Errorf("--parts-of: from 1 to %d", egisso.MaxRows)
	}
	s.ListID = uuid.New()
	if list != "" {
		if s.ListID, err = uuid.Parse(list); err != nil {
			return errors.New("--list-id: expected a UUID")
		}
	}
	if channels != "" {
		plan, ok := ingest.ParseChannels(channels)
		if !ok {
			return errors.New("--channels: expected sms, voice, or both")
		}
		s.Header.Channels = plan
	}
	if basis != (catalog.LegalBasis{}) {
		s.Header.LegalBasis = &basis
	}
	for name, to := range map[string]*ingest.Moment{"valid-until": &s.Header.ValidUntil, "not-before": &s.Header.NotBefore, "inform-by": &s.Header.InformBy} {
		if text := *moments[name]; text != "" {
			if *to, err = ingest.ParseMoment(text); err != nil {
				return fmt.Errorf("--%s: expected a day (31.12.2026) or a time (RFC 3339)", name)
			}
		}
	}
	return nil
}

// openSending opens a list. JSON has fields of its own, which flags go over.
func openSending(path string, s *egisso.Sending, mapping map[string]string) (egisso.RowSource, func(), error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, &exitError{exitFailed, fmt.Errorf("open the list: %w", err)}
	}
	done := func() { _ = file.Close() }
	info, err := file.Stat()
	if err != nil {
		done()
		return nil, nil, &exitError{exitFailed, fmt.Errorf("open the list: %w", err)}
	}
	head := make([]byte, 512)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		done()
		return nil, nil, &exitError{exitFailed, fmt.Errorf("open the list: %w", err)}
	}
	fallback := ingest.Header{Name: filepath.Base(path)}
	rows := egisso.RowSource(func(take func(ingest.InputRow) error) error { return ingest.ReadRows(file, info.Size(), mapping, take) })
	if first := bytes.TrimSpace(bytes.TrimPrefix(head[:n], []byte("\ufeff"))); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		if rows, err = jsonRows(file, first[0] == '[', &fallback); err != nil {
			done()
			return nil, nil, err
		}
	}
	h := &s.Header
	h.Name, h.LifeEvent, h.Template = cmp.Or(h.Name, fallback.Name), cmp.Or(h.LifeEvent, fallback.LifeEvent), cmp.Or(h.Template, fallback.Template)
	h.Priority, h.OrderedBy, h.LegalBasis = cmp.Or(h.Priority, fallback.Priority), cmp.Or(h.OrderedBy, fallback.OrderedBy), cmp.Or(h.LegalBasis, fallback.LegalBasis)
	h.ValidUntil, h.NotBefore, h.InformBy = cmp.Or(h.ValidUntil, fallback.ValidUntil), cmp.Or(h.NotBefore, fallback.NotBefore), cmp.Or(h.InformBy, fallback.InformBy)
	if len(h.Channels) == 0 {
		h.Channels = fallback.Channels
	}
	return rows, done, nil
}

// jsonRows reads a list that came as JSON: rows alone, or with the fields of their list.
func jsonRows(in io.Reader, bare bool, h *ingest.Header) (egisso.RowSource, error) {
	list := struct {
		*ingest.Header
		Rows []ingest.InputRow `json:"rows"`
	}{Header: h}
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	var err error
	if bare {
		err = dec.Decode(&list.Rows)
	} else {
		err = dec.Decode(&list)
	}
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("more behind the list")
		}
	}
	if err != nil { // its text may repeat a value
		return nil, &exitError{exitFound, fmt.Errorf("the list is no JSON as POST /v1/lists takes it: byte %d", dec.InputOffset())}
	}
	return func(take func(ingest.InputRow) error) error {
		for _, row := range list.Rows {
			if err := take(row); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// sendTogether is how many parts are given to the brokers at a time.
const sendTogether = 8

// sendParts returns how many parts the brokers have.
func sendParts(ctx context.Context, w egisso.Producer, s *egisso.Sending, rows egisso.RowSource) (parts int, err error) {
	var batch []egisso.Record
	flush := func() error {
		if err := w.Produce(ctx, batch...); err != nil {
			return &exitError{exitUnreachable, fmt.Errorf("%w; %d parts are sent, send the same again with --list-id %s", err, parts, s.ListID)}
		}
		parts, batch = parts+len(batch), batch[:0]
		return nil
	}
	err = s.Each(rows, func(r egisso.Record) error {
		if batch = append(batch, r); len(batch) < sendTogether {
			return nil
		}
		return flush()
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return parts, err
}

// producer writes to the brokers of the configuration.
func (a *app) producer() (egisso.Producer, func(), error) {
	c, err := a.config(false)
	if err != nil {
		return nil, nil, err
	}
	if len(c.Kafka.Brokers) == 0 {
		return nil, nil, errors.New("no brokers are named: set kafka.brokers in the configuration, or EKC_KAFKA_BROKERS; --dry-run prints the messages")
	}
	to, err := brokers(c.Kafka)
	if err != nil {
		return nil, nil, err
	}
	client, err := egisso.NewClient(to)
	if err != nil {
		return nil, nil, err
	}
	w := egisso.NewWriter(to.Addrs, client.Transport())
	return w, func() {
		_ = w.Close() // what was written is acknowledged already
		client.Close()
	}, nil
}
