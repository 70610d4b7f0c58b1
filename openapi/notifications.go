package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
)

// Notification is the Status of CONTRACTS 2 with its attempts. Nothing personal is in it: external_id is the sender's own name
// of the row.
type Notification struct {
	ListID            string     `json:"list_id" format:"uuid"`
	ExternalID        string     `json:"external_id"`
	NotificationID    string     `json:"notification_id" example:"12-34"`
	Part              int32      `json:"part"`
	Row               int32      `json:"row" doc:"As its sender counts"`
	Sequence          int        `json:"sequence" doc:"Grows with each change that is told"`
	State             string     `json:"state" doc:"pending, accepted, uncertain, suppressed, cancelled, out_of_time, refused, unconfirmed, expired, undelivered, delivered; titles at /catalog/states"`
	Final             bool       `json:"final"`
	Informed          bool       `json:"informed" doc:"Delivered in all segments, or a call heard"`
	InTerm            string     `json:"in_term" enum:"in_term,late,not_informed,no_term,open" doc:"Against inform_by; open: the term has not passed and there is no end yet"`
	Reason            string     `json:"reason,omitempty"`
	Code              string     `json:"code,omitempty" doc:"The far side's own word"`
	Channel           string     `json:"channel,omitempty"`
	Attempt           int        `json:"attempt"`
	Segments          int        `json:"segments"`
	OccurredAt        time.Time  `json:"occurred_at"`
	PossibleDuplicate bool       `json:"possible_duplicate,omitempty" doc:"Sent again after an attempt whose answer was lost"`
	WaitingUntil      *time.Time `json:"waiting_until,omitempty" doc:"May leave at the earliest then; only for a single notification, and for the newest 10 of a search"`
	WaitingFor        *Waiting   `json:"waiting_for,omitempty" doc:"The gate at which it waits; where waiting_until is told, until it has ended"`
	Attempts          []Attempt  `json:"attempts"`
}

// Waiting is the gate at which a notification waits: the first that is shut, in the order in which they are looked at.
type Waiting struct {
	Gate   string        `json:"gate" enum:"sending,receipt,approval,paused,cancelling,start,stop,held,uncertain,ending,window,cap,gap,retry,not_before,pool,link,queue" doc:"Titles at /catalog/states, as gate.window"`
	Until  *time.Time    `json:"until,omitempty" doc:"When the gate opens, as things stand; of a receipt: when it is given up. Absent: nobody can tell"`
	Stop   int64         `json:"stop,omitempty" doc:"Id of the stop"`
	Detail WaitingDetail `json:"detail"`
}

// WaitingDetail is what is known of a gate.
type WaitingDetail struct {
	Since  *time.Time `json:"since,omitempty" doc:"Of what was sent: when; of a pool: when its holder was last heard of; of a link: when it went down"`
	Reason string     `json:"reason,omitempty" doc:"Of the last attempt; of gate ending: why it will not be sent by this channel"`
	Code   string     `json:"code,omitempty" doc:"The far side's own word"`
	Then   string     `json:"then,omitempty" enum:"resend,hold" doc:"Of gate uncertain: sent again when no receipt comes, or left to a person"`
	Zones  string     `json:"zones,omitempty" doc:"Of gate window: the time zones whose hours are kept, joined by +"`
	Pool   string     `json:"pool,omitempty"`
	Link   string     `json:"link,omitempty"`
	Ahead  *int       `json:"ahead,omitempty" doc:"Of gate queue: how many of the same part of the list come first; 10000: that many or more"`
}

func waitingOf(w dispatch.Waiting) *Waiting {
	if w.Gate == "" {
		return nil
	}
	out := &Waiting{Gate: string(w.Gate), Until: timeOf(w.Until), Stop: w.Stop, Detail: WaitingDetail{Since: timeOf(w.Since), Reason: string(w.Reason), Code: w.Code,
		Then: string(w.Then), Zones: string(w.Zones), Pool: w.Pool, Link: w.Link}}
	if w.Gate == dispatch.GateQueue {
		out.Detail.Ahead = &w.Ahead
	}
	return out
}

