package openapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"ekc/catalog"
	"ekc/journal"
)

// catalogItem is one item in force; Body has the fields of its kind.
type catalogItem struct {
	Kind    string       `json:"kind"`
	Code    string       `json:"code"`
	Version int          `json:"version"`
	Agency  string       `json:"agency" doc:"Its owner; empty: common to all"`
	Title   string       `json:"title"`
	From    *time.Time   `json:"effective_from,omitempty"`
	To      *time.Time   `json:"effective_to,omitempty"`
	Body    catalog.Item `json:"body" doc:"Fields of the kind"`
}

type CatalogPath struct {
	Kind string `path:"kind" enum:"life_events,measures,agencies,offices,sources,templates,rules,states,mappings,link_prices"`
}

func (s *Server) registerCatalog() {
	register(s, operation{id: "getCatalog", method: http.MethodGet, path: "/v1/catalog/{kind}", tag: "catalog", summary: "What is in force, by code",
		description: "`states` are the states, the gates a notification waits at and the reasons, with their Russian titles and advice."}, s.getCatalog)
	register(s, operation{id: "getCatalogItem", method: http.MethodGet, path: "/v1/catalog/{kind}/{code}", tag: "catalog", summary: "One item in force"},
		func(ctx context.Context, p journal.Principal, in *struct {
			CatalogPath
			Code string `path:"code" maxLength:"100"`
		}) (*answer[catalogItem], error) {
			items, err := s.catalogItems(p, in.Kind)
			if err != nil {
				return nil, err
			}
			i, ok := slices.BinarySearchFunc(items, in.Code, func(i catalog.Item, code string) int { return strings.Compare(i.Header().Code, code) })
			if !ok {
				return nil, problem(CodeNotFound)
			}
			return &answer[catalogItem]{itemOf(items[i])}, nil
		})
}

func (s *Server) getCatalog(_ context.Context, p journal.Principal, in *struct {
	CatalogPath
	Paging
}) (*answer[*Page[catalogItem]], error) {
	items, err := s.catalogItems(p, in.Kind)
	if err != nil {
		return nil, err
	}
	owner := "getCatalog/" + in.Kind
	after, err := fromCursor(owner, in.After)
	if err != nil {
		return nil, err
	}
	first, found := slices.BinarySearchFunc(items, after, func(i catalog.Item, code string) int { return strings.Compare(i.Header().Code, code) })
	if found {
		first++
	}
	out := make([]catalogItem, 0, min(in.Limit+1, len(items)-first))
	for _, item := range items[first:min(first+in.Limit+1, len(items))] {
		out = append(out, itemOf(item))
	}
	return &answer[*Page[catalogItem]]{pageOf(owner, out, in.Limit, func(i catalogItem) string { return i.Code })}, nil
}

// catalogItems are those of a kind that p may see, by code: the common ones, and its agency's own.
func (s *Server) catalogItems(p journal.Principal, kind string) ([]catalog.Item, error) {
	if s.doors.Catalog == nil {
		return nil, problem(CodeNotHere)
	}
	c, now := s.doors.Catalog.Current(), s.now()
	var items []catalog.Item
	switch kind {
	case "life_events":
		items = itemsOf(c.LifeEvents(now))
	case "measures":
		items = itemsOf(c.Measures(now))
	case "agencies":
		items = itemsOf(c.Agencies(now))
	case "offices":
		items = itemsOf(c.Offices(now))
	case "sources":
		items = itemsOf(c.Sources(now))
	case "templates":
		items = itemsOf(c.Templates(now))
	case "rules":
		items = itemsOf(c.RuleItems(now))
	case "states":
		items = itemsOf(c.States(now))
	case "mappings":
		items = itemsOf(c.Mappings(now))
	case "link_prices":
		items = itemsOf(c.LinkPrices(now))
	}
	return slices.DeleteFunc(items, func(i catalog.Item) bool {
		agency := i.Header().Agency
		if source, ok := i.(*catalog.Source); ok && p.Agency != "" && len(source.Agencies) > 0 && !slices.Contains(source.Agencies, p.Agency) {
			return true
		}
		return agency != "" && !p.Sees(agency)
	}), nil
}

func itemsOf[T catalog.Item](items []T) []catalog.Item {
	out := make([]catalog.Item, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

func itemOf(i catalog.Item) catalogItem {
	h := i.Header()
	item := catalogItem{Kind: string(i.Kind()), Code: h.Code, Version: h.Version, Agency: h.Agency, Title: i.Label(), Body: i}
	if !h.From.IsZero() {
		item.From = &h.From
	}
	if !h.To.IsZero() {
		item.To = &h.To
	}
	return item
}
