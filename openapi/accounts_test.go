package openapi

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"ekc/journal"
)

func codeOf(err error) Code {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestNobodyGrantsWhatIsNotTheirs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	security := journal.Principal{Account: "sec", Roles: []journal.Role{journal.RoleSecurityAdmin}}
	ekcAdmin := journal.Principal{Account: "ekc", Roles: []journal.Role{journal.RoleEKCAdmin}}
	segment := journal.Principal{Account: "seg", Agency: agencyA, Roles: []journal.Role{journal.RoleSegmentAdmin}}
	for _, c := range []struct {
		name   string
		by     journal.Principal
		kind   string
		agency string
		roles  []journal.Role
		want   Code
	}{
		{"security gives a system role", security, Person, "", []journal.Role{journal.RoleDutyEngineer}, ""},
		{"security gives an agency's role", security, Person, agencyA, []journal.Role{journal.RoleListLoader}, ""},
		{"segment gives its own agency's", segment, Person, agencyA, []journal.Role{journal.RoleListLoader, journal.RoleListApprover}, ""},
		{"segment gives another agency's", segment, Person, agencyB, []journal.Role{journal.RoleListLoader}, CodeGrantBeyond},
		{"segment makes another segment admin", segment, Person, agencyA, []journal.Role{journal.RoleSegmentAdmin}, CodeGrantBeyond},
		{"segment gives an auditor", segment, Person, agencyA, []journal.Role{journal.RoleAuditor}, CodeGrantBeyond},
		{"segment hides a role among its own", segment, Person, agencyA, []journal.Role{journal.RoleListLoader, journal.RoleSegmentAdmin}, CodeGrantBeyond},
		{"ekc admin makes a segment admin", ekcAdmin, Person, agencyB, []journal.Role{journal.RoleSegmentAdmin}, ""},
		{"ekc admin makes a security admin", ekcAdmin, Person, "", []journal.Role{journal.RoleSecurityAdmin}, CodeGrantBeyond},
		{"nobody gives without a role", journal.Principal{Account: "x"}, Person, agencyA, []journal.Role{journal.RoleListLoader}, CodeGrantBeyond},
		{"agency's role without agency", security, Person, "", []journal.Role{journal.RoleListLoader}, CodeRoleScope},
		{"system role inside an agency", security, Person, agencyA, []journal.Role{journal.RoleDutyEngineer}, CodeRoleScope},
		{"machine role for a person", security, Person, "", []journal.Role{journal.RoleASVSystem}, CodeRoleScope},
		{"person's role for a machine", security, Machine, agencyA, []journal.Role{journal.RoleListLoader}, CodeRoleScope},
		{"the hub's own role", security, Person, "", []journal.Role{journal.RoleSystem}, CodeInvalid},
		{"no role", security, Person, "", nil, CodeInvalid},
	} {
		login := "u" + strings.ReplaceAll(strings.ReplaceAll(c.name, " ", "-"), "'", "")
		_, err := w.accounts.CreateAccount(t.Context(), c.by, NewAccount{Login: login, Kind: c.kind, Agency: c.agency, Roles: c.roles})
		if got := codeOf(err); got != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestOwnRolesAreNotChangedByOneself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("chief", "", journal.RoleSecurityAdmin)
	w.key("clerk", agencyA, journal.RoleListLoader)
	chief := journal.Principal{Account: "chief", Roles: []journal.Role{journal.RoleSecurityAdmin}}
	_, err := w.accounts.SetRoles(t.Context(), chief, "chief", []journal.Role{journal.RoleSecurityAdmin, journal.RoleAuditor})
	if codeOf(err) != CodeSelfGrant {
		t.Errorf("own roles: %v", err)
	}
	if _, err := w.accounts.Block(t.Context(), chief, "chief"); codeOf(err) != CodeSelfGrant {
		t.Errorf("own block: %v", err)
	}
	changed, err := w.accounts.SetRoles(t.Context(), chief, "clerk", []journal.Role{journal.RoleListApprover})
	if err != nil || len(changed.Roles) != 1 || changed.Roles[0] != journal.RoleListApprover {
		t.Errorf("another's roles: %v %v", changed, err)
	}
	segment := journal.Principal{Account: "seg", Agency: agencyB, Roles: []journal.Role{journal.RoleSegmentAdmin}}
	if _, err := w.accounts.SetRoles(t.Context(), segment, "clerk", []journal.Role{journal.RoleListLoader}); codeOf(err) != CodeNotFound {
		t.Errorf("another agency's account: %v", err)
	}
}

func TestEveryChangeOfAccountsIsJournalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.accounts.CreateAccount(t.Context(), system(), NewAccount{Login: "petrov", Kind: Person, Title: "Петров Пётр", Agency: agencyA, Roles: []journal.Role{journal.RoleListLoader}})
	if err != nil {
		t.Fatal(err)
	}
	key, secret, err := w.accounts.CreateKey(t.Context(), system(), NewKey{Login: "petrov"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.accounts.RevokeKey(t.Context(), system(), key.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.accounts.RevokeKey(t.Context(), system(), key.ID); err != nil { // again: nothing changes, nothing is written
		t.Fatal(err)
	}
	if _, err := w.accounts.SetRoles(t.Context(), system(), "petrov", []journal.Role{journal.RoleListApprover}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.accounts.Block(t.Context(), system(), "petrov"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.accounts.Unblock(t.Context(), system(), "petrov"); err != nil {
		t.Fatal(err)
	}
	rows, err := w.db.Query(t.Context(), `SELECT kind, actor, agency, entries FROM journal ORDER BY first_id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var kinds []string
	for rows.Next() {
		var kind, actor, agency string
		var entries []byte
		if err := rows.Scan(&kind, &actor, &agency, &entries); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind)
		if actor != "system/test" || agency != agencyA {
			t.Errorf("%s by %q in %q", kind, actor, agency)
		}
		if bytesHold(entries, secret[len(secret)-52:], "Петров") {
			t.Errorf("%s holds a secret or a name", kind)
		}
	}
	if got, want := strings.Join(kinds, " "), "account.created key.created key.revoked account.changed account.blocked account.changed"; got != want {
		t.Errorf("journal: %s, want %s", got, want)
	}
}

func bytesHold(b []byte, words ...string) bool {
	for _, word := range words {
		if strings.Contains(string(b), word) {
			return true
		}
	}
	return false
}

func TestKeysStopWorkingWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := NewAccounts(w.db, journal.NewWriter(), w.clock.now, AccountsConfig{Remember: time.Hour}) // another process; the hour is cut to 2 s
	for _, c := range []struct {
		name string
		end  func(login string, id int64) error
	}{
		{"revoked", func(_ string, id int64) error { return w.accounts.RevokeKey(t.Context(), system(), id) }},
		{"blocked", func(login string, _ int64) error {
			_, err := w.accounts.Block(t.Context(), system(), login)
			return err
		}},
		{"expired", func(string, int64) error { w.clock.move(10 * time.Minute); return nil }},
	} {
		login := "user-" + c.name
		w.key(login, agencyA, journal.RoleListLoader)
		key, secret, err := w.accounts.CreateKey(t.Context(), system(), NewKey{Login: login, Expires: w.clock.now().Add(10 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		for _, process := range []*Accounts{w.accounts, other} {
			p, err := process.Authenticate(t.Context(), secret)
			if err != nil || p.Account != login || p.Agency != agencyA || !p.Has(journal.RoleListLoader) || p.Test {
				t.Fatalf("%s: %+v %v", c.name, p, err)
			}
		}
		if err := c.end(login, key.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.accounts.Authenticate(t.Context(), secret); codeOf(err) != CodeUnauthorized {
			t.Errorf("%s: here: %v", c.name, err)
		}
		w.clock.move(2 * time.Second)
		if _, err := other.Authenticate(t.Context(), secret); codeOf(err) != CodeUnauthorized {
			t.Errorf("%s: elsewhere after 2 s: %v", c.name, err)
		}
	}
}

func TestWrongKeysAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.key("reader", agencyA, journal.RoleListLoader)
	flipped := []byte(good)
	last := len(flipped) - 2 // all bits of it count
	flipped[last] = 'a' + (flipped[last]-'a'+1)%2
	for name, bearer := range map[string]string{
		"none": "", "words": "ekc", "short": "ekc_live_abc_def", "flipped secret": string(flipped), "test for live": strings.Replace(good, "_live_", "_test_", 1),
		"unknown prefix": "ekc_live_aaaaaaaaaa_" + good[len(good)-52:], "upper case": strings.ToUpper(good), "longer": good + "a", "not ours": "ekc_live_\x00aaaaaaaaa_" + good[len(good)-52:],
	} {
		if string(flipped) == good {
			t.Fatal("the secret was not changed")
		}
		if _, err := w.accounts.Authenticate(t.Context(), bearer); codeOf(err) != CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	var stored []byte
	if err := w.db.QueryRow(t.Context(), `SELECT hash FROM keys`).Scan(&stored); err != nil || bytesHold(stored, good[len(good)-52:]) || len(stored) != 32 {
		t.Errorf("stored hash: %d bytes, %v", len(stored), err)
	}
}

func TestATestKeyDoesNotMakeALiveOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("tester", agencyA, journal.RoleListLoader)
	_, secret, err := w.accounts.CreateKey(t.Context(), system(), NewKey{Login: "tester", Test: true})
	if err != nil || !strings.HasPrefix(secret, "ekc_test_") {
		t.Fatalf("%q %v", secret, err)
	}
	p, err := w.accounts.Authenticate(t.Context(), secret)
	if err != nil || !p.Test {
		t.Fatalf("%+v %v", p, err)
	}
	if _, _, err := w.accounts.CreateKey(t.Context(), p, NewKey{Login: "tester"}); codeOf(err) != CodeGrantBeyond {
		t.Errorf("live key by a test key: %v", err)
	}
}

func TestTheAdminKeyMakesOneAccountOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := func(login string, roles ...string) reply {
		return w.do(adminKey, "POST", "/v1/accounts", map[string]any{"login": login, "kind": "person", "title": "Безопасность", "roles": roles})
	}
	w.wants(w.do(adminKey, "GET", "/v1/accounts", nil), 403, CodeForbidden)
	w.wants(w.do(adminKey, "GET", "/v1/whoami", nil), 403, CodeForbidden)
	w.wants(first("boss", "auditor"), 403, CodeGrantBeyond)
	w.wants(first("boss", "security_admin", "auditor"), 403, CodeGrantBeyond)

	var mu sync.Mutex
	var made []createdAccount
	var wg sync.WaitGroup
	for _, login := range []string{"boss-1", "boss-2", "boss-3"} { // at once: one of them
		wg.Go(func() {
			r := first(login, "security_admin")
			mu.Lock()
			defer mu.Unlock()
			if r.status == 201 {
				var c createdAccount
				r.into(t, &c)
				made = append(made, c)
			} else {
				w.wants(r, 401, CodeAdminKeyUsed)
			}
		})
	}
	wg.Wait()
	if len(made) != 1 || made[0].Secret == "" || made[0].Key == nil {
		t.Fatalf("made %d accounts: %+v", len(made), made)
	}
	w.wants(first("again", "security_admin"), 401, CodeAdminKeyUsed)

	boss := made[0].Secret
	r := w.do(boss, "PUT", "/v1/accounts/"+made[0].Login+"/roles", map[string]any{"roles": []string{"security_admin", "auditor"}})
	w.wants(r, 403, CodeSelfGrant)
	var acc Account
	w.do(boss, "POST", "/v1/accounts", map[string]any{"login": "engineer", "kind": "person", "roles": []string{"duty_engineer"}}).into(t, &acc)
	if acc.CreatedBy != made[0].Login {
		t.Errorf("made by %q", acc.CreatedBy)
	}
}

func TestTwoWhoPassedTheDoorWithTheAdminKeyMakeOneAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, err := w.accounts.Authenticate(t.Context(), adminKey)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	codes := map[Code]int{}
	var wg sync.WaitGroup
	for _, login := range []string{"boss-1", "boss-2", "boss-3", "boss-4"} {
		wg.Go(func() {
			_, _, _, err := w.accounts.CreateFirst(t.Context(), p, NewAccount{Login: login, Kind: Person, Roles: []journal.Role{journal.RoleSecurityAdmin}})
			mu.Lock()
			defer mu.Unlock()
			codes[codeOf(err)]++
			if err != nil && codeOf(err) == "" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if codes[""] != 1 || codes[CodeAdminKeyUsed] != 3 {
		t.Errorf("%v", codes)
	}
}
