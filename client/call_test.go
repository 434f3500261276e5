package client

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/internal/pause"
)

var id = uuid.MustParse(testID)

func TestWhatIsRepeated(t *testing.T) {
	calls := map[string]func(*Client) error{
		"Status": func(c *Client) error { _, err := c.Status(t.Context(), id); return err },
		"Batch":  func(c *Client) error { _, err := c.Batch(t.Context(), id, 1); return err },
		"Upload": func(c *Client) error { _, err := c.Upload(t.Context(), "s", testPairs(2), UploadOptions{}); return err },
		"UploadSeq": func(c *Client) error {
			_, err := c.UploadSeq(t.Context(), "s", seq(testPairs(2)), UploadOptions{})
			return err
		},
		"Sign":      func(c *Client) error { _, err := c.Sign(t.Context(), "s", [32]byte{}, nil); return err },
		"SignBatch": func(c *Client) error { _, err := c.SignBatch(t.Context(), "s", testPairs(2)); return err },
	}
	all := []string{"Status", "Batch", "Upload", "Sign", "SignBatch"}
	safe := []string{"Status", "Batch", "Upload"}
	for _, c := range []struct {
		name     string
		first    http.HandlerFunc
		repeated []string
	}{
		{"503", problem(503, ""), all},
		{"429", problem(429, ""), all},
		{"503 before the body is read", early(problem(503, "")), all},
		{"503, but it may have been accepted", problem(503, `,"uuid":"`+testID+`"`), safe},
		{"the connection breaks", hangUp, safe},
		{"400", problem(400, ""), nil},
		{"404", problem(404, ""), nil},
		{"408", problem(408, ""), nil},
		{"500", problem(500, ""), nil},
		{"502", problem(502, ""), nil},
		{"504", problem(504, ""), nil},
	} {
		for name, call := range calls {
			f := newFake(t, c.first, problem(418, ""))
			client, _ := newTestClient(t, f.URL)
			if err := call(client); err == nil {
				t.Errorf("%s: %s: no error", c.name, name)
			}
			want := 1
			for _, r := range c.repeated {
				if r == name {
					want = 2
				}
			}
			if got := len(f.requests()); got != want {
				t.Errorf("%s: %s: %d requests, want %d", c.name, name, got, want)
			}
		}
	}
}

// A call that changes something reaches the server once, also where net/http would send it again by itself: on a kept
// connection that breaks before the answer. Calls that only ask are asked again.
func TestChangesAreNotSentAgainOnAKeptConnection(t *testing.T) {
	for _, c := range []struct {
		name  string
		call  func(*Client) error
		extra int // requests after the one that was lost
	}{
		{"Sign", func(c *Client) error { _, err := c.Sign(t.Context(), "s", [32]byte{}, nil); return err }, 0},
		{"SignBatch", func(c *Client) error { _, err := c.SignBatch(t.Context(), "s", testPairs(2)); return err }, 0},
		{"Status", func(c *Client) error { _, err := c.Status(t.Context(), id); return err }, 1},
	} {
		f := newFake(t, ok(`{"waitingBatch":1}`), hangUp, problem(418, ""))
		client, _ := newTestClient(t, f.URL)
		if _, err := client.Status(t.Context(), id); err != nil { // from now on there is a connection that is kept
			t.Fatal(err)
		}
		if err := c.call(client); err == nil {
			t.Errorf("%s: no error", c.name)
		}
		requests := f.requests()
		if got := len(requests) - 2; got != c.extra {
			t.Errorf("%s was sent %d times after it was lost, want %d", c.name, got, c.extra)
		}
		if r := requests[1]; r.method == http.MethodGet && (r.length != 0 || r.header.Get("Transfer-Encoding") != "" || r.body != "") {
			t.Errorf("%s has a body: %+v", c.name, r)
		}
	}
}

func TestPauses(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		retry  Retry
		want   []time.Duration
	}{
		{"growing", problem(503, ""), Retry{}, []time.Duration{250 * ms, 500 * ms, s, 2 * s, 4 * s}},
		{"up to a limit", problem(503, ""), Retry{Longest: s}, []time.Duration{250 * ms, 500 * ms, s, s, s}},
		{"as asked", problem(503, "", "Retry-After", "7"), Retry{Attempts: 3}, []time.Duration{7 * s, 7 * s}},
		{"until a date", problem(429, "", "Retry-After", "Mon, 23 Nov 2026 12:00:30 GMT"), Retry{Attempts: 2}, []time.Duration{30 * s}},
		{"longer than wanted", problem(503, "", "Retry-After", "121"), Retry{}, nil},
		{"nonsense asked", problem(503, "", "Retry-After", "soon"), Retry{Attempts: 2}, []time.Duration{250 * ms}},
	} {
		f := newFake(t, c.answer)
		client, waits := newTestClient(t, f.URL, WithRetry(c.retry))
		client.now = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
		var refusal *Problem
		if _, err := client.Status(t.Context(), id); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", c.name, err)
		}
		if !reflect.DeepEqual(*waits, c.want) {
			t.Errorf("%s: waited %v, want %v", c.name, *waits, c.want)
		}
	}
}

