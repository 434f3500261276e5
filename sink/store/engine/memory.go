package engine

// How much memory the engine may take where nobody said: half of what there is, for the service and the system need the
// other half. What there is may be less than the machine has, because a cgroup, such as a container's, bounds it.

import (
	"bytes"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

const (
	mostMemory  = 4 << 30   // bytes; more is of use only to large queries, and --engine-memory gives it
	leastMemory = 512 << 20 // bytes; it takes half of that when it has nothing to do
)

// usualMemory is the limit for a process that has so many bytes.
func usualMemory(available uint64) int64 {
	return int64(min(mostMemory, max(leastMemory, available/2)))
}

// cgroupMemory is the least limit of this process's cgroups and those above them, in bytes; MaxUint64 if there is none.
// root is the file system. Version 2 of cgroups has memory.max in each folder of its hierarchy, version 1 has
// memory.limit_in_bytes under memory/.
func cgroupMemory(root fs.FS) uint64 {
	limit := uint64(math.MaxUint64)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(groups)) {
		// ID:CONTROLLERS:PATH, without controllers in version 2
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		folder, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[1] == "memory":
			folder, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case fields[1] != "":
			continue
		}
		// A container may see its own cgroup as the root, or a path that only the host has: then the root counts.
		for group := path.Join("/", fields[2]); ; group = path.Dir(group) {
			limit = min(limit, readLimit(root, path.Join(folder, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limit
}

// readLimit is the number in a file; MaxUint64 if there is none, as in "max".
func readLimit(root fs.FS, name string) uint64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return n
}
