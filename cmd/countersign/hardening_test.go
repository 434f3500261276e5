package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// noMachineCode in the environment makes a process one that may not write machine code and run it.
const noMachineCode = "COUNTERSIGN_TEST_NO_MACHINE_CODE"

const noSuchRule = 77 // exit code: the kernel has no PR_SET_MDWE

// forbidMachineCode does what MemoryDenyWriteExecute=yes of systemd does, and executes the program again, so that the
// rule holds from its first instruction on.
func forbidMachineCode() {
	if err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err != nil {
		os.Exit(noSuchRule)
	}
	_ = os.Unsetenv(noMachineCode)
	fmt.Fprintln(os.Stderr, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	os.Exit(1)
}

func TestRunsWhereNoMachineCodeCanBeMade(t *testing.T) {
	t.Parallel()
	t.Run("commands", func(t *testing.T) {
		cmd := exec.Command(os.Args[0], "version")
		cmd.Env = append(os.Environ(), runAsProgram+"=1", noMachineCode+"=1")
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == noSuchRule {
			t.Skip("this kernel has no PR_SET_MDWE")
		}
		if err != nil || !strings.HasPrefix(string(out), "version: ") {
			t.Fatalf("%v:\n%s", err, out)
		}
	})
	if t.Failed() {
		return
	}
	w, data := newWorld(t), t.TempDir()
	site := w.site("ec.example", p256)
	n := startWith(t, []string{noMachineCode + "=1"}, append(append(w.args(), logArgs(t)...), "--data-dir", data)...)
	defer n.stop()
	dir := t.TempDir()
	must(t, site.WriteKeys(dir))
	file := filepath.Join(dir, "a.txt")
	must(t, os.WriteFile(file, []byte("we agree"), 0o600))
	if out, err := output("sign", "--url", "http://"+n.API, "--site", "ec.example", "--key", filepath.Join(dir, "ec.example.ecdsa.key"), file); err != nil || !strings.Contains(out, "added 1") {
		t.Errorf("%v:\n%s", err, out)
	}
	const heavy = "SELECT sum(number * 3 + number % 7 - number * number) AS n FROM numbers(300000) SETTINGS min_count_to_compile_expression = 0"
	if out, err := output("query", "--data-dir", data, heavy); err != nil || !strings.HasPrefix(out, "n: ") {
		t.Errorf("%v:\n%s", err, out)
	}
	if out, err := output("query", "--data-dir", data, "SELECT 1 SETTINGS compile_expressions = 1"); err == nil || !strings.Contains(out, "should not be changed") {
		t.Errorf("an analyst can have machine code made: %v:\n%s", err, out)
	}
	// The kernel, when memory runs out, ends the engine before the service.
	match := regexp.MustCompile(`msg="embedded ClickHouse is ready".* pid=(\d+)`).FindStringSubmatch(n.logs.String())
	if match == nil {
		t.Fatal("the engine has no process")
	}
	if score, err := os.ReadFile("/proc/" + match[1] + "/oom_score_adj"); err != nil || strings.TrimSpace(string(score)) != "500" {
		t.Errorf("the engine's oom_score_adj is %s, %v", score, err)
	}
	if text := n.logs.String(); !strings.Contains(text, "may make no machine code") || strings.Contains(text, "starting it again") {
		t.Errorf("the log says\n%s", text)
	}
}
