//go:build !linux

package embedded

// The page cache, where the operating system decides alone.

// dropCached does nothing.
func dropCached(string) error { return nil }
