package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ekc/postgres/postgrestest"
)

func TestRestoredDatabaseIsBehindItsStateFile(t *testing.T) {
	t.Parallel()
	pool, w := postgrestest.New(t), NewWriter()
	ctx, dir := t.Context(), t.TempDir()
	if err := NewStateFile(dir).Compare(ctx, pool); err != nil {
		t.Errorf("a first start: %v", err)
	}
	f := NewStateFile(dir)
	save := func() {
		t.Helper()
		if err := f.Save(ctx, pool); err != nil {
			t.Fatal(err)
		}
		if err := NewStateFile(dir).Compare(ctx, pool); err != nil {
			t.Fatalf("saved and not found again: %v", err)
		}
	}
	save() // of an empty journal
	mustAppend(t, pool, w, attempts(1, 300)...)
	mustPlace(t, pool)
	save()
	mustAppend(t, pool, w, attempts(2, 40)...)
	mustPlace(t, pool)
	save()

	// Restored from a dump that had only the first 300.
	if _, err := pool.Exec(ctx, `UPDATE ranges SET count = 300 WHERE position = 0; DELETE FROM ranges WHERE position >= 300; DELETE FROM journal WHERE list_no = 2`); err != nil {
		t.Fatal(err)
	}
	behind := func(what string) {
		t.Helper()
		if err := NewStateFile(dir).Compare(ctx, pool); !errors.Is(err, ErrBehind) {
			t.Errorf("%s: %v", what, err)
		}
		for _, f := range []*StateFile{f, NewStateFile(dir)} {
			if err := f.Save(ctx, pool); !errors.Is(err, ErrBehind) {
				t.Errorf("%s: the file was overwritten: %v", what, err)
			}
		}
	}
	behind("the end is missing")
	// It serves reads meanwhile, and these are journalled: the size catches up, with another history.
	mustAppend(t, pool, w, attempts(3, 41)...)
	mustPlace(t, pool)
	behind("another history of the same length")

	if err := f.Accept(ctx, pool); err != nil {
		t.Fatal(err)
	}
	if err := NewStateFile(dir).Compare(ctx, pool); err != nil {
		t.Errorf("after recover: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestStateFileThatCannotBeReadIsNoFirstStart(t *testing.T) {
	t.Parallel()
	pool := postgrestest.New(t)
	for name, text := range map[string]string{
		"empty": "", "other words": "position 5\n", "no hash": "journal 5\n", "short hash": "journal 5 abcd\n", "negative": "journal -5 00\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "position"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := NewStateFile(dir).Compare(t.Context(), pool); err == nil || errors.Is(err, ErrBehind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
