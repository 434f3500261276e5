package bulk

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"countersign/client"
	"countersign/internal/hashfiles"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const site, other = "bank.example", "other.example"

// service is a countersign that takes every signature but "bad", and stores at once.
type service struct {
	mu      sync.Mutex
	owners  map[string]string              // site by hash; guarded by mu
	results map[string]*client.BatchResult // by upload; guarded by mu
	uploads []int                          // pairs of each; guarded by mu
}

func newService(t *testing.T) (*service, *client.Client) {
	s := &service{owners: make(map[string]string), results: make(map[string]*client.BatchResult)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	switch {
	case path[0] == "check":
		var answers []client.Signers
		for hash := range strings.FieldsSeq(string(body)) {
			owner, signed := s.owners[hash]
			answers = append(answers, client.Signers{Hash: hash, Signed: signed, Signer: client.Signer{Site: owner}})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"hashes": answers})
	case path[0] == "asyncsign":
		s.upload(w, path[1], body)
	case len(path) == 3:
		_ = json.NewEncoder(w).Encode(s.results[path[1]])
	default:
		b := s.results[path[1]]
		_ = json.NewEncoder(w).Encode(client.Status{
			DoneBatch: 1, OKHash: len(b.AddedOK), DupHash: len(b.Duplicate), BadSigHash: len(b.BadSignature), ErrorHash: len(b.Errors),
		})
	}
}

func (s *service) upload(w http.ResponseWriter, site string, body []byte) {
	var pairs [][2]string
	if err := json.Unmarshal(body, &pairs); err != nil {
		panic(err)
	}
	result := &client.BatchResult{Errors: make(map[string]string)}
	for _, p := range pairs {
		switch owner := s.owners[p[0]]; {
		case p[1] == client.EncodeSignature([]byte("bad")):
			result.BadSignature = append(result.BadSignature, p[0])
		case p[1] == client.EncodeSignature([]byte("error")):
			result.Errors[p[0]] = "no certificate"
		case owner != "":
			result.Duplicate = append(result.Duplicate, p[0])
		default:
			s.owners[p[0]] = site
			result.AddedOK = append(result.AddedOK, p[0])
		}
	}
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", len(s.results))
	s.results[id] = result
	s.uploads = append(s.uploads, len(pairs))
	fmt.Fprintf(w, `{"UUID":%q,"Batches":"1","Hashes":"%d"}`, id, len(pairs))
}

func hashOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// files have their name's first word as content.
func files(names ...string) iter.Seq[hashfiles.File] {
	return func(yield func(hashfiles.File) bool) {
		for _, name := range names {
			f := hashfiles.File{Item: hashfiles.Item{Name: name}}
			if content, _, _ := strings.Cut(name, " "); content == "missing" {
				f.Err = errors.New("it is not there")
			} else {
				f.Hash = hashOf(content)
			}
			if !yield(f) {
				return
			}
		}
	}
}

// Each file has one outcome, whatever else has its content, and what is signed is not signed again.
func TestEachFileHasOneOutcome(t *testing.T) {
	s, c := newService(t)
	s.owners[fmt.Sprintf("%x", hashOf("theirs"))] = other
	s.owners[fmt.Sprintf("%x", hashOf("old"))] = site
	var mu sync.Mutex
	signed := 0
	outcomes := make(map[string]string)
	config := Config{
		Client: c, Site: site, Portion: 3, Uploads: 2,
		Sign: func(_ context.Context, hash [32]byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			signed++
			for _, special := range []string{"bad", "error"} {
				if hash == hashOf(special) {
					return []byte(special), nil
				}
			}
			return []byte("signature"), nil
		},
		Report: func(o Outcome) error { // one at a time
			if _, repeated := outcomes[o.Name]; repeated {
				t.Errorf("%s has two outcomes", o.Name)
			}
			outcomes[o.Name] = string(o.Kind)
			if o.First != nil {
				outcomes[o.Name] += " by " + o.First.Site
			}
			return nil
		},
	}
	names := []string{"a", "a too", "missing", "b", "theirs", "old", "bad", "error", "bad too", "c"}
	if err := Run(t.Context(), config, files(names...)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "added", "a too": "added", "b": "added", "c": "added", "missing": "unreadable", "theirs": "owned by another site by " + other,
		"old": "signed before by " + site, "bad": "bad signature", "bad too": "bad signature", "error": "error",
	}
	if !maps.Equal(outcomes, want) {
		t.Errorf("%v\nwant %v", outcomes, want)
	}
	if signed != 7 { // a, b, theirs, bad, error, c; and bad once more, in the next portion
		t.Errorf("%d hashes were signed", signed)
	}
	clear(outcomes)
	signed = 0
	if err := Run(t.Context(), config, files("a", "b", "old", "c")); err != nil || signed != 0 || outcomes["c"] != "signed before by "+site {
		t.Errorf("again: %v, %d signed, %v", err, signed, outcomes)
	}
}

// The first failure ends everything, and nothing runs on.
func TestFailuresEndTheRun(t *testing.T) {
	_, c := newService(t)
	refuse := errors.New("no key")
	sign := func(context.Context, [32]byte) ([]byte, error) { return []byte("signature"), nil }
	report := func(Outcome) error { return nil }
	endless := func(yield func(hashfiles.File) bool) {
		for i := 0; yield(hashfiles.File{Item: hashfiles.Item{Name: fmt.Sprint(i)}, Hash: hashOf(fmt.Sprint(i))}); i++ {
		}
	}
	for name, config := range map[string]Config{
		"signing":   {Sign: func(context.Context, [32]byte) ([]byte, error) { return nil, refuse }, Report: report},
		"reporting": {Sign: sign, Report: func(Outcome) error { return refuse }},
	} {
		config.Client, config.Site, config.Portion = c, site, 10
		if err := Run(t.Context(), config, endless); !errors.Is(err, refuse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	config := Config{Client: c, Site: site, Portion: 10, Sign: sign, Report: func(Outcome) error { cancel(); return nil }}
	if err := Run(ctx, config, endless); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
