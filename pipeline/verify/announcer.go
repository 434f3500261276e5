package verify

// The announcer appends decisions to the partition. It puts as many into one record as are waiting, because chains are
// large and many uploads are of one site. A chain that is in the partition already is named by its leaf's fingerprint
// and the offset of the record that has it.

import (
	"context"
	"time"

	"github.com/google/uuid"

	"countersign/internal/fifo"
	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// announcement is a decision on its way to the log.
type announcement struct {
	upload  uuid.UUID
	chains  []certs.Chain
	reason  string // why there are no chains
	reached uint64 // as in recordpb.Decision
	failing string // as in recordpb.Decision
}

// A chain is written again when the record that has it is older than chainAge, or when more than chainDistance bytes of
// records were read since. So a reader that starts later doesn't look for it far back, where retention may have deleted
// it.
const (
	chainAge      = time.Hour
	chainDistance = 64 << 20
)

// logged is where a chain is in the log.
type logged struct {
	offset int64
	at     time.Time
	read   int64 // bytes that the partition's reader had read then
}

// announcer is the goroutine that announces.
type announcer struct {
	*partition
	chains *fifo.Map[[32]byte, logged] // chains that it has appended, by the leaf's fingerprint
}

func newAnnouncer(p *partition) announcer {
	return announcer{partition: p, chains: fifo.New[[32]byte, logged](maxShared)}
}

// run works until ctx ends. Its only errors are ctx's.
func (a announcer) run(ctx context.Context) error {
	for {
		select {
		case <-a.announcements.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		for waiting := a.announcements.Take(); len(waiting) > 0; {
			builder := decisionsBuilder{logged: a.loggedAt}
			n := 0
			for n < len(waiting) && !builder.full() {
				builder.add(waiting[n])
				n++
			}
			waiting = waiting[n:]
			if err := a.append(ctx, &builder); err != nil {
				return err
			}
		}
	}
}

func (a announcer) append(ctx context.Context, b *decisionsBuilder) error {
	b.number()
	offset, err := a.send(ctx, record.TopicUploads, a.log.ID(), record.Encode(&recordpb.Upload{
		Kind: &recordpb.Upload_Decisions{Decisions: &b.record},
	}))
	if err != nil {
		return err
	}
	at := logged{offset: offset, at: a.stage.cfg.Clock(), read: a.bytesRead()}
	for _, chain := range b.record.Chains {
		a.chains.Put(certs.Chain{Certificates: chain.Certificates}.Fingerprint(), at)
	}
	return nil
}

// loggedAt returns the offset of a record that has the chain of a leaf, if one does that is near enough.
func (a announcer) loggedAt(leaf [32]byte) (offset int64, ok bool) {
	l, ok := a.chains.Get(leaf)
	near := ok && a.stage.cfg.Clock().Sub(l.at) < chainAge && a.bytesRead()-l.read < chainDistance
	return l.offset, near
}

// decisionsBuilder gathers decisions into one record, each chain once.
type decisionsBuilder struct {
	record recordpb.Decisions
	logged func(leaf [32]byte) (offset int64, ok bool)
	chains map[[32]byte]uint32 // number in record of a chain, by its leaf's fingerprint
	bytes  int
}

const (
	// maxDecisionsBytes is where a record of decisions stops growing, in bytes. It leaves room for one more decision:
	// maxDecisionLeaves chains of 64 KiB, which is the most that package certs gives.
	maxDecisionsBytes = record.MaxBytes - maxDecisionLeaves*(64<<10) - 16<<10
	// maxDecisions bounds the decisions of one record.
	maxDecisions = 4096
)

func (b *decisionsBuilder) full() bool {
	return b.bytes > maxDecisionsBytes || len(b.record.Decisions) >= maxDecisions
}

func (b *decisionsBuilder) add(a announcement) {
	d := &recordpb.Decision{Upload: a.upload[:], Reason: a.reason, Reached: a.reached, FailingReason: a.failing}
	b.bytes += len(a.reason) + len(a.failing) + 64
	for _, chain := range a.chains {
		d.Chains = append(d.Chains, b.indexOf(chain))
	}
	b.record.Decisions = append(b.record.Decisions, d)
}

// indexOf returns the number of a chain in the record. A chain that isn't there yet is added. Leaves get numbers from
// leafNumbers on, which number turns into those behind the chains when the record is whole.
func (b *decisionsBuilder) indexOf(chain certs.Chain) uint32 {
	fingerprint := chain.Fingerprint()
	if i, ok := b.chains[fingerprint]; ok {
		return i
	}
	if b.chains == nil {
		b.chains = make(map[[32]byte]uint32)
	}
	if offset, ok := b.logged(fingerprint); ok {
		i := uint32(len(b.record.Leaves))
		b.record.Leaves = append(b.record.Leaves, fingerprint[:])
		b.record.ChainOffsets = append(b.record.ChainOffsets, offset)
		b.chains[fingerprint] = leafNumbers + i
		b.bytes += 48
		return leafNumbers + i
	}
	i := uint32(len(b.record.Chains))
	b.record.Chains = append(b.record.Chains, &recordpb.Chain{Certificates: chain.Certificates})
	b.chains[fingerprint] = i
	for _, der := range chain.Certificates {
		b.bytes += len(der)
	}
	return i
}

// leafNumbers is where the numbers of leaves begin while a record is made.
const leafNumbers = 1 << 16

// number gives leaves the numbers behind the chains.
func (b *decisionsBuilder) number() {
	for _, d := range b.record.Decisions {
		for i, n := range d.Chains {
			if n >= leafNumbers {
				d.Chains[i] = n - leafNumbers + uint32(len(b.record.Chains))
			}
		}
	}
}
