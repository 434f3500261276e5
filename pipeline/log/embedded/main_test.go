package embedded

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirVariable); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// start starts a broker that ends with the test.
func start(t testing.TB, dir string) *Broker {
	t.Helper()
	b, err := Start(logtest.Context(t), Config{Dir: dir, Logger: logtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return b
}

// config reaches the broker.
func (b *Broker) config() log.Config {
	return log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush}
}
