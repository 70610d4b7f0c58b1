package openapi

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
)

// List is a list as its agency sees it.
type List struct {
	ID              string              `json:"id" format:"uuid"`
	Name            string              `json:"name"`
	Agency          string              `json:"agency"`
	Source          string              `json:"source"`
	Kind            string              `json:"kind" doc:"file, feed, json, express"`
	State           string              `json:"state" doc:"receiving, checking, rejected, ready, refused, approved, running, paused, cancelling, cancelled, completed"`
	StateReason     string              `json:"state_reason,omitempty" doc:"A sentence in Russian"`
	LifeEvent       string              `json:"life_event,omitempty"`
	Template        string              `json:"template,omitempty"`
	TemplateVersion int                 `json:"template_version,omitempty" doc:"Pinned for the list"`
	Channels        []string            `json:"channels"`
	Priority        string              `json:"priority"`
	OnUncertain     string              `json:"on_uncertain"`
	LegalBasis      *catalog.LegalBasis `json:"legal_basis,omitempty"`
	OrderedBy       string              `json:"ordered_by,omitempty"`
	NotBefore       *time.Time          `json:"not_before,omitempty"`
	ValidUntil      *time.Time          `json:"valid_until,omitempty"`
	InformBy        *time.Time          `json:"inform_by,omitempty"`
	Test            bool                `json:"test"`
	Tests           string              `json:"tests,omitempty" format:"uuid" doc:"Of a test sending: the list whose row it shows; there nothing of it is counted"`
	Corrects        string              `json:"corrects,omitempty" format:"uuid" doc:"The list whose mended file this is"`
	Rows            int                 `json:"rows"`
	Accepted        int                 `json:"accepted"`
	Rejected        int                 `json:"rejected"`
	Warnings        int                 `json:"warnings"`
	Skipped         int                 `json:"skipped" doc:"Rows that an earlier list has taken already"`
	Suppressed      int                 `json:"suppressed" doc:"Of accepted: repeats of what an earlier row says, which the agency's rule does not let go"`
	Segments        int64               `json:"segments" doc:"SMS segments of what was accepted"`
	Digest          string              `json:"digest,omitempty" doc:"Of what would be sent; approve names it"`
	Counts          map[string]int64    `json:"counts" doc:"Notifications by state"`
	AsOf            time.Time           `json:"as_of" doc:"When the counts were read"`
	LoadedBy        string              `json:"loaded_by"`
	ApprovedBy      string              `json:"approved_by,omitempty"`
	CreatedAt       time.Time           `json:"created_at"`
	ApprovedAt      *time.Time          `json:"approved_at,omitempty"`
	StartAt         *time.Time          `json:"start_at,omitempty"`
	FirstSentAt     *time.Time          `json:"first_sent_at,omitempty"`
	EndedAt         *time.Time          `json:"ended_at,omitempty"`
}

