package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Status is how far an upload is. Batches have 1000 pairs; the other four count pairs of all
// batches that are done, and when all are, their sum is the upload's number of pairs.
type Status struct {
	WaitingBatch int `json:"waitingBatch"` // batches still to be processed
	DoneBatch    int `json:"doneBatch"`    // batches 1 to this are done
	OKHash       int `json:"okHash"`       // signed correctly, and added
	BadSigHash   int `json:"badSigHash"`   // with a wrong signature, not added
	DupHash      int `json:"dupHash"`      // there already, not added
	ErrorHash    int `json:"errorHash"`    // that could not be judged, not added
}

// Done reports whether everything is processed.
func (s Status) Done() bool { return s.WaitingBatch == 0 }

// BatchResult is what became of each pair of a batch. The hashes are as they were sent.
type BatchResult struct {
	AddedOK      []string          `json:"addedOk"`
	BadSignature []string          `json:"badSignature"`
	Duplicate    []string          `json:"duplicate"`
	Errors       map[string]string `json:"errors"` // the reason for each
}

// Status asks how far an upload is.
func (c *Client) Status(ctx context.Context, id uuid.UUID) (Status, error) {
	var s Status
	err := c.json(ctx, &call{method: http.MethodGet, path: []string{"resultasync", id.String()}, safe: true}, &s)
	return s, err
}

// Batch asks what became of the pairs of batch n, counted from 1. It must be done: n is at most the
// status's DoneBatch.
func (c *Client) Batch(ctx context.Context, id uuid.UUID, n int) (BatchResult, error) {
	var b BatchResult
	err := c.json(ctx, &call{method: http.MethodGet, path: []string{"resultasync", id.String(), strconv.Itoa(n)}, safe: true}, &b)
	return b, err
}

// Pauses between two polls of Wait: small uploads take some tens of milliseconds, and nobody
// watches more than once a second.
const (
	firstPoll   = 20 * time.Millisecond
	longestPoll = time.Second
)

// Wait polls until all of an upload is processed, and returns its last status. It calls progress,
// unless nil, with each status that differs from the one before, the last one included. Only ctx
// limits the waiting: a service whose database is away answers 503 for a while, and processes the
// upload all the same. When Wait fails, the status is the last one seen.
func (c *Client) Wait(ctx context.Context, id uuid.UUID, progress func(Status)) (Status, error) {
	var last Status
	first := true
	for pause := firstPoll; ; pause = min(pause*3/2, longestPoll) {
		s, err := c.Status(ctx, id)
		switch {
		case err != nil && !refusedForNow(err):
			return last, err
		case err != nil:
			pause = longestPoll
		default:
			if progress != nil && (first || s != last) {
				progress(s)
			}
			if last, first = s, false; s.Done() {
				return s, nil
			}
		}
		if err := c.sleep(ctx, pause); err != nil {
			return last, fmt.Errorf("wait for upload %s: %w", id, err)
		}
	}
}
