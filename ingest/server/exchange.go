package server

// An exchange is one request and its reply, as handlers see it.

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
)

// Exchange is one request and its reply. It belongs to the goroutine of its handler and ends when the handler returns,
// with every []byte that it gave out.
type Exchange struct {
	server      *Server
	ctx         *fasthttp.RequestCtx
	call        *Call     // nil: there is none for the request
	args        [2]string // decoded path parameters
	allow       string    // value of an Allow header
	serve       Handler   // what admission returned
	problem     *problem.Problem
	coding      string           // of the body; set by AdmitBody
	body        *wire            // nil until opened
	place       *admission.Place // of the body; nil: it has none
	reading     context.Context  // of the body; nil: it has not begun
	stopReading func()           // ends reading; nil: it has not begun
	release     []func()         // what OnEnd collected
	sent        []func()         // what OnSent collected
	outcome     string           // for the metrics, where it isn't the problem's kind
}

// Arg is the i-th parameter of the path, counted from 0, percent-decoded.
func (x *Exchange) Arg(i int) string { return x.args[i] }

// Query returns the values of a parameter in the query, in their order, decoded. They belong to the exchange.
func (x *Exchange) Query(name string) [][]byte { return x.ctx.QueryArgs().PeekMulti(name) }

// Field returns the values of a header field, in their order. They belong to the exchange. name is in its usual
// spelling: "Content-Encoding".
func (x *Exchange) Field(name string) [][]byte { return x.ctx.Request.Header.PeekAll(name) }

// Context ends with the cause ErrStopping when the server can't wait for its requests any longer. It does not end when
// the client goes away: HTTP/1.1 doesn't tell.
func (x *Exchange) Context() context.Context { return x.server.base }

// Client is who sent the request: the client connected, or the one that trusted proxies name.
func (x *Exchange) Client() admission.Client {
	return x.server.cfg.Admission.ClientOf(addressOf(x.ctx.Conn()), func() admission.Forwarding {
		return admission.Forwarding{XForwardedFor: texts(x.Field("X-Forwarded-For")), Forwarded: texts(x.Field("Forwarded"))}
	})
}

func texts(values [][]byte) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

// OnEnd has release called when the exchange is over, even if no handler ever ran. If a handler calls release earlier,
// the second call must do nothing.
func (x *Exchange) OnEnd(release func()) { x.release = append(x.release, release) }

// OnSent has release called when the reply was sent, or can't be, also if no handler ever ran. Until then a reply may
// be in memory whose client takes its time.
func (x *Exchange) OnSent(release func()) {
	if x.sent == nil {
		x.ctx.SetUserValue(sendingKey{}, sending{x})
	}
	x.sent = append(x.sent, release)
}

// CloseUnsent closes the connection when a context ends before the reply was sent. place makes the context, which is
// ended when the reply was sent.
func (x *Exchange) CloseUnsent(place func(context.Context) (context.Context, context.CancelFunc)) {
	c := x.ctx.Conn()
	ctx, cancel := place(context.Background())
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // a Write that waits for the client returns
	x.OnSent(func() { stop(); cancel() })
}

// sending is an exchange whose reply is not sent yet. fasthttp closes it, as it does waiting, after it has written the
// reply.
type sending struct{ *Exchange }

// sendingKey is where it is found.
type sendingKey struct{}

func (s sending) Close() error {
	for _, release := range s.sent {
		release()
	}
	return nil
}

// AdmitBody decides by the head whether the request's body can be accepted: its content coding is supported, and the
// announced length is not over Config.MaxBody.
func (x *Exchange) AdmitBody() *problem.Problem {
	// Several fields are one list (RFC 9110, section 5.2).
	coding, p := contentCoding(string(bytes.Join(x.Field("Content-Encoding"), []byte(", "))))
	if p != nil {
		return p
	}
	if int64(x.ctx.Request.Header.ContentLength()) > x.server.cfg.MaxBody {
		return problem.BodyTooLarge(x.server.cfg.MaxBody)
	}
	x.coding = coding
	return nil
}

// SetOutcome names what became of the request, for the metrics. Without it an exchange counts as "ok", or under the
// kind of its problem.
func (x *Exchange) SetOutcome(outcome string) { x.outcome = outcome }

