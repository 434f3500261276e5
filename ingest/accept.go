package ingest

// What makes a body an accepted upload: its pairs are in the log, it has a UUID, its seal is written and flushed, and its row in
// table uploads is on the way. No HTTP here: pairs come from a source.

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// source is where the pairs of an upload come from.
type source interface {
	// decode hands all pairs to sink, in runs as jsonstream.Decode cuts them, and writes to sum, unless it is nil, what tells
	// these pairs from others.
	decode(limits jsonstream.Limits, sum hash.Hash, sink func(*jsonstream.Columns) error) (pairs int, err error)
}

// bodySource is a JSON body without its content coding.
type bodySource struct {
	r     io.Reader
	whole func() error // after the last byte: was that all of it?
}

func (b bodySource) decode(limits jsonstream.Limits, sum hash.Hash, sink func(*jsonstream.Columns) error) (int, error) {
	r := b.r
	if sum != nil {
		r = &hashed{src: r, sum: sum}
	}
	pairs, err := jsonstream.Decode(r, limits, sink)
	if err != nil {
		return 0, err
	}
	return pairs, b.whole()
}

// intake turns bodies into uploads.
type intake struct {
	cfg      *Config
	recorder *recorder
	buffers  sync.Pool // of *[]byte: records acknowledged by the log
}

// incoming is one body.
type incoming struct {
	site     string // canonical
	key      string // Idempotency-Key; empty: none
	source   source
	maxPairs int
	single   bool // the result is taken from the events
	// named is called once the upload's UUID is known and before it can have results; nil: not.
	named func(accepted)
}

// accepted is an upload whose seal is in the log, not necessarily flushed.
type accepted struct {
	id       uuid.UUID
	site     string
	pairs    int
	at       time.Time
	repeated bool // an earlier request with the same key and body was accepted already
}

// row is the upload's row in table uploads.
func (up accepted) row() store.Upload {
	return store.Upload{ID: up.id, Site: up.site, Count: uint64(up.pairs), AcceptedAt: up.at.UnixMilli()}
}

// take reads a body into the log and seals it. ctx bounds the reading; writing the seal has its own time-out and, once begun, is
// seen through. The error is a *problem.Problem or one of jsonstream's: then nothing of the upload will be kept, unless the Problem has an
// Upload.
func (in *intake) take(ctx context.Context, x incoming) (accepted, error) {
	attemptID, err := uuid.NewRandomFromReader(in.cfg.Random)
	if err != nil {
		return accepted{}, fmt.Errorf("make an attempt's id: %w", err)
	}
	var sum hash.Hash
	place := attemptID[:]
	if x.key != "" {
		sum = sha256.New()
		place = keyed(x.site, x.key, nil)
	}
	a := newAttempt(in.cfg.Log, &in.buffers, record.Shard(place, in.cfg.UploadPartitions), attemptID, x.site, in.cfg.WindowBytes)
	a.single = x.single
	limits := jsonstream.Limits{MaxPairs: x.maxPairs, MaxElement: in.cfg.MaxElement}
	pairs, err := x.source.decode(limits, sum, func(c *jsonstream.Columns) error { return a.add(ctx, c) })
	if err == nil {
		err = a.ready(ctx, pairs)
	}
	if err != nil {
		in.abort(ctx, a, err)
		return accepted{}, err
	}
	return in.seal(ctx, x, a, pairs, sum)
}

// seal names the upload and completes it, or finds that it was completed before.
func (in *intake) seal(ctx context.Context, x incoming, a *attempt, pairs int, body hash.Hash) (accepted, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.SealTimeout)
	defer cancel()
	up := accepted{site: x.site, pairs: pairs, at: in.cfg.Now()}
	var err error
	if body == nil {
		up.id, err = uuid.NewRandomFromReader(in.cfg.Random)
	} else {
		up.id, up.repeated, err = in.keyedID(ctx, x, body.Sum(nil))
	}
	if err != nil {
		in.abort(ctx, a, err)
		return accepted{}, fmt.Errorf("make an upload's UUID: %w", err)
	}
	if x.named != nil {
		x.named(up)
	}
	if up.repeated {
		in.abort(ctx, a, errRepeated)
		return up, nil
	}
	if err := a.seal(ctx, up.id, pairs, up.at); err != nil {
		if in.cfg.Log.MayBeStored(err) {
			return accepted{}, problem.OutcomeUnknown(up.id, err) // an abort now might come after the seal
		}
		in.abort(ctx, a, err)
		return accepted{}, problem.LogUnavailable(err)
	}
	return up, nil
}

// flush makes an accepted upload survive a power cut (I1). Two requests may share an upload by their key: each flushes, since
// either answer is a promise.
func (in *intake) flush(ctx context.Context, up accepted) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.SealTimeout)
	defer cancel()
	if err := in.cfg.Log.Flush(ctx); err != nil {
		return problem.OutcomeUnknown(up.id, err)
	}
	return nil
}

// generations is how many uploads one key and body may name, one after the results of the other are gone.
const generations = 16

// keyedID returns the UUID of an upload with a key, and whether it was accepted before. A UUID whose results are gone stays so: its
// first acceptance is the one that is remembered. Then the same request is a new upload, under the next UUID in line.
func (in *intake) keyedID(ctx context.Context, x incoming, body []byte) (id uuid.UUID, repeated bool, err error) {
	for generation := range generations {
		if generation > 0 {
			body = append(body[:sha256.Size:sha256.Size], byte(generation))
		}
		copy(id[:], keyed(x.site, x.key, body))
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8, variant of RFC 9562
		acceptedAt, known := in.known(ctx, id)
		if !known || !expired(acceptedAt, in.cfg) {
			return id, known, nil
		}
	}
	id, err = uuid.NewRandomFromReader(in.cfg.Random)
	return id, false, err
}

// known reports whether an upload was accepted before, and when, in Unix milliseconds. A store that doesn't answer doesn't stop
// uploads: a second seal for the same UUID gives the same rows (I5), as long as verify remembers its decision (docs/design.md, "Records").
func (in *intake) known(ctx context.Context, id uuid.UUID) (acceptedAt int64, ok bool) {
	if up, ok := in.recorder.get(id); ok {
		return up.AcceptedAt, true
	}
	ctx, cancel := context.WithTimeout(ctx, in.cfg.StoreTimeout)
	defer cancel()
	up, ok, err := in.cfg.Store.Upload(ctx, id)
	if err != nil {
		in.cfg.Logger.Warn("could not look for an earlier upload with the same key: accepting it again", "upload", id, "error", err)
		return 0, false
	}
	return up.AcceptedAt, ok
}

// abort tells the log about an attempt that ends without a seal, in its own time.
func (in *intake) abort(ctx context.Context, a *attempt, reason error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	a.abort(ctx, record.ValidText(reason.Error()))
}

type repeatedError struct{}

func (repeatedError) Error() string { return "repeats an upload that was accepted" }

var errRepeated = repeatedError{}

// keyed hashes an Idempotency-Key with the site it is for, and the body's digest if given. The names are length-prefixed by
// their separators: neither a site nor a key can hold a zero byte.
func keyed(site, key string, body []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "countersign/upload\x00%s\x00%s\x00", site, key)
	h.Write(body)
	return h.Sum(nil)[:16]
}

// expired reports whether an upload's results are no longer given out (contract: 48 hours).
func expired(acceptedAt int64, cfg *Config) bool {
	return cfg.Now().Sub(time.UnixMilli(acceptedAt)) > cfg.Retention
}
