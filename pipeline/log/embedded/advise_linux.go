package embedded

// The page cache, where the operating system lets a program advise.

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCached tells the kernel that a file won't be read soon. What isn't on disk yet stays in the page cache.
func dropCached(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
