package embedded

// Retention, in place of kfake's own. A record is deleted when all of this holds:
//   - the record is older than its topic's retention.ms;
//   - every group that has committed on the topic has committed beyond the record, so that a backlog is never lost;
//   - while some group has a backlog in the partition, the record isn't among the keptBehind bytes before that: what a
//     record of the backlog refers to may have to be read again (a chain of certificates, the chunks of an upload);
//   - the record's batch isn't the partition's last: a partition without a batch starts again at offset 0 when it is
//     loaded, below what groups have committed.
//
// Consumed records go earlier where the log has become too large (size.go).
//
// So a topic keeps on disk what it took in during its retention, plus the backlog, plus up to segmentBytes for each
// partition. A group that is never used again keeps everything on disk from where it stands. Who renames a group
// deletes the old one, or the data directory.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"countersign/internal/pause"
)

const retentionPeriod = 5 * time.Second // between looks at what may be deleted

// retention is the loop that deletes, and what it needs.
type retention struct {
	admin  admin
	sizer  *sizer
	clock  func() time.Time
	logger *slog.Logger
}

// run deletes what may be deleted, every now and then until ctx ends.
func (r *retention) run(ctx context.Context) {
	for pause.For(ctx, retentionPeriod) == nil {
		if err := errors.Join(r.deleteOld(ctx), r.deleteEarly(ctx)); err != nil && ctx.Err() == nil {
			r.logger.Warn("embedded broker: retention failed, tried again later", "error", err)
		}
	}
}

// deleteOld deletes what may be deleted now.
func (r *retention) deleteOld(ctx context.Context) error {
	topics, groups, err := r.admin.topicsAndGroups(ctx)
	if err != nil {
		return err
	}
	segments, err := r.sizer.measure()
	if err != nil {
		return err
	}
	for topic, partitions := range topics {
		keep, limited, err := r.admin.retentionOf(ctx, topic)
		if err != nil {
			return fmt.Errorf("retention of topic %s: %w", topic, err)
		}
		if !limited {
			continue
		}
		if err := r.deleteBefore(ctx, topic, partitions, r.clock().Add(-keep), groups, segments); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	return nil
}

// deleteBefore deletes a topic's records from before cutoff, as far as the rules allow.
func (r *retention) deleteBefore(ctx context.Context, topic string, partitions int, cutoff time.Time,
	groups map[string]topicOffsets, segments []heldSegment) error {
	firstYoung, err := r.admin.firstSince(ctx, topic, partitions, cutoff)
	if err != nil {
		return err
	}
	committed := lowestCommitted(groups)
	below := map[int]int64{}
	for p, held := range r.admin.offsetRanges(topic) {
		if p >= partitions {
			break // added since; looked at the next time
		}
		limit := committed(topic, p)
		if limit < held.end { // there is a backlog
			limit = r.sizer.keptFrom(segments, topic, p, limit)
		}
		if to := min(firstYoung[p], held.end-1, limit); to > held.first {
			below[p] = to
		}
	}
	return r.admin.deleteRecords(topic, below)
}

// clampCommits lowers committed offsets that lie beyond the end of the log. A client that flushes before it commits
// keeps a power cut from leaving such offsets. A damaged or removed segment, or a client that doesn't flush, can
// leave them, and the group would skip what is produced next.
func (r *retention) clampCommits(ctx context.Context) error {
	topics, groups, err := r.admin.topicsAndGroups(ctx)
	if err != nil {
		return err
	}
	for topic := range topics {
		held := r.admin.offsetRanges(topic)
		for group, offsets := range groups {
			lower := r.beyondTheEnd(group, topic, offsets[topic], held)
			if err := r.admin.commit(ctx, group, topic, lower); err != nil {
				return err
			}
		}
	}
	return nil
}

// beyondTheEnd returns the ends of those partitions whose committed offset lies beyond the end.
func (r *retention) beyondTheEnd(group, topic string, committed map[int]int64, held []offsetRange) map[int]int64 {
	lower := map[int]int64{}
	for p, offset := range committed {
		if p < len(held) && offset > held[p].end {
			r.logger.Warn("embedded broker: the log ends before a committed offset, which is lowered; "+
				"the last stop was not a clean one",
				"group", group, "topic", topic, "partition", p, "committed", offset, "to", held[p].end)
			lower[p] = held[p].end
		}
	}
	return lower
}
