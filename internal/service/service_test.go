package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// fakeMode makes the test binary a stand-in for countersign; its value says how that behaves.
const fakeMode = "COUNTERSIGN_SERVICE_TEST_FAKE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeMode); mode != "" {
		os.Exit(runFake(mode))
	}
	goleak.VerifyTestMain(m)
}

func runFake(mode string) int {
	if mode == "fails" {
		fmt.Fprintln(os.Stderr, `level=ERROR msg="no room left"`)
		return 1
	}
	if mode == "starts another" {
		os.Setenv(fakeMode, "serves")
		p, err := Start(context.Background(), Config{Binary: os.Args[0]})
		if err != nil {
			return 1
		}
		fmt.Println(p.API)
		select {}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Fprintln(os.Stderr, "level=INFO msg=starting")
	if mode == "never ready" {
		<-ctx.Done()
		return 0
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 1
	}
	fmt.Fprintf(os.Stderr, "level=INFO msg=ready roles=\"[ingest verify sink]\" listen=%s admin=\"\" args=%q\n", l.Addr(), strings.Join(os.Args[1:], " "))
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "level=INFO msg=stopped")
	if mode == "ends badly" {
		return 3
	}
	return 0
}

func TestStartWaitsUntilTheServiceIsReady(t *testing.T) {
	var log bytes.Buffer
	p, err := Start(t.Context(), Config{Binary: os.Args[0], Args: []string{"--shards", "2"}, Env: []string{fakeMode + "=serves"}, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := net.SplitHostPort(p.API); err != nil || p.Admin != "" {
		t.Errorf("API %q, admin %q", p.API, p.Admin)
	}
	if err := p.Alive(); err != nil || p.PID() == 0 {
		t.Errorf("%v, process %d", err, p.PID())
	}
	if err := errors.Join(p.Stop(), p.Stop()); err != nil {
		t.Error(err)
	}
	if text := log.String(); !strings.Contains(text, "serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --shards 2") || !strings.Contains(text, "msg=stopped") {
		t.Errorf("the log is\n%s", text)
	}
	if err := p.Alive(); err == nil || !strings.Contains(err.Error(), "msg=stopped") {
		t.Errorf("after its end: %v", err)
	}
}

func TestErrorsHoldWhatTheServiceSaid(t *testing.T) {
	_, err := Start(t.Context(), Config{Binary: os.Args[0], Env: []string{fakeMode + "=fails"}})
	if err == nil || !strings.Contains(err.Error(), "no room left") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("%v", err)
	}
	if _, err := Start(t.Context(), Config{Binary: "no/such/program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestTheContextEndsTheWaitAndTheService(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Start(ctx, Config{Binary: os.Args[0], Env: []string{fakeMode + "=never ready"}, Log: writer(func([]byte) { cancel() })})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestStopTellsHowTheProcessEnded(t *testing.T) {
	p, err := Start(t.Context(), Config{Binary: os.Args[0], Env: []string{fakeMode + "=ends badly"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}

func TestKillEndsTheProcessAtOnce(t *testing.T) {
	p, err := Start(t.Context(), Config{Binary: os.Args[0], Env: []string{fakeMode + "=serves"}})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := p.Alive(); err == nil || strings.Contains(err.Error(), "msg=stopped") {
		t.Errorf("%v", err)
	}
}

func TestFieldsOfALogLine(t *testing.T) {
	got := fields(`time=2026-01-01T00:00:00Z level=INFO msg=ready roles="[ingest verify sink]" listen="" admin=[::1]:9 note="a \"b\" c=d" x`)
	for name, want := range map[string]string{
		"msg": "ready", "roles": "[ingest verify sink]", "listen": "", "admin": "[::1]:9", "note": `a \"b\" c=d`,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d fields: %v", len(got), got)
	}
}
