package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// startArg is the first argument under which the test binary starts an engine on the directory that follows, stores a
// row, reads it, and ends in order. With a third argument it first forbids network namespaces to itself.
const startArg = "engine-start"

// nobody is a user that owns nothing.
const nobody = 65534

func startMain(args []string) int {
	err := func() error {
		if len(args) > 1 {
			if err := os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("0"), 0); err != nil {
				return fmt.Errorf("forbid network namespaces: %w", err)
			}
		}
		ctx := context.Background()
		e, err := Start(ctx, granted(Config{Dir: args[0], Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))}))
		if err != nil {
			return err
		}
		return errors.Join(useOnce(ctx, e), e.Close(ctx))
	}()
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	return 0
}

// Where the kernel makes no network namespaces, the engine says so once and runs all the same. The limit is set in a user
// namespace of the test's own, so it binds nobody else.
func TestForbiddenNamespacesAreSaid(t *testing.T) {
	cmd := exec.Command(os.Args[0], startArg, t.TempDir(), "forbid")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skip("this machine forbids user namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err, string(out))
	}
	if n := strings.Count(string(out), "level=WARN"); n != 1 || !strings.Contains(string(out), "user.max_net_namespaces") ||
		!strings.Contains(string(out), "no network namespace can be made") {
		t.Errorf("%d warnings:\n%s", n, out)
	}
}

// A service that isn't root has the same: a network of its own, and no rights in it.
func TestWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process as somebody else; the other tests run as this user already")
	}
	dir, err := os.MkdirTemp("/tmp", "engine") //nolint:usetesting // another user must reach it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", startArg, filepath.Join(dir, "data"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	if strings.Contains(string(out), "level=WARN") || !strings.Contains(string(out), "is ready") {
		t.Errorf("it said:\n%s", out)
	}
}

// Other users of the machine find no door: no port, no file, no socket.
func TestNothingIsOpenToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(storeDir(dir), 0o755); err != nil { // as somebody made it before
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e := startEngine(t, Config{Dir: dir})
	if e.network == sharedNetwork {
		t.Skip("this machine forbids network namespaces")
	}
	open(t, e.URL())
	if listening(e.port, "self", fmt.Sprint(childOf(e))) {
		t.Errorf("the engine listens on port %d of this machine", e.port)
	}
	if c, err := net.Dial("tcp", loopback(e.port)); err == nil {
		c.Close()
		t.Logf("somebody else listens on port %d", e.port)
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", childOf(e)))
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	if os.Geteuid() == 0 {
		for _, right := range keptRights {
			want |= 1 << right
		}
	}
	if !strings.Contains(string(status), fmt.Sprintf("CapEff:\t%016x", want)) {
		t.Errorf("the child has other rights than %x:\n%s", want, status)
	}
}

// A child that gives no sign of its parent's secrets: its environment is what it needs.
func TestTheChildHasNoSecrets(t *testing.T) {
	t.Setenv("COUNTERSIGN_KAFKA_PASSWORD", "xyzzy")
	e := startEngine(t, Config{Dir: t.TempDir()})
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", childOf(e)))
	if err != nil || strings.Contains(string(text), "COUNTERSIGN") {
		t.Errorf("%q, %v", text, err)
	}
}
