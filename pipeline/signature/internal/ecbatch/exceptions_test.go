package ecbatch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"testing"
)

// The cases in this file reach the exceptions of the addition formula: equal points, opposite points, infinity. They
// use what a hostile signer may use: the private key.

// forge makes a signature (valid, if e fits a digest) for the key d from u1 and u2: R = u1*G + u2*Q decides r, then s
// and e follow. It returns nil where R is infinity or e doesn't fit.
func forge(t *testing.T, curve elliptic.Curve, d, u1, u2 *big.Int) (digest [32]byte, signature []byte) {
	n := curve.Params().N
	k := new(big.Int).Mul(u2, d)
	k.Add(k, u1).Mod(k, n)
	if k.Sign() == 0 {
		return digest, nil
	}
	r, _ := curve.ScalarBaseMult(k.Bytes())
	r = new(big.Int).Mod(r, n)
	s := new(big.Int).Mul(r, new(big.Int).ModInverse(u2, n))
	s.Mod(s, n)
	e := new(big.Int).Mul(u1, s)
	if e.Mod(e, n).BitLen() > 256 {
		return digest, nil
	}
	return digestOf(e), encode(t, r, s)
}

// aim makes a signature, valid only by chance, that leads to u1 and u2, neither zero, on any curve: e is 1.
func aim(t *testing.T, curve elliptic.Curve, u1, u2 *big.Int) (digest [32]byte, signature []byte) {
	n := curve.Params().N
	s := new(big.Int).ModInverse(u1, n)
	r := new(big.Int).Mul(u2, s)
	return digestOf(number(1)), encode(t, r.Mod(r, n), s)
}

// Final sums that are a doubling (u1*G = u2*Q), infinity (u1*G = -u2*Q), and with u1 = 0.
func TestExceptionalSums(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		private := makePrivate(t, curve)
		n := curve.Params().N
		dInverse := new(big.Int).ModInverse(private.D, n)
		good := goodSample(t, private, 40)
		var s sample
		for i, digest := range good.digests {
			e := new(big.Int).SetBytes(digest[:])
			r := new(big.Int).Mul(e, dInverse)
			r.Mod(r, n)
			v := new(big.Int).Rsh(n, uint(i)+1)
			s.add(digest, encode(t, r, v))
			s.add(digest, encode(t, new(big.Int).Sub(n, r), v))
			s.add([32]byte{}, encode(t, r, v))
			s.add(digest, good.signatures[i])
			u := new(big.Int).SetBytes(digest[:])
			u.Mod(u, n)
			for _, v := range []*big.Int{u, new(big.Int).Sub(n, u)} {
				if digest, signature := forge(t, curve, private.D, v, new(big.Int).Mod(new(big.Int).Mul(u, dInverse), n)); signature != nil {
					s.add(digest, signature)
				}
			}
		}
		mustAgree(t, withTable(t, &private.PublicKey, ifma), s)
	})
}

// Keys that are small, or sparse, multiples of the generator: their tables share points with the generator's, so that
// partial sums collide in every round and lane. Good signatures in the same block stay good.
func TestCollidingTables(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		n := curve.Params().N
		one := number(1)
		multiples := []*big.Int{one, number(2), number(3), number(256)}
		for _, shift := range []uint{64, 128} {
			power := new(big.Int).Lsh(one, shift)
			// With equal digits, all of a lane's entries of the generator add up to the entry of such a key.
			sum := new(big.Int).Add(power, one)
			sum.Add(sum, new(big.Int).Lsh(power, shift))
			multiples = append(multiples, power, new(big.Int).Add(power, one), sum)
		}
		undecidedSeen := 0
		for _, d := range multiples {
			for _, d := range []*big.Int{new(big.Int).Mod(d, n), new(big.Int).Mod(new(big.Int).Neg(d), n)} {
				key := withTable(t, publicOf(curve, d), ifma)
				s := collidingSample(t, curve, d)
				mustAgree(t, key, s)
				undecidedSeen += countUndecided(key, s)
			}
		}
		if undecidedSeen < 20 {
			t.Errorf("only %d exceptional additions were met", undecidedSeen)
		}
	})
}

// collidingSample is signatures with repetitive and tiny u1 and u2, mixed with ordinary ones.
func collidingSample(t *testing.T, curve elliptic.Curve, d *big.Int) sample {
	var s sample
	n := curve.Params().N
	offset := new(big.Int).Lsh(number(1), uint(n.BitLen()))
	offset.Sub(offset, number(1))
	// scalar is the u whose digits, as comb.go has them, are the bytes of v: 2v - offset.
	scalar := func(v *big.Int) *big.Int {
		u := new(big.Int).Lsh(v, 1)
		return u.Sub(u, offset).Mod(u, n)
	}
	repeated := func(digit byte) *big.Int {
		v := make([]byte, n.BitLen()/8)
		for i := range v {
			v[i] = digit
		}
		return scalar(new(big.Int).SetBytes(v))
	}
	hash := sha256.Sum256(d.Bytes())
	scalars := []*big.Int{number(1), new(big.Int).Sub(n, number(1)), repeated(1), repeated(127), repeated(128),
		new(big.Int).SetBytes(hash[:])}
	for _, u1 := range scalars {
		for _, u2 := range scalars {
			if u2.Sign() == 0 {
				continue
			}
			if u1.Sign() != 0 {
				s.add(aim(t, curve, u1, u2))
			}
			if digest, signature := forge(t, curve, d, u1, u2); signature != nil {
				s.add(digest, signature)
			}
		}
	}
	good := goodSample(t, &ecdsa.PrivateKey{PublicKey: *publicOf(curve, d), D: d}, 3)
	for i := range good.digests {
		s.add(good.digests[i], good.signatures[i])
	}
	return s
}

// countUndecided is how many of a sample the key's engine leaves to crypto/ecdsa.
func countUndecided(key *Key, s sample) int {
	count := 0
	for first := 0; first < len(s.digests); first += block {
		last := min(first+block, len(s.digests))
		results := make([]result, last-first)
		key.build().verify(results, s.digests[first:last], s.signatures[first:last])
		for _, r := range results {
			if r == undecided {
				count++
			}
		}
	}
	return count
}
