package kafkaio

import (
	"context"
)

func (e *Embedded) retainLoop(ctx context.Context) { <-ctx.Done() }

func clampCommits(ctx context.Context, c *Client) error { return nil }
