package measure

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// CPU is what a process has used in seconds, by user and system.
func CPU(pid int) float64 { return ticks(pid, 11, 12) }

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

func childrenOf(pid int) (all []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for _, s := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(s); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// Resident is VmRSS of proc(5), the memory that a process has, in bytes.
func Resident(pid int) int { return memory(pid, "VmRSS:") }

// Peak is VmHWM of proc(5), the most memory that a process ever had, in bytes.
func Peak(pid int) int { return memory(pid, "VmHWM:") }

func memory(pid int, field string) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			return kb << 10
		}
	}
	return 0
}

// Load is the load average of the last minute: above the number of cores the neighbours are being measured too.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
