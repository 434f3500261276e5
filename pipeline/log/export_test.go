package log

import (
	"context"
	"net"
)

// OpenDialing is Open with a network of the test's.
func OpenDialing(
	ctx context.Context, cfg Config, dial func(ctx context.Context, network, address string) (net.Conn, error),
) (*Client, error) {
	cfg.Dial = dial
	return open(ctx, cfg, false)
}

// HungUp reports whether the partition's sender has a connection that its broker has closed. The sender must be idle.
func (p *Producer) HungUp(topic string, partition int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.senders[topicPartition{p.c.onBroker(topic), partition}].conn.hungUp()
}

// CheckNeeding is Check with a number of in-sync replicas that the topic demands.
func (c *Client) CheckNeeding(ctx context.Context, topic string, inSync int) error {
	c.mu.Lock()
	c.ensured[c.onBroker(topic)] = inSync
	c.mu.Unlock()
	return c.Check(ctx)
}
