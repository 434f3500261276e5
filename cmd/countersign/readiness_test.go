package main

// Readiness tells the truth: while a part can't do its work /readyz says which one and why, and when it can again, so
// does /readyz. How long that took is in the test's log (-v); the bounds that the checks have are in docs/operating.md.

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/pipeline/log/embedded"
)

// admin returns what the admin listener says.
func (n *node) admin(path string) (int, string) {
	n.t.Helper()
	r, err := oneByOne().Get("http://" + n.Admin + path)
	must(n.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(n.t, err)
	return r.StatusCode, string(text)
}

// saysUnready returns what readiness says of a check when it names it.
func (n *node) saysUnready(check string) (reason string) {
	n.t.Helper()
	n.untilReadiness(http.StatusServiceUnavailable, func(text string) bool {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, check+": ") {
				reason = line
				return true
			}
		}
		return false
	})
	if _, text := n.admin("/metrics"); !strings.Contains(text, `countersign_ready{check="`+check+`"} 0`) {
		n.t.Errorf("no metric says that check %s fails", check)
	}
	return reason
}

// saysReady returns when readiness has no reason left.
func (n *node) saysReady() {
	n.t.Helper()
	n.untilReadiness(http.StatusOK, func(text string) bool { return text == "ready\n" })
	_, text := n.admin("/metrics")
	if regexp.MustCompile(`(?m)^countersign_ready\{.*\} 0$`).MatchString(text) {
		n.t.Errorf("a metric says that a check fails:\n%s", text)
	}
}

func (n *node) untilReadiness(want int, enough func(text string) bool) {
	n.t.Helper()
	begun, last := time.Now(), ""
	for {
		status, text := n.admin("/readyz")
		if status == want && enough(text) {
			n.t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), strings.TrimSpace(text))
			return
		}
		if text != last {
			n.t.Logf("after %s, still: %s", time.Since(begun).Round(time.Millisecond), strings.TrimSpace(text))
			last = text
		}
		if err := n.Alive(); err != nil || time.Since(begun) > patience {
			n.t.Fatalf("readiness is %d %q, %v", status, text, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestNotReadyWithoutTheFolderOfCertificates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sites")
	must(t, os.Mkdir(dir, 0o700))
	n := start(t, append(newWorld(t).args(), "--data-dir", t.TempDir(), "--cert-dir", dir)...)
	n.saysReady()
	must(t, os.Remove(dir))
	if reason := n.saysUnready("certificates"); !strings.Contains(reason, dir) {
		t.Errorf("the reason doesn't name the folder %s: %s", dir, reason)
	}
	n.says(`msg="not ready" check=certificates`)
	must(t, os.Mkdir(dir, 0o700))
	n.saysReady()
	n.stop()
}

func TestNotReadyWhileKafkaIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config := embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0"}
	broker, err := embedded.Start(t.Context(), config)
	must(t, err)
	config.Address = broker.Brokers()[0]
	n := start(t, append(w.args(), "--data-dir", t.TempDir(), "--kafka", config.Address, "--kafka-replication", "1")...)
	n.saysReady()
	must(t, broker.Close())
	n.saysUnready("log")

	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) { // somebody's connection may have its port
		if broker, err = embedded.Start(t.Context(), config); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer func() { must(t, broker.Close()) }()
	n.saysReady()
	n.stop()
}

// Before the board is there and while the process stops, readiness says so.
func TestNotReadyAtTheEnds(t *testing.T) {
	p := new(process)
	if got := p.notReady(); !slices.Equal(got, []string{"starting"}) || p.failing("log") != nil {
		t.Errorf("%q, %v", got, p.failing("log"))
	}
	for want, err := range map[string]error{
		"stopping": nil,
		"stopping, because a part failed: fsync x: broken fsync y: broken": errors.New("fsync x: broken\nfsync y: broken"),
	} {
		if p.beginStop(err); !slices.Equal(p.notReady(), []string{want}) {
			t.Errorf("%q, want %q", p.notReady(), want)
		}
	}
}

func TestMetricsAreThoseOfTheManual(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.site("bank.example", p256)
	n := start(t, append(w.args(), "--data-dir", t.TempDir())...)
	// A metric with labels shows when it was counted for the first time: this request has a look at the site, and a
	// signature that is refused; the second one is a problem.
	for _, hash := range []string{strings.Repeat("a", 64), "none"} {
		r, err := oneByOne().Get("http://" + n.API + "/api/v1/sign/bank.example?sig=AAAA&hash=" + hash)
		must(t, err)
		must(t, r.Body.Close())
	}
	_, text := n.admin("/metrics")
	line := regexp.MustCompile(`(?m)^countersign_build_info\{commit="[^"]+",engine="[^"]+",go="go1[^"]+",version="[^"]+"\} 1$`)
	if !line.MatchString(text) {
		t.Errorf("no line like %s in\n%s", line, text)
	}
	checkMetrics(t, text)
	n.stop()
}
