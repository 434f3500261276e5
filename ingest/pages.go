package ingest

// For people: the page where one drops a file, the API's description, and what the problem types mean. All of it is in the binary, and the
// page loads nothing from elsewhere.

import (
	"embed"
	"fmt"
	"net/http"
	"slices"

	"countersign/ingest/problem"
)

//go:embed static
var static embed.FS

// pagePolicy lets the page use what this server serves, and nothing else (Content Security Policy Level 3).
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func webCalls() []call {
	get := func(path, file, contentType string) call {
		return call{method: http.MethodGet, pattern: path, safe: true, serve: func(x *exchange) *problem.Problem { return x.replyFile(file, contentType) }}
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

func (x *exchange) replyFile(name, contentType string) *problem.Problem {
	content, err := static.ReadFile("static/" + name)
	if err != nil {
		return problem.Internal(err)
	}
	x.ctx.SetContentType(contentType)
	x.ctx.Response.Header.Set("Cache-Control", "no-cache")
	x.ctx.Response.Header.Set("Content-Security-Policy", pagePolicy)
	x.ctx.Response.Header.Set("Referrer-Policy", "no-referrer")
	x.ctx.Response.SetBodyRaw(content)
	return nil
}

// serveProblemType is GET /problems/:kind: a problem's type is a link, and leads here.
func serveProblemType(x *exchange) *problem.Problem {
	examples := problem.Examples()
	i := slices.IndexFunc(examples, func(p *problem.Problem) bool { return p.Kind == x.args[0] })
	if i < 0 {
		return problem.NotFound("/problems/" + x.args[0])
	}
	p := examples[i]
	x.replyText(fmt.Appendf(nil, "%s\nStatus %d %s\n\nFor example:\n%s\n", p.Title, p.Status, http.StatusText(p.Status), p.Detail))
	return nil
}
