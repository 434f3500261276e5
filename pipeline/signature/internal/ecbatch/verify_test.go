package ecbatch

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Every length from 1 to 33 and around a block's end, with all good and with one bad at every position.
func TestEveryLengthAndPosition(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		private := makePrivate(t, curve)
		key := withTable(t, &private.PublicKey, ifma)
		good := goodSample(t, private, 2*block+1)
		lengths := []int{0, block - 1, block, block + 1, 2*block + 1}
		for n := range 34 {
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			valid := make([]bool, n)
			key.Verify(valid, good.digests[:n], good.signatures[:n])
			for i, ok := range valid {
				if !ok {
					t.Errorf("good signature %d of %d refused", i, n)
				}
			}
		}
		if got := countUndecided(key, good); got != 0 {
			t.Errorf("%d ordinary signatures were left to crypto/ecdsa", got)
		}
		for bad := range 33 {
			digests := append([][32]byte(nil), good.digests[:33]...)
			digests[bad][31] ^= 1
			valid := make([]bool, 33)
			key.Verify(valid, digests, good.signatures[:33])
			for i, ok := range valid {
				if ok == (i == bad) {
					t.Errorf("bad signature at %d: signature %d: verdict %v", bad, i, ok)
				}
			}
		}
	})
}

// r and s at and around 0, the order, the prime and the sizes of their encodings, in all pairs, with special digests.
func TestEdgeValues(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		private := makePrivate(t, curve)
		key := withTable(t, &private.PublicKey, ifma)
		n, p := curve.Params().N, curve.Params().P
		values := []*big.Int{number(127), number(128), number(255), number(256)}
		for d := int64(-2); d <= 2; d++ {
			values = append(values, number(d))
			for _, base := range []*big.Int{n, p, new(big.Int).Sub(p, n), new(big.Int).Rsh(n, 1),
				new(big.Int).Lsh(number(1), uint(n.BitLen())), new(big.Int).Lsh(n, 1)} {
				values = append(values, new(big.Int).Add(base, number(d)))
			}
		}
		var s sample
		digests := [][32]byte{{}, {31: 1}, digestOf(new(big.Int).Sub(new(big.Int).Lsh(number(1), 256), number(1)))}
		if curve == elliptic.P256() {
			digests = append(digests, digestOf(n), digestOf(new(big.Int).Add(n, number(1))), digestOf(p))
		}
		for _, digest := range digests {
			signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			s.add(digest, signature)
			for _, r := range values {
				s.add(digest, encode(t, r, values[len(s.digests)%len(values)]))
			}
		}
		for _, r := range values {
			for _, v := range values {
				s.add(digests[1], encode(t, r, v))
			}
		}
		if got := mustAgree(t, key, s); got != len(digests) {
			t.Errorf("%d signatures are valid, want the %d that were signed", got, len(digests))
		}
	})
}

// The mirror image (r, n-s) of a valid signature is valid too, and (n-r, s) is not.
func TestMirroredSignatures(t *testing.T) {
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		private := makePrivate(t, curve)
		good := goodSample(t, private, 20)
		var s sample
		for i, signature := range good.signatures {
			r, v, _ := parse(signature)
			rn, vn := new(big.Int).SetBytes(r), new(big.Int).SetBytes(v)
			n := curve.Params().N
			s.add(good.digests[i], encode(t, rn, new(big.Int).Sub(n, vn)))
			s.add(good.digests[i], encode(t, new(big.Int).Sub(n, rn), vn))
			s.add(good.digests[i], encode(t, new(big.Int).Add(n, rn), vn))
			s.add(good.digests[i], encode(t, rn, new(big.Int).Add(n, vn)))
		}
		if got := mustAgree(t, withTable(t, &private.PublicKey, ifma), s); got != 20 {
			t.Errorf("%d are valid, want 20", got)
		}
	})
}

