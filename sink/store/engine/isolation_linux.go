package engine

// What separates the child from everybody else, and what ties it to its parent, on Linux.
//
//   - A network namespace of its own. The engine's port is on the namespace's loopback, where only the child is. Without
//     the right to make one (CAP_SYS_ADMIN) the child gets a user namespace, too, in which it is the same user and may
//     set up its own network.
//   - Landlock rules. In clickhouse-local the SQL function file() reads any file that its process can, whatever a user
//     was granted. So the process can open its own directory, its program and the system's libraries, and nothing else.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// network says in which network a child runs.
type network int

const (
	sharedNetwork  network = iota // the parent's
	ownNetwork                    // a network namespace, made with the parent's rights
	ownUserNetwork                // a network namespace in a user namespace
)

// separateNetworks are the kinds that are worth a try, best first.
func separateNetworks() []network {
	if os.Geteuid() == 0 {
		return []network{ownNetwork, ownUserNetwork}
	}
	return []network{ownUserNetwork}
}

// childAttributes: its own process group, so that a Ctrl-C at the terminal reaches only the parent, which ends the
// child when everything that uses it has ended; death with its parent, however that dies; and its network.
func childAttributes(n network) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	switch n {
	case ownNetwork:
		a.Cloneflags = syscall.CLONE_NEWNET
	case ownUserNetwork:
		a.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN} // for raiseLoopback; gone before the engine runs
	case sharedNetwork:
	}
	return a
}

// ownProgram is this program as the kernel knows it: a file that replaced it on the disk meanwhile is another program.
func ownProgram() string { return "/proc/self/exe" }

// raiseLoopback brings up the loopback interface of a new network namespace.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}

// keptRights are the capabilities that the engine of a service that is root keeps: its files may be anybody's. Without
// the others, CAP_SYS_PTRACE above all, it can't look into other processes, whose environment may hold passwords.
var keptRights = []uintptr{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER}

// dropRights gives up all other capabilities, for what the calling thread executes: CAP_NET_ADMIN of childAttributes,
// and root's.
func dropRights() error {
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) { // a kernel without ambient capabilities gave none
		return fmt.Errorf("give up ambient capabilities: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil // executing a program leaves nobody but root any capability
	}
	for right := uintptr(0); right <= unix.CAP_LAST_CAP; right++ {
		if slices.Contains(keptRights, right) {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, right, 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("give up capability %d: %w", right, err)
		}
	}
	return nil
}

const (
	readFiles  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	runFiles   = readFiles | unix.LANDLOCK_ACCESS_FS_EXECUTE
	everything = runFiles | onFiles | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	// onFiles is what a rule on a single file may allow.
	onFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// Versions of Landlock. The first one forbids every rename into another folder, which the engine needs; the second one
// doesn't know of truncating.
const (
	landlockRenames   = 2
	landlockTruncates = 3
)

// systemFiles are what any program reads: libraries, time zones, and what the kernel says of the machine and of
// processes. What a process keeps to itself there takes rights that dropRights and the user namespace take away.
var systemFiles = map[string]uint64{
	"/usr": runFiles, "/lib": runFiles, "/lib64": runFiles, "/bin": runFiles, "/nix": runFiles,
	"/proc": readFiles, "/sys": readFiles,
	"/dev/null": onFiles, "/dev/zero": readFiles, "/dev/random": readFiles, "/dev/urandom": readFiles,
	"/etc/ld.so.cache": readFiles, "/etc/localtime": readFiles, "/etc/timezone": readFiles,
	"/etc/nsswitch.conf": readFiles, "/etc/hosts": readFiles, "/etc/resolv.conf": readFiles,
}

// confine lets the calling thread, and what it executes, open the engine's directory, some programs and the system's
// files, and nothing else. It reports errors.ErrUnsupported where the kernel has no Landlock, or too old a version.
func confine(dir string, programs ...string) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < landlockRenames {
		return errors.ErrUnsupported
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: everything}
	if version < landlockTruncates {
		attr.Handled_access_fs &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return fmt.Errorf("landlock: make rules: %w", errno)
	}
	defer unix.Close(int(rules))
	allowed := map[string]uint64{dir: everything, storeDir(dir): everything} // the store may be a link to another disk
	for _, program := range programs {
		allowed[program] = runFiles
	}
	for _, more := range []map[string]uint64{systemFiles, allowed} {
		for path, access := range more {
			if err := allow(int(rules), path, access&attr.Handled_access_fs); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("landlock: give up new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// allow adds a rule for what is at path and below.
func allow(rules int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "landlock: open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return &os.PathError{Op: "landlock: stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= onFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return &os.PathError{Op: "landlock: allow", Path: path, Err: errno}
	}
	return nil
}

// changed is when anything about a file was changed last, in nanoseconds since 1970.
func changed(stat *syscall.Stat_t) int64 { return stat.Ctim.Nano() }
