package dedupe

import (
	"math"
	"math/rand/v2"
	"testing"
)

// fullLink is f of filter.go: how often a full link says maybe to a stranger.
func fullLink() float64 {
	const perBlock = blockBits / bitsPerHash
	f, poisson := 0.0, math.Exp(-perBlock)
	for j := range 200 {
		f += poisson * math.Pow(1-math.Pow(63.0/64, float64(j)), 8)
		poisson *= perBlock / float64(j+1)
	}
	return f
}

func TestFullLinkErrsAsStated(t *testing.T) {
	if f := fullLink(); f < 0.0008 || f > 0.0010 {
		t.Fatalf("the formula gives %.5f, the comment says 0.09 %%", f)
	}
}

// hashesFrom returns a source of hashes that differ between seeds.
func hashesFrom(seed uint64) func() []byte {
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	return func() []byte {
		h := make([]byte, HashSize)
		rnd.Read(h)
		return h
	}
}

// strangers is how often f says maybe to hashes it has never seen.
func strangers(f *filter, m mixer) float64 {
	const asked = 400_000
	next, maybe := hashesFrom(99), 0
	for range asked {
		if f.has(m.mix(next())) {
			maybe++
		}
	}
	return float64(maybe) / asked
}

// One link, filled to the brim: the measured rate is the stated one, give or take four standard deviations.
func TestFalsePositivesOfAFullLink(t *testing.T) {
	m := newMixer([16]byte{1})
	f := newFilter(0)
	next := hashesFrom(1)
	for range minLink {
		f.add(m.mix(next()))
	}
	if len(f.links) != 1 || f.links[0].room != 0 {
		t.Fatalf("%d links, room for %d", len(f.links), f.links[0].room)
	}
	got, want := strangers(&f, m), fullLink()
	t.Logf("false positives: %.5f, expected %.5f", got, want)
	if sigma := math.Sqrt(want / 400_000); math.Abs(got-want) > 4*sigma {
		t.Errorf("false positives: %.5f, want %.5f", got, want)
	}
}

// Three doublings: no member is missed, as many links as stated, the rate below links times f, memory below 4 bytes a
// hash.
func TestChainGrows(t *testing.T) {
	m := newMixer([16]byte{2})
	f := newFilter(0)
	const n = 8 * minLink
	next := hashesFrom(2)
	for i := range n {
		f.add(m.mix(next()))
		if i+1 > minLink && float64(f.bytes()) > 4.001*float64(i+1) {
			t.Fatalf("%d bytes for %d hashes", f.bytes(), i+1)
		}
	}
	next = hashesFrom(2)
	for i := range n {
		if !f.has(m.mix(next())) {
			t.Fatalf("hash %d was added and is not there", i)
		}
	}
	if len(f.links) != 4 {
		t.Errorf("%d links, want 4", len(f.links))
	}
	got := strangers(&f, m)
	t.Logf("%d links, %.1f bytes a hash, false positives %.5f", len(f.links), float64(f.bytes())/n, got)
	want := 4 * fullLink()
	if sigma := math.Sqrt(want / 400_000); got > want+4*sigma {
		t.Errorf("false positives: %.5f, want at most %.5f", got, want)
	}
	if got := float64(f.bytes()) / n; got < 2 || got > 2.001 {
		t.Errorf("%.2f bytes a hash in a full chain, want 2", got)
	}
}

// Hashes made for the filter of another key (all of one block of it) are spread like any others (I7).
func TestChosenHashesGainNothing(t *testing.T) {
	known, secret := newMixer([16]byte{3}), newMixer([16]byte{4})
	f := newFilter(0)
	next := hashesFrom(3)
	blocks := map[*block]int{}
	chosen := 0
	for chosen < 500 {
		h := next()
		if known.mix(h).a>>32*uint64(len(f.links[0].blocks))>>32 < 8 { // 8 blocks of 8192
			chosen++
			blocks[f.links[0].block(secret.mix(h))]++
		}
	}
	for _, n := range blocks {
		if n > 5 {
			t.Errorf("%d of 500 chosen hashes fell into one block of 8192", n)
		}
	}
}
