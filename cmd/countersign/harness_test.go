package main

// What the end-to-end tests share: real processes of this program on real parts. The test binary is the program when it
// is told so, so a process can be killed like any other. With KAFKA_BROKERS set the log is that Kafka, otherwise the
// embedded one (scripts/test.sh says which tests run on which); with KAFKA_CLUSTER set to the folder that scripts/kafka.sh
// has started it in, its brokers may be killed, too. With COUNTERSIGN_TEST_CLICKHOUSE set the store is that server.

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/internal/service"
	"countersign/internal/testseed"
	"countersign/sink/store/engine"
	"countersign/sink/store/engine/enginetest"
	"countersign/testsite"
	"countersign/testsite/fastrsa"
)

const runAsProgram = "COUNTERSIGN_TEST_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if path := os.Getenv(restSocket); path != "" {
		go restOnRequest(path)
	}
	if os.Getenv(noMachineCode) != "" {
		forbidMachineCode()
	}
	if os.Getenv(runAsProgram) != "" || len(os.Args) > 1 && os.Args[1] == engine.ChildArg {
		failSyncsWhenTold()
		os.Exit(run(os.Args[1:]))
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		_ = os.Unsetenv(name) // the machine's own proxy knows no site of a test
	}
	enginetest.Begin(map[string]func([]string) int{neighbourArg: neighbour})
	os.Exit(m.Run())
}

// world is a certificate authority, the sites under it, and where they are.
type world struct {
	t     *testing.T
	ca    *testsite.CA
	roots string
	hosts []string         // --cert-host
	sites []*testsite.Site // that are served
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ca, err := testsite.NewCA(testsite.CAConfig{})
	must(t, err)
	w := &world{t: t, ca: ca, roots: filepath.Join(t.TempDir(), "roots.pem")}
	must(t, ca.WriteRoots(w.roots))
	return w
}

var p256 = testsite.SiteConfig{Curve: elliptic.P256()}

// site adds a site that is served over TLS on loopback.
func (w *world) site(name string, config testsite.SiteConfig) *testsite.Site {
	w.t.Helper()
	s, err := w.ca.NewSite(name, config)
	must(w.t, err)
	address, err := s.Serve()
	must(w.t, err)
	w.t.Cleanup(s.Close)
	w.hosts, w.sites = append(w.hosts, name+"="+address), append(w.sites, s)
	return s
}

// args are the settings that tell a process about the world.
func (w *world) args() []string {
	args := []string{"--cert-roots", w.roots}
	for _, h := range w.hosts {
		args = append(args, "--cert-host", h)
	}
	return args
}

// patience bounds every wait for something that must happen. It is long because the machine may be busy.
const patience = 3 * time.Minute

// node is one running process.
type node struct {
	t *testing.T
	*service.Process
	*client.Client // nil if the process has no API
	logs           *logs
}

// start runs `countersign serve` and returns when it is ready. The process ends with the test.
func start(t *testing.T, args ...string) *node {
	t.Helper()
	return startWith(t, nil, args...)
}

// startWith is start with more variables of the environment, in the form NAME=value.
func startWith(t *testing.T, env []string, args ...string) *node {
	t.Helper()
	n := &node{t: t, logs: new(logs)}
	var err error
	config := program(n.logs, args...)
	config.Env = append(config.Env, env...)
	n.Process, err = service.Start(t.Context(), config)
	must(t, err)
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("countersign %s said:\n%s", strings.Join(args, " "), n.logs)
		}
	})
	if n.API != "" {
		n.Client, err = client.New("http://"+n.API, client.WithRetry(client.Retry{Attempts: 1}), client.WithHTTPClient(oneByOne()))
		must(t, err)
		t.Cleanup(n.Client.Close)
	}
	return n
}

// oneByOne makes a connection for each request. On a busy machine a connection may lie idle for so long that the
// service closes it just when it is used again, and a POST that fails for that reason has failed for a reason that no
// test is about.
func oneByOne() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}

// program is this test binary as `countersign serve`.
func program(logs io.Writer, args ...string) service.Config {
	return service.Config{Binary: os.Args[0], Args: args, Env: []string{runAsProgram + "=1"}, Log: logs}
}

// logs is what a process has logged so far.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// says returns when the process has logged a text.
func (n *node) says(text string) {
	n.t.Helper()
	n.t.Logf("waiting for %q", text)
	for end := time.Now().Add(patience); !strings.Contains(n.logs.String(), text); time.Sleep(10 * time.Millisecond) {
		if err := n.Alive(); err != nil || time.Now().After(end) {
			n.t.Fatalf("the process did not say %q: %v\n%s", text, err, n.logs)
		}
	}
}

// stop ends the process in order.
func (n *node) stop() {
	n.t.Helper()
	if err := n.Stop(); err != nil {
		n.t.Fatalf("the process ended with %v\n%s", err, n.logs)
	}
}

// randomTimes draws the times of a test from the seed of package testseed. A time depends on the seed, the test's name
// and what the time is for, and on nothing that happens.
type randomTimes struct {
	seed uint64
	name string
}

func newRandomTimes(t *testing.T) randomTimes {
	t.Helper()
	return randomTimes{testseed.Seed(t), t.Name()}
}

// upTo is a time from 0 to most, for one of the test's purposes.
func (r randomTimes) upTo(most time.Duration, purpose ...any) time.Duration {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %v", r.seed, r.name, purpose))
	return time.Duration(binary.LittleEndian.Uint64(sum[:]) % uint64(most+1))
}

// log configuration: the embedded broker, or the Kafka of KAFKA_BROKERS with topics of this test's own. On three brokers
// and more the topics have three copies, which is the program's default.
func logArgs(t *testing.T) []string {
	t.Helper()
	brokers := os.Getenv("KAFKA_BROKERS")
	if brokers == "" {
		return nil
	}
	args := []string{"--kafka", brokers, "--kafka-prefix", "t" + uuid.NewString()[:8] + "-"}
	if strings.Count(brokers, ",") < 2 {
		args = append(args, "--kafka-replication", "1")
	}
	return args
}

// times is how often a test does something: so often on the embedded log, and less often on Apache Kafka, where the same
// test is repeated for the broker's sake alone.
func times(embedded, kafka int) int {
	if os.Getenv("KAFKA_BROKERS") != "" {
		return kafka
	}
	return embedded
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// signer signs the hex text of a hash, as a site does.
type signer func(text string) []byte

// quickRSA adds a site with an RSA-2048 key that signs by the ten thousand.
func (w *world) quickRSA(name string) signer {
	w.t.Helper()
	key, err := fastrsa.Generate(rand.Reader, 2048)
	must(w.t, err)
	w.site(name, testsite.SiteConfig{Keys: []crypto.Signer{key}})
	return func(text string) []byte {
		digest := sha256.Sum256([]byte(text))
		signature, err := key.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			panic(err) // the key signs SHA-256
		}
		return signature
	}
}

// ecdsa adds a site with a P-256 key.
func (w *world) ecdsa(name string) signer {
	w.t.Helper()
	return w.site(name, p256).SignTextECDSA
}

// pairs signs n hashes that are a function of the seed.
func pairs(seed string, from, n int, sign signer) []client.Pair {
	out := make([]client.Pair, n)
	parallel(n, func(i int) {
		hash := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, from+i))
		out[i] = client.Pair{Hash: hash, Signature: sign(testsite.HexText(hash, false))}
	})
	return out
}

// parallel calls fn(0..n-1) on two goroutines.
func parallel(n int, fn func(int)) {
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := w; i < n; i += 2 {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// output runs the program to its end.
func output(args ...string) (string, error) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), runAsProgram+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
