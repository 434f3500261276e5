package ingest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/problem"
)

func TestPage(t *testing.T) {
	h := start(t, nil)
	r := h.do("GET", "/", nil)
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
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
			if r := h.do("GET", link, nil); r.status != 200 {
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
		t.Log("Node.js is not installed: the page's SHA-256 was left out")
		return
	}
	const script = `
const fs = require("fs"), crypto = require("crypto"), vm = require("vm");
const page = {self: {}, postMessage() {}};
vm.createContext(page);
vm.runInContext(fs.readFileSync(process.argv[2], "utf8") + ";self.SHA256 = SHA256", page);
for (let n = 0; n < 300; n++) {
  const data = Buffer.alloc(n * 7, n), h = new page.self.SHA256();
  for (let at = 0, step = 1; at < data.length; at += step, step = step * 5 % 131 + 1) h.update(new Uint8Array(data.subarray(at, at + step)));
  if (h.hex() !== crypto.createHash("sha256").update(data).digest("hex")) throw new Error("wrong for length " + data.length);
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

func TestOpenAPIDescribesEveryCall(t *testing.T) {
	h := start(t, nil)
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas struct{ ProblemKind struct{ Enum []string } }
		}
	}
	if err := json.Unmarshal([]byte(h.do("GET", "/openapi.json", nil).body), &doc); err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, calls := range doc.Paths {
		for method := range calls {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, c := range append(h.calls(), webCalls()...) {
		if !strings.HasPrefix(c.Pattern, "/static/") {
			served = append(served, c.Method+" "+parameter.ReplaceAllString(c.Pattern, "{$1}"))
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %q\nserved: %q", described, served)
	}
	var kinds []string
	for _, p := range problem.Examples() {
		kinds = append(kinds, p.Kind)
		if r := h.do("GET", "/problems/"+p.Kind, nil); r.status != 200 || !strings.Contains(r.body, p.Detail) {
			t.Errorf("%s: %v", p.Kind, r)
		}
		var members map[string]any
		if err := json.Unmarshal(p.AppendJSON(nil), &members); err != nil {
			t.Errorf("%s: %v", p.Kind, err)
		}
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, doc.Components.Schemas.ProblemKind.Enum) {
		t.Errorf("kinds: %q\ndescribed: %q", kinds, doc.Components.Schemas.ProblemKind.Enum)
	}
	h.problem(h.do("GET", "/problems/nothing", nil), 404, "not-found")
}

func TestAdmin(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := start(t, func(c *Config) { c.Registerer = registry })
	h.done(h.upload(site, body(0, 2500, 8)))
	h.do("POST", "/api/v1/asyncsign/"+site, "x")
	admin := httptest.NewServer(AdminHandler(h.NotReady, registry))
	defer admin.Close()
	get := func(path string) (int, string) {
		probe := *h
		probe.url = admin.URL
		r := probe.do("GET", path, nil)
		return r.status, r.body
	}
	if code, text := get("/livez"); code != 200 || text != "ok\n" {
		t.Errorf("livez: %d %q", code, text)
	}
	if code, text := get("/readyz"); code != 200 || text != "ready\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	_, text := get("/metrics")
	for _, line := range []string{
		`countersign_ingest_pairs_total 2500`,
		`countersign_ingest_problems_total{kind="malformed-body"} 1`,
		`countersign_ingest_request_seconds_count{call="POST /api/v1/asyncsign/:url",outcome="accepted"} 1`,
		`countersign_ingest_request_seconds_count{call="POST /api/v1/asyncsign/:url",outcome="malformed-body"} 1`,
		`countersign_ingest_open_uploads 0`,
		fmt.Sprintf(`countersign_ingest_body_bytes_total %d`, len(body(0, 2500, 8))+1),
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	h.Server.http.stopping.Store(true)
	if code, text := get("/readyz"); code != 503 || !strings.Contains(text, "shuts down") {
		t.Errorf("readyz: %d %q", code, text)
	}
}
