package main

// Uploads whose every outcome is known beforehand, and the comparison of what the service says with it.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/testsite"
)

// outcome is the section of the details in which a pair must turn up.
type outcome int

const (
	added outcome = iota
	badSignature
	duplicate
	failed
)

// entry is one pair of a body, as text, and what must become of it.
type entry struct {
	hash, signature string
	want            outcome
	reason          string // part of it, for failed
}

// good is n entries that must be added.
func good(seed string, n int, sign signer) []entry {
	out := make([]entry, n)
	parallel(n, func(i int) {
		hash := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, i))
		text := testsite.HexText(hash, i%11 == 0)
		out[i] = entry{hash: text, signature: client.EncodeSignature(sign(text))}
	})
	return out
}

// as is entries with another outcome.
func as(want outcome, entries []entry) []entry {
	out := slices.Clone(entries)
	for i := range out {
		out[i].want = want
	}
	return out
}

// body is the JSON of entries.
func body(entries []entry) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(',')
		}
		text, _ := json.Marshal([2]string{e.hash, e.signature})
		b.Write(text)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// upload sends entries and returns the upload's UUID.
func (n *node) upload(site string, entries []entry) uuid.UUID {
	n.t.Helper()
	r, err := n.UploadBody(n.t.Context(), site, bytes.NewReader(body(entries)), client.UploadOptions{})
	must(n.t, err)
	if r.Hashes != len(entries) || r.Batches != (len(entries)+999)/1000 {
		n.t.Errorf("the receipt says %d pairs in %d batches for %d pairs", r.Hashes, r.Batches, len(entries))
	}
	return r.UUID
}

// expect waits until an upload is done and compares counts, sums and every list of every batch.
func (n *node) expect(id uuid.UUID, entries []entry) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	got, err := n.Wait(ctx, id, nil)
	if err != nil {
		n.t.Fatalf("waiting for %s: %v (%+v)\n%s", id, err, got, n.logs)
	}
	if want := count(entries); got != want {
		n.t.Errorf("upload %s: %+v, want %+v", id, got, want)
	}
	for b := 1; b <= (len(entries)+999)/1000; b++ {
		result, err := n.Batch(ctx, id, b)
		for refusal := new(client.Problem); errors.As(err, &refusal) && refusal.Status == http.StatusServiceUnavailable && ctx.Err() == nil; {
			time.Sleep(50 * time.Millisecond) // not now, the answer says
			result, err = n.Batch(ctx, id, b)
		}
		must(n.t, err)
		if diff := compare(result, entries[(b-1)*1000:min(b*1000, len(entries))]); diff != "" {
			n.t.Errorf("upload %s, batch %d: %s", id, b, diff)
		}
	}
}

// count is the status that entries must end with.
func count(entries []entry) client.Status {
	s := client.Status{DoneBatch: (len(entries) + 999) / 1000}
	for _, e := range entries {
		*[]*int{&s.OKHash, &s.BadSigHash, &s.DupHash, &s.ErrorHash}[e.want]++
	}
	return s
}

// compare tells how a batch's result differs from what its entries must be.
func compare(got client.BatchResult, entries []entry) string {
	var lists [failed][]string
	errors := make(map[string]string)
	for _, e := range entries {
		if e.want == failed {
			errors[e.hash] = e.reason
		} else {
			lists[e.want] = append(lists[e.want], e.hash)
		}
	}
	for want, list := range [failed][]string{added: got.AddedOK, badSignature: got.BadSignature, duplicate: got.Duplicate} {
		if !slices.Equal(list, lists[want]) {
			return fmt.Sprintf("list %d has %d hashes, want %d, or they differ", want, len(list), len(lists[want]))
		}
	}
	if !maps.EqualFunc(got.Errors, errors, func(got, want string) bool { return strings.Contains(got, want) }) {
		return fmt.Sprintf("errors %.300v, want %.300v", got.Errors, errors)
	}
	return ""
}

// mixedEntries is n pairs of every kind; known are good pairs that are in the database already.
func mixedEntries(t *testing.T, seed string, n int, sign signer, known []entry) []entry {
	t.Helper()
	out := good(seed, n, sign)
	for i := range out {
		e := &out[i]
		switch i % 10 {
		case 3: // a signature of something else
			*e = entry{e.hash, out[(i+1)%n].signature, badSignature, ""}
		case 5:
			*e = entry{e.hash, "no base64!", badSignature, ""}
		case 6:
			*e = entry{fmt.Sprintf("%s no hash %d", seed, i), e.signature, failed, "SHA-256"}
		case 7: // repeats an earlier pair of this upload
			*e = entry{out[i-5].hash, out[i-5].signature, duplicate, ""}
		case 8:
			*e = known[i%len(known)]
			e.want = duplicate
		}
	}
	return out
}
