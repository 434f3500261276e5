package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The load generator against a service of its own, start to report; the figures mean nothing. The experiment large is
// among them because it writes into the schema of package sink/store, which nothing else here would notice to have
// changed.
func TestBenchRuns(t *testing.T) {
	program := filepath.Join(t.TempDir(), "countersign")
	if out, err := exec.Command("go", "build", "-o", program, "../countersign").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetArgs([]string{"--quick", "--run", "uploads,singles,large,store", "--binary", program, "--cache", t.TempDir()})
	if err := c.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "report.json") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