// Points whose x is at least the order, for which r is x-n; and x = 0, which fits no r. Keys are recovered from such
// points, as nobody knows their logarithm.
func TestPointsWithSpecialX(t *testing.T) {
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		n, p := curve.Params().N, curve.Params().P
		found := 0
		for x := new(big.Int).Add(n, number(1)); found < 3; x.Add(x, number(1)) {
			r := new(big.Int).Sub(x, n)
			if key, s := keyFor(t, curve, x, r, ifma); key != nil {
				found++
				if got := mustAgree(t, key, s); got != 1 {
					t.Errorf("x = n+%v: %d are valid, want 1", r, got)
				}
			}
		}
		for x := number(0); x.Cmp(number(10)) < 0; x.Add(x, number(1)) {
			for _, r := range []*big.Int{x, new(big.Int).Sub(p, n), number(1), new(big.Int).Sub(n, number(1))} {
				if r.Sign() == 0 {
					continue
				}
				if key, s := keyFor(t, curve, x, r, ifma); key != nil {
					if got := mustAgree(t, key, s); (got == 1) != (r.Cmp(x) == 0) {
						t.Errorf("x = %v, r = %v: %d are valid", x, r, got)
					}
				}
			}
		}
	})
}

// keyFor recovers a key under which a signature with this r leads to a point with this x. It is the first of the
// sample; the others lead to the same point under other r, or have an x for r. There is no key if no point has that x.
func keyFor(t *testing.T, curve elliptic.Curve, x, r *big.Int, ifma bool) (*Key, sample) {
	params := curve.Params()
	y := liftX(params, x)
	if y == nil {
		return nil, sample{}
	}
	digest := sha256.Sum256(x.Bytes())
	e, v := new(big.Int).SetBytes(digest[:]), new(big.Int).Rsh(params.N, 7)
	rInverse := new(big.Int).ModInverse(r, params.N)
	// Q = (v*R - e*G)/r
	u := new(big.Int).Mul(v, rInverse)
	qx, qy := curve.ScalarMult(x, y, u.Mod(u, params.N).Bytes())
	u.Mul(e, rInverse).Neg(u)
	gx, gy := curve.ScalarBaseMult(u.Mod(u, params.N).Bytes())
	qx, qy = curve.Add(qx, qy, gx, gy)
	var s sample
	s.add(digest, encode(t, r, v))
	s.add(digest, encode(t, new(big.Int).Add(r, params.N), v))
	s.add(digest, encode(t, new(big.Int).Add(r, number(1)), v))
	return withTable(t, &ecdsa.PublicKey{Curve: curve, X: qx, Y: qy}, ifma), s
}

// liftX is a y with (x, y) on the curve, or nil.
func liftX(params *elliptic.CurveParams, x *big.Int) *big.Int {
	v := new(big.Int).Mul(x, x)
	v.Sub(v, number(3)).Mul(v, x).Add(v, params.B).Mod(v, params.P)
	return v.ModSqrt(v, params.P)
}

// Encodings: everything that is nearly the DER of a valid signature.
func TestEncodings(t *testing.T) {
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		private := makePrivate(t, curve)
		key := withTable(t, &private.PublicKey, ifma)
		good := goodSample(t, private, 1)
		var s sample
		for i, der := range good.signatures {
			try := func(parts ...[]byte) { s.add(good.digests[i], bytes.Join(parts, nil)) }
			r, v, _ := parse(der)
			integer := func(value []byte) []byte { return append([]byte{2, byte(len(value))}, value...) }
			sequence := func(parts ...[]byte) []byte {
				content := bytes.Join(parts, nil)
				return append([]byte{0x30, byte(len(content))}, content...)
			}
			pad := func(value []byte) []byte { return append([]byte{0}, value...) }
			try(der)
			try()
			try(nil, nil)
			try(der, []byte{0})
			try([]byte{0}, der)
			try(sequence(integer(r), integer(v)))
			try(sequence(integer(pad(r)), integer(v)))
			try(sequence(integer(pad(r)), integer(pad(v))))
			try(sequence(integer(r), integer(pad(v))))
			try(sequence(integer(pad(pad(r))), integer(pad(v))))
			try(sequence(integer(pad(r)), integer(pad(pad(v)))))
			try(sequence(integer(nil), integer(v)))
			try(sequence(integer(pad(r)), integer(nil)))
			try(sequence(der[2:], integer([]byte{1})))
			try(sequence(integer(r)))
			try(sequence())
			try([]byte{0x30, 0x81, der[1]}, der[2:])
			try([]byte{0x30, 0x82, 0, der[1]}, der[2:])
			try([]byte{0x30, 0x80}, der[2:], []byte{0, 0})
			try([]byte{0x30, der[1] + 3, 2, 0x81}, der[3:])
			try([]byte{0x31}, der[1:])
			try(sequence(integer(bytes.Repeat([]byte{0x7f}, 48)), integer(v)))
			try(sequence(integer(bytes.Repeat([]byte{0x7f}, 49)), integer(v)))
			try(sequence(integer(bytes.Repeat([]byte{0x7f}, 100)), integer([]byte{1})))
			for cut := range der {
				try(der[:cut])
				try(der[cut:])
				try(der[:cut], []byte{0}, der[cut:])
				for _, flip := range []byte{1, 0x80} {
					changed := bytes.Clone(der)
					changed[cut] ^= flip
					try(changed)
				}
			}
		}
		if got := mustAgree(t, key, s); got < 1 {
			t.Errorf("%d are valid, want at least the one that was signed", got)
		}
	})
}

