package embedded

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"countersign/pipeline/log/internal/logtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirVariable); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// startEmbedded starts a broker that ends with the test.
func startEmbedded(t testing.TB, dir string) *Embedded {
	t.Helper()
	e, err := StartEmbedded(logtest.Context(t), EmbeddedConfig{Dir: dir, Logger: logtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return e
}
