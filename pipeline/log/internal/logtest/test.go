package logtest

// What any test needs: an end, a logger, and a way to wait.

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Limit is how long a wait may take. It only passes when the test has failed, so it is far longer than a busy machine
// needs.
const Limit = 2 * time.Minute

// Discard is for tests whose warnings are expected, and for what may log after its test.
var Discard = slog.New(slog.DiscardHandler)

// Context is a context that ends after Limit, and with the test.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	t.Cleanup(cancel)
	return ctx
}

// Logger prints warnings and errors where the test fails.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// UniqueName is a name that no other test has.
func UniqueName(kind string) string {
	var b [6]byte
	rand.Read(b[:])
	return kind + "-" + hex.EncodeToString(b[:])
}

// SeedVariable names the environment variable that repeats the random choices of a test.
const SeedVariable = "COUNTERSIGN_TEST_SEED"

// Random is the source of a test's random choices. A test that fails prints the seed.
func Random(t testing.TB) *mathrand.Rand {
	t.Helper()
	seed := mathrand.Uint64()
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", SeedVariable, err)
		}
	}
	t.Logf("%s=%d repeats this test's random choices", SeedVariable, seed)
	return mathrand.New(mathrand.NewPCG(seed, 0))
}

// Numbered returns n values that say where they belong.
func Numbered(prefix string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("%s-%06d", prefix, i)
	}
	return values
}

// Eventually waits until reached returns true. It fails the test when that takes longer than Limit.
func Eventually(t testing.TB, state string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Limit); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: not yet %s", Limit, state)
		}
	}
}

// Receive returns the next value of the channel. It fails the test when none comes.
func Receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(Limit):
		t.Fatalf("after %s: no %s", Limit, what)
		panic("unreachable")
	}
}

// Run calls f on a goroutine and returns a function that cancels its context and waits for its end. The test does the
// same when it ends, and fails if f returned an error.
func Run(t testing.TB, f func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(Limit):
			t.Error("it doesn't stop")
		}
	}
	t.Cleanup(stop)
	return stop
}
