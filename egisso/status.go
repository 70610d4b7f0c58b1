package egisso

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"

	"ekc/catalog"
	"ekc/ingest"
)

// Topics on which a source hears of its lists unless its catalogue entry names its own.
const (
	ProtocolTopic = "ekc.list-protocols.v1"
	StatusTopic   = "ekc.notification-status.v1"
	ReplyTopic    = "ekc.replies.v1"
)

// PositionHeader has the place in the journal of what a record tells. It shows, outside the database, how far the journal went.
const PositionHeader = "ekc_position"

const contentType = "application/cloudevents+json; charset=UTF-8"

// recordOf is an event about a list as it is written.
func recordOf(topic string, e ingest.Event) (Record, error) {
	value, err := json.Marshal(e)
	if err != nil {
		return Record{}, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	return Record{Topic: topic, Key: []byte(e.Subject), Value: value,
		Headers: []Header{{"content-type", []byte(contentType)}, {PositionHeader, []byte(strconv.FormatInt(e.Position, 10))}}}, nil
}

// topicOf is where a source hears of a report; ok is false when it does not want to.
func topicOf(source *catalog.Source, r *ingest.Report) (topic string, ok bool) {
	switch {
	case r.Checked:
		return cmp.Or(source.ProtocolTopic, ProtocolTopic), true
	case r.Reply != nil:
		return cmp.Or(source.ReplyTopic, ReplyTopic), source.Replies
	}
	return cmp.Or(source.StatusTopic, StatusTopic), r.Summary != nil || r.Status.Final || source.Statuses != "final"
}
