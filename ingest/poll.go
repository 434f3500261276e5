package ingest

// The polls: how far an upload is, what became of a batch, who signed a hash.

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/internal/jsontext"
	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// find looks up the upload that a poll is about.
func (s *Server) find(ctx context.Context, text string) (*polled, *problem.Problem) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 { // Parse takes other spellings too, which we never gave out
		return nil, problem.UnknownUpload(text)
	}
	p, ok := s.hub.polled.get(id)
	if !ok {
		up, known := s.recorder.get(id)
		if !known {
			if up, known, err = s.cfg.Store.Upload(ctx, id); err != nil {
				return nil, problem.StoreUnavailable(err)
			}
		}
		if !known {
			return nil, problem.UnknownUpload(text)
		}
		p = &polled{upload: up}
		s.hub.polled.put(id, p)
	}
	if expired(p.upload.AcceptedAt, &s.cfg) {
		return nil, problem.UnknownUpload(text)
	}
	return p, nil
}

// progress returns an upload and how far it is.
func (s *Server) progress(ctx context.Context, text string) (store.Upload, status, *problem.Problem) {
	p, failed := s.find(ctx, text)
	if failed != nil {
		return store.Upload{}, status{}, failed
	}
	now := time.Now()
	found, ok, events := p.current(now)
	if ok {
		return p.upload, found, nil
	}
	progress, err := s.cfg.Store.Progress(ctx, p.upload.ID)
	if err != nil {
		return p.upload, status{}, problem.StoreUnavailable(err)
	}
	found = statusOf(progress, record.Batches(p.upload.Count))
	p.learn(found, now, events)
	return p.upload, found, nil
}

// serveStatus is GET /api/v1/resultasync/:uuid.
func serveStatus(x *exchange) *problem.Problem {
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	_, s, failed := x.srv.progress(ctx, x.args[0])
	if failed != nil {
		return failed
	}
	x.replyJSON(appendStatus(nil, s))
	return nil
}

// serveDetails is GET /api/v1/resultasync/:uuid/:batch.
func serveDetails(x *exchange) *problem.Problem {
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	up, s, failed := x.srv.progress(ctx, x.args[0])
	if failed != nil {
		return failed
	}
	batch, err := strconv.ParseUint(x.args[1], 10, 32)
	if err != nil || batch < 1 || batch > uint64(s.done) {
		return problem.UnknownBatch(x.args[1], s.done, s.waiting)
	}
	result, ok, err := x.srv.cfg.Store.Batch(ctx, up.ID, uint32(batch))
	if err != nil {
		return problem.StoreUnavailable(err)
	}
	if !ok {
		return problem.UnknownBatch(x.args[1], s.done, s.waiting) // dropped since, with its 48 hours over
	}
	x.replyJSON(appendDetails(nil, []store.BatchResult{result}))
	return nil
}

// serveHash is GET /api/v1/hash/:hash, for the person with a file.
func serveHash(x *exchange) *problem.Problem {
	hash, _, reason := jsonstream.ParseHash([]byte(x.args[0]))
	if reason != "" {
		return problem.InvalidParameter("hash", reason)
	}
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	found, ok := x.srv.hub.fresh.get(hash)
	if !ok {
		var err error
		if found, ok, err = x.srv.cfg.Store.Hash(ctx, hash); err != nil {
			return problem.StoreUnavailable(err)
		}
	}
	if !ok {
		return problem.UnknownHash(hex.EncodeToString(hash[:]))
	}
	x.replyJSON(appendSignedHash(nil, hash, &found))
	return nil
}

func appendSignedHash(dst []byte, hash [32]byte, h *store.SignedHash) []byte {
	dst = jsontext.AppendString(append(dst, `{"hash":`...), hex.EncodeToString(hash[:]))
	dst = jsontext.AppendString(append(dst, `,"site":`...), h.Site)
	dst = jsontext.AppendString(append(dst, `,"signedAt":`...), time.UnixMilli(h.SignedAt).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	dst = jsontext.AppendString(append(dst, `,"algorithm":`...), h.Algorithm)
	dst = jsontext.AppendString(append(dst, `,"signature":`...), base64.StdEncoding.EncodeToString(h.Signature))
	dst = jsontext.AppendString(append(dst, `,"certificate":`...), hex.EncodeToString(h.Certificate[:]))
	dst = jsontext.AppendString(append(dst, `,"upload":`...), h.Upload.String())
	dst = strconv.AppendUint(append(dst, `,"position":`...), uint64(h.Position), 10)
	return append(dst, "}\n"...)
}
