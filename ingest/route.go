package ingest

// Which call a request is for. Paths are matched as they were sent, segment by segment, and only parameters are percent-decoded:
// fasthttp's own path is decoded as a whole and cleaned of "..", so that an encoded slash would move the borders.

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"countersign/ingest/problem"
)

// call is one thing the API does.
type call struct {
	method, pattern string
	// safe: it changes nothing, so HEAD may do it too (RFC 9110, section 9.2.1).
	safe bool
	// admit decides, before the body is read, whether the call may go on; nil: always. It may take slots: x.Close gives them back.
	admit func(x *exchange) *problem.Problem
	serve func(x *exchange) *problem.Problem
}

// route is the calls of one path.
type route struct {
	segments []string // of the pattern; parameters begin with a colon
	calls    map[string]*call
	allow    string // value of an Allow header
}

func newRoutes(calls []call) []*route {
	var routes []*route
	byPattern := make(map[string]*route)
	for _, c := range calls {
		r := byPattern[c.pattern]
		if r == nil {
			r = &route{segments: strings.Split(c.pattern, "/"), calls: make(map[string]*call)}
			byPattern[c.pattern], routes = r, append(routes, r)
		}
		r.calls[c.method] = &c
		if c.safe {
			r.calls[http.MethodHead] = &c
		}
	}
	for _, r := range routes {
		methods := []string{http.MethodOptions}
		for m := range r.calls {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		r.allow = strings.Join(methods, ", ")
	}
	return routes
}

// match returns the path's parameters if it is the route's. Decoding them is the caller's.
func (r *route) match(path []byte) (args [2]string, ok bool) {
	n := 0
	for i, segment := range r.segments {
		part := path
		if i < len(r.segments)-1 {
			slash := bytes.IndexByte(path, '/')
			if slash < 0 {
				return args, false
			}
			part, path = path[:slash], path[slash+1:]
		} else if bytes.IndexByte(path, '/') >= 0 {
			return args, false
		}
		switch {
		case !strings.HasPrefix(segment, ":"):
			if string(part) != segment {
				return args, false
			}
		case len(part) == 0:
			return args, false
		default:
			args[n] = string(part)
			n++
		}
	}
	return args, true
}

// find returns the request's call, with its parameters decoded, or the Problem to answer. Both are nil for OPTIONS; allow is the value of its
// Allow header.
func find(routes []*route, method string, path []byte) (c *call, args [2]string, allow string, failed *problem.Problem) {
	for _, r := range routes {
		raw, ok := r.match(path)
		if !ok {
			continue
		}
		if method == http.MethodOptions {
			return nil, args, r.allow, nil
		}
		c := r.calls[method]
		if c == nil {
			return nil, args, r.allow, problem.MethodNotAllowed(method, r.allow)
		}
		for i, text := range raw {
			decoded, err := url.PathUnescape(text)
			if err != nil {
				return nil, args, r.allow, problem.MalformedRequest("The path has a broken percent-encoding: " + problem.Sentence(err.Error()))
			}
			args[i] = decoded
		}
		return c, args, r.allow, nil
	}
	if method == http.MethodOptions && string(path) == "*" { // the server as a whole (RFC 9110, section 9.3.7)
		return nil, args, "GET, HEAD, OPTIONS, POST", nil
	}
	return nil, args, "", problem.NotFound(string(path))
}
