package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// roomiest is the folder for data that need not last: in memory if there is room for it, else the usual one.
func roomiest() string {
	const (
		memory = "/dev/shm"
		room   = 2 << 30
	)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) >= room && syscall.Access(memory, 2 /* W_OK */) == nil {
		return memory
	}
	return os.TempDir()
}

func ownDir(parent string) (string, error) { return TempDir(parent, "ekcpg", "data/postmaster.pid") }

// sweep waits for its standard input to end, which it does when the test process ends in whatever way, then for the server
// to go, and removes the folder.
const sweep = `cat >/dev/null
while pid=$(head -n 1 "$1/$2" 2>/dev/null) && [ -e "/proc/$pid/exe" ]; do sleep 0.1; done
rm -rf -- "$1"`

// TempDir makes a folder for a server that tests share. It is removed when this process has ended, also by kill -9, because a process
// that never learns when its last test is over cannot do it itself; and not before the server has gone, whose process id stands in the
// first line of the folder's pidFile.
func TempDir(parent, pattern, pidFile string) (string, error) {
	dir, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return "", err
	}
	cmd := exec.Command("/bin/sh", "-c", sweep, "sh", dir, pidFile)
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
