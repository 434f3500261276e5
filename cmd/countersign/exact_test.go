package main

// Exactness without crashes: every pair's outcome, uploads that race for the same hashes, and uploads that break.

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestMixedPairsAreCountedAndListedExactly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sites := map[string]signer{"rsa.example": w.quickRSA("rsa.example"), "ec.example": w.ecdsa("ec.example")}
	size := times(50_000, 10_000)
	for name, memory := range map[string]string{"held": "256MiB", "forgotten": "0"} {
		t.Run(name, func(t *testing.T) {
			n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir(), "--verify-memory", memory)...)
			defer n.stop()
			for site, sign := range sites {
				known := good(site+" known", 500, sign)
				n.expect(n.upload(site, known), known)
				mixed := mixedEntries(t, site, size, sign, known)
				n.expect(n.upload(site, mixed), mixed)
			}
		})
	}
}

// The owner of a hash is whoever is first in its shard's log; the other upload's pair is a duplicate.
func TestTwoUploadsOfTheSameHashesAtOnce(t *testing.T) {
	t.Parallel()
	const hashes = 20_000
	rounds := times(20, 3)
	w := newWorld(t)
	signers := []signer{w.ecdsa("a.example"), w.ecdsa("b.example")}
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())...)
	defer n.stop()
	for round := range rounds {
		bodies := make([][]entry, 2)
		ids := make([]uuid.UUID, 2)
		for i, sign := range signers {
			bodies[i] = good(fmt.Sprint("round ", round), hashes, sign)
		}
		var wg sync.WaitGroup
		for i, site := range []string{"a.example", "b.example"} {
			wg.Go(func() { ids[i] = n.upload(site, bodies[i]) })
		}
		wg.Wait()
		owners := make(map[string]int)
		sum := 0
		for i, id := range ids {
			s, err := n.Wait(deadline(t, patience), id, nil)
			must(t, err)
			if s.OKHash+s.DupHash != hashes {
				t.Fatalf("round %d, upload %d: %+v", round, i, s)
			}
			sum += s.OKHash
			for b := 1; b <= hashes/1000; b++ {
				r, err := n.Batch(t.Context(), id, b)
				must(t, err)
				for _, h := range r.AddedOK {
					owners[strings.ToLower(h)]++
				}
			}
		}
		if sum != hashes || len(owners) != hashes {
			t.Fatalf("round %d: %d were added, %d hashes have an owner; want %d", round, sum, len(owners), hashes)
		}
		n.areSignedByBoth(bodies[0][:20])
	}
}

// areSignedByBoth checks that each hash has one of the two sites as its owner and the other beside it.
func (n *node) areSignedByBoth(entries []entry) {
	n.t.Helper()
	for _, e := range entries {
		hash, err := hex.DecodeString(e.hash)
		must(n.t, err)
		reply, err := n.lookUp([32]byte(hash))
		must(n.t, err)
		var signed struct {
			Site              string
			AlsoSignedBy      []struct{ Site, Signature string }
			AlsoSignedByCount int
		}
		_, text, _ := strings.Cut(reply, " ")
		must(n.t, json.Unmarshal([]byte(text), &signed))
		if also := signed.AlsoSignedBy; signed.AlsoSignedByCount != 1 || len(also) != 1 || also[0].Signature == "" ||
			signed.Site+also[0].Site != "a.exampleb.example" && signed.Site+also[0].Site != "b.examplea.example" {
			n.t.Fatalf("hash %s: %s", e.hash, reply)
		}
	}
}

// An upload that gets an error, or none at all, leaves nothing (I2): the same hashes are new afterwards.
func TestABrokenUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir(), "--stall-timeout", "5s")...)
	defer n.stop()
	for name, send := range map[string]func(text []byte) int{
		"malformed at its last byte": func(text []byte) int { return n.post(append(text[:len(text)-1:len(text)-1], '}')) },
		"cut off":                    func(text []byte) int { n.postPart(text, len(text)-100, 0); return http.StatusBadRequest },
		"stalled":                    func(text []byte) int { return n.postPart(text, len(text)-100, patience) },
	} {
		t.Run(name, func(t *testing.T) {
			entries := good(name, 5000, sign)
			status := send(body(entries))
			if want := map[bool]int{true: http.StatusRequestTimeout, false: http.StatusBadRequest}[name == "stalled"]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			n.expect(n.upload("ec.example", entries), entries)
		})
	}
}

// post sends a body and returns the status.
func (n *node) post(text []byte) int {
	r, err := oneByOne().Post("http://"+n.API+"/api/v1/asyncsign/ec.example", "application/x-www-form-urlencoded", bytes.NewReader(text))
	must(n.t, err)
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// postPart sends the first bytes of a body and waits, up to a time, for an answer. It returns the answer's status, or
// 0.
func (n *node) postPart(text []byte, first int, wait time.Duration) int {
	c, err := net.Dial("tcp", n.API)
	must(n.t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "POST /api/v1/asyncsign/ec.example HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(text), text[:first])
	must(n.t, err)
	_ = c.SetReadDeadline(time.Now().Add(wait))
	var status int
	_, _ = fmt.Fscanf(c, "HTTP/1.1 %d", &status)
	return status
}
