package signature

// What a signature costs to verify, by the kind of key. Whoever names a site chooses its key, and a signature on P-521
// takes a thousand times as long as one under RSA with 2048 bits. So worker time is shared out and budgeted by these
// prices.
//
// They are constants, rounded up from what BenchmarkPrices measures on one core of a Zen 4 with AVX-512 IFMA, so that
// they are the same on every processor and in every replay.

import (
	"crypto/rsa"
	"math/bits"
	"time"
)

// Prices of ECDSA, for each signature of a batch.
const (
	priceP256, worstP256 = 2500 * time.Nanosecond, 90 * time.Microsecond
	priceP384, worstP384 = 7 * time.Microsecond, 650 * time.Microsecond
	priceP521            = 3 * time.Millisecond
)

// priceBatchedRSA is the price of a signature under a key of 2048 bits that package rsa52 verifies. It grows with the
// square of the size.
const priceBatchedRSA = 2500 * time.Nanosecond

// The price of a signature under other RSA keys is for a modulus of 8192 bits. It grows with the square of the size.
const (
	priceRSA         = 420 * time.Microsecond // without the multiplications
	priceRSAMultiply = 45 * time.Microsecond  // each multiplication that the exponent takes
)

// price is what one signature under a key costs.
type price struct {
	table time.Duration // by the table
	worst time.Duration // where one lane after the other falls back to the standard library, or there are no lanes
}

// Price is what one of many signatures under k takes of a core, by a table: it is the same on every processor.
func (k *Key) Price() time.Duration { return k.price.table }

// WorstPrice is about what a signature takes at most: on processors for which there is no fast implementation, and
// where the owner of the key has made signatures that the fast implementation can't decide. It is at least Price.
func (k *Key) WorstPrice() time.Duration { return k.price.worst }

func priceOfRSA(pub *rsa.PublicKey, batched bool) price {
	size := func(d time.Duration, of int) time.Duration {
		n := int64(pub.N.BitLen())
		return time.Duration(int64(d) * n * n / int64(of*of))
	}
	multiplications := bits.Len(uint(pub.E)) + bits.OnesCount(uint(pub.E)) - 2
	worst := size(priceRSA+time.Duration(multiplications)*priceRSAMultiply, maxModulusBits)
	if batched {
		return price{table: size(priceBatchedRSA, minModulusBits), worst: worst}
	}
	return price{table: worst, worst: worst}
}

func priceOfECDSA(a Algorithm) price {
	switch a {
	case ECDSAP256:
		return price{table: priceP256, worst: worstP256}
	case ECDSAP384:
		return price{table: priceP384, worst: worstP384}
	default:
		return price{table: priceP521, worst: priceP521}
	}
}
