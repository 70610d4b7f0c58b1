package openapi

import (
	"context"
	"time"

	"ekc/dispatch"
	"ekc/journal"
	"ekc/smpp"
)

// Link is one way to the outside.
type Link struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind" enum:"smsc,trunk,kafka,asv"`
	Pool    string     `json:"pool,omitempty"`
	Holder  string     `json:"holder,omitempty" doc:"Process that holds the pool"`
	State   string     `json:"state" enum:"up,down,standby,unknown" doc:"unknown: its holder has said nothing lately"`
	Reason  string     `json:"reason,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Stopped bool       `json:"stopped" doc:"A stop holds it back"`

	Advice   string     `json:"advice,omitempty" doc:"Kafka: what to do, in Russian"`
	Lag      *int64     `json:"lag,omitempty" doc:"Kafka: messages of the topic that are not stored yet"`
	LastPart *time.Time `json:"last_part_at,omitempty" doc:"Kafka: when a message of the topic was last stored"`
}

func (s *Server) listLinks(ctx context.Context, _ journal.Principal, _ *empty) (*answer[*Page[Link]], error) {
	if s.doors.Links == nil {
		return nil, problem(CodeNotHere)
	}
	pools, err := s.doors.Links.Pools(ctx)
	if err != nil {
		return nil, err
	}
	var links []Link
	now := time.Now()
	for _, p := range pools {
		for _, l := range p.Links {
			links = append(links, LinkOf(p, l, now))
		}
	}
	topics, err := s.feedLinks(ctx)
	if err != nil {
		return nil, err
	}
	links = append(links, topics...)
	return &answer[*Page[Link]]{pageOf("listLinks", links, len(links), func(Link) string { return "" })}, nil
}

// newsOld is when what a holder last said of a link is no news any more; it says so every two seconds.
const newsOld = 10 * time.Second

// LinkOf says how a link of a pool is, by what its holder last said.
func LinkOf(p dispatch.PoolState, l dispatch.LinkReport, now time.Time) Link {
	link := Link{Name: l.Name, Kind: "trunk", Pool: p.Name, State: "down", Stopped: l.Stopped}
	if p.Channel == "sms" {
		link.Kind = "smsc"
	}
	if !p.Held(now) {
		link.Reason, link.Since = "no process holds its pool", l.At
		return link
	}
	link.Holder = p.Holder
	if l.At == nil || now.Sub(*l.At) > newsOld {
		link.State, link.Reason, link.Since = "unknown", "its holder has said nothing lately", l.At
		return link
	}
	for _, b := range l.State.Binds {
		link.Since = &b.Since
		if b.State == string(smpp.Bound) {
			link.State, link.Reason = "up", ""
			return link
		}
		link.Reason = b.Name + " " + b.State
		if b.Code != "" {
			link.Reason += " with " + b.Code
		}
		if !b.Retry.IsZero() {
			link.Reason += ", next try at " + b.Retry.UTC().Format("15:04:05 UTC")
		}
	}
	return link
}
