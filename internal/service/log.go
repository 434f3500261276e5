package service

// What the child logs: lines of slog's text form. All go to Config.Log, the last ones are kept for errors.

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

const (
	keptLines = 15
	mostLine  = 1 << 20 // bytes; a longer line ends the reading of lines, not the service
)

// tail copies a log and keeps its last lines.
type tail struct {
	to io.Writer // nil: nowhere

	mu    sync.Mutex
	lines []string // the newest keptLines of them; guarded by mu
}

// follow reads a log to its end, and sends the fields of the line that says that the service is ready.
func (t *tail) follow(r io.Reader, ready chan<- map[string]string) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, mostLine)
	for scanner.Scan() {
		t.keep(scanner.Text())
		if f := fields(scanner.Text()); f["msg"] == "ready" {
			select {
			case ready <- f:
			default:
			}
		}
	}
	_, _ = io.Copy(io.Discard, r) // an unread pipe would block the service
}

func (t *tail) keep(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.to != nil {
		fmt.Fprintln(t.to, line)
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > keptLines {
		t.lines = t.lines[1:]
	}
}

// String is the last lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

var field = regexp.MustCompile(`(\S+?)=("(?:[^"\\]|\\.)*"|\S*)`)

// fields reads the fields of a line. Quotes around a value are taken off; escapes inside are left as they are.
func fields(line string) map[string]string {
	found := make(map[string]string)
	for _, m := range field.FindAllStringSubmatch(line, -1) {
		found[m[1]] = strings.Trim(m[2], `"`)
	}
	return found
}
