package sink

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

func unmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }

func uploadID(n byte) uuid.UUID { return uuid.UUID{0: n, 15: n} }

// hashOf is the n-th hash of a shard.
func hashOf(shard, shards, n int) (h [32]byte) {
	binary.BigEndian.PutUint32(h[:], uint32((uint64(shard)<<32+uint64(shards)-1)/uint64(shards)))
	binary.BigEndian.PutUint64(h[16:], uint64(n))
	return h
}

func fingerprint(n byte) []byte {
	b := make([]byte, 32)
	b[0] = n
	return b
}

// part makes claims from index on; the signatures differ in content and length, every third hash was sent in upper
// case.
func part(upload byte, batch, part uint32, from int, hashes ...[32]byte) *recordpb.Claims {
	id := uploadID(upload)
	c := &recordpb.Claims{Upload: id[:], Batch: batch, Part: part, Site: fmt.Sprintf("site%d.example", upload), AcceptedMs: 1000 * int64(upload),
		Signers: []*recordpb.Signer{{Fingerprint: fingerprint(upload), Algorithm: "RSA-2048"}}}
	for i, h := range hashes {
		index := from + i
		c.Hashes = append(c.Hashes, h[:]...)
		c.Indexes = record.AppendUint16(c.Indexes, index)
		if index%3 == 0 {
			c.Upper = record.SetBit(c.Upper, i, len(hashes))
		}
		signature := fmt.Sprintf("signature %d/%d/%d", upload, batch, index)
		c.Signatures = append(c.Signatures, signature...)
		c.SignatureLengths = record.AppendUint16(c.SignatureLengths, len(signature))
	}
	return c
}

// singleClaim is the claim of a single signing.
func singleClaim(upload byte, hash [32]byte) *recordpb.Claims {
	c := part(upload, 1, 0, 0, hash)
	c.Single = true
	return c
}

// singleOutcome is what verifying a single signing found, and the upload.
func singleOutcome(upload byte) *recordpb.Outcomes {
	id := uploadID(upload)
	return &recordpb.Outcomes{
		Outcomes: []*recordpb.Outcome{{Upload: id[:], Batch: 1, AcceptedMs: 1000 * int64(upload), Claims: 1, Single: true}},
		Uploads:  []*recordpb.Accepted{{Upload: id[:], Site: "site.example", Count: 1}},
	}
}

func block(claims ...*recordpb.Claims) []byte {
	return record.Encode(&recordpb.Verified{Kind: &recordpb.Verified_Block{Block: &recordpb.Block{Claims: claims}}})
}

func outcomes(o *recordpb.Outcomes) []byte {
	return record.Encode(&recordpb.Verified{Kind: &recordpb.Verified_Outcomes{Outcomes: o}})
}

// outcome is what verifying a batch found: so many claims, and behind them one bad signature, one failure, and one pair that failed for
// the reason of its upload.
func outcome(upload byte, batch uint32, claims int) *recordpb.Outcome {
	id := uploadID(upload)
	return &recordpb.Outcome{Upload: id[:], Batch: batch, AcceptedMs: 1000 * int64(upload), Claims: uint32(claims),
		BadHashes: fingerprint(99), BadIndexes: record.AppendUint16(nil, claims),
		Failures:     []*recordpb.Failure{{Index: uint32(claims) + 1, Text: "nonsense", Reason: "not a SHA-256"}},
		FailedHashes: fingerprint(98), FailedIndexes: record.AppendUint16(nil, claims+2), FailedUpper: []byte{1}, FailedReason: "nobody home"}
}

// running is a stage that a test started.
type running struct {
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t, cancel, make(chan error, 1)}
	go func() { r.done <- Run(ctx, c) }()
	t.Cleanup(func() { cancel() })
	return r
}

// end stops the stage, and fails the test if it didn't end well or a promise was broken.
func (r *running) end(w *world) {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		r.t.Fatal("Run didn't return")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.broken {
		r.t.Error(b)
	}
}

// drain waits until the stage has committed everything.
func (r *running) drain(w *world) {
	r.t.Helper()
	if !w.await(w.drained) {
		r.t.Fatalf("not all is committed: %v of %d", w.commits(), len(w.log))
	}
}
