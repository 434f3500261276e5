package ingest

// For people: the page where one drops a file, the API's description, and what the problem types mean. All of it is in the binary, and the
// page loads nothing from elsewhere.

import (
	"embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/jsonstream"
)

//go:embed static
var static embed.FS

// pagePolicy lets the page use what this server serves, and nothing else (Content Security Policy Level 3).
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func webCalls() []call {
	get := func(path, file, contentType string) call {
		return call{method: http.MethodGet, pattern: path, safe: true, serve: func(x *exchange) *Problem { return x.replyFile(file, contentType) }}
	}
	return []call{
		get("/", "index.html", "text/html; charset=utf-8"),
		get("/static/page.css", "page.css", "text/css; charset=utf-8"),
		get("/static/page.js", "page.js", "text/javascript; charset=utf-8"),
		get("/static/hash.js", "hash.js", "text/javascript; charset=utf-8"),
		get("/openapi.json", "openapi.json", "application/json"),
		{method: http.MethodGet, pattern: "/problems/:kind", safe: true, serve: serveProblemType},
	}
}

func (x *exchange) replyFile(name, contentType string) *Problem {
	content, err := static.ReadFile("static/" + name)
	if err != nil {
		return problemInternal(err)
	}
	x.ctx.SetContentType(contentType)
	x.ctx.Response.Header.Set("Cache-Control", "no-cache")
	x.ctx.Response.Header.Set("Content-Security-Policy", pagePolicy)
	x.ctx.Response.Header.Set("Referrer-Policy", "no-referrer")
	x.ctx.Response.SetBodyRaw(content)
	return nil
}

// serveProblemType is GET /problems/:kind: a problem's type is a link, and leads here.
func serveProblemType(x *exchange) *Problem {
	examples := problemExamples()
	i := slices.IndexFunc(examples, func(p *Problem) bool { return p.Kind == x.args[0] })
	if i < 0 {
		return problemNotFound("/problems/" + x.args[0])
	}
	p := examples[i]
	x.replyText(fmt.Appendf(nil, "%s\nStatus %d %s\n\nFor example:\n%s\n", p.Title, p.Status, http.StatusText(p.Status), p.Detail))
	return nil
}

// problemExamples has one problem of each kind, in the order of their statuses.
func problemExamples() []*Problem {
	id := uuid.MustParse("06b0ac02-bb62-4052-b48b-d875e26561f8")
	examples := []*Problem{
		problemRequest("The request can't be read as HTTP/1.1."),
		problemParameter("hash", "it is missing"),
		problemSite(errors.New(`"192.0.2.1" is an address`)),
		problemKey(),
		problemOf(&jsonstream.SyntaxError{Element: 1, Offset: 90, Reason: "the signature, second of a pair, must be a string, found a number"}, false),
		problemCutOff(500, 1000),
		problemCompressed("gzip", errors.New("invalid checksum")),
		problemNotFound("/api/v1/nothing"),
		problemUnknownUpload(id.String()),
		problemUnknownBatch("4", status{done: 2, waiting: 1}),
		problemUnknownHash("2804fbcd69ab84e985955431a5dcdb20b0d999be2bf9e90280cdf030e94c15dc"),
		problemUnknownCertificate("1f0e"),
		problemMethod(http.MethodPut, "GET, OPTIONS, POST"),
		problemStalled(30 * time.Second),
		problemTooSlow(10 * time.Minute),
		problemBodySize(512 << 20),
		problemPairs(1_000_000, false),
		problemOf(&jsonstream.LimitError{Limit: jsonstream.LimitElement, Max: 64 << 10, Element: 1, Offset: 90}, false),
		problemCoding("br"),
		problemHead(16 << 10),
		problemInternal(nil),
		problemCertificate("example.com", "connection refused"),
		problemBusy(64),
		problemBacklog(20_001, 20_000),
		problemLog(nil),
		problemStore(nil),
		problemUnknownFate(id, nil),
		problemStopping(),
		problemNotFinished(id, 30*time.Second),
	}
	slices.SortStableFunc(examples, func(a, b *Problem) int { return a.Status - b.Status })
	return examples
}
