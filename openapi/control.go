package openapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/journal"
)

func (s *Server) registerControl() {
	register(s, operation{id: "listStops", method: http.MethodGet, path: "/v1/stops", tag: "control", summary: "Stops, newest first"}, s.listStops)
	register(s, operation{id: "createStop", method: http.MethodPost, path: "/v1/stops", tag: "control", summary: "Stop everything, or what is named", status: http.StatusCreated,
		description: "Effective in every process within 2 s; survives restarts. A stop exempts nothing, answers neither."}, s.createStop)
	register(s, operation{id: "liftStop", method: http.MethodDelete, path: "/v1/stops/{id}", tag: "control", summary: "Lift a stop", status: http.StatusNoContent},
		func(ctx context.Context, p journal.Principal, in *struct {
			ID int64 `path:"id" minimum:"1"`
		}) (*empty, error) {
			if s.doors.Stops == nil {
				return nil, problem(CodeNotHere)
			}
			return &empty{}, s.doors.Stops.LiftStop(ctx, p, in.ID)
		})
	register(s, operation{id: "listLinks", method: http.MethodGet, path: "/v1/links", tag: "control", summary: "Links to SMS centres, trunks, Kafka and АСВ, and how they are"},
		func(ctx context.Context, _ journal.Principal, _ *empty) (*answer[*Page[Link]], error) {
			links, err := s.links(ctx)
			if err != nil {
				return nil, err
			}
			return &answer[*Page[Link]]{pageOf("listLinks", links, len(links), func(Link) string { return "" })}, nil
		})
}

// A holder that has not renewed for this long has lost its pool (DESIGN 1).
const holderLost = 6 * time.Second

const linksSQL = `SELECT l.name, CASE p.channel WHEN 'sms' THEN 'smsc' ELSE 'trunk' END, p.name, coalesce(h.process, ''), h.renewed_at,
		EXISTS (SELECT FROM stops s WHERE s.lifted_at IS NULL AND (s.scope = 'all' OR s.scope = 'link' AND s.target = l.name
			OR s.scope = 'pool' AND s.target = p.name OR s.scope = 'channel' AND s.target = p.channel))
	FROM links l JOIN pools p ON p.no = l.pool LEFT JOIN pool_holders h ON h.pool = p.no ORDER BY p.name, l.name`

// links are those of all pools, as the database has them; what this process sees of its own is more and stands instead.
func (s *Server) links(ctx context.Context) ([]Link, error) {
	rows, err := s.db.Query(ctx, linksSQL)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var links []Link
	var l Link
	var renewed *time.Time
	_, err = pgx.ForEachRow(rows, []any{&l.Name, &l.Kind, &l.Pool, &l.Holder, &renewed, &l.Stopped}, func() error {
		l.State, l.Reason = "unknown", ""
		if renewed == nil || time.Since(*renewed) > holderLost {
			l.State, l.Reason, l.Holder = "down", "no process holds its pool", ""
		}
		links = append(links, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	if s.doors.Links == nil {
		return links, nil
	}
	own, err := s.doors.Links.Links(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range own {
		i := slices.IndexFunc(links, func(l Link) bool { return l.Name == o.Name && l.Kind == o.Kind })
		if i < 0 {
			links = append(links, o)
			continue
		}
		o.Pool, o.Holder, o.Stopped = links[i].Pool, links[i].Holder, links[i].Stopped
		links[i] = o
	}
	return links, nil
}

const stopsSQL = `SELECT id, scope, target, reason, actor, at, lifted_at, lifted_by FROM stops
	WHERE ($1 = 0 OR id < $1) AND ($2 OR lifted_at IS NULL) ORDER BY id DESC LIMIT $3`

func (s *Server) listStops(ctx context.Context, _ journal.Principal, in *struct {
	Paging
	All bool `query:"all" doc:"Lifted ones as well"`
}) (*answer[*Page[Stop]], error) {
	before, err := numberFromCursor("listStops", in.After)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, stopsSQL, before, in.All, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list stops: %w", err)
	}
	stops, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Stop])
	if err != nil {
		return nil, fmt.Errorf("list stops: %w", err)
	}
	if err := s.nameLists(ctx, stops); err != nil {
		return nil, err
	}
	return &answer[*Page[Stop]]{pageOf("listStops", stops, in.Limit, func(stop Stop) string { return strconv.FormatInt(stop.ID, 10) })}, nil
}

// nameLists shows the lists that stops name by the id they have outside.
func (s *Server) nameLists(ctx context.Context, stops []Stop) error {
	var nos []int64
	for _, stop := range stops {
		if no, err := strconv.ParseInt(stop.Target, 10, 64); err == nil && stop.Scope == string(dispatch.StopList) {
			nos = append(nos, no)
		}
	}
	names, err := s.listNames(ctx, nos)
	if err != nil {
		return err
	}
	for i := range stops {
		no, err := strconv.ParseInt(stops[i].Target, 10, 64)
		if id, ok := names[no]; ok && err == nil && stops[i].Scope == string(dispatch.StopList) {
			stops[i].Target = id.String()
		}
	}
	return nil
}

type createdStop struct {
	ID int64 `json:"id"`
}

func (s *Server) createStop(ctx context.Context, p journal.Principal, in *struct {
	Body struct {
		Scope  string `json:"scope" enum:"all,agency,channel,pool,link,template,life_event,list"`
		Target string `json:"target,omitempty" maxLength:"100" doc:"What of that scope; none for all. Of scope list: its id"`
		Reason string `json:"reason" minLength:"3" maxLength:"500" doc:"For who finds it in the night; no personal data"`
	}
}) (*answer[createdStop], error) {
	if s.doors.Stops == nil {
		return nil, problem(CodeNotHere)
	}
	scope, target := dispatch.StopScope(in.Body.Scope), in.Body.Target
	switch {
	case citizen.HoldsPersonal(in.Body.Reason), scope != dispatch.StopList && citizen.HoldsPersonal(target): // an id may look like a phone
		return nil, invalid("body.reason", "expected no phone and no SNILS: the reason stays in the history")
	case (scope == dispatch.StopAll) != (target == ""):
		return nil, invalid("body.target", "expected a target, and none for scope all")
	case scope == dispatch.StopList:
		list, err := s.listByID(ctx, p, target)
		if err != nil {
			return nil, err
		}
		target = strconv.FormatInt(list.no, 10)
	}
	id, err := s.doors.Stops.SetStop(ctx, p, scope, target, in.Body.Reason)
	return answerOf(createdStop{id}, err)
}
