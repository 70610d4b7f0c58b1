package kafkatest

import (
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
