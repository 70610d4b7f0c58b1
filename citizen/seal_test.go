package citizen_test

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	tinksubtle "github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"

	"ekc/citizen"
	"ekc/postgres/postgrestest"
)

func newDataKey(t testing.TB) *citizen.DataKey {
	t.Helper()
	return must(citizen.NewKeyring(must(citizen.NewKeyset()), 1).ScopeKey(t.Context(), postgrestest.New(t), "list/1", ""))
}

func TestSealedBlobOpensOnlyWithItsKeyAndRow(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	ring := citizen.NewKeyring(must(citizen.NewKeyset()), 8)
	key, other := must(ring.ScopeKey(ctx, db, "list/1", "")), must(ring.ScopeKey(ctx, db, "list/2", ""))
	text, row := []byte("Иванова Мария, +79036550550"), citizen.RowAAD("notifications", 17)
	sealed := key.Seal([]byte("head"), text, row)
	if !bytes.HasPrefix(sealed, []byte("head")) || len(sealed) <= 4+len(text) || bytes.Contains(sealed, text[:8]) {
		t.Fatalf("%d bytes", len(sealed))
	}
	sealed = sealed[4:]
	if got, err := key.Open([]byte("head"), sealed, row); err != nil || string(got) != "head"+string(text) {
		t.Fatalf("%q %v", got, err)
	}
	if bytes.Equal(sealed, key.Seal(nil, text, row)) {
		t.Error("equal texts seal equally")
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)/2] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another row":   func() ([]byte, error) { return key.Open(nil, sealed, citizen.RowAAD("notifications", 18)) },
		"another table": func() ([]byte, error) { return key.Open(nil, sealed, citizen.RowAAD("rejections", 17)) },
		"another key":   func() ([]byte, error) { return other.Open(nil, sealed, row) },
		"changed":       func() ([]byte, error) { return key.Open(nil, changed, row) },
		"cut":           func() ([]byte, error) { return key.Open(nil, sealed[:len(sealed)-1], row) },
		"short":         func() ([]byte, error) { return key.Open(nil, []byte("x"), row) },
		"empty":         func() ([]byte, error) { return key.Open(nil, nil, row) },
	} {
		if _, err := open(); !errors.Is(err, citizen.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What Seal writes is what Tink's AES-GCM without a prefix reads, and the other way.
func TestSealIsTinksFormat(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{7}, 32)
	key := citizen.DataKeyOf(t, raw)
	tink := must(tinksubtle.NewAESGCM(raw))
	if got, err := tink.Decrypt(key.Seal(nil, []byte("text"), []byte("row")), []byte("row")); err != nil || string(got) != "text" {
		t.Fatalf("%q %v", got, err)
	}
	if got, err := key.Open(nil, must(tink.Encrypt([]byte("text"), []byte("row"))), []byte("row")); err != nil || string(got) != "text" {
		t.Fatalf("%q %v", got, err)
	}
}

func TestDataKeysSurviveRestartAndRotation(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	set := must(citizen.NewKeyset())
	first := citizen.NewKeyring(set, 8)
	key := must(first.ScopeKey(ctx, db, "list/1", "A068.000001"))
	sealed := key.Seal(nil, []byte("text"), nil)
	if again := must(first.ScopeKey(ctx, db, "list/1", "A068.000001")); again != key {
		t.Error("a scope has two keys")
	}
	reloaded := must(citizen.LoadKeyset(string(must(set.Export()))))
	for name, ring := range map[string]*citizen.Keyring{
		"restart":  citizen.NewKeyring(reloaded, 8),
		"rotation": citizen.NewKeyring(must(must(set.Rotate()).Rotate()), 8),
	} {
		byID := must(ring.Key(ctx, db, key.ID))
		if got, err := byID.Open(nil, sealed, nil); err != nil || string(got) != "text" {
			t.Errorf("%s: %v", name, err)
		}
		if byScope := must(ring.ScopeKey(ctx, db, "list/1", "")); byScope.ID != key.ID {
			t.Errorf("%s: another key for the scope", name)
		}
	}
	if _, err := citizen.NewKeyring(must(citizen.NewKeyset()), 8).Key(ctx, db, key.ID); !errors.Is(err, citizen.ErrSealed) {
		t.Errorf("opens with another key set: %v", err)
	}
	if _, err := first.Key(ctx, db, key.ID+1); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("no such key: %v", err)
	}
	must(db.Exec(ctx, `UPDATE data_keys SET scope = 'list/2' WHERE id = $1`, key.ID))
	if _, err := citizen.NewKeyring(set, 8).Key(ctx, db, key.ID); !errors.Is(err, citizen.ErrSealed) {
		t.Errorf("opens under another scope: %v", err)
	}
}

