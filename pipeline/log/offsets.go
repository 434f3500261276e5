package log

// Offsets: what a partition holds, what a group has committed, and the difference.

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"countersign/internal/pause"
)

// offsetRange is what a partition's log holds: [first, end).
type offsetRange struct{ first, end int64 }

// offsetRanges asks the leaders for each partition's first and end offset.
func (c *Client) offsetRanges(ctx context.Context, topic string, partitions int) ([]offsetRange, error) {
	requests := make([]kafka.OffsetRequest, 0, 2*partitions)
	for p := range partitions {
		requests = append(requests, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	req := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}}
	res, err := askAdmins(ctx, c, func(ctx context.Context, a *kafka.Client) (*kafka.ListOffsetsResponse, error) {
		return a.ListOffsets(ctx, req)
	})
	if err != nil {
		return nil, err
	}
	ranges, seen := make([]offsetRange, partitions), 0
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		if p.Partition >= 0 && p.Partition < partitions {
			ranges[p.Partition] = offsetRange{p.FirstOffset, p.LastOffset}
			seen++
		}
	}
	if seen != partitions {
		return nil, kafka.UnknownTopicOrPartition
	}
	return ranges, nil
}

// committed asks the group's coordinator how far the group is, at offset -1 where nothing is committed. Unlike
// kafka-go's consumer group it doesn't take a partition's error for "none".
func (c *Client) committed(ctx context.Context, group, topic string, partitions []int) (map[int]progress, error) {
	req := &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}}
	res, err := askAdmins(ctx, c, func(ctx context.Context, a *kafka.Client) (*kafka.OffsetFetchResponse, error) {
		return a.OffsetFetch(ctx, req)
	})
	if err == nil {
		err = res.Error
	}
	if err != nil && !errors.Is(err, kafka.GroupIdNotFound) { // nobody has joined it yet: nothing is committed
		return nil, err
	}
	offsets := make(map[int]progress, len(partitions))
	for _, p := range partitions {
		offsets[p] = progress{next: -1}
	}
	if err != nil {
		return offsets, nil //nolint:nilerr // a group that nobody has joined has committed nothing
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		offsets[p.Partition] = progressOf(p.CommittedOffset, p.Metadata)
	}
	return offsets, nil
}

// Lag is how many records of the topic the group has still to do: the sum over partitions of the end offset minus the
// committed one, or minus the first where nothing is committed, without the records beyond it that CommitDone said are
// done.
func (c *Client) Lag(ctx context.Context, group, topic string) (records int64, err error) {
	group, topic = c.onBroker(group), c.onBroker(topic)
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for attempt := 0; ; attempt++ {
		records, err = c.lagNow(ctx, group, topic)
		if err == nil {
			return records, nil
		}
		if !retriable(err) || pause.For(ctx, retryPause(attempt)) != nil {
			return 0, fmt.Errorf("lag of group %s on topic %s: %w", group, topic, markUnavailable(err))
		}
	}
}

func (c *Client) lagNow(ctx context.Context, group, topic string) (int64, error) {
	n, err := c.partitionsNow(ctx, topic)
	if err != nil {
		return 0, err
	}
	ids := make([]int, n)
	for p := range ids {
		ids[p] = p
	}
	offsets, err := c.committed(ctx, group, topic, ids)
	if err != nil {
		return 0, err
	}
	ranges, err := c.offsetRanges(ctx, topic, n)
	if err != nil {
		return 0, err
	}
	var lag int64
	for p, r := range ranges {
		lag += offsets[p].undone(r)
	}
	return lag, nil
}
