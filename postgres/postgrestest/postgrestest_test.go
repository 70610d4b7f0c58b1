package postgrestest_test

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ekc/postgres"
	"ekc/postgres/postgrestest"
)

func TestNewGivesEveryTestItsOwnMigratedDatabase(t *testing.T) {
	t.Parallel()
	a, b := postgrestest.New(t), postgrestest.New(t)
	if err := postgres.Check(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Exec(t.Context(), `CREATE TABLE mine ()`); err != nil {
		t.Fatal(err)
	}
	var there bool
	if err := b.QueryRow(t.Context(), `SELECT to_regclass('mine') IS NOT NULL`).Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("one test's table is seen in the other's database")
	}
}

func TestDurableKeepsWhatWasCommittedWhenKilled(t *testing.T) {
	t.Parallel()
	srv := postgrestest.Durable(t)
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: srv.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := pool.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&value); err != nil || value != "on" {
			t.Errorf("%s is %q (%v), want on", setting, value, err)
		}
	}
	if _, err := pool.Exec(t.Context(), `CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n`); err != nil {
		t.Fatal(err)
	}
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err = pool.Exec(t.Context(), `SELECT 1`)
	if !postgres.IsUnavailable(err) {
		t.Errorf("a killed server must count as unavailable, got %v", err)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM kept`).Scan(&n); err != nil || n != 1000 {
		t.Errorf("after kill and restart: %d rows of 1000, %v", n, err)
	}
}

// holds makes TestHold, in a child of TestClusterGoesWithAKilledTestProcess, keep its database until it is killed.
const holds = "EKC_POSTGRESTEST_HOLD"

func TestHold(t *testing.T) {
	if os.Getenv(holds) == "" {
		return
	}
	fmt.Println(postgrestest.NewURL(t))
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

func TestClusterGoesWithAKilledTestProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHold$")
	cmd.Env = append(os.Environ(), holds+"=1", "EKC_TEST_DATABASE_URL=")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	u, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	socket := u.Query().Get("host")
	if _, err := os.Stat(socket); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Dir(socket)); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s outlives its test process", filepath.Dir(socket))
		}
	}
}

func TestProcessesShareAServerByURL(t *testing.T) {
	t.Parallel()
	srv := postgrestest.Durable(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestNew", "-test.v")
			cmd.Env = append(os.Environ(), "EKC_TEST_DATABASE_URL="+srv.URL())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: srv.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var templates, left int
	const sql = `SELECT count(*) FILTER (WHERE datname LIKE 'ekc\_template\_%'), count(*) FILTER (WHERE datname LIKE 'ekc\_test\_%') FROM pg_database`
	if err := pool.QueryRow(t.Context(), sql).Scan(&templates, &left); err != nil || templates != 1 || left != 0 {
		t.Errorf("%d templates, want 1; %d databases of tests left, want 0; %v", templates, left, err)
	}
}
