package ingest

import (
	"strconv"
	"time"
)

// Types of the events in which senders are told of their lists (CONTRACTS 2).
const (
	EventProtocol = "ekc.list.protocol.v1"
	EventStatus   = "ekc.notification.status.v1"
	EventSummary  = "ekc.list.summary.v1" // where statuses are told: the end of a list
	EventReply    = "ekc.reply.v1"
)

// Event is a report as a CloudEvents 1.0 event in the structured mode. Its id is the same whenever it is told again.
type Event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"` // the list's id
	Time            time.Time `json:"time"`    // when it happened
	DataContentType string    `json:"datacontenttype"`
	Position        int64     `json:"ekcposition"` // in the journal
	Data            any       `json:"data"`
}

// eventSource is the source of our events.
const eventSource = "ekc"

// Event is how the report is told; of a check that is over its Data is for the caller, a ProtocolPage.
func (r *Report) Event() Event {
	list := r.List.ID.String()
	e := Event{SpecVersion: "1.0", ID: list + "." + strconv.FormatInt(r.Position, 10), Source: eventSource, Subject: list, Time: r.At.UTC(),
		DataContentType: "application/json", Position: r.Position}
	switch {
	case r.Status != nil:
		e.Type, e.Data = EventStatus, r.Status
	case r.Summary != nil:
		e.Type, e.Data = EventSummary, r.Summary
	case r.Reply != nil:
		e.Type, e.Data = EventReply, r.Reply
	default:
		e.Type = EventProtocol
	}
	return e
}
