package catalog

import (
	"encoding/json"
	"testing"
)

func TestPriceOfASegment(t *testing.T) {
	t.Parallel()
	const own, other = "0001.000001", "0002.000014"
	items, err := ParseDocument([]byte(`
link_price:
- {code: P-1, title: Общая, pool: sms, currency: RUB, segment: "2.35", effective_to: "2027-01-01"}
- {code: P-1, title: Общая, pool: sms, currency: RUB, segment: "2.5", effective_from: "2027-01-01"}
- {code: P-2, title: Договор СФР, agency: "0001.000001", link: a, currency: RUB, segment: "1.2"}
- {code: P-3, title: Договор СФР, agency: "0001.000001", link: b, currency: RUB, segment: "1.9999"}
- {code: P-4, title: Звонки, pool: voice, currency: RUB, minute: "4"}
- {code: P-5, title: Линия, link: x, currency: RUB, segment: "1"}
- {code: P-6, title: Линия, link: y, currency: KZT, segment: "1"}
`))
	if err != nil {
		t.Fatal(err)
	}
	c := New(items)
	for _, tt := range []struct {
		agency, pool string
		links        []string
		day, want    string // "" = none
	}{
		{other, "sms", []string{"a", "b"}, "2026-12-01", "2.35"},
		{other, "sms", nil, "2027-02-01", "2.5"},
		{own, "sms", []string{"a", "b"}, "2026-12-01", "1.9999"}, // its own contract, the dearest link
		{own, "sms", []string{"a", "b", "c"}, "2026-12-01", "2.35"},
		{own, "elsewhere", []string{"a"}, "2026-12-01", "1.2"},
		{other, "elsewhere", []string{"a"}, "2026-12-01", ""},
		{other, "voice", []string{"t"}, "2026-12-01", ""},
		{"", "mixed", []string{"x"}, "2026-12-01", "1"},
		{"", "mixed", []string{"x", "y"}, "2026-12-01", ""},
	} {
		price, currency, ok := c.SegmentPrice(tt.agency, tt.pool, tt.links, day(tt.day))
		got := ""
		if ok {
			if got = price.String(); currency != "RUB" {
				t.Errorf("%+v: %s", tt, currency)
			}
		}
		if got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	for _, bad := range []string{`{"title":"т","pool":"p","currency":"RUB"}`, `{"title":"т","currency":"RUB","segment":"1"}`,
		`{"title":"т","pool":"p","link":"l","currency":"RUB","segment":"1"}`, `{"title":"т","pool":"p","currency":"руб","segment":"1"}`,
		`{"title":"т","pool":"p","currency":"RUB","segment":"-1"}`, `{"title":"т","pool":"p","currency":"RUB","segment":"1.00001"}`,
		`{"title":"т","pool":"p","currency":"RUB","segment":1.5}`} {
		if _, err := Decode(KindLinkPrice, Head{Code: "P", Version: 1}, json.RawMessage(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
