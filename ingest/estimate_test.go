package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/dispatch"
)

func TestForecastCountsWindowsRatesAndListsAhead(t *testing.T) {
	t.Parallel()
	items, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := items.Rules(noon) // SMS 9 to 21, urgent 8 to 22, by each one's own clock
	if err != nil {
		t.Fatal(err)
	}
	one := func(pool, zones string, segments float64, change ...func(*wave)) wave {
		w := wave{Demand: dispatch.Demand{Pool: pool, Channel: "sms", Zones: citizen.Zones(zones)}, segments: segments, own: true}
		for _, f := range change {
			f(&w)
		}
		return w
	}
	ahead := func(w *wave) { w.own = false }
	wide := func(w *wave) { w.Wide = true }
	voice := func(w *wave) { w.Channel = "voice" }
	rates := map[string]int{"a": 10, "b": 1}
	const msk, kam = "Europe/Moscow", "Asia/Kamchatka" // nine hours ahead: 21:00 there is noon here
	for _, c := range []struct {
		name     string
		waves    []wave
		from     string // Moscow, of 23.11.2026
		starts   string // the day counted on from the 1st of November
		finishes string
	}{
		{"at once", []wave{one("a", msk, 3600)}, "12:00", "23 12:00:00", "23 12:06:00"},
		{"behind others", []wave{one("a", msk, 36000, ahead), one("a", msk, 3600)}, "12:00", "23 13:00:00", "23 13:06:00"},
		{"others whose window is closed let pass", []wave{one("a", kam, 36000, ahead), one("a", msk, 3600)}, "12:00", "23 12:00:00", "23 12:06:00"},
		{"into the next day", []wave{one("a", msk, 36000)}, "20:30", "23 20:30:00", "24 09:30:00"},
		{"urgent", []wave{one("a", msk, 36000, wide)}, "20:30", "23 20:30:00", "23 21:30:00"},
		{"far zone", []wave{one("a", kam, 10)}, "12:00", "24 00:00:00", "24 00:00:01"},
		{"two zones", []wave{one("a", kam, 10), one("a", msk, 10)}, "12:00", "23 12:00:00", "24 00:00:01"},
		{"no common hour", []wave{one("a", msk+"+America/Anchorage", 10)}, "12:00", "", ""},
		{"two pools", []wave{one("a", msk, 3600), one("b", msk, 3600)}, "12:00", "23 12:00:00", "23 13:00:00"},
		{"no rate is known", []wave{one("c", msk, 1e9)}, "08:50", "23 09:00:00", "23 09:00:00"},
		{"calls on a holiday", []wave{one("a", msk, 10, voice, func(w *wave) { w.From = noon.AddDate(0, 0, 39) })}, "12:00", "70 11:00:00", "70 11:00:01"}, // 1 to 8 January are closed, the 9th is a Saturday,
		{"not before", []wave{one("a", msk, 10, func(w *wave) { w.From = noon.AddDate(0, 0, 2) })}, "12:00", "25 12:00:00", "25 12:00:01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, err := time.ParseInLocation("2006-01-02 15:04", "2026-11-23 "+c.from, moscow())
			if err != nil {
				t.Fatal(err)
			}
			pools := []string{"a", "b", "c"}
			_, starts, finishes := forecast(c.waves, pools, rates, rules, at)
			show := func(at time.Time) string {
				if at.IsZero() {
					return ""
				}
				local := at.In(moscow())
				return fmt.Sprintf("%d %s", 23+int(local.Truncate(0).Sub(time.Date(2026, 11, 23, 0, 0, 0, 0, moscow())).Hours()/24), local.Format("15:04:05"))
			}
			if show(starts) != c.starts || show(finishes) != c.finishes {
				t.Errorf("%s to %s, want %s to %s", show(starts), show(finishes), c.starts, c.finishes)
			}
		})
	}
}

