package bench

// A stand-in for the service, so that whole sessions run without one: the test binary, run again as `serve`. It
// verifies and deduplicates for real, in memory.

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"
)

// fakeMode makes the test binary another program; its value says how that behaves.
const fakeMode = "COUNTERSIGN_BENCH_TEST_FAKE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeMode); mode != "" {
		os.Exit(runFake(mode, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// fakeService counts pairs as the service does, and is done at once.
type fakeService struct {
	certs string

	mu      sync.Mutex
	seen    map[string]bool
	uploads map[string]counts
	polls   int
	refuse  int // uploads still to be answered with 503
	shared  int // signings still to be answered with 429
	skew    int // added to okHash: a service that counts wrongly
	keys    map[string]verifier
}

func newFake(certs string) *fakeService {
	return &fakeService{certs: certs, seen: make(map[string]bool), uploads: make(map[string]counts), keys: make(map[string]verifier)}
}

func (f *fakeService) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/asyncsign/{site}", f.upload)
	mux.HandleFunc("GET /api/v1/resultasync/{id}", f.status)
	mux.HandleFunc("GET /api/v1/sign/{site}", f.single)
	return mux
}

func (f *fakeService) upload(w http.ResponseWriter, r *http.Request) {
	var pairs [][2]string
	decoder := json.NewDecoder(r.Body)
	if err := decoder.Decode(&pairs); err != nil || decoder.More() {
		http.Error(w, fmt.Sprint("bad body: ", err), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse > 0 {
		f.refuse--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	c := counts{OK: f.skew}
	for _, p := range pairs {
		switch f.add(r.PathValue("site"), p[0], p[1]) {
		case "signed OK":
			c.OK++
		case "duplicate already in db":
			c.Duplicate++
		default:
			c.Bad++
		}
	}
	id := uuid.NewString()
	f.uploads[id] = c
	fmt.Fprintf(w, `{ "UUID" : %q, "Batches" : "1", "Hashes" : "%d" }`, id, len(pairs))
}

func (f *fakeService) status(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.uploads[r.PathValue("id")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	f.polls++
	fmt.Fprintf(w, `{"waitingBatch":%d,"doneBatch":1,"okHash":%d,"badSigHash":%d,"dupHash":%d,"errorHash":0}`, f.polls%2, c.OK, c.Bad, c.Duplicate)
}

func (f *fakeService) single(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	query := r.URL.Query()
	if f.shared > 0 {
		f.shared--
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	site, hash, text := r.PathValue("site"), query.Get("hash"), query.Get("sig")
	answer := f.add(site, hash, text)
	if answer == "signed OK" {
		answer += " " + site + " " + hash + " " + standard(text)
	}
	io.WriteString(w, answer)
}

// standard is a signature's text in the usual base64.
func standard(text string) string {
	return strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(text)
}

// add verifies one pair and says what the service would. f.mu is held.
func (f *fakeService) add(site, hash, text string) string {
	signature, err := base64.StdEncoding.DecodeString(standard(text))
	if err != nil {
		return "Invalid signature"
	}
	valid := []bool{false}
	f.key(site)(valid, [][32]byte{sha256.Sum256([]byte(hash))}, [][]byte{signature})
	switch {
	case !valid[0]:
		return "Invalid signature"
	case f.seen[hash]:
		return "duplicate already in db"
	}
	f.seen[hash] = true
	return "signed OK"
}

func (f *fakeService) key(site string) verifier {
	if f.keys[site] == nil {
		text, err := os.ReadFile(filepath.Join(f.certs, site+".pem"))
		if err != nil {
			panic(err)
		}
		block, _ := pem.Decode(text)
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic(err)
		}
		if f.keys[site], err = goVerifier(leaf.PublicKey); err != nil {
			panic(err)
		}
	}
	return f.keys[site]
}

// runFake is the stand-in as a program, with the flags that private services get.
func runFake(mode string, args []string) int {
	if mode == "fails" {
		fmt.Fprintln(os.Stderr, "level=ERROR msg=\"no room left\"")
		return 1
	}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen, admin := flags.String("listen", "", ""), flags.String("admin-listen", "", "")
	dir, certs := flags.String("data-dir", "", ""), flags.String("cert-dir", "", "")
	flags.String("verify-memory", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if err := os.WriteFile(filepath.Join(*dir, "something"), []byte("stored"), 0o644); err != nil {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var addresses []string
	for address, handler := range map[*string]http.Handler{listen: newFake(*certs).handler(), admin: promhttp.Handler()} {
		l, err := net.Listen("tcp", *address)
		if err != nil {
			return 1
		}
		name := "listen="
		if address == admin {
			name = "admin="
		}
		addresses = append(addresses, name+l.Addr().String())
		go http.Serve(l, handler)
	}
	fmt.Fprintln(os.Stderr, "time=2026-01-01T00:00:00Z level=INFO msg=starting")
	fmt.Fprintln(os.Stderr, `time=2026-01-01T00:00:00Z level=INFO msg=ready roles="[ingest verify sink]"`, strings.Join(addresses, " "))
	<-ctx.Done()
	io.WriteString(os.Stderr, "level=INFO msg=stopping\n")
	return 0
}
