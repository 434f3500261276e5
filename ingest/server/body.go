package server

// From a connection to a stream that ends: every read has a deadline, every byte is counted, compressed bodies are
// decompressed within the same limits, and whatever goes wrong comes out as the problem to answer with.
//
// fasthttp helps with none of this: its stream of a body has no limit when it is chunked, ends with a plain io.EOF when
// the client hangs up short of its Content-Length, and is read under one deadline set when the head arrived.

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/internal/sniff"
	"countersign/ingest/problem"
)

// errTooSlow is why the context of a body ends at its deadline.
var errTooSlow = errors.New("the body's deadline passed")

// Body is a request's body without its content coding. It is for one goroutine.
type Body struct {
	ctx     context.Context
	wire    *wire
	decoded io.Reader
	close   func()
}

// HoldPlace says which place the request's body has. From now on the client must send it, or may lose the place. The
// end of the exchange gives it back.
func (x *Exchange) HoldPlace(place *admission.Place) {
	x.place = place
	x.OnEnd(place.Release)
	x.beginReading()
	x.OnEnd(x.stopReading)
	place.Await()
}

// beginReading makes the context that bounds the reading of the body. stopReading must be called when nothing more is
// read, and may be called again.
func (x *Exchange) beginReading() {
	ctx, cancel := context.WithDeadlineCause(x.server.base, time.Now().Add(x.server.cfg.BodyTimeout), errTooSlow)
	if x.place != nil {
		cancelDeadline := cancel
		placed, cancelPlace := x.place.Context(ctx)
		ctx, cancel = placed, func() { cancelPlace(); cancelDeadline() }
	}
	c := x.ctx.Conn()
	// A Read that waits for the client notices ctx's end by its deadline.
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	x.reading = ctx
	x.stopReading = sync.OnceFunc(func() {
		if !stop() { // the deadline in the past may yet be set: it must not meet another request
			x.ctx.SetConnectionClose()
		}
		cancel()
	})
}

// lostPlace is the problem of a body whose place went to another client; nil: it has its place still, or needs none.
func (x *Exchange) lostPlace() *problem.Problem {
	if x.reading == nil {
		return nil
	}
	return lostPlace(x.reading, x.server.cfg.Admission)
}

func lostPlace(reading context.Context, a *admission.Admission) *problem.Problem {
	switch cause := context.Cause(reading); {
	case errors.Is(cause, admission.ErrSlow):
		return problem.TooSlowForOthers(a.MinBodyRate())
	case errors.Is(cause, admission.ErrRecalled):
		return problem.OverShare(int64(a.Uploads.Share()), time.Second)
	}
	return nil
}

// OpenBody begins to read the body that AdmitBody admitted. Close must be called when nothing more is read.
func (x *Exchange) OpenBody() (*Body, *problem.Problem) {
	cfg := &x.server.cfg
	if x.reading == nil {
		x.beginReading()
	}
	c := x.ctx.Conn()
	x.body = &wire{
		ctx: x.reading, place: x.place, admission: cfg.Admission, src: x.ctx.RequestBodyStream(), deadline: c.SetReadDeadline, stall: cfg.StallTimeout,
		slow: cfg.BodyTimeout, announced: int64(x.ctx.Request.Header.ContentLength()), max: cfg.MaxBody,
		gone: clientGone(c), coded: x.coding != "",
	}
	if x.body.src == nil {
		x.body.src, x.body.announced = http.NoBody, 0
	}
	decoded, closeDecoder, err := decode(x.body, x.coding)
	if err != nil {
		x.stopReading()
		return nil, problem.Internal(err)
	}
	return &Body{x.reading, x.body, decoded, func() { closeDecoder(); x.stopReading() }}, nil
}

// Context ends when the body may no longer be read: Config.BodyTimeout is over, or the server stops, with the cause
// ErrStopping.
func (b *Body) Context() context.Context { return b.ctx }

