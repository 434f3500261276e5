package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"countersign/ingest/problem"
)

// A kind of problem is logged once a minute, with how often it came.
func TestFailuresAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := newFailures(slog.New(slog.NewTextHandler(&out, nil)))
		away := problem.StoreUnavailable(errors.New("away"))
		for range 180 { // three minutes
			f.note("/a", away)
			f.note("/b", problem.UnknownHash("x"))      // the caller's
			f.note("/c", problem.StoreUnavailable(nil)) // nothing to tell
			time.Sleep(time.Second)
		}
		f.note("/d", problem.LogUnavailable(errors.New("away, too")))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		want := []string{"times=1 path=/a", "times=60 path=/a", "times=60 path=/a", "problem=log-unavailable times=1 path=/d"}
		if len(lines) != len(want) {
			t.Fatalf("%d lines:\n%s", len(lines), out.String())
		}
		for i, text := range want {
			if !strings.Contains(lines[i], text) || strings.Contains(lines[i], "upload") {
				t.Errorf("%s\nwant %s", lines[i], text)
			}
		}
	})
}
