package ingest

// Between fasthttp and the calls. What fasthttp leaves to its user is done here, once, for every request:
//
//   - a panic is caught, or it would end the process;
//   - admission comes before the body: fasthttp calls Handler after it read one byte of it (MaxRequestBodySize 1 makes it so,
//     and is no limit for a stream), and with "Expect: 100-continue" admission happens before the 100;
//   - a reply that leaves part of the body unread closes the connection: fasthttp would take the rest for the next request.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"countersign/ingest/problem"
)

// exchange is one request and its reply. It lives as long as its handler.
type exchange struct {
	srv  *Server
	ctx  *fasthttp.RequestCtx
	call *call
	args [2]string // decoded path parameters
	site string    // canonical form of args[0], for the calls that are about a site
	// coding and key are an upload's Content-Encoding and Idempotency-Key.
	coding, key string

	body    *wire            // nil until opened
	slots   []func()         // what Close gives back
	problem *problem.Problem // what admission found
	allow   string
	outcome string // for the metrics, where it isn't the problem's kind
}

// exchangeKey is where an admitted exchange waits in its RequestCtx for the handler. fasthttp closes what it finds there when the
// request is over, whether the handler was called or not: so slots taken before the 100 can't leak.
type exchangeKey struct{}

// Close gives back what admission took. It may be called more than once.
func (x *exchange) Close() error {
	for _, release := range x.slots {
		release()
	}
	x.slots = nil
	return nil
}

func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Name:                         "countersign",
		Handler:                      s.handle,
		HeaderReceived:               headReceived,
		ExpectHandler:                s.expect,
		ErrorHandler:                 s.malformed,
		Logger:                       httpLogger{s.cfg.Logger},
		StreamRequestBody:            true,
		MaxRequestBodySize:           1,
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               s.cfg.MaxHead,
		Concurrency:                  2 * s.cfg.MaxConnections, // the listener's limit comes first
		ReadTimeout:                  s.cfg.StallTimeout,
		WriteTimeout:                 s.cfg.WriteTimeout,
		IdleTimeout:                  s.cfg.IdleTimeout,
		CloseOnShutdown:              true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
	}
}

// admit finds out what a request is for, and whether it may go on.
func (s *Server) admit(ctx *fasthttp.RequestCtx) *exchange {
	x := &exchange{srv: s, ctx: ctx}
	if x.problem = admitHead(&ctx.Request.Header); x.problem != nil {
		return x
	}
	x.call, x.args, x.allow, x.problem = find(s.routes, string(ctx.Method()), ctx.URI().PathOriginal())
	if x.call != nil && x.call.admit != nil {
		if x.problem = x.call.admit(x); x.problem != nil {
			x.Close()
		}
	}
	return x
}

// expect answers "Expect: 100-continue". fasthttp's comment asks not to touch the response here; yet a refusal without a body would
// tell the client nothing, and this version sends what it finds (TestExpectRefused watches over that).
func (s *Server) expect(ctx *fasthttp.RequestCtx) (code int) {
	defer s.catch(ctx, func() { code = http.StatusInternalServerError })
	x := s.admit(ctx)
	if x.problem == nil {
		ctx.SetUserValue(exchangeKey{}, x)
		return http.StatusContinue
	}
	defer x.finish(time.Now())
	x.reply(x.problem)
	return x.problem.Status
}

// handle serves one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	started := time.Now()
	defer s.catch(ctx, func() { ctx.SetConnectionClose() })
	x, ok := ctx.UserValue(exchangeKey{}).(*exchange)
	if !ok {
		x = s.admit(ctx)
	}
	defer x.finish(started)
	switch {
	case x.problem != nil:
	case x.call == nil:
		ctx.Response.Header.Set("Allow", x.allow)
		ctx.SetStatusCode(http.StatusNoContent)
	default:
		x.problem = x.call.serve(x)
	}
	if x.problem != nil {
		x.reply(x.problem)
	}
}

// finish gives back what the request held and decides whether its connection can serve another one.
func (x *exchange) finish(started time.Time) {
	x.Close()
	x.ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	if len(x.ctx.Response.Header.Peek("Cache-Control")) == 0 {
		x.ctx.Response.Header.Set("Cache-Control", "no-store")
	}
	if x.unread() {
		x.ctx.SetConnectionClose()
		linger(x.ctx.Conn())
	}
	x.srv.metrics.request(x, time.Since(started))
}

