package ingest

import (
	"strings"
	"testing"

	"countersign/ingest/server"
)

func TestConfigurationIsCheckedWhole(t *testing.T) {
	_, err := New(Config{HTTP: server.Config{TLSCert: "x", MaxBody: -1}, MaxPairs: 1 << 40, MaxSync: -1})
	for _, part := range []string{
		"Log and Store", "partitions", "--tls-key", "--max-body", "--max-pairs", "synchronous calls",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}
