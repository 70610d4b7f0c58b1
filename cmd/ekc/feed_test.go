package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"ekc/egisso"
	"ekc/egisso/kafkatest"
	"ekc/fixtures"
	"ekc/ingest"
)

// goldens writes the golden messages into files of their own.
func goldens(t *testing.T) (dir string, feed *fixtures.Feed) {
	t.Helper()
	feed, err := fixtures.ReadFeed()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, scene := range feed.Scenes {
		for i := range scene.Messages {
			b, err := scene.Messages[i].Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, scene.Messages[i].File), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, feed
}

func TestFeedLintSaysOfEveryGoldenMessageWhatTheManifestSays(t *testing.T) {
	t.Parallel()
	dir, feed := goldens(t)
	for _, scene := range feed.Scenes {
		for _, m := range scene.Messages {
			args := []string{"feed", "lint", "--json", filepath.Join(dir, m.File)}
			if m.Topic == "egisso.notification-events.v1" {
				args = append(args, "--events")
			}
			code, out, errOut := ekc(t, args...)
			var r feedReport
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatalf("%s: %v: %s", m.File, err, errOut)
			}
			switch {
			case len(r.Messages) != 1:
				t.Errorf("%s: %d messages", m.File, len(r.Messages))
			case m.Code == "":
				if code != exitDone || !r.OK || r.Messages[0].Rows != m.Rows || r.Messages[0].Deaths != m.Deaths {
					t.Errorf("%s: %d, %s", m.File, code, out)
				}
			case code != exitFound || r.OK || r.Messages[0].Problems[0].Code != m.Code:
				t.Errorf("%s: %d, %s", m.File, code, out)
			}
		}
	}
}

const badRows = `{"specversion":"1.0","id":"1","source":"0001.000001","type":"ekc.list.part.v1","data":{"list_id":"5f1c8e1e-8a30-4a5b-9a58-1f6f6f1d9c11",
"part":1,"parts":1,"life_event":"OP-04","rows":[{"external_id":"а","phone":"+7903","template":"S-32","data":{"date":"2026-03-01"}},
{"external_id":"б","phone":"+79030005000","template":"S-99"},
{"external_id":"в","phone":"+79030005010","language":"эльфийский","data":{"date":"2026-03-01"}}]}}`

func TestFeedLintIsForPeopleToo(t *testing.T) {
	t.Parallel()
	dir, _ := goldens(t)
	at := func(names ...string) []string {
		args := []string{"feed", "lint"}
		for _, n := range names {
			args = append(args, filepath.Join(dir, n))
		}
		return args
	}
	var one strings.Builder // messages behind each other in one file
	for _, name := range []string{"three-1.json", "three-3.json", "cancel-after.json", "wrong-schema.json"} {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		one.Write(b)
	}
	several := written(t, one.String())
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"good":              {at("accepted.json", "repeat.json"), exitDone, []string{"accepted.json: хорошо, ekc.list.part.v1, часть 1 из 1, строк 2", "сообщений: 2, ошибок: 0"}},
		"parts":             {at("three-2.json", "three-3.json"), exitDone, []string{"здесь нет частей: 1"}},
		"a fault":           {at("wrong-schema.json"), exitFound, []string{"ошибка (field_unknown): Строка 1", "Допустимы:", "family_name"}},
		"other content":     {at("accepted.json", "other-content.json"), exitFound, []string{"part_differs"}},
		"other header":      {at("header-1.json", "header-2.json"), exitFound, []string{"header_differs"}},
		"XML":               {at("facts-2x.xml", "life-event.xml", "deaths.xml"), exitDone, []string{"10.06.S, часть 1 из 1, строк 2, отзывает 5", "умерших 2"}},
		"several in a file": {[]string{"feed", "lint", several}, exitFound, []string{":1: хорошо", ":4: ошибка (field_unknown)", "нет частей: 1", "сообщений: 4"}},
		"rows":              {append(at("accepted.json", "event.json", "three-1.json"), "--rows"), exitDone, []string{"accepted.json: хорошо", "сообщений: 3, ошибок: 0"}},
		"rows at fault": {[]string{"feed", "lint", "--rows", written(t, badRows)}, exitFound, []string{"ошибка (101): Строка 1: «Телефон»: Номер телефона не читается", "ошибка (110): Строка 2",
			"совет (130): Строка 3", "ошибок: 2"}},
		"list at fault":      {[]string{"feed", "lint", "--rows", written(t, strings.Replace(badRows, "OP-04", "OP-99", 1))}, exitFound, []string{"unknown_life_event"}},
		"catalogue at fault": {[]string{"feed", "lint", "--rows", "--catalog", written(t, "tepmlate: []\n"), written(t, badRows)}, exitFound, []string{"ekc catalog lint"}},
		"no JSON":            {at("not-json.json"), exitFound, []string{"not_json"}},
		"no file":            {at("nowhere.json"), exitFailed, []string{"nowhere.json"}},
		"nothing to look at": {[]string{"feed", "lint"}, exitUsage, nil},
	} {
		code, out, errOut := ekc(t, c.args...)
		if code != c.code {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errOut)
		}
		for _, s := range c.says {
			if !strings.Contains(out+errOut, s) {
				t.Errorf("%s: does not say %q: %s%s", name, s, out, errOut)
			}
		}
	}
}

