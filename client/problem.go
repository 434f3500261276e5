package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Problem is the server's refusal: any answer but a 2xx. Mostly it is an application/problem+json
// document (RFC 9457); for another one, as from a proxy in between, Title is the status's name and
// Detail the start of the body.
type Problem struct {
	Type     string // a URI reference that names the kind of problem
	Title    string // the kind of problem, for people
	Status   int    // HTTP status code
	Detail   string // what was wrong with this request, where, and what to do
	Instance string // a URI reference of this occurrence
	// Extras are the document's other members, such as "element" and "offset" of a malformed body.
	Extras map[string]json.RawMessage
	// RetryAfter is how long the server asks to wait before trying again; 0 if it does not.
	RetryAfter time.Duration
}

// Error is the status and the most specific text there is.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	return fmt.Sprintf("the server answered %d: %s", p.Status, text)
}

// Upload returns the upload that the problem is about, if it names one: then the server has, or may
// have, accepted it, and its status says.
func (p *Problem) Upload() (uuid.UUID, bool) {
	var text string
	if json.Unmarshal(p.Extras["uuid"], &text) != nil {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil
}

const (
	mostProblem = 64 << 10 // bytes of a problem document that are read
	mostDetail  = 1 << 10  // bytes of another body that are shown
)

// problemOf reads the problem from an answer. now is for a Retry-After that is a date.
func problemOf(res *http.Response, now time.Time) *Problem {
	body, _ := io.ReadAll(io.LimitReader(res.Body, mostProblem)) // what came before an error is still the answer
	p := &Problem{}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind != "application/problem+json" || !p.parse(body) {
		*p = Problem{Detail: excerpt(body)}
	}
	p.Status = res.StatusCode
	if p.Title == "" {
		p.Title = http.StatusText(res.StatusCode)
	}
	p.RetryAfter = retryAfter(res.Header.Get("Retry-After"), now)
	return p
}

// parse reads a problem document and reports whether it is one. A member of the wrong type is
// ignored (RFC 9457, section 3.1).
func (p *Problem) parse(body []byte) bool {
	if json.Unmarshal(body, &p.Extras) != nil || p.Extras == nil {
		return false
	}
	for name, to := range map[string]*string{"type": &p.Type, "title": &p.Title, "detail": &p.Detail, "instance": &p.Instance} {
		_ = json.Unmarshal(p.Extras[name], to)
		delete(p.Extras, name)
	}
	delete(p.Extras, "status") // the real one is the answer's
	return true
}

// excerpt is the start of a body that is for people at best.
func excerpt(body []byte) string {
	if len(body) > mostDetail {
		body = body[:mostDetail]
		for len(body) > 0 && !utf8.RuneStart(body[len(body)-1]) {
			body = body[:len(body)-1]
		}
		body = body[:max(len(body)-1, 0)] // the rune that may be cut
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(body), "\ufffd"))
}

// retryAfter reads the header field: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(field string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(field, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
