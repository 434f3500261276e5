package log_test

// The tests run against an embedded broker each, or, where KAFKA_BROKERS (host:port,...) says so, against that Kafka
// (scripts/kafka.sh starts one). Those that stop a broker always use one of their own.

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"countersign/pipeline/log"
	"countersign/pipeline/log/embedded"
	"countersign/pipeline/log/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startEmbedded starts a broker that ends with the test.
func startEmbedded(t testing.TB, dir string) *embedded.Broker {
	t.Helper()
	return start(t, embedded.Config{Dir: dir})
}

// restartEmbedded starts a broker where one was that has been closed, on its data.
func restartEmbedded(t testing.TB, closed *embedded.Broker, dir string) {
	t.Helper()
	start(t, embedded.Config{Dir: dir, Address: closed.Brokers()[0]})
}

func start(t testing.TB, cfg embedded.Config) *embedded.Broker {
	t.Helper()
	cfg.Logger = logtest.Logger(t)
	e, err := embedded.Start(logtest.Context(t), cfg)
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

// testConfig reaches the broker under test.
func testConfig(t testing.TB) log.Config {
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		return log.Config{Brokers: strings.Split(brokers, ",")}
	}
	e := startEmbedded(t, t.TempDir())
	return log.Config{Brokers: e.Brokers(), Flush: e.Flush}
}
