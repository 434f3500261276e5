package fastrsa

// A key is made of many small primes, and signs modulo each of them alone.

import (
	"crypto"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// primeBits is the size of the primes. It divides all usual key sizes.
const primeBits = 64

const exponent = 65537

// mostBits is the largest modulus: that of the largest key that the service takes.
const mostBits = 8192

// Key signs RSASSA-PKCS1-v1_5 with SHA-256. It is a crypto.Signer, immutable, and safe for concurrent use.
type Key struct {
	public rsa.PublicKey
	primes []factor
}

// factor is one prime and what signing needs of it. Montgomery form is relative to 2^64.
type factor struct {
	modulus
	d      uint64   // private exponent modulo p-1
	frame  uint64   // the encoded message without its digest, modulo p
	invert uint64   // inverse of rest modulo p
	rest   *big.Int // product of the other primes
}

// Generate makes a key of so many bits, a multiple of 64.
func Generate(random io.Reader, bits int) (*Key, error) {
	if bits%primeBits != 0 || bits < 512 || bits > mostBits {
		return nil, fmt.Errorf("fastrsa: %d bits is no multiple of %d from 512 to %d", bits, primeBits, mostBits)
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

// product draws distinct primes and multiplies them; the product may fall short by a bit.
func product(random io.Reader, bits int) ([]*big.Int, *big.Int, error) {
	var primes []*big.Int
	n := big.NewInt(1)
	var word [primeBits / 8]byte
	for len(primes) < bits/primeBits {
		if _, err := io.ReadFull(random, word[:]); err != nil {
			return nil, nil, fmt.Errorf("fastrsa: draw a prime: %w", err)
		}
		// With its top byte set, a prime is near enough to 2^64 for the product of 128 of them to lose a bit at times
		// only.
		word[0], word[len(word)-1] = 0xff, word[len(word)-1]|1
		p := new(big.Int).SetBytes(word[:])
		if (p.Uint64()-1)%exponent == 0 || !p.ProbablyPrime(0) || new(big.Int).Mod(n, p).Sign() == 0 {
			continue
		}
		primes = append(primes, p)
		n.Mul(n, p)
	}
	return primes, n, nil
}

func fromPrimes(n *big.Int, primes []*big.Int) *Key {
	k := &Key{public: rsa.PublicKey{N: n, E: exponent}}
	frame := new(big.Int).SetBytes(encode(make([]byte, k.public.Size()), make([]byte, 32)))
	for _, p := range primes {
		rest := new(big.Int).Div(n, p)
		k.primes = append(k.primes, factor{
			modulus: newModulus(p.Uint64()),
			d:       new(big.Int).ModInverse(big.NewInt(exponent), new(big.Int).Sub(p, big.NewInt(1))).Uint64(),
			frame:   new(big.Int).Mod(frame, p).Uint64(),
			invert:  new(big.Int).ModInverse(rest, p).Uint64(),
			rest:    rest,
		})
	}
	return k
}

// Public returns the *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return &k.public }

// prefix is the DER encoding of a SHA-256 DigestInfo up to the digest (RFC 8017, section 9.2, note 1).
var prefix = []byte{
	0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
}

// Sign signs a SHA-256 digest; other hashes, and RSASSA-PSS, are errors. It uses no randomness.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss || opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
		return nil, errors.New("fastrsa: signs PKCS #1 v1.5 with SHA-256 only")
	}
	return k.sign(digest).FillBytes(make([]byte, k.public.Size())), nil
}

// encode fills em as RFC 8017, section 9.2, says.
func encode(em, digest []byte) []byte {
	end := len(em) - len(digest)
	copy(em[end:], digest)
	copy(em[end-len(prefix):], prefix)
	em[1] = 1
	for i := 2; i < end-len(prefix)-1; i++ {
		em[i] = 0xff
	}
	return em
}

// sign raises the encoded message to the private exponent, modulo each prime, and puts the residues together.
func (k *Key) sign(digest []byte) *big.Int {
	var base, power [mostBits / primeBits]uint64
	for i := range k.primes {
		f := &k.primes[i]
		base[i] = f.enter(f.add(f.frame, f.reduce(digest)))
		power[i] = f.one
	}
	// All primes take each step together: their multiplications don't wait for one another's.
	for bit := primeBits - 1; bit >= 0; bit-- {
		for i := range k.primes {
			f := &k.primes[i]
			square := f.multiply(power[i], power[i])
			if f.d>>bit&1 == 1 {
				square = f.multiply(square, base[i])
			}
			power[i] = square
		}
	}
	sum, term, share := new(big.Int), new(big.Int), new(big.Int)
	for i := range k.primes {
		f := &k.primes[i]
		share.SetUint64(f.multiply(power[i], f.invert)) // out of Montgomery form, too
		sum.Add(sum, term.Mul(f.rest, share))
	}
	return sum.Mod(sum, k.public.N)
}

// Marshal returns the key's primes in DER, so that cached signatures can be used again with a new certificate.
func (k *Key) Marshal() []byte {
	var primes []*big.Int
	for _, f := range k.primes {
		primes = append(primes, new(big.Int).SetUint64(f.p))
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
		if p.Sign() <= 0 || p.BitLen() != primeBits || !p.ProbablyPrime(0) {
			return nil, fmt.Errorf("fastrsa: not a key: a factor is no prime of %d bits", primeBits)
		}
		n.Mul(n, p)
	}
	if n.BitLen() > mostBits {
		return nil, fmt.Errorf("fastrsa: not a key: more than %d bits", mostBits)
	}
	return fromPrimes(n, primes), nil
}
