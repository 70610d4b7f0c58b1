package openapi

import (
	"context"
	"net/http"

	"ekc/catalog"
	"ekc/journal"
)

// Source is a door by which lists come in, as the catalogue has it, and how it stands.
type Source struct {
	Code     string   `json:"code"`
	Title    string   `json:"title"`
	Door     string   `json:"door"`
	Topics   []string `json:"topics" doc:"Kafka, of door feed"`
	Agencies []string `json:"agencies" doc:"Whose lists it may bring; none: its account's own"`
	Approved bool     `json:"approved" doc:"Its lists start by a standing decision, without a person"`
	Held     string   `json:"held,omitempty" doc:"Why its lists wait until a person lets them go"`
	Links    []Link   `json:"links" doc:"How its topics are read"`
}

func (s *Server) registerSources() {
	register(s, operation{id: "listSources", method: http.MethodGet, path: "/v1/sources", tag: "sources", summary: "Sources of lists, and how their topics are read"}, s.listSources)
	register(s, operation{id: "resumeSource", method: http.MethodPost, path: "/v1/sources/{code}/resume", tag: "sources", summary: "Read a stopped source again", status: http.StatusNoContent, errors: []int{409},
		description: "After its producer has been mended. Lists that were paused when it was stopped are let go each by an approver of its agency."}, s.resumeSource)
}

func (s *Server) listSources(ctx context.Context, _ journal.Principal, _ *empty) (*answer[*Page[Source]], error) {
	if s.doors.Catalog == nil {
		return nil, problem(CodeNotHere)
	}
	held, err := s.doors.Lists.HeldSources(ctx)
	if err != nil {
		return nil, err
	}
	links, err := s.feedLinks(ctx)
	if err != nil {
		return nil, err
	}
	sources := []Source{}
	for _, source := range s.doors.Catalog.Current().Sources(s.now()) {
		sources = append(sources, sourceOf(source, held[source.Code], links))
	}
	return &answer[*Page[Source]]{pageOf("listSources", sources, len(sources), func(s Source) string { return s.Code })}, nil
}

func sourceOf(c *catalog.Source, held string, links []Link) Source {
	out := Source{Code: c.Code, Title: c.Title, Door: c.Door, Topics: append([]string{}, c.Topics...), Agencies: append([]string{}, c.Agencies...),
		Approved: c.AutoApproved(), Held: held, Links: []Link{}}
	for _, l := range links {
		if l.Pool == c.Code {
			out.Links = append(out.Links, l)
		}
	}
	return out
}

// feedLinks are the topics of the feed; none where nothing reads them.
func (s *Server) feedLinks(ctx context.Context) ([]Link, error) {
	if s.doors.Feed == nil {
		return nil, nil
	}
	return s.doors.Feed.FeedLinks(ctx)
}

func (s *Server) resumeSource(ctx context.Context, p journal.Principal, in *struct {
	Code string `path:"code" maxLength:"64"`
}) (*empty, error) {
	if s.doors.Feed == nil || s.doors.Catalog == nil {
		return nil, problem(CodeNotHere)
	}
	if _, ok := s.doors.Catalog.Current().Source(in.Code, s.now()); !ok {
		return nil, problem(CodeNotFound)
	}
	stopped, err := s.doors.Feed.Resume(ctx, p, in.Code)
	if err == nil && !stopped {
		err = problem(CodeNotStopped)
	}
	return &empty{}, err
}
