package ingest

// From a connection to a stream that ends: every read has a deadline, every byte is counted, compressed bodies are
// decompressed within the same limits, and whatever goes wrong comes out as the Problem to answer with.
//
// fasthttp helps with none of this: its stream of a body has no limit when it is chunked, ends with a plain io.EOF when
// the client hangs up short of its Content-Length, and is read under one deadline set when the head arrived.

import (
	"context"
	"errors"
	"hash"
	"io"
	"net"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"countersign/ingest/problem"
)

// Why an upload's context ended.
var (
	errStopping = errors.New("the server stops")
	errTooSlow  = errors.New("the upload's deadline passed")
)

// wire reads a body as it is on the wire.
type wire struct {
	ctx      context.Context // of the upload; its end makes Read return
	src      io.Reader       // fasthttp's stream
	deadline func(time.Time) error
	stall    time.Duration
	slow     time.Duration // the upload's deadline, for the text
	announced,
	max int64 // announced is -1 for a chunked body

	// gone reports whether the client ended its side when more was wanted.
	gone func() bool

	n     int64     // bytes so far
	armed time.Time // the deadline in force
	ended bool      // the body was read to its end
	cut   bool      // the client hung up before that
}

// Read reads up to len(p) bytes. A body that breaks off ends with io.EOF and w.cut set, so that the decoder can say in which element.
func (w *wire) Read(p []byte) (int, error) {
	if w.ended || w.cut {
		return 0, io.EOF
	}
	if err := w.arm(); err != nil {
		return 0, w.expired()
	}
	n, err := w.src.Read(p)
	w.n += int64(n)
	switch {
	case w.n > w.max:
		return 0, problem.BodyTooLarge(w.max)
	case w.announced >= 0 && w.n >= w.announced || w.announced < 0 && err == io.EOF && !w.gone():
		// fasthttp's stream ends alike after the last chunk and after a hang-up between two (RFC 9112, section 8: incomplete).
		w.ended = true
		return n, io.EOF
	case err == nil:
		return n, nil
	case w.timedOut(err):
		return n, w.expired()
	}
	if w.announced < 0 && brokenChunks(err) && !w.gone() {
		return n, problem.BrokenChunks(w.n)
	}
	w.cut = true
	return n, io.EOF
}

// brokenChunks reports whether a read failed because of what came, rather than because nothing more did.
func brokenChunks(err error) bool {
	var network net.Error
	return !errors.As(err, &network) && err != io.EOF && err != io.ErrUnexpectedEOF
}

// arm moves the read deadline, at most some 16 times per stall time-out.
func (w *wire) arm() error {
	if next := time.Now().Add(w.stall); next.Sub(w.armed) > w.stall/16 {
		if err := w.deadline(next); err != nil {
			return err
		}
		w.armed = next
	}
	// The watcher of ctx sets a deadline in the past after ctx ended: seeing ctx alive here means that it comes after ours.
	return w.ctx.Err()
}

// timedOut reports whether a read failed because its deadline passed. fasthttp hides that when it happens in a chunk's head.
func (w *wire) timedOut(err error) bool {
	var timeout net.Error
	return w.ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() || !time.Now().Before(w.armed)
}

// expired says which deadline passed.
func (w *wire) expired() *problem.Problem {
	switch {
	case w.ctx.Err() == nil:
		return problem.Stalled(w.stall)
	case errors.Is(context.Cause(w.ctx), errTooSlow):
		return problem.TooSlow(w.slow)
	}
	return problem.Stopping()
}

// check is for after a decoder was satisfied: it may have been so with less than the whole body.
func (w *wire) check() error {
	if w.cut {
		return problem.CutOff(w.n, w.announced)
	}
	return nil
}

// Content codings (RFC 9110, section 8.4.1; zstd: RFC 8878).

// zstdWindow is the largest window that a zstd body may ask for: what RFC 9659 allows for the coding, and what it costs
// beyond a plain body's memory.
const zstdWindow = 8 << 20

// coding returns the name of a supported content coding, "" for none.
func coding(header string) (string, *problem.Problem) {
	switch strings.ToLower(strings.TrimSpace(header)) {
	case "", "identity":
		return "", nil
	case "gzip", "x-gzip":
		return "gzip", nil
	case "zstd":
		return "zstd", nil
	}
	return "", problem.UnsupportedEncoding(header)
}

// decoded returns the body without its coding. The second result must be called when it is no longer read.
func decoded(body *wire, coding string) (io.Reader, func(), error) {
	switch coding {
	case "gzip":
		z := &inflated{coding: coding, body: body, max: body.max}
		z.src = &lazyGzip{body: body}
		return z, func() {}, nil
	case "zstd":
		d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return &inflated{coding: coding, body: body, src: d, max: body.max}, d.Close, nil
	}
	return body, func() {}, nil
}

// lazyGzip makes its reader at the first Read: making it reads the body.
type lazyGzip struct {
	body io.Reader
	z    *gzip.Reader
}

func (g *lazyGzip) Read(p []byte) (int, error) {
	if g.z == nil {
		var err error
		if g.z, err = gzip.NewReader(g.body); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // an empty body is no gzip
			}
			return 0, err
		}
	}
	return g.z.Read(p)
}

// inflated counts what comes out of a decompressor and says what went wrong in it.
type inflated struct {
	coding string
	body   *wire
	src    io.Reader
	n, max int64
}

func (z *inflated) Read(p []byte) (int, error) {
	n, err := z.src.Read(p)
	if z.n += int64(n); z.n > z.max {
		return 0, problem.BodyTooLarge(z.max)
	}
	if err == nil || err == io.EOF && !z.body.cut {
		return n, err
	}
	var connection *problem.Problem
	switch {
	case errors.As(err, &connection):
	case z.body.cut:
		err = problem.CutOff(z.body.n, z.body.announced)
	default:
		err = problem.DamagedEncoding(z.coding, err)
	}
	return n, err
}

// hashed feeds what is read to a hash.
type hashed struct {
	src io.Reader
	sum hash.Hash
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.src.Read(p)
	h.sum.Write(p[:n])
	return n, err
}
