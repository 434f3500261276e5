package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// UsualMemory is the engine's limit where nobody names one, in bytes: half of what the machine, or the process's cgroup,
// has, but at most 4 GiB.
func UsualMemory() int64 {
	available := cgroupMemory(os.DirFS("/"))
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		available = min(available, info.Totalram*uint64(info.Unit))
	}
	return usualMemory(available)
}

// makesCode says whether a process like this one may write machine code and run it. systemd's
// MemoryDenyWriteExecute=yes, PR_SET_MDWE and some rules of SELinux forbid that, to all children, too.
func makesCode() bool {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(page) }() // fails for no page that is there
	return unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC) == nil
}

// offerToKernel has the kernel end this process before the service when memory runs out: the engine is started again,
// and loses nothing. Whoever forbids it has said who goes first.
func offerToKernel() {
	const much = "500" // of 1000, which stands for all of the memory
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(much), 0)
}
