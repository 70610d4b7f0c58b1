package openapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"ekc/journal"
)

// Webhook is an address that hears what became of the lists of an agency.
type Webhook struct {
	ID        int64      `json:"id"`
	Agency    string     `json:"agency"`
	Source    string     `json:"source" doc:"Only lists of this source of the catalogue; empty: all of the agency"`
	URL       string     `json:"url"`
	Statuses  string     `json:"statuses" enum:"all,final"`
	Replies   bool       `json:"replies"`
	State     string     `json:"state" enum:"active,failing,dead" doc:"failing: tried again with growing pauses; dead: given up, waits for replay"`
	Position  int64      `json:"position" doc:"Place in the journal before which everything was taken: ekcposition of the events"`
	Failures  int        `json:"failures" doc:"One after another"`
	Fault     string     `json:"fault,omitempty" doc:"Of the last of them: http_<status>, redirect, timeout, unreachable, tls, name_not_found, address_not_allowed, bad_url"`
	Since     *time.Time `json:"since,omitempty" doc:"When the first of them was"`
	RetryAt   *time.Time `json:"retry_at,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
}

// NewWebhook is what is decided about a webhook.
type NewWebhook struct {
	Agency   string `json:"agency,omitempty" maxLength:"64" doc:"Code of the agency; one's own when absent"`
	Source   string `json:"source,omitempty" maxLength:"64" doc:"Only lists of this source of the catalogue; absent: all of the agency"`
	URL      string `json:"url" maxLength:"500" doc:"https; http only for this very machine. Private networks only where the configuration names them. Redirects are not followed" example:"https://system.example/ekc/outcomes"`
	Statuses string `json:"statuses,omitempty" enum:"all,final" default:"all" doc:"final: ends only"`
	Replies  bool   `json:"replies,omitempty" doc:"Also that a person wants no more messages"`
}

type createdWebhook struct {
	Webhook
	Secret string `json:"secret" doc:"The key of the signature, shown once: whsec_…"`
}

// Webhooks keeps the addresses. *webhook.Service is one.
type Webhooks interface {
	Create(ctx context.Context, p journal.Principal, n NewWebhook) (made Webhook, secret string, err error)
	List(ctx context.Context, p journal.Principal, after int64, limit int) ([]Webhook, error)
	Delete(ctx context.Context, p journal.Principal, id int64) error
	Replay(ctx context.Context, p journal.Principal, id int64, from *int64) (Webhook, error)
}

// WebhookPath names a webhook.
type WebhookPath struct {
	ID int64 `path:"id" minimum:"1"`
}

func (s *Server) registerWebhooks() {
	register(s, operation{id: "listWebhooks", method: http.MethodGet, path: "/v1/webhooks", tag: "webhooks", summary: "Webhooks and how they are, oldest first"},
		func(ctx context.Context, p journal.Principal, in *Paging) (*answer[*Page[Webhook]], error) {
			after, err := numberFromCursor("listWebhooks", in.After)
			if err != nil {
				return nil, err
			}
			all, err := s.doors.Webhooks.List(ctx, p, after, in.Limit+1)
			if err != nil {
				return nil, err
			}
			return &answer[*Page[Webhook]]{pageOf("listWebhooks", all, in.Limit, func(w Webhook) string { return strconv.FormatInt(w.ID, 10) })}, nil
		})
	register(s, operation{id: "createWebhook", method: http.MethodPost, path: "/v1/webhooks", tag: "webhooks", summary: "Have outcomes posted to an address; the secret is shown once",
		status: http.StatusCreated, errors: []int{409}, description: "What happens from now on is posted as a batch of CloudEvents 1.0 (application/cloudevents-batch+json): " +
			"statuses of notifications, a summary when a list has ended. At least once, in order; `id` and, for a notification, `sequence` tell a repeat. " +
			"Ekc-Signature is v1= and the hexadecimal HMAC-SHA256, by the secret, of Ekc-Timestamp, a point and the body: check it, and that the timestamp is within 5 minutes. Answer 2xx within 15 s once the batch is stored. " +
			"No personal data is in it."},
		func(ctx context.Context, p journal.Principal, in *struct{ Body NewWebhook }) (*answer[createdWebhook], error) {
			made, secret, err := s.doors.Webhooks.Create(ctx, p, in.Body)
			if err != nil {
				return nil, err
			}
			callOf(ctx).secret = true
			return &answer[createdWebhook]{createdWebhook{made, secret}}, nil
		})
	register(s, operation{id: "deleteWebhook", method: http.MethodDelete, path: "/v1/webhooks/{id}", tag: "webhooks", summary: "Post nothing more to an address", status: http.StatusNoContent},
		func(ctx context.Context, p journal.Principal, in *WebhookPath) (*empty, error) {
			return &empty{}, s.doors.Webhooks.Delete(ctx, p, in.ID)
		})
	register(s, operation{id: "replayWebhook", method: http.MethodPost, path: "/v1/webhooks/{id}/replay", tag: "webhooks", summary: "Go on with an address that was given up, or tell it again",
		description: "Without position it goes on where it stands; with one, everything from there on is posted again."},
		func(ctx context.Context, p journal.Principal, in *struct {
			WebhookPath
			Body struct {
				Position *int64 `json:"position,omitempty" minimum:"0" doc:"ekcposition of the first event to be told again"`
			}
		}) (*answer[Webhook], error) {
			return answerOf(s.doors.Webhooks.Replay(ctx, p, in.ID, in.Body.Position))
		})
}
