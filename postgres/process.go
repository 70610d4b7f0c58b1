package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child that ends with its parent.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended and err is set
	err  error
}

// startProcess starts cmd on a thread that lives as long as the child, because Pdeathsig follows the thread (prctl(2),
// PR_SET_PDEATHSIG), and in a group of its own, so that Ctrl-C in a terminal reaches only the parent.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	cmd.SysProcAttr.Setpgid = true
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		defer close(p.done)
		if err := cmd.Start(); err != nil {
			p.err = err
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		if p.err = cmd.Wait(); p.err == nil {
			p.err = errors.New("exit status 0")
		}
	}()
	return p, <-started
}

// run is for programs that end by themselves; they, too, end with the parent.
func run(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := startProcess(cmd)
	if err != nil {
		return "", err
	}
	<-p.done
	if cmd.ProcessState.Success() {
		return out.String(), nil
	}
	return out.String(), p.err
}

func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(p.pid, sig)
	}
}

func (p *process) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// kill stops the process first, so that it can neither start nor tidy up after children while they are counted.
func (p *process) kill() error {
	p.signal(syscall.SIGSTOP)
	for stopping := time.Now(); time.Since(stopping) < time.Second; time.Sleep(time.Millisecond) {
		if state, _ := procStat(p.pid); state == "T" || !alive(p.pid) {
			break
		}
	}
	children := childrenOf(p.pid)
	p.signal(syscall.SIGKILL)
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if !p.endsWithin(10 * time.Second) {
		return fmt.Errorf("process %d does not end", p.pid)
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, pid := range children {
		for alive(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d does not end", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func childrenOf(parent int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			continue
		}
		if _, ppid := procStat(pid); ppid == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// alive is false for a zombie: it holds nothing any more.
func alive(pid int) bool {
	state, _ := procStat(pid)
	return state != "" && state != "Z" && state != "X"
}

// procStat reads state and parent from /proc/PID/stat, whose second field, in brackets, may hold anything (proc(5)).
func procStat(pid int) (state string, ppid int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return "", 0
	}
	ppid, _ = strconv.Atoi(fields[1])
	return fields[0], ppid
}

// isPostmasterOf tells a living server from a stranger that has got its number: a postmaster works in its data folder.
func isPostmasterOf(pid int, data string) bool {
	if !alive(pid) {
		return false
	}
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	own, err := os.Stat(data)
	return err != nil || os.SameFile(cwd, own)
}
