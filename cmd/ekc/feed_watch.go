package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/egisso"
	"ekc/ingest"
)

func (a *app) feedWatchCommand() *cobra.Command {
	var topics []string
	var list string
	var whole, asJSON bool
	cmd := &cobra.Command{Use: "watch", Short: "Print what became of lists as it comes", Args: cobra.NoArgs,
		Long: `Reads the topics on which sources hear of their lists, through kafka.brokers of the configuration (EKC_KAFKA_BROKERS), and prints each message
in a line, until it is broken off. It belongs to no consumer group and changes nothing.`,
		Example: `  ekc feed watch
  ekc feed watch --from-beginning --list 5f1c8e1e-8a30-4a5b-9a58-1f6f6f1d9c11 --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(false)
			if err != nil {
				return err
			}
			if len(c.Kafka.Brokers) == 0 {
				return errors.New("no brokers are named: set kafka.brokers in the configuration, or EKC_KAFKA_BROKERS")
			}
			from, err := brokers(c.Kafka)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			err = egisso.Watch(cmd.Context(), from, topics, whole, func(topic string, key, value []byte) error {
				switch {
				case list != "" && list != string(key):
					return nil
				case asJSON:
					_, err := fmt.Fprintf(out, "%s\n", value)
					return err
				}
				return printEvent(out, topic, value)
			})
			if cmd.Context().Err() != nil {
				return nil
			}
			return &exitError{exitUnreachable, err}
		}}
	f := cmd.Flags()
	f.StringSliceVar(&topics, "topic", []string{egisso.ProtocolTopic, egisso.StatusTopic, egisso.ReplyTopic}, "topics to read; a source may have its own")
	f.StringVar(&list, "list", "", "only of the list with this UUID")
	f.BoolVar(&whole, "from-beginning", false, "also what is in the topics already")
	f.BoolVar(&asJSON, "json", false, "the events as they are, one a line")
	return cmd
}

// printEvent is an event in a line for people. What is no event of ours is named, not shown.
func printEvent(out io.Writer, topic string, value []byte) error {
	var e struct {
		Type, Subject string
		Time          time.Time
		Data          json.RawMessage
	}
	if err := json.Unmarshal(value, &e); err != nil {
		_, err := fmt.Fprintf(out, "%s: a record that is no event\n", topic)
		return err
	}
	var what string
	var err error
	switch e.Type {
	case ingest.EventStatus:
		var s ingest.Status
		err = json.Unmarshal(e.Data, &s)
		what = strings.Join(strings.Fields(fmt.Sprintf("%s %s #%d %s %s %s", s.ExternalID, s.NotificationID, s.Sequence, s.State, s.Reason, s.Code)), " ")
	case ingest.EventSummary:
		var s ingest.Summary
		err = json.Unmarshal(e.Data, &s)
		what = fmt.Sprintf("%s: %d rows, %d accepted, %d informed", s.State, s.Rows, s.Accepted, s.Informed)
	case ingest.EventReply:
		var r ingest.Reply
		err = json.Unmarshal(e.Data, &r)
		what = r.ExternalID + " " + r.Kind
	case ingest.EventProtocol:
		var p ingest.ProtocolPage
		err = json.Unmarshal(e.Data, &p)
		what = fmt.Sprintf("checked: %s, %d of %d taken, %d rows with a message, page %d of %d", p.State, p.RecordNumSuccess, p.RecordNum, len(p.ErrorRecords), p.Page, p.Pages)
	}
	if err != nil {
		what = "an event that is not by the contract"
	}
	_, err = fmt.Fprintf(out, "%s %s %s %s\n", e.Time.Local().Format(time.DateTime), e.Subject, strings.TrimSuffix(strings.TrimPrefix(e.Type, "ekc."), ".v1"), what)
	return err
}
