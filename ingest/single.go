package ingest

// The call that signs one file by GET. Its pair travels in the query.

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"log/slog"

	"countersign/ingest/admission"
	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/pipeline/record"
)

// single is the pair of GET /api/v1/sign/:url. It is the source of its upload.
type single struct {
	text      string // the hash as sent
	hash      [32]byte
	upper     bool
	signature []byte // empty: what was sent doesn't decode, or is longer than any signature
}

// singleOf reads the pair from the query.
func singleOf(x *server.Exchange) (single, *problem.Problem) {
	hashes, signatures := x.Query("hash"), x.Query("sig")
	const twice = "it is given twice: send one pair at a time"
	if len(hashes) > 1 {
		return single{}, problem.InvalidParameter("hash", twice)
	}
	if len(signatures) > 1 {
		return single{}, problem.InvalidParameter("sig", twice)
	}
	if len(hashes) == 0 || len(hashes[0]) == 0 {
		return single{}, problem.InvalidParameter("hash",
			"it is missing: send the SHA-256 of the file in hex, as ?hash=...&sig=...")
	}
	pair := single{text: string(hashes[0])}
	var reason string
	if pair.hash, pair.upper, reason = jsonstream.ParseHash(pair.text); reason != "" {
		return single{}, problem.InvalidParameter("hash", reason)
	}
	if len(signatures) == 0 { // an empty one is a bad signature, as anything that doesn't decode
		return single{}, problem.InvalidParameter("sig",
			"it is missing: send the signature in base64, with + as -, = as _ and / as ~")
	}
	// A plus sign in a query means a space; base64 has plus signs and no spaces.
	encoded := bytes.ReplaceAll(signatures[0], []byte(" "), []byte("+"))
	if signature, ok := jsonstream.DecodeSignature(nil, encoded); ok {
		pair.signature = signature
	}
	return pair, nil
}

func (p single) decode(_ jsonstream.Limits, sum hash.Hash, sink func(*jsonstream.Columns) error) (int, error) {
	columns := &jsonstream.Columns{
		Hashes: p.hash[:], Signatures: p.signature, Lengths: record.AppendUint16(nil, len(p.signature)),
	}
	if p.upper {
		columns.Upper = record.SetBit(nil, 0, 1)
	}
	if sum != nil {
		sum.Write([]byte(p.text))
		sum.Write(p.signature)
	}
	return 1, sink(columns)
}

// serveSingle is GET /api/v1/sign/:url.
func (s *Server) serveSingle(x *server.Exchange, by signer, call *admission.Place) *problem.Problem {
	pair, p := singleOf(x)
	if p != nil {
		return p
	}
	if len(pair.signature) == 0 {
		x.SetOutcome("single")
		x.ReplyText([]byte(textInvalidSignature))
		return nil
	}
	w := waiter{server: s, who: by.who, place: call}
	defer w.close()
	ctx, cancel := context.WithTimeout(x.Context(), s.cfg.SyncTimeout)
	defer cancel()
	up, err := s.intake.accept(ctx, submission{
		signer: by, source: pair, maxPairs: 1, single: true, beforeSeal: w.watchUpload,
	})
	if err != nil {
		return problemOf(err, true)
	}
	s.metrics.pairs.Inc()
	var outcome results.Outcome
	p = w.finish(x.Context(), up, func(ctx context.Context, found results.Outcome) (err error) {
		outcome, err = w.withReason(ctx, found)
		return err
	})
	if p != nil {
		return p
	}
	s.logUpload(slog.LevelDebug, up, by, 0, outcome.Counts)
	return replySingle(x, by, pair, outcome)
}

func replySingle(x *server.Exchange, by signer, pair single, outcome results.Outcome) *problem.Problem {
	x.SetOutcome("single")
	switch {
	case outcome.Added == 1:
		x.ReplyText(appendSigned(nil, by.name, pair.text, pair.signature))
	case outcome.Duplicates == 1:
		x.ReplyText(appendDuplicate(nil, pair.text))
	case outcome.BadSignatures == 1:
		x.ReplyText([]byte(textInvalidSignature))
	case outcome.Errors == 1:
		return problem.CertificateUnavailable(by.site, outcome.Reason)
	default:
		return problem.Internal(fmt.Errorf("the results of a single signing don't add up: %+v", outcome))
	}
	return nil
}
