package server

// The server: how requests come from fasthttp to the calls, and how it starts and stops. What fasthttp leaves to its
// user is done here, once, for every request:
//
//   - a panic is caught, or it would end the process;
//   - admission comes before the body: fasthttp calls its handler after it read one byte of the body
//     (MaxRequestBodySize 1 makes it so, and is no limit for a stream), and with "Expect: 100-continue" admission
//     happens before the 100;
//   - a reply that leaves part of the body unread closes the connection: otherwise fasthttp would read the rest as the
//     next request.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
)

// Server serves calls over HTTP/1.1. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	routes   routes
	http     *fasthttp.Server
	metrics  *metrics
	failures *failures
	keys     *keyPair // nil without HTTPS
	closing  lingering
	below    string // the path of Config.PublicURL, without a slash at its end

	serving, stopping atomic.Bool

	base context.Context // of every request; ends with ErrStopping when open requests are to end
	stop context.CancelCauseFunc
}

// ErrStopping is why contexts of requests end early: the server can't wait for them any longer.
var ErrStopping = errors.New("the server stops")

// New makes a server of calls that does nothing yet. It checks the configuration, every problem at once, and loads the
// certificate.
func New(c Config, calls []Call) (*Server, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, routes: newRoutes(calls), metrics: newMetrics(), failures: newFailures(cfg.Logger), below: cfg.below()}
	if s.cfg.Admission == nil {
		if s.cfg.Admission, err = admission.New(admission.Config{MaxConnections: cfg.MaxConnections}); err != nil {
			return nil, err
		}
	}
	if cfg.TLSCert != "" {
		if s.keys, err = newKeyPair(cfg.TLSCert, cfg.TLSKey, cfg.Logger); err != nil {
			return nil, err
		}
	}
	if err := s.metrics.register(cfg.Registerer); err != nil {
		return nil, err
	}
	s.base, s.stop = context.WithCancelCause(context.Background())
	s.closing = lingering{
		timeout: cfg.LingerTimeout, bytes: cfg.LingerBytes, longest: cfg.BodyTimeout, stall: cfg.StallTimeout, serving: s.base,
	}
	s.http = &fasthttp.Server{
		Name:                         "countersign",
		Handler:                      s.handle,
		HeaderReceived:               headReceived,
		ExpectHandler:                s.expect,
		ErrorHandler:                 s.malformed,
		Logger:                       fasthttpLogger{s.cfg.Logger},
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
	return s, nil
}

// Serve answers requests from l's connections until Shutdown, and closes l.
func (s *Server) Serve(l net.Listener) error {
	own := newListener(l, s)
	s.serving.Store(true)
	s.cfg.Logger.Info("serving the API", "address", l.Addr().String(), "https", s.keys != nil)
	if err := s.http.Serve(own); err != nil {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// ReloadCertificate reads TLSCert and TLSKey again, changed or not. On an error the previous certificate stays in use.
// Without HTTPS it does nothing. It is safe for concurrent use.
func (s *Server) ReloadCertificate() error {
	if s.keys == nil {
		return nil
	}
	return s.keys.reload()
}

// Serving reports whether Serve was called.
func (s *Server) Serving() bool { return s.serving.Load() }

// Stopping reports whether Shutdown was called.
func (s *Server) Stopping() bool { return s.stopping.Load() }

// Shutdown stops: new connections are refused, and open requests get up to Config.DrainTimeout, less if ctx ends
// sooner. Then the contexts of those still open end, and open bodies are answered with a problem. The error says that
// requests did not end even so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	grace := s.cfg.DrainTimeout
	if end, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(end)*3/4)
	}
	timer := time.AfterFunc(grace, s.endRequests)
	err := s.http.ShutdownWithContext(ctx)
	timer.Stop()
	s.endRequests()
	if err != nil {
		return fmt.Errorf("shut down the API: requests were still open: %w", err)
	}
	return nil
}

func (s *Server) endRequests() { s.stop(ErrStopping) }

// awaitTurn waits until it is the turn of the request's client. The connection counts as idle until then. It returns
// false where the request is not served; x.problem says why.
func (s *Server) awaitTurn(x *Exchange) bool {
	err := s.cfg.Admission.Requests.Wait(s.base, x.Client(), closedForOther(x.ctx.Conn()))
	if err == nil {
		return true
	}
	x.problem = problem.TooManyAtOnce(time.Second)
	if refusal, ok := errors.AsType[*admission.Refusal](err); ok {
		x.problem.RateLimit = [2]string{refusal.PolicyField(), refusal.LimitField()}
	} else if errors.Is(err, ErrStopping) {
		x.problem = problem.Stopping()
	}
	return false
}

