package bench

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"countersign/testsite"
)

// serveFake has the stand-in serve in this process, for a pool's site.
func serveFake(t *testing.T, p *pool) (*fakeService, *server) {
	t.Helper()
	f := newFake(t.TempDir())
	verify, err := goVerifier(p.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	f.keys[p.site] = verify
	http := httptest.NewServer(f.handler())
	t.Cleanup(http.Close)
	base, err := url.Parse(http.URL)
	if err != nil {
		t.Fatal(err)
	}
	return f, &server{base: base}
}

func TestUploadReturnsWhenTheLastResultIsThere(t *testing.T) {
	p := newPool(t, "p256", 20, 0)
	f, s := serveFake(t, p)
	f.refuse = 2
	c := s.dial()
	defer c.close()
	b, err := p.unsent(20)
	if err != nil {
		t.Fatal(err)
	}
	u, err := c.upload(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	if u.refused != 2 || u.replied <= 0 || u.done < u.replied || f.polls != 2 {
		t.Errorf("%+v after %d polls", u, f.polls)
	}
	if _, err := c.upload(context.Background(), b.again()); err != nil {
		t.Error(err)
	}
}

func TestWrongCountsAreAnErrorAndNoFigure(t *testing.T) {
	p := newPool(t, "p256", 20, 0)
	f, s := serveFake(t, p)
	f.skew = 1
	c := s.dial()
	defer c.close()
	b, err := p.unsent(20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.upload(context.Background(), b); err == nil || !strings.Contains(err.Error(), "OK:21") {
		t.Errorf("%v, want an error with both counts", err)
	}
	f.skew = 0
	pairs, err := p.texts(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sign(context.Background(), s, p.site, pairs, 1); err == nil || !strings.Contains(err.Error(), "duplicate") {
		t.Errorf("a single signing of a known pair: %v", err)
	}
}

func TestRefusalsSayWhatTheServiceSaid(t *testing.T) {
	answer := func(status int, text string) *server {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			w.Write([]byte(text))
		}))
		t.Cleanup(h.Close)
		base, _ := url.Parse(h.URL)
		return &server{base: base}
	}
	p := newPool(t, "p256", 1, 0)
	b, err := p.unsent(1)
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*server{
		"element 7":    answer(400, `{"title":"Bad","detail":"element 7"}`),
		"has no UUID":  answer(200, `{}`),
		"proxy's page": answer(502, `proxy's page`),
	} {
		c := s.dial()
		defer c.close()
		if _, err := c.upload(context.Background(), b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	nobody := &server{base: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}
	c := nobody.dial()
	if _, err := c.upload(context.Background(), b); err == nil || !strings.Contains(err.Error(), "is the service running") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestEndOfContextEndsAnUpload(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer h.Close()
	base, _ := url.Parse(h.URL)
	c := (&server{base: base}).dial()
	defer c.close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := c.get(ctx, "/"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestClosedLoopStopsAtItsCount(t *testing.T) {
	p := newPool(t, "p256", 100, 0)
	_, s := serveFake(t, p)
	l, err := load{workers: 3, count: 7}.run(context.Background(), s, func() (*body, error) { return p.unsent(10) })
	if err != nil || len(l.uploads) != 7 || l.pairs() != 70 || l.short {
		t.Errorf("%d uploads, %d pairs, short %t: %v", len(l.uploads), l.pairs(), l.short, err)
	}
	l, err = load{workers: 3, count: 7}.run(context.Background(), s, func() (*body, error) { return p.unsent(10) })
	if err != nil || len(l.uploads) != 3 || !l.short {
		t.Errorf("with pairs for three: %d uploads, short %t: %v", len(l.uploads), l.short, err)
	}
	if _, err = (load{workers: 1, count: 1}).run(context.Background(), s, func() (*body, error) { return p.unsent(10) }); !errors.Is(err, errUsedUp) {
		t.Errorf("with none: %v", err)
	}
	if _, err = (load{workers: 1}).run(context.Background(), s, nil); err == nil {
		t.Error("a load without end is accepted")
	}
}

func TestOpenLoopCountsFromTheIntendedStart(t *testing.T) {
	// Each upload takes 30 ms and arrives every 10 ms, one at a time: the sixth is 100 ms late before it begins.
	synctest.Test(t, func(t *testing.T) {
		const each = 30 * time.Millisecond
		start := time.Now()
		l := load{workers: 1, rate: 100, count: 6}
		result, err := l.drive(context.Background(), func() (*body, error) { return &body{}, nil }, func(context.Context, *body) (uploaded, error) {
			time.Sleep(each)
			return uploaded{done: each}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, u := range result.uploads {
			want := time.Duration(i+1)*each - time.Duration(i)*10*time.Millisecond
			if u.latency() != want {
				t.Errorf("upload %d: %s, want %s", i, u.latency(), want)
			}
		}
		if took := time.Since(start); took != 6*each {
			t.Errorf("took %s", took)
		}
	})
}

func TestRateIsThatOfTheLoadsTime(t *testing.T) {
	of := func(ends ...time.Duration) (l loaded) {
		for _, end := range ends {
			l.uploads = append(l.uploads, finished{end: end, want: counts{OK: 100}})
		}
		l.took = ends[len(ends)-1]
		return l
	}
	l := of(time.Second, 2*time.Second, 4*time.Second)
	if got := l.rate(); got != 75 {
		t.Errorf("a number of uploads: %v, want all over all the time", got)
	}
	if l.during = 2 * time.Second; l.rate() != 100 {
		t.Errorf("a time: %v, want what was done in it", l.rate())
	}
	if l.during = time.Second / 2; l.rate() != 75 {
		t.Errorf("a time in which nothing was done: %v", l.rate())
	}
}

func TestPrivateServiceIsStoppedAndRemoved(t *testing.T) {
	t.Setenv(fakeMode, "serves")
	parent := t.TempDir()
	s, err := startPrivate(context.Background(), privateConfig{binary: os.Args[0], certs: t.TempDir(), parent: parent})
	if err != nil {
		t.Fatal(err)
	}
	own, _, err := s.resident(context.Background())
	if err != nil || own < 1 {
		t.Errorf("resident memory %v MiB, %v", own, err)
	}
	if err := s.alive(); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if err := s.alive(); err == nil {
		t.Error("it is alive after stop")
	}
	if left, _ := filepath.Glob(filepath.Join(parent, "*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestStartGivesUpWithTheContext(t *testing.T) {
	t.Setenv(fakeMode, "serves")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	parent := t.TempDir()
	if s, err := startPrivate(ctx, privateConfig{binary: os.Args[0], certs: t.TempDir(), parent: parent}); err == nil {
		s.stop() // it was quicker
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(parent, "*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestSitesOfPoolsCanBeCertified(t *testing.T) {
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{Config: Config{Cache: t.TempDir(), DataLimit: 1 << 20}, ca: ca, pools: make(map[string]*pool)}
	if err := os.Mkdir(s.certs(), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range algorithms() {
		p, err := s.pool(a, 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(s.certs(), p.site+".pem")); err != nil {
			t.Error(err)
		}
	}
}
