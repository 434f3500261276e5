// Package fastrsa makes RSA keys that sign quickly, for load tests that need millions of signatures.
//
// The modulus is a product of many small primes, so that by the Chinese remainder theorem a signature costs many tiny
// exponentiations instead of two large ones (RFC 8017, section 3.2). To whoever verifies, key and signatures are
// ordinary RSA. Such a key is easily factored: it protects nothing, and nothing outside tests and benches may use it.
package fastrsa

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// primeBits is the size of the primes. It divides all usual key sizes.
const primeBits = 128

const exponent = 65537

// Key signs RSASSA-PKCS1-v1_5 with SHA-256. It is a crypto.Signer, immutable, and safe for concurrent use.
type Key struct {
	public rsa.PublicKey
	primes []factor
}

// factor is one prime and what signing needs of it.
type factor struct {
	p      *big.Int
	d      *big.Int // private exponent modulo p-1
	weight *big.Int // 1 modulo p, 0 modulo the other primes
}

// Generate makes a key of so many bits, a multiple of 128.
func Generate(random io.Reader, bits int) (*Key, error) {
	if bits%primeBits != 0 || bits < 2*primeBits {
		return nil, fmt.Errorf("fastrsa: %d bits is no multiple of %d", bits, primeBits)
	}
	for {
		primes, n, err := product(random, bits)
		if err != nil {
			return nil, err
		}
		if n.BitLen() == bits {
			return fromPrimes(n, primes), nil
		}
	}
}

// product draws distinct primes and multiplies them; the product may fall short by a bit or more.
func product(random io.Reader, bits int) ([]*big.Int, *big.Int, error) {
	var primes []*big.Int
	n := big.NewInt(1)
	e := big.NewInt(exponent)
	for len(primes) < bits/primeBits {
		p, err := rand.Prime(random, primeBits)
		if err != nil {
			return nil, nil, err
		}
		// The top bits set keep the product of sixteen primes and more from losing a bit too often.
		if p.Bit(primeBits-2) == 0 || p.Bit(primeBits-3) == 0 || p.Bit(primeBits-4) == 0 || p.Bit(primeBits-5) == 0 {
			continue
		}
		pMinus1 := new(big.Int).Sub(p, big.NewInt(1))
		if new(big.Int).GCD(nil, nil, e, pMinus1).Cmp(big.NewInt(1)) != 0 || new(big.Int).Mod(n, p).Sign() == 0 {
			continue
		}
		primes = append(primes, p)
		n.Mul(n, p)
	}
	return primes, n, nil
}

func fromPrimes(n *big.Int, primes []*big.Int) *Key {
	k := &Key{public: rsa.PublicKey{N: n, E: exponent}}
	for _, p := range primes {
		rest := new(big.Int).Div(n, p)
		weight := new(big.Int).ModInverse(rest, p)
		k.primes = append(k.primes, factor{
			p:      p,
			d:      new(big.Int).ModInverse(big.NewInt(exponent), new(big.Int).Sub(p, big.NewInt(1))),
			weight: weight.Mul(weight, rest),
		})
	}
	return k
}

// Public returns the *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return &k.public }

// prefix is the DER encoding of a SHA-256 DigestInfo up to the digest (RFC 8017, section 9.2, note 1).
var prefix = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// Sign signs a SHA-256 digest; other hashes, and RSASSA-PSS, are errors. It uses no randomness.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss || opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
		return nil, errors.New("fastrsa: signs PKCS #1 v1.5 with SHA-256 only")
	}
	size := k.public.Size()
	em := make([]byte, size)
	em[1] = 1
	for i := 2; i < size-len(prefix)-len(digest)-1; i++ {
		em[i] = 0xff
	}
	copy(em[size-len(prefix)-len(digest):], prefix)
	copy(em[size-len(digest):], digest)

	m := new(big.Int).SetBytes(em)
	sum, residue := new(big.Int), new(big.Int)
	for _, f := range k.primes {
		residue.Mod(m, f.p)
		residue.Exp(residue, f.d, f.p)
		sum.Add(sum, residue.Mul(residue, f.weight))
	}
	return sum.Mod(sum, k.public.N).FillBytes(em), nil
}

// Marshal returns the key's primes in DER, so that cached signatures can be used again with a new certificate.
func (k *Key) Marshal() []byte {
	var primes []*big.Int
	for _, f := range k.primes {
		primes = append(primes, f.p)
	}
	der, err := asn1.Marshal(primes)
	if err != nil {
		panic("fastrsa: " + err.Error()) // a list of integers always has an encoding
	}
	return der
}

// Parse reads what Marshal wrote.
func Parse(der []byte) (*Key, error) {
	var primes []*big.Int
	if rest, err := asn1.Unmarshal(der, &primes); err != nil || len(rest) > 0 || len(primes) < 2 {
		return nil, fmt.Errorf("fastrsa: not a key: %w", errors.Join(err, errors.New("want a list of primes")))
	}
	n := big.NewInt(1)
	for _, p := range primes {
		if p.Sign() <= 0 || !p.ProbablyPrime(10) {
			return nil, errors.New("fastrsa: not a key: a factor is no prime")
		}
		n.Mul(n, p)
	}
	return fromPrimes(n, primes), nil
}
