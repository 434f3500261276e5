package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The load generator against a service of its own, start to report; the figures mean nothing. The experiment large is
// among them because it writes into the schema of package sink/store, which nothing else here would notice to have
// changed.
func TestBenchRuns(t *testing.T) {
	t.Parallel()
	program := buildService(t)
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetArgs([]string{"--quick", "--run", "uploads,singles,large,store", "--binary", program, "--cache", t.TempDir()})
	if err := c.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "report.json") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// An honest user beside each attack, and all of them together, in their short form. Only what no busy machine changes is
// asserted: results, errors that no honest user should get, memory, the log, and that everything that was accepted is
// answered in the end.
func TestHonestUserUnderAttack(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetArgs([]string{"--quick", "--run", "attack", "--binary", buildService(t), "--cache", cache})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	reports, err := filepath.Glob(filepath.Join(cache, "results", "*", "report.json"))
	if err != nil || len(reports) != 1 {
		t.Fatalf("reports %v, %v", reports, err)
	}
	text, err := os.ReadFile(reports[0])
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Figures []struct {
			ID     string
			Median float64
			Target *struct{ Want float64 }
		}
		Tables []struct{ Rows [][]string }
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	bounded := 0
	for _, f := range report.Figures {
		if f.Target != nil {
			bounded++
			if f.Median > f.Target.Want {
				t.Errorf("%s is %v, and may be %v", f.ID, f.Median, f.Target.Want)
			}
		}
	}
	// Eight attacks and all together, and before, soon after and later; from two kinds of addresses.
	if bounded < 6 || len(report.Tables) != 2 || len(report.Tables[0].Rows) != 1+2*(8+1+2) {
		t.Errorf("%d bounds and the tables %v", bounded, report.Tables)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// buildService makes the program that is attacked.
func buildService(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "countersign")
	if out, err := exec.Command("go", "build", "-o", program, "../countersign").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}