// SetField sets a header field of the reply.
func (x *Exchange) SetField(name, value string) { x.ctx.Response.Header.Set(name, value) }

// Reply answers with status 200. body belongs to the exchange after the call.
func (x *Exchange) Reply(contentType string, body []byte) {
	x.ctx.SetContentType(contentType)
	x.ctx.Response.SetBodyRaw(body)
}

// ReplyJSON is Reply for JSON.
func (x *Exchange) ReplyJSON(body []byte) { x.Reply("application/json", body) }

// ReplyText is Reply for plain text.
func (x *Exchange) ReplyText(body []byte) { x.Reply("text/plain; charset=utf-8", body) }

// replyProblem answers with a problem, and logs the cause where the operator should know of it.
func (x *Exchange) replyProblem(p *problem.Problem) {
	x.server.failures.note(string(x.ctx.Path()), p)
	x.server.writeProblem(x.ctx, p)
	x.server.metrics.problem(p)
}

func (s *Server) writeProblem(ctx *fasthttp.RequestCtx, p *problem.Problem) {
	ctx.SetStatusCode(p.Status)
	ctx.SetContentType("application/problem+json")
	if p.RetryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.FormatInt(p.RetrySeconds(), 10))
	}
	if p.Header[0] != "" {
		ctx.Response.Header.Set(p.Header[0], p.Header[1])
	}
	if p.RateLimit[0] != "" {
		ctx.Response.Header.Set("RateLimit-Policy", p.RateLimit[0])
		ctx.Response.Header.Set("RateLimit", p.RateLimit[1])
	}
	ctx.Response.SetBodyRaw(p.AppendJSON(nil, s.below))
}

// finish gives back what the request held and decides whether its connection can serve another one.
func (x *Exchange) finish(started time.Time) {
	x.end()
	x.SetField("X-Content-Type-Options", "nosniff")
	x.allowOtherOrigins()
	if len(x.ctx.Response.Header.Peek("Cache-Control")) == 0 {
		x.SetField("Cache-Control", "no-store")
	}
	if x.unread() {
		x.ctx.SetConnectionClose()
		linger(x.ctx.Conn(), x.server.announced(&x.ctx.Request.Header))
	}
	x.server.metrics.request(x, time.Since(started))
}

// allowOtherOrigins lets pages of other origins read the reply (CORS, in the Fetch standard) if the request changes
// nothing, a refusal too. What everybody may read needs no credentials. Calls that sign or upload stay closed. OPTIONS
// asks on behalf of the others.
func (x *Exchange) allowOtherOrigins() {
	method := string(x.ctx.Method())
	asks := method == http.MethodOptions
	if x.call == nil || asks { // OPTIONS, or there was no turn
		safe := x.server.routes.find(x.server.path(x.ctx)).safeMethods()
		if len(safe) == 0 || !asks && !slices.Contains(safe, method) {
			return
		}
		if asks {
			x.SetField("Access-Control-Allow-Methods", strings.Join(safe, ", "))
			x.SetField("Access-Control-Allow-Headers", "*")
			x.SetField("Access-Control-Max-Age", "86400")
		}
	} else if !x.call.Safe {
		return
	}
	x.SetField("Access-Control-Allow-Origin", "*")
	x.SetField("Access-Control-Expose-Headers", "Content-Disposition, RateLimit, RateLimit-Policy, Retry-After")
}

// end calls what OnEnd collected.
func (x *Exchange) end() {
	for _, release := range x.release {
		release()
	}
	x.release = nil
}

// unread reports whether part of the body may still be on the wire.
func (x *Exchange) unread() bool {
	if x.body != nil {
		return !x.body.ended
	}
	n := x.ctx.Request.Header.ContentLength()
	return n > 0 || n == -1 // -1: chunked
}

// waiting is an admitted exchange between its 100 and its handler. fasthttp closes what it finds among a request's user
// values when the request is over, whether the handler was called or not. So what admission holds can't leak.
type waiting struct{ *Exchange }

// waitingKey is where it is found.
type waitingKey struct{}

func (w waiting) Close() error {
	if p := w.lostPlace(); p != nil && w.body == nil {
		noteLoss(w.ctx.Conn(), p)
	}
	w.end()
	return nil
}
