package log_test

// The tests run against an embedded broker each, or, where KAFKA_BROKERS (host:port,...) says so, against that Kafka
// (scripts/kafka.sh starts one). Those that stop a broker always use one of their own.

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"countersign/pipeline/log"
	"countersign/pipeline/log/embedded"
	"countersign/pipeline/log/internal/logtest"
)

// TestMain ends when no goroutine is left, within a minute. The embedded broker takes the first bytes of a TLS handshake
// for the length of a request, and makes room for 370 MB before it looks whether the connection is still there.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(time.Minute); code == 0; {
		left := goleak.Find()
		if left == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, "goroutines are left:", left)
			code = 1
		}
	}
	os.Exit(code)
}

// startEmbedded starts a broker that ends with the test, and that can be started again where it was. Its loopback
// address is one that nobody else uses, so that nobody takes its port while it is stopped.
func startEmbedded(t testing.TB, dir string) *embedded.Broker {
	t.Helper()
	address := fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	return start(t, embedded.Config{Dir: dir, Address: address})
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
	e := start(t, embedded.Config{Dir: t.TempDir()})
	return log.Config{Brokers: e.Brokers(), Dial: e.Dial, Flush: e.Flush}
}
