package signature

// Every implementation against the standard library: edges by table, shapes of
// batches, and fuzzing.

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"testing"
)

// rsaEdges are signatures at the edges for this key, by what they are; only
// "genuine" is valid for digest(1).
func rsaEdges(k *primeKey) map[string][]byte {
	size := k.Size()
	number := func(x *big.Int) []byte { // in size bytes, or more if it needs them
		return x.FillBytes(make([]byte, max(size, (x.BitLen()+7)/8)))
	}
	offset := func(x *big.Int, by int64) []byte { return number(new(big.Int).Add(x, big.NewInt(by))) }
	good := k.sign(k.encode(digest(1)))
	value := new(big.Int).SetBytes(good)
	zero := new(big.Int)
	top := new(big.Int).Lsh(big.NewInt(1), uint(k.N.BitLen()-1))
	edges := map[string][]byte{
		"genuine":                   good,
		"none":                      nil,
		"empty":                     {},
		"one byte":                  {1},
		"0":                         number(zero),
		"1":                         offset(zero, 1),
		"2":                         offset(zero, 2),
		"n-2":                       offset(k.N, -2),
		"n-1":                       offset(k.N, -1),
		"n":                         number(k.N),
		"n+1":                       offset(k.N, 1),
		"n+2":                       offset(k.N, 2),
		"2n":                        number(new(big.Int).Lsh(k.N, 1)),
		"all ones":                  bytes.Repeat([]byte{255}, size),
		"top bit":                   number(top),
		"below the top bit":         offset(top, -1),
		"plus n":                    number(new(big.Int).Add(value, k.N)),
		"minus":                     number(new(big.Int).Sub(k.N, value)),
		"plus 1":                    offset(value, 1),
		"first byte missing":        good[1:],
		"last byte missing":         good[:size-1],
		"zero before":               append([]byte{0}, good...),
		"zero after":                append(bytes.Clone(good), 0),
		"twice":                     append(bytes.Clone(good), good...),
		"another digest's":          k.sign(k.encode(digest(2))),
		"the encoded message":       k.encode(digest(1)),
		"a genuine value, long way": append(make([]byte, 600), good...),
	}
	for _, bit := range []int{0, 51, 52, 519, 520, 1040, 8*size - 1} {
		flipped := bytes.Clone(good)
		flipped[size-1-bit/8] ^= 1 << (bit % 8)
		edges[fmt.Sprintf("bit %d flipped", bit)] = flipped
	}
	return edges
}

// forgeries are genuine signatures of messages that are not encoded as RFC 8017 has it.
func forgeries(k *primeKey) map[string][]byte {
	encode := func(change func(em []byte)) []byte {
		em := k.encode(digest(1))
		change(em)
		return k.sign(em)
	}
	info := k.Size() - 32 - 19 // where the DigestInfo begins
	forged := map[string][]byte{
		"block type 0":     encode(func(em []byte) { em[1] = 0 }),
		"block type 2":     encode(func(em []byte) { em[1] = 2 }),
		"no separator":     encode(func(em []byte) { em[info-1] = 255 }),
		"early separator":  encode(func(em []byte) { em[info-2] = 0 }),
		"broken padding":   encode(func(em []byte) { em[2] = 254 }),
		"SHA-384":          encode(func(em []byte) { em[info+14] = 2 }),
		"no NULL":          encode(func(em []byte) { copy(em[info:], "\x30\x2f\x30\x0b"); em[info+15] = 4 }),
		"no DigestInfo":    encode(func(em []byte) { copy(em[info-1:], bytes.Repeat([]byte{255}, 19)); em[info+18] = 0 }),
		"only the digest":  encode(func(em []byte) { clear(em[:info+19]) }),
		"digest off by 1":  encode(func(em []byte) { em[len(em)-1] ^= 1 }),
		"digest's top bit": encode(func(em []byte) { em[len(em)-32] ^= 128 }),
		// Bleichenbacher's (2006): short padding, and room for a cube root behind the digest.
		"digest in the middle": encode(func(em []byte) { copy(em[11:], em[info-1:]); clear(em[63:]) }),
	}
	// A bit in each block of ten limbs, and at the ends of limbs.
	for bit := 0; bit < 8*k.Size()-16; bit += 519 {
		forged[fmt.Sprintf("message bit %d", bit)] = encode(func(em []byte) { em[len(em)-1-bit/8] ^= 1 << (bit % 8) })
	}
	return forged
}

