package ingest

// The calls that ask: how far an upload is, what became of a batch, who signed a hash.

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// serveStatus is GET /api/v1/resultasync/:uuid.
func (s *Server) serveStatus(x *server.Exchange) *problem.Problem {
	ctx, cancel := s.asking(x)
	defer cancel()
	_, status, p := s.status(ctx, x.Arg(0))
	if p != nil {
		return p
	}
	x.ReplyJSON(appendStatus(nil, status))
	return nil
}

// asking returns a context for questions of the request's client.
func (s *Server) asking(x *server.Exchange) (context.Context, context.CancelFunc) {
	return context.WithTimeout(results.AskedBy(x.Context(), x.Client().String()), s.cfg.StoreTimeout)
}

// status returns the upload that text names and how far it is.
func (s *Server) status(ctx context.Context, text string) (uuid.UUID, results.Status, *problem.Problem) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 { // Parse reads other spellings too, which were never given out
		return id, results.Status{}, problem.UnknownUpload(text)
	}
	status, err := s.results.Status(ctx, id)
	switch {
	case errors.Is(err, results.ErrUnknownUpload):
		return id, status, problem.UnknownUpload(text)
	case err != nil:
		return id, status, unanswered("upload "+text, err)
	}
	return id, status, nil
}

// unanswered is the reply where there is no answer about what was asked for.
func unanswered(what string, err error) *problem.Problem {
	switch {
	case errors.Is(err, results.ErrBusy):
		return problem.Busy(results.MaxWaiting)
	case errors.Is(err, results.ErrNotCertain):
		return problem.NotKnownYet(what, err)
	}
	return problem.StoreUnavailable(err)
}

// serveDetails is GET /api/v1/resultasync/:uuid/:batch.
func (s *Server) serveDetails(x *server.Exchange) *problem.Problem {
	ctx, cancel := s.asking(x)
	defer cancel()
	id, status, p := s.status(ctx, x.Arg(0)) // never less than another process has told
	if p != nil {
		return p
	}
	unknown := func() *problem.Problem { return problem.UnknownBatch(x.Arg(1), status.Done, status.Waiting) }
	batch, err := strconv.ParseUint(x.Arg(1), 10, 32)
	if err != nil || batch < 1 || batch > uint64(status.Done) {
		return unknown()
	}
	inBatch := min(record.BatchSize, status.Pairs())
	if p := s.reserve(ctx, x, detailsBytes(inBatch, min(inBatch, status.Errors))); p != nil {
		return p
	}
	result, ok, err := s.results.Batch(ctx, id, uint32(batch))
	if err != nil {
		return unanswered("batch "+x.Arg(1), err)
	}
	if !ok {
		return unknown() // dropped since: its 48 hours are over
	}
	var d details
	d.add(result)
	x.ReplyJSON(d.reply())
	return nil
}

// serveHash is GET /api/v1/hash/:hash, for the person with a file.
func (s *Server) serveHash(x *server.Exchange) *problem.Problem {
	hash, _, reason := jsonstream.ParseHash(x.Arg(0))
	if reason != "" {
		return problem.InvalidParameter("hash", reason)
	}
	ctx, cancel := s.asking(x)
	defer cancel()
	var found store.SignedHash
	var also store.CoSigners
	var ok bool
	var both errgroup.Group
	both.Go(func() (err error) { found, ok, err = s.results.SignedHash(ctx, hash); return err })
	both.Go(func() (err error) { also, err = s.results.CoSigners(ctx, hash); return err })
	if err := both.Wait(); err != nil {
		return unanswered("a signature of that hash", err)
	}
	if !ok {
		return problem.UnknownHash(hex.EncodeToString(hash[:]))
	}
	x.ReplyJSON(appendSignedHash(nil, hash, &found, &also))
	return nil
}
