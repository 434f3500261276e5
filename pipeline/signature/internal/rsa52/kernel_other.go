//go:build !amd64

package rsa52

// Supported reports that there is no kernel for this architecture.
func Supported() bool { return false }

func square(*work, *constants, uint64, uint64) { panic("rsa52: no kernel for this architecture") }
func finish(*work, *constants, uint64) (equal uint32) {
	panic("rsa52: no kernel for this architecture")
}
