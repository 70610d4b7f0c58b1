package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
)

// HistoryEntry is one thing that happened. Nothing personal is in it.
type HistoryEntry struct {
	Position       *int64            `json:"position" nullable:"true" doc:"Place in the provable order; null for some milliseconds after it happened"`
	At             time.Time         `json:"at"`
	Kind           journal.Kind      `json:"kind"`
	Actor          string            `json:"actor" doc:"Account; empty: the hub by itself"`
	Agency         string            `json:"agency"`
	Purpose        string            `json:"purpose,omitempty"`
	ListID         string            `json:"list_id,omitempty"`
	NotificationID string            `json:"notification_id,omitempty"`
	Data           map[string]string `json:"data"`
}

func (s *Server) registerHistory() {
	register(s, operation{id: "getHistory", method: http.MethodGet, path: "/v1/history", tag: "history", summary: "What happened, in the provable order",
		description: "Of a list, a notification, an actor, or of a span of time. Reading it is itself in the history."}, s.getHistory)
}

func (s *Server) getHistory(ctx context.Context, p journal.Principal, in *struct {
	Paging
	ListID         string    `query:"list_id" format:"uuid"`
	NotificationID string    `query:"notification_id" pattern:"^[0-9]{1,12}-[0-9]{1,8}$"`
	Actor          string    `query:"actor" maxLength:"64" pattern:"^[a-z][a-z0-9._/-]*$" doc:"Account"`
	Kind           []string  `query:"kind" maxItems:"20" doc:"As list.approved or outcome; several by commas"`
	From           time.Time `query:"from"`
	To             time.Time `query:"to" doc:"Before this time"`
}) (*answer[*Page[HistoryEntry]], error) {
	kinds, err := kindsOf(in.Kind)
	if err != nil {
		return nil, err
	}
	query := journal.Query{Actor: in.Actor, Kinds: kinds, From: in.From, To: in.To, After: in.After, Limit: in.Limit}
	var listNo int64
	if in.ListID != "" {
		list, err := s.listByID(ctx, p, in.ListID)
		if err != nil {
			return nil, err
		}
		listNo, query.ListNo = list.No, list.No
	}
	if in.After == "" { // the pages that follow are the same look
		err := s.record(ctx, journal.Entry{Kind: journal.HistoryRead, At: s.now(), Agency: p.Agency, Actor: p.Account, ListNo: listNo,
			Data: journal.Fields("notification_id", in.NotificationID, "of_actor", in.Actor, "kinds", strings.Join(in.Kind, " "))})
		if err != nil {
			return nil, fmt.Errorf("journal a look at the history: %w", err)
		}
	}
	if in.NotificationID != "" {
		id, list, err := s.notificationByID(ctx, p, in.NotificationID)
		if err != nil {
			return nil, err
		}
		if listNo != 0 && list.No != listNo {
			return nil, problem(CodeNotFound)
		}
		placed, err := s.historyOf(ctx, p, []dispatch.NotificationID{id}, list.CreatedAt, query)
		if err != nil {
			return nil, err
		}
		entries, err := s.historyEntries(ctx, p, placed)
		return answerOf(pageOf("getHistory", entries, len(entries), func(HistoryEntry) string { return "" }), err)
	}
	found, err := journal.History(ctx, s.db, p, query)
	switch {
	case errors.Is(err, journal.ErrCursor):
		return nil, problem(CodeCursor)
	case errors.Is(err, journal.ErrForbidden):
		return nil, problem(CodeForbidden)
	case err != nil:
		return nil, err
	}
	entries, err := s.historyEntries(ctx, p, found.Items)
	if err != nil {
		return nil, err
	}
	return &answer[*Page[HistoryEntry]]{&Page[HistoryEntry]{Items: entries, Next: found.Next}}, nil
}

// historyOf is the history of single notifications, narrowed by the query's kinds and times. It is short and comes whole.
func (s *Server) historyOf(ctx context.Context, p journal.Principal, ids []dispatch.NotificationID, since time.Time, query journal.Query) ([]journal.Placed, error) {
	entries, err := dispatch.EntriesOf(ctx, s.db, ids, since)
	if err != nil {
		return nil, err
	}
	placed, err := journal.ByIDs(ctx, s.db, p, entries)
	if errors.Is(err, journal.ErrForbidden) {
		return nil, problem(CodeForbidden)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(placed, func(e journal.Placed) bool {
		return len(query.Kinds) > 0 && !slices.Contains(query.Kinds, e.Entry.Kind) ||
			!query.From.IsZero() && e.Entry.At.Before(query.From) || !query.To.IsZero() && !e.Entry.At.Before(query.To)
	}), nil
}

// historyEntries gives entries the names used outside.
func (s *Server) historyEntries(ctx context.Context, p journal.Principal, placed []journal.Placed) ([]HistoryEntry, error) {
	nos := make([]int64, 0, len(placed))
	for i := range placed {
		if no := placed[i].Entry.ListNo; no != 0 && !slices.Contains(nos, no) {
			nos = append(nos, no)
		}
	}
	lists, err := ingest.ByNumber(ctx, s.db, p, nos)
	if err != nil {
		return nil, err
	}
	out := make([]HistoryEntry, len(placed))
	for i := range placed {
		e := &placed[i].Entry
		out[i] = HistoryEntry{At: e.At, Kind: e.Kind, Actor: e.Actor, Agency: e.Agency, Purpose: e.Purpose, Data: dataOf(e)}
		if position := placed[i].Position; position != journal.NotPlaced {
			out[i].Position = &position
		}
		if l, ok := lists[e.ListNo]; ok {
			out[i].ListID = l.ID.String()
		}
		if e.Notification != 0 {
			out[i].NotificationID = dispatch.NotificationID(e.Notification).String()
		}
	}
	return out, nil
}

// dataOf is everything else an entry says, by the names of the journal.
func dataOf(e *journal.Entry) map[string]string {
	data := make(map[string]string)
	for _, f := range e.Data {
		data[f.Name] = f.Value
	}
	text := func(name, value string) {
		if value != "" {
			data[name] = value
		}
	}
	number := func(name string, value int) {
		if value != 0 {
			data[name] = strconv.Itoa(value)
		}
	}
	text("channel", e.Channel)
	text("link", e.Link)
	text("state", e.State)
	text("from", e.From)
	text("reason", e.Reason)
	text("code", e.Code)
	number("sequence", e.Sequence)
	number("attempt", e.Attempt)
	number("segment", e.Segment)
	number("segments", e.Segments)
	number("count", e.Count)
	return data
}
