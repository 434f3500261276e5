package server

// What the operator hears of requests that failed. Callers who poll may fail thousands of times a second for one
// reason, so a kind of problem is logged once a minute, with how often it came. The metrics count each.

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/problem"
)

// logEvery is how often a kind of problem is logged at most.
const logEvery = time.Minute

// failures logs problems that are not the caller's. Its methods may be called from any goroutine.
type failures struct {
	logger *slog.Logger

	mu    sync.Mutex
	kinds map[string]*failed // by kind of problem; guarded by mu
}

// failed is one kind of problem.
type failed struct {
	times int       // since it was logged
	next  time.Time // when it may be logged again
}

func newFailures(logger *slog.Logger) *failures {
	return &failures{logger: logger, kinds: make(map[string]*failed)}
}

// note logs a problem of a request for path, unless its kind was logged lately, or the problem is the caller's.
func (f *failures) note(path string, p *problem.Problem) {
	cause := p.Unwrap()
	if cause == nil || p.Status < http.StatusInternalServerError {
		return
	}
	times := f.count(p.Kind)
	if times == 0 {
		return
	}
	attrs := []any{"problem", p.Kind, "times", times, "path", path, "error", cause}
	if p.Upload != uuid.Nil {
		attrs = append(attrs, "upload", p.Upload)
	}
	f.logger.Warn("requests failed", attrs...)
}

// count counts a problem. It returns how many to log, and 0 while its kind was logged lately.
func (f *failures) count(kind string) (times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.kinds[kind]
	if k == nil {
		k = new(failed)
		f.kinds[kind] = k
	}
	k.times++
	now := time.Now()
	if now.Before(k.next) {
		return 0
	}
	times, k.times, k.next = k.times, 0, now.Add(logEvery)
	return times
}
