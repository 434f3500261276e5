package ecbatch

import (
	"crypto/elliptic"
	"math/big"
	"testing"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// Every entry of the generator's table is the odd multiple that it stands for, and pick finds and negates them.
func TestTableEntries(t *testing.T) {
	t.Run("P-256", func(t *testing.T) { checkTable[field.P256, *field.P256](t, elliptic.P256()) })
	t.Run("P-384", func(t *testing.T) { checkTable[field.P384, *field.P384](t, elliptic.P384()) })
}

func checkTable[E any, F field.Element[E]](t *testing.T, curve elliptic.Curve) {
	params := curve.Params()
	table := newComb[E, F](affine[E, F](params.Gx, params.Gy))
	for window := range params.BitSize / 8 {
		for digit := window % 16; digit < 256; digit += 16 {
			k := number(digitValue(byte(digit)))
			k.Lsh(k, uint(8*window)).Mod(k, params.N)
			x, y := curve.ScalarBaseMult(k.Bytes())
			var got point[E]
			pick[E, F](&got, table, window, byte(digit))
			if want := affine[E, F](x, y); !same[E, F](&got.x, &want.x) || !same[E, F](&got.y, &want.y) {
				t.Fatalf("window %d digit %d: wrong point", window, digit)
			}
		}
	}
}

// digitValue is what a digit stands for.
func digitValue(digit byte) int64 {
	value := 2*int64(digit&127) + 1
	if digit < 128 {
		return -value
	}
	return value
}

func same[E any, F field.Element[E]](x, y *E) bool {
	var d E
	F(&d).Sub(x, y)
	return F(&d).IsZero()
}

// The digits of u1 and u2 sum up to e/s and r/s modulo the order, at any position of a batch.
func TestRecode(t *testing.T) {
	t.Run("P-256", func(t *testing.T) { checkRecode[field.P256Order, *field.P256Order](t, elliptic.P256()) })
	t.Run("P-384", func(t *testing.T) { checkRecode[field.P384Order, *field.P384Order](t, elliptic.P384()) })
}

func checkRecode[O any, N field.Element[O]](t *testing.T, curve elliptic.Curve) {
	n := curve.Params().N
	batch := make([]signature[O], 9)
	digest := [32]byte{}
	for i := range batch {
		r := new(big.Int).Sub(n, number(int64(i*i+1)))
		s := new(big.Int).Rsh(n, uint(20*i+1))
		digest[i]--
		if !newScalars[O, N]().set(&batch[i], &digest, encode(t, r, s)) {
			t.Fatal("a signature in range was refused")
		}
	}
	var work [2]O
	newScalars[O, N]().recode(batch, &work)
	for i := range batch {
		s := new(big.Int).ModInverse(integer[O, N](&batch[i].s), n)
		for what, pair := range map[string][2]*O{"u1": {&batch[i].e, &batch[i].u1}, "u2": {&batch[i].r, &batch[i].u2}} {
			want := integer[O, N](pair[0])
			want.Mul(want, s).Mod(want, n)
			got := new(big.Int)
			v := integer[O, N](pair[1])
			for j := range n.BitLen() / 8 {
				digit := byte(new(big.Int).Rsh(v, uint(8*j)).Uint64())
				got.Add(got, new(big.Int).Lsh(number(digitValue(digit)), uint(8*j)))
			}
			if got.Mod(got, n).Cmp(want) != 0 {
				t.Errorf("signature %d: digits of %s sum up to %x, want %x", i, what, got, want)
			}
		}
	}
}

func integer[O any, N field.Element[O]](x *O) *big.Int {
	n := new(big.Int)
	words := N(x).Words()
	for i := len(words) - 1; i >= 0; i-- {
		n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(words[i]))
	}
	return n
}
