package main

import (
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/dispatch"
	"ekc/smpp"
)

// TestEveryStateAndReasonHasARussianTitle, and every gate: it keeps people from reading slugs.
func TestEveryStateAndReasonHasARussianTitle(t *testing.T) {
	t.Parallel()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(items)
	now := time.Now()
	check := func(scope, slug string) {
		if s, ok := c.State(scope, slug, now); !ok || s.Title == "" {
			t.Errorf("%s %q has no title in the catalogue", scope, slug)
		}
	}
	for _, s := range dispatch.States() {
		check("notification", s.String())
	}
	for _, r := range dispatch.Reasons() {
		check("reason", string(r))
	}
	for _, g := range dispatch.Gates() {
		check("gate", string(g))
	}
	reasons := map[string]bool{"default": true, "network": true, "busy": true, "no_answer": true} // the last three are calls', which come later
	for _, r := range smpp.Reasons() {
		check("reason", string(r))
		reasons[string(r)] = true
	}
	for _, rule := range c.RuleItems(now) {
		if slug, ok := strings.CutPrefix(rule.Code, "retry."); ok && !reasons[slug] {
			t.Errorf("%s is a rule for a reason nobody gives", rule.Code)
		}
	}
}
