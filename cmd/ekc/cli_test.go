package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"ekc/ingest"
	"ekc/openapi"
	"ekc/postgres/postgrestest"
	"ekc/smpp/smpptest"
)

// ekc runs a command as main does.
func ekc(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = run(ctx, args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// noEnvironment takes away what the caller's shell may have set.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "EKC_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
}

func TestExitCodes(t *testing.T) {
	noEnvironment(t)
	bad, good := written(t, "htpp: {}\n"), written(t, "database: {url: 'postgres://127.0.0.1:1/x?connect_timeout=1'}\n")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no command":                     {nil, exitDone, ""},
		"version":                        {[]string{"version"}, exitDone, ""},
		"unknown command":                {[]string{"nonsense"}, exitUsage, "nonsense"},
		"unknown flag":                   {[]string{"serve", "--rolls", "x"}, exitUsage, "--rolls"},
		"unknown role":                   {[]string{"serve", "--roles", "sender"}, exitUsage, "roles are api, feed, sms, voice, inbound"},
		"group without command":          {[]string{"config"}, exitUsage, "say which"},
		"missing argument":               {[]string{"trace"}, exitUsage, "arg"},
		"not an id":                      {[]string{"trace", "seven"}, exitUsage, "12-34"},
		"serve without a database":       {[]string{"serve"}, exitFailed, "database.url"},
		"a configuration with a fault":   {[]string{"config", "check", "--config", bad}, exitFound, "htpp"},
		"a good configuration":           {[]string{"config", "check", "--config", good}, exitDone, ""},
		"no configuration file":          {[]string{"config", "check", "--config", "/nowhere/ekc.yaml"}, exitFailed, "/nowhere/ekc.yaml"},
		"a database that is away":        {[]string{"migrate", "--config", good}, exitUnreachable, ""},
		"status with neither":            {[]string{"status"}, exitUnreachable, "API не отвечает"},
		"submit without an address":      {[]string{"lists", "submit", "x.csv"}, exitUsage, "EKC_URL"},
		"stop without a reason":          {[]string{"stop", "all"}, exitUsage, "--reason"},
		"recover without a yes":          {[]string{"recover", "--config", good}, exitUsage, "--yes"},
		"smsc check of nobody":           {[]string{"smsc", "check", "x", "--config", good}, exitUsage, "no smsc of this name"},
		"journal verify, half a receipt": {[]string{"journal", "verify", "--size", "5", "--config", good}, exitUsage, "--root"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errOut := ekc(t, c.args...)
			if code != c.code || !strings.Contains(errOut, c.says) {
				t.Errorf("exit code %d, want %d; said: %s", code, c.code, errOut)
			}
		})
	}
}

