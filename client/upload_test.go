package client

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func seq(pairs []Pair) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		for _, p := range pairs {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func TestUpload(t *testing.T) {
	want := Receipt{uuid.MustParse(testID), 3, 2345}
	for _, n := range []int{0, 1, 2, 2345} {
		pairs := testPairs(n)
		for _, c := range []struct {
			name   string
			upload func(*Client) (Receipt, error)
			sized  bool
		}{
			{"Upload", func(c *Client) (Receipt, error) {
				return c.Upload(t.Context(), "www.example.com", pairs, UploadOptions{})
			}, true},
			{"UploadSeq", func(c *Client) (Receipt, error) {
				return c.UploadSeq(t.Context(), "www.example.com", seq(pairs), UploadOptions{})
			}, false},
		} {
			f := newFake(t, ok(receipt))
			client, _ := newTestClient(t, f.URL+"/prefix/")
			got, err := c.upload(client)
			if err != nil || got != want {
				t.Fatalf("%s of %d: %+v, %v", c.name, n, got, err)
			}
			r := f.requests()[0]
			checkBody(t, r.body, pairs)
			if r.method != "POST" || r.uri != "/prefix/api/v1/asyncsign/www.example.com" || r.header.Get("Content-Type") != "application/json" ||
				c.sized != (r.length == int64(len(r.body))) || c.sized == (r.length < 0) {
				t.Errorf("%s of %d: request %+v", c.name, n, r)
			}
			if key := r.header.Get("Idempotency-Key"); (key != "") != c.sized {
				t.Errorf("%s: Idempotency-Key %q", c.name, key)
			}
		}
	}
}

func TestAnyPairsAsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pairs := rapid.SliceOf(rapid.Custom(func(t *rapid.T) (p Pair) {
			copy(p.Hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
			p.Signature = rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "signature")
			return p
		})).Draw(t, "pairs")
		b := sliceBody(pairs)
		text, err := io.ReadAll(b)
		if err != nil || int64(len(text)) != b.length {
			t.Fatalf("%d bytes, announced %d, error %v", len(text), b.length, err)
		}
		checkBody(t, string(text), pairs)
		again, _ := io.ReadAll(seqBody(seq(pairs)))
		if string(again) != string(text) {
			t.Fatalf("the iterator gives %q, the slice %q", again, text)
		}
		for _, p := range pairs {
			standard := strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(EncodeSignature(p.Signature))
			if standard != base64.StdEncoding.EncodeToString(p.Signature) {
				t.Fatalf("%x became %s", p.Signature, standard)
			}
		}
	})
}

func TestUploadBody(t *testing.T) {
	const body = `[["a","b"]]`
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("xx"+body), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	opened.Seek(2, io.SeekStart)
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	io.WriteString(w, body)
	w.Close()
	for _, c := range []struct {
		name   string
		r      io.Reader
		length int64
		tries  int
	}{
		{"seeker", strings.NewReader(body), int64(len(body)), 2},
		{"file, from where it stands", opened, int64(len(body)), 2},
		{"file that is a pipe", pipe, -1, 1},
		{"stream", io.MultiReader(strings.NewReader(body)), -1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t, problem(503, ""), ok(receipt))
			client, _ := newTestClient(t, f.URL)
			_, err := client.UploadBody(t.Context(), "site", c.r, UploadOptions{})
			if (err == nil) != (c.tries == 2) || len(f.requests()) != c.tries {
				t.Fatalf("%d requests, %v", len(f.requests()), err)
			}
			for _, r := range f.requests() {
				if r.body != body || r.length != c.length {
					t.Errorf("body %q, length %d", r.body, r.length)
				}
			}
		})
	}
	if _, err := opened.Seek(0, io.SeekCurrent); err != nil {
		t.Errorf("the file was closed: %v", err)
	}
}

// A repeated upload is the same upload: same body, same key.
func TestRepeatedUploadHasTheSameKeyAndBody(t *testing.T) {
	pairs := testPairs(3000)
	for _, c := range []struct {
		name   string
		upload func(*Client) (Receipt, error)
	}{
		{"Upload", func(c *Client) (Receipt, error) { return c.Upload(t.Context(), "site", pairs, UploadOptions{}) }},
		{"UploadSeq", func(c *Client) (Receipt, error) {
			return c.UploadSeq(t.Context(), "site", seq(pairs), UploadOptions{Replay: true})
		}},
		{"key given", func(c *Client) (Receipt, error) {
			return c.Upload(t.Context(), "site", pairs, UploadOptions{IdempotencyKey: "mine"})
		}},
	} {
		f := newFake(t, problem(503, ""), early(problem(429, "")), hangUp, problem(503, `,"uuid":"`+testID+`"`), ok(receipt))
		client, _ := newTestClient(t, f.URL)
		if _, err := c.upload(client); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		requests := f.requests()
		if len(requests) != 5 {
			t.Fatalf("%s: %d requests", c.name, len(requests))
		}
		for i, r := range requests {
			if key := r.header.Get("Idempotency-Key"); key == "" || key != requests[0].header.Get("Idempotency-Key") || c.name == "key given" && key != "mine" {
				t.Errorf("%s: key %q", c.name, key)
			}
			if i != 1 {
				checkBody(t, r.body, pairs)
			}
		}
	}
}

