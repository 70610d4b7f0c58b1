package webhook

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ekc/ingest"
	"ekc/journal"
	"ekc/openapi"
)

func TestAgencyHearsOfItsListsSignedInOrderAndNothingPersonal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service()
	before := w.told(agency, 2)
	w.Await("it is over", func() bool {
		page, err := journal.History(t.Context(), w.DB, chief, journal.Query{ListNo: before.No, Kinds: []journal.Kind{journal.ListCompleted}})
		return err == nil && len(page.Items) == 1
	})
	mine, theirs := newReceiver(t, false), newReceiver(t, false)
	create(t, s, admin, mine)
	create(t, s, other, theirs)
	w.Background(s.Run)
	l, foreign := w.told(agency, 700), w.told(another, 3)
	w.Await("both are told", func() bool { return mine.complete(l, 700) && theirs.complete(foreign, 3) })
	if mine.repeats+theirs.repeats > 0 || len(theirs.statuses) != 3 {
		t.Errorf("%d and %d repeats, %d statuses of the other", mine.repeats, theirs.repeats, len(theirs.statuses))
	}
	for _, body := range mine.bodies {
		for _, canary := range []string{"Канарейкина", "903000", "Приём", before.ID.String()} {
			if strings.Contains(string(body), canary) {
				t.Errorf("%q is in %s", canary, body)
			}
		}
	}
}

func TestWhatIsNotTakenIsToldAgainInOrderAlsoByAnotherProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, false)
	r.answering(func(n int) int {
		switch n % 3 {
		case 1:
			return 503
		case 2:
			return 302
		}
		return 204
	})
	one, two := w.service(), w.service()
	create(t, one, admin, r)
	w.Background(two.Run)
	stop := w.Background(one.Run)
	l := w.told(agency, 1200)
	w.Await("some was tried", func() bool { return r.taken() > 2 })
	stop()
	w.Await("everything is told", func() bool { return r.complete(l, 1200) })
}

// What an address has taken is asked for again, from its beginning, before it is known to be taken.
func TestReplayAskedForDuringADeliveryIsNotLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := newReceiver(t, false)
	s := w.service()
	made := create(t, s, admin, one)
	one.answering(func(call int) int {
		if call == 1 {
			if _, err := s.Replay(t.Context(), admin, made.ID, &made.Position); err != nil {
				t.Error(err)
			}
		}
		return http.StatusNoContent
	})
	w.Background(s.Run)
	w.told(agency, 5)
	w.Await("it is told again", func() bool { one.mu.Lock(); defer one.mu.Unlock(); return one.repeats > 0 })
}

func TestAddressThatTakesNothingIsGivenUpUntilReplayAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead, alive := newReceiver(t, false), newReceiver(t, false)
	dead.answering(func(int) int { return 500 })
	s := w.service(func(c *Config) { c.Tries = 3 })
	made := create(t, s, admin, dead)
	create(t, s, admin, alive)
	w.Background(s.Run)
	l := w.told(agency, 5)
	var seen openapi.Webhook
	w.Await("it is given up", func() bool {
		all, err := s.List(t.Context(), admin, 0, 10)
		if err != nil || len(all) != 2 {
			t.Fatalf("%+v, %v", all, err)
		}
		seen = all[0]
		return seen.State == "dead"
	})
	if seen.Failures != 3 || seen.Fault != "http_500" || seen.Since == nil || seen.RetryAt != nil {
		t.Errorf("%+v", seen)
	}
	w.Await("the other is told", func() bool { return alive.complete(l, 5) })
	calls := dead.taken()
	dead.answering(nil)
	if _, err := s.Replay(t.Context(), other, made.ID, nil); !errors.Is(err, errNotFound) {
		t.Errorf("another agency: %v", err)
	}
	if calls != 3 || dead.taken() != 3 {
		t.Errorf("%d deliveries, then %d", calls, dead.taken())
	}
	if again, err := s.Replay(t.Context(), admin, made.ID, nil); err != nil || again.State != "active" || again.Failures != 0 {
		t.Fatalf("%+v, %v", again, err)
	}
	w.Await("it is told all it missed", func() bool { return dead.complete(l, 5) })
	beginning := made.Position
	if _, err := s.Replay(t.Context(), admin, made.ID, &beginning); err != nil {
		t.Fatal(err)
	}
	w.Await("it is told again", func() bool { dead.mu.Lock(); defer dead.mu.Unlock(); return dead.repeats >= 11 })
	ahead := int64(1 << 40)
	if _, err := s.Replay(t.Context(), admin, made.ID, &ahead); !errors.Is(err, errPosition) {
		t.Errorf("past the end: %v", err)
	}
}

func TestSecretIsSealedAndShownOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service()
	made, secret, err := s.Create(t.Context(), chief, openapi.NewWebhook{Agency: agency, URL: "https://system.example/x", Statuses: "final"})
	if err != nil || !strings.HasPrefix(secret, "whsec_") || len(secret) < 64 || made.Agency != agency || made.State != "active" {
		t.Fatalf("%+v, %v", made, err)
	}
	var rows int
	err = w.DB.QueryRow(t.Context(), `SELECT count(*) FROM webhooks WHERE position(convert_to($1, 'UTF8') IN sealed) > 0`, secret[6:]).Scan(&rows)
	if err != nil || rows != 0 {
		t.Errorf("the secret lies open: %v", err)
	}
	w.Await("the act is in the journal", func() bool {
		page, err := journal.History(t.Context(), w.DB, journal.System("test"), journal.Query{Actor: "chief"})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Items) == 1 && page.Items[0].Entry.Kind == journal.SourceChanged && page.Items[0].Entry.Get("what") == "created"
	})
	if err := s.Delete(t.Context(), other, made.ID); !errors.Is(err, errNotFound) {
		t.Errorf("another agency: %v", err)
	}
	if err := s.Delete(t.Context(), admin, made.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(t.Context(), chief, 0, 10); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestWebhookIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service()
	const good = "https://system.example/x"
	for name, c := range map[string]struct {
		p    journal.Principal
		n    openapi.NewWebhook
		want *ingest.Fault
	}{
		"plain HTTP":         {admin, openapi.NewWebhook{URL: "http://system.example/x"}, errURL},
		"a user in the URL":  {admin, openapi.NewWebhook{URL: "https://u:p@system.example/x"}, errURL},
		"another scheme":     {admin, openapi.NewWebhook{URL: "file:///etc/passwd"}, errURL},
		"no host":            {admin, openapi.NewWebhook{URL: "https:///x"}, errURL},
		"a fragment":         {admin, openapi.NewWebhook{URL: good + "#x"}, errURL},
		"a foreign agency":   {admin, openapi.NewWebhook{URL: good, Agency: another}, errForeign},
		"no agency":          {chief, openapi.NewWebhook{URL: good}, errAgency},
		"an unknown agency":  {chief, openapi.NewWebhook{URL: good, Agency: "9999.999999"}, errUnknown},
		"an unknown source":  {admin, openapi.NewWebhook{URL: good, Source: "nowhere"}, errUnknown},
		"an agency's eleven": {admin, openapi.NewWebhook{URL: good}, errTooMany},
	} {
		if c.want == errTooMany {
			for range perAgency {
				if _, _, err := s.Create(t.Context(), c.p, openapi.NewWebhook{URL: good, Statuses: "all"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if c.n.Statuses = "all"; true {
			if _, _, err := s.Create(t.Context(), c.p, c.n); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Where a name leads to is looked at when the connection is made.
func TestWhereWebhooksGo(t *testing.T) {
	t.Parallel()
	inside := []netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}
	for address, want := range map[string]bool{
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true, "10.7.1.2:443": true,
		"10.8.1.2:443": false, "192.168.1.1:443": false, "172.16.0.1:443": false, "[fd00::1]:443": false, "100.64.0.1:443": false,
		"169.254.169.254:80": false, "[fe80::1]:80": false, "0.0.0.0:80": false, "224.0.0.1:80": false, "[::ffff:10.8.1.2]:443": false,
		"127.0.0.1:443": false, "[::1]:443": false, "nonsense": false,
	} {
		if got := mayGo(address, false, inside); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
	for address, want := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "10.7.1.2:80": false, "93.184.216.34:80": false} {
		if got := mayGo(address, true, inside); got != want {
			t.Errorf("loopback by its name, %s: %t", address, got)
		}
	}
}

// A far side whose certificate nobody vouches for is not spoken to, and the fault says no more than that.
func TestCertificateThatNobodyVouchesForIsAFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, true)
	s := w.service()
	create(t, s, admin, r)
	w.Background(s.Run)
	w.told(agency, 1)
	w.Await("the fault", func() bool {
		all, err := s.List(t.Context(), admin, 0, 10)
		return err == nil && len(all) == 1 && all[0].Fault == "tls" && all[0].State == "failing"
	})
	if r.taken() > 0 {
		t.Error("it was spoken to")
	}
}

func TestSignatureIsOfTheBodyAndTheTime(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_795_600_000, 0)
	body := []byte(`[{"id":"1"}]`)
	signature := Sign("whsec_secret", at, body)
	// openssl dgst -sha256 -hmac whsec_secret of "1795600000.[{"id":"1"}]"
	if want := "v1=" + opensslDigest; signature != want {
		t.Errorf("%s, want %s", signature, want)
	}
	for name, c := range map[string]struct {
		secret, timestamp, signature, body string
		now                                time.Time
		want                               bool
	}{
		"as sent":        {"whsec_secret", "1795600000", signature, string(body), at.Add(time.Minute), true},
		"another body":   {"whsec_secret", "1795600000", signature, `[]`, at, false},
		"another time":   {"whsec_secret", "1795600001", signature, string(body), at, false},
		"another secret": {"whsec_other", "1795600000", signature, string(body), at, false},
		"too old":        {"whsec_secret", "1795600000", signature, string(body), at.Add(6 * time.Minute), false},
		"not signed":     {"whsec_secret", "1795600000", "", string(body), at, false},
		"no time":        {"whsec_secret", "yesterday", signature, string(body), at, false},
	} {
		if got := Verify(c.secret, c.timestamp, c.signature, []byte(c.body), c.now, 5*time.Minute); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

const opensslDigest = "289c0166e4dac26a02246fcc04b26b45bf08d8baaeb8b8fea326cef9337b3397"
