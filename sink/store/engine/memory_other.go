//go:build !linux

package engine

import "math"

// UsualMemory is the engine's limit where nobody names one, in bytes.
func UsualMemory() int64 { return usualMemory(math.MaxUint64) }

func makesCode() bool { return true }

func offerToKernel() {}
