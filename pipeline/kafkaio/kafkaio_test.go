package kafkaio

import (
	"context"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e, err := StartEmbedded(ctx, EmbeddedConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := Open(ctx, Config{Brokers: e.Brokers(), Flush: e.Flush})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n, err := c.EnsureTopic(ctx, TopicSpec{Name: "a", Partitions: 3, Replication: 1, Retention: time.Hour})
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	tail, err := c.OpenTail(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	tctx, tcancel := context.WithCancel(ctx)
	tailed := make(chan Message, 10)
	go tail.Run(tctx, func(m Message) error { tailed <- m; return nil })
	p := c.NewProducer(ProducerConfig{})
	a, err := p.Send(ctx, "a", 1, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if off, err := a.Wait(ctx); err != nil || off != 0 {
		t.Fatal(off, err)
	}
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	t.Log(<-tailed)
	tcancel()
	got := make(chan []Message)
	cctx, ccancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		done <- c.Consume(cctx, GroupConfig{Group: "g", Topic: "a", Handle: func(ctx context.Context, p *Partition) error {
			for {
				m, err := p.Fetch(ctx)
				if err != nil {
					return err
				}
				p.CommitNow(ctx, m[len(m)-1].Offset+1)
				got <- m
			}
		}})
	}()
	t.Log(<-got)
	if l, err := c.Lag(ctx, "g", "a"); l != 0 || err != nil {
		t.Fatal(l, err)
	}
	ccancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p.Close(ctx)
}