func TestEveryCommandStatesItsExitCodes(t *testing.T) {
	t.Parallel()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		if !strings.Contains(cmd.Long, "Exit codes: 0 done, 1 failed, 2 wrong use, 3 found something wrong, 4 unreachable.") || cmd.Short == "" {
			t.Errorf("%s: help without exit codes, or no short help", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

func TestKeysInitNeverOverwrites(t *testing.T) {
	noEnvironment(t)
	path := filepath.Join(t.TempDir(), "keyset.json")
	if code, _, errOut := ekc(t, "keys", "init", path); code != exitDone {
		t.Fatal(errOut)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if code, _, _ := ekc(t, "keys", "init", path); code != exitFailed {
		t.Errorf("exit code %d over an existing key set", code)
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(first, again) {
		t.Error("the key set was overwritten")
	}
}

// TestCommandsAskTheAPIAndThenTheDatabase: the duty engineer's commands, with the hub up and then away.
func TestCommandsAskTheAPIAndThenTheDatabase(t *testing.T) {
	noEnvironment(t)
	w := newWorld(t, postgrestest.NewURL(t))
	stop := w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	l := w.send(s, "для показа", phones(3, smpptest.OK)...)
	w.await(s, l.ID, ended)
	var page openapi.Page[openapi.Notification]
	if err := s.loader.call(t.Context(), http.MethodGet, "/v1/notifications?list_id="+l.ID, nil, &page); err != nil {
		t.Fatal(err)
	}
	id := page.Items[0].NotificationID
	t.Setenv("EKC_URL", w.url)
	t.Setenv("EKC_KEY", s.duty.key)

	healthy := func() bool { code, _, _ := ekc(t, "status"); return code == exitDone }
	for deadline := time.Now().Add(20 * time.Second); !healthy(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			_, out, errOut := ekc(t, "status")
			t.Fatalf("status of a healthy hub: %s %s", out, errOut)
		}
	}
	code, out, errOut := ekc(t, "stop", "agency", testAgency, "--reason", "проверка", "--json")
	var made struct{ ID int64 }
	if err := json.Unmarshal([]byte(out), &made); code != exitDone || err != nil {
		t.Fatalf("stop: %d %s %s", code, out, errOut)
	}
	if code, out, _ = ekc(t, "status"); code != exitFound || !strings.Contains(out, "проверка") || !strings.Contains(out, "что делать") {
		t.Errorf("status with a stop: %d\n%s", code, out)
	}
	held := w.send(s, "держится", phones(1, smpptest.OK)...)
	w.await(s, held.ID, func(l openapi.List) bool { return l.State == string(ingest.Running) })
	if err := s.loader.call(t.Context(), http.MethodGet, "/v1/notifications?list_id="+held.ID, nil, &page); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut = ekc(t, "trace", page.Items[0].NotificationID); code != exitDone || !strings.Contains(out, fmt.Sprintf("Держит: остановка %d (agency %s): проверка; причина ушла – ekc stop --lift %d.", made.ID, testAgency, made.ID)) {
		t.Errorf("trace of what a stop holds: %d\n%s%s", code, out, errOut)
	}
	if code, out, _ = ekc(t, "trace", id, "--json"); code != exitDone || !strings.Contains(out, `"state": "delivered"`) {
		t.Errorf("trace: %d\n%s", code, out)
	}
	if code, _, errOut = ekc(t, "trace", "99999-1"); code != exitFailed || !strings.Contains(errOut, "404") {
		t.Errorf("trace of nothing: %d %s", code, errOut)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	for _, setting := range w.settings {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	if code, out, errOut = ekc(t, "status"); code != exitFound || !strings.Contains(errOut, "из базы данных") || !strings.Contains(out, "API не отвечает") {
		t.Errorf("status without the API: %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut = ekc(t, "trace", id); code != exitDone || !strings.Contains(out, "delivered") || !strings.Contains(errOut, "из базы данных") {
		t.Errorf("trace without the API: %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut = ekc(t, "trace", page.Items[0].NotificationID); code != exitDone || !strings.Contains(out, fmt.Sprintf("Держит: остановка %d (agency", made.ID)) {
		t.Errorf("trace of what a stop holds, without the API: %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut = ekc(t, "stop", "all", "--reason", "API нет"); code != exitDone || !strings.Contains(out, "действует") {
		t.Errorf("stop without the API: %d\n%s%s", code, out, errOut)
	}
	if n := countStops(t, w); n != 2 {
		t.Errorf("%d stops in force, want 2", n)
	}
	if code, out, errOut = ekc(t, "journal", "verify", "--json"); code != exitDone || !strings.Contains(out, `"ok": true`) {
		t.Errorf("journal verify: %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut = ekc(t, "smsc", "check", "main"); code != exitDone || !strings.Contains(out, "trx-1: bound") {
		t.Errorf("smsc check: %d\n%s%s", code, out, errOut)
	}
	w.smsc.Close()
	if code, _, _ = ekc(t, "smsc", "check", "main", "--wait", "2s"); code != exitUnreachable {
		t.Errorf("smsc check of one that is away: %d", code)
	}
}

func countStops(t *testing.T, w *world) (n int) {
	t.Helper()
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM stops WHERE lifted_at IS NULL`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAMendedFileGoesToItsListByCommand(t *testing.T) {
	noEnvironment(t)
	w := newWorld(t, postgrestest.NewURL(t))
	w.start(slog.New(slog.DiscardHandler))
	s := w.staff()
	t.Setenv("EKC_URL", w.url)
	t.Setenv("EKC_KEY", s.loader.key)
	file := filepath.Join(t.TempDir(), "list.csv")
	submit := func(phones []string, more ...string) (openapi.ListRef, string) {
		t.Helper()
		must(t, os.WriteFile(file, []byte(listOf(phones)), 0o600))
		code, out, errOut := ekc(t, append([]string{"lists", "submit", file, "--json"}, more...)...)
		var ref openapi.ListRef
		if err := json.Unmarshal([]byte(out), &ref); (code == exitDone) != (err == nil) {
			t.Fatalf("%d %s %s", code, out, errOut)
		}
		return ref, errOut
	}
	numbers := ordinary(3)
	bare, _ := submit(append([]string{"123"}, numbers[:1]...))
	w.await(s, bare.ID, checked)
	if _, said := submit(numbers[:2], "--corrects", bare.ID); !strings.Contains(said, "замените его файл") {
		t.Errorf("a correction before approval: %s", said)
	}
	replaced, said := submit(numbers[:2], "--replaces", bare.ID, "--life-event", "OP-04", "--ordered-by", "письмо 1", "--legal-basis-code", "x",
		"--legal-basis-document", "приказ", "--legal-basis-date", "15.01.2026")
	list := w.await(s, bare.ID, checked)
	if replaced.ID != bare.ID || list.Accepted != 2 || list.LegalBasis == nil || list.LegalBasis.Date != "2026-01-15" {
		t.Fatalf("the list with its file replaced: %+v; %s", list, said)
	}
	must(t, approve(t.Context(), s, list))
	if _, said := submit(numbers, "--replaces", bare.ID); !strings.Contains(said, "загрузите исправление") {
		t.Errorf("another file after approval: %s", said)
	}
	mended, said := submit(numbers, "--corrects", bare.ID)
	if l := w.await(s, mended.ID, checked); l.Corrects != bare.ID || l.Accepted != 1 || l.Skipped != 2 || l.Name != "Исправление: list.csv" {
		t.Errorf("the correction: %+v; %s", l, said)
	}
	if _, said := submit(numbers, "--mapping", "Контакт=Телефон"); !strings.Contains(said, `{"Контакт": "Телефон"}`) {
		t.Errorf("a mapping that is none: %s", said)
	}
}
