package verify

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStage is the stage alone, over a log in memory: pairs a second, with chunks held and with chunks read again.
func BenchmarkStage(b *testing.B) {
	var f fakeCerts
	site := newSite(b, &f, "example.com")
	const uploads, pairs = 40, 2000
	var sources []*source
	for i := range uploads {
		kinds := make([]string, pairs)
		for i := range kinds {
			kinds[i] = isGood
		}
		sources = append(sources, newSource(site, fmt.Sprint(i), kinds, 1000))
	}
	lone := newSource(site, "lone", []string{isGood}, 1)
	for _, c := range []struct {
		name   string
		memory int64
		write  func(*memoryLog) int
	}{
		{"held", 1 << 30, func(l *memoryLog) int {
			for _, s := range sources {
				s.write(l)
			}
			return uploads * pairs
		}},
		{"again", 0, func(l *memoryLog) int {
			for _, s := range sources {
				s.write(l)
			}
			return uploads * pairs
		}},
		{"lone", 1 << 30, func(l *memoryLog) int {
			single(l, lone, numbered("lone", 3000)...)
			return 3000
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n, took, best, cpu := 0, time.Duration(0), time.Duration(1<<62), time.Duration(1<<62)
			for b.Loop() {
				l := newMemoryLog()
				n = c.write(l)
				s, err := New(Config{Producer: l, Certs: &f, Shards: shards, Workers: 2, MemoryLimit: c.memory})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				s.start(ctx, &running)
				start, used := time.Now(), processorTime(b)
				running.Go(func() { _ = s.handle(ctx, &memoryPartition{log: l}) })
				l.await(ctx, l.done)
				one := time.Since(start)
				cpu = min(cpu, processorTime(b)-used)
				took += one
				best = min(best, one)
				cancel()
				running.Wait()
			}
			b.ReportMetric(float64(n)*float64(b.N)/took.Seconds(), "pairs/s")
			b.ReportMetric(float64(n)/best.Seconds(), "best-pairs/s")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(n), "best-cpu-ns/pair")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
