package ingest

// The polls: how far an upload is, what became of a batch, who signed a hash.

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/jsonstream"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// find looks up the upload that a poll is about.
func (s *Server) find(ctx context.Context, text string) (*polled, *Problem) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 { // Parse takes other spellings too, which we never gave out
		return nil, problemUnknownUpload(text)
	}
	p, ok := s.hub.polled.get(id)
	if !ok {
		up, known := s.recorder.get(id)
		if !known {
			if up, known, err = s.cfg.Store.Upload(ctx, id); err != nil {
				return nil, problemStore(err)
			}
		}
		if !known {
			return nil, problemUnknownUpload(text)
		}
		p = &polled{upload: up}
		s.hub.polled.put(id, p)
	}
	if expired(p.upload.AcceptedAt, &s.cfg) {
		return nil, problemUnknownUpload(text)
	}
	return p, nil
}

// progress returns an upload and how far it is.
func (s *Server) progress(ctx context.Context, text string) (store.Upload, status, *Problem) {
	p, problem := s.find(ctx, text)
	if problem != nil {
		return store.Upload{}, status{}, problem
	}
	now := time.Now()
	found, ok, events := p.current(now)
	if ok {
		return p.upload, found, nil
	}
	progress, err := s.cfg.Store.Progress(ctx, p.upload.ID)
	if err != nil {
		return p.upload, status{}, problemStore(err)
	}
	found = statusOf(progress, record.Batches(p.upload.Count))
	p.learn(found, now, events)
	return p.upload, found, nil
}

// serveStatus is GET /api/v1/resultasync/:uuid.
func serveStatus(x *exchange) *Problem {
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	_, s, problem := x.srv.progress(ctx, x.args[0])
	if problem != nil {
		return problem
	}
	x.replyJSON(appendStatus(nil, s))
	return nil
}

// serveDetails is GET /api/v1/resultasync/:uuid/:batch.
func serveDetails(x *exchange) *Problem {
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	up, s, problem := x.srv.progress(ctx, x.args[0])
	if problem != nil {
		return problem
	}
	batch, err := strconv.ParseUint(x.args[1], 10, 32)
	if err != nil || batch < 1 || batch > uint64(s.done) {
		return problemUnknownBatch(x.args[1], s)
	}
	result, ok, err := x.srv.cfg.Store.Batch(ctx, up.ID, uint32(batch))
	if err != nil {
		return problemStore(err)
	}
	if !ok {
		return problemUnknownBatch(x.args[1], s) // dropped since, with its 48 hours over
	}
	x.replyJSON(appendDetails(nil, []store.BatchResult{result}))
	return nil
}

// serveHash is GET /api/v1/hash/:hash, for the person with a file.
func serveHash(x *exchange) *Problem {
	hash, _, reason := jsonstream.ParseHash([]byte(x.args[0]))
	if reason != "" {
		return problemParameter("hash", reason)
	}
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	found, ok := x.srv.hub.fresh.get(hash)
	if !ok {
		var err error
		if found, ok, err = x.srv.cfg.Store.Hash(ctx, hash); err != nil {
			return problemStore(err)
		}
	}
	if !ok {
		return problemUnknownHash(hex.EncodeToString(hash[:]))
	}
	x.replyJSON(appendSignedHash(nil, hash, &found))
	return nil
}

func appendSignedHash(dst []byte, hash [32]byte, h *store.SignedHash) []byte {
	dst = appendString(append(dst, `{"hash":`...), hex.EncodeToString(hash[:]))
	dst = appendString(append(dst, `,"site":`...), h.Site)
	dst = appendString(append(dst, `,"signedAt":`...), time.UnixMilli(h.SignedAt).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	dst = appendString(append(dst, `,"algorithm":`...), h.Algorithm)
	dst = appendString(append(dst, `,"signature":`...), base64.StdEncoding.EncodeToString(h.Signature))
	dst = appendString(append(dst, `,"certificate":`...), hex.EncodeToString(h.Certificate[:]))
	dst = appendString(append(dst, `,"upload":`...), h.Upload.String())
	dst = strconv.AppendUint(append(dst, `,"position":`...), uint64(h.Position), 10)
	return append(dst, "}\n"...)
}
