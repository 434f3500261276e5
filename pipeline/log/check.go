package log

// Whether the log takes records now. A broker's word is not enough: when the cluster has lost its quorum, the brokers
// that are left go on naming the leaders and replicas that there were. So a replica counts only if it answers.

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// checkLimit bounds Check. Half of it is for the brokers to say what there is, half for each of them to answer.
const checkLimit = 4 * time.Second

// Check returns nil if records can be produced to every partition of the topics that EnsureTopic was called for: the
// partition has a leader that answers, and as many in-sync replicas that answer as the topic demands
// (min.insync.replicas). The error is a sentence for the operator. Check takes at most four seconds.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	c.mu.Lock()
	needed := make(map[string]int, len(c.ensured))
	names := make([]string, 0, len(c.ensured))
	for name, inSync := range c.ensured {
		needed[name] = inSync
		names = append(names, name)
	}
	c.mu.Unlock()
	topics, err := func() ([]kafka.Topic, error) {
		ctx, cancel := context.WithTimeout(ctx, checkLimit/2)
		defer cancel()
		return c.layout(ctx, names)
	}()
	if err != nil {
		return fmt.Errorf("no broker says what the cluster is like: %w", markUnavailable(err))
	}
	answering := c.answering(ctx, topics)
	for _, t := range topics {
		if t.Error != nil {
			return fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			if err := checkPartition(p, needed[t.Name], answering); err != nil {
				return fmt.Errorf("topic %s partition %d %w", t.Name, p.ID, err)
			}
		}
	}
	return nil
}

// checkPartition completes a sentence that begins with the partition.
func checkPartition(p kafka.Partition, needed int, answering map[kafka.Broker]bool) error {
	if p.Leader.Host == "" {
		return fmt.Errorf("has no leader: %w", ErrUnavailable)
	}
	if !answering[p.Leader] {
		return fmt.Errorf("is led by %s, which doesn't answer: %w", addressOf(p.Leader), ErrUnavailable)
	}
	inSync := 0
	for _, replica := range p.Isr {
		if answering[replica] {
			inSync++
		}
	}
	if inSync < needed {
		return fmt.Errorf("has %d of %d replicas in sync and answering, and needs %d: %w",
			inSync, len(p.Replicas), needed, ErrUnavailable)
	}
	return nil
}

// answering asks every leader and in-sync replica for a sign of life.
func (c *Client) answering(ctx context.Context, topics []kafka.Topic) map[kafka.Broker]bool {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		result = map[kafka.Broker]bool{} // guarded by mu
		asked  = map[kafka.Broker]bool{}
	)
	ask := func(b kafka.Broker) {
		if b.Host == "" || asked[b] {
			return
		}
		asked[b] = true
		wg.Go(func() {
			err := c.probeOne(ctx, addressOf(b))
			mu.Lock()
			defer mu.Unlock()
			result[b] = err == nil
		})
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			ask(p.Leader)
			for _, replica := range p.Isr {
				ask(replica)
			}
		}
	}
	wg.Wait()
	return result
}

func addressOf(b kafka.Broker) string { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port)) }

// noteTopic remembers a topic for Check, with how many in-sync replicas it demands. Where the brokers don't tell, that
// is what the topic would have been created with.
func (c *Client) noteTopic(ctx context.Context, spec TopicSpec) {
	needed := max(1, spec.MinInSync)
	const name = "min.insync.replicas"
	res, err := askAdmins(ctx, c, func(ctx context.Context, a *kafka.Client) (*kafka.DescribeConfigsResponse, error) {
		return a.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: spec.Name, ConfigNames: []string{name}},
		}})
	})
	if err == nil {
		for _, r := range res.Resources {
			for _, entry := range r.ConfigEntries {
				if n, err := strconv.Atoi(entry.ConfigValue); err == nil && entry.ConfigName == name && n > 0 {
					needed = n
				}
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ensured[spec.Name] = needed
}
