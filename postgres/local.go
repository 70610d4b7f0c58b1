package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Local describes a private server: reached over a unix socket in a folder only its owner can enter, never over TCP.
type Local struct {
	// Dir holds everything: data, log, socket. It is made when it is missing and reopened, data and all, when it is there.
	// Run by root, the server works as postgres or nobody, and Dir is given to that user.
	Dir string
	// Volatile gives up durability for speed: a crash of the machine may lose or spoil the data. For tests only; a server that
	// is not volatile keeps what it has committed.
	Volatile bool
	// MaxConnections is the server's limit; zero means 100.
	MaxConnections int
	// SharedBuffers is the server's cache in megabytes; zero means 128.
	SharedBuffers int
	// Log hears of starts and stops; nil is silence. The server's own log is the file postgres.log in Dir.
	Log *slog.Logger
}

const (
	localUser     = "ekc"
	localDatabase = "ekc"
	localPort     = "5432"
	socketName    = "s"
	// maxSocketPath is sizeof(sockaddr_un.sun_path) less the closing zero.
	maxSocketPath = 107
)

// Server is a private server run as a direct child: it goes when this process goes, also by kill -9.
type Server struct {
	local  Local
	bin    binaries
	owner  owner
	socket string

	mu   sync.Mutex
	proc *process // nil when not running
}

// Start makes the cluster if it is not there, starts it, and returns when it answers. The caller stops it.
func Start(ctx context.Context, l Local) (*Server, error) {
	if l.Dir == "" {
		return nil, errors.New("start PostgreSQL: a folder for it is needed")
	}
	dir, err := filepath.Abs(l.Dir)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	l.Dir = dir
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{local: l}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("start PostgreSQL in %s: %w", dir, err)
	}
	if err := s.Restart(ctx); err != nil {
		return nil, err
	}
	if err := s.createDatabase(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL in %s: %w", dir, err), s.Stop())
	}
	return s, nil
}

// URL is for Config.URL: the server's one database, as its superuser.
func (s *Server) URL() string { return s.url(localDatabase) }

// PID is the process id of the server, or 0 when it is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.pid
}

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(localUser), Path: "/" + database}
	u.RawQuery = url.Values{"host": {s.socket}, "port": {localPort}}.Encode()
	return u.String()
}

func (s *Server) data() string       { return filepath.Join(s.local.Dir, "data") }
func (s *Server) unfinished() string { return s.data() + ".new" }
func (s *Server) logFile() string    { return filepath.Join(s.local.Dir, "postgres.log") }

// prepare finds the programs and the user, makes the folders, and runs initdb the first time.
func (s *Server) prepare(ctx context.Context) error {
	major, err := dataVersion(s.data())
	if err != nil {
		return err
	}
	if s.bin, err = findBinaries(ctx, major); err != nil {
		return err
	}
	if err := s.makeDir(major > 0); err != nil {
		return err
	}
	if s.owner, err = chooseOwner(ctx, s.local.Dir, s.bin); err != nil {
		return err
	}
	if s.socket, err = makeSocketDir(s.local.Dir, s.owner); err != nil {
		return err
	}
	if major == 0 {
		return s.initdb(ctx)
	}
	return s.owner.give(s.data())
}

