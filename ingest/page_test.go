package ingest

// The page's script, under Node.js with as much of a browser as it touches.

import (
	"encoding/json"
	"maps"
	"os/exec"
	"testing"
)

// browser is what page.js finds around it. Elements remember their texts, and workers know the hash of each file.
const browser = `
const elements = {};
function made(name) {
  return {name, children: [], listeners: {}, classList: {add() {}, remove() {}}, textContent: "",
    addEventListener(kind, f) { this.listeners[kind] = f; }, append(...x) { this.children.push(...x); },
    replaceChildren(...x) { this.children = x; }, contains() { return false; }, scrollIntoView() {}};
}
const document = {getElementById: (id) => elements[id] ??= made(id), createElement: made}, window = made("window");
const location = {origin: "http://localhost", pathname: "/"};
var navigator = {}; // newer versions of Node.js have one
class Worker {
  postMessage(file) { queueMicrotask(() => this.onmessage({data: file.hash ? {hash: file.hash} : {error: "no"}})); }
  terminate() {}
}
const fetch = async (link) => link === "api/v1/hash/aa"
  ? {ok: true, status: 200, json: async () => ({site: "bank.example", signedAt: "2026-01-01T00:00:00Z", algorithm: "ECDSA-P256-SHA256",
      signature: "AA==", certificate: "ff", signedText: "aa"})}
  : {ok: false, status: 404, json: async () => ({})};
`

// Each of several dropped files is named with its verdict, and the summary doesn't bless the bundle.
func TestPageNamesEachDroppedFile(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("install Node.js: this runs the page's script, and the embedded engine comes by npm anyway")
	}
	h := start(t, nil)
	script := browser + h.Do("GET", "/static/page.js", nil).Body + `
const settled = () => new Promise((done) => setTimeout(done, 0)); // after everything that is ready to run
(async () => {
  const file = (name, hash) => ({name, hash, size: 1});
  const drop = (...files) => elements.drop.listeners.drop({preventDefault() {}, dataTransfer: {files}});
  drop(file("signed.txt", "aa"), file("forged.dll", "bb"), file("folder"));
  while (elements.files.children.length < 3) await settled();
  await settled();
  const said = {summary: elements.summary.textContent};
  for (const li of elements.files.children) said[li.children[0].textContent] = li.className;
  elements.files.children[1].children[0].listeners.click();
  said["shown"] = elements.verdict.textContent;
  drop(file("signed.txt", "aa"));
  while (elements.verdict.textContent !== "Signed by bank.example") await settled();
  said["list is hidden for one"] = String(elements.list.hidden);
  console.log(JSON.stringify(said));
})();`
	out, err := exec.CommandContext(t.Context(), node, "-e", script).CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	got := make(map[string]string)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]string{
		"summary":                            "1 of 3 files are NOT signed, of 1 nothing is known, 1 signed.",
		"signed.txt: Signed by bank.example": "signed", "forged.dll: Not signed": "unsigned",
		"folder: The file could not be read": "unsure", "shown": "Not signed", "list is hidden for one": "true",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
