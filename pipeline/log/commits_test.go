package log

import (
	"errors"
	"reflect"
	"testing"

	"github.com/segmentio/kafka-go"
)

// A commit that the coordinator refuses because the generation is over is dropped; one that fails otherwise is
// repeated.
func TestCommitFailures(t *testing.T) {
	var sent []map[int]progress
	var answer error
	c := newCommits(func(offsets map[int]progress) error {
		sent = append(sent, offsets)
		return answer
	})
	c.open(1, 100)
	answer = kafka.RequestTimedOut
	c.set(1, progress{next: 105})
	if err := c.flush(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("flush: %v", err)
	}
	answer = kafka.IllegalGeneration
	if err := c.flush(); !errors.Is(err, ErrRevoked) || len(sent) != 2 || sent[1][1].next != 105 {
		t.Errorf("flush: %v, sent %v", err, sent)
	}
	if err := c.flush(); err != nil || len(sent) != 2 {
		t.Errorf("flush of nothing: %v, sent %v", err, sent)
	}
	c.set(2, progress{next: 5})
	c.set(1, progress{next: 104})
	if err := c.flush(); err != nil || len(sent) != 2 {
		t.Errorf("a partition that isn't owned, or a lower offset, is committed: %v, sent %v", err, sent)
	}
}

// A handler that starts again at a lower offset, because a broker lost records, isn't overtaken by a commit from
// before.
func TestCommitFromBeforeALoss(t *testing.T) {
	var c *commits
	c = newCommits(func(map[int]progress) error {
		c.open(1, 4) // while the request is on its way
		return kafka.RequestTimedOut
	})
	c.open(1, 100)
	c.set(1, progress{next: 105})
	_ = c.flush()
	if next, ok := c.pending[1]; ok {
		t.Errorf("%d will be committed, and the handler has begun at 4", next)
	}
}

// What is done beyond the offset goes with it, the latest word counts, and nobody else's metadata is taken for ours.
func TestProgress(t *testing.T) {
	var sent []map[int]progress
	c := newCommits(func(at map[int]progress) error { sent = append(sent, at); return nil })
	c.open(1, 100)
	for _, at := range []progress{{100, 3}, {100, 2}, {100, 2}, {99, 50}, {104, 0}} {
		c.set(1, at)
		if err := c.flush(); err != nil {
			t.Error(err)
		}
	}
	if want := []map[int]progress{{1: {100, 3}}, {1: {100, 2}}, {1: {104, 0}}}; !reflect.DeepEqual(sent, want) {
		t.Errorf("sent %v, want %v", sent, want)
	}
	for _, p := range []progress{{5, 0}, {5, 7}, {0, 1 << 62}} {
		if got := progressOf(p.next, p.metadata()); got != p {
			t.Errorf("%+v was read as %+v", p, got)
		}
	}
	for _, other := range []string{"", "done", "done=", "done=-1", "done=x", "gone=5", "done=99999999999999999999"} {
		if got := progressOf(5, other); got != (progress{5, 0}) {
			t.Errorf("%q was read as %+v", other, got)
		}
	}
	for _, tc := range []struct {
		progress
		held offsetRange
		want int64
	}{
		{progress{-1, 0}, offsetRange{10, 15}, 5},
		{progress{12, 0}, offsetRange{10, 15}, 3},
		{progress{12, 2}, offsetRange{10, 15}, 1},
		{progress{12, 9}, offsetRange{10, 15}, 0},
		{progress{20, 9}, offsetRange{10, 15}, 0},
	} {
		if got := tc.undone(tc.held); got != tc.want {
			t.Errorf("%+v of %+v: %d are undone, want %d", tc.progress, tc.held, got, tc.want)
		}
	}
}
