package bench

// Single signings: one pair a request.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// signings are the latencies of some requests and the time that all took.
type signings struct {
	milliseconds []float64
	took         time.Duration
}

func (s signings) rate() float64 { return float64(len(s.milliseconds)) / s.took.Seconds() }

// sign sends the pairs one a request, so many requests at a time, each over its own connection. Every pair must be new.
func sign(ctx context.Context, s *server, site string, pairs []textPair, atOnce int) (signings, error) {
	result := signings{milliseconds: make([]float64, len(pairs))}
	conns := make([]*conn, atOnce)
	for i := range conns {
		conns[i] = s.dial()
		defer conns[i].close()
		if err := conns[i].dial(ctx); err != nil {
			return result, err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	start := time.Now()
	for _, c := range conns {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(pairs) {
					return nil
				}
				sent := time.Now()
				if err := c.sign(ctx, site, pairs[i]); err != nil {
					return errors.Join(err, s.alive())
				}
				result.milliseconds[i] = milliseconds(time.Since(sent))
			}
		})
	}
	err := group.Wait()
	result.took = time.Since(start)
	return result, err
}

// sign sends one pair.
func (c *conn) sign(ctx context.Context, site string, p textPair) error {
	r, err := c.get(ctx, "/api/v1/sign/"+site+"?hash="+string(p.hash)+"&sig="+string(p.signature))
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		return r.problem("sign for " + site)
	}
	if !strings.HasPrefix(string(r.body), "signed OK ") {
		return fmt.Errorf("sign for %s: the service answered %.60q instead of signed OK; it must know the site by the bench's --cert-dir, and not have the hash yet", site, r.body)
	}
	return nil
}
