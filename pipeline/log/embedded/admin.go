package embedded

// Questions to the broker in this process. kfake answers some of them in Go. The others it answers only to clients:
// those are asked in Kafka's protocol over a connection like a client's, with kmsg, kfake's own codec.

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

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminTimeout is how long the broker may take to answer itself.
const adminTimeout = 30 * time.Second

// admin asks the broker. It is safe for concurrent use while the cluster runs: what kfake answers in Go waits for
// kfake's goroutine, whatever context there is.
type admin struct {
	cluster *kfake.Cluster
	dial    func(context.Context) (net.Conn, error)
}

// topicsAndGroups returns how many partitions each topic has, and what each group has committed.
func (a admin) topicsAndGroups(ctx context.Context) (topics map[string]int, groups map[string]topicOffsets, err error) {
	if topics, err = a.topics(ctx); err != nil {
		return nil, nil, err
	}
	groups, err = a.groupOffsets(ctx)
	return topics, groups, err
}

// topics returns how many partitions each topic has.
func (a admin) topics(ctx context.Context) (map[string]int, error) {
	req := kmsg.NewPtrMetadataRequest() // names no topic: asks for all
	resp, err := ask[*kmsg.MetadataResponse](ctx, a, req, 7)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	topics := map[string]int{}
	for _, t := range resp.Topics {
		if t.ErrorCode == 0 && t.Topic != nil && !t.IsInternal {
			topics[*t.Topic] = len(t.Partitions)
		}
	}
	return topics, nil
}

// offsetRanges returns what each partition of a topic holds.
func (a admin) offsetRanges(topic string) []offsetRange {
	var ranges []offsetRange
	for _, p := range a.cluster.PartitionInfos(topic) {
		ranges = append(ranges, offsetRange{p.LogStartOffset, p.HighWatermark})
	}
	return ranges
}

// offsetRange is what a partition's log holds: [first, end).
type offsetRange struct{ first, end int64 }

// topicOffsets is what a group has committed, by topic and partition.
type topicOffsets map[string]map[int]int64

// groupOffsets returns what each group has committed.
func (a admin) groupOffsets(ctx context.Context) (map[string]topicOffsets, error) {
	resp, err := ask[*kmsg.ListGroupsResponse](ctx, a, kmsg.NewPtrListGroupsRequest(), 2)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	groups := map[string]topicOffsets{}
	for _, g := range resp.Groups {
		info := a.cluster.GroupInfo(g.Group)
		if info == nil {
			continue // deleted since
		}
		offsets := topicOffsets{}
		for topic, partitions := range info.Commits {
			offsets[topic] = map[int]int64{}
			for p, commit := range partitions {
				offsets[topic][int(p)] = commit.Offset
			}
		}
		groups[g.Group] = offsets
	}
	return groups, nil
}

// retentionOf returns how long a topic's records are kept, which is its retention.ms. limited is false: for ever.
func (a admin) retentionOf(ctx context.Context, topic string) (keep time.Duration, limited bool, err error) {
	const name = "retention.ms"
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
	req.Resources = append(req.Resources, res)
	resp, err := ask[*kmsg.DescribeConfigsResponse](ctx, a, req, 3)
	if err != nil {
		return 0, false, err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return 0, false, err
		}
		for _, entry := range r.Configs {
			if entry.Name != name || entry.Value == nil {
				continue
			}
			ms, err := strconv.ParseInt(*entry.Value, 10, 64)
			if err != nil {
				return 0, false, fmt.Errorf("%s: %w", name, err)
			}
			if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
				return 0, false, nil
			}
			return time.Duration(ms) * time.Millisecond, true, nil
		}
	}
	return 0, false, nil
}

// firstSince returns, for each partition, the first offset whose record is as young as cutoff, or the largest number
// there is.
func (a admin) firstSince(ctx context.Context, topic string, partitions int, cutoff time.Time) ([]int64, error) {
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
	resp, err := ask[*kmsg.ListOffsetsResponse](ctx, a, req, 4)
	if err != nil {
		return nil, err
	}
	first := make([]int64, partitions)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			if first[p.Partition] = p.Offset; p.Offset < 0 {
				first[p.Partition] = math.MaxInt64
			}
		}
	}
	return first, nil
}

// deleteRecords deletes each partition's records below the offset given for it.
func (a admin) deleteRecords(topic string, below map[int]int64) error {
	var errs []error
	for p, offset := range below {
		if err := a.cluster.DeleteRecords(topic, int32(p), offset); err != nil {
			errs = append(errs, fmt.Errorf("delete from partition %d: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// commit commits offsets, by partition, for a group that has no members.
func (a admin) commit(ctx context.Context, group, topic string, offsets map[int]int64) error {
	if len(offsets) == 0 {
		return nil
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	for p, offset := range offsets {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = int32(p), offset
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	resp, err := ask[*kmsg.OffsetCommitResponse](ctx, a, req, 7)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit for group %s: %w", group, err)
			}
		}
	}
	return nil
}

// ask makes one request of the given version, which must be one before flexible headers, on a connection of its own.
func ask[R kmsg.Response](ctx context.Context, a admin, req kmsg.Request, version int16) (resp R, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req.SetVersion(version)
	conn, err := a.dial(ctx)
	if err != nil {
		return resp, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return resp, err
	}
	body, err := readFrame(conn)
	if err != nil {
		return resp, err
	}
	resp = req.ResponseKind().(R)
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