func TestScopeHasOneKeyHoweverManyAskAtOnce(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	set := must(citizen.NewKeyset())
	ids := make([]int64, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			if key, err := citizen.NewKeyring(set, 8).ScopeKey(ctx, db, "express/A/2027-01-01", "A"); err == nil {
				ids[i] = key.ID
			}
		})
	}
	all.Wait()
	if ids = slices.Compact(ids); len(ids) != 1 || ids[0] == 0 {
		t.Fatalf("keys %v", ids)
	}
}

func TestDestroyedKeyIsGone(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	ring := citizen.NewKeyring(must(citizen.NewKeyset()), 8)
	key := must(ring.ScopeKey(ctx, db, "list/1", ""))
	if err := ring.DestroyKey(ctx, db, key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Key(ctx, db, key.ID); !errors.Is(err, citizen.ErrKeyDestroyed) {
		t.Errorf("by id: %v", err)
	}
	if _, err := ring.ScopeKey(ctx, db, "list/1", ""); !errors.Is(err, citizen.ErrKeyDestroyed) {
		t.Errorf("by scope: %v", err)
	}
	var wrapped []byte
	if err := db.QueryRow(ctx, `SELECT wrapped FROM data_keys WHERE id = $1 AND destroyed_at IS NOT NULL`, key.ID).Scan(&wrapped); err != nil || wrapped != nil {
		t.Errorf("%d bytes left, %v", len(wrapped), err)
	}
}

func TestKeyringHoldsNoMoreThanItsCapacity(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	counted := &countingProvider{Keyset: must(citizen.NewKeyset())}
	ring := citizen.NewKeyring(counted, 2)
	a, b := must(ring.ScopeKey(ctx, db, "a", "")), must(ring.ScopeKey(ctx, db, "b", ""))
	must(ring.Key(ctx, db, a.ID)) // a is now the one used last
	must(ring.ScopeKey(ctx, db, "c", ""))
	if must(ring.Key(ctx, db, a.ID)) != a || counted.opened != 0 {
		t.Errorf("the key used last was dropped, %d opened", counted.opened)
	}
	if must(ring.Key(ctx, db, b.ID)) == b || counted.opened != 1 {
		t.Errorf("the key used first was kept, %d opened", counted.opened)
	}
}

type countingProvider struct {
	*citizen.Keyset
	opened int
}

func (p *countingProvider) OpenDataKey(wrapped []byte, scope string) (cipher.AEAD, error) {
	p.opened++
	return p.Keyset.OpenDataKey(wrapped, scope)
}

func TestDigestsTellKindsPersonsAndKeysApart(t *testing.T) {
	t.Parallel()
	set := must(citizen.NewKeyset())
	rotated := must(set.Rotate())
	before, after := citizen.NewKeyring(set, 1), citizen.NewKeyring(rotated, 1)
	a := must(before.Digest(citizen.DigestPhone, "79036550550"))
	for name, other := range map[string]citizen.Digest{
		"kind":  must(before.Digest(citizen.DigestSNILS, "79036550550")),
		"value": must(before.Digest(citizen.DigestPhone, "79036550551")),
		"key":   must(after.Digest(citizen.DigestPhone, "79036550550")),
	} {
		if a == other {
			t.Errorf("another %s, the same digest", name)
		}
	}
	digests := must(after.Digests(citizen.DigestPhone, "79036550550"))
	if len(digests) != 2 || digests[0] != must(after.Digest(citizen.DigestPhone, "79036550550")) || digests[1] != a {
		t.Error("a rotated key set does not find what the old one wrote")
	}
	if shown := fmt.Sprintf("%v %x %d ", a, a, a) + string(must(json.Marshal(a))) + a.LogValue().String(); shown != `*** *** *** "***"***` {
		t.Errorf("prints %s", shown)
	}
}

// A digest is Tink's own PRF of the index key, so that the key set means the same to other programs.
func TestDigestIsTinksPRF(t *testing.T) {
	t.Parallel()
	set := must(must(citizen.NewKeyset()).Rotate())
	var file struct{ Index json.RawMessage }
	if err := json.Unmarshal(must(set.Export()), &file); err != nil {
		t.Fatal(err)
	}
	theirs := must(prf.NewPRFSet(must(insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(file.Index))))))
	want := must(theirs.ComputePrimaryPRF([]byte("data"), 16))
	for range 3 { // the state is used again
		if got := must(set.Digest([]byte("data"))); !bytes.Equal(got[:], want) {
			t.Fatal("another digest")
		}
	}
}

