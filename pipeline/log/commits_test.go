package log

import (
	"errors"
	"testing"

	"github.com/segmentio/kafka-go"
)

// A commit that the coordinator refuses because the generation is over is dropped; one that fails otherwise is
// repeated.
func TestCommitFailures(t *testing.T) {
	var sent []map[int]int64
	var answer error
	c := newCommits(func(offsets map[int]int64) error {
		sent = append(sent, offsets)
		return answer
	})
	c.open(1, 100)
	answer = kafka.RequestTimedOut
	c.set(1, 105)
	if err := c.flush(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("flush: %v", err)
	}
	answer = kafka.IllegalGeneration
	if err := c.flush(); !errors.Is(err, ErrRevoked) || len(sent) != 2 || sent[1][1] != 105 {
		t.Errorf("flush: %v, sent %v", err, sent)
	}
	if err := c.flush(); err != nil || len(sent) != 2 {
		t.Errorf("flush of nothing: %v, sent %v", err, sent)
	}
	c.set(2, 5)
	c.set(1, 104)
	if err := c.flush(); err != nil || len(sent) != 2 {
		t.Errorf("a partition that isn't owned, or a lower offset, is committed: %v, sent %v", err, sent)
	}
}

// A handler that starts again at a lower offset, because a broker lost records, isn't overtaken by a commit from
// before.
func TestCommitFromBeforeALoss(t *testing.T) {
	var c *commits
	c = newCommits(func(map[int]int64) error {
		c.open(1, 4) // while the request is on its way
		return kafka.RequestTimedOut
	})
	c.open(1, 100)
	c.set(1, 105)
	_ = c.flush()
	if next, ok := c.pending[1]; ok {
		t.Errorf("%d will be committed, and the handler has begun at 4", next)
	}
}
