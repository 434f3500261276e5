package ingesttest

// Waiting for conditions.

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// MaxWait is how long a test waits for what must happen. A busy machine needs far less.
const MaxWait = time.Minute

// Until waits until a condition holds, and ends the test if that takes more than a minute.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(MaxWait); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s it still does not hold: %s", MaxWait, what)
		}
	}
}

// Main runs a package's tests and fails if goroutines are left. fasthttp's clock for Date headers runs for the life of
// the process, its cleaner of idle workers some seconds longer than Serve.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}