func TestPersonIsFoundByPhoneSNILSAndNameWithBirthDate(t *testing.T) {
	t.Parallel()
	db, ctx := postgrestest.New(t), t.Context()
	ring := citizen.NewKeyring(must(citizen.NewKeyset()), 1)
	snils, _, err := citizen.ParseSNILS("112-233-445 95")
	if err != nil {
		t.Fatal(err)
	}
	phone, second := must(citizen.ParsePhone("89036550550")), must(citizen.ParsePhone("89161234567"))
	person := citizen.Person{SNILS: snils, Family: "Королёва", First: "Алёна", BirthDate: citizen.BirthDate{Year: 1957, Month: 3, Day: 1}}
	var entries []citizen.IndexEntry
	refs := []citizen.Ref{{Kind: citizen.RefNotification, ID: 1<<40 + 5}, {Kind: citizen.RefRejection, ID: 9}}
	for _, ref := range []citizen.Ref{refs[1], refs[0], refs[0]} { // out of order, one twice
		for _, d := range must(ring.PersonDigests(nil, person, phone, second)) {
			entries = append(entries, citizen.IndexEntry{Digest: d, Ref: ref})
		}
	}
	stranger := must(ring.PersonDigests(nil, citizen.Person{Family: "Ли"}, must(citizen.ParsePhone("89990000000"))))
	if len(entries) != 3*4 || len(stranger) != 1 {
		t.Fatalf("%d entries, %d of a stranger", len(entries), len(stranger))
	}
	entries = append(entries, citizen.IndexEntry{Digest: stranger[0], Ref: citizen.Ref{Kind: citizen.RefInbound, ID: 3}})
	inTx(t, db, func(tx pgx.Tx) error { return citizen.WriteIndex(ctx, tx, entries) })
	inTx(t, db, func(tx pgx.Tx) error { return citizen.WriteIndex(ctx, tx, nil) })
	again := citizen.IndexEntry{Digest: stranger[0], Ref: citizen.Ref{Kind: citizen.RefRejection, ID: 4}}
	inTx(t, db, func(tx pgx.Tx) error { return citizen.AddToIndex(ctx, tx, append(entries, again)) }) // all but one are there
	if found := must(citizen.LookupIndex(ctx, db, stranger)); !slices.Equal(found, []citizen.Ref{again.Ref, {Kind: citizen.RefInbound, ID: 3}}) {
		t.Errorf("the stranger is found by %v", found)
	}

	searched := citizen.Person{Family: "КОРОЛЕВА", First: "Алена", BirthDate: person.BirthDate}
	for name, digests := range map[string][]citizen.Digest{
		"phone":        must(ring.PhoneDigests(phone)),
		"second phone": must(ring.PhoneDigests(second)),
		"snils":        must(ring.Digests(citizen.DigestSNILS, snils.Digits())),
		"name":         must(ring.Digests(citizen.DigestNameBirth, searched.NameBirth())),
	} {
		if found := must(citizen.LookupIndex(ctx, db, digests)); !slices.Equal(found, refs) {
			t.Errorf("%s finds %v", name, found)
		}
	}
	all := must(ring.PersonDigests(nil, person, phone, second))
	if found := must(citizen.LookupIndex(ctx, db, all)); !slices.Equal(found, refs) {
		t.Errorf("all of them find %v", found)
	}
}