const sentList = "Внешний номер;Телефон;Фамилия;Имя;Отчество;Возраст\nд-1;8 903 000-50-00;О;Ян;;60\nд-2;+79030005010;Волкова;Зоя;Ивановна;55\nд-3;9030005020;Ким;Ия;;60\n"

func TestFeedSendMakesMessagesThatLintWell(t *testing.T) {
	noEnvironment(t)
	csv := filepath.Join(t.TempDir(), "Пенсии.csv")
	if err := os.WriteFile(csv, []byte(sentList), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := ekc(t, "feed", "send", csv, "--dry-run", "--source", "0002.000014", "--parts-of", "2", "--life-event", "LE-03", "--channels", "СМС, затем звонок",
		"--legal-basis-code", "PP-1994", "--legal-basis-document", "ПП РФ № 1994", "--legal-basis-date", "2020-12-03", "--ordered-by", "письмо 12", "--valid-until", "31.12.2099")
	if code != exitDone || strings.Count(out, "\n") != 2 {
		t.Fatalf("%d: %s%s", code, out, errOut)
	}
	for _, s := range []string{`"name":"Пенсии.csv"`, `"valid_until":"2099-12-31"`, `"channels":["sms","voice"]`, `"parts":2`, `"Возраст":"60"`, `"external_id":"д-3"`} {
		if !strings.Contains(out, s) {
			t.Errorf("no %s in %s", s, out)
		}
	}
	if code, report, errOut := ekc(t, "feed", "lint", written(t, out)); code != exitDone || !strings.Contains(report, "сообщений: 2, ошибок: 0") {
		t.Errorf("%d: %s%s", code, report, errOut)
	}
	list := written(t, `{"name":"Событие","life_event":"LE-01","rows":[{"external_id":"а","phone":"9030005000","template":"S-01","data":{"x":"1"}}]}`)
	code, out, errOut = ekc(t, "feed", "send", list, "--dry-run", "--source", "0001.000001", "--name", "Другое")
	if code != exitDone || !strings.Contains(out, `"name":"Другое","life_event":"LE-01"`) || !strings.Contains(out, `"template":"S-01"`) {
		t.Errorf("%d: %s%s", code, out, errOut)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"whose":         {[]string{csv}, exitUsage, "--source"},
		"size":          {[]string{csv, "--source", "0002.000014", "--parts-of", "5000"}, exitUsage, "--parts-of"},
		"id":            {[]string{csv, "--source", "0002.000014", "--list-id", "7"}, exitUsage, "--list-id"},
		"date":          {[]string{csv, "--source", "0002.000014", "--inform-by", "скоро"}, exitUsage, "--inform-by"},
		"no agency":     {[]string{"--dry-run", csv, "--source", "СФР"}, exitFound, "код участника"},
		"no list":       {[]string{"--dry-run", written(t, "a;b\n1;2\n"), "--source", "0002.000014"}, exitFound, "названиями столбцов"},
		"phone as id":   {[]string{"--dry-run", written(t, "Внешний номер;Телефон\n89031234567;9030005000\n"), "--source", "0002.000014"}, exitFound, "похоже"},
		"bad JSON":      {[]string{written(t, `[{"fone":"89031234567"}]`), "--source", "0002.000014"}, exitFound, "POST /v1/lists"},
		"no brokers":    {[]string{csv, "--source", "0002.000014"}, exitFailed, "EKC_KAFKA_BROKERS"},
		"no such list":  {[]string{csv + "x", "--source", "0002.000014"}, exitFailed, "open the list"},
		"brokers away":  {[]string{csv, "--source", "0002.000014", "--config", written(t, "kafka: {brokers: ['127.0.0.1:1']}\n")}, exitUnreachable, "--list-id"},
		"strange title": {[]string{csv, "--source", "0002.000014", "--mapping", "{"}, exitUsage, "--mapping"},
	} {
		code, out, errOut := ekc(t, append([]string{"feed", "send"}, c.args...)...)
		if code != c.code || !strings.Contains(strings.ToLower(errOut), strings.ToLower(c.says)) || out != "" || strings.Contains(errOut, "1234567") {
			t.Errorf("%s: %d: %s%s", name, code, out, errOut)
		}
	}
}

// brokersOf is a Producer that keeps what it is given, and fails from a call on.
type brokersOf struct {
	records []egisso.Record
	calls   int
	failAt  int
}

func (b *brokersOf) Produce(_ context.Context, records ...egisso.Record) error {
	if b.calls++; b.calls == b.failAt {
		return errors.New("broker away")
	}
	b.records = append(b.records, records...)
	return nil
}

func TestFeedSendSaysWhatTheBrokersHaveAndHowToGoOn(t *testing.T) {
	t.Parallel()
	rows := func(take func(ingest.InputRow) error) error {
		for i := range 2*sendTogether + 1 {
			if err := take(ingest.InputRow{ExternalID: fmt.Sprint("r-", i), Phone: "9030005000"}); err != nil {
				return err
			}
		}
		return nil
	}
	s := &egisso.Sending{Topic: "x", Source: "0001.000001", ListID: uuid.MustParse("5f1c8e1e-8a30-4a5b-9a58-1f6f6f1d9c11"), Rows: 1, Now: time.Now()}
	b := &brokersOf{}
	parts, err := sendParts(t.Context(), b, s, rows)
	if err != nil || parts != 2*sendTogether+1 || len(b.records) != parts || b.calls != 3 {
		t.Fatalf("%d parts, %d calls: %v", parts, b.calls, err)
	}
	for i, r := range b.records {
		m, err := egisso.Parse(r.Headers, r.Value, time.Now())
		if err != nil || m.Part.Part != i+1 || m.Part.Parts != parts || string(r.Key) != s.ListID.String() || r.Topic != "x" {
			t.Errorf("%v, %+v", err, m)
		}
	}
	parts, err = sendParts(t.Context(), &brokersOf{failAt: 2}, s, rows)
	if parts != sendTogether || exitCode(err) != exitUnreachable || !strings.Contains(err.Error(), "8 parts are sent, send the same again with --list-id "+s.ListID.String()) {
		t.Errorf("%d, %v", parts, err)
	}
}

func TestFeedSendWritesATopicOfARealBroker(t *testing.T) {
	noEnvironment(t)
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "sent", 3)
	csv := filepath.Join(t.TempDir(), "Пенсии.csv")
	if err := os.WriteFile(csv, []byte(sentList), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := ekc(t, "feed", "send", csv, "--config", written(t, fmt.Sprintf("kafka: {brokers: [%q]}\n", broker.Addr())), "--topic", topic, "--source", "0002.000014",
		"--parts-of", "2", "--life-event", "LE-03")
	if code != exitDone {
		t.Fatalf("%d: %s%s", code, out, errOut)
	}
	messages := broker.Read(t, topic)
	if len(messages) != 2 {
		t.Fatalf("%d messages, want 2", len(messages))
	}
	rows := 0
	for _, m := range messages {
		headers := make([]egisso.Header, len(m.Headers))
		for i, h := range m.Headers {
			headers[i] = egisso.Header{Key: h.Key, Value: h.Value}
		}
		parsed, err := egisso.Parse(headers, m.Value, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Part.Parts != 2 || string(m.Key) != parsed.Part.ListID.String() || m.Partition != messages[0].Partition {
			t.Errorf("part %d of %d, key %s, partition %d", parsed.Part.Part, parsed.Part.Parts, m.Key, m.Partition)
		}
		rows += len(parsed.Part.Rows)
	}
	if rows != 3 {
		t.Errorf("%d rows, want 3", rows)
	}
}
