package log

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// go test -bench . -run '^$' ./pipeline/log   (KAFKA_BROKERS for a real broker)

const benchRecord = 300_000

func BenchmarkProduce(b *testing.B) {
	c := connect(b, testConfig(b))
	topic := newTopic(b, c, 4)
	p := newProducer(b, c, ProducerConfig{})
	ctx := within(b, time.Minute)
	value := make([]byte, benchRecord)
	b.SetBytes(benchRecord)
	b.ReportAllocs()
	var last [4]*Ack
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
	c := connect(b, testConfig(b))
	topic := newTopic(b, c, 1)
	p := newProducer(b, c, ProducerConfig{})
	const records = 1000
	for range records / 100 {
		send(b, p, topic, 0, slices.Repeat([]string{string(make([]byte, benchRecord))}, 100)...)
	}
	r := &reader{c: c, topicPartition: topicPartition{topic, 0}}
	defer r.disconnect()
	ctx := within(b, time.Minute)
	b.SetBytes(benchRecord)
	b.ReportAllocs()
	left := 0
	for b.Loop() {
		if left == 0 {
			if r.next == records {
				r.next = 0
			}
			msgs, err := r.fetchSome(ctx)
			if err != nil {
				b.Fatal(err)
			}
			left = len(msgs)
		}
		left--
	}
}

// An idle broker: from Send to the record in the hands of a group's handler, and from Send to flushed.
func BenchmarkLatency(b *testing.B) {
	c := connect(b, testConfig(b))
	topic := newTopic(b, c, 1)
	p := newProducer(b, c, ProducerConfig{})
	arrived := make(chan time.Time, 1)
	ready := make(chan struct{})
	stop := start(b, func(ctx context.Context) error {
		return c.Consume(ctx, GroupConfig{Group: uniqueName("group"), Topic: topic, Handle: func(ctx context.Context, p *Partition) error {
			close(ready)
			for {
				msgs, err := p.Fetch(ctx)
				if err != nil {
					return err
				}
				arrived <- time.Now()
				p.Commit(msgs[len(msgs)-1].Offset + 1)
			}
		}})
	})
	<-ready
	ctx := within(b, time.Minute)
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

func report(b *testing.B, what string, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Microseconds()), "p50-"+what+"-us")
	b.ReportMetric(float64(d[len(d)*99/100].Microseconds()), "p99-"+what+"-us")
}

// What n callers at once, each producing a small record and flushing, get done.
func BenchmarkFlush(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			c := connect(b, testConfig(b))
			const partitions = 8
			topic := newTopic(b, c, partitions)
			p := newProducer(b, c, ProducerConfig{})
			ctx := within(b, time.Minute)
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