func inTx(t *testing.T, db interface {
	Begin(context.Context) (pgx.Tx, error)
}, fn func(pgx.Tx) error) {
	t.Helper()
	tx := must(db.Begin(t.Context()))
	if err := fn(tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestKeysetIsReadFromFileOrSettingAndNeverShown(t *testing.T) {
	t.Parallel()
	set := must(citizen.NewKeyset())
	exported := must(set.Export())
	file := filepath.Join(t.TempDir(), "keyset.json")
	if err := os.WriteFile(file, exported, 0o600); err != nil {
		t.Fatal(err)
	}
	want := must(set.Digest([]byte("x")))
	for name, setting := range map[string]string{"file": file, "setting": " " + string(exported) + "\n"} {
		loaded, err := citizen.LoadKeyset(setting)
		if err != nil || must(loaded.Digest([]byte("x"))) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	secrets := regexp.MustCompile(`"value":\s*"([^"]+)"`).FindAllStringSubmatch(string(exported), -1)
	if len(secrets) != 2 {
		t.Fatalf("%d secrets in the export", len(secrets))
	}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	ring := citizen.NewKeyring(set, 1)
	key := newDataKey(t)
	logger.Info("x", "set", set, "ring", ring, "key", key)
	shown := log.String() + string(must(json.Marshal(set)))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, set); got != "***" {
			t.Errorf("%s gives %s", verb, got)
		}
		shown += fmt.Sprintf(verb, ring) + fmt.Sprintf(verb, key)
	}
	for _, cut := range []int{0, 1, len(exported) / 2, len(exported) - 2} {
		_, err := citizen.LoadKeyset(string(exported[:cut]) + " ")
		if err == nil {
			t.Errorf("took %d bytes of a key set", cut)
			continue
		}
		shown += err.Error()
	}
	for _, bad := range []string{"{}", `{"wrap": {}, "index": {}}`, strings.NewReplacer(`"wrap"`, `"index"`, `"index"`, `"wrap"`).Replace(string(exported)),
		`{"wrap":` + string(exported) + `,"index":` + string(exported) + `}`} {
		_, err := citizen.LoadKeyset(bad)
		if !errors.Is(err, citizen.ErrKeyset) {
			t.Errorf("took a bad key set: %v", err)
			continue
		}
		shown += err.Error()
	}
	_, err := citizen.LoadKeyset(string(exported[1:]))
	if err == nil {
		t.Fatal("took a key set without its brace")
	}
	shown += err.Error()
	for _, secret := range secrets {
		if strings.Contains(shown, secret[1]) {
			t.Error("a secret was shown")
		}
	}
}

func TestCommitmentNeedsTextAndSalt(t *testing.T) {
	t.Parallel()
	salt := citizen.NewSalt()
	c := citizen.Commitment([]byte("text"), salt)
	if c != citizen.Commitment([]byte("text"), salt) {
		t.Error("not the same twice")
	}
	if c == citizen.Commitment([]byte("text."), salt) || c == citizen.Commitment([]byte("text"), citizen.NewSalt()) {
		t.Error("another text or salt, the same commitment")
	}
	// Computed by another implementation of RFC 2104.
	known := citizen.Commitment([]byte("Вам назначена выплата"), citizen.Salt([]byte("0123456789abcdef")))
	if got := fmt.Sprintf("%x", known); got != "2903243255c553f4893a42ec9a5f9b343df9c4a0734ac901ea2b51e41c4818de" {
		t.Errorf("commitment %s", got)
	}
}

func BenchmarkSeal(b *testing.B) {
	key, text, row := citizen.DataKeyOf(b, make([]byte, 32)), make([]byte, 300), citizen.RowAAD("notifications", 1)
	dst := make([]byte, 0, 400)
	b.ReportAllocs()
	for b.Loop() {
		key.Seal(dst, text, row)
	}
}

func BenchmarkOpen(b *testing.B) {
	key, row := citizen.DataKeyOf(b, make([]byte, 32)), citizen.RowAAD("notifications", 1)
	sealed := key.Seal(nil, make([]byte, 300), row)
	dst := make([]byte, 0, 400)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Open(dst, sealed, row); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	ring := citizen.NewKeyring(must(citizen.NewKeyset()), 1)
	phone := must(citizen.ParsePhone("89036550550"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.PhoneDigest(phone); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNormalizeName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		citizen.NormalizeName("Королёва Алёна Петровна")
	}
}
