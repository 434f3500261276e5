package main

// What the end-to-end tests share: real processes of this program on real parts. The test binary is the program when it is told
// so, so a process can be killed like any other. With KAFKA_BROKERS set the log is that Kafka, otherwise the embedded one;
// with COUNTERSIGN_TEST_CLICKHOUSE set the store is that server.

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/sink/store/engine"
	"countersign/sink/store/engine/enginetest"
	"countersign/testsite"
	"countersign/testsite/fastrsa"
)

const runAsProgram = "COUNTERSIGN_TEST_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) != "" || len(os.Args) > 1 && os.Args[1] == engine.ChildArg {
		os.Exit(run(os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[1] == neighbourArg {
		os.Exit(neighbour(os.Args[2:]))
	}
	enginetest.UseCache()
	os.Exit(m.Run())
}

// world is a certificate authority, the sites under it, and where they are.
type world struct {
	t     *testing.T
	ca    *testsite.CA
	roots string
	hosts []string // --cert-host
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
	w.hosts = append(w.hosts, name+"="+address)
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

// node is one running process.
type node struct {
	t     *testing.T
	cmd   *exec.Cmd
	api   string
	admin string
	*client.Client

	mu   sync.Mutex
	logs bytes.Buffer
	done chan struct{} // closed when the process has ended
	err  error         // its end; valid after done
}

// start runs `countersign serve` and returns when it is ready. The process ends with the test.
func start(t *testing.T, args ...string) *node {
	t.Helper()
	n, ready := launch(t, args...)
	select {
	case <-ready:
	case <-n.done:
		t.Fatalf("the process ended: %v\n%s", n.err, n.log())
	case <-time.After(60 * time.Second):
		t.Fatalf("the process is not ready\n%s", n.log())
	}
	if n.api != "" {
		c, err := client.New("http://"+n.api, client.WithRetry(client.Retry{Attempts: 1}))
		must(t, err)
		t.Cleanup(c.Close)
		n.Client = c
	}
	return n
}

var readyLine = regexp.MustCompile(`msg=ready .*listen=(\S*) admin=(\S*)`)

// launch runs `countersign serve`; ready is closed when it says so.
func launch(t *testing.T, args ...string) (n *node, ready chan struct{}) {
	t.Helper()
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	n = &node{t: t, done: make(chan struct{}), cmd: exec.Command(os.Args[0], args...)}
	n.cmd.Env = append(os.Environ(), runAsProgram+"=1")
	stderr, err := n.cmd.StderrPipe()
	must(t, err)
	must(t, n.cmd.Start())
	ready = make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			n.mu.Lock()
			n.logs.WriteString(lines.Text() + "\n")
			n.mu.Unlock()
			if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
				n.api, n.admin = strings.Trim(m[1], `"`), strings.Trim(m[2], `"`)
				close(ready)
			}
		}
		n.err = n.cmd.Wait()
		close(n.done)
	}()
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("countersign %s said:\n%s", strings.Join(args, " "), n.log())
		}
	})
	return n, ready
}

func (n *node) log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.logs.String()
}

// says returns when the process has logged a text.
func (n *node) says(text string) {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(n.log(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("the process did not say %q:\n%s", text, n.log())
		}
	}
}

// kill ends the process as a crash does.
func (n *node) kill() {
	_ = n.cmd.Process.Signal(syscall.SIGKILL)
	<-n.done
}

// stop ends the process in order.
func (n *node) stop() {
	n.t.Helper()
	must(n.t, n.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-n.done:
	case <-time.After(40 * time.Second):
		n.t.Fatalf("the process did not stop\n%s", n.log())
	}
	if n.err != nil {
		n.t.Fatalf("the process ended with %v\n%s", n.err, n.log())
	}
}

// get asks the API as curl would, and returns status and body.
func (n *node) get(path string) (int, string) {
	n.t.Helper()
	r, err := http.Get("http://" + n.api + path)
	must(n.t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(n.t, err)
	return r.StatusCode, string(body)
}

// log configuration: the embedded broker, or the Kafka of KAFKA_BROKERS with topics of this test's own.
func logArgs(t *testing.T) []string {
	t.Helper()
	brokers := os.Getenv("KAFKA_BROKERS")
	if brokers == "" {
		return nil
	}
	return []string{"--kafka", brokers, "--kafka-replication", "1", "--kafka-prefix", "t" + uuid.NewString()[:8] + "-"}
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
