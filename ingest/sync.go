package ingest

// The calls that wait: one file by GET, up to 10,000 pairs by POST. They take the same way through the log as any upload;
// the answer leaves when the result is stored, for one file when it is decided, and the log is flushed, which happen at the same time.

import (
	"bytes"
	"context"
	"fmt"
	"hash"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

func (x *exchange) admitSyncUpload() *problem.Problem {
	if p := x.admitUpload(); p != nil {
		return p
	}
	return x.take(x.srv.syncs)
}

func (x *exchange) admitSingle() *problem.Problem {
	if p := x.admitSite(); p != nil {
		return p
	}
	if p := x.admitKey(); p != nil {
		return p
	}
	if p := x.srv.admitLoad(); p != nil {
		return p
	}
	return x.take(x.srv.syncs)
}

// pendingSync is a synchronous call between its seal and its answer.
type pendingSync struct {
	srv   *Server
	watch *watch
}

// watching returns in with a watch set up before the seal is written.
func (p *pendingSync) watching(in incoming) incoming {
	in.named = func(up accepted) { p.watch = p.srv.hub.watch(up.id, up.pairs) }
	return in
}

func (p *pendingSync) close() {
	if p.watch != nil {
		p.srv.hub.forget(p.watch)
	}
}

// finish waits for result and flush. read gets whatever the answer needs, under the same deadline.
func (p *pendingSync) finish(up accepted, read func(context.Context, outcome) error) *problem.Problem {
	s := p.srv
	ctx, cancel := context.WithTimeout(s.base, s.cfg.SyncTimeout)
	defer cancel()
	flushed := make(chan error, 1)
	go func() { flushed <- s.intake.flush(ctx, up) }() // its end is awaited below, on every path
	result, err := s.waiter.wait(ctx, p.watch, up.pairs, up.repeated)
	if err == nil {
		err = read(ctx, result)
	}
	if failed := <-flushed; failed != nil {
		return problemOf(failed, true)
	}
	if err != nil {
		// The caller is told to poll: the upload must be known.
		s.recorder.add(up.row())
		return problemOf(err, true)
	}
	return nil
}

// serveSyncUpload is POST /api/v1/sign/:url.
func serveSyncUpload(x *exchange) *problem.Problem {
	s := x.srv
	pending := pendingSync{srv: s}
	defer pending.close()
	up, failed := x.receive(pending.watching(incoming{maxPairs: s.cfg.MaxSyncPairs}), true)
	if failed != nil {
		return failed
	}
	x.giveBack() // the body's slot: others may send while this one waits
	var results []store.BatchResult
	failed = pending.finish(up, func(ctx context.Context, _ outcome) (err error) {
		results, err = s.waiter.details(ctx, up.id, up.pairs)
		return err
	})
	if failed != nil {
		return failed
	}
	x.outcome = "sync"
	x.replyJSON(appendDetails(nil, results))
	return nil
}

// single is the pair of GET /api/v1/sign/:url. It is the source of its upload.
type single struct {
	text      string // the hash as sent
	hash      [32]byte
	upper     bool
	signature []byte // nil: what was sent doesn't decode, or is longer than any signature
}

func (x *exchange) single() (single, *problem.Problem) {
	args := x.ctx.QueryArgs()
	for _, name := range []string{"hash", "sig"} {
		if len(args.PeekMulti(name)) > 1 {
			return single{}, problem.InvalidParameter(name, "it is given twice: send one pair at a time")
		}
	}
	text := args.Peek("hash")
	if len(text) == 0 {
		return single{}, problem.InvalidParameter("hash", "it is missing: send the SHA-256 of the file in hex, as ?hash=...&sig=...")
	}
	pair := single{text: string(text)}
	var reason string
	if pair.hash, pair.upper, reason = jsonstream.ParseHash(text); reason != "" {
		return single{}, problem.InvalidParameter("hash", reason)
	}
	encoded := args.Peek("sig")
	if !args.Has("sig") { // an empty one is a bad signature, as anything that doesn't decode
		return single{}, problem.InvalidParameter("sig", "it is missing: send the signature in base64, with + as -, = as _ and / as ~")
	}
	// A plus sign in a query means a space; base64 has plus signs and no spaces.
	encoded = bytes.ReplaceAll(encoded, []byte(" "), []byte("+"))
	if signature, ok := jsonstream.DecodeSignature(nil, encoded); ok {
		pair.signature = signature
	}
	return pair, nil
}

func (p single) decode(_ jsonstream.Limits, sum hash.Hash, sink func(*jsonstream.Columns) error) (int, error) {
	columns := &jsonstream.Columns{Hashes: p.hash[:], Signatures: p.signature, Lengths: record.AppendUint16(nil, len(p.signature))}
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
func serveSingle(x *exchange) *problem.Problem {
	s := x.srv
	pair, failed := x.single()
	if failed != nil {
		return failed
	}
	if len(pair.signature) == 0 {
		x.outcome = "single"
		x.replyText([]byte(textInvalidSignature))
		return nil
	}
	pending := pendingSync{srv: s}
	defer pending.close()
	ctx, cancel := context.WithTimeout(s.base, s.cfg.SyncTimeout)
	defer cancel()
	up, err := s.intake.take(ctx, pending.watching(incoming{site: x.site, key: x.key, source: pair, maxPairs: 1, single: true}))
	if err != nil {
		return problemOf(err, true)
	}
	s.metrics.pairs.Inc()
	var result outcome
	failed = pending.finish(up, func(ctx context.Context, found outcome) (err error) {
		result, err = s.withReason(ctx, up, found)
		return err
	})
	if failed != nil {
		return failed
	}
	return x.replySingle(pair, result)
}

func (x *exchange) replySingle(pair single, result outcome) *problem.Problem {
	x.outcome = "single"
	switch {
	case result.added == 1:
		x.replyText(appendSigned(nil, x.args[0], pair.text, pair.signature))
	case result.duplicates == 1:
		x.replyText(appendDuplicate(nil, pair.text))
	case result.badSignatures == 1:
		x.replyText([]byte(textInvalidSignature))
	case result.errs == 1:
		return problem.CertificateUnavailable(x.site, result.reason)
	default:
		return problem.Internal(fmt.Errorf("the results of a single signing don't add up: %+v", result))
	}
	return nil
}

// withReason finds the reason of an error that no event named.
func (s *Server) withReason(ctx context.Context, up accepted, result outcome) (outcome, error) {
	if result.errs == 0 || result.reason != "" {
		return result, nil
	}
	results, err := s.waiter.details(ctx, up.id, up.pairs)
	if err != nil {
		return result, err
	}
	for _, r := range results {
		for _, f := range r.Errors {
			result.reason = f.Reason
		}
	}
	return result, nil
}
