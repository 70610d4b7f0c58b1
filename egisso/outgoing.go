package egisso

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"ekc/ingest"
)

// Protocol is the load protocol of a checked list. One that is longer than a message is cut: all but the last say in next where the
// following goes on.
type Protocol = ingest.Protocol

// Status is what became of one notification, with each change that is told. Nothing personal is in it.
type Status struct {
	ListID            uuid.UUID  `json:"list_id"`
	ExternalID        string     `json:"external_id"`
	NotificationID    string     `json:"notification_id"`
	Part              int        `json:"part"`
	Row               int        `json:"row"`      // of the list, as its sender counts
	Sequence          int        `json:"sequence"` // grows with each status of the notification
	State             string     `json:"state"`    // suppressed, accepted, uncertain, delivered, undelivered, expired, refused, unconfirmed, cancelled, out_of_time
	Final             bool       `json:"final"`
	Informed          bool       `json:"informed"` // delivered in all segments, or a call heard
	InTerm            string     `json:"in_term"`  // in_term, late, not_informed, no_term, open
	Reason            string     `json:"reason,omitempty"`
	Code              string     `json:"code,omitempty"` // the far side's own word
	Channel           string     `json:"channel,omitempty"`
	Attempt           int        `json:"attempt"`  // 0 = none was made
	Segments          int        `json:"segments"` // of an SMS
	OccurredAt        time.Time  `json:"occurred_at"`
	WaitingUntil      *time.Time `json:"waiting_until,omitempty"`
	PossibleDuplicate bool       `json:"possible_duplicate,omitempty"` // sent again after an attempt whose answer was lost
}

// Summary is what became of a list, once, when nothing of it is pending: rows = accepted + rejected + skipped, and counts add up to
// accepted.
type Summary struct {
	ListID     uuid.UUID      `json:"list_id"`
	State      string         `json:"state"` // completed, cancelled
	Rows       int            `json:"rows"`
	Accepted   int            `json:"accepted"`
	Rejected   int            `json:"rejected"`
	Skipped    int            `json:"skipped"` // taken by an earlier list
	Counts     map[string]int `json:"counts"`  // notifications by state
	Informed   int            `json:"informed"`
	OccurredAt time.Time      `json:"occurred_at"`
}

// Reply is what a citizen answered, without a word of his own.
type Reply struct {
	ListID     uuid.UUID `json:"list_id"`
	ExternalID string    `json:"external_id"`
	Kind       string    `json:"kind"` // answer, opt_out, wrong_person, callback
	Question   string    `json:"question,omitempty"`
	Value      string    `json:"value,omitempty"` // of an answer: one of those the question offers
	OccurredAt time.Time `json:"occurred_at"`
}

// Event is a message that goes out.
type Event struct {
	ID      string    // unique; the same when it is sent again
	Source  string    // ours
	Type    string    //
	Subject string    // the list's id
	Time    time.Time // when it happened
	Data    any       // Protocol, Status, Summary or Reply
}

// Structured is the event in structured mode: content type application/cloudevents+json.
func (e *Event) Structured() ([]byte, error) {
	return json.Marshal(struct {
		SpecVersion     string    `json:"specversion"`
		ID              string    `json:"id"`
		Source          string    `json:"source"`
		Type            string    `json:"type"`
		Subject         string    `json:"subject,omitempty"`
		Time            time.Time `json:"time"`
		DataContentType string    `json:"datacontenttype"`
		Data            any       `json:"data"`
	}{"1.0", e.ID, e.Source, e.Type, e.Subject, e.Time.UTC(), "application/json", e.Data})
}

// Headers are the event's attributes in binary mode; its value is the data alone.
func (e *Event) Headers() []Header {
	headers := []Header{{"ce_specversion", []byte("1.0")}, {"ce_id", []byte(e.ID)}, {"ce_source", []byte(e.Source)}, {"ce_type", []byte(e.Type)},
		{"ce_time", []byte(e.Time.UTC().Format(time.RFC3339Nano))}, {"content-type", []byte("application/json")}}
	if e.Subject != "" {
		headers = append(headers, Header{"ce_subject", []byte(e.Subject)})
	}
	return headers
}
