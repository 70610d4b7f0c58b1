package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"ekc/dispatch"
	"ekc/openapi"
)

// trail is one notification from part to receipt.
type trail struct {
	Notification openapi.Notification   `json:"notification"`
	List         openapi.List           `json:"list"`
	History      []openapi.HistoryEntry `json:"history"`
	Gate         string                 `json:"gate,omitempty"` // what it waits at, and what to do, as a sentence; empty when it has ended
}

func (a *app) traceCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "trace ID", Short: "One notification from part to receipt, and which gate it waits at", Args: cobra.ExactArgs(1),
		Long: `Shows what happened to a notification (12-34: list and row's ordinal) and, if it has not ended, what holds it. Asks the API at
EKC_URL with EKC_KEY; when it does not answer, the database of --config, and says so. Nothing personal is shown.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := dispatch.ParseNotificationID(args[0]); err != nil {
				return usage(cmd, errors.New("a notification's id looks like 12-34"))
			}
			b, err := a.backend(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer b.close()
			t, err := b.trail(cmd.Context(), args[0])
			if err != nil {
				return asExit(err)
			}
			if asJSON {
				return printJSON(cmd, t)
			}
			return t.print(cmd.OutOrStdout())
		}}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (b *backend) trail(ctx context.Context, id string) (t *trail, err error) {
	t = &trail{}
	if err = b.call(ctx, http.MethodGet, "/v1/notifications/"+id, nil, &t.Notification); err != nil {
		return nil, err
	}
	if err = b.call(ctx, http.MethodGet, "/v1/lists/"+t.Notification.ListID, nil, &t.List); err != nil {
		return nil, err
	}
	var page openapi.Page[openapi.HistoryEntry]
	if err = b.call(ctx, http.MethodGet, "/v1/history?notification_id="+id, nil, &page); err != nil {
		return nil, err
	}
	t.History = page.Items
	if t.Notification.WaitingFor == nil {
		return t, nil
	}
	t.Gate, err = b.gate(ctx, t)
	return t, err
}

// gate reads what the sentence about the gate needs besides.
func (b *backend) gate(ctx context.Context, t *trail) (string, error) {
	w := t.Notification.WaitingFor
	g := shutGate{Waiting: w, id: t.Notification.NotificationID, list: t.List, attempt: t.Notification.Attempt}
	var refusal *apiError
	if reason := w.Detail.Reason; reason != "" {
		var item struct{ Title string }
		if err := b.call(ctx, http.MethodGet, "/v1/catalog/states/reason."+reason, nil, &item); err != nil && !errors.As(err, &refusal) {
			return "", err
		}
		g.why = strings.TrimSpace(cmp.Or(item.Title, reason) + " " + w.Detail.Code)
	}
	if w.Stop != 0 {
		// Why it was set is the duty engineer's to see; whoever is not one is told the rest.
		var stops openapi.Page[openapi.Stop]
		if err := b.call(ctx, http.MethodGet, "/v1/stops?limit=200", nil, &stops); err != nil && (!errors.As(err, &refusal) || refusal.Status != http.StatusForbidden) {
			return "", err
		}
		for i, s := range stops.Items {
			if s.ID == w.Stop {
				g.stop = &stops.Items[i]
			}
		}
	}
	return g.sentence(), nil
}

func (t *trail) print(w io.Writer) error {
	var b strings.Builder
	n, l := t.Notification, t.List
	fmt.Fprintf(&b, "Уведомление %s: %s", n.NotificationID, n.State)
	if n.Reason != "" {
		fmt.Fprintf(&b, " (%s %s)", n.Reason, n.Code)
	}
	fmt.Fprintf(&b, "\nСписок «%s» (%s), ведомство %s, строка %d, часть %d; загрузил %s, утвердил %s\n\n", l.Name, l.ID, l.Agency, n.Row, n.Part,
		l.LoadedBy, l.ApprovedBy)
	for _, e := range t.History {
		fmt.Fprintf(&b, "  %s  %-22s %s\n", bothTimes(e.At), e.Kind, facts(e.Data))
	}
	for _, at := range n.Attempts {
		fmt.Fprintf(&b, "  попытка %d: %s, %s, %s %s %s\n", at.No, bothTimes(at.At), at.Channel, at.Link, at.State, at.Code)
	}
	if t.Gate != "" {
		fmt.Fprintf(&b, "\nДержит: %s.\n", t.Gate)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func facts(data map[string]string) string {
	parts := make([]string, 0, len(data))
	for _, name := range sortedKeys(data) {
		parts = append(parts, name+"="+data[name])
	}
	return strings.Join(parts, " ")
}
