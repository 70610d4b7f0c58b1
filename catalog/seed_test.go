package catalog

import (
	"strings"
	"testing"
	"time"

	"ekc/smpp"
)

func seeded(t testing.TB) *Catalog {
	t.Helper()
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	return New(items)
}

func day(s string) time.Time {
	d, err := time.ParseInLocation(time.DateOnly, s, time.FixedZone("MSK", 3*60*60))
	if err != nil {
		panic(err)
	}
	return d
}

func TestSeedIsConsistentAndComplete(t *testing.T) {
	t.Parallel()
	c, now := seeded(t), day("2026-12-01")
	for _, fault := range c.Check(now) {
		t.Error(fault)
	}
	if n := len(c.LifeEvents(now)); n != 20 {
		t.Errorf("%d events, want 14 life events and 6 of our own", n)
	}
	for _, code := range []string{"S-01", "S-02", "S-03", "S-04", "S-05", "S-07", "S-08"} {
		if _, ok := c.Template(code, 1); !ok {
			t.Errorf("no template %s", code)
		}
	}
	for _, code := range []string{"egisso", "upload", "api"} {
		if _, ok := c.Source(code, now); !ok {
			t.Errorf("no source %s", code)
		}
	}
	if s, ok := c.Source("egisso", now); !ok || s.Topics[0] != "egisso.notification-lists.v1" || !s.AutoApproved() || s.Agencies[0] != "0001.000001" {
		t.Errorf("source of the feed: %+v", s)
	}
	if s, _ := c.Source("upload", now); s.AutoApproved() {
		t.Error("an uploaded file needs no second person")
	}
	// What people are shown must have a Russian title.
	for scope, slugs := range map[string]string{
		"list":         "receiving checking rejected ready refused approved running paused cancelling cancelled completed",
		"notification": "pending suppressed accepted uncertain delivered undelivered expired refused unconfirmed cancelled out_of_time",
		"attempt":      "claimed uncertain refused accepted expired undelivered delivered",
		"informed":     "in_term late not_informed no_term",
		"reason":       "opt_out duplicate no_basis cap landline termination correction death recalled",
	} {
		for _, slug := range strings.Fields(slugs) {
			if s, ok := c.State(scope, slug, now); !ok || s.Scope() != scope {
				t.Errorf("no title for %s.%s", scope, slug)
			}
		}
	}
}

func TestSeedTemplatesPassTheirOwnLint(t *testing.T) {
	t.Parallel()
	c, now := seeded(t), day("2026-12-01")
	for _, tmpl := range c.Templates(now) {
		for _, f := range c.Lint(tmpl, now, func(text string) int { _, n := smpp.Segments(text); return n }) {
			t.Errorf("%s: %s", tmpl.Code, f.Sentence)
		}
	}
	// Lengths counted by hand with the same values: a word more may cost a segment.
	for code, want := range map[string]int{"S-01": 66, "S-02": 116, "S-03": 110, "S-05": 57, "S-06": 112, "S-08": 114, "S-09": 112} {
		tmpl, _ := c.Template(code, 1)
		example := ""
		if len(tmpl.Params) > 0 {
			example = tmpl.Params[0].Example
		}
		text, err := tmpl.Text().Render(nil, func(string) (string, bool) { return example, true })
		if n := len([]rune(string(text))); err != nil || n != want {
			t.Errorf("%s has %d characters, want %d (%v)", code, n, want, err)
		}
	}
}

