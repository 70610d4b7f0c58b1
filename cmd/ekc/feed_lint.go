package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/catalog"
	"ekc/egisso"
	"ekc/ingest"
	"ekc/journal"
)

func (a *app) feedCommand() *cobra.Command {
	return group("feed", "The feed of lists, from the side of who sends them", feedLintCommand(), a.feedSendCommand(), a.feedWatchCommand())
}

// feedReport is what is wrong with messages; `ekc feed lint --json` prints it.
type feedReport struct {
	OK       bool            `json:"ok"`
	Messages []lintedMessage `json:"messages"`
	Missing  []missingParts  `json:"missing,omitempty"`

	rows *rowCheck
}

type lintedMessage struct {
	Where    string            `json:"where"` // file, and the message's place in it where there are several
	Type     string            `json:"type,omitempty"`
	ListID   string            `json:"list_id,omitempty"`
	Part     int               `json:"part,omitempty"`
	Parts    int               `json:"parts,omitempty"`
	Rows     int               `json:"rows,omitempty"`
	Recalls  int               `json:"recalls,omitempty"`
	Deaths   int               `json:"deaths,omitempty"`
	Problems []*egisso.Problem `json:"problems,omitempty"`
	// Verdicts are those of its rows, where they were asked for.
	Verdicts []ingest.RecordResult `json:"verdicts,omitempty"`
}

// missingParts is advice: they may be in other files.
type missingParts struct {
	ListID string `json:"list_id"`
	Parts  int    `json:"parts"`
}

