package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"countersign/internal/pause"
)

// Retention of the embedded broker, in place of kfake's own. A record is deleted when all of this holds:
//   - it is older than its topic's retention.ms;
//   - every group that has committed on the topic has committed beyond it, so that a backlog is never lost;
//   - its batch isn't the partition's last: a partition without one starts again at offset 0 when it is loaded, below what
//     groups have committed.
//
// So a topic keeps on disk what it took in during its retention, plus the backlog, plus up to segmentBytes a partition, and in
// memory 72 bytes for each batch of that. A group that is never used again pins the log: delete the data directory's log, or
// the group, when one is renamed.

func (e *Embedded) retainLoop(ctx context.Context) {
	for pause.For(ctx, retentionPeriod) == nil {
		if err := e.retain(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("embedded broker: retention failed, tried again later", "err", err)
		}
	}
}

// retain deletes what may be deleted now.
func (e *Embedded) retain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, retentionPeriod)
	defer cancel()
	topics, err := e.admin.topics(ctx)
	if err != nil {
		return err
	}
	groups, err := e.admin.groupOffsets(ctx)
	if err != nil {
		return err
	}
	for topic, partitions := range topics {
		retention, err := e.admin.retention(ctx, topic)
		if err != nil {
			return fmt.Errorf("retention of topic %s: %w", topic, err)
		}
		if retention < 0 {
			continue
		}
		if err := e.retainTopic(ctx, topic, partitions, e.now().Add(-retention), groups); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	return nil
}

func (e *Embedded) retainTopic(ctx context.Context, topic string, partitions int, cutoff time.Time,
	groups map[string]topicOffsets) error {
	young, err := e.admin.firstSince(ctx, topic, partitions, cutoff)
	if err != nil {
		return err
	}
	deleteTo := map[int]int64{}
	for p, r := range e.admin.offsetRanges(topic) {
		to := min(young[p], r.end-1)
		for _, topics := range groups {
			if offsets, uses := topics[topic]; uses {
				to = min(to, offsets[p]) // nothing committed: 0
			}
		}
		if to > r.first {
			deleteTo[p] = to
		}
	}
	return e.admin.deleteRecords(topic, deleteTo)
}

// clampCommits lowers committed offsets that lie beyond the log's end. flushBeforeCommit keeps a power cut from leaving such; a
// damaged or removed segment, or a client without Flush, can. Unchanged, the group would skip what is produced next.
func clampCommits(ctx context.Context, a admin, log *slog.Logger) error {
	topics, err := a.topics(ctx)
	if err != nil {
		return err
	}
	groups, err := a.groupOffsets(ctx)
	if err != nil {
		return err
	}
	for topic := range topics {
		held := a.offsetRanges(topic)
		for group, offsets := range groups {
			lower := map[int]int64{}
			for p, committed := range offsets[topic] {
				if p < len(held) && committed > held[p].end {
					log.Warn("embedded broker: the log ends before a committed offset, which is lowered; the last stop was not a clean one",
						"group", group, "topic", topic, "partition", p, "committed", committed, "end", held[p].end)
					lower[p] = held[p].end
				}
			}
			if err := a.commit(ctx, group, topic, lower); err != nil {
				return err
			}
		}
	}
	return nil
}
