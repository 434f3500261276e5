package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// newPool has good pairs and bad ones of a kind of key.
func newPool(t *testing.T, name string, good, bad int) *pool {
	t.Helper()
	a, err := findAlgorithm(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPool(t.TempDir(), a, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ensure(context.Background(), good, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.ensureBad(context.Background(), bad); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pool) cache() string { return strings.TrimSuffix(p.dir, "/"+poolFormat+"/"+p.name+"-0") }

// sent is a body's pairs as a JSON parser sees them.
func sent(t interface{ Fatal(...any) }, b *body) [][2]string {
	var wire bytes.Buffer
	n, err := b.WriteTo(&wire)
	if err != nil || n != b.size() || n != int64(wire.Len()) {
		t.Fatal("sent ", n, " bytes of ", b.size(), ": ", err)
	}
	var pairs [][2]string
	if err := json.Unmarshal(wire.Bytes(), &pairs); err != nil {
		t.Fatal(err)
	}
	if len(pairs) != b.want.pairs() {
		t.Fatal(len(pairs), " pairs, want ", b.want.pairs())
	}
	return pairs
}

// countVerified counts pairs as the service must.
func countVerified(t interface{ Fatal(...any) }, p *pool, pairs [][2]string, seen map[string]bool) counts {
	verify, err := goVerifier(p.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var c counts
	for _, pair := range pairs {
		signature, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(pair[1]))
		if err != nil {
			t.Fatal(err)
		}
		valid := []bool{false}
		verify(valid, [][32]byte{sha256.Sum256([]byte(pair[0]))}, [][]byte{signature})
		switch {
		case !valid[0]:
			c.Bad++
		case seen[pair[0]]:
			c.Duplicate++
		default:
			c.OK++
		}
		if valid[0] {
			seen[pair[0]] = true
		}
	}
	return c
}

func TestBodiesHoldWhatTheyPromise(t *testing.T) {
	for _, a := range algorithms() {
		p := newPool(t, a.name, 300, 0)
		seen := make(map[string]bool)
		for range 2 {
			b, err := p.unsent(100)
			if err != nil {
				t.Fatal(err)
			}
			if got := countVerified(t, p, sent(t, b), seen); got != b.want {
				t.Errorf("%s: %+v, want %+v", a.name, got, b.want)
			}
			again := b.again()
			if got := countVerified(t, p, sent(t, again), seen); got != again.want || got.Duplicate != 100 {
				t.Errorf("%s again: %+v, want %+v", a.name, got, again.want)
			}
		}
	}
}

func TestMixedBodiesHoldTheirShares(t *testing.T) {
	p := newPool(t, "p256", 3000, 40)
	rapid.Check(t, func(t *rapid.T) {
		p.rewind()
		seen := make(map[string]bool)
		known, err := p.unsent(rapid.IntRange(1, 100).Draw(t, "known"))
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range sent(t, known) {
			seen[pair[0]] = true
		}
		m := mix{known: known.want.OK, bad: rapid.Float64Range(0, 0.5).Draw(t, "bad"), duplicate: rapid.Float64Range(0, 0.5).Draw(t, "duplicate")}
		n := rapid.IntRange(1, 1500).Draw(t, "pairs")
		b, err := p.mixed(n, m)
		if err != nil {
			t.Fatal(err)
		}
		if b.want.Bad != int(m.bad*float64(n)) || b.want.Duplicate != int(m.duplicate*float64(n)) || b.want.pairs() != n {
			t.Fatalf("of %d pairs: %+v", n, b.want)
		}
		// Verifying all would take minutes: a hash that is known is a duplicate, one of a file's is what the file is.
		var got counts
		bad := make(map[string]bool)
		for i := range p.bad {
			bad[hexText(p.hash("bad", i))] = true
		}
		for _, pair := range sent(t, b) {
			switch {
			case bad[pair[0]]:
				got.Bad++
			case seen[pair[0]]:
				got.Duplicate++
			default:
				got.OK, seen[pair[0]] = got.OK+1, true
			}
		}
		if got != b.want {
			t.Fatalf("%+v, want %+v", got, b.want)
		}
	})
	b, err := p.mixed(200, mix{bad: 0.2})
	if err != nil {
		t.Fatal(err)
	}
	if got := countVerified(t, p, sent(t, b), make(map[string]bool)); got != b.want {
		t.Errorf("verified: %+v, want %+v", got, b.want)
	}
}

func TestPoolsLast(t *testing.T) {
	p := newPool(t, "rsa2048", 30, 0)
	first, err := p.texts(0, 30)
	if err != nil {
		t.Fatal(err)
	}
	// A session that was killed leaves half a pair behind.
	f, err := os.OpenFile(p.path("good"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`,["cut off`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	again, err := openPool(p.cache(), p.algorithm, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.ensure(context.Background(), 40, nil); err != nil {
		t.Fatal(err)
	}
	second, err := again.texts(0, 40)
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		if !bytes.Equal(first[i].hash, second[i].hash) || !bytes.Equal(first[i].signature, second[i].signature) {
			t.Fatalf("pair %d changed", i)
		}
	}
	verify, err := ourVerifier(again.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pairs, err := again.read(0, 40)
	if err != nil {
		t.Fatal(err)
	}
	valid := make([]bool, 40)
	verify(valid, pairs.digests, pairs.signatures)
	for i, ok := range valid {
		if !ok {
			t.Errorf("pair %d is not valid", i)
		}
	}
}

func TestNobodyGetsAPairTwice(t *testing.T) {
	p := newPool(t, "p256", 10, 0)
	if first, err := p.reserve(6); err != nil || first != 0 {
		t.Errorf("%d, %v", first, err)
	}
	if _, err := p.reserve(5); !errors.Is(err, errUsedUp) {
		t.Errorf("five of four: %v, want %v", err, errUsedUp)
	}
	if first, err := p.reserve(4); err != nil || first != 6 || p.left() != 0 {
		t.Errorf("%d, %v", first, err)
	}
	if err := p.remember(); err != nil {
		t.Fatal(err)
	}
	again, err := openPool(p.cache(), p.algorithm, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.reserve(1); !errors.Is(err, errUsedUp) {
		t.Errorf("a pair that a running service knows: %v, want %v", err, errUsedUp)
	}
}

func TestPoolsHaveALimit(t *testing.T) {
	p := newPool(t, "p256", 1, 0)
	err := p.ensure(context.Background(), p.limit+1, nil)
	if err == nil || !strings.Contains(err.Error(), "--data-limit") {
		t.Errorf("%v, want a refusal with the remedy", err)
	}
}

func TestDamagedPairsAreNotSent(t *testing.T) {
	for _, bad := range []string{"", strings.Repeat(" ", 168), `,["abc","def"]`} {
		if _, err := getPair([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