func TestRSAEdges(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	for _, prime := range primeKeys {
		k := newPrimeKey(t, prime.bits, prime.offset)
		edges := rsaEdges(k)
		if prime.bits < 3072 || prime.offset < 0 {
			maps.Copy(edges, forgeries(k))
		}
		everyWay(t, func(t *testing.T, use features) {
			key := mustKey(t, &k.PublicKey, use)
			var names []string
			var digests [][32]byte
			var signatures [][]byte
			for name, sig := range edges { // in another order each time, so in other lanes
				names, digests, signatures = append(names, name), append(digests, digest(1)), append(signatures, sig)
			}
			for i, valid := range mustAgree(t, key, &k.PublicKey, digests, signatures) {
				if valid != (names[i] == "genuine") {
					t.Errorf("2^%d%+d: %q: verdict %v", prime.bits, prime.offset, names[i], valid)
				}
			}
		})
	}
}

// Digests at the edges: a digest is part of the encoded message, which is odd or even, small or large at its end.
func TestDigestEdges(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	ones := [32]byte(bytes.Repeat([]byte{255}, 32))
	everyWay(t, func(t *testing.T, use features) {
		for _, s := range signers(t) {
			digests := [][32]byte{{}, {31: 1}, ones, {0: 128}, {25: 15}, {25: 16}}
			var signatures [][]byte
			for _, d := range digests {
				signatures = append(signatures, s.sign(d))
			}
			for i, valid := range mustAgree(t, mustKey(t, s.pub, use), s.pub, digests, signatures) {
				if !valid {
					t.Errorf("%s: the signature of digest %x is called bad", s.name, digests[i])
				}
			}
		}
	})
}

// One bad among good and one good among bad, at every position of every batch of up to 33.
func TestEveryPositionOfEveryBatchLength(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	for _, s := range signers(t) {
		good, other := s.sign(digest(1)), s.sign(digest(2))
		bad := [][]byte{other, nil, bytes.Repeat([]byte{255}, len(good)), good[:len(good)-1]}
		test := func(t *testing.T, use features, longest int) {
			k := mustKey(t, s.pub, use)
			for length := range longest + 1 {
				for odd := range max(length, 1) {
					checkOdd(t, k, length, odd, good, bad[(length+odd)%len(bad)], true)
					checkOdd(t, k, length, odd, bad[(length+odd)%len(bad)], good, false)
				}
			}
		}
		t.Run(s.name+"/fast", func(t *testing.T) {
			needFast(t, s, detect(""))
			longest := 33
			if s.name == "P-384" {
				longest = 9 // slow; ecbatch's tests go further
			}
			test(t, detect(""), longest)
		})
		// The standard library verifies one by one: it is slow, and the length means nothing to it.
		t.Run(s.name+"/generic", func(t *testing.T) { test(t, features{}, 3) })
	}
}

// checkOdd verifies a batch of usual signatures with one that is different, where one of the two is good.
func checkOdd(t *testing.T, k *Key, length, odd int, usual, different []byte, usualGood bool) {
	t.Helper()
	digests := make([][32]byte, length)
	signatures := make([][]byte, length)
	for i := range length {
		digests[i], signatures[i] = digest(1), usual
	}
	if length > 0 {
		signatures[odd] = different
	}
	valid := make([]bool, length)
	k.Verify(valid, digests, signatures)
	for i, got := range valid {
		if want := usualGood == (i != odd); got != want {
			t.Fatalf("%d signatures, number %d differs: verdict on %d is %v", length, odd, i, got)
		}
	}
}

