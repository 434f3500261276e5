package bench

// What the service's process uses: from /proc for a private one, from /metrics for any that has an admin address.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"countersign/internal/pause"
)

const (
	mebibyte       = 1 << 20
	metricsTimeout = 5 * time.Second
)

// metrics reads the service's figures that have no labels, by name.
func (s *server) metrics(ctx context.Context) (map[string]float64, error) {
	if s.admin == "" {
		return nil, errors.New("the service's admin address is not known; give it with --admin host:port")
	}
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("--admin %q: %w", s.admin, err)
	}
	res, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the service's metrics: %w", err)
	}
	defer res.Body.Close()
	return parseMetrics(io.LimitReader(res.Body, mostReply))
}

// parseMetrics reads Prometheus's text format, but for lines with labels.
func parseMetrics(r io.Reader) (map[string]float64, error) {
	values := make(map[string]float64)
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		name, text, ok := strings.Cut(scanner.Text(), " ")
		if !ok || name == "#" || strings.Contains(name, "{") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		values[name] = value
	}
	return values, scanner.Err()
}

// resident is the memory of the service's process in MiB, and that of its children: the embedded engine.
func (s *server) resident(ctx context.Context) (own, children float64, err error) {
	pid := s.pid()
	if pid == 0 {
		m, err := s.metrics(ctx)
		return m["process_resident_memory_bytes"] / mebibyte, 0, err
	}
	if own, err = residentOf(pid); err != nil {
		return 0, 0, err
	}
	for _, child := range childrenOf(pid) {
		if r, err := residentOf(child); err == nil { // it may have ended since
			children += r
		}
	}
	return own, children, nil
}

// residentOf reads the second field of statm: resident pages.
func residentOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the service's memory: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read the service's memory: %q is no statm", text)
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()) / mebibyte, err
}

// childrenOf lists a process's children, whichever of its threads started them.
func childrenOf(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var all []int
	for _, file := range files {
		text, _ := os.ReadFile(file) // the thread may have ended
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// memory is what a watch saw: MiB over seconds since its start.
type memory struct {
	Own, Children []Point
}

func (m memory) peak() float64 { return summarize(heights(m.Own)).Max }

// watch samples the service's memory until stop is called, which returns what was seen.
func (s *server) watch(ctx context.Context, every time.Duration) (stop func() memory) {
	ctx, cancel := context.WithCancel(ctx)
	var seen memory
	var group sync.WaitGroup
	start := time.Now()
	group.Go(func() {
		for ctx.Err() == nil {
			if own, children, err := s.resident(ctx); err == nil {
				at := time.Since(start).Seconds()
				seen.Own, seen.Children = append(seen.Own, Point{at, own}), append(seen.Children, Point{at, children})
			}
			_ = pause.For(ctx, every)
		}
	})
	return func() memory {
		cancel()
		group.Wait()
		return seen
	}
}

func heights(points []Point) []float64 {
	ys := make([]float64, len(points))
	for i, p := range points {
		ys[i] = p.Y
	}
	return ys
}
