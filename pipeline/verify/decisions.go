package verify

// Decisions as they are read from the log.

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"countersign/internal/fifo"
	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// decision says which certificates decide an upload. It is immutable.
type decision struct {
	chains []certs.Chain
	reason string // why there are no chains

	reached uint64 // pairs from position 0 that were verified; 0: all
	failing string // why pairs that failed are errors; empty: they are bad
	failed  error  // wraps errUnrecoverable: a chain can't be had
}

const (
	// maxRecent bounds the decisions that a partition remembers. They are for retries with an Idempotency-Key that were
	// in flight at once: several seals of one upload, which all go by the first decision.
	maxRecent = 4096
	// maxShared bounds the chains that decisions share, and those that the announcer names by their leaf: 64 KiB each
	// at most.
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

// add remembers a decision of a record, whose chains are given, and returns it. A chain that can't be had is empty.
func (r recentDecisions) add(upload uuid.UUID, d *recordpb.Decision, chains []certs.Chain) *decision {
	out := &decision{reason: d.Reason, reached: d.Reached, failing: d.FailingReason}
	for _, i := range d.Chains {
		if len(chains[i].Certificates) == 0 {
			out.failed = unrecoverable("the record is gone that has a certificate of the decision")
		}
		out.chains = append(out.chains, chains[i])
	}
	r.decisions.Put(upload, out)
	return out
}

// chainsOf returns the chains of a record's Decisions, and behind them those of its leaves. A chain is empty if the
// record is gone that has it. The only errors are ctx's.
func (r *reader) chainsOf(ctx context.Context, d *recordpb.Decisions, offset int64) ([]certs.Chain, error) {
	all := make([]certs.Chain, 0, len(d.Chains)+len(d.Leaves))
	for _, c := range d.Chains {
		all = append(all, r.recent.share(certs.Chain{Certificates: c.Certificates}))
	}
	for i, fingerprint := range d.Leaves {
		leaf := [32]byte(fingerprint)
		chain, held := r.recent.chains.Get(leaf)
		for !held && d.ChainOffsets[i] < offset {
			var err error
			if chain, err = r.readChain(ctx, d.ChainOffsets[i], leaf); err == nil {
				break
			}
			if err := r.backOff(ctx, err); err != nil {
				return nil, err
			}
		}
		all = append(all, chain)
	}
	return all, nil
}

// readChain reads the chain of a leaf from the record at an offset. It is empty if it isn't there.
func (r *reader) readChain(ctx context.Context, offset int64, leaf [32]byte) (found certs.Chain, err error) {
	err = r.log.ReadRange(ctx, offset, offset+1, func(m log.Message) error {
		decoded, err := record.DecodeUpload(m.Value)
		if err != nil {
			return nil //nolint:nilerr // the reader sent it to the dead letters
		}
		for _, c := range decoded.GetDecisions().GetChains() {
			if chain := (certs.Chain{Certificates: c.Certificates}); chain.Fingerprint() == leaf {
				found = r.recent.share(chain)
			}
		}
		return nil
	})
	if errors.Is(err, log.ErrOffsetGone) {
		err = nil
	}
	return found, err
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
