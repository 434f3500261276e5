package main

// What fails under a running service: its disk, its engine, its ClickHouse. Readiness names it, clients are told, and
// nothing that was accepted is lost: everything is there, exactly, when the fault is over. What readiness said, and after
// how long, is in the tests' log (-v). This file has what such tests share, and ClickHouse; diskfaults_test.go has disks.

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/sink/store"
	"countersign/sink/store/engine"
)

// work is uploads to a service that fails meanwhile.
type work struct {
	t        *testing.T
	site     string
	sign     signer
	sent     int
	accepted []knownUpload
	unknown  []knownUpload // their answer was that nobody knows yet whether they are accepted
}

// knownUpload is an upload whose UUID is known.
type knownUpload struct {
	id      uuid.UUID
	entries []entry
}

// underWork starts a service that knows one site, and has done an upload. args are what it was started with.
func underWork(t *testing.T, more ...string) (n *node, w *work, args []string) {
	t.Helper()
	sites := newWorld(t)
	w = &work{t: t, site: "ec.example", sign: sites.ecdsa("ec.example")}
	args = append(sites.args(), more...)
	n = start(t, args...)
	w.send(n, 1200)
	w.check(n)
	return n, w, args
}

// send uploads so many new hashes. It returns the kind of problem that the upload was refused with; empty: it was
// accepted.
func (w *work) send(n *node, size int) (problem string) {
	w.t.Helper()
	w.sent++
	s := knownUpload{entries: good(fmt.Sprint(w.t.Name(), w.sent), size, w.sign)}
	begun := time.Now()
	r, err := n.UploadBody(w.t.Context(), w.site, bytes.NewReader(body(s.entries)), client.UploadOptions{})
	if err == nil {
		s.id = r.UUID
		w.accepted = append(w.accepted, s)
		return ""
	}
	took := time.Since(begun).Round(time.Millisecond)
	refusal, ok := errors.AsType[*client.Problem](err)
	if !ok {
		w.t.Logf("after %s an upload had no answer: %v", took, err)
		return "no answer"
	}
	problem = path.Base(refusal.Type)
	w.t.Logf("after %s an upload had the answer %d %s", took, refusal.Status, problem)
	if refusal.Status != http.StatusServiceUnavailable || refusal.RetryAfter == 0 {
		w.t.Errorf("the refusal was %d %s, Retry-After %s", refusal.Status, problem, refusal.RetryAfter)
	}
	if id, ok := refusal.Upload(); ok {
		s.id = id
		w.unknown = append(w.unknown, s)
	}
	return problem
}

// check compares all that was accepted with what must have become of it. What nobody knew is known now.
func (w *work) check(n *node) {
	w.t.Helper()
	for _, s := range w.accepted {
		n.expect(s.id, s.entries)
	}
	for _, s := range w.unknown {
		if n.known(s.id) {
			n.expect(s.id, s.entries)
		} else {
			n.expect(n.upload(w.site, s.entries), s.entries) // nothing of it is there
		}
	}
}

// known waits until the service knows whether it has accepted an upload.
func (n *node) known(id uuid.UUID) bool {
	n.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		_, err := n.Status(n.t.Context(), id)
		refusal, refused := errors.AsType[*client.Problem](err)
		switch {
		case err == nil:
			return true
		case refused && refusal.Status == http.StatusNotFound:
			return false
		case !refused || refusal.Status != http.StatusServiceUnavailable:
			n.t.Fatal(err)
		}
	}
	n.t.Fatalf("it stays unknown whether upload %s was accepted", id)
	return false
}

// errors are the lines that the process has logged at ERROR.
func (n *node) errors() (lines []string) {
	for line := range strings.Lines(n.logs.String()) {
		if strings.Contains(line, "level=ERROR") {
			lines = append(lines, line)
		}
	}
	return lines
}

// engineStopped is for seeing what a longer stop does.
var engineStopped = flag.Duration("engine-stopped", 5*time.Second, "how long the tests' engine stays stopped after readiness has said so")

func TestNotReadyWhileTheEngineIsStopped(t *testing.T) {
	t.Parallel()
	n, uploads, _ := underWork(t, append(logArgs(t), "--data-dir", t.TempDir(), "--max-backlog", "20")...)
	children := slices.DeleteFunc(descendants(n.PID()), func(pid int) bool { return pid == n.PID() })
	if len(children) == 0 {
		t.Fatal("the service has no engine")
	}
	all := func(s syscall.Signal) {
		for _, pid := range children {
			_ = syscall.Kill(pid, s) // fails where it has ended
		}
	}
	defer all(syscall.SIGCONT)
	all(syscall.SIGSTOP)
	stopped := time.Now()
	uploads.send(n, 1200)
	n.saysUnready("store")

	// Uploads are accepted until so many wait as may wait.
	for end := time.Now().Add(patience); uploads.send(n, 1200) != "backlog"; time.Sleep(300 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("uploads are accepted without end")
		}
	}
	n.saysUnready("backlog")
	time.Sleep(*engineStopped)
	all(syscall.SIGCONT)
	t.Logf("the engine was stopped for %s", time.Since(stopped).Round(time.Millisecond))
	n.saysReady()
	uploads.check(n)
	if problem := uploads.send(n, 1200); problem != "" {
		t.Errorf("afterwards an upload is refused with %s", problem)
	}
	uploads.check(n)
	n.stop()
}

func TestClickHouseIsSilent(t *testing.T) {
	t.Parallel()
	clickhouse, err := engine.Start(t.Context(), engine.Config{Dir: t.TempDir(), Grants: store.ServiceGrants("default")})
	must(t, err)
	defer func() { must(t, clickhouse.Close(context.Background())) }()
	relay := newProxy(t, clickhouse.URL())
	n, uploads, _ := underWork(t, append(logArgs(t), "--data-dir", t.TempDir(), "--clickhouse", relay.url())...)

	// The connections that there are say nothing any more; the calls go to others.
	begun := time.Now()
	relay.hush(false)
	uploads.send(n, 2500)
	uploads.check(n)
	t.Logf("%s after its connections had become silent an upload was done", time.Since(begun).Round(time.Millisecond))

	// Nobody says anything.
	relay.hush(true)
	uploads.send(n, 2500)
	if reason := n.saysUnready("store"); !strings.Contains(reason, "has said nothing for") {
		t.Errorf("the reason is %q", reason)
	}
	uploads.send(n, 2500)
	if len(uploads.accepted) != 4 {
		t.Errorf("%d of 4 uploads were accepted", len(uploads.accepted))
	}
	begun = time.Now()
	_, err = n.Status(t.Context(), uuid.New())
	if refusal, ok := errors.AsType[*client.Problem](err); !ok || refusal.Status != http.StatusServiceUnavailable {
		t.Errorf("a poll had the answer %v", err)
	}
	t.Logf("after %s a poll had the answer: %v", time.Since(begun).Round(time.Millisecond), err)

	relay.speak()
	n.saysReady()
	uploads.check(n)
	n.stop()
}
