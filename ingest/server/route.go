package server

// Which call a request is for. Paths are matched as they were sent, segment by segment, and only parameters are
// percent-decoded: fasthttp's own path is decoded as a whole and cleaned of "..", so that an encoded slash would move
// the borders.

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"countersign/ingest/problem"
)

// Call is one thing that the API does. It has either Serve, or Admit.
type Call struct {
	// Method is the request's. A call that may be asked with GET may be asked with HEAD, too, if it is Safe.
	Method string
	// Pattern is the path. Segments that begin with a colon are parameters, two at most.
	Pattern string
	// Safe says that the call changes nothing (RFC 9110, section 9.2.1).
	Safe bool
	// Serve answers a request.
	Serve Handler
	// Admit decides by the head, before the body is read, whether a request may go on, and returns what answers it. So
	// what Admit found out reaches the handler by its own closure, and the exchange needs to know nothing of it. What
	// Admit took it gives to Exchange.OnEnd.
	Admit func(x *Exchange) (Handler, *problem.Problem)
}

// Handler answers a request: by a method of x that replies, or by the problem that it returns. It runs on the goroutine
// of its connection.
type Handler func(x *Exchange) *problem.Problem

// routes has one route for each pattern.
type routes []*route

// route is the calls of one path.
type route struct {
	segments []string // of the pattern
	calls    map[string]*Call
	allow    string // value of an Allow header
}

func newRoutes(calls []Call) routes {
	var all routes
	byPattern := make(map[string]*route)
	for _, c := range calls {
		r := byPattern[c.Pattern]
		if r == nil {
			r = &route{segments: strings.Split(c.Pattern, "/"), calls: make(map[string]*Call)}
			byPattern[c.Pattern], all = r, append(all, r)
		}
		r.calls[c.Method] = &c
		if c.Safe && c.Method == http.MethodGet {
			r.calls[http.MethodHead] = &c
		}
	}
	for _, r := range all {
		methods := []string{http.MethodOptions}
		for m := range r.calls {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		r.allow = strings.Join(methods, ", ")
	}
	return all
}

// match returns the path's parameters, still encoded, if it is the route's.
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

// find returns the route of a path; nil: there is none.
func (all routes) find(path []byte) *route {
	for _, r := range all {
		if _, ok := r.match(path); ok {
			return r
		}
	}
	return nil
}

// safeMethods are the methods of the route that change nothing, sorted. A route that is nil has none.
func (r *route) safeMethods() (methods []string) {
	if r == nil {
		return nil
	}
	for method, c := range r.calls {
		if c.Safe {
			methods = append(methods, method)
		}
	}
	slices.Sort(methods)
	return methods
}

// match returns the request's call, with its parameters decoded, or the problem to answer. Both are nil for OPTIONS;
// allow is the value of its Allow header.
func (all routes) match(method string, path []byte) (c *Call, args [2]string, allow string, p *problem.Problem) {
	for _, r := range all {
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
				return nil, args, r.allow, problem.BrokenPath(err)
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
