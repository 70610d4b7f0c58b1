package ingest

import (
	"testing"

	"github.com/google/uuid"

	"ekc/citizen"
	"ekc/dispatch"
)

func TestNothingIsToldOfPeopleWhoHaveDied(t *testing.T) {
	t.Parallel()
	h := newHub(t, trusting(t, true))
	person := func(digits string) citizen.SNILS {
		snils, _, err := citizen.ParseSNILS(digits)
		if err != nil {
			t.Fatal(err)
		}
		return snils
	}
	rows := feedRows(4)
	rows[1].SNILS, rows[3].SNILS = "11223344595", "00000164434"
	died := func(digits string) {
		t.Helper()
		for range 2 { // it is told again
			if err := h.TakeDeaths(t.Context(), feedPrincipal, []citizen.SNILS{person(digits)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended := func(l *List) (ids []string) {
		results, err := h.Results(t.Context(), feedPrincipal, l.ID)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range results {
			if err != nil {
				t.Fatal(err)
			}
			if r.State == dispatch.Cancelled {
				ids = append(ids, r.ExternalID)
			}
		}
		return ids
	}

	running := uuid.New()
	h.take(nil, feedParts(t, running, rows, 4)...)
	h.checkAll()
	died("112-233-445 95")
	if got := ended(h.get(running)); len(got) != 1 || got[0] != "r-2" {
		t.Errorf("of a list that runs %v ended, want r-2", got)
	}

	// While a list is checked: after its slices, before it is ready.
	during := uuid.New()
	h.afterSlice = func(int) error { died("000-001-644 34"); return nil }
	h.take(nil, feedParts(t, during, rows, 4)...)
	h.checkAll()
	h.afterSlice = nil
	l := h.get(during)
	if got := ended(l); len(got) != 2 || got[0] != "r-2" || got[1] != "r-4" {
		t.Errorf("of a list that was checked meanwhile %v ended, want r-2 and r-4", got)
	}
	if p := h.protocol(l); len(p.ErrorRecords) != 4 || p.ErrorRecords[1].Messages[0].RuleCode != RuleDeceased || !p.ErrorRecords[1].RecordOK {
		t.Errorf("the protocol says %+v", p.ErrorRecords)
	}
	if n := h.number(`SELECT count(*) FROM outbox`); n != 4 { // r-1 and r-3 of both lists
		t.Errorf("%d rows are left to be sent, want 4", n)
	}

	// Long before a list comes: its check knows.
	if _, err := h.db.Exec(t.Context(), `UPDATE deceased SET at = at - interval '1 day'`); err != nil {
		t.Fatal(err)
	}
	file := h.load(listHeader(), goodFile)
	if got := ended(file); len(got) != 1 {
		t.Errorf("of a file %v ended, want its first row", got)
	}
	if n := h.number(`SELECT count(*) FROM deceased`); n != 2 {
		t.Errorf("%d people, want 2", n)
	}
}
