package problem

// A problem and its JSON.

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/internal/jsontext"
)

// Problem is an error reply. It is an error, too, so that whatever meets a problem can return it.
type Problem struct {
	Kind   string // last part of "type": /problems/KIND
	Title  string
	Status int
	Detail string // a sentence for the caller: what was wrong, where, and what to do

	Element    int           // "element": 0-based index in the list; -1: left out
	Offset     int64         // "offset": byte in the decoded body; -1: left out
	Limit      int64         // "limit"; 0: left out
	RetryAfter time.Duration // "retryAfter" in whole seconds, and the header; 0: left out
	Upload     uuid.UUID     // "uuid": what to ask for; zero: left out
	Header     [2]string     // one more header; empty: none
	RateLimit  [2]string     // values of RateLimit-Policy and RateLimit; empty: left out

	cause error // for the log, not for the caller
}

func (p *Problem) Error() string {
	if p.cause != nil {
		return p.Kind + ": " + p.cause.Error()
	}
	return p.Kind + ": " + p.Detail
}

// Unwrap returns why the problem arose, for the log and not for the caller. It is nil if there is nothing to add.
func (p *Problem) Unwrap() error { return p.cause }

func newProblem(status int, kind, title, format string, args ...any) *Problem {
	detail := fmt.Sprintf(format, args...)
	return &Problem{Kind: kind, Title: title, Status: status, Detail: detail, Element: -1, Offset: -1}
}

// AppendJSON appends the body of the reply: one object and a line feed. below is the path below which callers see the
// API, without a slash at its end; empty: its root.
func (p *Problem) AppendJSON(dst []byte, below string) []byte {
	dst = jsontext.AppendString(append(dst, `{"type":`...), below+"/problems/"+p.Kind)
	dst = jsontext.AppendString(append(dst, `,"title":`...), p.Title)
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(p.Status), 10)
	dst = jsontext.AppendString(append(dst, `,"detail":`...), p.Detail)
	if p.Element >= 0 {
		dst = strconv.AppendInt(append(dst, `,"element":`...), int64(p.Element), 10)
	}
	if p.Offset >= 0 {
		dst = strconv.AppendInt(append(dst, `,"offset":`...), p.Offset, 10)
	}
	if p.Limit > 0 {
		dst = strconv.AppendInt(append(dst, `,"limit":`...), p.Limit, 10)
	}
	if p.RetryAfter > 0 {
		dst = strconv.AppendInt(append(dst, `,"retryAfter":`...), p.RetrySeconds(), 10)
	}
	if p.Upload != uuid.Nil {
		dst = jsontext.AppendString(append(dst, `,"uuid":`...), p.Upload.String())
	}
	return append(dst, "}\n"...)
}

// RetrySeconds is RetryAfter in whole seconds, rounded up, as in a Retry-After header.
func (p *Problem) RetrySeconds() int64 {
	return int64((p.RetryAfter + time.Second - 1) / time.Second)
}

// unavailable makes a 503 that may be tried again after some time.
func unavailable(kind, title string, after time.Duration, format string, args ...any) *Problem {
	p := newProblem(http.StatusServiceUnavailable, kind, title, format, args...)
	p.RetryAfter = after
	return p
}

// sentence makes an error's text begin and end like one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if c := s[0]; c >= 'a' && c <= 'z' {
		s = string(c-'a'+'A') + s[1:]
	}
	switch s[len(s)-1] {
	case '.', '?', '!':
		return s
	}
	return s + "."
}

// quote shows a piece of the request, shortened.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(strings.ToValidUTF8(s, "\uFFFD"))
}
