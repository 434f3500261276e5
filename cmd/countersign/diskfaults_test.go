package main

// Disks that break, fill up and become read only. See faults_test.go for what must hold.

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needEmbeddedLog skips a test of the embedded log's disk where the tests run on another log.
func needEmbeddedLog(t *testing.T) {
	t.Helper()
	if os.Getenv("KAFKA_BROKERS") != "" {
		t.Skip("the log is another one")
	}
}

// ends waits until the process has ended by itself, with one ERROR in its log that holds all the texts. When readiness
// has said no, it never says yes again.
func (n *node) ends(texts ...string) {
	n.t.Helper()
	begun, last, unready := time.Now(), "", false
	for n.Alive() == nil {
		if time.Since(begun) > patience {
			n.t.Fatalf("the process goes on\n%s", n.logs)
		}
		r, err := oneByOne().Get("http://" + n.Admin + "/readyz")
		if err != nil {
			continue // it doesn't listen any more
		}
		text, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if string(text) != last {
			last = string(text)
			n.t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), strings.TrimSpace(last))
		}
		if unready = unready || r.StatusCode != http.StatusOK; unready && r.StatusCode == http.StatusOK {
			n.t.Error("readiness says yes after it has said no")
		}
		time.Sleep(20 * time.Millisecond)
	}
	n.t.Logf("after %s the process had ended", time.Since(begun).Round(time.Millisecond))
	if n.Stop() == nil {
		n.t.Error("the process ends as if all were well")
	}
	lines := n.errors()
	if len(lines) != 1 {
		n.t.Fatalf("%d lines of the log are errors:\n%s", len(lines), n.logs)
	}
	for _, text := range texts {
		if !strings.Contains(lines[0], text) {
			n.t.Errorf("the log doesn't say %q: %s", text, lines[0])
		}
	}
}

func TestFsyncFails(t *testing.T) {
	t.Parallel()
	needEmbeddedLog(t)
	n, uploads, args := underWork(t, "--data-dir", t.TempDir())

	must(t, syscall.Kill(n.PID(), failSyncsSignal))
	for end := time.Now().Add(patience); uploads.send(n, 1200) == ""; { // it takes a moment until fsync fails
		if strings.Contains(n.logs.String(), noSyncsFail) {
			t.Skip(noSyncsFail)
		}
		if time.Now().After(end) {
			t.Fatal("uploads are accepted though fsync fails")
		}
	}
	n.ends("fsync ", "input/output error", "check the disk and restart")

	n = start(t, args...)
	uploads.check(n)
	n.stop()
}

func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	needEmbeddedLog(t)
	data := t.TempDir()
	disk := newMemoryDisk(t, filepath.Join(data, "log"))
	n, uploads, _ := underWork(t, "--data-dir", data, "--min-free-disk", "128MiB")

	disk.leave(129 << 20)
	for end := time.Now().Add(patience); ; {
		problem := uploads.send(n, 3000)
		if problem == "disk-full" {
			break
		}
		if problem != "" || time.Now().After(end) {
			t.Fatalf("an upload is refused with %q, and not because the disk is full", problem)
		}
	}
	if reason := n.saysUnready("disk"); !strings.Contains(reason, disk.dir) || !strings.Contains(reason, "--min-free-disk") {
		t.Errorf("the reason is %q", reason)
	}
	for range 20 {
		if problem := uploads.send(n, 1); problem != "disk-full" {
			t.Errorf("an upload is refused with %q", problem)
		}
	}
	if lines := n.errors(); len(lines) != 1 || !strings.Contains(lines[0], "disk full") {
		t.Errorf("these lines of the log are errors: %q", lines)
	}

	disk.leave(1 << 30)
	n.saysReady()
	uploads.send(n, 1200)
	uploads.check(n)
	n.stop()
}

// Uploads, the stages and the engine all hit the end of the disk in the middle of their writes.
func TestDiskIsFullInTheMiddleOfAWrite(t *testing.T) {
	t.Parallel()
	needEmbeddedLog(t)
	for _, end := range []string{"goes on", "is killed"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			disk := newMemoryDisk(t, data)
			n, uploads, args := underWork(t, "--data-dir", data, "--min-free-disk", "1B")

			disk.leave(640 << 10)
			for until := time.Now().Add(patience); ; {
				problem := uploads.send(n, 3000)
				if problem == "disk-full" {
					break
				}
				if problem != "" || time.Now().After(until) {
					t.Fatalf("an upload is refused with %q, and not because the disk is full", problem)
				}
			}
			n.saysUnready("disk")
			n.saysUnready("store")
			if lines := n.errors(); len(lines) == 0 || len(lines) > 10 {
				t.Errorf("%d lines of the log are errors: %q", len(lines), lines)
			}

			if end == "is killed" {
				n.Kill()
			}
			disk.leave(1 << 30)
			if end == "is killed" {
				n = start(t, args...)
			}
			n.saysReady()
			uploads.send(n, 1200)
			uploads.check(n)
			n.stop()
		})
	}
}

// The log's disk becomes read only while nobody uploads.
func TestTheLogBecomesReadOnly(t *testing.T) {
	t.Parallel()
	needEmbeddedLog(t)
	data := t.TempDir()
	disk := newFileDisk(t, filepath.Join(data, "log"))
	n, uploads, args := underWork(t, "--data-dir", data)
	disk.breakIt()
	n.ends("write to "+disk.dir, "read-only file system")
	refuses(t, "read-only file system", args...)
	disk.repair()
	n = start(t, args...)
	uploads.check(n)
	n.stop()
}

// The engine's disk becomes read only: readiness says so while nobody uploads, and that what was accepted is not stored.
func TestTheEngineBecomesReadOnly(t *testing.T) {
	t.Parallel()
	needEmbeddedLog(t)
	data := t.TempDir()
	disk := newFileDisk(t, filepath.Join(data, "clickhouse"))
	n, uploads, args := underWork(t, "--data-dir", data)
	disk.breakIt()
	if reason := n.saysUnready("store"); !strings.Contains(reason, "read-only file system") {
		t.Errorf("the reason is %q", reason)
	}
	if problem := uploads.send(n, 1200); problem != "" {
		t.Errorf("an upload is refused with %q", problem)
	}
	n.saysUnready("sink")
	n.Kill()
	disk.repair()
	n = start(t, args...)
	uploads.check(n)
	n.stop()
}
