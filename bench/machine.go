package bench

// Where the figures come from, and whether anybody else used the machine meanwhile.

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"countersign/internal/pause"
	"countersign/pipeline/signature"
)

// Machine is the part of a report that makes two of them comparable.
type Machine struct {
	CPU      string  `json:"cpu"`
	Cores    int     `json:"cores"`
	MemoryMB int     `json:"memoryMiB"`
	System   string  `json:"system"`
	Go       string  `json:"go"`
	OpenSSL  string  `json:"openssl"`  // empty: none
	Verifier string  `json:"verifier"` // implementations that ours chose on this CPU
	Commit   string  `json:"commit"`
	Busy     float64 `json:"busyBefore"` // share of the cores that was in use before the session began, 0 to 1
}

// describeMachine takes as long as look, for which it watches what others do.
func describeMachine(ctx context.Context, look time.Duration) Machine {
	m := Machine{
		CPU: procField("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), OpenSSL: opensslVersion(ctx), Verifier: signature.Features(), Commit: commit(ctx), Busy: busyShare(ctx, look),
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(kernel))
	}
	kib, _, _ := strings.Cut(procField("/proc/meminfo", "MemTotal"), " ")
	if n, err := strconv.Atoi(kib); err == nil {
		m.MemoryMB = n >> 10
	}
	return m
}

// procField is the value of the first line of a /proc file that begins with name; empty where there is none.
func procField(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// commit is what the program was built from; "+" says that the tree had changes. A program that was built without that
// knowledge (-buildvcs=false) is taken for one of the repository that it lies in.
func commit(ctx context.Context) string {
	var revision, changed string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = "+"
			}
		}
	}
	if revision != "" {
		return revision + changed
	}
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	out, err := exec.CommandContext(ctx, "git", "-C", filepath.Dir(program), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return "" // installed somewhere, or no git
	}
	return strings.TrimSpace(string(out)) + ", checked out"
}

// cpuTimes are the machine's, summed over its cores, in ticks.
type cpuTimes struct{ busy, total float64 }

// parseCPU reads the first line of /proc/stat: user nice system idle iowait irq softirq steal.
func parseCPU(stat string) (t cpuTimes, ok bool) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, false
	}
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return t, false
		}
		t.total += ticks
		if i != 3 && i != 4 {
			t.busy += ticks
		}
	}
	return t, true
}

func readCPU() (cpuTimes, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTimes{}, false
	}
	return parseCPU(string(text))
}

// busyShare is how much of the machine is in use, over some time; 0 where that can't be told.
func busyShare(ctx context.Context, over time.Duration) float64 {
	before, ok := readCPU()
	if !ok || pause.For(ctx, over) != nil {
		return 0
	}
	after, _ := readCPU()
	if after.total <= before.total {
		return 0
	}
	return (after.busy - before.busy) / (after.total - before.total)
}

// Between the contestants of a round the machine comes to rest: what one of them left to do must not slow the next.
const (
	quiet      = 0.15 // share of the cores
	quietLook  = 150 * time.Millisecond
	quietLimit = 4 * time.Second
)

// settle waits until the machine is quiet, and reports whether it became so.
func settle(ctx context.Context) bool {
	for start := time.Now(); time.Since(start) < quietLimit && ctx.Err() == nil; {
		if busyShare(ctx, quietLook) < quiet {
			return true
		}
	}
	return false
}
