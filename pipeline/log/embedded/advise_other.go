//go:build !linux

package embedded

func dropCached(string) error { return nil }
