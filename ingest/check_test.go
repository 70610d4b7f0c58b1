package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ekc/citizen"
	"ekc/dispatch"
)

// testChecker checks rows of one table without a database.
func testChecker(t testing.TB, titles string, change ...func(*checker)) *checker {
	t.Helper()
	items, err := seedCatalog()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := items.Rules(noon)
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := headerOf(titles + "\n")
	if err != nil {
		t.Fatal(err)
	}
	k := &checker{catalog: items, rules: rules, at: noon, agency: agency, region: "22", header: h, segments: 10, routes: smsRoutes,
		lane: dispatch.LaneNormal, envelope: &Header{Channels: []string{"sms"}, Priority: PriorityNormal, LegalBasis: disclosing}}
	for _, f := range change {
		f(k)
	}
	k.ready()
	return k
}

// codes lists what is said of a row: "101:phone 109".
func codes(messages []Message) string {
	var out []string
	for _, m := range messages {
		s := fmt.Sprint(m.Code)
		if m.Field != "" {
			s += ":" + m.Field
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestEveryRuleHasARowThatMeetsIt(t *testing.T) {
	t.Parallel()
	const titles = "Телефон;Телефон 2;СНИЛС;Дата рождения;Код события;Дата события;Мера;ОКТМО;Текст;Шаблон;Канал;Отправить до;Отправить после;Язык;Внешний номер;Дата назначения;Возраст"
	long := strings.Repeat("ш", 5000)
	met := map[RuleCode]bool{}
	for _, c := range []struct {
		name string
		row  map[string]string
		want string // said of the row; "" = nothing
	}{
		{"nothing wrong", nil, ""},
		{"nine digits", map[string]string{"Телефон": "903123456"}, "101:phone"},
		{"letters", map[string]string{"Телефон": "нет телефона 12"}, "101:phone"},
		{"no such code", map[string]string{"Телефон": "+7 203 000-00-00"}, "101:phone"},
		{"Kazakhstan", map[string]string{"Телефон": "+7 701 000-00-00"}, "102:phone"},
		{"Belarus", map[string]string{"Телефон": "+375 29 000-00-00"}, "102:phone"},
		{"empty phone", map[string]string{"Телефон": " "}, "117:phone"},
		{"a dash for a phone", map[string]string{"Телефон": "-"}, "117:phone"},
		{"two numbers", map[string]string{"Телефон": "89030000001, 89030000002"}, "118:phone"},
		{"extension", map[string]string{"Телефон": "8 495 000-00-00 доб. 12"}, "119:phone"},
		{"rounded", map[string]string{"Телефон": "7,90E+10"}, "120:phone"},
		{"toll free", map[string]string{"Телефон": "8-800-100-00-01"}, "121:phone"},
		{"landline", map[string]string{"Телефон": "8 (495) 000-00-00"}, "115:phone"},
		{"bad second phone", map[string]string{"Телефон 2": "12"}, "122:phone_2"},
		{"snils checksum", map[string]string{"СНИЛС": "112-233-445 96"}, "103:snils"},
		{"snils too short", map[string]string{"СНИЛС": "12"}, "123:snils"},
		{"snils lost zeros", map[string]string{"СНИЛС": "8765430300"}, "124:snils"},
		{"a dash for a snils", map[string]string{"СНИЛС": "-"}, ""},
		{"bad birth date", map[string]string{"Дата рождения": "31.02.1960"}, "125:birth_date"},
		{"birth date to come", map[string]string{"Дата рождения": "01.01.2030"}, "125:birth_date"},
		{"unknown event", map[string]string{"Код события": "LE-99"}, "110:life_event"},
		{"event by name", map[string]string{"Код события": "рождение ребенка"}, ""},
		{"unknown measure", map[string]string{"Мера": "M-999"}, "110:measure"},
		{"measure by name", map[string]string{"Мера": "Материнский капитал"}, ""},
		{"unknown territory", map[string]string{"ОКТМО": "нигде"}, "127:oktmo"},
		{"text and template", map[string]string{"Шаблон": "S-01"}, "105:text"},
		{"neither", map[string]string{"Текст": ""}, "105:text"},
		{"5 000 characters", map[string]string{"Текст": long}, "106:text"},
		{"control character", map[string]string{"Текст": "а\x01б"}, "112:text"},
		{"broken text", map[string]string{"Текст": "а\uFFFDб"}, "112:text"},
		{"private use", map[string]string{"Внешний номер": "\uE000"}, "112:external_id"},
		{"turned line", map[string]string{"Текст": "а\u202Eб"}, "112:text"},
		{"left placeholder", map[string]string{"Текст": "Срок {{ date }}"}, "133:text"},
		{"error in the text", map[string]string{"Текст": "Срок #Н/Д, звоните"}, "132:text"},
		{"error in a cell", map[string]string{"Телефон": "#ССЫЛКА!"}, "132:phone"},
		{"a hash in the text", map[string]string{"Текст": "Окно #5"}, ""},
		{"a link", map[string]string{"Текст": "СФР: подробности на gosuslugi.ru"}, "140:text"},
		{"a link in words", map[string]string{"Текст": "СФР: госуслуги точка рф"}, "140:text"},
		{"a request for data", map[string]string{"Текст": "СФР: назовите код из СМС"}, "141:text"},
		{"a warning of such requests", map[string]string{"Текст": "СФР: никому не сообщайте код. Выплата назначена."}, ""},
		{"unknown template", map[string]string{"Текст": "", "Шаблон": "S-99"}, "110:template"},
		{"answers are no template", map[string]string{"Текст": "", "Шаблон": "S-12"}, "110:template"},
		{"missing parameter", map[string]string{"Текст": "", "Шаблон": "S-05"}, "104:Дата назначения"},
		{"bad parameter", map[string]string{"Текст": "", "Шаблон": "S-05", "Дата назначения": "завтра"}, "104:Дата назначения"},
		{"parameter", map[string]string{"Текст": "", "Шаблон": "S-05", "Дата назначения": "15.03.2027"}, ""},
		{"parameter without a column", map[string]string{"Текст": "", "Шаблон": "S-04"}, "104:Дата приёма"},
		{"unknown channel", map[string]string{"Канал": "голубь"}, "126:channels"},
		{"a channel without links", map[string]string{"Канал": "звонок"}, "135:channels"},
		{"both channels", map[string]string{"Канал": "звонок, затем СМС"}, ""},
		{"yesterday", map[string]string{"Отправить до": "22.11.2026"}, "107:valid_until"},
		{"bad valid_until", map[string]string{"Отправить до": "скоро"}, "125:valid_until"},
		{"after before until", map[string]string{"Отправить до": "25.11.2026", "Отправить после": "27.11.2026"}, "134:not_before"},
		{"unknown language", map[string]string{"Язык": "эльфийский"}, "130:language"},
		{"language by name", map[string]string{"Язык": "Татарский"}, ""},
		{"long id", map[string]string{"Внешний номер": strings.Repeat("9", 65)}, "128:external_id"},
		{"a phone for an id", map[string]string{"Внешний номер": "+79031234567"}, "129:external_id"},
		{"a snils for an id", map[string]string{"Внешний номер": "112-233-445 95"}, "129:external_id"},
		{"all faults at once", map[string]string{"Телефон": "1", "СНИЛС": "1", "Канал": "?", "Код события": "?"}, "101:phone 123:snils 110:life_event 126:channels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := testChecker(t, titles)
			got := k.check(rowOf(titles, c.row))
			if codes(got.messages) != c.want {
				t.Errorf("got %q, want %q", codes(got.messages), c.want)
			}
			good := true
			for _, m := range got.messages {
				met[m.Code] = true
				if r, _ := RuleOf(m.Code); r.Type == TypeError {
					good = false
				}
			}
			if got.ok != good {
				t.Errorf("taken: %v", got.ok)
			}
		})
	}
	// Those that need another row, a list or a database have tests of their own.
	for _, code := range []RuleCode{RuleIDTwice, RuleDuplicate, RuleOptOut, RuleSharedPhone, RuleLong, RuleSkipped, RuleSensitive, RuleNeutral, RuleSuppressed, RuleIllness, RuleSum,
		RuleNoContact, RuleDeceased} {
		met[code] = true
	}
	for _, r := range ruleTable {
		if !met[r.Code] {
			t.Errorf("rule %d is met by no row", r.Code)
		}
	}
}

// rowOf is a good row with some cells changed.
func rowOf(titles string, change map[string]string) sheetRow {
	row := sheetRow{No: 2}
	for title := range strings.SplitSeq(titles, ";") {
		value := map[string]string{"Телефон": "+7 903 000-00-01", "Текст": "СФР: выплата назначена."}[title]
		if v, ok := change[title]; ok {
			value = v
		}
		row.Cells = append(row.Cells, value)
	}
	return row
}

func TestRulesAreSentencesForPeople(t *testing.T) {
	t.Parallel()
	seen := map[RuleCode]bool{}
	for _, r := range ruleTable {
		if seen[r.Code] || r.Code < 101 || r.Code > 999 || r.Type != TypeError && r.Type != TypeWarning {
			t.Errorf("rule %d", r.Code)
		}
		seen[r.Code] = true
		if n := utf8.RuneCountInString(Message{r.Code, strings.Repeat("ш", 100)}.Report(nil)); n > 500 || !strings.HasSuffix(r.Sentence, ".") {
			t.Errorf("rule %d: %d characters", r.Code, n)
		}
	}
}

func TestRowsAreHeldAgainstEachOther(t *testing.T) {
	t.Parallel()
	const titles = "Телефон;СНИЛС;ФИО;Внешний номер;Текст"
	k := testChecker(t, titles)
	for i, c := range []struct{ row, want string }{
		{"9030000001;112-233-445 95;Иванова Мария;a;т", ""},
		{"9030000001;;Петров Пётр;b;т", "116:phone"},
		{"9030000002;;Сидоров Иван;a;т", "108:external_id"},
		{"9030000003;;Сидоров Иван;;т", ""},
		{"9030000001;11223344595;Иванова М.;c;т", ""},
		{"9030000004;;Сидоров Иван;5;т", "108:external_id"}, // the row number of the fourth
	} {
		got := k.check(sheetRow{No: i + 2, Cells: strings.Split(c.row, ";")})
		if codes(got.messages) != c.want {
			t.Errorf("row %d: got %q, want %q", i+2, codes(got.messages), c.want)
		}
	}
	if got := k.check(sheetRow{No: 9, Long: true}); codes(got.messages) != "131" || got.ok {
		t.Errorf("long row: %q", codes(got.messages))
	}
}

func TestTimesAreTheRecipientsOwn(t *testing.T) {
	t.Parallel()
	const titles = "Телефон;ОКТМО;Отправить до;Отправить после;Уведомить до;Текст;Код события;Дата события"
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		got, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, c := range map[string]struct{ row, until, after, by string }{
		"moscow, days":      {"9030000001;45000000;25.11.2026;24.11.2026;26.11.2026;т;;", "2026-11-25T21:00:00Z", "2026-11-23T21:00:00Z", "2026-11-26T21:00:00Z"},
		"kamchatka, days":   {"9030000001;30000000;2026-11-25;;;т;;", "2026-11-25T12:00:00Z", "", ""},
		"kaliningrad, hour": {"9030000001;27000000;25.11.2026 18:00;;;т;;", "2026-11-25T16:00:00Z", "", ""},
		"yakutia, three zones: the earliest end and the latest start": {"9030000001;98000000;25.11.2026;25.11.2026 00:01;;т;;", "2026-11-25T13:00:00Z", "", ""},
		"an instant":                  {"9030000001;30000000;2026-11-25T10:00:00+03:00;;;т;;", "2026-11-25T07:00:00Z", "", ""},
		"term of the event":           {"9030000001;45000000;;;;т;OP-04;", "", "", "2026-11-24T21:00:00Z"},
		"term before the event, lead": {"9030000001;45000000;;;;т;OP-02;15.12.2026", "", "2026-12-07T21:00:00Z", "2026-12-14T21:00:00Z"},
		"its own term wins":           {"9030000001;45000000;;;30.11.2026;т;OP-04;", "", "", "2026-11-30T21:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := testChecker(t, titles)
			got := k.check(sheetRow{No: 2, Cells: strings.Split(c.row, ";")}).row
			if strings.HasPrefix(name, "yakutia") {
				c.after = "2026-11-24T15:01:00Z"
				if got.Zones != "Asia/Srednekolymsk+Asia/Vladivostok+Asia/Yakutsk" {
					t.Errorf("zones %s", got.Zones)
				}
			}
			for what, pair := range map[string][2]time.Time{"until": {got.ValidUntil, at(c.until)}, "after": {got.NotBefore, at(c.after)}, "by": {got.InformBy, at(c.by)}} {
				if !pair[0].Equal(pair[1]) {
					t.Errorf("%s: %s, want %s", what, pair[0].UTC(), pair[1])
				}
			}
		})
	}
}

func TestChannelsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"СМС": "sms", "смс": "sms", "SMS": "sms", "Звонок": "voice", "СМС, затем звонок": "sms,voice", "звонок, затем СМС": "voice,sms",
		"sms,voice": "sms,voice", "voice": "voice", "СМС + звонок": "sms,voice", "СМС; звонок": "sms,voice", "СМС,СМС": "", "почта": "", "": "", ",": "", "смс звонок": ""} {
		got, ok := ParseChannels(s)
		if ok != (want != "") || strings.Join(got, ",") != want {
			t.Errorf("%q: %v %v", s, got, ok)
		}
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"31.12.2026": "2026-12-31", "2026-12-31": "2026-12-31", "31.12.2026 18:00": "2026-12-31T18:00:00", "2026-12-31T18:00": "2026-12-31T18:00:00",
		"2026-12-31 00:00:00": "2026-12-31", "2026-12-31T18:00:00+03:00": "2026-12-31T15:00:00Z", " 31.12.2026г.": "2026-12-31",
		"31.02.2026": "!", "вчера": "!", "31.12.26": "!", "9999-99-99": "!", "31.12.2026 25:00": "!"} {
		m, err := ParseMoment(s)
		b, _ := m.MarshalText()
		if got := string(b); err != nil && want != "!" || err == nil && got != want {
			t.Errorf("%q: %q %v, want %q", s, got, err, want)
		}
		if err != nil && !errors.Is(err, errMoment) {
			t.Errorf("%q: %v", s, err)
		}
		var back Moment
		if err == nil && (back.UnmarshalText(b) != nil || !back.Ends(citizen.DefaultZones).Equal(m.Ends(citizen.DefaultZones))) {
			t.Errorf("%q does not come back", s)
		}
	}
}
