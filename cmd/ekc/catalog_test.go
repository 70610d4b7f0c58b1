package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ekc/catalog"
	"ekc/postgres/postgrestest"
)

func TestCatalogLintWorksOffline(t *testing.T) {
	noEnvironment(t)
	if code, out, errOut := ekc(t, "catalog", "lint"); code != exitDone || !strings.Contains(out, "ошибок: 0, советов: 0") {
		t.Fatalf("what the product comes with: %d\n%s%s", code, out, errOut)
	}
	file := func(body string) string { return written(t, body) }
	const head = "title: т, channel: sms, language: ru, body: "
	for name, c := range map[string]struct {
		document string
		code     int
		says     string
	}{
		"good":                    {"- {code: X, " + head + "'СФР: да. 8-800-100-00-01'}", exitDone, "шаблон X        СМС, сегментов: 1, хорошо"},
		"advice only":             {"- {code: X, two_way: true, " + head + "'СФР: да. 8-800-100-00-01'}", exitDone, "совет (two_way)"},
		"no agency":               {"- {code: X, " + head + "'Да. 8-800-100-00-01'}", exitFound, "ошибка (agency_first): Текст должен начинаться"},
		"three segments":          {"- {code: X, " + head + "'СФР: " + strings.Repeat("да ", 42) + "8-800-100-00-01'}", exitFound, "ошибка (segments)"},
		"own agency":              {"agency: [{code: 'Z001.000001', title: Наше, short: Наше}]\ntemplate: [{code: X, agency: 'Z001.000001', " + head + "'Наше: да. 8-800-100-00-01'}]", exitDone, "ошибок: 0"},
		"does not parse":          {"- {code: X, " + head + "'{{'}", exitFound, "шаблон X, body: ошибка: Скобки {{ не закрыты"},
		"not YAML":                {"a: [", exitFound, "ошибка: "},
		"its call says otherwise": {"- {code: S-01, life_event: LE-01, " + head + "'СФР: вам 5 пособий. 8-800-100-00-01'}", exitFound, "шаблон S-01-V, variant_of: ошибка: СМС и звонок говорят о разном: только в S-01 – число 5."},
		"measure of nobody":       {"measure: [{code: M-001, name: Икс, agencies: ['0001.000002']}]", exitFound, "мера M-001, agencies: ошибка: Ведомства «0001.000002» больше нет: укажите преемника, «0001.000001»."},
	} {
		code, out, errOut := ekc(t, "catalog", "lint", file(c.document))
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: %d, want %d\n%s%s", name, code, c.code, out, errOut)
		}
	}
	if code, _, _ := ekc(t, "catalog", "lint", "/nowhere/x.yaml"); code != exitFailed {
		t.Errorf("no file: %d", code)
	}
	var out bytes.Buffer
	var r catalogReport
	code := run(t.Context(), []string{"catalog", "lint", "-", "--json"}, strings.NewReader("- {code: X, "+head+"'СФР: на sfr.ru. 8-800-100-00-01'}"), &out, &out)
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || code != exitFound || r.OK || len(r.Templates) != 1 || r.Templates[0].Segments != 1 ||
		r.Templates[0].Findings[0].Rule != catalog.LintLink {
		t.Errorf("from standard input, as JSON: %d %v\n%s", code, err, out.String())
	}
	// Configured senders that nobody can answer make an invitation to answer a fault.
	oneWay := file("smsc: [{name: a, addr: '127.0.0.1:1', system_id: x, senders: [{name: SFR}]}]\n")
	twoWay := file("smsc: [{name: a, addr: '127.0.0.1:1', system_id: x, senders: [{name: '79000000000', two_way: true}]}]\n")
	invites := file("- {code: X, two_way: true, " + head + "'СФР: приём завтра. Перенос: ответьте 2. 8-800-100-00-01'}")
	if code, out, errOut := ekc(t, "catalog", "lint", invites, "--config", oneWay); code != exitFound || !strings.Contains(out, "односторонние") {
		t.Errorf("one-way sender: %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut := ekc(t, "catalog", "lint", invites, "--config", twoWay); code != exitDone {
		t.Errorf("two-way sender: %d\n%s%s", code, out, errOut)
	}
}

func TestCatalogGoesOutAndComesBack(t *testing.T) {
	noEnvironment(t)
	t.Setenv("EKC_DATABASE_URL", postgrestest.NewURL(t))
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) string {
		data, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	want := func(code int, says string, args ...string) {
		t.Helper()
		if got, out, errOut := ekc(t, args...); got != code || !strings.Contains(out, says) {
			t.Fatalf("%v: %d, want %d\n%s%s", args, got, code, out, errOut)
		}
	}
	want(exitDone, "", "migrate")
	want(exitDone, "записей: ", "catalog", "export", "--seed", path("seed.yaml"))
	want(exitDone, "будет записано: шаблон S-07, версия 1", "catalog", "import", "--dry-run", path("seed.yaml"))
	want(exitDone, "без изменений: 0", "catalog", "import", path("seed.yaml"))
	want(exitDone, "новых версий: 0", "catalog", "import", path("seed.yaml"))
	want(exitDone, "", "catalog", "export", path("one.yaml"))
	if read("one.yaml") != read("seed.yaml") {
		t.Error("the export is not what was imported")
	}
	mended := strings.Replace(read("one.yaml"), "Пенсию можно назначить без визита: подайте", "Пенсию назначают без визита: подайте", 1)
	if err := os.WriteFile(path("two.yaml"), []byte(mended), 0o600); err != nil {
		t.Fatal(err)
	}
	want(exitDone, "записано: шаблон S-07, версия 2\nновых версий: 1", "catalog", "import", path("two.yaml"))
	want(exitDone, "", "catalog", "export", path("three.yaml"))
	if read("three.yaml") != mended {
		t.Error("the export is not the mended file")
	}
	bad := strings.Replace(mended, "Пенсию назначают", "Сообщите код. Пенсию назначают", 1)
	if err := os.WriteFile(path("bad.yaml"), []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	want(exitFound, "data_request", "catalog", "import", path("bad.yaml"))
	want(exitFound, `"ok": false`, "catalog", "import", "--json", path("bad.yaml"))
	want(exitDone, "новых версий: 0", "catalog", "import", path("two.yaml"))
	w := newWorld(t, os.Getenv("EKC_DATABASE_URL"))
	w.open()
	var changes, mine int
	if err := w.db.QueryRow(t.Context(), `SELECT (SELECT sum(count) FROM journal WHERE kind = 'catalog.changed'), (SELECT count(*) FROM catalog_items WHERE created_by = 'system/catalog')`).
		Scan(&changes, &mine); err != nil || changes != mine || changes < 200 {
		t.Errorf("%d entries for %d versions, %v", changes, mine, err)
	}
}
