package verify

// One upload's pairs, sorted batch by batch: valid ones into claims for the shard of their hash, the rest into the batch's outcome.
// A batch's claims for one shard are cut into parts by size alone, so that a replay cuts them in the same places (I5).

import (
	"context"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

type batches struct {
	upload  *upload
	out     *outbox
	signers []*recordpb.Signer

	batch   uint32 // in hand, from 1; 0: none
	shards  []*recordpb.Claims
	outcome *recordpb.Outcome
}

func newBatches(u *upload, keys []certs.Key, out *outbox) *batches {
	b := &batches{upload: u, out: out, shards: make([]*recordpb.Claims, out.stage.cfg.Shards)}
	for _, key := range keys {
		b.signers = append(b.signers, &recordpb.Signer{Fingerprint: key.Fingerprint[:], Algorithm: key.Verifier.Algorithm().String()})
	}
	return b
}

// add takes the next piece of the upload.
func (b *batches) add(ctx context.Context, p *piece) error {
	if batch := p.chunk.First/record.BatchSize + 1; batch != b.batch {
		if err := b.end(ctx); err != nil {
			return err
		}
		b.batch = batch
		s := b.upload.seal
		b.outcome = &recordpb.Outcome{Upload: b.upload.id[:], Batch: batch, AcceptedMs: s.AcceptedMs, Single: s.Single}
	}
	c, at := p.chunk, 0
	why := make(map[uint32]*recordpb.Unparsed, len(c.Unparsed))
	for _, u := range c.Unparsed {
		why[u.Index] = u
	}
	for i, verdict := range p.verdicts {
		length := record.Uint16(c.SignatureLengths, i)
		signature := c.Signatures[at : at+length]
		at += length
		pair := pair{
			index:     int(c.First%record.BatchSize) + i,
			hash:      c.Hashes[i*record.HashSize : (i+1)*record.HashSize],
			upper:     record.Bit(c.Upper, i),
			signature: signature,
		}
		switch {
		case verdict == unparsed:
			u := why[uint32(i)]
			b.fail(pair.index, u.GetText(), u.GetReason())
		case len(b.upload.decision.chains) == 0:
			b.fail(pair.index, record.HexText(pair.hash, pair.upper), b.upload.decision.reason)
		case verdict == bad:
			b.bad(pair)
		default:
			if err := b.claim(ctx, pair, verdict-1); err != nil {
				return err
			}
		}
	}
	return nil
}

type pair struct {
	index     int // within the batch
	hash      []byte
	upper     bool
	signature []byte
}

func (b *batches) fail(index int, text, reason string) {
	b.outcome.Failures = append(b.outcome.Failures, &recordpb.Failure{Index: uint32(index), Text: text, Reason: reason})
}

func (b *batches) bad(p pair) {
	o := b.outcome
	n := len(o.BadHashes) / record.HashSize
	o.BadHashes = append(o.BadHashes, p.hash...)
	o.BadIndexes = record.AppendUint16(o.BadIndexes, p.index)
	if p.upper {
		o.BadUpper = record.SetBit(o.BadUpper, n, n+1)
	}
}

func (b *batches) claim(ctx context.Context, p pair, signer byte) error {
	shard := record.Shard(p.hash, len(b.shards))
	c := b.shards[shard]
	if c == nil {
		c = b.newClaims(0, len(p.signature))
		b.shards[shard] = c
	}
	if len(c.Hashes)+len(c.Signatures)+len(p.signature) > record.MaxPartBytes {
		if err := b.send(ctx, shard); err != nil {
			return err
		}
		c = b.newClaims(c.Part+1, len(p.signature))
		b.shards[shard] = c
	}
	n := len(c.Hashes) / record.HashSize
	c.Hashes = append(c.Hashes, p.hash...)
	c.Indexes = record.AppendUint16(c.Indexes, p.index)
	c.Signatures = append(c.Signatures, p.signature...)
	c.SignatureLengths = record.AppendUint16(c.SignatureLengths, len(p.signature))
	c.Signer = append(c.Signer, signer)
	if p.upper {
		c.Upper = record.SetBit(c.Upper, n, n+1)
	}
	b.outcome.Claims++
	return nil
}

// newClaims makes room for a shard's fair share of a batch of signatures of so many bytes: growing would copy all of it twice.
func (b *batches) newClaims(part uint32, signature int) *recordpb.Claims {
	s := b.upload.seal
	n := min(int(s.Count), record.BatchSize) / len(b.shards)
	n += n/8 + 4
	return &recordpb.Claims{
		Upload: b.upload.id[:], Batch: b.batch, Part: part, Site: s.Site, AcceptedMs: s.AcceptedMs, Signers: b.signers, Single: s.Single,
		Hashes: make([]byte, 0, n*record.HashSize), Indexes: make([]byte, 0, 2*n), Signatures: make([]byte, 0, n*signature),
		SignatureLengths: make([]byte, 0, 2*n), Signer: make([]byte, 0, n),
	}
}

// send puts a shard's claims into the outbox, without the signers' column where it says nothing.
func (b *batches) send(ctx context.Context, shard int) error {
	c := b.shards[shard]
	if c == nil {
		return nil
	}
	if len(b.signers) == 1 {
		c.Signer = nil
	}
	return b.out.claims(ctx, shard, c)
}

// end finishes the batch in hand.
func (b *batches) end(ctx context.Context) error {
	if b.batch == 0 {
		return nil
	}
	for shard := range b.shards {
		if err := b.send(ctx, shard); err != nil {
			return err
		}
		b.shards[shard] = nil
	}
	err := b.out.outcome(ctx, b.outcome)
	b.batch, b.outcome = 0, nil
	return err
}
