package client

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Receipt is the service's word that it has the whole upload in its log.
type Receipt struct {
	UUID    uuid.UUID // to ask for results with, for 48 hours
	Batches int       // of 1000 pairs; the last one may have fewer
	Hashes  int       // pairs
}

// UploadOptions are the choices of an upload. The zero value is a good one.
type UploadOptions struct {
	// IdempotencyKey makes a second upload of the same pairs for the same site get the first one's
	// receipt: 1 to 255 visible ASCII characters. Empty means a random one if the Client may have
	// to repeat the upload by itself, and none otherwise.
	IdempotencyKey string
	// Replay says of UploadSeq's iterator that it gives the same pairs again when it is ranged over
	// again, so that the upload can be repeated. For the other calls it means nothing.
	Replay bool
}

// Upload sends pairs, signed for site, to be processed. The slice must not change before it
// returns; it is only read.
func (c *Client) Upload(ctx context.Context, site string, pairs []Pair, opts UploadOptions) (Receipt, error) {
	return c.upload(ctx, site, func() (*body, error) { return sliceBody(pairs), nil }, true, opts)
}

// UploadSeq is Upload for pairs that are made on the way. It ranges over pairs on another
// goroutine, one at a time, and holds some 100 of them. An error from pairs ends the upload, of
// which the service then keeps nothing, and is returned, wrapped. pairs should heed ctx if making
// one may take long: the end of ctx does not interrupt it.
func (c *Client) UploadSeq(ctx context.Context, site string, pairs iter.Seq2[Pair, error], opts UploadOptions) (Receipt, error) {
	return c.upload(ctx, site, func() (*body, error) { return seqBody(pairs), nil }, opts.Replay, opts)
}

// UploadBody sends a ready-made body: a JSON list of pairs of strings, as the API describes it. It
// can be repeated if r is an io.Seeker, which is then sent from where it stands. r is not closed.
// The service's refusal is returned even while a read of r hangs, but if ctx ends, net/http waits
// for that read: whoever closes r, as context.AfterFunc can, ends both.
func (c *Client) UploadBody(ctx context.Context, site string, r io.Reader, opts UploadOptions) (Receipt, error) {
	seeker, ok := r.(io.Seeker)
	if !ok {
		return c.upload(ctx, site, func() (*body, error) { return &body{length: -1, src: r}, nil }, false, opts)
	}
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil { // a pipe is a file, too
		return c.upload(ctx, site, func() (*body, error) { return &body{length: -1, src: r}, nil }, false, opts)
	}
	rewound := func() (*body, error) {
		end, err := seeker.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = seeker.Seek(start, io.SeekStart)
		}
		if err != nil {
			return nil, &sourceError{err}
		}
		return &body{length: max(end-start, 0), src: r}, nil
	}
	return c.upload(ctx, site, rewound, true, opts)
}

func (c *Client) upload(ctx context.Context, site string, newBody func() (*body, error), replay bool, opts UploadOptions) (Receipt, error) {
	key := opts.IdempotencyKey
	if key == "" && replay && c.retry.Attempts > 1 {
		random, err := uuid.NewRandom()
		if err != nil {
			return Receipt{}, fmt.Errorf("make an idempotency key: %w", err)
		}
		key = random.String()
	}
	// The server can refuse before the body is on its way (RFC 9110, section 10.1.1).
	header := http.Header{"Content-Type": {"application/json"}, "Expect": {"100-continue"}}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	var reply struct {
		UUID    uuid.UUID
		Batches count
		Hashes  count
	}
	k := &call{
		method: http.MethodPost,
		path:   []string{"asyncsign", site},
		header: header,
		body:   newBody,
		replay: replay,
		safe:   key != "",
	}
	if err := c.json(ctx, k, &reply); err != nil {
		return Receipt{}, err
	}
	if reply.UUID == uuid.Nil {
		return Receipt{}, fmt.Errorf("%s: the answer has no UUID (is this a countersign service?)", k)
	}
	return Receipt{reply.UUID, int(reply.Batches), int(reply.Hashes)}, nil
}

// count is a number that the API writes as a string.
type count int

func (n *count) UnmarshalJSON(text []byte) error {
	number, err := strconv.Atoi(strings.Trim(string(text), `"`))
	*n = count(number)
	return err
}
