package harness

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// CPUTime is the time that process pid has used since it started, in its own code and all in all, the kernel's work for it
// included (fields 14 and 15 of /proc/PID/stat).
func CPUTime(pid int) (user, all time.Duration, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The command's name may hold spaces, so the fields are counted from its closing parenthesis.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks [2]int64
	for i, f := range fields[11:13] {
		if ticks[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	const tick = time.Second / 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(ticks[0]) * tick, time.Duration(ticks[0]+ticks[1]) * tick, nil
}

// Memory is one row of /proc/PID/status in bytes: VmRSS for what is resident now, VmHWM for its peak.
func Memory(pid int, row string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		rest, ok := strings.CutPrefix(line, row+":")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		return kb << 10, err
	}
	return 0, fmt.Errorf("/proc/%d/status has no row %s", pid, row)
}
