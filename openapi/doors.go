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
	Gates    Gates
	Catalog  *catalog.Watcher
	Webhooks Webhooks
	Feed     Feed
}

// Control sets and lifts stops, in the journal and within two seconds in every process, and takes a person's decision about what
// may have left. *dispatch.Office is one.
type Control interface {
	SetStop(ctx context.Context, p journal.Principal, scope dispatch.StopScope, target, reason string) (id int64, err error)
	LiftStop(ctx context.Context, p journal.Principal, id int64) error
	Stops(ctx context.Context, before int64, lifted bool, limit int) ([]dispatch.Stop, error)
	Cancel(ctx context.Context, p journal.Principal, agency string, id dispatch.NotificationID) error
	Settle(ctx context.Context, p journal.Principal, agency string, id dispatch.NotificationID, what dispatch.Decision) error
}

// Feed tells how the topics of the feed are read: a Link of kind kafka each, named for its topic, in the pool of its source.
type Feed interface {
	FeedLinks(ctx context.Context) ([]Link, error)
	// Resume lets a stopped source be read again; stopped is false when it was not stopped.
	Resume(ctx context.Context, p journal.Principal, source string) (stopped bool, err error)
}

// Links tells how the pools are and their links. *dispatch.Office is one.
type Links interface {
	Pools(ctx context.Context) ([]dispatch.PoolState, error)
}

// Contents opens what was told to whom; the look is journalled here. *dispatch.Office is one.
type Contents interface {
	Contents(ctx context.Context, ids []dispatch.NotificationID) (map[dispatch.NotificationID]dispatch.Content, error)
}

// Gates tells which gate a notification waits at; nil leaves that out of the answer. *dispatch.Office is one.
type Gates interface {
	WaitingFor(ctx context.Context, id dispatch.NotificationID, start time.Time) (dispatch.Waiting, error)
}