func TestContextEndsTheWait(t *testing.T) {
	client, _ := newTestClient(t, newFake(t, problem(503, "", "Retry-After", "100")).URL)
	ctx, cancel := context.WithCancel(t.Context())
	client.sleep = func(ctx context.Context, d time.Duration) error {
		cancel()
		return pause.For(ctx, d)
	}
	_, err := client.Status(ctx, id)
	var refusal *Problem
	if !errors.Is(err, context.Canceled) || !errors.As(err, &refusal) {
		t.Errorf("got %v", err)
	}
}

func TestProblem(t *testing.T) {
	long := strings.Repeat("é", 2000)
	for _, c := range []struct {
		name, kind, body string
		want             Problem
		text             string
	}{
		{"whole", "application/problem+json",
			`{"type":"/problems/malformed-body","title":"Not a list","status":400,"detail":"element 3 is a number","element":3,"offset":77,"uuid":"` + testID + `"}`,
			Problem{Type: "/problems/malformed-body", Title: "Not a list", Detail: "element 3 is a number"}, "the server answered 400: element 3 is a number"},
		{"parameters in the type", "application/problem+json; charset=utf-8", `{"title":"Not a list"}`, Problem{Title: "Not a list"}, "the server answered 400: Not a list"},
		{"a wrong type of member", "application/problem+json", `{"title":7,"detail":"d"}`, Problem{Title: "Bad Request", Detail: "d"}, "the server answered 400: d"},
		{"no JSON", "application/problem+json", `oops`, Problem{Title: "Bad Request", Detail: "oops"}, "the server answered 400: oops"},
		{"null", "application/problem+json", `null`, Problem{Title: "Bad Request", Detail: "null"}, "the server answered 400: null"},
		{"from a proxy", "text/plain", " no\n", Problem{Title: "Bad Request", Detail: "no"}, "the server answered 400: no"},
		{"empty", "", "", Problem{Title: "Bad Request"}, "the server answered 400: Bad Request"},
		{"long", "text/html", long, Problem{Title: "Bad Request", Detail: long[:1022]}, "the server answered 400: " + long[:1022]},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, _ := newTestClient(t, newFake(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, c.body)
			}).URL)
			_, err := client.Status(t.Context(), id)
			var got *Problem
			if !errors.As(err, &got) || !strings.Contains(err.Error(), "resultasync/"+testID) {
				t.Fatalf("got %v", err)
			}
			upload, named := got.Upload()
			if named != (c.name == "whole") || named && (upload != id || string(got.Extras["element"]) != "3") {
				t.Errorf("upload %v, %v, extras %s", upload, named, got.Extras)
			}
			c.want.Status, c.want.Extras = 400, got.Extras
			if !reflect.DeepEqual(*got, c.want) || got.Error() != c.text {
				t.Errorf("got %+v, %q", got, got.Error())
			}
		})
	}
}

func TestResults(t *testing.T) {
	f := newFake(t,
		ok(`{"waitingBatch":1,"doneBatch":2,"okHash":2000,"badSigHash":3,"dupHash":4,"errorHash":5}`),
		ok(`{ "addedOk" : [ "a", "b" ], "badSignature" : [ "c" ], "duplicate" : [ ], "errors" : { "d" : "no hash" } }`))
	client, _ := newTestClient(t, f.URL)
	status, err := client.Status(t.Context(), id)
	if err != nil || status != (Status{1, 2, 2000, 3, 4, 5}) {
		t.Errorf("status %+v, %v", status, err)
	}
	batch, err := client.Batch(t.Context(), id, 7)
	want := BatchResult{[]string{"a", "b"}, []string{"c"}, []string{}, map[string]string{"d": "no hash"}}
	if err != nil || !reflect.DeepEqual(batch, want) {
		t.Errorf("batch %+v, %v", batch, err)
	}
	if r := f.requests(); r[0].uri != "/api/v1/resultasync/"+testID || r[1].uri != "/api/v1/resultasync/"+testID+"/7" || r[0].method != "GET" {
		t.Errorf("requests %+v", r)
	}
}

