package openapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/ingest"
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
	register(s, operation{id: "listLinks", method: http.MethodGet, path: "/v1/links", tag: "control", summary: "Links to SMS centres, trunks, Kafka and АСВ, and how they are"}, s.listLinks)
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

func (s *Server) listStops(ctx context.Context, p journal.Principal, in *struct {
	Paging
	All bool `query:"all" doc:"Lifted ones as well"`
}) (*answer[*Page[Stop]], error) {
	if s.doors.Stops == nil {
		return nil, problem(CodeNotHere)
	}
	before, err := numberFromCursor("listStops", in.After)
	if err != nil {
		return nil, err
	}
	found, err := s.doors.Stops.Stops(ctx, before, in.All, in.Limit+1)
	if err != nil {
		return nil, err
	}
	stops := make([]Stop, len(found))
	for i, f := range found {
		stops[i] = Stop{ID: f.ID, Scope: string(f.Scope), Target: f.Target, Reason: f.Reason, Actor: f.Actor, At: f.At, LiftedAt: f.LiftedAt, LiftedBy: f.LiftedBy}
	}
	if err := s.nameLists(ctx, p, stops); err != nil {
		return nil, err
	}
	return &answer[*Page[Stop]]{pageOf("listStops", stops, in.Limit, func(stop Stop) string { return strconv.FormatInt(stop.ID, 10) })}, nil
}

// nameLists shows the lists that stops name by the id they have outside.
func (s *Server) nameLists(ctx context.Context, p journal.Principal, stops []Stop) error {
	var nos []int64
	for _, stop := range stops {
		if no, err := strconv.ParseInt(stop.Target, 10, 64); err == nil && stop.Scope == string(dispatch.StopList) {
			nos = append(nos, no)
		}
	}
	lists, err := ingest.ByNumber(ctx, s.db, p, nos)
	if err != nil {
		return err
	}
	for i := range stops {
		no, err := strconv.ParseInt(stops[i].Target, 10, 64)
		if l, ok := lists[no]; ok && err == nil && stops[i].Scope == string(dispatch.StopList) {
			stops[i].Target = l.ID.String()
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
		target = strconv.FormatInt(list.No, 10)
	}
	id, err := s.doors.Stops.SetStop(ctx, p, scope, target, in.Body.Reason)
	return answerOf(createdStop{id}, err)
}