// A key on another curve, off its curve, or missing is refused by New; a changed key doesn't reach a Key.
func TestNewChecksTheKey(t *testing.T) {
	private := makePrivate(t, elliptic.P256())
	off := ecdsa.PublicKey{Curve: elliptic.P256(), X: private.X, Y: new(big.Int).Add(private.Y, number(1))}
	other := makePrivate(t, elliptic.P521()).PublicKey
	for _, public := range []*ecdsa.PublicKey{nil, {}, &off, &other, {Curve: elliptic.P256()},
		{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}, {Curve: elliptic.P384(), X: private.X, Y: private.Y}} {
		if _, err := New(public, false); err == nil {
			t.Errorf("New took %v", public)
		}
	}
	good := goodSample(t, private, 3)
	key := withTable(t, &private.PublicKey, Supported())
	private.X.SetInt64(1)
	if got := mustAgree(t, key, good); got != 3 {
		t.Errorf("%d are valid after the caller changed its key, want 3", got)
	}
}

// The table is built when it has become worth its cost, by one of many callers at once.
func TestTableIsBuiltOnce(t *testing.T) {
	private := makePrivate(t, elliptic.P256())
	good := goodSample(t, private, worthTable)
	key, err := New(&private.PublicKey, false)
	if err != nil {
		t.Fatal(err)
	}
	var built atomic.Int64 // calls that wanted the table
	build := key.build
	key.build = func() verifier {
		built.Add(1)
		return build()
	}
	early := good.slice(0, worthTable-1)
	mustAgree(t, key, early)
	if built.Load() != 0 {
		t.Errorf("the table was built for %d signatures", worthTable-1)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if got := mustAgree(t, key, good); got != worthTable {
				t.Errorf("%d are valid, want all %d", got, worthTable)
			}
		})
	}
	callers.Wait()
	if built.Load() != 8 || key.build() != key.build() {
		t.Errorf("%d of 8 callers used the table, or it was built again", built.Load())
	}
}

// The choice decides which engine runs, and tables have the size that the documentation says.
func TestEngineIsTheOneThatWasAskedFor(t *testing.T) {
	everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
		key := withTable(t, &makePrivate(t, curve).PublicKey, ifma)
		engine := reflect.TypeOf(key.build()).Elem()
		if want := map[bool]string{false: "portableKey[", true: "vectorKey["}[ifma]; !strings.HasPrefix(engine.Name(), want) {
			t.Errorf("signatures are verified by %s, want %s", engine, want)
		}
		table := reflect.ValueOf(key.build()).Elem().FieldByName("key")
		want := map[elliptic.Curve]int{elliptic.P256(): 256 << 10, elliptic.P384(): 576 << 10}[curve]
		if got := table.Len() * int(table.Type().Elem().Size()); got != want {
			t.Errorf("the table takes %d bytes, want %d", got, want)
		}
	})
}

func TestKernelsAreRefusedWhereTheyCantRun(t *testing.T) {
	if Supported() {
		t.Skip("this processor can run the kernels")
	}
	if _, err := New(&makePrivate(t, elliptic.P256()).PublicKey, true); err == nil {
		t.Error("New promised to verify with kernels that can't run")
	}
}