// admit decides by its head what a request is for, and whether it may go on.
func (s *Server) admit(x *Exchange) {
	ctx := x.ctx
	if x.problem = admitHead(&ctx.Request.Header); x.problem != nil {
		return
	}
	x.call, x.args, x.allow, x.problem = s.routes.match(string(ctx.Method()), s.path(ctx))
	if x.call == nil {
		return
	}
	if x.serve = x.call.Serve; x.call.Admit == nil {
		return
	}
	if x.serve, x.problem = x.call.Admit(x); x.problem != nil {
		x.end()
	}
}

// path is the request's path as sent. A proxy may pass its own prefix on, or not: what is no call's with the path of
// Config.PublicURL is meant without it.
func (s *Server) path(ctx *fasthttp.RequestCtx) []byte {
	path := ctx.URI().PathOriginal()
	short, ok := bytes.CutPrefix(path, []byte(s.below))
	if s.below == "" || !ok || !bytes.HasPrefix(short, []byte("/")) || s.routes.find(path) != nil {
		return path
	}
	return short
}

// expect answers "Expect: 100-continue". fasthttp's comment asks not to touch the response here. Yet a refusal without
// a body would tell the client nothing, and this version sends what it finds (TestExpectRefused watches over that).
func (s *Server) expect(ctx *fasthttp.RequestCtx) (code int) {
	defer s.recoverPanic(ctx, func() { code = http.StatusInternalServerError })
	x := &Exchange{server: s, ctx: ctx}
	if s.awaitTurn(x) {
		defer busy(ctx.Conn())()
		s.admit(x)
	}
	if x.problem == nil {
		ctx.SetUserValue(waitingKey{}, waiting{x})
		return http.StatusContinue
	}
	defer x.finish(time.Now())
	x.replyProblem(x.problem)
	return x.problem.Status
}

// handle serves one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	started := time.Now()
	defer s.recoverPanic(ctx, func() { ctx.SetConnectionClose() })
	x := &Exchange{server: s, ctx: ctx}
	w, admitted := ctx.UserValue(waitingKey{}).(waiting)
	if admitted {
		x = w.Exchange
	}
	if admitted || s.awaitTurn(x) {
		defer busy(ctx.Conn())()
	}
	if !admitted && x.problem == nil {
		s.admit(x)
	}
	defer x.finish(started)
	switch {
	case x.problem != nil:
	case x.call == nil: // OPTIONS
		x.SetField("Allow", x.allow)
		ctx.SetStatusCode(http.StatusNoContent)
	default:
		x.problem = x.serve(x)
	}
	if x.problem != nil {
		x.replyProblem(x.problem)
	}
}

// recoverPanic is deferred: it turns a panic into a 500.
func (s *Server) recoverPanic(ctx *fasthttp.RequestCtx, then func()) {
	r := recover()
	if r == nil {
		return
	}
	s.cfg.Logger.Error("panic while serving a request",
		"path", string(ctx.Path()), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	s.metrics.panics.Inc()
	s.writeProblem(ctx, problem.Internal(nil))
	ctx.SetConnectionClose()
	then()
}

// malformed answers what fasthttp can't read as a request.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	p := problem.MalformedRequest(
		"The request can't be read as HTTP/1.1: check its first line, its header fields and its framing.")
	switch {
	case lossOf(ctx.Conn()) != nil: // between its 100 and the first byte of its body
		p = lossOf(ctx.Conn())
	case errors.As(err, &small):
		p = problem.HeadTooLarge(s.cfg.MaxHead)
	case errors.As(err, &timeout) && timeout.Timeout():
		p = problem.HeadStalled(s.cfg.StallTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		p = problem.MalformedRequest("The connection ended inside the request: nothing of it was kept; send it again.")
	}
	s.writeProblem(ctx, p)
	linger(ctx.Conn(), s.announced(&ctx.Request.Header))
	s.metrics.problem(p)
}

// fasthttpLogger hands fasthttp's own messages on. What goes wrong on one connection is the client's affair, and any
// number of clients can make it happen.
type fasthttpLogger struct{ *slog.Logger }

func (l fasthttpLogger) Printf(format string, args ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "error when serving connection") {
		level = slog.LevelDebug
	}
	l.Log(context.Background(), level, "http: "+fmt.Sprintf(format, args...)) //nolint:sloglint // fasthttp's own words
}
