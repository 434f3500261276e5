package log

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// Topics and offsets, asked over the admin client. A topic just created is not at once known to every broker, so questions about
// one are repeated for a while before the answer "unknown" is believed.

const settleTime = 10 * time.Second // how long a new topic or group coordinator may take to be known everywhere

// TopicSpec is a topic as it should be when it has to be created. An existing topic is left as it is.
type TopicSpec struct {
	Name        string
	Partitions  int           // at least 1
	Replication int           // copies of each partition; 0: the cluster's default
	Retention   time.Duration // records older than this may be deleted; 0: the cluster's default
	// MinInSync is how many replicas must have a record before it is acknowledged; 0: the cluster's default.
	MinInSync int
	// MaxMessageBytes is the largest record batch the topic accepts; 0: the cluster's default, about 1 MiB.
	MaxMessageBytes int
}

// EnsureTopic creates the topic if it is missing, waits until it can be used, and returns how many partitions it has, which is
// not spec.Partitions if the topic was there before. Processes may race to create the same topic.
func (c *Client) EnsureTopic(ctx context.Context, spec TopicSpec) (partitions int, err error) {
	if spec.Name == "" || spec.Partitions < 1 {
		return 0, fmt.Errorf("create topic %q: a name and at least one partition are needed", spec.Name)
	}
	spec.Name = c.onBroker(spec.Name)
	n, err := c.partitionsNow(ctx, spec.Name)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, kafka.UnknownTopicOrPartition) {
		return 0, fmt.Errorf("look topic %s up: %w", spec.Name, unavailable(err))
	}
	if err := c.createTopic(ctx, spec); err != nil {
		return 0, fmt.Errorf("create topic %s: %w", spec.Name, unavailable(err))
	}
	if n, err = c.partitions(ctx, spec.Name); err != nil {
		return 0, err
	}
	return n, c.waitForLeaders(ctx, spec.Name, n)
}

// waitForLeaders returns when every partition's leader serves it, which takes Kafka a moment longer than to name it.
func (c *Client) waitForLeaders(ctx context.Context, topic string, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for attempt := 0; ; attempt++ {
		_, err := c.offsetRanges(ctx, topic, partitions)
		if err == nil {
			return nil
		}
		if !retriable(err) || !pause(ctx, backoff(attempt)) {
			return fmt.Errorf("wait for the leaders of topic %s: %w", topic, unavailable(err))
		}
	}
}

func (c *Client) createTopic(ctx context.Context, spec TopicSpec) error {
	topic := kafka.TopicConfig{Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.Replication}
	if spec.Replication == 0 {
		topic.ReplicationFactor = -1
	}
	for name, value := range map[string]int64{
		"retention.ms": spec.Retention.Milliseconds(), "min.insync.replicas": int64(spec.MinInSync), "max.message.bytes": int64(spec.MaxMessageBytes),
	} {
		if value > 0 {
			topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: strconv.FormatInt(value, 10)})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime) // kafka-go waits until its cached layout has the topic
	defer cancel()
	res, err := c.admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err != nil {
		return err
	}
	if err := res.Errors[spec.Name]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return err
	}
	return nil
}

// Partitions returns how many partitions the topic has, each of them with a leader.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	return c.partitions(ctx, c.onBroker(topic))
}

// onBroker is the name of a topic or group as the brokers know it.
func (c *Client) onBroker(name string) string { return c.cfg.Prefix + name }

// offBroker is its inverse.
func (c *Client) offBroker(name string) string { return strings.TrimPrefix(name, c.cfg.Prefix) }

func (c *Client) partitions(ctx context.Context, topic string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for attempt := 0; ; attempt++ {
		n, err := c.partitionsNow(ctx, topic)
		if err == nil {
			return n, nil
		}
		if !retriable(err) || !pause(ctx, backoff(attempt)) {
			return 0, fmt.Errorf("partitions of topic %s: %w", topic, unavailable(err))
		}
	}
}

// partitionsNow asks a broker. It goes around kafka-go's cached layout, which a topic made by another process enters late, and
// doesn't create the topic as Conn.ReadPartitions would.
func (c *Client) partitionsNow(ctx context.Context, topic string) (int, error) {
	transport := &kafka.Transport{
		Dial: c.dial, DialTimeout: dialTimeout, ClientID: c.cfg.ClientID, TLS: c.cfg.TLS, SASL: c.sasl, MetadataTopics: []string{topic},
	}
	defer transport.CloseIdleConnections()
	fresh := &kafka.Client{Addr: c.admin.Addr, Transport: transport}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	res, err := fresh.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	for _, t := range res.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return 0, t.Error
		}
		for _, p := range t.Partitions {
			if p.Error != nil {
				return 0, p.Error
			}
		}
		if len(t.Partitions) > 0 {
			return len(t.Partitions), nil
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}

// offsetRange is what a partition's log holds: [first, end).
type offsetRange struct{ first, end int64 }

// offsetRanges asks the leaders for each partition's first and end offset.
func (c *Client) offsetRanges(ctx context.Context, topic string, partitions int) ([]offsetRange, error) {
	requests := make([]kafka.OffsetRequest, 0, 2*partitions)
	for p := range partitions {
		requests = append(requests, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	res, err := c.admin.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
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

// committed asks the group's coordinator for its offsets, -1 where it has none. Unlike kafka-go's consumer group it doesn't take
// a partition's error for "none".
func (c *Client) committed(ctx context.Context, group, topic string, partitions []int) (map[int]int64, error) {
	res, err := c.admin.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}})
	if err == nil {
		err = res.Error
	}
	if err != nil && !errors.Is(err, kafka.GroupIdNotFound) { // nobody has joined it yet: nothing is committed
		return nil, err
	}
	offsets := make(map[int]int64, len(partitions))
	for _, p := range partitions {
		offsets[p] = -1
	}
	if err != nil {
		return offsets, nil
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		offsets[p.Partition] = p.CommittedOffset
	}
	return offsets, nil
}

// Lag is how many records of the topic the group has still to commit: the sum over partitions of the end offset minus the
// committed one, or minus the first where nothing is committed.
func (c *Client) Lag(ctx context.Context, group, topic string) (records int64, err error) {
	group, topic = c.onBroker(group), c.onBroker(topic)
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for attempt := 0; ; attempt++ {
		records, err = c.lagNow(ctx, group, topic)
		if err == nil {
			return records, nil
		}
		if !retriable(err) || !pause(ctx, backoff(attempt)) {
			return 0, fmt.Errorf("lag of group %s on topic %s: %w", group, topic, unavailable(err))
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
		lag += max(0, r.end-max(offsets[p], r.first))
	}
	return lag, nil
}

// backoff grows from 20 ms to 1 s.
func backoff(attempt int) time.Duration {
	return min(20*time.Millisecond<<min(attempt, 6), time.Second)
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