func TestEstimateNamesTheListsAhead(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	if _, err := h.db.Exec(t.Context(), `UPDATE links SET state = '{"rate": 1}', state_at = now()`); err != nil {
		t.Fatal(err)
	}
	list := func(first, n int) *List {
		var file strings.Builder
		file.WriteString("Телефон;Текст\n")
		for i := range n {
			fmt.Fprintf(&file, "+7903%07d;СФР: выплата назначена.\n", first+i)
		}
		return h.load(listHeader(), file.String())
	}
	h.approve(list(1000, 300))
	h.approve(list(2000, 300))
	waiting := list(3000, 100) // not approved: nobody waits for it
	l := list(4000, 60)
	e, err := h.Estimate(t.Context(), loader, l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if e.ListsAhead != 2 || e.SegmentsAhead != 600 || e.Rows != 60 || e.Segments != 60 || e.PerSecond != 1 ||
		!e.StartsAt.Equal(noon.Add(10*time.Minute)) || !e.FinishesAt.Equal(noon.Add(11*time.Minute)) {
		t.Errorf("%+v", e)
	}
	if got := e.Sentence(); got != "Перед вами 2 списка (600 СМС). Закончим примерно 23.11.2026 в 12:11 (МСК)." {
		t.Error(got)
	}
	_, err = h.Estimate(t.Context(), stranger, waiting.ID)
	wantFault(t, err, ErrNotFound)
	// A dry run of the same rows says the same of the queue, and leaves nothing behind.
	count := func() int64 {
		return h.number(`SELECT (SELECT count(*) FROM lists) + (SELECT count(*) FROM list_files) + (SELECT count(*) FROM list_file_chunks) +
			(SELECT count(*) FROM notifications) + (SELECT count(*) FROM persons_index) + (SELECT count(*) FROM journal) + (SELECT count(*) FROM rejections) + (SELECT count(*) FROM data_keys)`)
	}
	before := count()
	d, err := h.Check(t.Context(), loader, listHeader(), strings.NewReader("Телефон;Текст\n"+strings.Repeat("+79030005000;СФР: выплата назначена.\n", 60)+"1;x\n"))
	if err != nil || d.Estimate.Rows != 60 || d.Estimate.ListsAhead != 2 || !d.Estimate.FinishesAt.Equal(noon.Add(11*time.Minute)) || d.Protocol.RecordNum != 61 {
		t.Errorf("%+v, %v", d.Estimate, err)
	}
	d, err = h.CheckJSON(t.Context(), loader, listHeader(), []InputRow{{Phone: "9030000001", Text: "СФР: выплата назначена."}})
	if err != nil || d.Estimate.Rows != 1 || d.Estimate.ListsAhead != 0 || d.Protocol.RecordNumSuccess != 1 { // ahead of all lists
		t.Errorf("%+v, %v", d.Estimate, err)
	}
	d, err = h.Check(t.Context(), loader, listHeader(), strings.NewReader("Телефон;Текст\n+79030005000;СФР: выплата назначена.\n1;x\n2;x\n"))
	if err != nil || d.Estimate != nil || d.Fault == nil || d.Protocol.State != Rejected { // nothing of it would go
		t.Errorf("%+v, %v", d, err)
	}
	if after := count(); after != before {
		t.Errorf("a dry run left %d rows", after-before)
	}
}

func TestCostFollowsFromThePricesOfTheCatalogue(t *testing.T) {
	t.Parallel()
	items, err := catalog.SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	segment := catalog.Price(23_500)
	priced := catalog.New(append(items, &catalog.LinkPrice{Head: catalog.Head{Code: "P", Version: 1}, Title: "Цена", Link: "smsc", Currency: "RUB", Segment: &segment}))
	free := false
	h := newHub(t, func(c *Config) {
		seed := c.Catalog
		c.Catalog = func() *catalog.Catalog {
			if free {
				return seed()
			}
			return priced
		}
	})
	const file = "Телефон;Текст\n+79030000001;СФР: выплата назначена.\n+79030000002;СФР: выплата назначена, ждём вас в отделении по месту жительства с паспортом в любой будний день.\n"
	l := h.load(listHeader(), file)
	e, err := h.Estimate(t.Context(), loader, l.ID)
	if err != nil || e.Segments != 3 || e.Cost == nil || *e.Cost != 7.05 || e.Currency != "RUB" {
		t.Errorf("%+v, %v", e, err)
	}
	d, err := h.Check(t.Context(), loader, listHeader(), strings.NewReader(file))
	if err != nil || d.Estimate.Cost == nil || *d.Estimate.Cost != 7.05 {
		t.Errorf("%+v, %v", d.Estimate, err)
	}
	free = true
	if e, err = h.Estimate(t.Context(), loader, l.ID); err != nil || e.Cost != nil || e.Currency != "" {
		t.Errorf("without a price: %+v, %v", e, err)
	}
}
