package web

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/problem"
	"countersign/ingest/server"
)

func TestMain(m *testing.M) { ingesttest.Main(m) }

// start serves the pages on loopback until the test ends.
func start(t *testing.T) *ingesttest.Client {
	t.Helper()
	s, err := server.New(server.Config{}, Calls(""))
	if err != nil {
		t.Fatal(err)
	}
	return ingesttest.Serve(t, s)
}

// linksOf finds what a page or a script names.
var linksOf = regexp.MustCompile(`(?:src|href)="([^"]*)"|Worker\("([^"]*)"\)`)

func TestPage(t *testing.T) {
	h := start(t)
	r := h.Do("GET", "/", nil)
	policy := r.Header.Get("Content-Security-Policy")
	if r.Status != 200 || r.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(policy, "default-src 'none'") {
		t.Error(r)
	}
	served := 0
	err := fs.WalkDir(static, "static", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(path)
		if strings.Contains(string(text), "http://") || strings.Contains(string(text), "https://") {
			t.Errorf("%s refers to another server", path)
		}
		for _, m := range linksOf.FindAllStringSubmatch(string(text), -1) {
			link := m[1] + m[2]
			if link == "data:," {
				continue
			}
			if r := h.Do("GET", "/"+link, nil); r.Status != 200 {
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
	h.Problem(h.Do("GET", "/problems/nothing", nil), 404, "not-found")
}

// Behind a proxy that shows the service below a path, which it strips, everything that a browser follows is found.
func TestBelowAPathOfAProxy(t *testing.T) {
	for _, below := range []string{"/", "/countersign/", "/deep/er/"} {
		h := start(t)
		service, err := url.Parse(h.URL)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httptest.NewServer(http.StripPrefix(strings.TrimSuffix(below, "/"), httputil.NewSingleHostReverseProxy(service)))
		defer proxy.Close()
		page, err := url.Parse(proxy.URL + below)
		if err != nil {
			t.Fatal(err)
		}
		get := func(link string) string {
			at, err := page.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			r, err := proxy.Client().Get(at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			text, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != http.StatusOK {
				t.Errorf("%s of %s: %d, %v", link, page, r.StatusCode, err)
			}
			return string(text)
		}
		for _, name := range []string{"", "static/page.js", "static/page.css"} {
			text := get(name)
			for _, m := range linksOf.FindAllStringSubmatch(text, -1) {
				if link := m[1] + m[2]; !strings.HasPrefix(link, "data:") {
					get(link)
				}
			}
			if rooted := regexp.MustCompile(`["'(]/(api|static|openapi)\b`).FindString(text); rooted != "" {
				t.Errorf("%q names a path of the host: %s", name, rooted)
			}
		}
		var description struct{ Servers []struct{ URL string } }
		if err := json.Unmarshal([]byte(get("openapi.json")), &description); err != nil || len(description.Servers) != 1 {
			t.Fatal(err, description)
		}
		if at, err := page.Parse(description.Servers[0].URL); err != nil || at.String() != page.String() {
			t.Errorf("the API is said to be at %v, want %s", at, page)
		}
	}
}

func TestDescriptionNamesThePublicURL(t *testing.T) {
	s, err := server.New(server.Config{}, Calls("https://example.org/countersign/"))
	if err != nil {
		t.Fatal(err)
	}
	r := ingesttest.Serve(t, s).Do("GET", "/openapi.json", nil)
	if !strings.Contains(r.Body, `"url": "https://example.org/countersign"`) || !json.Valid([]byte(r.Body)) {
		t.Errorf("%.500s", r.Body)
	}
}
