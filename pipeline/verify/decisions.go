package verify

// Decisions as they are read from the log.

import (
	"bytes"
	"slices"

	"github.com/google/uuid"

	"countersign/internal/fifo"
	"countersign/pipeline/certs"
	"countersign/pipeline/record/recordpb"
)

// decision says which certificates decide an upload. It is immutable.
type decision struct {
	chains []certs.Chain
	reason string // why there are no chains
}

const (
	// maxRecent bounds the decisions that a partition remembers. They are for retries with an Idempotency-Key that were
	// in flight at once: several seals of one upload, which all go by the first decision.
	maxRecent = 4096
	// maxShared bounds the chains that decisions share.
	maxShared = 256
)

// recentDecisions remembers the decisions read last, by upload. It belongs to the reader.
type recentDecisions struct {
	decisions *fifo.Map[uuid.UUID, *decision]
	chains    *fifo.Map[[32]byte, certs.Chain] // by the leaf's fingerprint
}

func newRecentDecisions() recentDecisions {
	return recentDecisions{
		decisions: fifo.New[uuid.UUID, *decision](maxRecent),
		chains:    fifo.New[[32]byte, certs.Chain](maxShared),
	}
}

// get returns the decision for an upload, or nil.
func (r recentDecisions) get(upload uuid.UUID) *decision {
	d, _ := r.decisions.Get(upload)
	return d
}

// add remembers a decision of a record, whose chains are given, and returns it.
func (r recentDecisions) add(upload uuid.UUID, d *recordpb.Decision, chains []*recordpb.Chain) *decision {
	out := &decision{reason: d.Reason}
	for _, i := range d.Chains {
		out.chains = append(out.chains, r.share(certs.Chain{Certificates: chains[i].Certificates}))
	}
	r.decisions.Put(upload, out)
	return out
}

// share returns the chain that an earlier decision holds, if it equals c, and c if there is none. Every record of
// decisions brings its own copy of each chain, which has kilobytes, and most records are about the same few sites.
func (r recentDecisions) share(c certs.Chain) certs.Chain {
	leaf := c.Fingerprint()
	if held, ok := r.chains.Get(leaf); ok && slices.EqualFunc(held.Certificates, c.Certificates, bytes.Equal) {
		return held
	}
	r.chains.Put(leaf, c)
	return c
}

// sameChains reports whether two lists of chains end in the same leaves, in the same order.
func sameChains(a, b []certs.Chain) bool {
	return slices.EqualFunc(a, b, func(a, b certs.Chain) bool { return bytes.Equal(leafOf(a), leafOf(b)) })
}

func leafOf(c certs.Chain) []byte {
	if len(c.Certificates) == 0 {
		return nil
	}
	return c.Certificates[0]
}
