package egisso

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"ekc/catalog"
	"ekc/ingest"
)

// Types of the messages we send (CONTRACTS 2).
const (
	TypeProtocol = "ekc.list.protocol.v1"
	TypeStatus   = "ekc.notification.status.v1"
	TypeSummary  = "ekc.list.summary.v1" // on the topic of statuses: the end of a list
	TypeReply    = "ekc.reply.v1"
)

// Topics on which a source hears of its lists unless its catalogue entry names its own.
const (
	ProtocolTopic = "ekc.list-protocols.v1"
	StatusTopic   = "ekc.notification-status.v1"
	ReplyTopic    = "ekc.replies.v1"
)

const (
	// PositionHeader has the place in the journal of what a record tells. It shows, outside the database, how far the journal went.
	PositionHeader    = "ekc_position"
	contentTypeHeader = "content-type"
	contentType       = "application/cloudevents+json; charset=UTF-8"

	// eventSource is the source of what we send.
	eventSource = "ekc"
)

// Outgoing is a CloudEvents 1.0 event in the structured mode, as we send it. Its id is the same whenever it is sent again.
type Outgoing struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            any       `json:"data"`
}

// record makes the message about a list that stands at a position of the journal. suffix tells several of one position apart.
func record(topic, kind string, r *ingest.Report, suffix string, data any) (Record, error) {
	position := strconv.FormatInt(r.Position, 10)
	list := r.List.ID.String()
	value, err := json.Marshal(Outgoing{SpecVersion: "1.0", ID: list + "." + position + suffix, Source: eventSource, Type: kind, Time: r.At.UTC(),
		DataContentType: "application/json", Data: data})
	if err != nil {
		return Record{}, fmt.Errorf("encode %s: %w", kind, err)
	}
	return Record{Topic: topic, Key: []byte(list), Value: value,
		Headers: []Header{{contentTypeHeader, []byte(contentType)}, {PositionHeader, []byte(position)}}}, nil
}

// told says whether a source hears of a report, and makes the record of all but a load protocol, which may be many.
func told(source *catalog.Source, r *ingest.Report) (rec Record, ok bool, err error) {
	switch {
	case r.Status != nil:
		if ok = r.Status.Final || source.Statuses != "final"; ok {
			rec, err = record(cmp.Or(source.StatusTopic, StatusTopic), TypeStatus, r, "", r.Status)
		}
	case r.Summary != nil:
		ok = true
		rec, err = record(cmp.Or(source.StatusTopic, StatusTopic), TypeSummary, r, "", r.Summary)
	case r.Reply != nil:
		if ok = source.Replies; ok {
			rec, err = record(cmp.Or(source.ReplyTopic, ReplyTopic), TypeReply, r, "", r.Reply)
		}
	}
	return rec, ok, err
}
