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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ekc/citizen"
	"ekc/postgres/measure"
)

// bench is one run: the private server, the files, and what was measured of them so far.
type bench struct {
	settings
	out     io.Writer
	server  *measure.Server
	keyset  string
	serial  int
	files   []file
	missing map[string]string // ways that are not to be had here
}

func newBench(ctx context.Context, s settings, out io.Writer) (_ *bench, err error) {
	keys, err := citizen.NewKeyset()
	if err != nil {
		return nil, err
	}
	exported, err := keys.Export()
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, out: out, keyset: string(exported), missing: map[string]string{}}
	if b.server, err = measure.Start(ctx, s.dir); err != nil {
		return nil, err
	}
	if err = b.makeFiles(); err != nil {
		return nil, errors.Join(err, b.server.Close())
	}
	return b, nil
}

// agency is whose lists these are; the catalogue has it.
const agency = "0002.000014"

// hub brings the file to a new hub on a new database, and waits until it can be approved.
func (b *bench) hub(ctx context.Context, f *file) (s sample, err error) {
	b.serial++
	database := fmt.Sprintf("list%d", b.serial)
	if _, err := b.server.Admin.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		return s, err
	}
	addr, err := freeAddr()
	if err != nil {
		return s, err
	}
	env := append(os.Environ(), "EKC_HTTP_ADDR="+addr, "EKC_DATABASE_URL="+b.server.Database(database), "EKC_KEYSET="+b.keyset, "EKC_LOG_LEVEL=warn",
		"EKC_STATE_DIR="+filepath.Join(b.server.Dir, database), "EKC_SMSC=[{name: nobody, addr: '127.0.0.1:9', system_id: ekc, senders: [{name: SFR}]}]")
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
		_, dropped := b.server.Admin.Exec(context.WithoutCancel(ctx), "DROP DATABASE "+database+" WITH (FORCE)")
		err = errors.Join(err, dropped)
	}()
	c := client{base: "http://" + addr, key: strings.TrimSpace(string(key))}
	if err := c.await(ctx, func() (bool, error) { return c.get(ctx, "/readyz", nil) == nil, nil }); err != nil {
		return s, err
	}
	pid := serve.Process.Pid
	began, cpu, server := time.Now(), measure.CPU(pid), b.server.CPU()
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
	s.seconds, s.cpu, s.server, s.peak = time.Since(began).Seconds(), measure.CPU(pid)-cpu, b.server.CPU()-server, measure.Peak(pid)
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
