package dedupe

import (
	"math/bits"
	"math/rand/v2"
	"testing"
)

// The first word is SipHash-1-3. CPython hashes bytes with it, so it can be asked for answers:
// PYTHONHASHSEED=0 (an all-zero key) python3.11 -c 'print(hex(hash(bytes(range(32)))))'
func TestMixIsSipHash13(t *testing.T) {
	counting, ones := make([]byte, HashSize), make([]byte, HashSize)
	for i := range counting {
		counting[i], ones[i] = byte(i), 0xff
	}
	for _, c := range []struct {
		hash []byte
		want uint64
	}{{counting, 0x31ef8061c910629b}, {ones, 0x0914d6b87f7d5adf}} {
		if got := newMixer([16]byte{}).mix(c.hash).a; got != c.want {
			t.Errorf("mix(%x) = %#x, want %#x", c.hash, got, c.want)
		}
	}
}

// Every bit of hash and key changes about half of the bits of both words.
func TestMixAvalanche(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var worst [2]int
	for bit := range (HashSize + 16) * 8 {
		var changed [2]int
		const rounds = 64
		for range rounds {
			var in [HashSize + 16]byte
			for i := range in {
				in[i] = byte(rnd.Uint32())
			}
			before := newMixer([16]byte(in[HashSize:])).mix(in[:HashSize])
			in[bit/8] ^= 1 << (bit % 8)
			after := newMixer([16]byte(in[HashSize:])).mix(in[:HashSize])
			changed[0] += bits.OnesCount64(before.a ^ after.a)
			changed[1] += bits.OnesCount64(before.b ^ after.b)
		}
		for i, n := range changed {
			worst[i] = max(worst[i], abs(n-32*rounds))
		}
	}
	// The deviation of 4096 fair bits is 32: ten of them never happen by chance.
	for i, w := range worst {
		if w > 320 {
			t.Errorf("word %d: a flipped bit of the input changed %d bits too many or too few", i, w)
		}
	}
}

func abs(n int) int { return max(n, -n) }
