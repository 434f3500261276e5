package verify

// The announcer appends decisions to the partition. It puts as many into one record as are waiting, because chains are
// large and many uploads are of one site.

import (
	"context"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// announcement is a decision on its way to the log.
type announcement struct {
	upload uuid.UUID
	chains []certs.Chain
	reason string // why there are no chains
}

// announcer is the goroutine that announces. It keeps nothing from one record to the next.
type announcer struct{ *partition }

// run works until ctx ends. Its only errors are ctx's.
func (a announcer) run(ctx context.Context) error {
	for {
		builder, err := a.gather(ctx)
		if err != nil {
			return err
		}
		err = a.send(ctx, record.TopicUploads, a.log.ID(), record.Encode(&recordpb.Upload{
			Kind: &recordpb.Upload_Decisions{Decisions: &builder.record},
		}))
		if err != nil {
			return err
		}
	}
}

// gather waits for a decision and adds those that are waiting, as many as one record may hold.
func (a announcer) gather(ctx context.Context) (*decisionsBuilder, error) {
	builder := new(decisionsBuilder)
	select {
	case next := <-a.announcements:
		builder.add(next)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for !builder.full() {
		select {
		case next := <-a.announcements:
			builder.add(next)
		default:
			return builder, nil
		}
	}
	return builder, nil
}

// decisionsBuilder gathers decisions into one record, each chain once.
type decisionsBuilder struct {
	record recordpb.Decisions
	index  map[[32]byte]uint32 // of a chain in record, by its leaf's fingerprint
	bytes  int
}

const (
	// maxDecisionsBytes is where a record of decisions stops growing, in bytes. It leaves room for one more decision:
	// two chains of as many bytes as a handshake may bring (crypto/tls: 256 KiB of certificates), with their roots.
	maxDecisionsBytes = record.MaxBytes - 2*(256<<10) - 16<<10
	// maxDecisions bounds the decisions of one record.
	maxDecisions = 4096
)

func (b *decisionsBuilder) full() bool {
	return b.bytes > maxDecisionsBytes || len(b.record.Decisions) >= maxDecisions
}

func (b *decisionsBuilder) add(a announcement) {
	d := &recordpb.Decision{Upload: a.upload[:], Reason: a.reason}
	b.bytes += len(a.reason) + 64
	for _, chain := range a.chains {
		d.Chains = append(d.Chains, b.indexOf(chain))
	}
	b.record.Decisions = append(b.record.Decisions, d)
}

// indexOf returns where in the record a chain is. A chain that isn't there yet is added.
func (b *decisionsBuilder) indexOf(chain certs.Chain) uint32 {
	fingerprint := chain.Fingerprint()
	if i, ok := b.index[fingerprint]; ok {
		return i
	}
	i := uint32(len(b.record.Chains))
	b.record.Chains = append(b.record.Chains, &recordpb.Chain{Certificates: chain.Certificates})
	if b.index == nil {
		b.index = make(map[[32]byte]uint32)
	}
	b.index[fingerprint] = i
	for _, der := range chain.Certificates {
		b.bytes += len(der)
	}
	return i
}