// FuzzVerify puts one hostile signature among genuine ones. With nearby set it
// differs from a genuine one only where mask has bits.
func FuzzVerify(f *testing.F) {
	type fuzzKey struct {
		signer
		good       []byte
		fast, slow *Key
	}
	var keys []fuzzKey
	for _, s := range signers(f) {
		if s.name == "P-521" {
			continue // crypto/ecdsa itself, and slow
		}
		keys = append(keys, fuzzKey{s, s.sign(digest(1)), mustKey(f, s.pub, detect("")), mustKey(f, s.pub, features{})})
	}
	for _, prime := range primeKeys {
		k := newPrimeKey(f, prime.bits, prime.offset)
		s := signer{"prime", &k.PublicKey, func(digest [32]byte) []byte { return k.sign(k.encode(digest)) }}
		keys = append(keys, fuzzKey{s, s.sign(digest(1)), mustKey(f, s.pub, detect("")), mustKey(f, s.pub, features{})})
	}
	for number, k := range keys {
		f.Add(uint8(number), uint8(number), true, []byte{}, []byte{})
		f.Add(uint8(number), uint8(number+3), true, []byte{0, 0, 1}, []byte{1})
		f.Add(uint8(number), uint8(number+7), false, k.good, []byte{})
		f.Add(uint8(number), uint8(number), false, bytes.Repeat([]byte{255}, len(k.good)), []byte{})
		if pub, ok := k.pub.(*rsa.PublicKey); ok {
			for off := int64(-2); off <= 2; off++ {
				f.Add(uint8(number), uint8(9), false, new(big.Int).Add(pub.N, big.NewInt(off)).Bytes(), []byte{})
			}
		}
	}
	f.Fuzz(func(t *testing.T, number, position uint8, nearby bool, mask, digestMask []byte) {
		k := keys[int(number)%len(keys)]
		hostile := mask
		if nearby {
			hostile = bytes.Clone(k.good)
			for i := range min(len(mask), len(hostile)) {
				hostile[i] ^= mask[i]
			}
		}
		const count = 9 // a full group of eight lanes, and one more
		digests := make([][32]byte, count)
		signatures := make([][]byte, count)
		for i := range count {
			digests[i], signatures[i] = digest(1), k.good
		}
		odd := int(position) % count
		signatures[odd] = hostile
		for i := range min(len(digestMask), 32) {
			digests[odd][i] ^= digestMask[i]
		}
		mustAgree(t, k.slow, k.pub, digests[odd:odd+1], signatures[odd:odd+1])
		mustAgree(t, k.fast, k.pub, digests[odd:odd+1], signatures[odd:odd+1])
		want := standard(k.pub, digests[odd], hostile)
		valid := make([]bool, count)
		k.fast.Verify(valid, digests, signatures)
		for i, got := range valid {
			if got != (i != odd || want) {
				t.Errorf("%s: position %d, hostile one at %d: verdict %v", k.name, i, odd, got)
			}
		}
	})
}

// Random batches: lengths, mixtures and near misses that no table has.
func TestRandomBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for _, s := range signers(t) {
		t.Run(s.name, func(t *testing.T) {
			needFast(t, s, detect(""))
			good := [][]byte{s.sign(digest(0)), s.sign(digest(1)), s.sign(digest(2))}
			k := mustKey(t, s.pub, detect(""))
			for range 4 {
				digests, signatures := randomBatch(rng, good)
				mustAgree(t, k, s.pub, digests, signatures)
			}
		})
	}
}

// randomBatch is up to 39 of the good signatures, where good[i] signs digest(i). Some have a bit flipped, some are
// random bytes.
func randomBatch(rng *rand.Rand, good [][]byte) (digests [][32]byte, signatures [][]byte) {
	for range rng.IntN(40) {
		which := rng.IntN(len(good))
		signature := bytes.Clone(good[which])
		switch rng.IntN(4) {
		case 0:
			signature[rng.IntN(len(signature))] ^= 1 << rng.IntN(8)
		case 1:
			for i := range signature {
				signature[i] = byte(rng.Uint32())
			}
		}
		digests, signatures = append(digests, digest(which)), append(signatures, signature)
	}
	return digests, signatures
}
