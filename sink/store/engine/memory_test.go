package engine

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestTheEngineTakesHalfOfWhatThereIs(t *testing.T) {
	for available, want := range map[uint64]int64{
		1 << 30: 512 << 20, 3 << 30: 1536 << 20, 256 << 20: leastMemory, 64 << 30: mostMemory, math.MaxUint64: mostMemory,
	} {
		if got := usualMemory(available); got != want {
			t.Errorf("of %d bytes %d, want %d", available, got, want)
		}
	}
	if got := UsualMemory(); got < leastMemory || got > mostMemory {
		t.Errorf("on this machine %d bytes", got)
	}
}

func TestMemoryOfCgroups(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, c := range map[string]struct {
		root fstest.MapFS
		want uint64
	}{
		"none": {fstest.MapFS{}, math.MaxUint64},
		"version 2, the group above is smaller": {fstest.MapFS{
			"proc/self/cgroup":                                          file("0::/system.slice/countersign.service\n"),
			"sys/fs/cgroup/system.slice/memory.max":                     file("1073741824\n"),
			"sys/fs/cgroup/system.slice/countersign.service/memory.max": file("2147483648\n"),
		}, 1 << 30},
		"version 2, no limit": {fstest.MapFS{
			"proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/memory.max": file("max\n"),
		}, math.MaxUint64},
		"version 2, a container": {fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("536870912\n"),
		}, 512 << 20},
		"version 1, a container whose path only the host has": {fstest.MapFS{
			"proc/self/cgroup": file("3:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("805306368\n"),
		}, 768 << 20},
		"nonsense": {fstest.MapFS{
			"proc/self/cgroup": file("what\n0::/../../a\n"), "sys/fs/cgroup/a/memory.max": file("many\n"),
		}, math.MaxUint64},
	} {
		if got := cgroupMemory(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
