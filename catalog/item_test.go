package catalog

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	const okTemplate = `"title":"т","channel":"sms","language":"ru"`
	const okSource = `"title":"и","statuses":"all","channels":["sms"]`
	tests := []struct {
		name  string
		kind  Kind
		code  string
		body  string
		field string // "" = taken
	}{
		{"event", KindLifeEvent, "LE-01", `{"name":"Рождение"}`, ""},
		{"event without name", KindLifeEvent, "LE-01", `{"name":" "}`, "title"},
		{"code in Cyrillic", KindLifeEvent, "ЛЕ-01", `{"name":"Рождение"}`, "code"},
		{"code with a space", KindLifeEvent, "LE 01", `{"name":"Рождение"}`, "code"},
		{"lead after the event", KindLifeEvent, "LE-01", `{"name":"Рождение","lead_days":-1}`, "lead_days"},
		{"measure twice", KindLifeEvent, "LE-01", `{"name":"Рождение","measures":["M-1","M-1"]}`, "measures"},
		{"agency", KindAgency, "0001.000001", `{"title":"Фонд","short":"СФР","region":"22","oktmo":"01000000","successor":"A068.000001"}`, ""},
		{"agency of 2.x code", KindAgency, "A068.000001", `{"title":"Фонд","short":"СФР"}`, ""},
		{"agency with I", KindAgency, "I068.000001", `{"title":"Фонд","short":"СФР"}`, "code"},
		{"agency with O", KindAgency, "AO68.000001", `{"title":"Фонд","short":"СФР"}`, "code"},
		{"agency too short", KindAgency, "0001.00001", `{"title":"Фонд","short":"СФР"}`, "code"},
		{"agency without short name", KindAgency, "0001.000001", `{"title":"Фонд"}`, "short"},
		{"agency region", KindAgency, "0001.000001", `{"title":"Фонд","short":"СФР","region":"Алтай"}`, "region"},
		{"agency oktmo", KindAgency, "0001.000001", `{"title":"Фонд","short":"СФР","oktmo":"123"}`, "oktmo"},
		{"its own successor", KindAgency, "0001.000001", `{"title":"Фонд","short":"СФР","successor":"0001.000001"}`, "successor"},
		{"source", KindSource, "s", `{"door":"upload",` + okSource + `}`, ""},
		{"source by no door", KindSource, "s", `{` + okSource + `}`, "door"},
		{"feed without topics", KindSource, "s", `{"door":"feed","agencies":["0001.000001"],` + okSource + `}`, "topics"},
		{"feed without agencies", KindSource, "s", `{"door":"feed","topics":["t"],` + okSource + `}`, "agencies"},
		{"feed with topics of its own to answer on", KindSource, "s", `{"door":"feed","topics":["t"],"agencies":["0001.000001"],"replies":true,"status_topic":"t.s","protocol_topic":"t.p","reply_topic":"t.r",` + okSource + `}`, ""},
		{"answers on the topic of its lists", KindSource, "s", `{"door":"feed","topics":["t"],"agencies":["0001.000001"],"status_topic":"t",` + okSource + `}`, "status_topic"},
		{"answers on a topic without a name", KindSource, "s", `{"door":"feed","topics":["t"],"agencies":["0001.000001"],"protocol_topic":"т",` + okSource + `}`, "protocol_topic"},
		{"upload with a topic to answer on", KindSource, "s", `{"door":"upload","status_topic":"t",` + okSource + `}`, "status_topic"},
		{"a topic for replies nobody wants", KindSource, "s", `{"door":"feed","topics":["t"],"agencies":["0001.000001"],"reply_topic":"t.r",` + okSource + `}`, "replies"},
		{"upload with topics", KindSource, "s", `{"door":"upload","topics":["t"],` + okSource + `}`, "topics"},
		{"source of nobody", KindSource, "s", `{"door":"upload","agencies":["СФР"],` + okSource + `}`, "agencies"},
		{"source statuses", KindSource, "s", `{"door":"upload","title":"и","statuses":"some","channels":["sms"]}`, "statuses"},
		{"source channels", KindSource, "s", `{"door":"upload","title":"и","statuses":"all","channels":["fax"]}`, "channels"},
		{"approval without document", KindSource, "s", `{"door":"upload","auto_approval":{"date":"2026-01-01","by":"x"},` + okSource + `}`, "auto_approval"},
		{"basis without date", KindSource, "s", `{"door":"upload","legal_basis":{"code":"c","document":"d","date":"вчера"},` + okSource + `}`, "legal_basis"},
		{"template", KindTemplate, "T", `{"body":"да {{ a }}","params":[{"name":"A"}],` + okTemplate + `}`, ""},
		{"template that does not parse", KindTemplate, "T", `{"body":"да {{ a",` + okTemplate + `}`, "body"},
		{"parameter not described", KindTemplate, "T", `{"body":"да {{ a }}",` + okTemplate + `}`, "params"},
		{"parameter not used", KindTemplate, "T", `{"body":"да","params":[{"name":"a"}],` + okTemplate + `}`, "params"},
		{"sensitive without twin", KindTemplate, "T", `{"body":"да","sensitive":true,` + okTemplate + `}`, "neutral"},
		{"its own twin", KindTemplate, "T", `{"body":"да","sensitive":true,"neutral":"T",` + okTemplate + `}`, "neutral"},
		{"template by mail", KindTemplate, "T", `{"body":"да","title":"т","channel":"mail","language":"ru"}`, "channel"},
		{"call without its SMS", KindTemplate, "T", `{"body":"да","title":"т","channel":"voice","language":"ru"}`, "variant_of"},
		{"template language", KindTemplate, "T", `{"body":"да","title":"т","channel":"sms","language":"русский"}`, "language"},
		{"state", KindState, "reason.busy", `{"title":"Занято"}`, ""},
		{"state without scope", KindState, "busy", `{"title":"Занято"}`, "code"},
		{"window", KindRule, "window.sms", `{"title":"о","window":{"spans":[{"days":["mon"],"from":"09:00","to":"21:00"}]}}`, ""},
		{"window before eight", KindRule, "window.sms", `{"title":"о","window":{"spans":[{"days":["mon"],"from":"07:59","to":"21:00"}]}}`, "window"},
		{"urgent window after ten", KindRule, "window.sms.urgent", `{"title":"о","window":{"spans":[{"days":["mon"],"from":"09:00","to":"22:01"}]}}`, "window"},
		{"window backwards", KindRule, "window.sms", `{"title":"о","window":{"spans":[{"days":["mon"],"from":"21:00","to":"09:00"}]}}`, "window"},
		{"window of no day", KindRule, "window.sms", `{"title":"о","window":{"spans":[]}}`, "window"},
		{"window with a day twice", KindRule, "window.sms", `{"title":"о","window":{"spans":[{"days":["mon","mon"],"from":"09:00","to":"21:00"}]}}`, "window"},
		{"holidays", KindRule, "holidays", `{"title":"п","days":["01-01","2027-01-11"]}`, ""},
		{"holiday that is none", KindRule, "holidays", `{"title":"п","days":["30 февраля"]}`, "days"},
		{"holiday twice", KindRule, "holidays", `{"title":"п","days":["01-01","01-01"]}`, "days"},
		{"cap", KindRule, "caps.sms_per_day", `{"title":"л","count":4}`, ""},
		{"cap of nothing", KindRule, "caps.sms_per_day", `{"title":"л","count":0}`, "count"},
		{"test sendings of a list", KindRule, "caps.tests_per_list", `{"title":"п","count":3}`, ""},
		{"no test sending a day", KindRule, "caps.tests_per_day", `{"title":"п","count":0}`, "count"},
		{"value of another kind", KindRule, "caps.sms_per_day", `{"title":"л","duration":"4h"}`, "value"},
		{"two values", KindRule, "caps.sms_per_day", `{"title":"л","count":4,"percent":4}`, "value"},
		{"share over all", KindRule, "bad_share", `{"title":"д","percent":101}`, "percent"},
		{"duration", KindRule, "gap", `{"title":"п","duration":"10m"}`, ""},
		{"duration of nothing", KindRule, "gap", `{"title":"п","duration":"0s"}`, "duration"},
		{"duration over a year", KindRule, "gap", `{"title":"п","duration":"367d"}`, "duration"},
		{"back-off", KindRule, "retry.busy", `{"title":"п","backoff":{"delays":["2h"],"tries":3}}`, ""},
		{"back-off without pauses", KindRule, "retry.busy", `{"title":"п","backoff":{"tries":3}}`, "backoff"},
		{"back-off at once", KindRule, "retry.busy", `{"title":"п","backoff":{"delays":["1ms"]}}`, "backoff"},
		{"term", KindRule, "term.LE-01", `{"title":"с","term":{"from":"event_date","days":-3}}`, ""},
		{"term from nowhere", KindRule, "term.LE-01", `{"title":"с","term":{"from":"birth","days":3}}`, "term"},
		{"term before it came", KindRule, "term.LE-01", `{"title":"с","term":{"from":"received","days":-3}}`, "term"},
		{"sensitive texts under a basis", KindRule, "sensitive.bases", `{"title":"п","codes":["FZ-178"]}`, ""},
		{"sensitive texts under none", KindRule, "sensitive.bases", `{"title":"п","codes":[]}`, ""},
		{"a basis without a code", KindRule, "sensitive.bases", `{"title":"п","codes":[" "]}`, "codes"},
		{"no such rule", KindRule, "caps.letters", `{"title":"п","count":4}`, "code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode(tt.kind, Head{Code: tt.code, Version: 1}, []byte(tt.body))
			if tt.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v", err)
			}
			if len(invalid.Faults) != 1 || invalid.Faults[0].Field != tt.field || !strings.HasSuffix(invalid.Faults[0].Sentence, ".") {
				t.Errorf("faults %+v, want one of %s", invalid.Faults, tt.field)
			}
		})
	}
	for name, body := range map[string]string{"unknown field": `{"name":"а","nam":"б"}`, "two values": `{"name":"а"}{}`, "not an object": `[]`} {
		if _, err := Decode(KindMeasure, Head{Code: "M"}, []byte(body)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Decode("office", Head{Code: "M"}, []byte(`{}`)); err == nil {
		t.Error("an unknown kind was taken")
	}
	from := time.Now()
	if err := Validate(&Measure{Head: Head{Code: "M", From: from, To: from}, Name: "м"}); err == nil {
		t.Error("an item in force for no time was taken")
	}
	if err := Validate(&Measure{Head: Head{Code: "M", Agency: "СФР"}, Name: "м"}); err == nil {
		t.Error("an owner that is no participant was taken")
	}
}

func TestVersionInForce(t *testing.T) {
	t.Parallel()
	version := func(n int, name, from, to string) *Measure {
		m := &Measure{Head: Head{Code: "M", Version: n}, Name: name}
		if from != "" {
			m.From = day(from)
		}
		if to != "" {
			m.To = day(to)
		}
		return m
	}
	first, second := version(1, "первая", "", ""), version(2, "вторая", "2026-03-01", "")
	tests := []struct {
		name, at, want string
		items          []Item
	}{
		{"the first always was", "1999-01-01", "первая", []Item{first}},
		{"not yet in force", "2026-02-28", "первая", []Item{first, second}},
		{"in force from its first instant", "2026-03-01", "вторая", []Item{first, second}},
		{"order of rows does not matter", "2026-03-01", "вторая", []Item{second, first}},
		{"ended by its own date", "2026-03-01", "", []Item{version(1, "x", "", "2026-03-01")}},
		{"the day before the end", "2026-02-28", "x", []Item{version(1, "x", "", "2026-03-01")}},
		{"the last word ends it, the older one does not come back", "2026-05-01", "", []Item{first, version(2, "конец", "2026-03-01", "2026-04-01")}},
		{"a newer one from the same day wins", "2026-03-01", "третья", []Item{first, second, version(3, "третья", "2026-03-01", "")}},
		{"a correction that reaches back", "2026-03-02", "третья", []Item{first, second, version(3, "третья", "2026-02-01", "")}},
		{"before its first version", "2025-01-01", "", []Item{second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, ok := New(tt.items).Measure("M", day(tt.at))
			if !ok {
				m = &Measure{}
			}
			if m.Name != tt.want {
				t.Errorf("%q, want %q", m.Name, tt.want)
			}
			if found, ok := New(tt.items).FindMeasure(tt.want, day(tt.at)); tt.want != "" && (!ok || found != m) && found.Version != m.Version {
				t.Errorf("by name: %+v", found)
			}
		})
	}
	c := New([]Item{first, second})
	if _, ok := c.FindMeasure("первая", day("2026-03-01")); ok {
		t.Error("a name given up still finds its item")
	}
	twins := New([]Item{&Measure{Head: Head{Code: "A", Version: 1}, Name: "одно"}, &Measure{Head: Head{Code: "B", Version: 1}, Name: "Одно"}})
	if m, ok := twins.FindMeasure("одно", day("2026-03-01")); ok {
		t.Errorf("a name of two finds %s", m.Code)
	}
}

func TestOldVersionOfATemplateStaysReadable(t *testing.T) {
	t.Parallel()
	version := func(n int, body, to string) *Template {
		tmpl := &Template{Head: Head{Code: "T", Version: n}, Title: "т", Channel: "sms", Language: "ru", Body: body}
		if to != "" {
			tmpl.To = day(to)
		}
		if err := Validate(tmpl); err != nil {
			t.Fatal(err)
		}
		return tmpl
	}
	c := New([]Item{version(1, "было", ""), version(2, "стало", "2026-01-01")})
	for n, want := range map[int]string{1: "было", 2: "стало"} {
		tmpl, ok := c.Template("T", n)
		if !ok {
			t.Fatalf("version %d not found", n)
		}
		if text, err := tmpl.Text().Render(nil, nil); err != nil || string(text) != want {
			t.Errorf("version %d: %q, %v", n, text, err)
		}
	}
	if _, ok := c.Template("T", 3); ok {
		t.Error("a version that was never written is found")
	}
	if _, ok := c.TemplateAt("T", day("2026-06-01")); ok {
		t.Error("an ended template is in force")
	}
}
