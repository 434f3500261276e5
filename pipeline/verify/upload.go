package verify

import (
	"context"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/record/recordpb"
)

// upload is a sealed attempt on its way through the stage:
//
//	   reader           coordinator            announcer            reader           coordinator      forwarder
//	seal is read ──► certificates and ──► decision is appended ──► decision is ──► verdicts under ──► claims and outcomes
//	       │         verdicts are found     to the partition        read back      it are there       are in topic verified
//	       │                                                          ▲
//	       └───────── the partition's log holds a decision already ───┘
//
// The reader makes an upload and hands it to the coordinator. The coordinator hands it to the forwarder when it has the
// verdicts under the decision that was read back, which may be another one than it announced.
type upload struct {
	// Set by the reader when it makes the upload, and not changed.
	id     uuid.UUID
	seal   *recordpb.Seal
	offset int64     // of the seal
	from   int64     // of the first chunk
	seen   time.Time // when this process read the seal

	// These belong to the coordinator until the upload goes into partition.decided, then to the forwarder.
	attempt      *attempt      // holds the chunks; nil when not all of them are held
	verification *verification // nil: nothing is known of the site yet, or the decision needs none
	decision     *decision     // as it was read from the log; nil: it was not
	failed       error         // wraps errUnrecoverable: why there are no verdicts

	// These belong to the coordinator.
	deadline    time.Time          // when the site counts as unavailable that has not answered, if the process doesn't stand still
	stood       time.Duration      // for how long the process had stood still when the deadline was set
	started     time.Time          // when verification was started
	cancel      context.CancelFunc // ends the reading of the chunks from the log; nil: nobody reads them
	looks       int                // looks at the site that began after the seal was seen and brought leaves that were not known
	unavailable string             // why a look found nothing, when something was known before
	undecided   bool
	announced   bool
}

// release gives the upload's memory back to the budget.
func (u *upload) release() {
	if u.attempt != nil {
		u.attempt.drop()
	}
}
