package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// SignResult is what became of a single pair.
type SignResult int

const (
	Added        SignResult = iota + 1 // signed correctly and new: it is in the database now
	Duplicate                          // signed correctly, but in the database already
	BadSignature                       // the signature is not one of this hash by this site's certificate
)

func (r SignResult) String() string {
	switch r {
	case Added:
		return "added"
	case Duplicate:
		return "duplicate"
	case BadSignature:
		return "bad signature"
	}
	return fmt.Sprintf("SignResult(%d)", int(r))
}

// Sign sends one pair and waits for its outcome. If the connection breaks, the pair may have been
// added all the same, so the call is not repeated: sending it again would give Duplicate.
func (c *Client) Sign(ctx context.Context, site string, hash [32]byte, signature []byte) (SignResult, error) {
	query := url.Values{"hash": {hex.EncodeToString(hash[:])}, "sig": {EncodeSignature(signature)}}
	k := &call{method: http.MethodGet, path: []string{"sign", site}, query: query}
	reply, err := c.do(ctx, k)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(reply))
	switch {
	case strings.HasPrefix(text, "signed OK "):
		return Added, nil
	case strings.HasPrefix(text, "duplicate already in db"):
		return Duplicate, nil
	case text == "Invalid signature":
		return BadSignature, nil
	}
	return 0, fmt.Errorf("%s: the answer is none of those that the API has: %q", k, excerpt(reply))
}

// SignBatch sends up to 100,000 pairs, of which 10,000 are recommended, and waits for their outcome, all in one
// request. For more, and for an outcome that survives a broken connection, use Upload.
func (c *Client) SignBatch(ctx context.Context, site string, pairs []Pair) (BatchResult, error) {
	var b BatchResult
	err := c.json(ctx, &call{
		method: http.MethodPost,
		path:   []string{"sign", site},
		header: http.Header{"Content-Type": {"application/json"}},
		body:   func() (*body, error) { return sliceBody(pairs), nil },
		replay: true,
	}, &b)
	return b, err
}
