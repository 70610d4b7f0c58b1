package dispatch

import (
	"testing"

	"ekc/journal"
)

func TestTold(t *testing.T) {
	t.Parallel()
	entry := func(kind journal.Kind, from, to State, data ...journal.Field) journal.Entry {
		return journal.Entry{Kind: kind, Notification: 1, From: from.String(), State: to.String(), Data: data}
	}
	for name, c := range map[string]struct {
		entry journal.Entry
		want  bool
	}{
		"acceptance":                        {entry(journal.Attempt, Pending, Accepted), true},
		"uncertainty":                       {entry(journal.Attempt, Pending, Uncertain), true},
		"a late answer":                     {entry(journal.Attempt, Uncertain, Accepted), true},
		"an end":                            {entry(journal.Outcome, Pending, Suppressed), true},
		"a raise":                           {entry(journal.Outcome, Undelivered, Delivered), true},
		"accepted by the second channel":    {entry(journal.Attempt, Accepted, Accepted, toldAgain), true},
		"a second uncertain attempt":        {entry(journal.Attempt, Uncertain, Uncertain, journal.Field{Name: "possible_duplicate", Value: "true"}, toldAgain), true},
		"a temporary refusal":               {entry(journal.Attempt, Pending, Pending), false},
		"a temporary refusal of a resend":   {entry(journal.Attempt, Uncertain, Uncertain, journal.Field{Name: "possible_duplicate", Value: "true"}), false},
		"one segment":                       {entry(journal.Attempt, Accepted, Accepted), false},
		"the next channel":                  {entry(journal.Attempt, Accepted, Pending), false},
		"an attempt after its end":          {entry(journal.Attempt, Delivered, Delivered), false},
		"a batch, which is of many":         {journal.Entry{Kind: journal.BatchClaimed, State: Accepted.String()}, false},
		"a state this version knows not of": {journal.Entry{Kind: journal.Outcome, Notification: 1, State: "evaporated"}, false},
	} {
		if _, got := Told(&c.entry); got != c.want {
			t.Errorf("%s: told %t", name, got)
		}
	}
}
