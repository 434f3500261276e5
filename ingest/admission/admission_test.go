package admission

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNegativeBoundsAreRefused(t *testing.T) {
	_, err := New(Config{MaxUploads: -1, MaxWait: -time.Second, UnfoldFactor: -2})
	for _, name := range []string{"MaxUploads", "MaxWait", "UnfoldFactor"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v doesn't tell of %s", err, name)
		}
	}
	if _, err := New(Config{Random: bytes.NewReader(nil)}); !errors.Is(err, io.EOF) {
		t.Errorf("without a seed: %v", err)
	}
}

func TestUnfolding(t *testing.T) {
	a := newAdmission(t, Config{UnfoldSlack: 100, UnfoldFactor: 20})
	sent := int64(10)
	if n, err := io.Copy(io.Discard, a.Unfold(strings.NewReader(strings.Repeat("a", 300)), func() int64 { return sent })); n != 300 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	n, err := io.Copy(io.Discard, a.Unfold(strings.NewReader(strings.Repeat("a", 301)), func() int64 { return sent }))
	var much *UnfoldError
	if !errors.As(err, &much) || *much != (UnfoldError{Sent: 10, Limit: 300}) || n != 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	// The bound grows with what is sent.
	growing := a.Unfold(io.MultiReader(strings.NewReader(strings.Repeat("a", 300)), strings.NewReader("b")), func() int64 { return sent })
	if _, err := io.ReadFull(growing, make([]byte, 300)); err != nil {
		t.Error(err)
	}
	sent++
	if _, err := io.ReadFull(growing, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestRefusalsSayWhatPrograms(t *testing.T) {
	for _, c := range []struct {
		refusal       Refusal
		policy, limit string
	}{
		{Refusal{nameUploads, OverShare, 32, time.Second}, `"uploads";q=32;qu="concurrent-requests"`, `"uploads";r=0;t=1`},
		{Refusal{nameUndecided, Backlog, 20_000, 1500 * time.Millisecond}, `"undecided";q=20000;qu="records"`, `"undecided";r=0;t=2`},
	} {
		if c.refusal.PolicyField() != c.policy || c.refusal.LimitField() != c.limit {
			t.Errorf("%s, %s", c.refusal.PolicyField(), c.refusal.LimitField())
		}
	}
}

func TestMetricsTellWhatBoundsDo(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	a := newAdmission(t, Config{MaxUploads: 1, MaxWait: time.Nanosecond, Registerer: r})
	p, err := a.Uploads.Enter(t.Context(), Who{Client: client(1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Uploads.Enter(t.Context(), Who{Client: client(1)}); reasonOf(t, err) != Full {
		t.Fatal(err)
	}
	a.Ledger.Add(Who{client(1), site(1)}, 3)
	if _, err := a.Connections.Open(peer(1), nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"held/calls": 0, "held/connections": 1, "held/undecided": 3, "held/uploads": 1,
		"largest_holder/connections": 1, "largest_holder/undecided": 3, "largest_holder/uploads": 1,
		"total/uploads/granted": 1, "total/uploads/refused_full": 1, "total/uploads/refused_share": 0, "waiting/uploads": 0,
	} {
		if got, ok := gathered(t, r)[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	p.Release()
	if _, err := New(Config{Registerer: r}); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

// gathered is the counters and gauges of a registry, by the rest of their name and the values of their labels.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "countersign_ingest_admission_")
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	a := newAdmission(t, Config{MaxUploads: 1, MaxWait: time.Hour})
	p, err := a.Uploads.Enter(t.Context(), Who{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	stopping := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopping)
	if _, err := a.Uploads.Enter(ctx, Who{}); !errors.Is(err, stopping) {
		t.Error(err)
	}
}

func BenchmarkEnterAndRelease(b *testing.B) {
	a := newAdmission(b, Config{})
	for name, g := range map[string]*Gate{"bodies": a.Uploads, "calls": a.Calls} {
		b.Run(name, func(b *testing.B) {
			who := Who{client(1), "bank.example"}
			b.ReportAllocs()
			for b.Loop() {
				p, err := g.Enter(context.Background(), who)
				if err != nil {
					b.Fatal(err)
				}
				p.Release()
			}
		})
	}
}

func BenchmarkAwaitAndReceived(b *testing.B) {
	p, err := newAdmission(b, Config{}).Uploads.Enter(context.Background(), Who{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.Await()
		p.Received(4096)
	}
	p.Release()
}

func BenchmarkAdmit(b *testing.B) {
	l := newAdmission(b, Config{}).Ledger
	for i := range 5000 {
		l.Add(Who{client(i), site(i)}, 1)
	}
	for name, backlog := range map[string]int64{"quiet": 100, "over half": 15_000} {
		b.Run(name, func(b *testing.B) {
			who := Who{client(1), site(1)}
			for b.Loop() {
				_ = l.Admit(who, backlog)
			}
		})
	}
}

func BenchmarkClientOf(b *testing.B) {
	head := Forwarding{XForwardedFor: []string{"192.0.2.1, 10.0.0.2"}}
	for b.Loop() {
		_ = testProxies.ClientOf(peer(1), head)
	}
}

// BenchmarkReview is the dearest review: all places slow, the line full, every client with as many places as any other.
func BenchmarkReview(b *testing.B) {
	a := newAdmission(b, Config{MaxWait: time.Hour, CallGrace: time.Nanosecond})
	g := a.Calls
	for i := range 2048 {
		who := Who{client(i % 1024), site(i % 1024)}
		if i < 1024 {
			p, err := g.Enter(context.Background(), who)
			if err != nil {
				b.Fatal(err)
			}
			p.Await()
			defer p.Release()
			continue
		}
		g.mu.Lock()
		w := &waiter{who: who, decided: make(chan struct{})}
		w.client, w.domain = g.accounts(who)
		w.client.waiting++
		w.domain.waiting++
		g.waiting = append(g.waiting, w)
		g.mu.Unlock()
	}
	time.Sleep(time.Millisecond)
	for b.Loop() {
		g.mu.Lock()
		g.takeBack(g.elapsed())
		g.mu.Unlock()
	}
	g.mu.Lock()
	g.waiting = nil
	g.mu.Unlock()
}
