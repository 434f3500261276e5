package server

// Heads of requests, where fasthttp's reading of them falls short. It knows an expectation only in its own letters,
// while Java's HttpClient writes "100-Continue". It sees "close" only where that is the one connection option. It
// accepts any protocol that looks like HTTP, and a chunked body that has a Content-Length, too.

import (
	"bytes"
	"strings"

	"github.com/valyala/fasthttp"

	"countersign/ingest/problem"
)

// headReceived puts a head into the form that fasthttp looks for. It runs before anything is decided by the head.
func headReceived(head *fasthttp.RequestHeader) (keep fasthttp.RequestConfig) {
	if expect := head.Peek("Expect"); len(expect) > 0 {
		switch {
		case !head.IsHTTP11(): // RFC 9110, section 10.1.1: no 100 for HTTP/1.0
			head.Del("Expect")
		case bytes.EqualFold(bytes.TrimSpace(expect), []byte("100-continue")):
			head.Set("Expect", "100-continue")
		}
	}
	for option := range strings.SplitSeq(string(head.Peek("Connection")), ",") {
		if strings.EqualFold(strings.TrimSpace(option), "close") {
			head.SetConnectionClose()
		}
	}
	return keep
}

// admitHead refuses what can't be told apart safely, or isn't spoken here.
func admitHead(head *fasthttp.RequestHeader) *problem.Problem {
	if version := string(head.Protocol()); version != "HTTP/1.1" && version != "HTTP/1.0" {
		return problem.UnknownProtocol(version)
	}
	if head.ContentLength() == -1 && hasField(head.RawHeaders(), "content-length") {
		// RFC 9112, section 6.1: somebody on the way may have gone by the other one.
		return problem.MalformedRequest("The request has both Content-Length and Transfer-Encoding: send one of them.")
	}
	return nil
}

// hasField looks for a field in raw header lines. fasthttp forgets a Content-Length that it does not go by.
func hasField(lines []byte, name string) bool {
	for line := range bytes.Lines(lines) {
		if field, _, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(bytes.TrimSpace(field), []byte(name)) {
			return true
		}
	}
	return false
}

// announced is how many bytes a request's body has as sent; of a body in chunks, how many it may have; 0 where the head
// could not be read.
func (s *Server) announced(head *fasthttp.RequestHeader) int64 {
	n := head.ContentLength()
	if n == -1 { // chunked
		return s.cfg.MaxBody
	}
	return max(int64(n), 0)
}
