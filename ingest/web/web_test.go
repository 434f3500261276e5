package web

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/problem"
	"countersign/ingest/server"
	"countersign/pipeline/mistake"
)

func TestMain(m *testing.M) { ingesttest.Main(m) }

// start serves the pages on loopback until the test ends.
func start(t *testing.T) *ingesttest.Client {
	t.Helper()
	s, err := server.New(server.Config{}, Calls())
	if err != nil {
		t.Fatal(err)
	}
	return ingesttest.Serve(t, s)
}

func TestPage(t *testing.T) {
	h := start(t)
	r := h.Do("GET", "/", nil)
	policy := r.Header.Get("Content-Security-Policy")
	if r.Status != 200 || r.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(policy, "default-src 'none'") {
		t.Error(r)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"|Worker\("([^"]*)"\)`)
	served := 0
	err := fs.WalkDir(static, "static", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(path)
		if strings.Contains(string(text), "http://") || strings.Contains(string(text), "https://") {
			t.Errorf("%s refers to another server", path)
		}
		for _, m := range links.FindAllStringSubmatch(string(text), -1) {
			link := m[1] + m[2]
			if link == "data:," {
				continue
			}
			if r := h.Do("GET", link, nil); r.Status != 200 {
				t.Errorf("%s: %s is not there", path, link)
			}
			served++
		}
		return err
	})
	if err != nil || served < 4 {
		t.Errorf("%d links, %v", served, err)
	}
}

// TestPageHashes runs the worker's SHA-256 under Node.js, where that is installed; the page itself needs a browser.
func TestPageHashes(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node.js is not installed: the page's SHA-256 can't run")
	}
	const script = `
const fs = require("fs"), crypto = require("crypto"), vm = require("vm");
const page = {self: {}, postMessage() {}};
vm.createContext(page);
vm.runInContext(fs.readFileSync(process.argv[2], "utf8") + ";self.SHA256 = SHA256", page);
for (let n = 0; n < 300; n++) {
  const data = Buffer.alloc(n * 7, n), h = new page.self.SHA256();
  for (let at = 0, step = 1; at < data.length; at += step, step = step * 5 % 131 + 1) {
    h.update(new Uint8Array(data.subarray(at, at + step)));
  }
  const want = crypto.createHash("sha256").update(data).digest("hex");
  if (h.hex() !== want) throw new Error("wrong for length " + data.length);
}`
	file := filepath.Join(t.TempDir(), "test.js")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	worker, err := filepath.Abs("static/hash.js")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), node, file, worker).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Every kind of problem has a page.
func TestProblemTypes(t *testing.T) {
	h := start(t)
	for _, p := range problem.Examples() {
		if r := h.Do("GET", "/problems/"+p.Kind, nil); r.Status != 200 || !strings.Contains(r.Body, p.Title) {
			t.Errorf("%s: %v", p.Kind, r)
		}
	}
	invalid := h.Do("GET", "/problems/invalid-signature", nil)
	for _, m := range mistake.All() {
		if !strings.Contains(invalid.Body, m.What+".\n") || !strings.Contains(invalid.Body, m.Remedy+".\n") {
			t.Errorf("invalid-signature lacks %q: %v", m.What, invalid)
		}
	}
	h.Problem(h.Do("GET", "/problems/nothing", nil), 404, "not-found")
}