// unread reports whether part of the body may still be on the wire.
func (x *exchange) unread() bool {
	if x.body != nil {
		return !x.body.ended
	}
	n := x.ctx.Request.Header.ContentLength()
	return n > 0 || n == -1 // -1: chunked
}

func linger(c net.Conn) {
	if l, ok := c.(interface{ lingerOnClose() }); ok {
		l.lingerOnClose()
	}
}

// catch is deferred: it turns a panic into a 500.
func (s *Server) catch(ctx *fasthttp.RequestCtx, then func()) {
	r := recover()
	if r == nil {
		return
	}
	s.cfg.Logger.Error("panic while serving a request", "path", string(ctx.Path()), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	s.metrics.panics.Inc()
	writeProblem(ctx, problem.Internal(nil))
	ctx.SetConnectionClose()
	then()
}

// malformed answers what fasthttp can't read as a request.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	p := problem.MalformedRequest("The request can't be read as HTTP/1.1: check its first line, its header fields and its framing.")
	switch {
	case errors.As(err, &small):
		p = problem.HeadTooLarge(s.cfg.MaxHead)
	case errors.As(err, &timeout) && timeout.Timeout():
		p = problem.HeadStalled(s.cfg.StallTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		p = problem.MalformedRequest("The connection ended inside the request: nothing of it was kept; send it again.")
	}
	writeProblem(ctx, p)
	linger(ctx.Conn())
	s.metrics.problem(p)
}

// reply answers with a problem, and logs why where that is for the operator to know.
func (x *exchange) reply(p *problem.Problem) {
	if p.Cause() != nil && p.Status >= http.StatusInternalServerError {
		x.srv.cfg.Logger.Warn("request failed", "path", string(x.ctx.Path()), "problem", p.Kind, "upload", p.Upload, "error", p.Cause())
	}
	writeProblem(x.ctx, p)
	x.srv.metrics.problem(p)
}

func writeProblem(ctx *fasthttp.RequestCtx, p *problem.Problem) {
	ctx.SetStatusCode(p.Status)
	ctx.SetContentType("application/problem+json")
	if p.RetryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.FormatInt(p.RetrySeconds(), 10))
	}
	if p.Header[0] != "" {
		ctx.Response.Header.Set(p.Header[0], p.Header[1])
	}
	ctx.Response.SetBodyRaw(p.AppendJSON(nil))
}

// bareReply is a reply for where there is no request.
func bareReply(p *problem.Problem) []byte {
	body := p.AppendJSON(nil)
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nServer: countersign\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"+
		"Retry-After: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", p.Status, http.StatusText(p.Status), len(body), p.RetrySeconds())
	return append([]byte(head), body...)
}

func (x *exchange) replyJSON(body []byte) {
	x.ctx.SetContentType("application/json")
	x.ctx.Response.SetBodyRaw(body)
}

func (x *exchange) replyText(body []byte) {
	x.ctx.SetContentType("text/plain; charset=utf-8")
	x.ctx.Response.SetBodyRaw(body)
}

// openBody returns the context that bounds the reading of the request's body, which is x.body from then on. done must be called when
// nothing more is read.
func (x *exchange) openBody() (ctx context.Context, done func()) {
	cfg := &x.srv.cfg
	ctx, cancel := context.WithDeadlineCause(x.srv.base, time.Now().Add(cfg.UploadTimeout), errTooSlow)
	c := x.ctx.Conn()
	// A Read that waits for the client notices ctx's end by its deadline.
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	x.body = &wire{
		ctx: ctx, src: x.ctx.RequestBodyStream(), deadline: c.SetReadDeadline, stall: cfg.StallTimeout, slow: cfg.UploadTimeout,
		announced: int64(x.ctx.Request.Header.ContentLength()), max: cfg.MaxBody, gone: hungUp(c),
	}
	if x.body.src == nil {
		x.body.src, x.body.announced = http.NoBody, 0
	}
	return ctx, func() {
		if !stop() { // the deadline in the past may yet be set: it must not meet another request
			x.ctx.SetConnectionClose()
		}
		cancel()
	}
}

// httpLogger hands fasthttp's own messages on. What goes wrong on one connection is the client's affair, and any number of clients can
// make it happen.
type httpLogger struct{ *slog.Logger }

func (l httpLogger) Printf(format string, args ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "error when serving connection") {
		level = slog.LevelDebug
	}
	l.Log(context.Background(), level, "http: "+fmt.Sprintf(format, args...))
}