func TestNoKeyWhereNothingIsRepeated(t *testing.T) {
	f := newFake(t, problem(503, ""))
	client, _ := newTestClient(t, f.URL, WithRetry(Retry{Attempts: 1}))
	if _, err := client.Upload(t.Context(), "site", testPairs(1), UploadOptions{}); err == nil {
		t.Error("no error")
	}
	if r := f.requests(); len(r) != 1 || r[0].header.Get("Idempotency-Key") != "" {
		t.Errorf("%+v", r)
	}
}

func TestFailingSourceEndsTheUpload(t *testing.T) {
	gone := errors.New("the disk is gone")
	pairs := testPairs(2000)
	failing := func(yield func(Pair, error) bool) {
		seq(pairs)(func(p Pair, err error) bool { return yield(p, err) })
		yield(Pair{}, gone)
	}
	for name, upload := range map[string]func(*Client) (Receipt, error){
		"UploadSeq": func(c *Client) (Receipt, error) {
			return c.UploadSeq(t.Context(), "site", failing, UploadOptions{Replay: true})
		},
		"UploadBody": func(c *Client) (Receipt, error) {
			return c.UploadBody(t.Context(), "site", io.MultiReader(strings.NewReader("["), errorReader{gone}), UploadOptions{})
		},
	} {
		f := newFake(t, ok(receipt))
		client, waits := newTestClient(t, f.URL)
		_, err := upload(client)
		if !errors.Is(err, gone) || len(*waits) > 0 {
			t.Errorf("%s: %v", name, err)
		}
		f.Close() // waits for the handler
		if r := f.requests(); len(r) != 1 || r[0].broken == nil {
			t.Errorf("%s: the service saw a whole body: %+v", name, r)
		}
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// The service's refusal is returned though the source hangs. The end of ctx is, once the source is
// closed.
func TestHangingSource(t *testing.T) {
	hanging := func() (*io.PipeReader, func()) {
		r, w := io.Pipe()
		var sent sync.WaitGroup
		sent.Go(func() { io.WriteString(w, "[") })
		return r, func() { r.Close(); sent.Wait() }
	}
	r, end := hanging()
	defer end()
	client, _ := newTestClient(t, newFake(t, early(problem(408, ""))).URL)
	_, err := client.UploadBody(t.Context(), "site", r, UploadOptions{})
	var refusal *Problem
	if !errors.As(err, &refusal) || refusal.Status != 408 {
		t.Errorf("refused: %v", err)
	}

	r, end = hanging()
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	context.AfterFunc(ctx, func() { r.Close() })
	client, _ = newTestClient(t, newFake(t, hangUp).URL)
	if _, err := client.UploadBody(ctx, "site", r, UploadOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: %v", err)
	}
}

// An upload that is refused by its head is not sent.
func TestRefusedBeforeTheBody(t *testing.T) {
	made := 0
	pairs := func(yield func(Pair, error) bool) {
		for range 100_000 {
			made++
			if !yield(Pair{Signature: make([]byte, 256)}, nil) {
				return
			}
		}
	}
	f := newFake(t, early(problem(413, `,"limit":10`)))
	client, _ := newTestClient(t, f.URL)
	_, err := client.UploadSeq(t.Context(), "site", pairs, UploadOptions{})
	var refusal *Problem
	if !errors.As(err, &refusal) || refusal.Status != 413 || string(refusal.Extras["limit"]) != "10" {
		t.Fatalf("got %v", err)
	}
	f.Close()
	if made > 0 {
		t.Errorf("%d pairs were made for it", made)
	}
}

func TestUploadMemoryDoesNotGrow(t *testing.T) {
	held := func(n int) int64 {
		var before, after runtime.MemStats
		signature := make([]byte, 256)
		f := newFake(t, early(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, receipt)
		}))
		client, _ := newTestClient(t, f.URL)
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, err := client.UploadSeq(t.Context(), "site", func(yield func(Pair, error) bool) {
			for range n {
				if !yield(Pair{Signature: signature}, nil) {
					return
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
		}, UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	few, many := held(1000), held(100_000)
	if many > max(few, 0)+512<<10 {
		t.Errorf("1,000 pairs hold %d bytes, 100,000 hold %d", few, many)
	}
}

func TestStrangeReceipts(t *testing.T) {
	for _, body := range []string{"", "{}", "<html>", `{"UUID":"x"}`, `{"UUID":"` + testID + `","Batches":"many"}`, `{"Batches":"0","Hashes":"0"}`} {
		client, _ := newTestClient(t, newFake(t, ok(body)).URL)
		if got, err := client.Upload(t.Context(), "site", nil, UploadOptions{}); err == nil || !strings.Contains(err.Error(), "asyncsign/site") {
			t.Errorf("%q: %+v, %v", body, got, err)
		}
	}
	client, _ := newTestClient(t, newFake(t, ok(`{"UUID":"`+testID+`","Batches":1,"Hashes":2}`)).URL)
	if got, err := client.Upload(t.Context(), "site", nil, UploadOptions{}); err != nil || got.Batches != 1 || got.Hashes != 2 {
		t.Errorf("numbers: %+v, %v", got, err)
	}
}
