package sink

import (
	"slices"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
	"countersign/sink/store"
)

// From records to rows. Every value of a row comes from the record (I5): times are those of the acceptance, and the key of a result
// is (upload, batch, shard, part), so that a replay repeats rows and never adds any. Rows point into their record where they can.

// resolved are claims with a verdict each.
type resolved struct {
	*recordpb.Claims
	verdicts []dedupe.Verdict
}

// signerOf is the index of the signer of claim i.
func signerOf(c *recordpb.Claims, i int) int {
	if len(c.GetSigner()) == 0 {
		return 0
	}
	return int(c.Signer[i])
}

// appendHashes appends the rows of the claims that were added.
func appendHashes(h *store.HashRows, c *recordpb.Claims, verdicts []dedupe.Verdict) {
	var fingerprints [4][32]byte // most often there is one
	signers := fingerprints[:0]
	for _, s := range c.GetSigners() {
		signers = append(signers, [32]byte(s.GetFingerprint()))
	}
	upload, from := uuid.UUID(c.GetUpload()), 0
	for i, v := range verdicts {
		to := from + record.Uint16(c.GetSignatureLengths(), i)
		if v == dedupe.Added {
			signer := signerOf(c, i)
			h.Hash = append(h.Hash, c.Hashes[i*record.HashSize:(i+1)*record.HashSize]...)
			h.Upload = append(h.Upload, upload)
			h.Position = append(h.Position, record.Position(c.Batch, record.Uint16(c.Indexes, i)))
			h.Site = append(h.Site, c.Site)
			h.SignedAt = append(h.SignedAt, c.AcceptedMs)
			h.Algorithm = append(h.Algorithm, c.Signers[signer].GetAlgorithm())
			h.Signature = append(h.Signature, c.Signatures[from:to:to])
			h.Certificate = append(h.Certificate, signers[signer])
		}
		from = to
	}
}

// claimsResult is the result of one part of a batch at one shard.
func claimsResult(c *recordpb.Claims, shard int, verdicts []dedupe.Verdict) store.ResultRow {
	row := store.ResultRow{
		Upload: uuid.UUID(c.GetUpload()), Batch: c.GetBatch(), Shard: int32(shard), Part: c.GetPart(), AcceptedAt: c.GetAcceptedMs(),
	}
	all := entries(c.GetHashes(), c.GetIndexes(), c.GetUpper())
	duplicates := 0
	for _, v := range verdicts {
		if v == dedupe.Duplicate {
			duplicates++
		}
	}
	switch duplicates {
	case 0:
		row.Added = all
	case len(verdicts):
		row.Duplicates = all
	default:
		row.Added, row.Duplicates = split(all, verdicts, duplicates)
	}
	return row
}

// entries are all hashes of a record's columns.
func entries(hashes, indexes, upper []byte) store.Entries {
	e := store.Entries{Hashes: hashes, Indexes: make([]uint16, len(indexes)/2)}
	for i := range e.Indexes {
		e.Indexes[i] = uint16(record.Uint16(indexes, i))
	}
	if slices.ContainsFunc(upper, func(b byte) bool { return b != 0 }) {
		e.Upper = upper
	}
	return e
}

// split parts entries by verdict: those that count as added from the duplicates, of which there are so many.
func split(all store.Entries, verdicts []dedupe.Verdict, duplicates int) (added, dup store.Entries) {
	sized := func(n int) store.Entries {
		return store.Entries{Hashes: make([]byte, 0, n*record.HashSize), Indexes: make([]uint16, 0, n)}
	}
	added, dup = sized(len(verdicts)-duplicates), sized(duplicates)
	for i, v := range verdicts {
		to := &added
		if v == dedupe.Duplicate {
			to = &dup
		}
		if record.Bit(all.Upper, i) {
			to.Upper = record.SetBit(to.Upper, to.Len(), cap(to.Indexes))
		}
		to.Hashes = append(to.Hashes, all.Hashes[i*record.HashSize:(i+1)*record.HashSize]...)
		to.Indexes = append(to.Indexes, all.Indexes[i])
	}
	return added, dup
}

// addEvents adds the events of the results, which tell of an added hash where the rows may linger.
func (r *rows) addEvents() {
	for i := range r.results {
		e := eventOf(&r.results[i])
		if r.patient && i < len(r.claims) { // claims' results come first
			e.Signed = signedOf(r.claims[i])
		}
		r.events = append(r.events, e)
	}
}

// addOutcomes adds the rows of what verifying found; o may be nil.
func (r *rows) addOutcomes(o *recordpb.Outcomes) {
	for _, x := range o.GetOutcomes() {
		row := store.ResultRow{
			Upload: uuid.UUID(x.GetUpload()), Batch: x.GetBatch(), Shard: record.OutcomeShard, AcceptedAt: x.GetAcceptedMs(),
			Claims: x.GetClaims(), BadSignatures: entries(x.GetBadHashes(), x.GetBadIndexes(), x.GetBadUpper()),
		}
		for _, f := range x.GetFailures() {
			row.Errors = append(row.Errors, store.Failure{Index: uint16(f.GetIndex()), Text: f.GetText(), Reason: f.GetReason()})
		}
		r.results = append(r.results, row)
	}
	for _, x := range o.GetUploads() {
		r.uploads = append(r.uploads, store.Upload{
			ID: uuid.UUID(x.GetUpload()), Site: x.GetSite(), Count: x.GetCount(), AcceptedAt: x.GetAcceptedMs(),
		})
	}
	for _, x := range o.GetCertificates() {
		r.certificates = append(r.certificates, store.Certificate{
			Site: x.GetSite(), Chain: x.GetChain().GetCertificates(), SeenAt: x.GetSeenMs(),
		})
	}
}
