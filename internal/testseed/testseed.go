// Package testseed gives tests random numbers that can be drawn again: the seed is printed, and an environment variable
// gives it.
//
// It must not know any other package of this module.
package testseed

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Env names the environment variable that gives the seed of all tests, a number in decimal.
const Env = "COUNTERSIGN_TEST_SEED"

// Rand returns random numbers from Seed. They are for one goroutine.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(Seed(t), 0))
}

// Seed returns the seed that Env gives, or a new one. It is in the test's log, which is printed when the test fails.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(Env); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", Env, err)
		}
	}
	t.Logf("%s=%d draws the same numbers again", Env, seed)
	return seed
}
