package verify

// From claims and outcomes to records of topic verified. The outbox packs those of many batches and uploads into
// records under the limit, and remembers the acknowledgements to wait for.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// maxRecord is where a record of topic verified stops growing, in encoded bytes. A part of a batch's claims fits into
// it (record.MaxPartBytes, and six bytes more for each claim), and so does the outcome of a batch, at 1000 failures of
// at most 600 bytes.
const maxRecord = 850 << 10

// outbox collects one round's records. It is used by one goroutine.
type outbox struct {
	stage    *Stage
	origin   int // partition of topic uploads, for errors
	blocks   []blockBuilder
	outcomes []outcomesBuilder
	acks     []Ack
	sent     map[sighting]struct{} // certificates that are in this round's records
}

type blockBuilder struct {
	block recordpb.Block
	bytes int
}

type outcomesBuilder struct {
	outcomes recordpb.Outcomes
	bytes    int
}

func newOutbox(s *Stage, origin int) *outbox {
	return &outbox{
		stage: s, origin: origin, blocks: make([]blockBuilder, s.cfg.Shards), outcomes: make([]outcomesBuilder, s.cfg.Shards),
		sent: make(map[sighting]struct{}),
	}
}

// addClaims adds one part of a batch's claims to its shard's block.
func (o *outbox) addClaims(ctx context.Context, shard int, c *recordpb.Claims) error {
	b := &o.blocks[shard]
	size := fieldSize(c)
	if b.bytes+size > maxRecord {
		if err := o.sendBlock(ctx, shard); err != nil {
			return err
		}
	}
	b.block.Claims = append(b.block.Claims, c)
	b.bytes += size
	return nil
}

// addOutcome adds a batch's outcome to the record for its upload's shard.
func (o *outbox) addOutcome(ctx context.Context, x *recordpb.Outcome) error {
	b, err := o.outcomesFor(ctx, x.Upload, fieldSize(x))
	if err != nil {
		return err
	}
	b.outcomes.Outcomes = append(b.outcomes.Outcomes, x)
	return nil
}

// addAccepted adds what the seal says, and the certificates that decide the upload unless this process has sent them
// recently.
func (o *outbox) addAccepted(ctx context.Context, u *upload, now time.Time) error {
	a := &recordpb.Accepted{Upload: u.id[:], Site: u.seal.Site, Count: u.seal.Count, AcceptedMs: u.seal.AcceptedMs}
	b, err := o.outcomesFor(ctx, a.Upload, fieldSize(a))
	if err != nil {
		return err
	}
	b.outcomes.Uploads = append(b.outcomes.Uploads, a)
	for _, chain := range u.decision.chains {
		s := sighting{site: u.seal.Site, fingerprint: chain.Fingerprint()}
		if _, sent := o.sent[s]; sent || o.stage.sightings.recent(s, now) {
			continue
		}
		m := &recordpb.Seen{Site: s.site, Chain: &recordpb.Chain{Certificates: chain.Certificates}, SeenMs: u.seal.AcceptedMs}
		if b, err = o.outcomesFor(ctx, a.Upload, fieldSize(m)); err != nil {
			return err
		}
		b.outcomes.Certificates = append(b.outcomes.Certificates, m)
		o.sent[s] = struct{}{}
	}
	return nil
}

// outcomesFor returns the record for an upload's shard with room for size bytes more, which are counted.
func (o *outbox) outcomesFor(ctx context.Context, upload []byte, size int) (*outcomesBuilder, error) {
	shard := record.Shard(upload, o.stage.cfg.Shards)
	b := &o.outcomes[shard]
	if b.bytes > 0 && b.bytes+size > maxRecord {
		if err := o.sendOutcomes(ctx, shard); err != nil {
			return nil, err
		}
	}
	b.bytes += size
	return b, nil
}

func (o *outbox) sendBlock(ctx context.Context, shard int) error {
	b := &o.blocks[shard]
	if len(b.block.Claims) == 0 {
		return nil
	}
	err := o.send(ctx, shard, &recordpb.Verified{Kind: &recordpb.Verified_Block{Block: &b.block}})
	*b = blockBuilder{}
	return err
}

func (o *outbox) sendOutcomes(ctx context.Context, shard int) error {
	b := &o.outcomes[shard]
	if b.bytes == 0 {
		return nil
	}
	err := o.send(ctx, shard, &recordpb.Verified{Kind: &recordpb.Verified_Outcomes{Outcomes: &b.outcomes}})
	*b = outcomesBuilder{}
	return err
}

func (o *outbox) send(ctx context.Context, shard int, m *recordpb.Verified) error {
	ack, err := o.stage.cfg.Producer.Send(ctx, record.TopicVerified, shard, record.Encode(m))
	if err != nil {
		return fmt.Errorf("appending to shard %d: %w", shard, err)
	}
	o.acks = append(o.acks, ack)
	return nil
}

// sendRest sends the records that are not full.
func (o *outbox) sendRest(ctx context.Context) error {
	var errs []error
	for shard := range o.blocks {
		errs = append(errs, o.sendBlock(ctx, shard), o.sendOutcomes(ctx, shard))
	}
	return errors.Join(errs...)
}

// flush sends what is left and waits until the log has everything.
func (o *outbox) flush(ctx context.Context) error {
	errs := []error{o.sendRest(ctx)}
	for _, ack := range o.acks {
		_, err := ack.Wait(ctx)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forwarding from partition %d: %w", o.origin, err)
	}
	o.stage.sightings.remember(o.sent, o.stage.cfg.Clock())
	return nil
}

// fieldSize is the size of a message as a field of another, with its tag and length.
func fieldSize(m proto.Message) int {
	return 1 + protowire.SizeBytes(proto.Size(m))
}
