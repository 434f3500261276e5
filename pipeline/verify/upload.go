package verify

import (
	"context"

	"github.com/google/uuid"

	"countersign/pipeline/record/recordpb"
)

// upload is a sealed attempt on its way through the stage:
//
//	   reader             decider               announcer            reader              forwarder
//	seal is read ──► certificates and ──► decision is appended ──► decision is ──► claims and outcomes are
//	       │         verdicts are found     to the partition        read back       in topic verified: done
//	       │                                                          ▲
//	       └───────── the partition's log holds a decision already ───┘
//
// The reader makes an upload and hands it to a decider and, with its decision, to the forwarder. The decider may still
// be running then, when the decision that was read is another one. So the forwarder first waits for the decider.
type upload struct {
	// Set by the reader when it makes the upload, and not changed.
	id     uuid.UUID
	seal   *recordpb.Seal
	offset int64              // of the seal
	from   int64              // of the first chunk
	cancel context.CancelFunc // ends the decider; nil when there is none

	// attempt holds the chunks; nil when not all of them are held. It belongs to the decider until deciderDone is
	// closed, then to the forwarder.
	attempt *attempt
	// verdicts is what the decider found, nil if it ended before. It belongs to the decider until deciderDone is
	// closed, then to the forwarder.
	verdicts *verdicts
	// deciderDone is closed when the decider has ended, or when the upload is made if it needs none.
	deciderDone chan struct{}

	// decision is set by the reader before the upload goes into partition.decided.
	decision *decision
}

// release gives the upload's memory back to the budget.
func (u *upload) release() {
	if u.attempt != nil {
		u.attempt.drop()
	}
}
