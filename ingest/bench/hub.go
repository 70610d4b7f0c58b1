package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"ekc/citizen"
	"ekc/postgres"
)

// bench is one run: the private server, the files, and what was measured of them so far.
type bench struct {
	settings
	out     io.Writer
	server  *postgres.Server
	admin   *pgx.Conn
	keyset  string
	version string
	made    bool // dir is ours to remove
	serial  int
	files   []file
	missing map[string]string // ways that are not to be had here
}

func newBench(ctx context.Context, s settings, out io.Writer) (_ *bench, err error) {
	b := &bench{settings: s, out: out, missing: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "ekc-bench-"); err != nil {
			return nil, err
		}
		b.made = true
		if err = os.Chmod(b.dir, 0o755); err != nil { // the server may run as another user
			return nil, err
		}
	}
	keys, err := citizen.NewKeyset()
	if err != nil {
		return nil, err
	}
	exported, err := keys.Export()
	if err != nil {
		return nil, err
	}
	b.keyset = string(exported)
	if err = b.makeFiles(); err != nil {
		return nil, err
	}
	if b.server, err = postgres.Start(ctx, postgres.Local{Dir: filepath.Join(b.dir, "pg"), SharedBuffers: 1024}); err != nil {
		return nil, err
	}
	if b.admin, err = pgx.Connect(ctx, b.url("postgres")); err != nil {
		return nil, err
	}
	return b, b.admin.QueryRow(ctx, `SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)`).Scan(&b.version)
}

func (b *bench) close() (err error) {
	if b.admin != nil {
		_ = b.admin.Close(context.Background())
	}
	if b.server != nil {
		err = b.server.Stop()
	}
	if b.made {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

// url is that of another database of the server.
func (b *bench) url(database string) string {
	u, err := url.Parse(b.server.URL())
	if err != nil {
		panic(err) // the server made it
	}
	u.Path = "/" + database
	return u.String()
}

// agency is whose lists these are; the catalogue has it.
const agency = "0002.000014"

// hub brings the file to a new hub on a new database, and waits until it can be approved.
func (b *bench) hub(ctx context.Context, f *file) (s sample, err error) {
	b.serial++
	database := fmt.Sprintf("list%d", b.serial)
	if _, err := b.admin.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		return s, err
	}
	addr, err := freeAddr()
	if err != nil {
		return s, err
	}
	env := append(os.Environ(), "EKC_HTTP_ADDR="+addr, "EKC_DATABASE_URL="+b.url(database), "EKC_KEYSET="+b.keyset, "EKC_LOG_LEVEL=warn",
		"EKC_STATE_DIR="+filepath.Join(b.dir, database), "EKC_SMSC=[{name: nobody, addr: '127.0.0.1:9', system_id: ekc, senders: [{name: SFR}]}]")
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, b.ekc, args...)
		cmd.Env, cmd.Stderr = env, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	if err := command("migrate").Run(); err != nil {
		return s, fmt.Errorf("migrate: %w", err)
	}
	key, err := command("keys", "create", "bench", "--role", "list_loader", "--agency", agency).Output()
	if err != nil {
		return s, fmt.Errorf("make a key: %w", err)
	}
	serve := command("serve", "--roles", "api")
	serve.Cancel = func() error { return serve.Process.Signal(os.Interrupt) }
	if err := serve.Start(); err != nil {
		return s, err
	}
	defer func() {
		_ = serve.Process.Signal(os.Interrupt)
		err = errors.Join(err, serve.Wait())
		_, dropped := b.admin.Exec(context.WithoutCancel(ctx), "DROP DATABASE "+database+" WITH (FORCE)")
		err = errors.Join(err, dropped)
	}()
	c := client{base: "http://" + addr, key: strings.TrimSpace(string(key))}
	if err := c.await(ctx, func() (bool, error) { return c.get(ctx, "/readyz", nil) == nil, nil }); err != nil {
		return s, err
	}
	pid := serve.Process.Pid
	began, cpu, server := time.Now(), cpuOf(pid), b.serverCPU()
	id, err := c.upload(ctx, f.path)
	if err != nil {
		return s, err
	}
	s.upload = time.Since(began).Seconds()
	var l struct {
		State, Reason  string
		Rows, Accepted int
	}
	err = c.await(ctx, func() (bool, error) {
		err := c.get(ctx, "/v1/lists/"+id, &l)
		return l.State != "receiving" && l.State != "checking", err
	})
	if err != nil {
		return s, err
	}
	s.seconds, s.cpu, s.server, s.peak = time.Since(began).Seconds(), cpuOf(pid)-cpu, b.serverCPU()-server, peakOf(pid)
	if l.State != "ready" || l.Rows != b.rows || l.Accepted != b.rows {
		return s, fmt.Errorf("the list is %s with %d rows, %d accepted: %s", l.State, l.Rows, l.Accepted, l.Reason)
	}
	return s, nil
}

// freeAddr is an address on loopback that was free just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

type client struct{ base, key string }

func (c *client) get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	return c.do(r, into)
}

func (c *client) do(r *http.Request, into any) error {
	r.Header.Set("Authorization", "Bearer "+c.key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		return fmt.Errorf("%s: %s %s, %w", r.URL.Path, answer.Status, body, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// upload sends the file as it is read, and returns the list's id.
func (c *client) upload(ctx context.Context, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var head, tail bytes.Buffer
	form := multipart.NewWriter(&head)
	if err := errors.Join(form.WriteField("name", "bench"), form.WriteField("ordered_by", "bench")); err != nil {
		return "", err
	}
	if _, err := form.CreateFormFile("file", filepath.Base(path)); err != nil {
		return "", err
	}
	tail.WriteString("\r\n--" + form.Boundary() + "--\r\n")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/lists", io.MultiReader(&head, file, &tail))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	var ref struct{ ID string }
	err = c.do(r, &ref)
	return ref.ID, err
}

// patience is how long anything may take.
const patience = 20 * time.Minute

func (c *client) await(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// peakOf is VmHWM of proc(5), the most memory that a process ever had, in bytes.
func peakOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			return kb << 10
		}
	}
	return 0
}

// cpuOf is what a process has used in seconds.
func cpuOf(pid int) float64 { return ticks(pid, 11, 12) }

// serverCPU is what PostgreSQL has used: the server with its children that have ended, and those there are.
func (b *bench) serverCPU() float64 {
	pid := b.server.PID()
	all := ticks(pid, 11, 12, 13, 14)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			all += cpuOf(n)
		}
	}
	return all
}

// ticks adds up fields of /proc/PID/stat, counted from its state on, in seconds: USER_HZ is 100 on every machine Go runs on.
func ticks(pid int, fields ...int) (seconds float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name stands in brackets and may hold anything.
	all := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	for _, i := range fields {
		if n, err := strconv.Atoi(all[i]); err == nil {
			seconds += float64(n) / 100
		}
	}
	return seconds
}
