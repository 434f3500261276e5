package bench

// Garbage for keys under which a signature takes long to check: P-521, RSA with 8192 bits and e = 3, and P-256 and
// P-384 keys whose owner uses the private key to make signatures that only the slow way can decide. What is sent takes
// about as much worker time as the machine has while the attack lasts.

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"time"

	"countersign/testsite/fastrsa"
)

// slowKey is a site with such a key, and how it is attacked.
type slowKey struct {
	name    string
	key     crypto.Signer
	garbage func(hash [32]byte) ([]byte, error)
	pairs   int // of an upload
	uploads int // in the time of an attack
}

// slowKeys makes them. share is how much of 40 s of worker time what is sent takes.
func slowKeys(share float64) ([]slowKey, error) {
	p521, err1 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p256, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	cubic, err4 := newCubicKey(8192)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	n := func(pairs int) int { return max(int(share*float64(pairs)), 1) }
	// A signature takes 3 ms, 0.5 ms, 0.65 ms and 0.09 ms: 15 + 8 + 10 + 7 s.
	return []slowKey{
		{"p521.slow.example", p521, garbageECDSA(p521.Curve), n(1000), 5},
		{"rsa8192.slow.example", cubic, garbageRSA(cubic.public.N), n(2000), 8},
		{"p384.slow.example", p384, undecidable(p384), n(3000), 5},
		{"p256.slow.example", p256, undecidable(p256), n(20_000), 4},
	}, nil
}

// post makes the upload.
func (k slowKey) post() (*posted, error) {
	text := []byte{'['}
	for range k.pairs {
		hash := randomHash()
		signature, err := k.garbage(hash)
		if err != nil {
			return nil, err
		}
		text = appendPair(text, hash, signature)
	}
	return plain(k.name, append(text, ']'), func(got counts) bool { return got == counts{Bad: k.pairs} }), nil
}

// garbageForSlowKeys is the attack. Each kind of key has a connection of its own.
func garbageForSlowKeys(keys []slowKey, posts []*posted, during time.Duration) attack {
	return attack{
		name: "slow-keys", title: "garbage for keys that are slow",
		start: func(ctx context.Context, f *front) {
			for i, k := range keys {
				f.paced(ctx, k.uploads, float64(k.uploads)/during.Seconds(), 1, func(ctx context.Context, c *conn, _ int) { f.post(ctx, c, posts[i]) })
			}
		},
	}
}

// garbageECDSA makes signatures with r and s that are in range and mean nothing.
func garbageECDSA(curve elliptic.Curve) func([32]byte) ([]byte, error) {
	return func([32]byte) ([]byte, error) {
		r, err1 := rand.Int(rand.Reader, curve.Params().N)
		s, err2 := rand.Int(rand.Reader, curve.Params().N)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return encodeECDSA(r, s)
	}
}

// garbageRSA makes signatures below the modulus that mean nothing.
func garbageRSA(modulus *big.Int) func([32]byte) ([]byte, error) {
	return func([32]byte) ([]byte, error) {
		s, err := rand.Int(rand.Reader, modulus)
		if err != nil {
			return nil, err
		}
		return s.FillBytes(make([]byte, (modulus.BitLen()+7)/8)), nil
	}
}

// undecidable makes bad signatures under which the multiple of the generator and that of the key are the same point.
// The usual formula can't add a point to itself, so those who verify many signatures at once must begin again with each
// of these. It takes the private key d: with r = e/d, and any s, (e/s)*G is (r/s)*(d*G).
func undecidable(key *ecdsa.PrivateKey) func([32]byte) ([]byte, error) {
	n := key.Params().N
	d := key.D //nolint:staticcheck // the number itself is what is asked for
	inverse := new(big.Int).ModInverse(d, n)
	return func(hash [32]byte) ([]byte, error) {
		digest := sha256.Sum256([]byte(hexText(hash)))
		r := new(big.Int).SetBytes(digest[:])
		r.Mod(r.Mul(r, inverse), n)
		s, err := rand.Int(rand.Reader, n)
		if err != nil {
			return nil, err
		}
		return encodeECDSA(r, s)
	}
}

func encodeECDSA(r, s *big.Int) ([]byte, error) { return asn1.Marshal(struct{ R, S *big.Int }{r, s}) }

// cubicKey is a public RSA key with e = 3. Nobody has the private one, and garbage doesn't need it.
type cubicKey struct{ public rsa.PublicKey }

func newCubicKey(bits int) (*cubicKey, error) {
	usual, err := fastrsa.Generate(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	public, ok := usual.Public().(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("fastrsa made another kind of key")
	}
	return &cubicKey{rsa.PublicKey{N: public.N, E: 3}}, nil
}

// Public makes it a crypto.Signer.
func (k *cubicKey) Public() crypto.PublicKey { return &k.public }

// Sign fails.
func (k *cubicKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("nobody has this key")
}
