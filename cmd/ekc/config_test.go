package main

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ekc/citizen"
)

var update = flag.Bool("update", false, "write goldens anew")

const goodConfig = `
http: {addr: "127.0.0.1:0"}
database: {url: "postgres://ekc:hidden-word@localhost/ekc"}
state_dir: /tmp/ekc
smsc:
  - name: main
    addr: 127.0.0.1:2775
    system_id: ekc
    password: hidden2
    rate: 100
    senders: [{name: SFR, agency: "0002.000014"}, {name: "2442", ton: 3}]
    error_map: {ESME_RSUBMITFAIL: permanent invalid_number}
`

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ekc.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigDefaultsAndEnvironment(t *testing.T) {
	t.Parallel()
	c, err := readConfig(written(t, goodConfig), []string{
		"EKC_HTTP_ADDR=127.0.0.1:9999", "EKC_SMSC_MAIN_PASSWORD=other", "EKC_SMSC_MAIN_ROUTES=0002.000014, 0003.000022",
		"EKC_SMSC_MAIN_TLS={}", "EKC_SMSC_MAIN_TLS_SERVER_NAME=smsc.example", "EKC_KAFKA_BROKERS=localhost:9092,127.0.0.1:9093",
		"EKC_RETENTION={texts: 90d}", "EKC_DRAIN_TIMEOUT=5s", "EKC_CONFIG=x", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	s := c.SMSC[0]
	got := []any{c.HTTP.Addr, s.Password.Reveal(), s.Routes, s.TLS, c.Kafka.Brokers, c.Retention["texts"].Std(), c.DrainTimeout.Std(),
		s.Window, s.EnquireLink.Std(), s.Pool, s.Senders[0].TON, s.Senders[1].TON, c.Log.Format, c.Catalog.Seed}
	want := []any{"127.0.0.1:9999", "other", []string{"0002.000014", "0003.000022"}, &ClientTLS{ServerName: "smsc.example"},
		[]string{"localhost:9092", "127.0.0.1:9093"}, 90 * 24 * time.Hour, 5 * time.Second,
		10, 30 * time.Second, "main", 5, 3, "json", true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestConfigFromEnvironmentAlone(t *testing.T) {
	t.Parallel()
	c, err := readConfig("", []string{
		"EKC_DATABASE_URL=postgres:///ekc?host=/run/postgresql",
		"EKC_SMSC=[{name: a-1, addr: 'localhost:2775', senders: [{name: SFR}]}]", "EKC_SMSC_A_1_SYSTEM_ID=x",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SMSC) != 1 || c.SMSC[0].SystemID != "x" || c.SMSC[0].Window != 10 {
		t.Errorf("smsc = %+v", c.SMSC)
	}
}

func TestConfigFaultsAreToldAtOnceWithTheirPlace(t *testing.T) {
	t.Parallel()
	_, err := readConfig(written(t, `
http: {addr: "0.0.0.0:8080", tsl: {}}
database: {url: "postgres://ekc:hidden-word@db.example/ekc"}
drain_timeout: soon
drain_timeout: 10s
log: {level: loud}
keyset: '{"not": "one"}'
pilot: {allow_list: ["98989"]}
smsc:
  - name: main
    adr: x
    addr: smsc.example:2775
    system_id: hidden-word-too-long
    rate: fast
    window: 100000
    tls: true
  - name: main
    addr: 10.0.0.1:2775
    system_id: b
    insecure_because: VPN to the operator
    senders: [{name: a, ton: 300}]
    maintenance: [{from: "04:00", to: "02:00"}]
`), []string{"EKC_HTTP_ADRR=x", "EKC_SMSC_OTHER_RATE=5"})
	if err == nil {
		t.Fatal("accepted")
	}
	text := err.Error()
	for _, want := range []string{
		"http.addr: this is outside loopback and has no TLS",
		"http.tsl (line 2): there is no such key; here are: addr, tls, insecure_because",
		"database.url: this is outside loopback and has no TLS",
		"drain_timeout (line 4): expected a duration",
		"drain_timeout (line 5): the key is here twice",
		"log.level: expected one of debug, info, warn, error",
		"keyset: ",
		"pilot.allow_list[0] (line 8): expected a phone",
		"smsc[0].adr (line 11): there is no such key",
		"smsc[main].addr: this is outside loopback and has no TLS: set TLS up, or say why it need not be in smsc[main].insecure_because",
		"smsc[main]: system_id is longer than 15 characters",
		"smsc[0].rate (line 14): expected a whole number",
		"smsc[main]: window is 100000",
		"smsc[0].tls (line 16): expected a group of keys; {} is an empty one",
		"smsc[main].senders: expected at least one",
		"smsc[main].name: another entry has this name",
		"smsc[main].senders[0].ton: expected 0 to 255",
		"smsc[main].maintenance[0]: to must be later than from",
		"EKC_HTTP_ADRR: there is no such setting",
		"EKC_SMSC_OTHER_RATE: there is no such setting",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not told: %s", want)
		}
	}
	for _, secret := range []string{"hidden", "98989", "loud", "soon", "fast"} {
		if strings.Contains(text, secret) {
			t.Errorf("the faults repeat a value: %s", secret)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestConfigDoorsOutsideLoopbackNeedTLSOrAReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"http loopback":              {`http: {addr: "127.0.0.1:1"}`, true},
		"http IPv6 loopback":         {`http: {addr: "[::1]:1"}`, true},
		"http all addresses":         {`http: {addr: ":1"}`, false},
		"http with a reason":         {`http: {addr: ":1", insecure_because: nginx in front}`, true},
		"http with blanks":           {`http: {addr: ":1", insecure_because: "  "}`, false},
		"database socket":            {`database: {url: "postgres:///e?host=/run"}`, true},
		"database verify-full":       {`database: {url: "postgres://a@b.example/e?sslmode=verify-full"}`, true},
		"database require":           {`database: {url: "postgres://a@b.example/e?sslmode=require"}`, true},
		"database prefer":            {`database: {url: "postgres://a@b.example/e"}`, false},
		"database second host clear": {`database: {url: "postgres://a@localhost,b.example/e?sslmode=disable"}`, false},
		"database with a reason":     {`database: {url: "postgres://a@b.example/e", insecure_because: one rack}`, true},
		"asv in the clear":           {`asv: {url: "http://asv.example/"}`, false},
		"asv":                        {`asv: {url: "https://asv.example/"}`, true},
		"kafka":                      {`kafka: {brokers: ["k.example:9092"]}`, false},
		"kafka TLS":                  {`kafka: {brokers: ["k.example:9092"], tls: {}}`, true},
		"kafka login":                {`kafka: {brokers: ["localhost:9092"], sasl: {mechanism: scram-sha-512, username: ekc, password: p}}`, true},
		"kafka user alone":           {`kafka: {brokers: ["localhost:9092"], sasl: {username: ekc, password: p}}`, false},
		"kafka without password":     {`kafka: {brokers: ["localhost:9092"], sasl: {mechanism: plain, username: ekc}}`, false},
		"trunk":                      {`sip: {trunks: [{name: a, uri: "sip:x@pbx.example"}]}`, false},
		"trunk sips":                 {`sip: {trunks: [{name: a, uri: "sips:x@pbx.example"}]}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readConfig(written(t, c.text), nil)
			if (err == nil) != c.ok {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	t.Parallel()
	keyset, err := citizen.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyset.Export()
	if err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(written(t, goodConfig), []string{"EKC_KEYSET=" + string(text), "EKC_ADMIN_KEY=hidden-word-hidden-word-hidden",
		"EKC_ASV_TOKEN=hidden-token", "EKC_PILOT_ALLOW_LIST=+79001234567"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.printed()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hidden", "9001234567", "primaryKeyId", "123"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("printed: %s\n%s", secret, out)
		}
	}
	if !strings.Contains(string(out), "postgres://ekc:***@localhost/ekc") || !strings.Contains(string(out), "keyset: '***'") {
		t.Errorf("not masked as expected:\n%s", out)
	}
	first, err := c.digest()
	if err != nil {
		t.Fatal(err)
	}
	c.DrainTimeout++
	if second, _ := c.digest(); first == second || len(first) != 16 {
		t.Errorf("digests %s, %s", first, second)
	}
}

func TestConfigSampleIsGood(t *testing.T) {
	t.Parallel()
	c, err := readConfig(filepath.Join("..", "..", "deploy", "ekc.yaml"), []string{"EKC_SMSC_MAIN_PASSWORD=x", "EKC_KEYSET="})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SMSC) == 0 {
		t.Error("the sample has no SMSC")
	}
}

func TestConfigReferenceIsMadeFromTheStruct(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "config.md")
	want := configReference()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Error("docs/config.md is not what the struct says: go test ./cmd/ekc -run TestConfigReference -update")
	}
}

func TestConfigEveryKeyHasAMeaning(t *testing.T) {
	t.Parallel()
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		for i := range ty.NumField() {
			f := ty.Field(i)
			if f.Tag.Get("yaml") == "" || f.Tag.Get("doc") == "" {
				t.Errorf("%s.%s: no yaml or no doc tag", ty, f.Name)
			}
			inner := f.Type
			if k := inner.Kind(); k == reflect.Pointer || k == reflect.Slice {
				inner = inner.Elem()
			}
			if isGroup(inner) {
				walk(inner)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("http: [1]\nsmsc: {a: b}\nretention: {x: 1d}\n"))
	f.Add([]byte("a: &x {b: *x}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = readConfig(path, nil)
	})
}
