package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"ekc/postgres/measure"
)

// roleVariable makes a copy of this program one of the roles: it obeys orders on its standard input, one JSON line each, and answers
// every one with a line. It ends when its input does, and with its parent.
const roleVariable = "BENCH_ROLE"

// order is what a child is told.
type order struct {
	Op      string        `json:"op"`
	List    int64         `json:"list,omitempty"`
	Agency  string        `json:"agency,omitempty"`
	Lane    int16         `json:"lane,omitempty"`
	N       int           `json:"n,omitempty"`
	Digests int           `json:"digests,omitempty"`
	Addr    string        `json:"addr,omitempty"`
	URL     string        `json:"url,omitempty"`
	File    string        `json:"file,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
}

// answer is what it says. CPU and RSS are the child's own, at the end of the order.
type answer struct {
	Err     string          `json:"err,omitempty"`
	Seconds float64         `json:"seconds,omitempty"` // what the order took
	CPU     float64         `json:"cpu"`               // seconds since the child began, user and system
	RSS     int             `json:"rss"`               // bytes
	N       int             `json:"n,omitempty"`
	Addr    string          `json:"addr,omitempty"`
	Waits   []time.Duration `json:"waits,omitempty"`
	SMSC    smscCounts      `json:"smsc,omitzero"`
}

// role performs orders; its end is called when there will be no more.
type role interface {
	perform(o order) (answer, error)
	end()
}

func serveRole(name string) int {
	var r role
	switch name {
	case "smsc":
		r = &smscRole{}
	case "wire":
		r = wireRole{}
	case "hub":
		r = &hubRole{}
	default:
		fmt.Fprintln(os.Stderr, "no such role:", name)
		return 2
	}
	defer r.end()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		switch err := in.Decode(&o); {
		case errors.Is(err, io.EOF):
			return 0
		case err != nil:
			fmt.Fprintln(os.Stderr, "order:", err)
			return 1
		}
		began := time.Now()
		a, err := r.perform(o)
		if a.Seconds == 0 {
			a.Seconds = time.Since(began).Seconds()
		}
		if err != nil {
			a.Err = err.Error()
		}
		a.CPU, a.RSS = ownCPU(), measure.Resident(os.Getpid())
		if err := out.Encode(a); err != nil {
			return 1
		}
	}
}

// child is a copy of this program in a role.
type child struct {
	name string
	in   io.WriteCloser
	out  *bufio.Reader
	done chan struct{}
}

// startChild starts a role; it is killed when ctx ends, so that no order outlives an interrupt.
func startChild(ctx context.Context, name string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c := &child{name: name, in: in, out: bufio.NewReader(out), done: make(chan struct{})}
	if err := startWithParent(cmd, c.done); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	return c, nil
}

// startWithParent starts cmd so that it is killed when this process ends in any way; done is closed when it has gone. The thread stays
// as long as the child, because the signal follows the thread (prctl(2), PR_SET_PDEATHSIG).
func startWithParent(cmd *exec.Cmd, done chan struct{}) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is seen by what it answered
		}
	}()
	return <-started
}

func (c *child) do(o order) (answer, error) {
	var a answer
	line, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return a, fmt.Errorf("%s %s: %w", c.name, o.Op, err)
	}
	if line, err = c.out.ReadBytes('\n'); err != nil {
		return a, fmt.Errorf("%s %s: it ended: %w", c.name, o.Op, err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("%s %s: %w", c.name, o.Op, err)
	}
	if a.Err != "" {
		return a, fmt.Errorf("%s %s: %s", c.name, o.Op, a.Err)
	}
	return a, nil
}

// stop lets the child end by itself.
func (c *child) stop() {
	_ = c.in.Close()
	<-c.done
}

func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
