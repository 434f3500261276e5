package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// One call of the API: requests until one is answered or may not be repeated.

// call is what is asked for.
type call struct {
	method string
	path   []string // its segments after /api/v1, not escaped
	query  url.Values
	header http.Header
	// body makes the body of each attempt; nil: there is none.
	body func() (*body, error)
	// replay: body can be called more than once.
	replay bool
	// safe: repeating does not change the outcome, even if an earlier attempt got through.
	safe bool
}

// mostReply bounds the answers that are read: 100,000 pairs in errors take some 70 MB at most.
const mostReply = 128 << 20

// json does the call and decodes its answer into v.
func (c *Client) json(ctx context.Context, k *call, v any) error {
	reply, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(reply, v); err != nil {
		return fmt.Errorf("%s: the answer is not the expected JSON (is this a countersign service?): %w", k, err)
	}
	return nil
}

// do does the call and returns its answer's body. A refusal is a *Problem, wrapped.
func (c *Client) do(ctx context.Context, k *call) ([]byte, error) {
	pause, begun := c.retry.First, c.now()
	for attempt := 1; ; attempt++ {
		b, err := k.newBody()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		reply, err := c.try(ctx, k, b)
		b.leave()
		if err == nil {
			return reply, nil
		}
		wait, ok := c.pauseAfter(err, pause)
		late := c.retry.For > 0 && c.now().Add(wait).Sub(begun) > c.retry.For
		if !ok || late || attempt == c.retry.Attempts || ctx.Err() != nil || !k.repeatable(err) {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		if stopped := c.sleep(ctx, wait); stopped != nil {
			return nil, fmt.Errorf("%s: %w (and no time to repeat it: %w)", k, err, stopped)
		}
		pause = min(2*pause, c.retry.Longest)
		b.settle()
	}
}

// pauseAfter returns how long to wait after err: what the server asks for, up to a tenth more, else
// pause, down to half of it. ok is false if the server asks for too much.
func (c *Client) pauseAfter(err error, pause time.Duration) (wait time.Duration, ok bool) {
	var problem *Problem
	if !errors.As(err, &problem) || problem.RetryAfter == 0 {
		return time.Duration(float64(pause) * (1 - c.jitter()/2)), true
	}
	wait = problem.RetryAfter
	return wait + time.Duration(float64(wait)*c.jitter()/10), wait <= c.retry.Longest
}

// newBody makes the body of one attempt, nil if the call has none.
func (k *call) newBody() (*body, error) {
	if k.body == nil {
		return nil, nil
	}
	return k.body()
}

// repeatable tells whether the call may be done again after err.
func (k *call) repeatable(err error) bool {
	if !k.replay && k.body != nil {
		return false
	}
	if _, ok := errors.AsType[*sourceError](err); ok {
		return false
	}
	var problem *Problem
	if !errors.As(err, &problem) {
		return k.safe // the connection failed: before or after the server acted
	}
	_, accepted := problem.Upload()
	return refusedForNow(err) && (k.safe || !accepted)
}

// refusedForNow tells whether err is an answer that may be another one later.
func refusedForNow(err error) bool {
	var problem *Problem
	return errors.As(err, &problem) &&
		(problem.Status == http.StatusTooManyRequests || problem.Status == http.StatusServiceUnavailable)
}

// try makes one request, with body b unless that is nil.
func (c *Client) try(ctx context.Context, k *call, b *body) (reply []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, k.method, c.url(k), nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, k.header)
	switch {
	case b != nil:
		req.Body, req.ContentLength = b, b.length
		defer func() { err = culprit(ctx, b, err) }()
	case !k.safe:
		// net/http sends a GET again by itself when a kept connection breaks, though the server may have acted on it.
		// It doesn't where there is a body that it can't read again. One of no bytes is left out of the request.
		req.Body = io.NopCloser(strings.NewReader(""))
	}
	res, err := c.http.Do(req)
	if err != nil {
		if sent, ok := errors.AsType[*url.Error](err); ok { // says the whole address again, query included
			err = sent.Err
		}
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return nil, problemOf(res, c.now())
	}
	reply, err = io.ReadAll(io.LimitReader(res.Body, mostReply+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(reply) > mostReply {
		return nil, fmt.Errorf("the answer is longer than %d bytes", mostReply)
	}
	return reply, nil
}

// culprit returns the reason of which err, an attempt's error, is only a consequence.
func culprit(ctx context.Context, b *body, err error) error {
	var refusal *Problem
	switch cause := b.failure(); {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.As(err, &refusal): // the source may have failed because of it
		return fmt.Errorf("%w while sending the body", ctx.Err())
	case cause != nil:
		return cause
	}
	return err
}

// url is where a call goes.
func (c *Client) url(k *call) string {
	u := *c.base
	escaped := make([]string, len(k.path))
	for i, segment := range k.path {
		escaped[i] = url.PathEscape(segment)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/api/v1/" + strings.Join(k.path, "/")
	u.RawPath = strings.TrimSuffix(c.base.EscapedPath(), "/") + "/api/v1/" + strings.Join(escaped, "/")
	u.RawQuery = k.query.Encode()
	return u.String()
}

// String names the call in errors, without its query: a signature is long.
func (k *call) String() string {
	return k.method + " /api/v1/" + strings.Join(k.path, "/")
}