// Read reads up to len(p) bytes. Errors are io.EOF and *problem.Problem. A body that breaks off ends with io.EOF, so
// that a parser can say in which element: Check must follow.
func (b *Body) Read(p []byte) (int, error) { return b.decoded.Read(p) }

// Check is for after a parser was satisfied, for it may have been so with less than the whole body: the error is a
// *problem.Problem then.
func (b *Body) Check() error { return b.wire.check() }

// Explain returns what an error comes of. A body of which nothing came was cut off, whatever a parser says of nothing.
// Where the body lost its place, that is the reason of whatever failed.
func (b *Body) Explain(err error) error {
	if err == nil {
		return nil
	}
	if p := lostPlace(b.ctx, b.wire.admission); p != nil {
		return p
	}
	if b.wire.cut && b.wire.n == 0 {
		return b.wire.check()
	}
	return err
}

// Received is how many bytes have come so far, as sent.
func (b *Body) Received() int64 { return b.wire.n }

// Close ends the reading, wherever it is.
func (b *Body) Close() { b.close() }

// wire reads a body as it is on the wire.
type wire struct {
	ctx       context.Context  // of the body; its end makes Read return
	place     *admission.Place // nil: it has none
	admission *admission.Admission
	src       io.Reader // fasthttp's stream
	deadline  func(time.Time) error
	stall     time.Duration
	slow      time.Duration // the body's deadline, for the text
	announced int64         // bytes; -1 for a chunked body
	max       int64         // bytes
	gone      func() bool   // the client ended its side when more was wanted

	n     int64     // bytes so far
	head  []byte    // the first of them, up to sniff.Need, of a body with a content coding
	coded bool      // it has one
	armed time.Time // the deadline in force
	ended bool      // the body was read to its end
	cut   bool      // the client hung up before that
}

// Read reads up to len(p) bytes. A body that breaks off ends with io.EOF and w.cut set.
func (w *wire) Read(p []byte) (int, error) {
	if w.ended || w.cut {
		return 0, io.EOF
	}
	if err := w.arm(); err != nil {
		return 0, w.expired()
	}
	if w.place != nil {
		w.place.Await()
	}
	n, err := w.src.Read(p)
	if w.place != nil {
		w.place.Received(n)
	}
	w.n += int64(n)
	if w.coded && len(w.head) < sniff.Need {
		w.head = append(w.head, p[:min(n, sniff.Need-len(w.head))]...)
	}
	switch {
	case w.n > w.max:
		return 0, problem.BodyTooLarge(w.max)
	case w.announced >= 0 && w.n >= w.announced || w.announced < 0 && err == io.EOF && !w.gone():
		// fasthttp's stream ends alike after the last chunk and after a hang-up between two (RFC 9112, section 8:
		// incomplete).
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
	return !errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// arm moves the read deadline, at most some 16 times per stall time-out.
func (w *wire) arm() error {
	if next := time.Now().Add(w.stall); next.Sub(w.armed) > w.stall/16 {
		if err := w.deadline(next); err != nil {
			return err
		}
		w.armed = next
	}
	// The watcher of ctx sets a deadline in the past after ctx ended: seeing ctx alive here means that it comes after
	// ours.
	return w.ctx.Err()
}

// timedOut reports whether a read failed because its deadline passed. fasthttp hides that when it happens in a chunk's
// head.
func (w *wire) timedOut(err error) bool {
	var timeout net.Error
	return w.ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() || !time.Now().Before(w.armed)
}

// expired says which deadline passed.
func (w *wire) expired() *problem.Problem {
	if p := lostPlace(w.ctx, w.admission); p != nil {
		return p
	}
	switch {
	case w.ctx.Err() == nil:
		return problem.Stalled(w.stall)
	case errors.Is(context.Cause(w.ctx), errTooSlow):
		return problem.TooSlow(w.slow)
	}
	return problem.Stopping()
}

// check says whether all of the body came, once nothing more of it is wanted.
func (w *wire) check() error {
	if w.cut {
		return problem.CutOff(w.n, w.announced)
	}
	return nil
}