// What a citizen may be told of leads to a measure, and a measure to somebody who assigns it.
func TestEveryEventLeadsToAMeasureAndEveryMeasureToAnAgency(t *testing.T) {
	t.Parallel()
	c, now := seeded(t), day("2026-12-01")
	rules, err := c.Rules(now)
	if err != nil {
		t.Fatal(err)
	}
	feed, _ := c.Source("egisso", now)
	for _, e := range c.LifeEvents(now) {
		if len(e.Measures) == 0 && strings.HasPrefix(e.Code, "LE-") { // OP- events are no rights
			t.Errorf("%s gives no measure", e.Code)
		}
		if term, ok := rules.Term(e.Code); !ok || term.From == FromEventDate && term.Days < -e.LeadDays {
			t.Errorf("%s: term %+v, %d days ahead", e.Code, term, e.LeadDays)
		}
		tmpl, ok := c.FindTemplate(feed.Templates[e.Code], now)
		if !ok || tmpl.LifeEvent != e.Code || tmpl.Channel != "sms" || tmpl.Answer {
			t.Errorf("%s: template of the feed %+v", e.Code, tmpl)
			continue
		}
		if v, ok := c.Variant(tmpl, "voice", now); !ok || v.Sensitive != tmpl.Sensitive || (v.Neutral == "") != (tmpl.Neutral == "") {
			t.Errorf("%s: no call says what %s says: %+v", e.Code, tmpl.Code, v)
		}
	}
	for _, m := range c.Measures(now) {
		if len(m.Agencies) == 0 || m.Form == "" || m.Level == 0 {
			t.Errorf("%s: %+v", m.Code, m)
		}
	}
	types, regions := map[string]bool{}, map[string]bool{}
	for _, a := range c.Agencies(now) {
		types[a.Type], regions[a.Region] = true, true
	}
	for _, typ := range agencyTypes {
		if !types[typ] {
			t.Errorf("no agency is a %s", typ)
		}
	}
	// The pilot's regions have a body that assigns, and the fund has an office in each.
	for _, region := range strings.Fields("77 50 78 47 58 16 91 92 03 22") {
		if !regions[region] {
			t.Errorf("no agency of region %s", region)
		}
	}
	if n := len(c.Offices(now)); n < 10 {
		t.Errorf("%d offices", n)
	}
	for _, o := range c.Offices(now) {
		if a, ok := c.Agency(o.Participant, now); !ok || a.OKTMO != "" && a.OKTMO != o.OKTMO || !o.Unverified {
			t.Errorf("office %+v of %+v", o, a)
		}
	}
}

func TestFundsBecameOneOnTheFirstOf2023(t *testing.T) {
	t.Parallel()
	c := seeded(t)
	for _, old := range []string{"0001.000002", "0001.000003"} {
		if a, ok := c.Competent(old, day("2022-12-31")); !ok || a.Code != old {
			t.Errorf("%s in 2022: %+v", old, a)
		}
		if a, ok := c.Competent(old, day("2023-01-01")); !ok || a.Code != "0001.000001" || a.Short != "СФР" {
			t.Errorf("%s in 2023: %+v", old, a)
		}
	}
	if a, ok := c.Competent("0001.000001", day("2022-12-31")); ok {
		t.Errorf("before its day: %+v", a)
	}
	if _, ok := c.Competent("9999.000001", day("2026-01-01")); ok {
		t.Error("an agency nobody knows has a successor")
	}
	wrong := func(items ...Item) string {
		seed, _ := SeedItems()
		var said []string
		for _, err := range New(append(seed, items...)).Check(day("2026-12-01")) {
			said = append(said, err.Error())
		}
		return strings.Join(said, "\n")
	}
	if got := wrong(&Office{Head: Head{Code: "O", Version: 1}, Participant: "0001.000002"}); !strings.Contains(got, `преемника, «0001.000001»`) {
		t.Errorf("an office of an agency that has ended: %s", got)
	}
	one := &Agency{Head: Head{Code: "Z001.000001", Version: 1}, Short: "Один", Parent: "Z001.000002"}
	two := &Agency{Head: Head{Code: "Z001.000002", Version: 1}, Short: "Два", Parent: "Z001.000001"}
	if got := wrong(one, two); !strings.Contains(got, "по кругу") {
		t.Errorf("two agencies above each other: %s", got)
	}
}

func TestSensitiveTemplateHasANeutralTwinWithoutParameters(t *testing.T) {
	t.Parallel()
	c, now := seeded(t), day("2026-12-01")
	for _, code := range []string{"S-03", "S-05", "S-06"} {
		tmpl, _ := c.TemplateAt(code, now)
		twin, ok := c.TemplateAt(tmpl.Neutral, now)
		if !tmpl.Sensitive || !ok || twin.Sensitive || len(twin.Text().Names()) > 0 || strings.Contains(strings.ToLower(twin.Body), "инвалид") {
			t.Errorf("%s: twin %+v", code, twin)
		}
	}
	mend := func(mend func(tmpl, twin *Template)) []error {
		items, _ := SeedItems()
		var tmpl, twin *Template
		for _, item := range items {
			if item, ok := item.(*Template); ok && item.Code == "S-03" {
				tmpl = item
			} else if ok && item.Code == "S-00" {
				twin = item
			}
		}
		mend(tmpl, twin)
		if err := Validate(twin); err != nil {
			t.Fatal(err)
		}
		return New(items).Check(now)
	}
	if len(mend(func(_, twin *Template) { twin.Body, twin.Params = "{{ a }}", []Param{{Name: "a"}} })) == 0 {
		t.Error("a twin with a parameter passed")
	}
	if len(mend(func(tmpl, _ *Template) { tmpl.Neutral = "S-77" })) == 0 {
		t.Error("a twin that is not there passed")
	}
}

