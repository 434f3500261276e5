package main

import (
	"strings"
	"testing"
)

// The load generator against a service of its own, start to report; the figures mean nothing.
func TestBenchRuns(t *testing.T) {
	out, err := output("bench", "--quick", "--run", "uploads,singles", "--cache", t.TempDir())
	if err != nil || !strings.Contains(out, "report.json") {
		t.Errorf("%v\n%s", err, out)
	}
}