// waiting fills in what a notification that has not ended waits for; start is when its list begins.
func (s *Server) waiting(ctx context.Context, n *Notification, id dispatch.NotificationID, start time.Time) error {
	if n.Final || s.doors.Gates == nil {
		return nil
	}
	w, err := s.doors.Gates.WaitingFor(ctx, id, start)
	n.WaitingUntil, n.WaitingFor = timeOf(w.Earliest), waitingOf(w)
	return err
}

// Attempt is one try: of all its segments the one that got least far.
type Attempt struct {
	No      int       `json:"no"`
	Channel string    `json:"channel"`
	Link    string    `json:"link"`
	State   string    `json:"state"`
	Code    string    `json:"code,omitempty"`
	At      time.Time `json:"at"`
}

func (s *Server) registerNotifications() {
	register(s, operation{id: "listNotifications", method: http.MethodGet, path: "/v1/notifications", tag: "notifications", summary: "Notifications of a list, in its order",
		description: "A page may be short, even empty, and still have a next one, where much had to be read to find little."}, s.listNotifications)
	register(s, operation{id: "getNotification", method: http.MethodGet, path: "/v1/notifications/{id}", tag: "notifications", summary: "One notification with its attempts"},
		func(ctx context.Context, p journal.Principal, in *NotificationPath) (*answer[Notification], error) {
			id, list, err := s.notificationByID(ctx, p, in.ID)
			if err != nil {
				return nil, err
			}
			found, err := s.readNotifications(ctx, list, []dispatch.NotificationID{id})
			if err != nil {
				return nil, err
			}
			if len(found) == 0 {
				return nil, problem(CodeNotFound)
			}
			n := found[0]
			err = s.waiting(ctx, &n, id, list.StartAt)
			return answerOf(n, err)
		})
	register(s, operation{id: "cancelNotification", method: http.MethodPost, path: "/v1/notifications/{id}/cancel", tag: "notifications", summary: "Call one back that has not left", status: http.StatusNoContent, errors: []int{409},
		description: "What has left, is leaving or has ended answers 409 too_late."},
		func(ctx context.Context, p journal.Principal, in *NotificationPath) (*empty, error) {
			if s.doors.Stops == nil {
				return nil, problem(CodeNotHere)
			}
			id, list, err := s.notificationByID(ctx, p, in.ID)
			if err != nil {
				return nil, err
			}
			return &empty{}, s.doors.Stops.Cancel(ctx, p, list.Agency, id)
		})
	register(s, operation{id: "settleNotification", method: http.MethodPost, path: "/v1/notifications/{id}/settle", tag: "notifications", summary: "Decide about one that may have left", status: http.StatusNoContent, errors: []int{409},
		description: "For what is held as uncertain: resend sends it again, marked as a possible duplicate; sent waits for nothing more."},
		func(ctx context.Context, p journal.Principal, in *struct {
			NotificationPath
			Body struct {
				Decision string `json:"decision" enum:"resend,sent"`
			}
		}) (*empty, error) {
			if s.doors.Stops == nil {
				return nil, problem(CodeNotHere)
			}
			id, list, err := s.notificationByID(ctx, p, in.ID)
			if err != nil {
				return nil, err
			}
			return &empty{}, s.doors.Stops.Settle(ctx, p, list.Agency, id, dispatch.Decision(in.Body.Decision))
		})
}

type NotificationPath struct {
	ID string `path:"id" pattern:"^[0-9]{1,12}-[0-9]{1,8}$" example:"12-34"`
}

// listByID finds a list by what it is called outside; another agency's is not there.
func (s *Server) listByID(ctx context.Context, p journal.Principal, id string) (*ingest.List, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, problem(CodeNotFound)
	}
	l, err := ingest.Find(ctx, s.db, p, parsed)
	if errors.Is(err, ingest.ErrNotFound) {
		return nil, problem(CodeNotFound)
	}
	return l, err
}

