package bench

// What open uploads cost the service in memory. Uploads are held open while they still send a little, so that all their
// buffers are in use, until the service's garbage collector has looked; then they are broken off, which leaves nothing
// behind (I2).
//
// The heap's size is taken from the goal of the next collection: with the collector's default setting that is twice
// what the last one found alive (Go's runtime.MemStats, NextGC). What the process holds beyond that is garbage, and the
// same whoever made it.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/internal/pause"
)

// memory is the experiment.
func (s *session) memory(ctx context.Context) error {
	if err := s.eightAtOnce(ctx); err != nil {
		return err
	}
	return s.openUploads(ctx)
}

// eightAtOnce measures the most that the process holds with eight uploads open.
func (s *session) eightAtOnce(ctx context.Context) error {
	const atOnce = 8
	pairs := atOnce * s.Pairs
	p, _, err := s.readied(ctx, pairs*(s.Warmup+1))
	if err != nil {
		return err
	}
	r, group := s.report, "Memory of the service, the engine's process apart"
	idle, _, err := s.server.resident(ctx)
	if err != nil {
		return err
	}
	stop := s.server.watch(ctx, 20*time.Millisecond)
	_, err = load{workers: atOnce, count: atOnce * (s.Warmup + 1)}.run(ctx, s.server, func() (*body, error) { return p.unsent(s.Pairs) })
	seen := stop()
	if err != nil {
		return err
	}
	r.add(Figure{ID: "memory.idle", Group: group, Title: "resident, idle", Unit: "MiB", Samples: []float64{idle}})
	r.add(Figure{ID: "memory.eight", Group: group, Title: "resident, most with eight uploads of " + number(float64(s.Pairs)) + " pairs at once",
		Unit: "MiB", Samples: []float64{seen.peak()}, Target: atMost(768, 0), Beside: []string{"memory.idle"}})
	return nil
}

// held is what the service has while some uploads are open, in MiB.
type held struct{ heap, resident float64 }

// openUploads measures how much more the process holds for each further upload, for short and for long ones. The
// verifier is told to hold nothing (--verify-memory), which is bounded by itself: what is left is ingest's and the
// log's.
func (s *session) openUploads(ctx context.Context) error {
	r, group := s.report, "Memory of the service, the engine's process apart"
	a, err := findAlgorithm("rsa2048")
	if err != nil {
		return err
	}
	p, err := s.pool(a, 0)
	if err != nil {
		return err
	}
	if err := s.startEmpty(ctx, "--verify-memory", "1B"); err != nil {
		return err
	}
	if err := s.ensure(ctx, p, 10_000); err != nil {
		return err
	}
	for _, size := range []struct{ pairs, few, many int }{{10_000, 4, 24}, {1_000_000, 1, 4}} {
		if s.Quick {
			size.pairs, size.few, size.many = size.pairs/100, 1, 3
		}
		var heap, resident []float64
		for range min(s.Rounds, 3) {
			few, err := s.holdOpen(ctx, p, size.pairs, size.few)
			if err != nil {
				return err
			}
			many, err := s.holdOpen(ctx, p, size.pairs, size.many)
			if err != nil {
				return err
			}
			more := float64(size.many - size.few)
			heap, resident = append(heap, (many.heap-few.heap)/more), append(resident, (many.resident-few.resident)/more)
		}
		id, pairs := "memory.open."+strconv.Itoa(size.pairs), number(float64(size.pairs))
		r.add(Figure{ID: id, Group: group, Title: "live heap, more for each open upload of " + pairs + " pairs", Unit: "MiB", Samples: heap, Target: atMost(4, 0)})
		r.add(Figure{ID: id + ".resident", Group: group, Title: "resident, more for each of them", Unit: "MiB", Samples: resident, Beside: []string{id}})
	}
	return nil
}

// Uploads are sent quickly but for their last part, which trickles.
const (
	quickPart     = 0.9
	trickleEvery  = 50 * time.Millisecond
	reachTimeout  = 5 * time.Minute
	seenTimeout   = 20 * time.Second
	closedTimeout = 30 * time.Second
)

