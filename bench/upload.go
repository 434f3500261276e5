package bench

// One upload, from its first byte to its last result.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"countersign/internal/pause"
)

// uploaded is when what happened to an upload, counted from its first byte.
type uploaded struct {
	replied time.Duration // the POST's answer was read
	done    time.Duration // a poll said waitingBatch 0: every result is stored and can be asked for
	refused int           // times that the service asked to come back later; the clock then starts anew
}

// Polls cost the service a query each. Pauses grow with the time that has passed, so that they lengthen what is
// measured by two per cent at most on average, and never by more than a pause.
const (
	pollShare  = 25
	firstPause = 4 * time.Millisecond
	mostPause  = 250 * time.Millisecond
	mostRefuse = 100
	mostWait   = 10 * time.Minute // for all results of one upload
)

// upload sends b and waits for its last result. Counts that are not as they must be are an error.
func (c *conn) upload(ctx context.Context, b *body) (uploaded, error) {
	var u uploaded
	what := "upload for " + b.site
	for {
		if err := c.dial(ctx); err != nil { // a new connection is not part of the figure
			return u, err
		}
		start := time.Now()
		r, err := c.post(ctx, "/api/v1/asyncsign/"+b.site, b, nil)
		u.replied = time.Since(start)
		switch {
		case err != nil:
			return u, fmt.Errorf("%s: %w", what, err)
		case r.status == http.StatusServiceUnavailable && u.refused < mostRefuse:
			u.refused++
			if err := pause.For(ctx, max(r.retryAfter, 100*time.Millisecond)); err != nil {
				return u, err
			}
			continue
		case r.status != http.StatusOK:
			return u, r.problem(what)
		}
		var receipt struct{ UUID string }
		if err := json.Unmarshal(r.body, &receipt); err != nil || receipt.UUID == "" {
			return u, fmt.Errorf("%s: the answer %.200q has no UUID", what, r.body)
		}
		got, err := c.wait(ctx, receipt.UUID, start)
		u.done = time.Since(start)
		if err == nil && got != b.want {
			err = fmt.Errorf("%s: the service counted %+v instead of %+v; it must know the sites by the bench's --cert-dir, and have none of the hashes yet", what, got, b.want)
		}
		return u, err
	}
}

// wait polls until nothing waits.
func (c *conn) wait(ctx context.Context, id string, start time.Time) (counts, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mostWait, fmt.Errorf("upload %s has no result after %s; see the service's log", id, mostWait))
	defer cancel()
	for {
		r, err := c.get(ctx, "/api/v1/resultasync/"+id)
		if err != nil {
			return counts{}, errors.Join(context.Cause(ctx), err)
		}
		switch {
		case r.status == http.StatusServiceUnavailable:
		case r.status != http.StatusOK:
			return counts{}, r.problem("poll of " + id)
		default:
			got, waiting, err := parseStatus(r)
			if err != nil {
				return counts{}, fmt.Errorf("poll of %s: %w", id, err)
			}
			if waiting == 0 {
				return got, nil
			}
		}
		rest := min(max(time.Since(start)/pollShare, firstPause), mostPause)
		if err := pause.For(ctx, max(rest, r.retryAfter)); err != nil {
			return counts{}, context.Cause(ctx)
		}
	}
}

// parseStatus reads the answer to a poll.
func parseStatus(r reply) (got counts, waiting int, err error) {
	var status struct {
		Waiting *int `json:"waitingBatch"`
		counts
	}
	if err := json.Unmarshal(r.body, &status); err != nil || status.Waiting == nil {
		return counts{}, 0, fmt.Errorf("the answer %.200q is no status", r.body)
	}
	return status.counts, *status.Waiting, nil
}
