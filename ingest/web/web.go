package web

// The page, the API's description and the meaning of problem types, as calls of the server.

import (
	"bytes"
	"embed"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"countersign/ingest/problem"
	"countersign/ingest/server"
)

//go:embed static
var static embed.FS

// pagePolicy lets the page use what this server serves, and nothing else (Content Security Policy Level 3).
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; " +
	"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Calls are the calls that are for people. publicURL is server.Config.PublicURL. The page and its files name each other
// relatively, so they need it not; it goes into the API's description.
func Calls(publicURL string) []server.Call {
	return []server.Call{
		file("/", "index.html", "text/html; charset=utf-8"),
		file("/static/page.css", "page.css", "text/css; charset=utf-8"),
		file("/static/page.js", "page.js", "text/javascript; charset=utf-8"),
		file("/static/hash.js", "hash.js", "text/javascript; charset=utf-8"),
		{Method: http.MethodGet, Pattern: "/openapi.json", Safe: true, Serve: serveDescription(publicURL)},
		{Method: http.MethodGet, Pattern: "/problems/:kind", Safe: true, Serve: serveProblemType},
	}
}

// file is the call that gives out one file.
func file(path, name, contentType string) server.Call {
	serve := func(x *server.Exchange) *problem.Problem {
		content, err := static.ReadFile("static/" + name)
		if err != nil {
			return problem.Internal(err)
		}
		give(x, contentType, content)
		return nil
	}
	return server.Call{Method: http.MethodGet, Pattern: path, Safe: true, Serve: serve}
}

func give(x *server.Exchange, contentType string, content []byte) {
	x.SetField("Cache-Control", "no-cache")
	x.SetField("Content-Security-Policy", pagePolicy)
	x.SetField("Referrer-Policy", "no-referrer")
	x.Reply(contentType, content)
}

// serveDescription is GET /openapi.json. The description says that its paths are below the folder that it was fetched
// from, unless the address is known.
func serveDescription(publicURL string) server.Handler {
	content, err := static.ReadFile("static/openapi.json")
	if publicURL != "" {
		known := strconv.Quote(strings.TrimRight(publicURL, "/"))
		content = bytes.Replace(content, []byte(`"url": "."`), []byte(`"url": `+known), 1)
	}
	return func(x *server.Exchange) *problem.Problem {
		if err != nil {
			return problem.Internal(err)
		}
		give(x, "application/json", content)
		return nil
	}
}

// serveProblemType is GET /problems/:kind: the type of a problem is a link, and leads here.
func serveProblemType(x *server.Exchange) *problem.Problem {
	kind := x.Arg(0)
	examples := problem.Examples()
	i := slices.IndexFunc(examples, func(p *problem.Problem) bool { return p.Kind == kind })
	if i < 0 {
		return problem.NotFound("/problems/" + kind)
	}
	p := examples[i]
	x.ReplyText(fmt.Appendf(nil, "%s\nStatus %d %s\n\nFor example:\n%s\n",
		p.Title, p.Status, http.StatusText(p.Status), p.Detail))
	return nil
}
