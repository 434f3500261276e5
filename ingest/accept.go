package ingest

// What makes pairs an accepted upload: they are in the log, the upload has a UUID, and its seal is written and flushed.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// source is where the pairs of an upload come from.
type source interface {
	// decode hands all pairs to sink, in runs as jsonstream.Decode cuts them. Unless sum is nil, it writes to sum what
	// distinguishes these pairs from others.
	decode(limits jsonstream.Limits, sum hash.Hash, sink func(*jsonstream.Columns) error) (pairs int, err error)
}

// bodySource is a JSON body.
type bodySource struct{ body *server.Body }

func (b bodySource) decode(limits jsonstream.Limits, sum hash.Hash, sink func(*jsonstream.Columns) error) (int, error) {
	var r io.Reader = b.body
	if sum != nil {
		r = io.TeeReader(r, sum)
	}
	pairs, err := jsonstream.Decode(r, limits, sink)
	if err != nil {
		return 0, err
	}
	return pairs, b.body.Check()
}

// intake turns bodies into uploads.
type intake struct {
	cfg     *Config
	results *results.Tracker
	buffers sync.Pool // of *[]byte: records that the log has acknowledged
}

// submission is pairs that somebody wants accepted.
type submission struct {
	signer
	source   source
	maxPairs int
	single   bool // the caller learns the result from the events
	// beforeSeal is called once the upload has its UUID, and before it can have results.
	beforeSeal func(acceptedUpload)
}

// acceptedUpload is an upload whose seal is in the log, not necessarily flushed.
type acceptedUpload struct {
	id       uuid.UUID
	site     string
	pairs    uint64
	at       time.Time
	records  int64 // of the log: its chunks, its seal, and the decision to come
	repeated bool  // an earlier request with the same key and body was accepted already
}

// row is the upload's row in table uploads.
func (up acceptedUpload) row() store.Upload {
	return store.Upload{ID: up.id, Site: up.site, Count: up.pairs, AcceptedAt: up.at.UnixMilli()}
}

// accept reads pairs into the log and seals them. ctx bounds the reading; writing the seal has its own time-out and,
// once begun, is seen through. The error is a *problem.Problem or one of jsonstream's: then nothing of the upload will
// be kept, unless the problem has an Upload.
func (in *intake) accept(ctx context.Context, x submission) (acceptedUpload, error) {
	attemptID, err := uuid.NewRandomFromReader(in.cfg.Random)
	if err != nil {
		return acceptedUpload{}, fmt.Errorf("make an attempt's id: %w", err)
	}
	var sum hash.Hash
	place := attemptID[:]
	if x.key != "" {
		sum = sha256.New()
		place = keyed(x.site, x.key, nil)
	}
	partition := record.Shard(place, in.cfg.UploadPartitions)
	a := newAttempt(in.cfg.Log, &in.buffers, partition, attemptID, x.site, in.cfg.WindowBytes)
	a.single = x.single
	if token, ok := x.who.Client.Token(); ok {
		a.client = token[:]
	}
	limits := jsonstream.Limits{MaxPairs: x.maxPairs, MaxElement: in.cfg.MaxElement}
	pairs, err := x.source.decode(limits, sum, func(c *jsonstream.Columns) error { return a.add(ctx, c) })
	if err == nil {
		err = a.ready(ctx, pairs)
	}
	if err != nil {
		in.abort(ctx, a, err)
		return acceptedUpload{}, err
	}
	return in.seal(ctx, x, a, pairs, sum)
}

// seal gives the upload its UUID and completes it, or finds that it was completed before.
func (in *intake) seal(
	ctx context.Context, x submission, a *attempt, pairs int, body hash.Hash,
) (acceptedUpload, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.SealTimeout)
	defer cancel()
	up := acceptedUpload{site: x.site, pairs: uint64(pairs), at: in.cfg.Clock(), records: a.records + 2}
	var err error
	if body == nil {
		up.id, err = uuid.NewRandomFromReader(in.cfg.Random)
	} else {
		up.id, up.repeated, err = in.keyedID(ctx, x, body.Sum(nil))
	}
	if err != nil {
		in.abort(ctx, a, err)
		return acceptedUpload{}, fmt.Errorf("make an upload's UUID: %w", err)
	}
	x.beforeSeal(up)
	if up.repeated {
		in.abort(ctx, a, errRepeated)
		return up, nil
	}
	if err := a.seal(ctx, up.id, pairs, up.at); err != nil {
		if in.cfg.Log.MayBeStored(err) {
			return acceptedUpload{}, problem.OutcomeUnknown(up.id, err) // an abort now might come after the seal
		}
		in.abort(ctx, a, err)
		return acceptedUpload{}, notStored(in.cfg.Log, err)
	}
	return up, nil
}

// flush makes an accepted upload survive a power cut (I1). Two requests may share an upload by their key: each flushes,
// since either answer is a promise.
func (in *intake) flush(ctx context.Context, up acceptedUpload) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.SealTimeout)
	defer cancel()
	if err := in.cfg.Log.Flush(ctx); err != nil {
		return problem.OutcomeUnknown(up.id, err)
	}
	return nil
}

// generations is how many uploads one key and body may name, one after the results of the other are gone.
const generations = 16

// keyedID returns the UUID of an upload with a key, and whether it was accepted before. The results of a UUID are given
// out for 48 hours after its first acceptance, and never again. After that the same request is a new upload, under the
// next UUID in line.
func (in *intake) keyedID(ctx context.Context, x submission, body []byte) (id uuid.UUID, repeated bool, err error) {
	for generation := range generations {
		if generation > 0 {
			body = append(body[:sha256.Size:sha256.Size], byte(generation))
		}
		copy(id[:], keyed(x.site, x.key, body))
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8, variant of RFC 9562
		acceptedAt, known := in.lookUp(ctx, id)
		if !known || !in.results.Expired(acceptedAt) {
			return id, known, nil
		}
	}
	id, err = uuid.NewRandomFromReader(in.cfg.Random)
	return id, false, err
}

// lookUp reports whether an upload was accepted before, and when, in Unix milliseconds. A store that doesn't answer
// doesn't stop uploads: a second seal for the same UUID gives the same rows (I5), as long as verify remembers its
// decision (docs/design.md, "Records").
func (in *intake) lookUp(ctx context.Context, id uuid.UUID) (acceptedAt int64, known bool) {
	ctx, cancel := context.WithTimeout(ctx, in.cfg.StoreTimeout)
	defer cancel()
	up, known, err := in.results.Accepted(ctx, id)
	if err != nil {
		in.cfg.Logger.Warn("could not look for an earlier upload with the same key: accepting it again",
			"upload", id, "error", err)
		return 0, false
	}
	return up.AcceptedAt, known
}

// abort tells the log about an attempt that ends without a seal, in its own time.
func (in *intake) abort(ctx context.Context, a *attempt, reason error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	a.abort(ctx, record.ValidText(reason.Error()))
}

// errRepeated is the reason of an abort. It is no failure: the request gets the first answer.
var errRepeated = errors.New("repeats an upload that was accepted")

// keyed hashes an Idempotency-Key with the site it is for, and the body's digest if given. Zero bytes separate the
// parts: neither a site nor a key can hold one.
func keyed(site, key string, body []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "countersign/upload\x00%s\x00%s\x00", site, key)
	h.Write(body)
	return h.Sum(nil)[:16]
}
