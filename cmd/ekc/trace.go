package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ekc/dispatch"
	"ekc/ingest"
	"ekc/openapi"
)

// trail is one notification from part to receipt.
type trail struct {
	Notification openapi.Notification   `json:"notification"`
	List         openapi.List           `json:"list"`
	History      []openapi.HistoryEntry `json:"history"`
	Gate         string                 `json:"gate,omitempty"` // what it waits at; empty when it has ended
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

func (b *backend) trail(ctx context.Context, id string) (*trail, error) {
	t := &trail{}
	if err := b.call(ctx, http.MethodGet, "/v1/notifications/"+id, nil, &t.Notification); err != nil {
		return nil, err
	}
	if err := b.call(ctx, http.MethodGet, "/v1/lists/"+t.Notification.ListID, nil, &t.List); err != nil {
		return nil, err
	}
	var page openapi.Page[openapi.HistoryEntry]
	if err := b.call(ctx, http.MethodGet, "/v1/history?notification_id="+id, nil, &page); err != nil {
		return nil, err
	}
	t.History = page.Items
	if t.Notification.Final {
		return t, nil
	}
	var stops openapi.Page[openapi.Stop]
	var links openapi.Page[openapi.Link]
	// Both are the duty engineer's to see; whoever is not one is told the rest.
	var refusal *apiError
	for path, out := range map[string]any{"/v1/stops": &stops, "/v1/links": &links} {
		if err := b.call(ctx, http.MethodGet, path, nil, out); err != nil && (!errors.As(err, &refusal) || refusal.Status != http.StatusForbidden) {
			return nil, err
		}
	}
	t.Gate = t.gate(stops.Items, links.Items, time.Now())
	return t, nil
}

// gate names the first thing that holds a notification, in the order in which dispatch looks.
func (t *trail) gate(stops []openapi.Stop, links []openapi.Link, now time.Time) string {
	switch ingest.State(t.List.State) {
	case ingest.Ready:
		return "список ждёт утверждения вторым сотрудником"
	case ingest.Approved:
		if t.List.StartAt != nil && t.List.StartAt.After(now) {
			return "список начнётся " + bothTimes(*t.List.StartAt)
		}
		return "список утверждён, отправка начинается"
	case ingest.Paused:
		return "список на паузе"
	case ingest.Cancelling:
		return "список отменяется"
	}
	for _, s := range stops {
		if t.heldBy(s) {
			return fmt.Sprintf("остановка %d (%s %s): %s; снять: ekc stop --lift %d", s.ID, s.Scope, s.Target, s.Reason, s.ID)
		}
	}
	switch t.Notification.State {
	case dispatch.Accepted.String():
		return "центр СМС принял, отчёта ещё нет"
	case dispatch.Uncertain.String():
		return "неясно, ушло ли: ждёт позднего отчёта, затем правила списка или решения человека"
	}
	if !slices.ContainsFunc(links, func(l openapi.Link) bool { return l.State == "up" }) && len(links) > 0 {
		return "нет ни одной связи с центрами СМС"
	}
	if n := len(t.Notification.Attempts); n > 0 {
		return fmt.Sprintf("ждёт повтора: попытка %d не удалась (%s)", n, strings.TrimSpace(t.Notification.Reason+" "+t.Notification.Code))
	}
	return "ждёт своего времени: окна в поясе получателя, даты начала, паузы между сообщениями на этот номер, суточного предела или очереди"
}

func (t *trail) heldBy(s openapi.Stop) bool {
	if s.LiftedAt != nil {
		return false
	}
	switch dispatch.StopScope(s.Scope) {
	case dispatch.StopAll:
		return true
	case dispatch.StopAgency:
		return s.Target == t.List.Agency
	case dispatch.StopTemplate:
		return s.Target == t.List.Template
	case dispatch.StopLifeEvent:
		return s.Target == t.List.LifeEvent
	case dispatch.StopChannel:
		return slices.Contains(t.List.Channels, s.Target)
	case dispatch.StopList:
		number, _, _ := strings.Cut(t.Notification.NotificationID, "-")
		return s.Target == number || s.Target == t.List.ID
	}
	return false
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
