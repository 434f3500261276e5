package main

// Disks that fail when a test wants it: a file system in memory that gets smaller, one in a file that becomes read only
// as after an error of the disk, and a process whose fsync fails. The first two need root and mounts, and skip their
// tests where there are none. The third needs neither: a filter of system calls that the process puts on itself.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memoryDisk is a file system in memory at a folder, with so much room that a test doesn't fill it by itself.
type memoryDisk struct {
	t   *testing.T
	dir string
}

func newMemoryDisk(t *testing.T, dir string) memoryDisk {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size=2g"); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return memoryDisk{t, dir}
}

// leave changes the size of the file system so that so many bytes are free.
func (d memoryDisk) leave(free int64) {
	d.t.Helper()
	for {
		var s unix.Statfs_t
		must(d.t, unix.Statfs(d.dir, &s))
		used := int64(s.Blocks-s.Bfree) * s.Bsize
		err := unix.Mount("", d.dir, "", unix.MS_REMOUNT, fmt.Sprintf("mode=700,size=%d", used+free))
		if errors.Is(err, unix.EINVAL) {
			continue // more was written meanwhile
		}
		must(d.t, err)
		return
	}
}

// fileDisk is an ext4 file system in a file, mounted at a folder.
type fileDisk struct {
	t          *testing.T
	image, dir string
}

func newFileDisk(t *testing.T, dir string) fileDisk {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	d := fileDisk{t, filepath.Join(t.TempDir(), "disk"), dir}
	must(t, os.WriteFile(d.image, nil, 0o600))
	must(t, os.Truncate(d.image, 512<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", d.image).CombinedOutput(); err != nil {
		t.Skipf("no file system can be made: %v %s", err, out)
	}
	if err := d.mount(); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", dir).Run() })
	return d
}

func (d fileDisk) mount() error {
	out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,errors=remount-ro", d.image, d.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	return nil
}

// breakIt has the kernel find an error of the file system, which becomes read only by that, whoever writes to it.
func (d fileDisk) breakIt() {
	d.t.Helper()
	source, err := exec.Command("findmnt", "--noheadings", "--output", "SOURCE", d.dir).Output()
	must(d.t, err)
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(source))), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("a test's"), 0o200); err != nil {
		d.t.Skipf("the file system can't be broken: %v", err)
	}
}

// repair makes it writable again, when nobody uses it any more.
func (d fileDisk) repair() {
	d.t.Helper()
	for end := time.Now().Add(patience); unix.Unmount(d.dir, 0) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%s stays in use", d.dir)
		}
	}
	_ = exec.Command("fsck.ext4", "-p", "-f", d.image).Run() // its status says that it has mended something
	must(d.t, d.mount())
}

// failSyncsSignal tells a process that its fsync is to fail from now on. Nobody else uses this real-time signal.
const failSyncsSignal = syscall.Signal(42)

// failSyncsWhenTold has the process wait for that signal.
func failSyncsWhenTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, failSyncsSignal)
	go func() {
		<-told
		if err := failSyncs(); err != nil {
			fmt.Fprintf(os.Stderr, "level=ERROR msg=%q error=%q\n", noSyncsFail, err)
		}
	}()
}

// noSyncsFail is what a process says that can't have its fsync fail.
const noSyncsFail = "this system takes no filters of system calls"

// failSyncs has all later fsync and fdatasync of this process, and of those that it starts, fail with EIO, as on a disk
// that is broken. Processes that it has started before are not concerned.
func failSyncs() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FDATASYNC, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // both calls are about the thread, which hands the filter to the others
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d doesn't take the filter", thread)
	}
	return nil
}
