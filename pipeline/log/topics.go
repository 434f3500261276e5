package log

// Topics: making them, and how many partitions they have. A topic just created is not at once known to every broker,
// so questions about one are repeated for a while before the answer "unknown" is believed.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"countersign/internal/pause"
)

// settleTime is how long a new topic or group coordinator may take to be known everywhere.
const settleTime = 10 * time.Second

// retryPause is the pause after attempt n, counted from 0, at anything that a broker can't do now.
func retryPause(n int) time.Duration {
	return pause.Backoff{First: 20 * time.Millisecond, Most: time.Second}.After(n)
}

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

// EnsureTopic creates the topic if it is missing, waits until it can be used, and returns how many partitions it has,
// which is not spec.Partitions if the topic was there before. Processes may race to create the same topic. What brokers
// can't do now is repeated for Config.StartTimeout. Check looks at the topic from then on.
func (c *Client) EnsureTopic(ctx context.Context, spec TopicSpec) (partitions int, err error) {
	if spec.Name == "" || spec.Partitions < 1 {
		return 0, fmt.Errorf("create topic %q: a name and at least one partition are needed", spec.Name)
	}
	spec.Name = c.onBroker(spec.Name)
	n, err := whileRetriable(ctx, c, "Kafka's topic "+spec.Name, func(ctx context.Context) (int, error) {
		return c.ensureOnce(ctx, spec)
	})
	if err != nil {
		return 0, err
	}
	c.noteTopic(ctx, spec)
	return n, nil
}

func (c *Client) ensureOnce(ctx context.Context, spec TopicSpec) (partitions int, err error) {
	n, err := c.partitionsNow(ctx, spec.Name)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, kafka.UnknownTopicOrPartition) {
		return 0, fmt.Errorf("look topic %s up: %w", spec.Name, markUnavailable(err))
	}
	if err := c.createTopic(ctx, spec); err != nil {
		return 0, fmt.Errorf("create topic %s: %w", spec.Name, markUnavailable(err))
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
		if !retriable(err) || pause.For(ctx, retryPause(attempt)) != nil {
			return fmt.Errorf("wait for the leaders of topic %s: %w", topic, markUnavailable(err))
		}
	}
}

func (c *Client) createTopic(ctx context.Context, spec TopicSpec) error {
	topic := kafka.TopicConfig{Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.Replication}
	if spec.Replication == 0 {
		topic.ReplicationFactor = -1
	}
	for name, value := range map[string]int64{
		"retention.ms":        spec.Retention.Milliseconds(),
		"min.insync.replicas": int64(spec.MinInSync),
		"max.message.bytes":   int64(spec.MaxMessageBytes),
	} {
		if value > 0 {
			entry := kafka.ConfigEntry{ConfigName: name, ConfigValue: strconv.FormatInt(value, 10)}
			topic.ConfigEntries = append(topic.ConfigEntries, entry)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime) // kafka-go waits until its cached layout has the topic
	defer cancel()
	req := &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}}
	res, err := askAdmins(ctx, c, func(ctx context.Context, a *kafka.Client) (*kafka.CreateTopicsResponse, error) {
		return a.CreateTopics(ctx, req)
	})
	if err != nil {
		return err
	}
	if err := res.Errors[spec.Name]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return err
	}
	return nil
}

// onBroker is the name of a topic or group as the brokers know it.
func (c *Client) onBroker(name string) string { return c.cfg.Prefix + name }

// partitions returns how many partitions the topic has, each of them with a leader.
func (c *Client) partitions(ctx context.Context, topic string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for attempt := 0; ; attempt++ {
		n, err := c.partitionsNow(ctx, topic)
		if err == nil {
			return n, nil
		}
		if !retriable(err) || pause.For(ctx, retryPause(attempt)) != nil {
			return 0, fmt.Errorf("partitions of topic %s: %w", topic, markUnavailable(err))
		}
	}
}

// partitionsNow asks how many partitions the topic has, each of them with a leader.
func (c *Client) partitionsNow(ctx context.Context, topic string) (int, error) {
	topics, err := c.layout(ctx, []string{topic})
	if err != nil {
		return 0, err
	}
	for _, t := range topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return 0, t.Error
		}
		for _, p := range t.Partitions {
			if p.Error != nil && !errors.Is(p.Error, kafka.ReplicaNotAvailable) { // that one says nothing of the leader
				return 0, p.Error
			}
		}
		if len(t.Partitions) > 0 {
			return len(t.Partitions), nil
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}

// layout asks a broker what it knows of the topics. It goes around kafka-go's cached layout, which a topic made by
// another process enters late, and doesn't create topics as Conn.ReadPartitions would.
func (c *Client) layout(ctx context.Context, topics []string) ([]kafka.Topic, error) {
	return askAny(ctx, c, func(ctx context.Context, broker int) ([]kafka.Topic, error) {
		uncached := c.newAdmin(broker, topics)
		defer closeAdmin(uncached)
		res, err := uncached.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
		if err != nil {
			return nil, err
		}
		return res.Topics, nil
	})
}
