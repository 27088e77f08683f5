package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What only Linux says of a process while it lives; elsewhere the figures are
// zero, and "(Linux only)" in the tables.

// peakMB is the most memory the process has had resident, in MB.
func (s *server) peakMB(b *testing.B) float64 {
	b.Helper()
	return readPeak(s.cmd.Process.Pid)
}

// readPeak returns zero for a process that is gone.
func readPeak(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0]) // the kernel's own number
			return float64(kb) * 1024 / 1e6
		}
	}
	return 0
}

func (s *server) usedCPU() time.Duration { return readStat(s.cmd.Process.Pid).own }

// postgresCPU is the processor time of the server, all its processes together.
func (w *world) postgresCPU(b *testing.B) time.Duration {
	b.Helper()
	postmaster := readStat(count(b, w.admin, "select pg_backend_pid()")).parent
	all, err := filepath.Glob("/proc/[0-9]*")
	must(b, err)
	p := readStat(postmaster)
	sum := p.own + p.ended
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		must(b, err)
		if child := readStat(pid); child.parent == postmaster {
			sum += child.own
		}
	}
	return sum
}

// stat is a process: its parent, and the processor time of itself and of its
// children that have ended.
type stat struct {
	parent     int
	own, ended time.Duration
}

// readStat returns zeros for a process that is gone.
func readStat(pid int) stat {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name before it may hold blanks
	fields := strings.Fields(rest)                // from the third of proc(5) on
	number := func(i int) int {
		n, _ := strconv.Atoi(fields[i-3])
		return n
	}
	const tick = 10 * time.Millisecond // USER_HZ, which is 100 for all that Go supports
	return stat{number(4), time.Duration(number(14)+number(15)) * tick, time.Duration(number(16)+number(17)) * tick}
}

func megabytes(mb float64) string {
	if mb == 0 {
		return "(Linux only)"
	}
	return fmt.Sprintf("%.0f MB", mb)
}

func micros(d time.Duration) string {
	if d == 0 {
		return "(Linux only)"
	}
	return fmt.Sprintf("%d µs", d.Microseconds())
}
