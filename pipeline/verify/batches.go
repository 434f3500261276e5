package verify

// One upload's pairs, sorted batch by batch. A valid pair becomes a claim for the shard of its hash, every other one
// goes into the batch's outcome. A batch's claims for one shard are cut into parts by size alone, so that a replay cuts
// them in the same places (I5).

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

	batch   uint32             // the batch that is being sorted, counted from 1; 0: none
	shards  []*recordpb.Claims // its claims that are not in the outbox yet, by shard
	outcome *recordpb.Outcome  // its outcome
	reasons record.Reasons     // of the outcome's failures
}

func newBatches(u *upload, keys []certs.Key, out *outbox) *batches {
	b := &batches{upload: u, out: out, shards: make([]*recordpb.Claims, out.stage.cfg.Shards)}
	for _, key := range keys {
		algorithm := key.Verifier.Algorithm().String()
		b.signers = append(b.signers, &recordpb.Signer{Fingerprint: key.Fingerprint[:], Algorithm: algorithm})
	}
	return b
}

// add sorts the pairs of the next chunk of the upload.
func (b *batches) add(ctx context.Context, c *recordpb.Chunk, verdicts []byte) error {
	if batch := c.First/record.BatchSize + 1; batch != b.batch {
		if err := b.end(ctx); err != nil {
			return err
		}
		b.begin(batch)
	}
	at := 0
	d := b.upload.decision
	unparsedPairs := make(map[uint32]*recordpb.Unparsed, len(c.Unparsed))
	for _, u := range c.Unparsed {
		unparsedPairs[u.Index] = u
	}
	for i, verdict := range verdicts {
		length := record.Uint16(c.SignatureLengths, i)
		pair := pair{
			index:     int(c.First%record.BatchSize) + i,
			hash:      c.Hashes[i*record.HashSize : (i+1)*record.HashSize],
			upper:     record.Bit(c.Upper, i),
			signature: c.Signatures[at : at+length],
		}
		at += length
		switch {
		case verdict == unparsed:
			u := unparsedPairs[uint32(i)]
			b.addFailure(pair.index, u.GetText(), u.GetReason())
		case len(d.chains) == 0:
			b.addFailed(pair, d.reason)
		case d.reached > 0 && uint64(c.First)+uint64(i) >= d.reached:
			b.addFailed(pair, reasonBudget)
		case verdict == bad && d.failing != "":
			b.addFailed(pair, d.failing)
		case verdict == bad:
			b.addBad(pair)
		default:
			if err := b.addClaim(ctx, pair, verdict-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin starts a batch.
func (b *batches) begin(batch uint32) {
	s := b.upload.seal
	b.batch = batch
	b.reasons = record.Reasons{}
	b.outcome = &recordpb.Outcome{Upload: b.upload.id[:], Batch: batch, Site: s.Site, AcceptedMs: s.AcceptedMs, Single: s.Single}
}

type pair struct {
	index     int // within the batch
	hash      []byte
	upper     bool
	signature []byte
}

func (b *batches) addFailure(index int, text, reason string) {
	failure := &recordpb.Failure{Index: uint32(index), Text: text, Reason: b.reasons.Shorten(reason)}
	b.outcome.Failures = append(b.outcome.Failures, failure)
}

// addFailed adds a pair whose signature has no verdict. The first reason of a batch is told once for all pairs that
// have it: a site that can't be reached fails every pair of an upload.
func (b *batches) addFailed(p pair, reason string) {
	o := b.outcome
	if o.FailedReason == "" {
		o.FailedReason = reason
	}
	if o.FailedReason != reason || reason == "" {
		b.addFailure(p.index, record.HexText(p.hash, p.upper), reason)
		return
	}
	n := len(o.FailedHashes) / record.HashSize
	o.FailedHashes = append(o.FailedHashes, p.hash...)
	o.FailedIndexes = record.AppendUint16(o.FailedIndexes, p.index)
	if p.upper {
		o.FailedUpper = record.SetBit(o.FailedUpper, n, n+1)
	}
}

func (b *batches) addBad(p pair) {
	o := b.outcome
	n := len(o.BadHashes) / record.HashSize
	o.BadHashes = append(o.BadHashes, p.hash...)
	o.BadIndexes = record.AppendUint16(o.BadIndexes, p.index)
	if p.upper {
		o.BadUpper = record.SetBit(o.BadUpper, n, n+1)
	}
}

// addClaim adds a valid pair to the claims of its shard. signer is the number of its key, counted from 0.
func (b *batches) addClaim(ctx context.Context, p pair, signer byte) error {
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

// newClaims makes a part of a batch's claims, with room for a shard's fair share of signatures of so many bytes.
// Without that room, appending would copy most of it again.
func (b *batches) newClaims(part uint32, signature int) *recordpb.Claims {
	s := b.upload.seal
	n := min(int(s.Count), record.BatchSize) / len(b.shards)
	n += n/8 + 4
	return &recordpb.Claims{
		Upload: b.upload.id[:], Batch: b.batch, Part: part,
		Site: s.Site, AcceptedMs: s.AcceptedMs, Single: s.Single, Signers: b.signers,
		Hashes: make([]byte, 0, n*record.HashSize), Indexes: make([]byte, 0, 2*n),
		Signatures: make([]byte, 0, n*signature), SignatureLengths: make([]byte, 0, 2*n), Signer: make([]byte, 0, n),
	}
}

// send puts a shard's claims into the outbox. Where there is only one signer, the column of signers is left out.
func (b *batches) send(ctx context.Context, shard int) error {
	c := b.shards[shard]
	if c == nil {
		return nil
	}
	if len(b.signers) == 1 {
		c.Signer = nil
	}
	return b.out.addClaims(ctx, shard, c)
}

// end puts what is left of the batch into the outbox.
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
	err := b.out.addOutcome(ctx, b.outcome)
	b.batch, b.outcome = 0, nil
	return err
}
