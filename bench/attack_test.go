package bench

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"countersign/testsite"
)

// honestUsage lets an honest user upload and sign once.
func honestUsage(t *testing.T, s *server, p *pool) usage {
	t.Helper()
	h := &honestUser{server: s, pool: p, pairs: 20, uploadEvery: time.Hour, signEvery: time.Hour, from: netip.MustParseAddr("127.0.0.1")}
	u, err := h.during(t.Context(), time.Millisecond)
	if err != nil || len(u.uploads) != 1 || len(u.signings) != 1 {
		t.Fatalf("%+v, %v, want an upload and a signing", u, err)
	}
	return u
}

func TestHonestUserGetsTheExactResult(t *testing.T) {
	p := newPool(t, "p256", 21, 0)
	f, s := serveFake(t, p)
	f.shared = 1
	u := honestUsage(t, s, p)
	for _, one := range u.all() {
		if one.wrong != nil || len(one.failures) > 0 || one.took <= 0 {
			t.Errorf("%+v, want a result and nothing else", one)
		}
	}
	if got := u.tally(); got != (honestTally{shared: 1}) {
		t.Errorf("%+v, want one answer with 429", got)
	}
	if took := u.signings[0].took; took < time.Second {
		t.Errorf("the signing that was asked to come again after a second took %s", took)
	}
}

func TestHonestUserSeesWrongResultsAndErrors(t *testing.T) {
	p := newPool(t, "p256", 42, 0)
	f, s := serveFake(t, p)
	f.skew = 1
	if got := honestUsage(t, s, p).tally(); got.wrong != 1 || !strings.Contains(got.first.Error(), `okHash\":21`) {
		t.Errorf("%+v, want one wrong result, with the counts", got)
	}
	// The contract gives every 503 a Retry-After.
	f.skew, f.refuse = 0, 1
	if got := honestUsage(t, s, p).tally(); got.failed != 1 || got.unanswered != 1 {
		t.Errorf("%+v, want one error and an upload without a result", got)
	}
}

func TestBoundsOfTheHonestUser(t *testing.T) {
	for _, c := range []struct {
		quiet, beside speed
		misses        int
	}{
		{speed{10, 20}, speed{60, 520}, 0}, // 50 ms more, and 500 ms more
		{speed{10, 20}, speed{61, 520}, 1},
		{speed{100, 200}, speed{200, 700}, 0}, // twice as much
		{speed{100, 200}, speed{201, 701}, 2},
	} {
		if misses := c.beside.exceeds(c.quiet, "uploads"); len(misses) != c.misses {
			t.Errorf("%+v beside a quiet %+v: %v, want %d misses", c.beside, c.quiet, misses, c.misses)
		}
	}
	if misses := speedOf(nil).exceeds(speed{1, 1}, "uploads"); len(misses) != 2 {
		t.Errorf("no results at all: %v, want both bounds missed", misses)
	}
}

func TestUndecidableSignaturesMeetThemselves(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		hash := randomHash()
		der, err := undecidable(key)(hash)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(hexText(hash)))
		if ecdsa.VerifyASN1(&key.PublicKey, digest[:], der) {
			t.Fatal("the signature is valid")
		}
		var signature struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &signature); err != nil {
			t.Fatal(err)
		}
		n := curve.Params().N
		inverse := new(big.Int).ModInverse(signature.S, n)
		u1 := new(big.Int).Mul(new(big.Int).SetBytes(digest[:]), inverse)
		u2 := new(big.Int).Mul(signature.R, inverse)
		u2.Mul(u2, key.D) //nolint:staticcheck // the number itself is what is asked for
		if u1.Mod(u1, n).Cmp(u2.Mod(u2, n)) != 0 {
			t.Errorf("%s: the two points are not the same", curve.Params().Name)
		}
	}
}

func TestBombsUnfoldToLists(t *testing.T) {
	const pairs, bound = 20_000, 20 // times what was sent: what the service lets a body unfold to
	hash := strings.Repeat("a", hashText)
	bombs, err := makeBombs(pairs, "away.example", "known.example", textPair{[]byte(hash), []byte("AAAA")})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range bombs {
		text := unfold(t, b)
		if !json.Valid(text) || int64(len(text)) != b.size {
			t.Errorf("bomb %d: %d bytes that begin with %.100q, want a list in %d", i, len(text), text, b.size)
		}
		if last := i == len(bombs)-1; (b.size > bound*b.wire) == last {
			t.Errorf("bomb %d: %d bytes unfold to %d", i, b.wire, b.size)
		}
	}
	if len(bombs) != 12 {
		t.Errorf("%d bombs", len(bombs))
	}
}

func unfold(t *testing.T, p *posted) []byte {
	t.Helper()
	var r io.Reader
	packed, w := io.Pipe()
	go func() {
		_, err := p.content().WriteTo(w)
		w.CloseWithError(err)
	}()
	var err error
	if p.coding == "gzip" {
		r, err = gzip.NewReader(packed)
	} else {
		var d *zstd.Decoder
		d, err = zstd.NewReader(packed, zstd.WithDecoderConcurrency(1))
		r = d
		defer d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSitesThatNeverAnswer(t *testing.T) {
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := newAttackSites(ca, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.addSilent(4); err != nil {
		t.Fatal(err)
	}
	if n := len(s.unreachable); n != 241 {
		t.Errorf("the name of the unreachable site has %d characters", n)
	}
	address := func(name string) string {
		for _, h := range s.hosts {
			if site, address, _ := strings.Cut(h, "="); site == name {
				return address
			}
		}
		t.Fatalf("%s leads nowhere", name)
		return ""
	}
	mute, err := net.Dial("tcp", address(s.silentNames[0]))
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is to come: a short wait can't make this fail on a busy machine.
	_ = mute.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := mute.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the silent site said %d bytes, %v", n, err)
	}
	if c, err := net.DialTimeout("tcp", address(s.silentNames[1]), 20*time.Millisecond); err == nil {
		c.Close()
		t.Error("the site that doesn't accept did")
	}
	if err := s.close(); err != nil { // with a connection open
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestPaceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := newPace(10), time.Now()
		for range 21 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("21 turns of 10 a second took %s", took)
		}
	})
}

func TestPacedPostsAreCounted(t *testing.T) {
	p := newPool(t, "p256", 1, 0)
	_, s := serveFake(t, p)
	f := &front{server: s, from: []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}}
	f.paced(t.Context(), 50, 1e6, 4, func(ctx context.Context, c *conn, _ int) {
		f.post(ctx, c, plain(p.site, []byte("[]"), func(got counts) bool { return got == counts{} }))
	})
	f.group.Wait()
	if f.uploads != 50 || f.answers() != "200: 50" || f.bytes != 100 || len(f.accepted) != keptAccepted || len(f.wrong) > 0 {
		t.Errorf("%d uploads with %d bytes, answers %s, %d kept, wrong %v", f.uploads, f.bytes, f.answers(), len(f.accepted), f.wrong)
	}
	if err := f.results(t.Context()); err != nil || len(f.wrong) > 0 {
		t.Errorf("results %v, wrong %v", err, f.wrong)
	}
}

func TestTableAsMarkdown(t *testing.T) {
	var out strings.Builder
	(&Table{Title: "a table", Head: []string{"beside", "ms"}, Rows: [][]string{{"8,192 bodies", "1"}, {"–", "2"}}}).markdown(&out)
	want := "\na table\n\n| beside       | ms |\n|---|---|\n| 8,192 bodies | 1 |\n| –            | 2 |\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
