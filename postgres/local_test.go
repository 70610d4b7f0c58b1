package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// childDir makes the test binary play the program that embeds a server: it starts one there and waits to be killed.
const childDir = "EKC_POSTGRES_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	code := m.Run()
	stopShared()
	os.Exit(code)
}

func child(dir string) int {
	srv, err := Start(context.Background(), Local{Dir: dir, Volatile: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("pid", srv.PID())
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the test has ended, however it does
	if err := srv.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

var (
	sharedMu     sync.Mutex
	sharedServer *Server
)

// emptyDatabase gives a database of its own, without a schema, on one server for all tests of this package.
func emptyDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	srv := shared(t)
	admin := pool(t, Config{URL: srv.url("postgres"), MaxConns: 1})
	name := "t_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec(t.Context(), `CREATE DATABASE `+name); err != nil {
		t.Fatal(err)
	}
	return pool(t, Config{URL: srv.url(name)})
}

func shared(t *testing.T) *Server {
	t.Helper()
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if sharedServer == nil {
		dir, err := os.MkdirTemp("", "ekcpg")
		if err != nil {
			t.Fatal(err)
		}
		srv, err := Start(context.Background(), Local{Dir: dir, Volatile: true})
		if err != nil {
			_ = os.RemoveAll(dir)
			t.Fatal(err)
		}
		sharedServer = srv
	}
	return sharedServer
}

func stopShared() {
	if sharedServer != nil {
		_ = sharedServer.Stop()
		_ = os.RemoveAll(sharedServer.local.Dir)
	}
}

func pool(t *testing.T, c Config) *pgxpool.Pool {
	t.Helper()
	p, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// shortDir is outside the folders of package testing, whose names are long and closed to other users.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ekcpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, l Local) *Server {
	t.Helper()
	srv, err := Start(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func TestKilledServerKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	srv := start(t, Local{Dir: shortDir(t)})
	db := pool(t, Config{URL: srv.URL()})
	if _, err := db.Exec(t.Context(), `CREATE TABLE kept (n int)`); err != nil {
		t.Fatal(err)
	}
	open, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback(context.Background())
	if _, err := db.Exec(t.Context(), `INSERT INTO kept VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Exec(t.Context(), `INSERT INTO kept VALUES (2)`); err != nil {
		t.Fatal(err)
	}
	pid := srv.PID()
	family := append(childrenOf(pid), pid)
	if len(family) < 4 {
		t.Fatalf("a server has more processes than %v", family)
	}
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range family {
		if alive(pid) {
			t.Errorf("process %d outlives Kill", pid)
		}
	}
	if _, err := os.Stat(filepath.Join(srv.data(), "postmaster.pid")); err != nil {
		t.Errorf("a server that was killed cannot have tidied up: %v", err)
	}
	if _, err := db.Exec(t.Context(), `SELECT 1`); !IsUnavailable(err) {
		t.Errorf("a killed server must count as unavailable: %v", err)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sum int
	if err := db.QueryRow(t.Context(), `SELECT coalesce(sum(n), 0) FROM kept`).Scan(&sum); err != nil || sum != 1 {
		t.Errorf("after the crash the rows sum up to %d (%v), want the committed 1", sum, err)
	}
}

func TestStartReopensAFolderAndMindsAStrangersProcessNumber(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	srv := start(t, Local{Dir: dir, Volatile: true})
	if _, err := pool(t, Config{URL: srv.URL()}).Exec(t.Context(), `CREATE TABLE kept ()`); err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	// What a killed server leaves behind, when its number has been given to another process of the same user.
	stranger := exec.Command("/bin/sleep", "600")
	stranger.Dir, stranger.SysProcAttr = "/", srv.owner.attr()
	proc, err := startProcess(stranger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proc.signal(syscall.SIGKILL)
		<-proc.done
	})
	stale := fmt.Sprintf("%d\n%s\n0\n5432\n%s\n\n\nready\n", proc.pid, srv.data(), srv.socket)
	if err := os.WriteFile(filepath.Join(srv.data(), "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, Local{Dir: dir, Volatile: true})
	if !tables(t, pool(t, Config{URL: again.URL()}), "kept") {
		t.Error("the data of the first run is not there")
	}
}

func TestStartWorksUnderALongPath(t *testing.T) {
	t.Parallel()
	top := shortDir(t)
	if err := os.Chmod(top, 0o755); err != nil { // as root the server is another user
		t.Fatal(err)
	}
	srv := start(t, Local{Dir: filepath.Join(top, strings.Repeat("long/", 25), "pg"), Volatile: true})
	t.Cleanup(func() { _ = os.RemoveAll(srv.socket) })
	pool(t, Config{URL: srv.URL()})
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	busy := start(t, Local{Dir: shortDir(t), Volatile: true})
	foreign := shortDir(t)
	if err := os.WriteFile(filepath.Join(foreign, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := shortDir(t)
	if err := os.Mkdir(filepath.Join(old, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ dir, want string }{
		"a folder another server works on":   {busy.local.Dir, "another server"},
		"a folder with something else":       {foreign, "letter.txt"},
		"data of a version that is not here": {old, "PostgreSQL 9"},
		"no folder":                          {"", "folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, err := Start(t.Context(), Local{Dir: c.dir, Volatile: true})
			if err == nil {
				_ = srv.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// The parent is killed, so nothing but the kernel can take the server down with it.
func TestServerGoesWithItsParent(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	parent, pid := startChild(t, dir, nil)
	if !alive(pid) {
		t.Fatalf("server %d is not running", pid)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("server %d outlives the kill -9 of its parent", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	start(t, Local{Dir: dir, Volatile: true})
}

// Inside a user namespace (unshare -r) root has no other user to become, and PostgreSQL does not run as root.
func TestStartAsRootOfAUserNamespace(t *testing.T) {
	t.Parallel()
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = attr
	if err := probe.Run(); err != nil {
		t.Skipf("this machine makes no user namespaces: %v", err)
	}
	_, pid := startChild(t, shortDir(t), attr)
	if !alive(pid) {
		t.Errorf("server %d is not running", pid)
	}
}

// startChild returns a process that has started a server, and the number of that server.
func startChild(t *testing.T, dir string, attr *syscall.SysProcAttr) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	var pid int
	if _, scan := fmt.Sscanf(line, "pid %d", &pid); scan != nil {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return cmd, pid
}