func (s *Server) notificationByID(ctx context.Context, p journal.Principal, text string) (dispatch.NotificationID, *ingest.List, error) {
	id, err := dispatch.ParseNotificationID(text)
	if err != nil {
		return 0, nil, problem(CodeNotFound)
	}
	lists, err := ingest.ByNumber(ctx, s.db, p, []int64{id.List()})
	if err != nil {
		return 0, nil, err
	}
	list, ok := lists[id.List()]
	if !ok {
		return 0, nil, problem(CodeNotFound)
	}
	return id, list, nil
}

func (s *Server) listNotifications(ctx context.Context, p journal.Principal, in *struct {
	Paging
	ListID string `query:"list_id" required:"true" format:"uuid"`
	State  string `query:"state" enum:"pending,accepted,uncertain,suppressed,cancelled,out_of_time,refused,unconfirmed,expired,undelivered,delivered"`
}) (*answer[*Page[Notification]], error) {
	list, err := s.listByID(ctx, p, in.ListID)
	if err != nil {
		return nil, err
	}
	owner := "listNotifications/" + in.ListID + "/" + in.State
	after, err := numberFromCursor(owner, in.After)
	if err != nil {
		return nil, err
	}
	var state *dispatch.State
	if st, ok := dispatch.ParseState(in.State); ok {
		state = &st
	}
	ids, next, err := dispatch.PageIDs(ctx, s.db, list.No, state, dispatch.NotificationID(after), in.Limit, list.CreatedAt)
	if err != nil {
		return nil, err
	}
	items, err := s.readNotifications(ctx, list, ids)
	if err != nil {
		return nil, err
	}
	page := pageOf(owner, items, len(items), func(Notification) string { return "" })
	if next != 0 {
		page.Next = cursor(owner, fmt.Sprint(int64(next)))
	}
	return &answer[*Page[Notification]]{page}, nil
}

// readNotifications tells what became of notifications of one list, in the order of their ids.
func (s *Server) readNotifications(ctx context.Context, list *ingest.List, ids []dispatch.NotificationID) ([]Notification, error) {
	found, err := dispatch.ReadStatus(ctx, s.db, ids, list.CreatedAt)
	if err != nil {
		return nil, err
	}
	now := s.now()
	out := make([]Notification, len(found))
	for i := range found {
		st := &found[i]
		n := Notification{ListID: list.ID.String(), ExternalID: st.ExternalID, NotificationID: st.ID.String(), Part: st.Part, Row: st.RowNo,
			Sequence: int(st.Sequence), State: st.State.String(), Final: st.State.Final(), Informed: st.State == dispatch.Delivered,
			InTerm: string(dispatch.TermOf(st.State, st.At, st.InformBy, now)), Reason: string(st.Reason), Code: st.Code, Channel: st.Channel, Attempt: int(st.Attempt),
			Segments: int(st.Segments), OccurredAt: st.At, PossibleDuplicate: st.Possible, Attempts: make([]Attempt, len(st.Attempts))}
		if n.OccurredAt.IsZero() {
			n.OccurredAt = list.CreatedAt
		}
		for k, a := range st.Attempts {
			n.Attempts[k] = Attempt{No: int(a.No), Channel: a.Channel, Link: a.Link, State: a.State.String(), Code: a.Code, At: a.At}
		}
		out[i] = n
	}
	return out, nil
}

// kindsOf takes the kinds of this version; what was asked is journalled, so nothing else may be.
func kindsOf(names []string) ([]journal.Kind, error) {
	kinds := make([]journal.Kind, 0, len(names))
	for _, name := range names {
		if !slices.Contains(journal.Kinds(), journal.Kind(name)) {
			return nil, invalid("query.kind", "expected kinds of entries, as list.approved")
		}
		kinds = append(kinds, journal.Kind(name))
	}
	return kinds, nil
}
