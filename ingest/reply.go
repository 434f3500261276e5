package ingest

// Replies, byte for byte as their callers know them (docs/contract.md). Each has a golden file.

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/internal/jsontext"
	"countersign/ingest/results"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// appendAccepted appends the answer to the bulk call: strings, also for numbers (docs/contract.md, "reply to an
// upload").
func appendAccepted(dst []byte, id uuid.UUID, pairs uint64) []byte {
	dst = jsontext.AppendString(append(dst, "{\n  \"UUID\" : "...), id.String())
	dst = strconv.AppendInt(append(dst, ",\n  \"Batches\" : \""...), int64(record.Batches(pairs)), 10)
	dst = strconv.AppendUint(append(dst, "\",\n  \"Hashes\" : \""...), pairs, 10)
	return append(dst, "\"\n}\n"...)
}

// appendStatus appends the answer to a poll (docs/contract.md, "status").
func appendStatus(dst []byte, s results.Status) []byte {
	dst = strconv.AppendInt(append(dst, `{"waitingBatch":`...), int64(s.Waiting), 10)
	dst = strconv.AppendInt(append(dst, `,"doneBatch":`...), int64(s.Done), 10)
	dst = strconv.AppendUint(append(dst, `,"okHash":`...), s.Added, 10)
	dst = strconv.AppendUint(append(dst, `,"badSigHash":`...), s.BadSignatures, 10)
	dst = strconv.AppendUint(append(dst, `,"dupHash":`...), s.Duplicates, 10)
	dst = strconv.AppendUint(append(dst, `,"errorHash":`...), s.Errors, 10)
	return append(dst, '}')
}

// details is the reply that names every pair (docs/contract.md, "details"): four sections, which grow batch by batch,
// so that nothing of a batch is kept beside them. A text that failed more than once is one key, with its first reason:
// a JSON object can't hold it twice.
type details struct {
	added, badSignatures, duplicates, errors []byte
	failed                                   map[string]struct{} // texts in errors
}

// add adds the next batch.
func (d *details) add(r store.BatchResult) {
	d.added = appendTexts(d.added, r.Added)
	d.badSignatures = appendTexts(d.badSignatures, r.BadSignatures)
	d.duplicates = appendTexts(d.duplicates, r.Duplicates)
	for _, f := range r.Errors {
		if _, repeated := d.failed[f.Text]; repeated {
			continue
		}
		if d.failed == nil {
			d.failed = make(map[string]struct{})
		}
		d.failed[f.Text] = struct{}{}
		if len(d.errors) > 0 {
			d.errors = append(d.errors, ',')
		}
		d.errors = jsontext.AppendString(append(d.errors, ' '), f.Text)
		d.errors = jsontext.AppendString(append(d.errors, " : "...), f.Reason)
	}
}

// detailsBytes is how much memory the details of so many pairs take at most, of which so many are errors. A pair with a
// verdict has 69 bytes of JSON, and some 160 while the sections grow and are put together. An error has its text, of up
// to 256 bytes that may take six each in JSON, its reason of up to 320 bytes, and an entry of details.failed.
func detailsBytes(pairs, errors uint64) int64 {
	return 160*int64(pairs) + 5<<10*int64(errors)
}

// reply is the whole reply. Nothing may be added afterwards.
func (d *details) reply() []byte {
	dst := make([]byte, 0, len(d.added)+len(d.badSignatures)+len(d.duplicates)+len(d.errors)+128)
	dst = append(append(dst, "{\n  \"addedOk\" : ["...), d.added...)
	dst = append(append(dst, " ],\n  \"badSignature\" : ["...), d.badSignatures...)
	dst = append(append(dst, " ],\n  \"duplicate\" : ["...), d.duplicates...)
	dst = append(append(dst, " ],\n  \"errors\" : {"...), d.errors...)
	*d = details{}
	return append(dst, " }\n}\n"...)
}

func appendTexts(dst []byte, texts []string) []byte {
	for _, text := range texts {
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = jsontext.AppendString(append(dst, ' '), text)
	}
	return dst
}

// Answers of the call for one file: text, without a line feed (docs/contract.md, "single signing").

const textInvalidSignature = "Invalid signature"

func appendSigned(dst []byte, site, hash string, signature []byte) []byte {
	dst = append(append(dst, "signed OK "...), site...)
	dst = append(append(dst, ' '), hash...)
	return base64.StdEncoding.AppendEncode(append(dst, ' '), signature)
}

func appendDuplicate(dst []byte, hash string) []byte {
	return append(append(dst, "duplicate already in db "...), hash...)
}

// appendSignedHash appends the reply about a hash. It is one object on one line. alsoSignedBy and its count are left out
// where no other site signed the hash. Neither the upload nor the position in it is told: whoever has a file could ask
// what else was signed with it.
func appendSignedHash(dst []byte, hash [32]byte, h *store.SignedHash, also *store.CoSigners) []byte {
	dst = jsontext.AppendString(append(dst, `{"hash":`...), hex.EncodeToString(hash[:]))
	dst = appendSignature(append(dst, ','), hash, h)
	return append(appendAlso(dst, hash, also, appendSignature), "}\n"...)
}

// appendAlso appends the members that say who else signed a hash, if anybody has. one appends the members of one site.
func appendAlso(dst []byte, hash [32]byte, also *store.CoSigners, one func([]byte, [32]byte, *store.SignedHash) []byte) []byte {
	if also.Count == 0 {
		return dst
	}
	dst = append(dst, `,"alsoSignedBy":[`...)
	for i := range also.First {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(one(append(dst, '{'), hash, &also.First[i]), '}')
	}
	return strconv.AppendUint(append(dst, `],"alsoSignedByCount":`...), also.Count, 10)
}

// appendSignature appends the members that describe one site's signature of a hash, with the signature.
func appendSignature(dst []byte, hash [32]byte, h *store.SignedHash) []byte {
	dst = appendText(dst, hash, h)
	dst = appendSignedBy(dst, h)
	dst = jsontext.AppendString(append(dst, `,"signature":`...), base64.StdEncoding.EncodeToString(h.Signature))
	return appendCertificate(dst, h)
}

// appendSigner appends the same members, but for the signature.
func appendSigner(dst []byte, hash [32]byte, h *store.SignedHash) []byte {
	return appendCertificate(appendSignedBy(appendText(dst, hash, h), h), h)
}

// appendText appends signedText, which is left out where it isn't known.
func appendText(dst []byte, hash [32]byte, h *store.SignedHash) []byte {
	if h.Case != store.UnknownCase {
		dst = jsontext.AppendString(append(dst, `"signedText":`...), record.HexText(hash[:], h.Case == store.UpperCase))
		dst = append(dst, ',')
	}
	return dst
}

func appendSignedBy(dst []byte, h *store.SignedHash) []byte {
	dst = jsontext.AppendString(append(dst, `"site":`...), h.Site)
	signedAt := time.UnixMilli(h.SignedAt).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	dst = jsontext.AppendString(append(dst, `,"signedAt":`...), signedAt)
	return jsontext.AppendString(append(dst, `,"algorithm":`...), h.Algorithm)
}

func appendCertificate(dst []byte, h *store.SignedHash) []byte {
	return jsontext.AppendString(append(dst, `,"certificate":`...), hex.EncodeToString(h.Certificate[:]))
}
