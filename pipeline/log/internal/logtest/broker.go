package logtest

// What the brokers hold, asked with kafka-go directly, or with kmsg where kafka-go can't ask. It doesn't go through
// pipeline/log, whose tests compare with it.

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"countersign/pipeline/log"
)

// Record is one record as it is in the log.
type Record struct {
	Offset int64
	Time   time.Time
	Value  string
}

// ReadAll reads a partition from its first record to its end.
func ReadAll(t testing.TB, at log.Config, topic string, partition int) []Record {
	t.Helper()
	conn, err := dialer(at).DialLeader(Context(t), "tcp", at.Brokers[0], topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Limit)); err != nil {
		t.Fatal(err)
	}
	first, end, err := conn.ReadOffsets()
	if err != nil {
		t.Fatal(err)
	}
	var all []Record
	for next := first; next < end; {
		if _, err := conn.Seek(next, kafka.SeekAbsolute); err != nil {
			t.Fatal(err)
		}
		batch := conn.ReadBatch(1, 4<<20)
		for {
			m, err := batch.ReadMessage()
			if err != nil {
				break // also the end; Close tells
			}
			all = append(all, Record{m.Offset, m.Time, string(m.Value)})
			next = m.Offset + 1
		}
		if err := batch.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Bounds returns the first offset of each partition and the one after its last record.
func Bounds(t testing.TB, at log.Config, topic string, partitions int) (first, end []int64) {
	t.Helper()
	for p := range partitions {
		conn, err := dialer(at).DialLeader(Context(t), "tcp", at.Brokers[0], topic, p)
		if err != nil {
			t.Fatal(err)
		}
		from, to, err := conn.ReadOffsets()
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		first, end = append(first, from), append(end, to)
	}
	return first, end
}

// dialer dials as the client of that configuration would, without TLS and SASL.
func dialer(at log.Config) *kafka.Dialer { return &kafka.Dialer{DialFunc: at.Dial, Timeout: Limit} }

// withAdmin calls f with a client for questions.
func withAdmin(at log.Config, f func(*kafka.Client) error) error {
	transport := &kafka.Transport{Dial: at.Dial}
	defer transport.CloseIdleConnections()
	return f(&kafka.Client{Addr: kafka.TCP(at.Brokers...), Transport: transport})
}

// Commit commits offsets, by partition, for a group that has no members. It repeats that until the group's
// coordinator is there.
func Commit(t testing.TB, at log.Config, group, topic string, offsets map[int]int64) {
	t.Helper()
	var commits []kafka.OffsetCommit
	for p, offset := range offsets {
		commits = append(commits, kafka.OffsetCommit{Partition: p, Offset: offset})
	}
	commit := func(c *kafka.Client) error {
		res, err := c.OffsetCommit(Context(t), &kafka.OffsetCommitRequest{
			GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: commits},
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
	Eventually(t, "committed", func() bool { return withAdmin(at, commit) == nil })
}

// Committed returns what the group's coordinator says that the group has committed, by partition; -1 where nothing is.
func Committed(ctx context.Context, at log.Config, group, topic string, partitions ...int) (map[int]int64, error) {
	offsets := map[int]int64{}
	err := withAdmin(at, func(c *kafka.Client) error {
		req := &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}}
		res, err := c.OffsetFetch(ctx, req)
		if err == nil {
			err = res.Error
		}
		if err != nil {
			return err
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			offsets[p.Partition] = p.CommittedOffset
		}
		return nil
	})
	return offsets, err
}

// DeleteBelow deletes partition 0's records below offset, as retention would. kafka-go can't ask for that.
func DeleteBelow(t testing.TB, at log.Config, topic string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rt.Topic, rp.Offset = topic, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	req.SetVersion(1) // the last before flexible headers
	leader, err := dialer(at).LookupLeader(Context(t), "tcp", at.Brokers[0], topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	dial := at.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(Context(t), "tcp", net.JoinHostPort(leader.Host, strconv.Itoa(leader.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 8) // size and correlation id
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.SetVersion(1)
	if err := resp.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}