// holdOpen opens uploads, waits until the collector has run with all of them open, and breaks them off.
func (s *session) holdOpen(ctx context.Context, p *pool, pairs, uploads int) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout+seenTimeout)
	defer cancel()
	letGo, end := context.WithCancel(ctx)
	defer end()
	reached := make(chan struct{}, uploads)
	var group errgroup.Group
	for range uploads {
		group.Go(func() error {
			err := s.trickle(letGo, p, pairs, func() { reached <- struct{}{} })
			if err != nil {
				cancel()
			}
			return err
		})
	}
	for range uploads {
		select {
		case <-reached:
		case <-ctx.Done():
			end()
			return held{}, errors.Join(group.Wait(), ctx.Err(), s.server.alive())
		}
	}
	h, err := s.afterCollections(ctx, 2)
	end()
	if err := errors.Join(err, group.Wait()); err != nil {
		return held{}, errors.Join(err, s.server.alive())
	}
	return h, s.untilClosed(ctx)
}

// trickle sends an upload's body until ctx ends, and never its end.
func (s *session) trickle(ctx context.Context, p *pool, pairs int, reached func()) error {
	b := &body{site: p.site}
	b.addRound(p, "good", 0, p.good, 0, pairs)
	c := s.server.dial()
	if err := c.dial(ctx); err != nil {
		return err
	}
	defer c.close()
	raw := c.raw
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })
	defer stop()
	quick := int64(quickPart * float64(b.size()))
	slice := (b.size() - quick) / int64(2*seenTimeout/trickleEvery)
	w := &trickler{ctx: ctx, to: raw, quick: quick, slice: max(slice, 1), reached: reached}
	_, err := fmt.Fprintf(raw, "POST %s/api/v1/asyncsign/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", c.base.Path, b.site, c.base.Host, b.size())
	if err == nil {
		_, err = b.WriteTo(w)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		return errors.New("an upload that was to be held open came to its end before the service's heap was looked at")
	}
	if r, readErr := c.read(); readErr == nil {
		err = r.problem("upload that is held open")
	}
	return err
}

// trickler writes a quick part as it comes, and then a slice at a time, slowly enough not to come to the end.
type trickler struct {
	ctx          context.Context
	to           io.Writer
	quick, slice int64
	sent         int64
	reached      func()
}

func (t *trickler) Write(data []byte) (int, error) {
	total := 0
	for len(data) > 0 {
		n := int64(len(data))
		if t.sent < t.quick {
			n = min(n, t.quick-t.sent)
		} else {
			if n = min(n, t.slice); pause.For(t.ctx, trickleEvery) != nil {
				return total, t.ctx.Err()
			}
		}
		written, err := t.to.Write(data[:n])
		total += written
		before := t.sent
		t.sent += int64(written)
		if before < t.quick && t.sent >= t.quick {
			t.reached()
		}
		if err != nil {
			return total, err
		}
		data = data[n:]
	}
	return total, nil
}

// afterCollections waits until the collector ran so many times, which the reading of the metrics hastens, and says what
// it found.
func (s *session) afterCollections(ctx context.Context, n float64) (held, error) {
	const collections, goal = "go_gc_duration_seconds_count", "go_memstats_next_gc_bytes"
	start := time.Now()
	first := -1.0
	for time.Since(start) < seenTimeout {
		m, err := s.server.metrics(ctx)
		if err != nil {
			return held{}, err
		}
		if m[goal] == 0 {
			return held{}, fmt.Errorf("the service's metrics have no %s", goal)
		}
		if first < 0 {
			first = m[collections]
		}
		if m[collections] >= first+n {
			return held{m[goal] / 2 / mebibyte, m["process_resident_memory_bytes"] / mebibyte}, nil
		}
		if err := pause.For(ctx, 2*time.Millisecond); err != nil {
			return held{}, err
		}
	}
	return held{}, fmt.Errorf("the service collected no garbage for %s", seenTimeout)
}

// untilClosed waits until the service has noticed that the uploads were broken off.
func (s *session) untilClosed(ctx context.Context) error {
	start := time.Now()
	for time.Since(start) < closedTimeout {
		m, err := s.server.metrics(ctx)
		if err != nil {
			return err
		}
		if m["countersign_ingest_open_uploads"] == 0 {
			return nil
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("uploads that were broken off are still open after %s", closedTimeout)
}
