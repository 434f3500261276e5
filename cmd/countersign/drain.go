package main

// Draining: a process that is the whole service does what is in its log before it stops, within a bound. Where others
// share the log they go on with it, and nothing has to be waited for.

import (
	"context"
	"fmt"
	"time"

	"countersign/internal/pause"
)

const (
	drainTimeout = 5 * time.Second
	drainPause   = 20 * time.Millisecond // between two looks at the log
)

// drain returns when lag says that no record is left. The error says how many are left after drainTimeout, or what
// ended the looks.
func drain(ctx context.Context, lag func(context.Context) (int64, error)) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for {
		left, err := lag(ctx)
		if err != nil || left == 0 {
			return err
		}
		if pause.For(ctx, drainPause) != nil {
			return fmt.Errorf("%d records are left", left)
		}
	}
}

// drainGroup is drain for a consumer group; it returns at once where other processes may go on with the log.
func (p *process) drainGroup(l *openLog, group, topic string) func(context.Context) error {
	return func(ctx context.Context) error {
		if len(p.cfg.Kafka) > 0 {
			return nil
		}
		return drain(ctx, func(ctx context.Context) (int64, error) { return l.client.Lag(ctx, group, topic) })
	}
}
