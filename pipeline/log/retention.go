package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
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
//
// kafka-go can't ask for deletion, so this speaks the protocol through kmsg, kfake's own codec.

func (e *Embedded) retainLoop(ctx context.Context) {
	for pause(ctx, retentionPeriod) {
		if err := e.retain(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("embedded broker: retention failed, tried again later", "err", err)
		}
	}
}

// retain deletes what may be deleted now.
func (e *Embedded) retain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, retentionPeriod)
	defer cancel()
	topics, err := topicSizes(ctx, e.admin)
	if err != nil {
		return err
	}
	groups, err := groupOffsets(ctx, e.admin)
	if err != nil {
		return err
	}
	for topic, partitions := range topics {
		retention, err := retentionOf(ctx, e.admin, topic)
		if err != nil {
			return err
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

func (e *Embedded) retainTopic(ctx context.Context, topic string, partitions int, cutoff time.Time, groups map[string]topicOffsets) error {
	held, err := e.admin.offsetRanges(ctx, topic, partitions)
	if err != nil {
		return err
	}
	young, err := e.firstSince(ctx, topic, partitions, cutoff)
	if err != nil {
		return err
	}
	deleteTo := map[int32]int64{}
	for p, r := range held {
		to := min(young[p], r.end-1)
		for _, topics := range groups {
			if offsets, uses := topics[topic]; uses {
				to = min(to, offsets[p]) // nothing committed: 0
			}
		}
		if to > r.first {
			deleteTo[int32(p)] = to
		}
	}
	return e.deleteRecords(ctx, topic, deleteTo)
}

// topicOffsets is what a group has committed, by topic and partition.
type topicOffsets map[string]map[int]int64

func topicSizes(ctx context.Context, c *Client) (map[string]int, error) {
	res, err := c.admin.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	topics := map[string]int{}
	for _, t := range res.Topics {
		if !t.Internal && t.Error == nil {
			topics[t.Name] = len(t.Partitions)
		}
	}
	return topics, nil
}

func groupOffsets(ctx context.Context, c *Client) (map[string]topicOffsets, error) {
	list, err := c.admin.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err == nil {
		err = list.Error
	}
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	groups := map[string]topicOffsets{}
	for _, g := range list.Groups {
		res, err := c.admin.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: g.GroupID})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			return nil, fmt.Errorf("offsets of group %s: %w", g.GroupID, err)
		}
		offsets := topicOffsets{}
		for topic, partitions := range res.Topics {
			offsets[topic] = map[int]int64{}
			for _, p := range partitions {
				if p.Error != nil {
					return nil, fmt.Errorf("offsets of group %s: %w", g.GroupID, p.Error)
				}
				if p.CommittedOffset >= 0 {
					offsets[topic][p.Partition] = p.CommittedOffset
				}
			}
		}
		groups[g.GroupID] = offsets
	}
	return groups, nil
}

// retentionOf is a topic's retention.ms, negative for ever.
func retentionOf(ctx context.Context, c *Client, topic string) (time.Duration, error) {
	const name = "retention.ms"
	res, err := c.admin.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{name}},
	}})
	if err != nil {
		return 0, err
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return 0, r.Error
		}
		for _, entry := range r.ConfigEntries {
			if entry.ConfigName != name {
				continue
			}
			ms, err := strconv.ParseInt(entry.ConfigValue, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s of topic %s: %w", name, topic, err)
			}
			if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
				return -1, nil
			}
			return time.Duration(ms) * time.Millisecond, nil
		}
	}
	return -1, nil
}

// clampCommits lowers committed offsets that lie beyond the log's end. flushBeforeCommit keeps a power cut from leaving such; a
// damaged or removed segment, or a client without Flush, can. Unchanged, the group would skip what is produced next.
func clampCommits(ctx context.Context, c *Client) error {
	topics, err := topicSizes(ctx, c)
	if err != nil {
		return err
	}
	groups, err := groupOffsets(ctx, c)
	if err != nil {
		return err
	}
	for topic, partitions := range topics {
		held, err := c.offsetRanges(ctx, topic, partitions)
		if err != nil {
			return err
		}
		for group, offsets := range groups {
			var lower []kafka.OffsetCommit
			for p, committed := range offsets[topic] {
				if p < partitions && committed > held[p].end {
					c.log.Warn("embedded broker: the log ends before a committed offset, which is lowered; the last stop was not a clean one",
						"group", group, "topic", topic, "partition", p, "committed", committed, "end", held[p].end)
					lower = append(lower, kafka.OffsetCommit{Partition: p, Offset: held[p].end})
				}
			}
			if err := commitOutside(ctx, c, group, topic, lower); err != nil {
				return err
			}
		}
	}
	return nil
}

// commitOutside commits for a group that has no members.
func commitOutside(ctx context.Context, c *Client, group, topic string, offsets []kafka.OffsetCommit) error {
	if len(offsets) == 0 {
		return nil
	}
	res, err := c.admin.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: offsets},
	})
	if err != nil {
		return err
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return p.Error
		}
	}
	return nil
}

// firstSince returns, for each partition, the first offset whose record is as young as cutoff, or the largest number there is.
func (e *Embedded) firstSince(ctx context.Context, topic string, partitions int, cutoff time.Time) ([]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = int32(p), cutoff.UnixMilli()
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	resp, err := e.ask(ctx, req, 4)
	if err != nil {
		return nil, err
	}
	first := make([]int64, partitions)
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, kafka.Error(p.ErrorCode)
			}
			if first[p.Partition] = p.Offset; p.Offset < 0 {
				first[p.Partition] = math.MaxInt64
			}
		}
	}
	return first, nil
}

// deleteRecords deletes each partition's records below the offset given for it.
func (e *Embedded) deleteRecords(ctx context.Context, topic string, below map[int32]int64) error {
	if len(below) == 0 {
		return nil
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	for p, offset := range below {
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = p, offset
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	resp, err := e.ask(ctx, req, 1)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range resp.(*kmsg.DeleteRecordsResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				errs = append(errs, fmt.Errorf("delete from partition %d: %w", p.Partition, kafka.Error(p.ErrorCode)))
			}
		}
	}
	return errors.Join(errs...)
}

// ask makes one request of the given version, which must be one before flexible headers, on a connection of its own.
func (e *Embedded) ask(ctx context.Context, req kmsg.Request, version int16) (kmsg.Response, error) {
	req.SetVersion(version)
	conn, err := e.admin.dial(ctx, "tcp", e.brokers[0])
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(idleLimit)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return nil, err
	}
	body, err := readFrame(conn)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(version)
	return resp, resp.ReadFrom(body)
}

// readFrame reads a response and strips its size and correlation id.
func readFrame(conn net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 16<<20 {
		return nil, fmt.Errorf("response of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	return body[4:], nil
}
