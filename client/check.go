package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// MaxChecked is how many hashes one request of Check asks about.
const MaxChecked = 10_000

// Signer is a site that signed a file.
type Signer struct {
	Site        string    `json:"site,omitempty"`
	SignedAt    time.Time `json:"signedAt,omitzero"`     // when the service accepted it
	SignedText  string    `json:"signedText,omitempty"`  // the hash in the letter case that was signed; empty: not known
	Algorithm   string    `json:"algorithm,omitempty"`   // such as RSA-PKCS1-SHA256
	Signature   string    `json:"signature,omitempty"`   // standard base64; empty in what Check returns
	Certificate string    `json:"certificate,omitempty"` // SHA-256 of the leaf, in hex
}

// Signers says who signed a file.
type Signers struct {
	Hash   string `json:"hash"` // in lower-case hex
	Signed bool   `json:"signed"`
	Signer        // the first; of no meaning where nobody has signed it
	// AlsoSignedBy are other sites, the earliest first: at most 100 from Hash, and 10 from Check.
	AlsoSignedBy []Signer `json:"alsoSignedBy,omitempty"`
	// AlsoSignedByCount is how many other sites there are.
	AlsoSignedByCount int `json:"alsoSignedByCount,omitempty"`
}

// By returns the signature of a site, and whether it is among those that s names.
func (s *Signers) By(site string) (Signer, bool) {
	if s.Signed && s.Site == site {
		return s.Signer, true
	}
	for _, also := range s.AlsoSignedBy {
		if also.Site == site {
			return also, true
		}
	}
	return Signer{}, false
}

// Hash asks who signed a file, with the signatures. That nobody has is no error.
func (c *Client) Hash(ctx context.Context, hash [32]byte) (Signers, error) {
	s := Signers{Hash: hex.EncodeToString(hash[:]), Signed: true}
	err := c.json(ctx, &call{method: http.MethodGet, path: []string{"hash", s.Hash}, safe: true}, &s)
	if p, ok := errors.AsType[*Problem](err); ok && p.Status == http.StatusNotFound && p.Type == "/problems/unknown-hash" {
		return Signers{Hash: s.Hash}, nil
	}
	return s, err
}

// Check asks who signed each of any number of files, MaxChecked of them in a request, and returns the answers in the order
// of the hashes.
func (c *Client) Check(ctx context.Context, hashes [][32]byte) ([]Signers, error) {
	all := make([]Signers, 0, len(hashes))
	for from := 0; from < len(hashes); from += MaxChecked {
		list := hashes[from:min(from+MaxChecked, len(hashes))]
		var reply struct {
			Hashes []Signers `json:"hashes"`
		}
		k := &call{
			method: http.MethodPost, path: []string{"check"}, header: http.Header{"Content-Type": {"text/plain"}},
			body: func() (*body, error) { return linesBody(list), nil }, replay: true, safe: true,
		}
		if err := c.json(ctx, k, &reply); err != nil {
			return nil, err
		}
		if len(reply.Hashes) != len(list) {
			return nil, fmt.Errorf("%s: the answer is about %d hashes, and %d were sent", k, len(reply.Hashes), len(list))
		}
		all = append(all, reply.Hashes...)
	}
	return all, nil
}

// linesBody is a body of one hash a line.
func linesBody(hashes [][32]byte) *body {
	text := make([]byte, 0, 65*len(hashes))
	for i := range hashes {
		text = append(hex.AppendEncode(text, hashes[i][:]), '\n')
	}
	return &body{length: int64(len(text)), src: bytes.NewReader(text), prompt: true}
}
