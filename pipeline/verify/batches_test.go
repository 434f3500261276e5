package verify

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// Where a batch is cut into parts is stored with its results, and must be the same in every version
// (record.MaxPartBytes). It depends on the sizes of the signatures, and not on the chunks in which the pairs came. So
// the numbers here must not be changed.
func TestABatchIsCutIntoTheSamePartsForEver(t *testing.T) {
	for _, c := range []struct {
		signature int   // bytes
		parts     []int // claims in each
	}{
		{64, []int{1000}}, {512, []int{1000}}, {787, []int{1000}}, {788, []int{999, 1}}, {1024, []int{775, 225}},
	} {
		for _, chunk := range []int{1000, 170, 1} {
			if got := cutIntoParts(t, c.signature, chunk); !slices.Equal(got, c.parts) {
				t.Errorf("signatures of %d bytes in chunks of %d pairs are cut into parts of %v claims, want %v", c.signature, chunk, got, c.parts)
			}
		}
	}
}

// cutIntoParts returns how many claims each part has of a batch of valid pairs in one shard.
func cutIntoParts(t *testing.T, signature, chunk int) (claims []int) {
	t.Helper()
	l := newMemoryLog()
	stage, err := New(Config{Producer: l, Certs: &fakeCerts{}, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	out := newOutbox(stage, 0)
	u := &upload{id: uuid.New(), seal: &recordpb.Seal{Site: "example.com", Count: record.BatchSize}, decision: &decision{chains: make([]certs.Chain, 1)}}
	b := newBatches(u, nil, out)
	b.signers = []*recordpb.Signer{{Fingerprint: make([]byte, record.HashSize), Algorithm: "RSA-PKCS1-SHA256"}}
	for first := 0; first < record.BatchSize; first += chunk {
		c := &recordpb.Chunk{First: uint32(first)}
		var verdicts []byte
		for range min(chunk, record.BatchSize-first) {
			c.Hashes = append(c.Hashes, make([]byte, record.HashSize)...)
			c.Signatures = append(c.Signatures, make([]byte, signature)...)
			c.SignatureLengths = record.AppendUint16(c.SignatureLengths, signature)
			verdicts = append(verdicts, 1)
		}
		if err := b.add(t.Context(), c, verdicts); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := out.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, value := range l.topics["verified/0"] {
		m, err := record.DecodeVerified(value)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range m.GetBlock().GetClaims() {
			if int(c.Part) != len(claims) {
				t.Errorf("part %d comes after part %d", c.Part, len(claims)-1)
			}
			claims = append(claims, len(c.Hashes)/record.HashSize)
		}
	}
	return claims
}
