package server

// Refusals reach the clients that people use, over plain HTTP and over TLS. Clients that this machine lacks are left
// out.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// usualClients are programs that take a number of MiB and addresses, post so much to each, and print the status and
// Retry-After of each way in which they did.
var usualClients = []struct {
	program, file string
	ways          int
	source        string
}{
	{"python3", "post.py", 3, `
import http.client, ssl, sys, urllib.error, urllib.parse, urllib.request
mib = int(sys.argv[1])
trusting = ssl._create_unverified_context()
def body():
    for _ in range(mib): yield b" " * (1 << 20)
def connect(there):
    if there.scheme == "https": return http.client.HTTPSConnection(there.netloc, context=trusting)
    return http.client.HTTPConnection(there.netloc)
def say(reply): print(reply.status, reply.headers.get("Retry-After"))
for url in sys.argv[2:]:
    there = urllib.parse.urlsplit(url)
    c = connect(there)
    c.request("POST", there.path, body=body(), headers={"Content-Length": str(mib << 20)})
    say(c.getresponse())
    c = connect(there)
    c.request("POST", there.path, body=body(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    say(c.getresponse())
    try: urllib.request.urlopen(urllib.request.Request(url, data=b" " * (mib << 20)), context=trusting)
    except urllib.error.HTTPError as e: say(e)
`},
	{"node", "post.mjs", 2, `
const [mib, ...urls] = process.argv.slice(2);
const piece = new Uint8Array(1 << 20).fill(32);
for (const url of urls) for (const body of [() => new Uint8Array(mib << 20), () => {
  let n = 0;
  return new ReadableStream({ pull(c) { if (n++ < +mib) c.enqueue(piece); else c.close(); } });
}]) {
  const r = await fetch(url, { method: "POST", body: body(), duplex: "half" });
  console.log(r.status, r.headers.get("retry-after"));
}
`},
	{"java", "Post.java", 2, `
import java.io.*; import java.net.*; import java.net.http.*; import java.security.cert.*; import javax.net.ssl.*;
public class Post {
  public static void main(String[] args) throws Exception {
    byte[] body = new byte[Integer.parseInt(args[0]) << 20];
    SSLContext trusting = SSLContext.getInstance("TLS");
    trusting.init(null, new TrustManager[] {new X509ExtendedTrustManager() {
      public void checkClientTrusted(X509Certificate[] c, String a) {}
      public void checkServerTrusted(X509Certificate[] c, String a) {}
      public void checkClientTrusted(X509Certificate[] c, String a, Socket s) {}
      public void checkServerTrusted(X509Certificate[] c, String a, Socket s) {}
      public void checkClientTrusted(X509Certificate[] c, String a, SSLEngine e) {}
      public void checkServerTrusted(X509Certificate[] c, String a, SSLEngine e) {}
      public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }}, null);
    HttpClient client = HttpClient.newBuilder().sslContext(trusting).build();
    for (int i = 1; i < args.length; i++) for (HttpRequest.BodyPublisher b : new HttpRequest.BodyPublisher[] {
        HttpRequest.BodyPublishers.ofByteArray(body),
        HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))}) {
      HttpResponse<String> r = client.send(HttpRequest.newBuilder(URI.create(args[i])).POST(b).build(),
          HttpResponse.BodyHandlers.ofString());
      System.out.println(r.statusCode() + " " + r.headers().firstValue("retry-after").orElse(null));
    }
    System.exit(0);
  }
}
`},
}

func TestRefusalReachesTheUsualClients(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "x")
	plain := start(t, nil)
	secure := start(t, func(c *Config) { c.TLSCert, c.TLSKey = certFile, keyFile })
	secure.URL = "https://" + secure.Addr
	for _, h := range []*harness{plain, secure} {
		h.places <- struct{}{}
		h.places <- struct{}{}
	}
	for _, c := range usualClients {
		t.Run(c.program, func(t *testing.T) {
			program, err := exec.LookPath(c.program)
			if err != nil {
				t.Skip("not installed: " + c.program)
			}
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, []byte(c.source), 0o600); err != nil {
				t.Fatal(err)
			}
			run := exec.CommandContext(t.Context(), program, file, fmt.Sprint(longBody>>20), plain.URL+"/bodies/a", secure.URL+"/bodies/a")
			run.Env = append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0",
				"JAVA_TOOL_OPTIONS=-XX:TieredStopAtLevel=1 -Djdk.internal.httpclient.disableHostnameVerification")
			out, err := run.Output()
			if err != nil || string(out) != strings.Repeat("503 1\n", 2*c.ways) {
				t.Errorf("%v: %q, want a 503 each time", err, out)
			}
		})
	}
}