func feedLintCommand() *cobra.Command {
	var asJSON, events bool
	var kind string
	var rows rowCheck
	cmd := &cobra.Command{Use: "lint FILE…", Short: "Say what is wrong with messages before they are sent", Args: cobra.MinimumNArgs(1),
		Long: `Reads messages as they would lie in a topic: CloudEvents in JSON, one in a file or one behind the other (NDJSON), or ЕГИССО's XML (10.33.O,
10.06.S, 20.02.S). Each is held against the contract as the hub does it, and the parts of a list against each other. Says in Russian where,
what is wrong and what to do, and repeats no value. Needs no server. With --rows the rows of JSON parts get the verdicts of the load
protocol, too: by the rules, and by the catalogue the product comes with (--catalog lays a file of yours over it). - is standard input. Ends
with 3 if anything is wrong.`,
		Example: `  ekc feed lint part-1.json part-2.json
  ekc feed lint --rows part-1.json
  ekc feed lint --type 10.06.S package.xml
  ekc feed send list.xlsx --source 0002.000014 --dry-run | ekc feed lint -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := rows.open(cmd); err != nil {
				return err
			}
			r := &feedReport{Messages: []lintedMessage{}, rows: &rows}
			l := &egisso.Linter{Now: time.Now(), Events: events}
			for _, path := range args {
				if err := r.lint(cmd, l, path, kind); err != nil {
					return err
				}
			}
			r.judge(l)
			var err error
			if asJSON {
				err = printJSON(cmd, r)
			} else {
				err = r.print(cmd.OutOrStdout())
			}
			if err == nil && !r.OK {
				return &exitError{exitFound, nil}
			}
			return err
		}}
	cmd.Flags().BoolVar(&events, "events", false, "they are for the topic of single events: one part, at most 100 rows")
	cmd.Flags().StringVar(&kind, "type", "", "header ekc_type of XML; its namespace says it, too")
	cmd.Flags().BoolVar(&rows.wanted, "rows", false, "hold the rows against the rules and the catalogue, too")
	cmd.Flags().StringVar(&rows.path, "catalog", "", "`file` of the catalogue over the product's own; of --rows")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// rowCheck gives rows their verdicts, if that is wanted.
type rowCheck struct {
	wanted  bool
	path    string
	catalog *catalog.Catalog
}

func (c *rowCheck) open(cmd *cobra.Command) error {
	if !c.wanted {
		return nil
	}
	items, err := catalog.SeedItems()
	if err != nil {
		return err
	}
	c.catalog = catalog.New(items)
	if c.path == "" {
		return nil
	}
	data, err := readDocument(cmd, c.path)
	if err != nil {
		return err
	}
	if items, err = catalog.ParseDocument(data); err != nil {
		return &exitError{exitFound, fmt.Errorf("the catalogue's file is at fault: `ekc catalog lint` says where (%w)", err)}
	}
	c.catalog = c.catalog.With(items)
	return nil
}

// check adds to a message that keeps the contract what its rows would get. The source is the catalogue's of the feed for the agency, if
// there is one: it fills in what the list leaves out.
func (c *rowCheck) check(ctx context.Context, now time.Time, m *egisso.Message, linted *lintedMessage) {
	p := journal.Principal{Account: "lint", Agency: m.Source, Roles: []journal.Role{journal.RoleListLoader}}
	for _, source := range c.catalog.Sources(now) {
		if source.Door == "feed" && slices.Contains(source.Agencies, m.Source) {
			p.Source = source.Code
			break
		}
	}
	header := m.Part.Header
	header.Source = p.Source
	found, err := ingest.CheckOffline(ctx, c.catalog, now, p, header, m.Part.Rows)
	var fault *ingest.Fault
	if errors.As(err, &fault) {
		linted.Problems = append(linted.Problems, &egisso.Problem{Code: fault.Code, Detail: fault.Detail})
	}
	linted.Verdicts = found.Protocol.ErrorRecords
}

// maxLinted is how much of a file is read.
const maxLinted = 1 << 30

// lint looks at the messages of one file.
func (r *feedReport) lint(cmd *cobra.Command, l *egisso.Linter, path, kind string) error {
	in := cmd.InOrStdin()
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return &exitError{exitFailed, fmt.Errorf("read messages: %w", err)}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxLinted+1))
	if err == nil && len(text) > maxLinted {
		err = errors.New("the file is larger than 1 GiB")
	}
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("read messages: %w", err)}
	}
	if bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))), []byte("<")) {
		headers := []egisso.Header{{Key: "content-type", Value: []byte("application/xml")}}
		if kind != "" {
			headers = append(headers, egisso.Header{Key: "ekc_type", Value: []byte(kind)})
		}
		r.add(cmd.Context(), l, path, headers, text)
		return nil
	}
	messages := splitMessages(text)
	for i, message := range messages {
		where := path
		if len(messages) > 1 {
			where += ":" + strconv.Itoa(i+1)
		}
		r.add(cmd.Context(), l, where, nil, message)
	}
	return nil
}

// splitMessages divides JSON texts that stand one behind the other. What is no JSON stays whole, for the linter to say so.
func splitMessages(text []byte) (messages [][]byte) {
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		from := dec.InputOffset()
		var message json.RawMessage
		err := dec.Decode(&message)
		if errors.Is(err, io.EOF) && len(messages) > 0 {
			return messages
		}
		if err != nil {
			return append(messages, text[from:])
		}
		messages = append(messages, message)
	}
}

func (r *feedReport) add(ctx context.Context, l *egisso.Linter, where string, headers []egisso.Header, value []byte) {
	m, faults := l.Add(headers, value)
	linted := lintedMessage{Where: where, Problems: faults}
	if m != nil {
		linted.Type, linted.Deaths = m.Type, len(m.Deaths)
		for i := range m.Recalls {
			linted.Recalls += len(m.Recalls[i].ExternalIDs)
		}
		switch {
		case m.Part != nil:
			linted.ListID, linted.Part, linted.Parts, linted.Rows = m.Part.ListID.String(), m.Part.Part, m.Part.Parts, len(m.Part.Rows)
		case m.Cancel != nil:
			linted.ListID, linted.Recalls = m.Cancel.ListID.String(), len(m.Cancel.ExternalIDs)
		}
	}
	if r.rows.wanted && m != nil && m.Type == egisso.TypePart && len(faults) == 0 {
		r.rows.check(ctx, l.Now, m, &linted)
	}
	r.Messages = append(r.Messages, linted)
}

func (r *feedReport) judge(l *egisso.Linter) {
	r.OK = r.faults() == 0
	lists, parts := l.Missing()
	for i, id := range lists {
		r.Missing = append(r.Missing, missingParts{id.String(), parts[i]})
	}
}

func (r *feedReport) faults() (n int) {
	for i := range r.Messages {
		n += r.Messages[i].faults()
	}
	return n
}

func (m *lintedMessage) faults() int {
	n := len(m.Problems)
	for _, v := range m.Verdicts {
		if !v.RecordOK {
			n++
		}
	}
	return n
}

// print is for people.
func (r *feedReport) print(w io.Writer) error {
	var b strings.Builder
	for i := range r.Messages {
		m := &r.Messages[i]
		for _, p := range m.Problems {
			fmt.Fprintf(&b, "%s: ошибка (%s): %s\n", m.Where, p.Code, p.Detail)
		}
		for _, v := range m.Verdicts {
			for _, message := range v.Messages {
				severity := "ошибка"
				if message.MessageType == ingest.TypeWarning {
					severity = "совет"
				}
				fmt.Fprintf(&b, "%s: %s (%d): Строка %d: %s\n", m.Where, severity, message.RuleCode, v.Row, message.Report)
			}
		}
		if m.faults() > 0 {
			continue
		}
		fmt.Fprintf(&b, "%s: хорошо, %s", m.Where, m.Type)
		for _, what := range [...]struct {
			name string
			n    int
		}{{"часть", m.Part}, {"из", m.Parts}, {"строк", m.Rows}, {"отзывает", m.Recalls}, {"умерших", m.Deaths}} {
			switch {
			case what.n == 0:
			case what.name == "из":
				fmt.Fprintf(&b, " из %d", what.n)
			default:
				fmt.Fprintf(&b, ", %s %d", what.name, what.n)
			}
		}
		b.WriteString("\n")
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "список %s: здесь нет частей: %d\n", m.ListID, m.Parts)
	}
	fmt.Fprintf(&b, "сообщений: %d, ошибок: %d\n", len(r.Messages), r.faults())
	_, err := io.WriteString(w, b.String())
	return err
}
