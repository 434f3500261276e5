package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/problem"
)

func TestMain(m *testing.M) { ingesttest.Main(m) }

// harness is a server of a few calls on loopback.
type harness struct {
	*Server
	*ingesttest.Client
	places chan struct{} // a token for each body that was admitted
}

// start starts a server; change may be nil. It is shut down when the test ends.
func start(t testing.TB, change func(*Config)) *harness {
	t.Helper()
	cfg := Config{LingerTimeout: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&cfg)
	}
	h := &harness{places: make(chan struct{}, 2)}
	var err error
	if h.Server, err = New(cfg, h.calls()); err != nil {
		t.Fatal(err)
	}
	h.Client = ingesttest.Serve(t, h.Server)
	return h
}

func (h *harness) calls() []Call {
	const purpose = "on purpose"
	return []Call{
		{Method: http.MethodPost, Pattern: "/bodies/:name", Admit: h.admitBody},
		{Method: http.MethodPost, Pattern: "/panics", Admit: func(*Exchange) (Handler, *problem.Problem) { panic(purpose) }},
		{Method: http.MethodGet, Pattern: "/panics", Serve: func(*Exchange) *problem.Problem { panic(purpose) }},
		{Method: http.MethodGet, Pattern: "/changes", Serve: func(*Exchange) *problem.Problem { return problem.Busy(1) }},
		{Method: http.MethodGet, Pattern: "/refuses", Safe: true, Serve: func(*Exchange) *problem.Problem { return problem.Busy(1) }},
		{Method: http.MethodGet, Pattern: "/things/:name/:part", Safe: true, Serve: func(x *Exchange) *problem.Problem {
			x.ReplyText([]byte(x.Arg(0) + " " + x.Arg(1)))
			return nil
		}},
	}
}

// admitBody admits all bodies but those of the name "refused".
func (h *harness) admitBody(x *Exchange) (Handler, *problem.Problem) {
	if x.Arg(0) == "refused" {
		return nil, problem.InvalidParameter("name", "it is refused")
	}
	if p := x.AdmitBody(); p != nil {
		return nil, p
	}
	select {
	case h.places <- struct{}{}:
		x.OnEnd(func() { <-h.places })
		return readBody, nil
	default:
		return nil, problem.Busy(cap(h.places))
	}
}

// readBody replies with the number of bytes in the body. A name says what it does otherwise: "impatient" complains of
// the body after its first bytes, "complains" after the last one.
func readBody(x *Exchange) *problem.Problem {
	body, p := x.OpenBody()
	if p != nil {
		return p
	}
	defer body.Close()
	if x.Arg(0) == "impatient" {
		_, _ = body.Read(make([]byte, 10))
		return problem.MalformedBody(errors.New("it is no list"), 0, 0)
	}
	n, err := io.Copy(io.Discard, body)
	if err = body.Explain(err); err == nil {
		err = body.Check()
	}
	if err != nil {
		if !errors.As(err, &p) {
			p = problem.Internal(err)
		}
		return p
	}
	if x.Arg(0) == "complains" {
		return problem.MalformedBody(errors.New("it is no list"), 0, 0)
	}
	x.ReplyText(strconv.AppendInt(nil, n, 10))
	return nil
}
