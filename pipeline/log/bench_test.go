package log_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// go test -bench . -run '^$' ./pipeline/log   (KAFKA_BROKERS for a real broker)

const benchRecord = 300_000

func BenchmarkProduce(b *testing.B) {
	c := logtest.Open(b, testConfig(b))
	topic := logtest.NewTopic(b, c, 4)
	p := logtest.NewProducer(b, c, log.ProducerConfig{})
	ctx := logtest.Context(b)
	value := make([]byte, benchRecord)
	b.SetBytes(benchRecord)
	b.ReportAllocs()
	var last [4]log.Ack
	for i := 0; b.Loop(); i++ {
		a, err := p.Send(ctx, topic, i%4, value)
		if err != nil {
			b.Fatal(err)
		}
		last[i%4] = a
	}
	for _, a := range last {
		if a != nil {
			if _, err := a.Wait(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.Flush(ctx); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkFetch(b *testing.B) {
	c := logtest.Open(b, testConfig(b))
	topic := logtest.NewTopic(b, c, 1)
	p := logtest.NewProducer(b, c, log.ProducerConfig{})
	const records = 1000
	for range records / 100 {
		logtest.Send(b, p, topic, 0, slices.Repeat([]string{string(make([]byte, benchRecord))}, 100)...)
	}
	logtest.OnPartition(b, c, topic, func(ctx context.Context, p *log.Partition) {
		b.SetBytes(records * benchRecord)
		b.ReportAllocs()
		for b.Loop() {
			if err := p.ReadRange(ctx, 0, records, func(log.Message) error { return nil }); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// An idle broker: from Send to the record in the hands of a group's handler, and from Send to flushed.
func BenchmarkLatency(b *testing.B) {
	c := logtest.Open(b, testConfig(b))
	topic := logtest.NewTopic(b, c, 1)
	p := logtest.NewProducer(b, c, log.ProducerConfig{})
	arrived := make(chan time.Time, 1)
	ready := make(chan struct{})
	group := logtest.UniqueName("group")
	stop := logtest.Consume(b, c, group, topic, func(ctx context.Context, p *log.Partition) error {
		close(ready)
		for {
			msgs, err := p.Fetch(ctx)
			if err != nil {
				return err
			}
			arrived <- time.Now()
			p.Commit(msgs[len(msgs)-1].Offset + 1)
		}
	})
	<-ready
	ctx := logtest.Context(b)
	var through, flushed []time.Duration
	value := make([]byte, 400)
	for b.Loop() {
		time.Sleep(2 * time.Millisecond) // idle
		sent := time.Now()
		a, err := p.Send(ctx, topic, 0, value)
		if err != nil {
			b.Fatal(err)
		}
		through = append(through, (<-arrived).Sub(sent))
		if _, err := a.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		if err := p.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		flushed = append(flushed, time.Since(sent))
	}
	stop()
	report(b, "fetched", through)
	report(b, "flushed", flushed)
}

// What a miss costs ingest: the question where the log ends, with nothing to wait for.
func BenchmarkCaughtUp(b *testing.B) {
	c := logtest.Open(b, testConfig(b))
	tail, err := c.OpenTail(logtest.Context(b), logtest.NewTopic(b, c, 1))
	if err != nil {
		b.Fatal(err)
	}
	logtest.Run(b, func(ctx context.Context) error {
		return tail.Run(ctx, func(log.Message) error { return nil })
	})
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		if err := tail.CaughtUp(logtest.Context(b)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	report(b, "caught-up", took)
}

func report(b *testing.B, what string, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Microseconds()), "p50-"+what+"-us")
	b.ReportMetric(float64(d[len(d)*99/100].Microseconds()), "p99-"+what+"-us")
}

// What n callers at once, each producing a small record and flushing, get done.
func BenchmarkFlush(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			c := logtest.Open(b, testConfig(b))
			const partitions = 8
			topic := logtest.NewTopic(b, c, partitions)
			p := logtest.NewProducer(b, c, log.ProducerConfig{})
			ctx := logtest.Context(b)
			work := make(chan int)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for i := range work {
						a, err := p.Send(ctx, topic, i%partitions, make([]byte, 400))
						if err == nil {
							_, err = a.Wait(ctx)
						}
						if err == nil {
							err = p.Flush(ctx)
						}
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := 0; b.Loop(); i++ {
				work <- i
			}
			close(work)
			wg.Wait()
		})
	}
}
