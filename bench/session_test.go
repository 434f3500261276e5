package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// quickSession runs a session against the stand-in, without openssl, which takes seconds.
func quickSession(t *testing.T, change func(*Config)) (*Report, string, error) {
	t.Helper()
	t.Setenv(fakeMode, "serves")
	t.Setenv("PATH", "")
	c := Default()
	c.Quick, c.Cache, c.Pairs = true, t.TempDir(), 300
	c.Duration = 300 * time.Millisecond
	var out bytes.Buffer
	c.Out = &out
	c.Binary = os.Args[0]
	change(&c)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := Run(ctx, c)
	return r, out.String(), err
}

func TestSessionMeasuresEveryFigure(t *testing.T) {
	var cache string
	r, out, err := quickSession(t, func(c *Config) {
		// The attacks need sites on the network, which the stand-in doesn't look for.
		c.Run = []string{"bare", "uploads", "singles", "gain", "memory", "sustained"}
		cache = c.Cache
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		"bare.rsa2048.go", "bare.rsa2048.ours", "bare.rsa2048.over-go", "bare.p256.ours",
		"upload.rsa2048.time", "upload.rsa2048.reply", "upload.rsa2048.over-go", "upload.rsa2048.again-ratio", "upload.p256.time",
		"single.median", "single.p99", "single.32", "single.64", "gain.over-one", "gain.over-64",
		"memory.idle", "memory.eight", "sustained.rate", "sustained.memory-most", "sustained.memory-slope", "sustained.generator",
	} {
		f := r.Find(id)
		if f == nil || f.Missing != "" || f.N == 0 {
			t.Errorf("%s: %+v, want a value", id, f)
		}
	}
	for _, f := range r.Figures {
		for _, id := range f.Beside {
			if r.Find(id) == nil {
				t.Errorf("%s stands beside %s, which is not in the report", f.ID, id)
			}
		}
	}
	for _, want := range []string{"ours over Go's crypto", "report.json", "report.html", "quick session"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if left, err := os.ReadDir(filepath.Join(cache, "work")); err != nil || len(left) > 0 {
		t.Errorf("the services left %v, %v", left, err)
	}
}

func TestWithoutOpenSSLFiguresAreMissingNotInvented(t *testing.T) {
	r, out, err := quickSession(t, func(c *Config) { c.Run = []string{"bare", "uploads"} })
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"bare.rsa2048.openssl", "bare.rsa2048.over-openssl", "upload.p256.over-openssl"} {
		f := r.Find(id)
		if f == nil || !strings.Contains(f.Missing, "apt-get install openssl") || f.N != 0 || f.Verdict() != "" {
			t.Errorf("%s: %+v, want it missing, with the remedy", id, f)
		}
	}
	if !strings.Contains(out, "missing") {
		t.Errorf("the table doesn't say so:\n%s", out)
	}
}

func TestReportIsWritten(t *testing.T) {
	var cache string
	_, _, err := quickSession(t, func(c *Config) { c.Run, cache = []string{"singles"}, c.Cache })
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(cache, "results", "*", "report.json"))
	if len(files) != 1 {
		t.Fatalf("reports: %v", files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Machine struct{ Cores int }
		Figures []struct {
			ID     string
			Median float64
			Target *struct{ Want float64 }
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.Machine.Cores < 1 || len(report.Figures) < 5 || report.Figures[3].ID != "single.median" || report.Figures[3].Target.Want != 30 {
		t.Errorf("the JSON file has %+v", report)
	}
}

func TestMixedLoadInBothLoops(t *testing.T) {
	for name, rate := range map[string]float64{"closed": 0, "open": 20} {
		t.Run(name, func(t *testing.T) {
			r, _, err := quickSession(t, func(c *Config) {
				c.Run, c.Rate = []string{"load"}, rate
				c.Algorithms, c.Sites, c.Bad, c.Duplicates = "rsa2048=2,p256", 2, 0.1, 0.25
			})
			if err != nil {
				t.Fatal(err) // every upload's counts were checked
			}
			if f := r.Find("load.latency-p99"); f == nil || f.N == 0 {
				t.Errorf("latency: %+v", f)
			}
			if f := r.Find("load.uploads"); rate > 0 && (f == nil || f.Median != 6) {
				t.Errorf("20 uploads a second for 0.3 s: %+v, want 6", f)
			}
		})
	}
}

func TestTwoProgramsInTurns(t *testing.T) {
	r, out, err := quickSession(t, func(c *Config) {
		c.Against = os.Args[0]
		c.Notes = []string{"base is the first, 100 %"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "base is the first, 100 %") {
		t.Errorf("the note is missing in:\n%s", out)
	}
	for _, id := range []string{"compare.rsa2048.time.base", "compare.rsa2048.time.ratio", "compare.p256.single.ratio"} {
		if f := r.Find(id); f == nil || f.N != 1 {
			t.Errorf("%s: %+v", id, f)
		}
	}
}

func TestRunningServiceIsMeasuredTwice(t *testing.T) {
	// The second session must not send what the first one sent: the service remembers it.
	t.Setenv(fakeMode, "serves")
	cache := t.TempDir()
	service, err := startPrivate(context.Background(), privateConfig{binary: os.Args[0], certs: filepath.Join(cache, "certs"), parent: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer service.stop()
	for range 2 {
		_, _, err := quickSession(t, func(c *Config) {
			c.Binary, c.Cache, c.URL, c.Admin, c.Run = "", cache, service.base.String(), service.admin, []string{"uploads", "singles"}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := service.alive(); err != nil {
		t.Error(err)
	}
}

func TestSessionFailsWithWhatTheServiceSaid(t *testing.T) {
	_, _, err := quickSession(t, func(c *Config) {
		t.Setenv(fakeMode, "fails")
		c.Run = []string{"uploads"}
	})
	if err == nil || !strings.Contains(err.Error(), "no room left") || !strings.Contains(err.Error(), "services.log") {
		t.Errorf("error %v, want the service's last words and where its log is", err)
	}
}

func TestOnlyOneSessionAtATime(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockCache(dir); err == nil || !strings.Contains(err.Error(), "--cache") {
		t.Errorf("a second session: %v, want a refusal with the remedy", err)
	}
	unlock()
	again, err := lockCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestConfigReportsEveryProblem(t *testing.T) {
	c := Default()
	c.Run, c.Algorithms, c.Bad, c.Duplicates, c.Rounds, c.Against = []string{"nap"}, "rsa2048,dsa", 0.7, 0.7, 0, "no/such/file"
	err := c.check()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"--run nap", "dsa", "--bad", "--rounds", "no/such/file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not mentioned in:\n%v", want, err)
		}
	}
	c = Default()
	c.URL, c.Run = "http://127.0.0.1:1", []string{"memory"}
	if err := c.check(); err == nil || !strings.Contains(err.Error(), "leave --url out") {
		t.Errorf("memory of a running service: %v", err)
	}
	c = Default()
	if err := c.check(); err != nil {
		t.Error(err)
	}
}
