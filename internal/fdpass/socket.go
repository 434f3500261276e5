package fdpass

// A Unix socket's address has room for 107 bytes, and folders may be deeper. The kernel takes the folder by its
// descriptor then.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// longestAddress is what surely fits into sun_path with its terminating zero, on every system.
const longestAddress = 100

// address returns a name for path that fits into a socket's address. The name is valid until release is called.
func address(path string) (name string, release func(), err error) {
	if len(path) <= longestAddress {
		return path, func() {}, nil
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	name = filepath.Join("/proc/self/fd", strconv.Itoa(int(folder.Fd())), filepath.Base(path))
	return name, func() { folder.Close() }, nil
}

// Listen makes a Unix socket that only this user can connect to, in place of one that a process left behind. The caller
// makes sure that nobody else serves path, and removes the file at the end: closing the listener doesn't.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	name, release, err := address(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}
