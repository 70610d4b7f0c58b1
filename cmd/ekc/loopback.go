package main

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// raiseLoopback brings the loopback interface up where it is down, as in a network namespace just made (`unshare -rn`). It does
// nothing where it is up; what it may not do, the demo finds out at the first connection.
func raiseLoopback() error {
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagUp != 0 {
		return nil // another name, or another system: nothing to raise
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("the loopback interface is down and cannot be raised: %w", err)
	}
	return nil
}
