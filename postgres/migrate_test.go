package postgres

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"
)

func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

func TestMigrateAppliesEachFileOnceInOrder(t *testing.T) {
	t.Parallel()
	db := emptyDatabase(t)
	first := files("0001_a_one.sql", `CREATE TABLE one (); CREATE TABLE two ();`)
	if err := check(t.Context(), db, first); !errors.Is(err, ErrBehind) {
		t.Errorf("an empty database: %v", err)
	}
	second := files("0001_a_one.sql", `CREATE TABLE one (); CREATE TABLE two ();`, "0002_b_three.sql", `DROP TABLE two; CREATE TABLE three ();`)
	for _, step := range []struct {
		files fstest.MapFS
		want  []string
	}{{first, []string{"0001_a_one"}}, {first, nil}, {second, []string{"0002_b_three"}}, {second, nil}} {
		got, err := migrate(t.Context(), db, step.files)
		if err != nil || !slices.Equal(got, step.want) {
			t.Errorf("applied %v (%v), want %v", got, err, step.want)
		}
	}
	// The program of the version before runs beside the new one.
	if err := check(t.Context(), db, first); err != nil {
		t.Errorf("a database newer than the program: %v", err)
	}
	if got, err := migrate(t.Context(), db, first); err != nil || got != nil {
		t.Errorf("migrating a newer database: %v, %v", got, err)
	}
	if !tables(t, db, "one", "three") || tables(t, db, "two") {
		t.Error("the tables are not those of the last file")
	}
}

func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		applied, files fstest.MapFS
		want           string
	}{
		"a file changed after it was applied": {
			files("0001_a.sql", `CREATE TABLE a ()`), files("0001_a.sql", `CREATE TABLE a (n int)`), ErrChanged.Error()},
		"a number below one that was applied": {
			files("0002_b.sql", ``), files("0001_a.sql", ``, "0002_b.sql", ``), "next free number"},
		"a gap where the database has a file": {
			files("0001_a.sql", ``, "0002_b.sql", ``), files("0001_a.sql", ``, "0003_c.sql", ``), "0002_b"},
		"a number used twice": {
			nil, files("0001_a.sql", ``, "0001_b.sql", ``), "same number"},
		"a name without a number": {
			nil, files("first.sql", ``), "0007_owner_name.sql"},
		"a fault, naming its line": {
			nil, files("0001_a.sql", "CREATE TABLE a ();\n-- ё\nCREATE TABEL b ();"), "0001_a: line 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := emptyDatabase(t)
			if c.applied != nil {
				if _, err := migrate(t.Context(), db, c.applied); err != nil {
					t.Fatal(err)
				}
			}
			_, err := migrate(t.Context(), db, c.files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("migrate says %v, want %q", err, c.want)
			}
			if err := check(t.Context(), db, c.files); err == nil {
				t.Error("check finds nothing wrong")
			}
		})
	}
}

func TestMigrateLeavesNothingOfAFileThatFails(t *testing.T) {
	t.Parallel()
	db := emptyDatabase(t)
	applied, err := migrate(t.Context(), db, files("0001_a.sql", `CREATE TABLE a ()`, "0002_b.sql", `CREATE TABLE b (); SELECT 1/0`))
	if err == nil || !slices.Equal(applied, []string{"0001_a"}) {
		t.Fatalf("applied %v, %v", applied, err)
	}
	if !tables(t, db, "a") || tables(t, db, "b") {
		t.Error("a file must be applied whole or not at all")
	}
	if applied, err = migrate(t.Context(), db, files("0001_a.sql", `CREATE TABLE a ()`, "0002_b.sql", `CREATE TABLE b ()`)); err != nil ||
		!slices.Equal(applied, []string{"0002_b"}) {
		t.Errorf("mended: applied %v, %v", applied, err)
	}
}

func TestMigratorsAtOnceApplyEachFileOnce(t *testing.T) {
	t.Parallel()
	db := emptyDatabase(t)
	// CREATE TABLE fails the second time, so a file applied twice shows as an error.
	all := files("0001_a.sql", `CREATE TABLE a ()`, "0002_b.sql", `CREATE TABLE b ()`, "0003_c.sql", `CREATE TABLE c (); SELECT pg_sleep(0.05)`)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var applied []string
	for range 4 {
		wg.Go(func() {
			names, err := migrate(t.Context(), db, all)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, names...)
		})
	}
	wg.Wait()
	slices.Sort(applied)
	if want := []string{"0001_a", "0002_b", "0003_c"}; !slices.Equal(applied, want) {
		t.Errorf("applied %v, want %v", applied, want)
	}
}

func TestEmbeddedMigrationsApply(t *testing.T) {
	t.Parallel()
	db := emptyDatabase(t)
	if _, err := Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), db); err != nil {
		t.Error(err)
	}
}

func tables(t *testing.T, db *pgxpool.Pool, names ...string) bool {
	t.Helper()
	var n int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY ($1)`, names).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n == len(names)
}
