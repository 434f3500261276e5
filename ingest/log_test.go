package ingest

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"countersign/ingest/internal/ingesttest"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// of returns the lines with a message.
func (l *lines) of(message string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.all.String()) {
		if strings.Contains(line, `msg="`+message+`"`) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// Each upload has one line at its end, whichever call brought it, and each body that was refused has one.
func TestUploadsHaveALineInTheLog(t *testing.T) {
	var out lines
	h := start(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	want := func(message string, n int, parts ...string) string {
		t.Helper()
		ingesttest.Until(t, "line "+message, func() bool { return len(out.of(message)) >= n })
		all := out.of(message)
		if len(all) != n {
			t.Fatalf("%d lines, want %d: %q", len(all), n, all)
		}
		for _, part := range parts {
			if !strings.Contains(all[n-1], part) {
				t.Errorf("%q is missing in %s", part, all[n-1])
			}
		}
		return all[n-1]
	}
	id := h.upload("bank.example", pairs(0, 2500, 8))
	h.done(id)
	h.done(id)
	line := want("upload finished", 1, "level=INFO", "upload="+id, "site=bank.example", "client=127.0.0.1", "pairs=2500", "added=2500",
		"duplicates=0", "bad_signatures=0", "failed=0")
	if !regexp.MustCompile(` received_in=\S*[0-9][mµ]?s finished_in=\S*[0-9][mµ]?s$`).MatchString(line) {
		t.Errorf("times without unit: %s", line)
	}
	h.Do("POST", "/api/v1/sign/bank.example", pairs(0, 3, 8))
	want("upload finished", 2, "level=INFO", "pairs=3", "duplicates=3")
	h.sign("bank.example", 5000)
	want("upload finished", 3, "level=DEBUG", "pairs=1", "added=1")
	h.Do("POST", "/api/v1/asyncsign/bank.example", "[7]")
	want("upload refused", 1, "level=INFO", "site=bank.example", "client=127.0.0.1", "bytes=3", "status=400", "problem=malformed-body")
	h.Do("POST", "/api/v1/asyncsign/no_site", "[]") // refused by its head
	want("upload refused", 1)
	h.upload("bank.example", "[]", "Idempotency-Key", "k")
	h.upload("bank.example", "[]", "Idempotency-Key", "k")
	want("upload finished", 4, "level=INFO", "pairs=0")
}