func TestWait(t *testing.T) {
	waiting := ok(`{"waitingBatch":2,"doneBatch":0}`)
	half := ok(`{"waitingBatch":1,"doneBatch":1,"okHash":1000}`)
	done := ok(`{"waitingBatch":0,"doneBatch":2,"okHash":2000}`)
	answers := []http.HandlerFunc{waiting, waiting, half, half, half, half, half, half, half, half, half, half, problem(503, ""), half, done}
	client, waits := newTestClient(t, newFake(t, answers...).URL, WithRetry(Retry{Attempts: 1}))
	var progress []int
	got, err := client.Wait(t.Context(), id, func(s Status) { progress = append(progress, s.DoneBatch) })
	if err != nil || got != (Status{DoneBatch: 2, OKHash: 2000}) || !reflect.DeepEqual(progress, []int{0, 1, 2}) {
		t.Errorf("got %+v, %v, progress %v", got, err, progress)
	}
	for i, wait := range *waits {
		if i == 0 && wait != firstPoll || i > 0 && wait < (*waits)[i-1] || wait > longestPoll || i > 11 && wait != longestPoll {
			t.Errorf("pauses %v", *waits)
			break
		}
	}
	client, _ = newTestClient(t, newFake(t, half, problem(404, "")).URL)
	var refusal *Problem
	if got, err := client.Wait(t.Context(), id, nil); !errors.As(err, &refusal) || got.DoneBatch != 1 {
		t.Errorf("404: %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	client, _ = newTestClient(t, newFake(t, half).URL)
	if got, err := client.Wait(ctx, id, func(Status) { cancel() }); !errors.Is(err, context.Canceled) || got.DoneBatch != 1 {
		t.Errorf("cancelled: %+v, %v", got, err)
	}
}

func TestSign(t *testing.T) {
	for _, c := range []struct {
		answer http.HandlerFunc
		want   SignResult
		text   string
	}{
		{ok("signed OK www.example.com 28 +/8=\n"), Added, "added"},
		{ok("duplicate already in db 28"), Duplicate, "duplicate"},
		{ok("Invalid signature\n"), BadSignature, "bad signature"},
		{ok("<html>"), 0, "SignResult(0)"},
		{problem(502, ""), 0, "SignResult(0)"},
	} {
		f := newFake(t, c.answer)
		client, _ := newTestClient(t, f.URL)
		got, err := client.Sign(t.Context(), "www.example.com", [32]byte{0xab}, []byte{0xfb, 0xff})
		if got != c.want || (err == nil) != (c.want != 0) || got.String() != c.text {
			t.Errorf("got %v, %v, want %v", got, err, c.want)
		}
		if want := "/api/v1/sign/www.example.com?hash=ab" + strings.Repeat("0", 62) + "&sig=-~8_"; f.requests()[0].uri != want {
			t.Errorf("asked for %s", f.requests()[0].uri)
		}
	}
}

func TestSignBatch(t *testing.T) {
	f := newFake(t, ok(`{"addedOk":["a"],"badSignature":[],"duplicate":[],"errors":{}}`))
	client, _ := newTestClient(t, f.URL)
	got, err := client.SignBatch(t.Context(), "a/b", testPairs(1))
	if err != nil || len(got.AddedOK) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	r := f.requests()[0]
	checkBody(t, r.body, testPairs(1))
	if r.method != "POST" || r.uri != "/api/v1/sign/a%2Fb" {
		t.Errorf("request %+v", r)
	}
}

func TestRepliesAreBounded(t *testing.T) {
	client, _ := newTestClient(t, newFake(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		for piece := make([]byte, 1<<20); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}).URL)
	if _, err := client.Status(t.Context(), id); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url  string
		opts []Option
		want string
	}{
		{"localhost:8080", nil, "http://host:port"},
		{"ftp://example.com", nil, "http://host:port"},
		{"http://", nil, "http://host:port"},
		{"http://a b", nil, "address"},
		{"http://example.com/?x=1", nil, "nothing after the path"},
		{"http://example.com", []Option{WithRootsFile(empty)}, "holds no certificate"},
		{"http://example.com", []Option{WithRootsFile(empty + "x")}, "read the trusted certificates"},
		{"http://example.com", []Option{WithHTTPClient(nil)}, "nil"},
		{"http://example.com", []Option{WithTLS(nil), WithHTTPClient(&http.Client{})}, ""},
	} {
		_, err := New(c.url, c.opts...)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		}
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewTLSServer(plain(`{"waitingBatch":0,"doneBatch":1}`))
	defer server.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		opts []Option
		ok   bool
	}{
		"roots":        {[]Option{WithRootsFile(roots)}, true},
		"http client":  {[]Option{WithHTTPClient(server.Client())}, true},
		"system roots": {[]Option{WithRetry(Retry{Attempts: 1})}, false},
		"both":         {[]Option{WithHTTPClient(server.Client()), WithRootsFile(roots)}, false},
	} {
		client, err := New(server.URL, c.opts...)
		if err == nil {
			_, err = client.Status(t.Context(), id)
			client.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func plain(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }
}
