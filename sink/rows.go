package sink

import (
	"slices"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
	"countersign/sink/store"
)

// From records to rows and events. Every value of a row comes from the record (I5): times are those of the acceptance,
// and the key of a result is (upload, batch, shard, part), so that a replay repeats rows and never adds any. Rows point
// into their record where they can.

// rows are what one record comes to.
type rows struct {
	claims       []resolved
	outcomes     []store.ResultRow // what verifying found
	uploads      []store.Upload
	certificates []store.Certificate
	events       []*recordpb.Event // to be announced once the rows are stored

	deferrable bool // nobody waits for the rows to be stored
	announced  int  // hashes that were announced early
}

// resolved are the claims of one part of a batch with a verdict each, and the result that they come to.
type resolved struct {
	*recordpb.Claims
	verdicts []dedupe.Verdict
	result   store.ResultRow
}

// signerOf is the index of the signer of claim i.
func signerOf(c *recordpb.Claims, i int) int {
	if len(c.GetSigner()) == 0 {
		return 0
	}
	return int(c.Signer[i])
}

// appendHashes appends the rows of the claims that have a verdict.
func appendHashes(h *store.HashRows, c *recordpb.Claims, verdicts []dedupe.Verdict, verdict dedupe.Verdict) {
	var fingerprints [4][32]byte // most often there is one
	signers := fingerprints[:0]
	for _, s := range c.GetSigners() {
		signers = append(signers, [32]byte(s.GetFingerprint()))
	}
	upload, from := uuid.UUID(c.GetUpload()), 0
	for i, v := range verdicts {
		to := from + record.Uint16(c.GetSignatureLengths(), i)
		if v == verdict {
			signer := signerOf(c, i)
			h.Hash = append(h.Hash, c.Hashes[i*record.HashSize:(i+1)*record.HashSize]...)
			h.Upload = append(h.Upload, upload)
			h.Position = append(h.Position, record.Position(c.Batch, record.Uint16(c.Indexes, i)))
			h.Site = append(h.Site, c.Site)
			h.SignedAt = append(h.SignedAt, c.AcceptedMs)
			h.Algorithm = append(h.Algorithm, c.Signers[signer].GetAlgorithm())
			h.Signature = append(h.Signature, c.Signatures[from:to:to])
			h.Certificate = append(h.Certificate, signers[signer])
			h.Upper = append(h.Upper, record.Bit(c.Upper, i))
		}
		from = to
	}
}

// claimsResult is the result of one part of a batch at one shard, of the record at an offset.
func claimsResult(c *recordpb.Claims, shard int, offset int64, verdicts []dedupe.Verdict) store.ResultRow {
	row := store.ResultRow{
		Upload: uuid.UUID(c.GetUpload()), Batch: c.GetBatch(), Shard: int32(shard), Part: c.GetPart(),
		Site: c.GetSite(), AcceptedAt: c.GetAcceptedMs(), LogOffset: offset,
	}
	all := entries(c.GetHashes(), c.GetIndexes(), c.GetUpper())
	var duplicates int
	row.Certificates, duplicates = countByCertificate(c, verdicts)
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

// countByCertificate counts the pairs that each certificate verified, where it verified any, and all duplicates.
func countByCertificate(c *recordpb.Claims, verdicts []dedupe.Verdict) (counts []store.CertificateCount, duplicates int) {
	all := make([]store.CertificateCount, len(c.GetSigners()))
	for i, s := range c.GetSigners() {
		all[i].Fingerprint = [32]byte(s.GetFingerprint())
	}
	for i, v := range verdicts {
		if n := &all[signerOf(c, i)]; v.IsDuplicate() {
			n.Duplicates++
			duplicates++
		} else {
			n.Added++
		}
	}
	return slices.DeleteFunc(all, func(n store.CertificateCount) bool { return n.Added+n.Duplicates == 0 }), duplicates
}

// entries are all hashes of a record's columns.
func entries(hashes, indexes, upper []byte) store.Entries {
	if len(indexes) == 0 {
		return store.Entries{}
	}
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
		if v.IsDuplicate() {
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

// makeEvents returns an event for each result. Those of claims carry the row of an added hash, if withRow, and are of
// single signings then.
func (r *rows) makeEvents(withRow bool) []*recordpb.Event {
	all := make([]*recordpb.Event, 0, len(r.claims)+len(r.outcomes))
	for i := range r.claims {
		e := eventOf(&r.claims[i].result)
		if withRow {
			e.Signed = signedOf(&r.claims[i])
		}
		all = append(all, e)
	}
	for i := range r.outcomes {
		all = append(all, eventOf(&r.outcomes[i]))
	}
	return all
}

// eventOf is the event of a result. It shares no memory with the row, which is reused.
func eventOf(r *store.ResultRow) *recordpb.Event {
	return &recordpb.Event{
		Upload: append([]byte(nil), r.Upload[:]...), Batch: r.Batch, Shard: r.Shard, Part: r.Part, Claims: r.Claims,
		Added: uint32(r.Added.Len()), Duplicates: uint32(r.Duplicates.Len()), BadSignatures: uint32(r.BadSignatures.Len()),
		Errors: uint32(r.ErrorCount()), Reason: r.FirstReason(),
	}
}

// signedOf is the row of a single signing that counts as added, and nil for a duplicate. It shares the record's memory.
func signedOf(c *resolved) *recordpb.Signed {
	if c.verdicts[0].IsDuplicate() {
		return nil
	}
	signer := c.Signers[signerOf(c.Claims, 0)]
	return &recordpb.Signed{
		Hash: c.Hashes, Position: record.Position(c.Batch, record.Uint16(c.Indexes, 0)),
		Site: c.Site, AcceptedMs: c.AcceptedMs,
		Algorithm: signer.GetAlgorithm(), Signature: c.Signatures, Certificate: signer.GetFingerprint(),
		Upper: record.Bit(c.Upper, 0),
	}
}

// addOutcomes adds the rows of what verifying found, of the record at an offset; o may be nil.
func (r *rows) addOutcomes(o *recordpb.Outcomes, offset int64) {
	for _, x := range o.GetOutcomes() {
		row := store.ResultRow{
			Upload: uuid.UUID(x.GetUpload()), Batch: x.GetBatch(), Shard: record.OutcomeShard,
			Site: x.GetSite(), AcceptedAt: x.GetAcceptedMs(), LogOffset: offset, Claims: x.GetClaims(),
			BadSignatures: entries(x.GetBadHashes(), x.GetBadIndexes(), x.GetBadUpper()),
			Failed:        entries(x.GetFailedHashes(), x.GetFailedIndexes(), x.GetFailedUpper()), FailedReason: x.GetFailedReason(),
		}
		for _, f := range x.GetFailures() {
			failure := store.Failure{Index: uint16(f.GetIndex()), Text: f.GetText(), Reason: f.GetReason()}
			row.Errors = append(row.Errors, failure)
		}
		r.outcomes = append(r.outcomes, row)
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
