package bulk

// What became of each file.

import (
	"context"
	"encoding/hex"
	"errors"

	"countersign/client"
	"countersign/internal/hashfiles"
)

// Kind is what became of a file.
type Kind string

// The kinds. Of the last four files are not signed, as far as is known.
const (
	Added        Kind = "added"
	SignedBefore Kind = "signed before"           // by the same site
	Skipped      Kind = "skipped"                 // neither a file nor a folder
	OtherOwner   Kind = "owned by another site"   // the signature is kept beside its
	BadSignature Kind = "bad signature"           // the key is not that of the certificate that the site serves
	Refused      Kind = "error"                   // the service couldn't decide
	Unreadable   Kind = "unreadable"              // and so neither signed nor sent
	Unknown      Kind = "accepted, and no answer" // about this file
)

// Outcome is what became of one file.
type Outcome struct {
	Name string
	Hash string // in hex; empty: it could not be read
	Kind Kind
	// First is who signed the file first: this site before, or another one.
	First *client.Signer
	// Reason explains a failure; it may be empty.
	Reason string
}

// NotRead is the outcome of a file that has no hash.
func NotRead(f hashfiles.File) Outcome {
	o := Outcome{Name: f.Name, Kind: Unreadable}
	if errors.Is(f.Err, hashfiles.ErrSkipped) {
		o.Kind = Skipped
	}
	if f.Err != nil {
		o.Reason = f.Err.Error()
	}
	return o
}

// report reports the outcome of one file.
func (r *run) report(o Outcome) error {
	r.reporting.Lock()
	defer r.reporting.Unlock()
	if o.Hash != "" {
		r.Counts.Decided.Add(1)
	}
	return r.Report(o)
}

// reportAll reports one outcome for all files of a content.
func (r *run) reportAll(p *portion, hash [32]byte, o Outcome) error {
	o.Hash = hex.EncodeToString(hash[:])
	for _, name := range p.names[hash] {
		o.Name = name
		if err := r.report(o); err != nil {
			return err
		}
	}
	return nil
}

// notSignedYet returns the hashes that the site has to sign. Of those that it has signed before it reports that.
func (r *run) notSignedYet(ctx context.Context, p *portion) (missing [][32]byte, err error) {
	signers, err := r.Client.Check(ctx, p.hashes)
	if err != nil {
		return nil, err
	}
	for i, hash := range p.hashes {
		if _, ok := signers[i].By(r.Site); !ok {
			missing = append(missing, hash)
			continue
		}
		if err := r.reportAll(p, hash, r.ownedBy(&signers[i].Signer)); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// ownedBy is the outcome of a file that was signed before.
func (r *run) ownedBy(first *client.Signer) Outcome {
	if first.Site == r.Site {
		return Outcome{Kind: SignedBefore, First: first}
	}
	return Outcome{Kind: OtherOwner, First: first}
}

// finish uploads a portion, waits for its results, and reports them.
func (r *run) finish(ctx context.Context, p *portion) error {
	if len(p.pairs) == 0 {
		return nil
	}
	r.Counts.Uploading.Add(1)
	defer r.Counts.Uploading.Add(-1)
	receipt, err := r.Client.Upload(ctx, r.Site, p.pairs, client.UploadOptions{})
	if err != nil {
		return err
	}
	status, err := r.Client.Wait(ctx, receipt.UUID, nil)
	if err != nil {
		return err
	}
	outcomes := make(map[string]Outcome) // by the hash as it was sent; none: it was added
	var duplicates [][32]byte
	for batch := 1; batch <= receipt.Batches && status.OKHash < len(p.pairs); batch++ {
		b, err := r.Client.Batch(ctx, receipt.UUID, batch)
		if err != nil {
			return err
		}
		for _, text := range b.BadSignature {
			outcomes[text] = Outcome{Kind: BadSignature, Reason: "it does not fit the certificate that the site serves"}
		}
		for text, reason := range b.Errors {
			outcomes[text] = Outcome{Kind: Refused, Reason: reason}
		}
		for _, text := range b.Duplicate {
			var hash [32]byte
			if _, err := hex.Decode(hash[:], []byte(text)); err == nil {
				duplicates = append(duplicates, hash)
			}
		}
	}
	signers, err := r.Client.Check(ctx, duplicates)
	if err != nil {
		return err
	}
	for i, hash := range duplicates {
		outcome := Outcome{Kind: Unknown, Reason: "it was signed before, and who did is not known"}
		if signers[i].Signed {
			outcome = r.ownedBy(&signers[i].Signer)
		}
		outcomes[hex.EncodeToString(hash[:])] = outcome
	}
	for _, pair := range p.pairs {
		outcome, ok := outcomes[hex.EncodeToString(pair.Hash[:])]
		if !ok {
			outcome.Kind = Added
		}
		if err := r.reportAll(p, pair.Hash, outcome); err != nil {
			return err
		}
	}
	return nil
}
