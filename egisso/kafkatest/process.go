package kafkatest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that ends with its parent.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
}

// startProcess starts cmd on a thread that lives as long as the child, because Pdeathsig follows the thread (prctl(2),
// PR_SET_PDEATHSIG), and in a group of its own, so that Ctrl-C in a terminal reaches only the parent.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		defer close(p.done)
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	return p, <-started
}

func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(p.pid, sig)
	}
}

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop reports whether it ended by itself within the time; it has ended either way.
func (p *process) stop(within time.Duration) bool {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		p.kill()
		return false
	}
}

// pidFile tells the sweeper which process to wait for.
const pidFile = "pid"

// sweep waits for its standard input to end, which it does when the test process ends in whatever way, then for the broker to go,
// and removes the folder.
const sweep = `cat >/dev/null
while pid=$(cat "$1/pid" 2>/dev/null) && [ -e "/proc/$pid/exe" ]; do sleep 0.1; done
rm -rf -- "$1"`

// tempDir makes a folder that is removed when this process has ended, also by kill -9.
func tempDir() (string, error) {
	dir, err := os.MkdirTemp("", "ekckafka")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("/bin/sh", "-c", sweep, "sh", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Bare descriptors: an os.File would close its end when the collector finds it.
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return "", fmt.Errorf("watch over %s: %w", dir, err)
	}
	stdin := os.NewFile(uintptr(ends[0]), "stdin")
	defer stdin.Close()
	cmd.Stdin = stdin
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("watch over %s: %w", dir, err)
	}
	go func() { _ = cmd.Wait() }()
	return dir, nil
}
