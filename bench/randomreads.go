package bench

// Look-ups of hashes that nobody signed, and polls of uploads that never were, in turn, from thousands of connections.
// Such a question costs more than one that finds something, because "no" has to be certain.

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"countersign/internal/pause"
)

// readEvery is the time between two questions of a connection. A connection whose question takes longer asks the next
// one when it has the answer.
const readEvery = 2 * time.Second

// randomReads is the attack with n connections.
func randomReads(n int) attack {
	return attack{
		name: "reads", title: number(float64(n)) + " connections that ask for random hashes and uploads",
		start: func(ctx context.Context, f *front) {
			begun := time.Now()
			for i := range n {
				f.group.Go(func() {
					c := f.dial()
					defer c.close()
					at := begun.Add(time.Duration(i) * readEvery / time.Duration(n))
					for turn := i; pause.For(ctx, time.Until(at)) == nil; turn++ {
						path := "/api/v1/resultasync/" + uuid.NewString()
						if turn%2 == 0 {
							path = "/api/v1/hash/" + hexText(randomHash())
						}
						f.begun.Add(1)
						r, err := c.get(ctx, path)
						f.count(ctx, r, err, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable)
						at = at.Add(readEvery)
						if now := time.Now(); at.Before(now) {
							at = now
						}
					}
				})
			}
		},
	}
}
