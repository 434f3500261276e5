package engine

// What the child prints: to the logger, line by line, and into error messages.

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// childLog takes what the child prints, line by line, to the logger, and keeps the last lines for error messages.
type childLog struct {
	logger *slog.Logger

	mu      sync.Mutex
	pending []byte   // the line that hasn't ended yet; guarded by mu
	last    []string // the last keptLines lines; guarded by mu
}

const (
	keptLines = 20
	maxLine   = 4 << 10 // bytes; a longer line is cut into several
)

// Write implements io.Writer. It never fails: a child must not block or die over its log.
func (l *childLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, b...)
	for {
		line, rest, found := bytes.Cut(l.pending, []byte{'\n'})
		if !found && len(l.pending) < maxLine {
			return len(b), nil
		}
		l.emit(string(line))
		l.pending = append(l.pending[:0], rest...)
	}
}

// flush emits what the child printed last without ending the line.
func (l *childLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit(string(l.pending))
	l.pending = nil
}

// emit logs and keeps a line. The caller holds mu.
func (l *childLog) emit(line string) {
	if line = strings.TrimSpace(line); line == "" {
		return
	}
	line = line[:min(len(line), maxLine)]
	l.last = append(l.last, line)
	if len(l.last) > keptLines {
		l.last = l.last[1:]
	}
	l.logger.Log(context.Background(), lineLevel(line), "engine: "+line) //nolint:sloglint // the engine's own words
}

// tail returns the last lines, for an error message.
func (l *childLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) == 0 {
		return "it printed nothing"
	}
	return strings.Join(l.last, "\n")
}

// lineLevel maps ClickHouse's levels, which stand in angle brackets. Further lines of a message, such as stack frames,
// have none. Three kinds are for debugging only: what is said about a failed query, because whoever sent the query is
// told, too; merges that are interrupted by the end or by a dropped table; and the schedule pool's remarks on a busy
// machine.
func lineLevel(line string) slog.Level {
	switch {
	case strings.Contains(line, "executeQuery: "), strings.Contains(line, "TCPHandler: "),
		strings.Contains(line, "(ABORTED)"), strings.Contains(line, "BackgroundSchedulePool"):
		return slog.LevelDebug
	case strings.Contains(line, "<Fatal>"), strings.Contains(line, "<Critical>"), strings.Contains(line, "<Error>"):
		return slog.LevelError
	case strings.Contains(line, "<Warning>"):
		return slog.LevelWarn
	case strings.Contains(line, "<Information>"), strings.Contains(line, "<Notice>"):
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
