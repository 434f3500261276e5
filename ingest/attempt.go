package ingest

// An attempt: one body on its way into the log. Chunks leave while the body still arrives; a window of unacknowledged
// ones bounds the memory. The first chunk waits for a second one or for the body's end, because a chunk that is the
// whole upload carries its own seal: then a single signing is one record.
//
// An attempt belongs to one goroutine.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/ingest/server"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

type attempt struct {
	log       Log
	buffers   *sync.Pool // of *[]byte, shared by all attempts
	partition int
	id        uuid.UUID
	site      string
	window    int    // bytes
	single    bool   // its caller learns the result from the events
	client    []byte // token of who sent it; empty: not known

	held     *jsonstream.Columns // the first chunk, not yet sent
	inFlight []sent              // oldest first
	bytes    int                 // of inFlight
	first    int64               // smallest offset of an acknowledged chunk; -1: none yet
	records  int64               // chunks sent on their own
}

type sent struct {
	ack Ack
	buf *[]byte
}

func newAttempt(log Log, buffers *sync.Pool, partition int, id uuid.UUID, site string, window int) *attempt {
	return &attempt{log: log, buffers: buffers, partition: partition, id: id, site: site, window: window, first: -1}
}

// add sends the next run of pairs, or holds the first one. It waits while the window is full. After an error the
// attempt can only be aborted.
func (a *attempt) add(ctx context.Context, c *jsonstream.Columns) error {
	if c.First == 0 {
		a.held = c
		return nil
	}
	if err := a.sendHeld(ctx); err != nil {
		return err
	}
	return a.send(ctx, c)
}

func (a *attempt) sendHeld(ctx context.Context) error {
	c := a.held
	if c == nil {
		return nil
	}
	a.held = nil
	return a.send(ctx, c)
}

func (a *attempt) send(ctx context.Context, c *jsonstream.Columns) error {
	buf := a.encode(a.chunk(c, nil))
	c.Release()
	for len(a.inFlight) > 0 && a.bytes+len(*buf) > a.window {
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
	a.records++
	ack, err := a.log.Send(ctx, a.partition, *buf)
	if err != nil {
		return a.failure(ctx, fmt.Errorf("send pairs from position %d on: %w", c.First, err))
	}
	a.inFlight = append(a.inFlight, sent{ack, buf})
	a.bytes += len(*buf)
	return nil
}

// settle waits for the oldest chunk's acknowledgement.
func (a *attempt) settle(ctx context.Context) error {
	s := a.inFlight[0]
	offset, err := s.ack.Wait(ctx)
	if err != nil {
		return a.failure(ctx, err) // the log may still read s.buf: leave it
	}
	if a.first < 0 || offset < a.first {
		a.first = offset
	}
	a.bytes -= len(*s.buf)
	a.inFlight = append(a.inFlight[:0], a.inFlight[1:]...)
	a.recycle(s.buf)
	return nil
}

// failure is what to answer when the log has refused a chunk. Without a seal, nothing of the attempt counts.
func (a *attempt) failure(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), server.ErrStopping) {
		return problem.Stopping()
	}
	return notStored(a.log, err)
}

// notStored is what to answer when the log has said err and holds nothing that counts.
func notStored(log Log, err error) *problem.Problem {
	if log.Full(err) {
		return problem.DiskFull(err)
	}
	return problem.LogUnavailable(err)
}

// settleAll waits for every chunk that was sent. Only then may the seal be.
func (a *attempt) settleAll(ctx context.Context) error {
	for len(a.inFlight) > 0 {
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ready ends the body: unless the whole upload is one chunk, all of it is in the log when ready returns.
func (a *attempt) ready(ctx context.Context, pairs int) error {
	if a.held != nil && a.held.Len() == pairs {
		return nil
	}
	if err := a.sendHeld(ctx); err != nil {
		return err
	}
	return a.settleAll(ctx)
}

// seal makes the attempt an upload; ready must have returned nil. An error is the log's own: its MayBeStored says
// whether the upload may exist nevertheless.
func (a *attempt) seal(ctx context.Context, upload uuid.UUID, pairs int, accepted time.Time) error {
	s := &recordpb.Seal{
		Attempt: a.id[:], Upload: upload[:], Site: a.site, Count: uint64(pairs), FirstOffset: a.first,
		AcceptedMs: accepted.UnixMilli(), Single: a.single, Client: a.client,
	}
	m := &recordpb.Upload{Kind: &recordpb.Upload_Seal{Seal: s}}
	if a.held != nil {
		m = a.chunk(a.held, s)
	}
	buf := a.encode(m)
	ack, err := a.log.Send(ctx, a.partition, *buf)
	if err != nil {
		return err
	}
	if _, err = ack.Wait(ctx); err != nil {
		return err
	}
	a.recycle(buf)
	return nil
}

// abort tells the log that the attempt will never be sealed: a courtesy that frees memory in verify, so its failure is
// nobody's.
func (a *attempt) abort(ctx context.Context, reason string) {
	if a.records == 0 {
		return
	}
	abort := &recordpb.Abort{Attempt: a.id[:], Reason: reason}
	buf := a.encode(&recordpb.Upload{Kind: &recordpb.Upload_Abort{Abort: abort}})
	_, _ = a.log.Send(ctx, a.partition, *buf)
}

// chunk describes c, whose columns are shared, not copied.
func (a *attempt) chunk(c *jsonstream.Columns, seal *recordpb.Seal) *recordpb.Upload {
	chunk := &recordpb.Chunk{
		Attempt: a.id[:], Site: a.site, First: uint32(c.First),
		Hashes: c.Hashes, Upper: c.Upper, Signatures: c.Signatures, SignatureLengths: c.Lengths, Seal: seal,
	}
	if seal == nil { // a seal names the client itself
		chunk.Client = a.client
	}
	if n := len(c.Unparsed); n > 0 {
		backing := make([]recordpb.Unparsed, n)
		chunk.Unparsed = make([]*recordpb.Unparsed, n)
		var reasons record.Reasons
		for i, u := range c.Unparsed {
			p := &backing[i]
			p.Index, p.Text, p.Reason = uint32(u.Index), u.Text, reasons.Shorten(u.Reason)
			chunk.Unparsed[i] = p
		}
	}
	return &recordpb.Upload{Kind: &recordpb.Upload_Chunk{Chunk: chunk}}
}

// pooled is the size in bytes from which a record's buffer is worth keeping.
const pooled = 32 << 10

// encode returns m's encoding. Large ones are in a buffer of the pool, which recycle puts back.
func (a *attempt) encode(m *recordpb.Upload) *[]byte {
	buf := new([]byte)
	if proto.Size(m) >= pooled {
		if b, ok := a.buffers.Get().(*[]byte); ok {
			buf = b
		}
	}
	b, err := proto.MarshalOptions{}.MarshalAppend((*buf)[:0], m)
	if err != nil {
		// Only invalid UTF-8 could do that, and jsonstream and record.ParseSite let none through.
		panic("ingest: encode a record: " + err.Error())
	}
	*buf = b
	return buf
}

// recycle puts back the buffer of an acknowledged record.
func (a *attempt) recycle(buf *[]byte) {
	if cap(*buf) >= pooled {
		a.buffers.Put(buf)
	}
}
