package log_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// AwaitCommitted returns when a group has committed as far in every partition, also where the group has none.
func TestAwaitCommitted(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 2)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 1, logtest.Numbered("v", 3)...)
	ctx, group := logtest.Context(t), logtest.UniqueName("group")
	ends, err := c.Ends(ctx, topic)
	if err != nil || len(ends) != 2 || ends[0] != 0 || ends[1] != 3 {
		t.Fatal(ends, err)
	}
	if err := c.AwaitCommitted(ctx, group, topic, []int64{0, 0}); err != nil {
		t.Error("nothing to wait for:", err)
	}
	logtest.Commit(t, cfg, group, topic, map[int]int64{1: 2})
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := c.AwaitCommitted(short, group, topic, ends); !errors.Is(err, log.ErrUnavailable) {
		t.Error("a record is not done:", err)
	}
	passed := make(chan error, 1)
	go func() { passed <- c.AwaitCommitted(ctx, group, topic, ends) }()
	logtest.Commit(t, cfg, group, topic, map[int]int64{1: 3})
	if err := <-passed; err != nil {
		t.Error(err)
	}
}