func TestEventComesIntoForceOnItsDay(t *testing.T) {
	t.Parallel()
	c := seeded(t)
	tests := []struct {
		code, day string
		want      bool
	}{
		{"LE-01", "2021-12-31", false},
		{"LE-01", "2022-01-01", true},
		{"LE-06", "2022-12-31", false},
		{"LE-06", "2023-01-01", true},
		{"LE-14", "2023-12-31", false},
		{"LE-14", "2024-01-01", true},
		{"OP-01", "2000-01-01", true},
		{"LE-99", "2026-01-01", false},
	}
	for _, tt := range tests {
		if _, ok := c.LifeEvent(tt.code, day(tt.day)); ok != tt.want {
			t.Errorf("%s on %s: %v", tt.code, tt.day, ok)
		}
	}
	if c.LifeEvents(day("2021-06-01"))[0].Code != "OP-01" {
		t.Error("events before their day are listed")
	}
	// What is only a guess says so.
	if e, _ := c.LifeEvent("LE-14", day("2026-01-01")); !e.Unverified {
		t.Error("LE-14 is given as verified")
	}
	if e, _ := c.LifeEvent("LE-01", day("2026-01-01")); e.Unverified {
		t.Error("LE-01 is given as unverified")
	}
}

func TestFindByCodeOrName(t *testing.T) {
	t.Parallel()
	c, now := seeded(t), day("2026-12-01")
	for _, s := range []string{"LE-02", "le 02", "Установление инвалидности", "УСТАНОВЛЕНИЕ  ИНВАЛИДНОСТИ.", "установлениe инвaлидности" /* Latin e, a */} {
		if e, ok := c.FindLifeEvent(s, now); !ok || e.Code != "LE-02" {
			t.Errorf("%q finds %+v", s, e)
		}
	}
	if e, ok := c.FindLifeEvent("рождение ребенка", now); !ok || e.Code != "LE-01" {
		t.Errorf("е for ё finds %+v", e)
	}
	for _, s := range []string{"", "Установление", "LE-2", "LE-99"} {
		if e, ok := c.FindLifeEvent(s, now); ok {
			t.Errorf("%q finds %+v", s, e)
		}
	}
	if m, ok := c.FindMeasure("материнский капитал", now); !ok || m.Code != "M-001" {
		t.Errorf("measure %+v", m)
	}
	if tmpl, ok := c.FindTemplate("может полагаться единое пособие", now); !ok || tmpl.Code != "S-01" {
		t.Errorf("template %+v", tmpl)
	}
	if _, ok := c.FindLifeEvent("Рождение ребёнка", day("2021-01-01")); ok {
		t.Error("a name finds an event before its day")
	}
}

func TestListOfItemsRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, yaml, want string }{
		{"unknown field", `- {code: X, name: Икс, colour: red}`, "colour"},
		{"code is a number", `- {code: 1.5, name: Икс}`, "code must be a string"},
		{"no such day", `- {code: X, name: Икс, effective_from: "2026-02-30"}`, "effective_from"},
		{"twice", "- {code: X, name: Икс}\n- {code: X, name: Игрек}", "дважды"},
		{"no name", `- {code: X}`, "title"},
		{"not a list", `code: X`, "cannot unmarshal"},
	}
	for _, tt := range tests {
		if _, err := parseKind(KindLifeEvent, []byte(tt.yaml)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Whoever could not be told is somebody's work: each reason that an SMS ends for, and its sender can do something about, says what.
func TestReasonsOfEndsSayWhatToDo(t *testing.T) {
	t.Parallel()
	items, err := SeedItems()
	if err != nil {
		t.Fatal(err)
	}
	c := New(items)
	for _, reason := range []string{"undelivered", "expired", "rejected", "deleted", "no_receipt", "submit_failed", "invalid_number", "unknown_number",
		"absent_subscriber", "no_service", "barred", "opted_out", "phone_error", "landline", "cap", "valid_until", "out_of_time", "partial"} {
		if s, ok := c.State("reason", reason, time.Now()); !ok || s.Title == "" || s.Advice == "" {
			t.Errorf("%s: %+v", reason, s)
		}
	}
}
