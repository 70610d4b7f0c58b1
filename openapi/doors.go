package openapi

import (
	"context"
	"time"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/ingest"
	"ekc/journal"
)

// Doors are what the operations lead to. A nil one answers not_served_here.
type Doors struct {
	Lists    *ingest.Service
	Stops    Control
	Links    Links
	Contents Contents
	Catalog  *catalog.Watcher
}

// Stop holds back what it names until it is lifted.
type Stop struct {
	ID       int64      `json:"id"`
	Scope    string     `json:"scope" enum:"all,agency,channel,pool,link,template,life_event,list"`
	Target   string     `json:"target" doc:"What of that scope; empty for all"`
	Reason   string     `json:"reason"`
	Actor    string     `json:"actor"`
	At       time.Time  `json:"at"`
	LiftedAt *time.Time `json:"lifted_at,omitempty"`
	LiftedBy string     `json:"lifted_by,omitempty"`
}

// Control sets and lifts stops, in the journal and within two seconds in every process, and takes a person's decision about what
// may have left. *dispatch.Office is one.
type Control interface {
	SetStop(ctx context.Context, p journal.Principal, scope dispatch.StopScope, target, reason string) (id int64, err error)
	LiftStop(ctx context.Context, p journal.Principal, id int64) error
	Cancel(ctx context.Context, p journal.Principal, agency string, id dispatch.NotificationID) error
	Settle(ctx context.Context, p journal.Principal, agency string, id dispatch.NotificationID, what dispatch.Decision) error
}

// Link is one way to the outside.
type Link struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind" enum:"smsc,trunk,kafka,asv"`
	Pool    string     `json:"pool,omitempty"`
	Holder  string     `json:"holder,omitempty" doc:"Process that holds the pool"`
	State   string     `json:"state" enum:"up,down,standby,unknown" doc:"unknown: another process holds it, and only that one can tell"`
	Reason  string     `json:"reason,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Stopped bool       `json:"stopped" doc:"A stop holds it back"`
}

// Links tells how the links of this process are, beyond what the database knows; Pool, Holder and Stopped are filled in here.
type Links interface {
	Links(ctx context.Context) ([]Link, error)
}

// Contents opens what was told to whom; the look is journalled here. *dispatch.Office is one.
type Contents interface {
	Contents(ctx context.Context, ids []dispatch.NotificationID) (map[dispatch.NotificationID]dispatch.Content, error)
}
