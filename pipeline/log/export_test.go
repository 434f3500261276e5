package log

// HungUp reports whether the partition's sender has a connection that its broker has closed. The sender must be idle.
func (p *Producer) HungUp(topic string, partition int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.senders[topicPartition{p.c.onBroker(topic), partition}].conn.hungUp()
}