func listOf(l *ingest.List) List {
	counts := make(map[string]int64, len(l.Counts))
	for state, n := range l.Counts {
		counts[state.String()] = n
	}
	channels := l.Channels
	if channels == nil {
		channels = []string{}
	}
	out := List{
		ID: l.ID.String(), Name: l.Name, Agency: l.Agency, Source: l.Source, Kind: l.Kind, State: string(l.State), StateReason: l.StateReason,
		LifeEvent: l.LifeEvent, Template: l.Template, TemplateVersion: l.TemplateVersion, Channels: channels, Priority: l.Priority,
		OnUncertain: l.OnUncertain, LegalBasis: l.LegalBasis, OrderedBy: l.OrderedBy, NotBefore: timeOf(l.NotBefore), ValidUntil: timeOf(l.ValidUntil),
		InformBy: timeOf(l.InformBy), Test: l.Test, Rows: l.Rows, Accepted: l.Accepted, Rejected: l.Rejected, Warnings: l.Warnings, Skipped: l.Skipped, Suppressed: l.Suppressed,
		Segments: l.Segments, Digest: hex.EncodeToString(l.Digest), Counts: counts, AsOf: l.AsOf, LoadedBy: l.LoadedBy, ApprovedBy: l.ApprovedBy,
		CreatedAt: l.CreatedAt, ApprovedAt: timeOf(l.ApprovedAt), StartAt: timeOf(l.StartAt), FirstSentAt: timeOf(l.FirstSentAt), EndedAt: timeOf(l.EndedAt),
	}
	if l.Tests != uuid.Nil {
		out.Tests = l.Tests.String()
	}
	if l.Corrects != uuid.Nil {
		out.Corrects = l.Corrects.String()
	}
	return out
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ListRef is what a submitter gets back.
type ListRef struct {
	ID    string `json:"id" format:"uuid"`
	State string `json:"state"`
	URL   string `json:"url" example:"/v1/lists/0197a3c2-…"`
}

func refOf(r ingest.Ref) *answer[ListRef] {
	return &answer[ListRef]{ListRef{ID: r.ID.String(), State: string(r.State), URL: "/v1/lists/" + r.ID.String()}}
}

type ListPath struct {
	ID string `path:"id" format:"uuid"`
}

func (l ListPath) uuid() uuid.UUID {
	id, err := uuid.Parse(l.ID)
	if err != nil { // the schema lets none through; the zero id names no list
		return uuid.Nil
	}
	return id
}

type reasonBody struct {
	Reason string `json:"reason" minLength:"3" maxLength:"500" doc:"For the one who loaded it; no personal data"`
}

func (s *Server) registerLists() {
	s.registerSubmit()
	s.registerResults()
	register(s, operation{id: "listLists", method: http.MethodGet, path: "/v1/lists", tag: "lists", summary: "Lists of the agency, newest first"},
		func(ctx context.Context, p journal.Principal, in *struct {
			Paging
			State []string `query:"state" maxItems:"11" doc:"Only lists in these states, by commas"`
		}) (*answer[*Page[List]], error) {
			after, err := numberFromCursor("listLists", in.After)
			if err != nil {
				return nil, err
			}
			query := ingest.ListsQuery{After: after, Limit: min(in.Limit, 200)}
			for _, state := range in.State {
				query.States = append(query.States, ingest.State(state))
			}
			found, next, err := s.doors.Lists.Lists(ctx, p, query)
			if err != nil {
				return nil, err
			}
			page := &Page[List]{Items: make([]List, len(found))}
			for i, l := range found {
				page.Items[i] = listOf(l)
			}
			if next != 0 {
				page.Next = cursor("listLists", strconv.FormatInt(next, 10))
			}
			return &answer[*Page[List]]{page}, nil
		})
	register(s, operation{id: "getList", method: http.MethodGet, path: "/v1/lists/{id}", tag: "lists", summary: "One list with its counts"},
		func(ctx context.Context, p journal.Principal, in *ListPath) (*answer[List], error) {
			return s.listAnswer(s.doors.Lists.Get(ctx, p, in.uuid()))
		})
	register(s, operation{id: "approveList", method: http.MethodPost, path: "/v1/lists/{id}/approve", tag: "lists", summary: "Let a ready list go", errors: []int{409},
		description: "By an approver of the agency who did not load it. 409 when what was previewed is not what is there."},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			Body struct {
				Expected struct {
					Accepted int    `json:"accepted" minimum:"0"`
					Digest   string `json:"digest" maxLength:"128"`
				} `json:"expected" doc:"accepted and digest of the list as it was looked at"`
				StartAt time.Time `json:"start_at,omitempty" doc:"Not before this time"`
			}
		}) (*answer[List], error) {
			want := ingest.Expected{Accepted: in.Body.Expected.Accepted, Digest: in.Body.Expected.Digest}
			return s.listAnswer(s.doors.Lists.Approve(ctx, p, in.uuid(), want, in.Body.StartAt))
		})
	register(s, operation{id: "refuseList", method: http.MethodPost, path: "/v1/lists/{id}/refuse", tag: "lists", summary: "Say no to a ready list", errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			Body reasonBody
		}) (*answer[List], error) {
			if citizen.HoldsPersonal(in.Body.Reason) {
				return nil, invalid("body.reason", "expected no phone and no SNILS: the reason stays in the history")
			}
			return s.listAnswer(s.doors.Lists.Refuse(ctx, p, in.uuid(), in.Body.Reason))
		})
	register(s, operation{id: "pauseList", method: http.MethodPost, path: "/v1/lists/{id}/pause", tag: "lists", summary: "Hold a list", errors: []int{409},
		description: "Nothing of it leaves any process 2 s later."},
		func(ctx context.Context, p journal.Principal, in *ListPath) (*answer[List], error) {
			return s.listAnswer(s.doors.Lists.Pause(ctx, p, in.uuid()))
		})
	register(s, operation{id: "resumeList", method: http.MethodPost, path: "/v1/lists/{id}/resume", tag: "lists", summary: "Let a paused list go on", errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *ListPath) (*answer[List], error) {
			return s.listAnswer(s.doors.Lists.Resume(ctx, p, in.uuid()))
		})
	register(s, operation{id: "cancelList", method: http.MethodPost, path: "/v1/lists/{id}/cancel", tag: "lists", summary: "End a list", errors: []int{409},
		description: "What has not left does not leave; what is on the wire is let finish."},
		func(ctx context.Context, p journal.Principal, in *struct {
			ListPath
			Body reasonBody
		}) (*answer[List], error) {
			if citizen.HoldsPersonal(in.Body.Reason) {
				return nil, invalid("body.reason", "expected no phone and no SNILS: the reason stays in the history")
			}
			return s.listAnswer(s.doors.Lists.Cancel(ctx, p, in.uuid(), in.Body.Reason))
		})
}

func (s *Server) listAnswer(l *ingest.List, err error) (*answer[List], error) {
	if err != nil {
		return nil, err
	}
	return &answer[List]{listOf(l)}, nil
}
