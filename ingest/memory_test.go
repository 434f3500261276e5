package ingest

// An open upload takes the same memory whatever its size, below 4 MB (I6).

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
)

// voidLog acknowledges each record a millisecond later, and keeps none. Now and then it looks at the heap.
type voidLog struct {
	records atomic.Int64
	peak    atomic.Int64 // live bytes
}

type voidAck struct {
	offset int64
	ready  <-chan time.Time
}

func (a voidAck) Wait(context.Context) (int64, error) {
	<-a.ready
	return a.offset, nil
}

func (l *voidLog) Send(context.Context, int, []byte) (Ack, error) {
	n := l.records.Add(1)
	if n%25 == 7 {
		l.peak.Store(max(l.peak.Load(), liveHeap()))
	}
	return voidAck{n, time.After(time.Millisecond)}, nil
}

func (l *voidLog) Flush(context.Context) error            { return nil }
func (l *voidLog) MayBeStored(error) bool                 { return true }
func (l *voidLog) Full(error) bool                        { return false }
func (l *voidLog) Backlog(context.Context) (int64, error) { return 0, nil }
func (l *voidLog) Tell(context.Context, []byte) error     { return nil }
func (l *voidLog) CaughtUp(context.Context) error         { return nil }
func (l *voidLog) Settled(context.Context) error          { return nil }
func (l *voidLog) Followed() error                        { return nil }
func (l *voidLog) Follow(ctx context.Context, ready func(), _ func([]byte)) error {
	ready()
	<-ctx.Done()
	return nil
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// endless is a body of n pairs that is nowhere in memory.
type endless struct {
	pair []byte
	n    int
	rest []byte
	last bool
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		switch {
		case e.n == 0 && e.last:
			return 0, io.EOF
		case e.n == 0:
			e.rest, e.last = []byte("]"), true
		default:
			e.rest = e.pair
			if e.n--; e.n == 0 {
				e.rest = e.pair[:len(e.pair)-1] // no comma
			}
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func newEndless(n, signatureBytes int) io.Reader {
	p := append([]byte(pair(hashText(1), signature(signatureBytes))), ',')
	return io.MultiReader(strings.NewReader("["), &endless{pair: p, n: n})
}

func TestMemoryOfAnOpenUpload(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it measures the heap, which is another one under the race detector")
	}
	const limit = 4 << 20
	for _, c := range []struct{ pairs, signature int }{{10_000, 256}, {1_000_000, 256}, {20_000, 1024}} {
		t.Run(fmt.Sprintf("%d pairs of %d bytes", c.pairs, c.signature), func(t *testing.T) {
			log := &voidLog{}
			h := start(t, func(cfg *Config) { cfg.Log = log })
			h.upload(site, "[]")
			before := liveHeap()
			h.upload(site, ingesttest.Chunked{Reader: newEndless(c.pairs, c.signature)})
			if grown := log.peak.Load() - before; grown > limit {
				t.Errorf("an open upload takes %d bytes", grown)
			} else {
				t.Logf("%d KiB more than before", grown>>10)
			}
			if want := int64(c.pairs/1000 + 2); c.signature == 256 && log.records.Load() != want {
				t.Errorf("%d records, not %d", log.records.Load(), want)
			}
		})
	}
}
