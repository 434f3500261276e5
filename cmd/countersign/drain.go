package main

// Waiting until a stage has done what is in the log.

import (
	"context"
	"fmt"
	"time"
)

// drain waits, where this process is the whole service, until a group has done what is in the log.
func (s *service) drain(group, topic string) func(context.Context) error {
	return func(ctx context.Context) error {
		if len(s.cfg.Kafka) > 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, drainTimeout)
		defer cancel()
		for {
			lag, err := s.kafka.Lag(ctx, group, topic)
			if err != nil || lag == 0 {
				return err
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%d records are left", lag)
			}
		}
	}
}