// makeDir refuses a folder that holds something else: as root it is about to be given away.
func (s *Server) makeDir(used bool) error {
	if err := os.MkdirAll(filepath.Dir(s.local.Dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(s.local.Dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(s.local.Dir)
	if err != nil || used {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case filepath.Base(s.unfinished()), filepath.Base(s.logFile()), socketName:
		default:
			return fmt.Errorf("the folder holds something else (%s): choose an empty or a new one", e.Name())
		}
	}
	return nil
}

// makeSocketDir returns a folder only the owner can enter: inside dir, or, when that path would be too long for a socket, one
// in the system's temporary folder whose name follows from dir.
func makeSocketDir(dir string, o owner) (string, error) {
	socket := filepath.Join(dir, socketName)
	if tooLong(socket) {
		sum := sha256.Sum256([]byte(dir))
		socket = filepath.Join(os.TempDir(), "ekcpg-"+hex.EncodeToString(sum[:6]))
		if tooLong(socket) {
			return "", fmt.Errorf("the path is too long for a socket (%d bytes at most): choose a shorter one", maxSocketPath)
		}
	}
	err := os.Mkdir(socket, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(socket)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || (int(st.Uid) != os.Geteuid() && os.Geteuid() != 0) {
		return "", fmt.Errorf("%s is not a folder of ours: remove it", socket)
	}
	if err := os.Chmod(socket, 0o700); err != nil {
		return "", err
	}
	return socket, o.give(socket)
}

func tooLong(dir string) bool { return len(filepath.Join(dir, ".s.PGSQL."+localPort)) > maxSocketPath }

// initdb works in a folder that gets its name at the end: one that was interrupted is begun anew.
func (s *Server) initdb(ctx context.Context) error {
	unfinished := s.unfinished()
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	args := []string{"--pgdata", unfinished, "--username", localUser, "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C", "--lc-ctype", "C.UTF-8", "--no-instructions"}
	if s.local.Volatile {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin.dir, "initdb"), args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.local.Dir, s.bin.env(), s.owner.attr()
	if out, err := run(cmd); err != nil {
		return fmt.Errorf("initdb as %s: %w: %s", s.owner.name, err, lastLines(out, 3))
	}
	return os.Rename(unfinished, s.data())
}

// Restart starts the server again on the same folder and under the same URL, after Stop or Kill; running, it is stopped first.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.waitForPredecessor(ctx); err != nil {
		return fmt.Errorf("start PostgreSQL in %s: %w", s.local.Dir, err)
	}
	began := time.Now()
	proc, from, err := s.spawn()
	if err != nil {
		return fmt.Errorf("start PostgreSQL in %s: %w", s.local.Dir, err)
	}
	if err := s.waitReady(ctx, proc, from); err != nil {
		proc.signal(syscall.SIGQUIT)
		<-proc.done
		return fmt.Errorf("start PostgreSQL in %s: %w", s.local.Dir, err)
	}
	s.proc = proc
	s.local.Log.Info("private PostgreSQL started", "dir", s.local.Dir, "version", s.bin.major, "pid", proc.pid,
		"duration_ms", time.Since(began).Milliseconds())
	return nil
}

// spawn starts the postmaster and returns it with the length its log had before.
func (s *Server) spawn() (*process, int64, error) {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.Command(filepath.Join(s.bin.dir, "postgres"), s.args()...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.data(), s.bin.env(), s.owner.attr()
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(cmd)
	return proc, from, err
}

func (s *Server) args() []string {
	settings := [][2]string{
		{"listen_addresses", ""},
		{"port", localPort},
		{"unix_socket_directories", s.socket},
		{"unix_socket_permissions", "0700"},
		{"max_connections", strconv.Itoa(cmp.Or(s.local.MaxConnections, 100))},
		{"shared_buffers", strconv.Itoa(cmp.Or(s.local.SharedBuffers, 128)) + "MB"},
		{"jit", "off"},
		{"timezone", "UTC"},
		{"log_timezone", "UTC"},
		{"logging_collector", "off"},
		// Statements and details quote values, which may be somebody's phone.
		{"log_error_verbosity", "terse"},
		{"log_min_error_statement", "panic"},
		{"log_parameter_max_length", "0"},
		{"log_parameter_max_length_on_error", "0"},
	}
	if s.local.Volatile {
		settings = append(settings, [][2]string{
			{"fsync", "off"}, {"synchronous_commit", "off"}, {"full_page_writes", "off"},
			{"wal_level", "minimal"}, {"max_wal_senders", "0"}, {"autovacuum_naptime", "1h"},
		}...)
	}
	args := []string{"-D", s.data()}
	for _, kv := range settings {
		args = append(args, "-c", kv[0]+"="+kv[1])
	}
	return args
}

// waitReady watches the state the postmaster writes into its pid file (miscadmin.h, LOCK_FILE_LINE_PM_STATUS).
func (s *Server) waitReady(ctx context.Context, proc *process, logFrom int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until it is ready: %w", ctx.Err())
		case <-proc.done:
			return fmt.Errorf("it ended at once (%w): %s", proc.err, s.logSince(logFrom))
		case <-tick.C:
			pid, status := readPostmasterPID(s.data())
			if pid == proc.pid && status == "ready" {
				return nil
			}
		}
	}
}

func (s *Server) logSince(from int64) string {
	f, err := os.Open(s.logFile())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	out, err := io.ReadAll(io.NewSectionReader(f, from, 64<<10))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(out), 5)
}

func (s *Server) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, localDatabase).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE DATABASE `+localDatabase)
	return err
}

// Stop ends open sessions, writes everything down and returns when the server has gone. Not running, it does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	proc := s.proc
	s.proc = nil
	// Fast shutdown, then immediate, then none (PostgreSQL, "Shutting Down the Server").
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGINT, 30 * time.Second}, {syscall.SIGQUIT, 10 * time.Second}} {
		proc.signal(step.sig)
		if proc.endsWithin(step.wait) {
			s.local.Log.Info("private PostgreSQL stopped", "dir", s.local.Dir, "pid", proc.pid)
			return nil
		}
	}
	return fmt.Errorf("stop PostgreSQL in %s: it did not obey and was killed: %w", s.local.Dir, proc.kill())
}

// Kill is the crash of a server: SIGKILL to it and to every process it has, nothing written, nobody told. It returns when all
// have gone; Restart then recovers what was committed.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	proc := s.proc
	s.proc = nil
	if err := proc.kill(); err != nil {
		return fmt.Errorf("kill PostgreSQL in %s: %w", s.local.Dir, err)
	}
	return nil
}

// waitForPredecessor deals with the pid file of a server that was here before. One that is on its way out is waited for; the
// file of one that has gone is removed, because its number may belong to another process by now, and PostgreSQL would take
// that for itself.
func (s *Server) waitForPredecessor(ctx context.Context) error {
	began := time.Now()
	for {
		pid, status := readPostmasterPID(s.data())
		if pid == 0 {
			return nil
		}
		if !isPostmasterOf(pid, s.data()) {
			err := os.Remove(filepath.Join(s.data(), "postmaster.pid"))
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		patience := 15 * time.Second
		if status == "ready" { // it will hear of its parent's end at any moment, or it is at work
			patience = 2 * time.Second
		}
		if time.Since(began) > patience {
			return fmt.Errorf("another server (process %d) works on this folder: stop it, or choose another folder", pid)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// readPostmasterPID returns zero when there is no pid file.
func readPostmasterPID(data string) (pid int, status string) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(text), "\n")
	pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	if len(lines) > 7 {
		status = strings.TrimSpace(lines[7])
	}
	return pid, status
}

// dataVersion returns the major version that made the data folder, zero when there is none.
func dataVersion(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
