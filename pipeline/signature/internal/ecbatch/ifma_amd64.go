package ecbatch

import (
	"os"
	"sync"

	"golang.org/x/sys/cpu"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// The engine for P-256 on CPUs with AVX-512 IFMA: eight signatures in eight lanes. The kernels are generated; what they
// compute, and why no limb overflows, is said in internal/gen/ifma.go.
//
// Unlike the portable adder, the kernels don't look at single differences: one that is zero makes its lane's product
// zero, which is seen once for a round. All signatures of that lane are then left undecided. Only a signer who uses the
// private key to arrange collisions can make that happen, at the price of being served at crypto/ecdsa's speed.

// vector256 is a coordinate of eight signatures: limbs of 52 bits, in Montgomery form with R = 2^260.
type vector256 [5][8]uint64

type pointVector256 struct {
	x, y vector256
}

// The kernels; see internal/gen. None keeps a pointer.

//go:noescape
func ifma256Mul(z, x, y *vector256)

//go:noescape
func ifma256Square(z, x *vector256, n int)

//go:noescape
func ifma256Products(running, dx, prefix *vector256, sums, terms *pointVector256, n int)

//go:noescape
func ifma256Sums(running, dx, prefix *vector256, sums, terms *pointVector256, n int, scratch *[2]vector256)

//go:noescape
func ifma256Pick(points *pointVector256, window *point[field.P256], digits *byte, n int)

// groups is how many vectors a block fills.
const groups = block / 8

// haveIFMA tells whether the CPU and the operating system have what the kernels use, and nobody turned it off.
func haveIFMA() bool {
	return cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA && os.Getenv("COUNTERSIGN_CPU") != "generic"
}

// ifma256 is the engine. Its tables' coordinates are in Montgomery form with R = 2^260.
type ifma256 struct {
	generator, key comb[field.P256]
	workspaces     sync.Pool // of *workspace256
}

type workspace256 struct {
	sums, terms [lanes * groups]pointVector256
	dx, prefix  [lanes * groups]vector256
	scratch     [2]vector256
	running     vector256
	powers      [7]vector256
	batch       batch[field.P256Order, *field.P256Order]
	// digits[w*8*n/8...] are the digits of window w of all signatures; the key's windows follow the generator's.
	digits [2 * windows256 * block]byte
	failed [8]bool
}

const windows256 = 32

var generatorIFMA256 = sync.OnceValue(func() comb[field.P256] { return toIFMA256(generatorP256()) })

// toIFMA256 converts a table from R = 2^256 to R = 2^260.
func toIFMA256(table comb[field.P256]) comb[field.P256] {
	converted := make(comb[field.P256], len(table))
	for i, p := range table {
		for range 4 {
			p.x.Add(&p.x, &p.x)
			p.y.Add(&p.y, &p.y)
		}
		converted[i] = p
	}
	return converted
}

func newIFMA256(key comb[field.P256]) *ifma256 {
	e := &ifma256{generator: generatorIFMA256(), key: toIFMA256(key)}
	e.workspaces.New = func() any {
		return &workspace256{batch: newBatch[field.P256Order, *field.P256Order]()}
	}
	return e
}

func (e *ifma256) kind() string { return "avx512ifma" }

func (e *ifma256) bytes() int { return len(e.key) * 64 }

func (e *ifma256) verify(results []result, digests [][32]byte, signatures [][]byte) {
	w := e.workspaces.Get().(*workspace256)
	defer e.workspaces.Put(w)
	opened := w.batch.open(results, digests, signatures)
	if len(opened) == 0 {
		return
	}
	n := (len(opened) + 7) / 8
	w.transpose(opened, 8*n)
	e.sum(w, n)
	for g := range n {
		// 1 is not in Montgomery form: the product leaves it.
		ifma256Mul(&w.sums[g].x, &w.sums[g].x, &vector256{{1, 1, 1, 1, 1, 1, 1, 1}})
	}
	for i := range opened {
		if w.failed[i%8] {
			results[w.batch.index[i]] = undecided
			continue
		}
		x := w.sums[i/8].x.lane(i % 8)
		w.batch.settle(results, i, x.Words())
	}
}

// transpose lays the digits out by windows, for a whole number of vectors: the first signature's fill up the last one.
func (w *workspace256) transpose(signatures []signature[field.P256Order], n int) {
	for i := range n {
		sig := &signatures[0]
		if i < len(signatures) {
			sig = &signatures[i]
		}
		at := i
		for _, words := range [2]*field.P256Order{&sig.u1, &sig.u2} {
			for _, v := range words {
				for range 8 {
					w.digits[at] = byte(v)
					v >>= 8
					at += n
				}
			}
		}
	}
}

// sum leaves u1*G + u2*Q of the signatures in n vectors in w.sums[:n], or sets w.failed for their lanes. It adds in the
// order of portable.sum.
func (e *ifma256) sum(w *workspace256, n int) {
	w.failed = [8]bool{}
	for first := 0; first < 2*windows256; first += lanes {
		target := w.terms[:]
		if first == 0 {
			target = w.sums[:]
		}
		for l := range lanes {
			table, window := e.generator, first+l
			if window >= windows256 {
				table, window = e.key, window-windows256
			}
			ifma256Pick(&target[l*n], &table[window*entries], &w.digits[(first+l)*8*n], n)
		}
		if first > 0 {
			w.addAll(w.terms[:], lanes*n)
		}
	}
	for half := lanes / 2; half > 0; half /= 2 {
		w.addAll(w.sums[half*n:], half*n)
	}
}

// addAll adds terms[k] to w.sums[k] for all k < n, lane by lane.
func (w *workspace256) addAll(terms []pointVector256, n int) {
	w.running.setOne()
	ifma256Products(&w.running, &w.dx[0], &w.prefix[0], &w.sums[0], &terms[0], n)
	w.invert()
	ifma256Sums(&w.running, &w.dx[0], &w.prefix[0], &w.sums[0], &terms[0], n, &w.scratch)
}

// invert inverts w.running, and notes the lanes where it is zero.
func (w *workspace256) invert() {
	for lane := range w.failed {
		x := w.running.lane(lane)
		w.failed[lane] = w.failed[lane] || x.IsZero()
	}
	// p - 2 is 32 ones, 31 zeros, a one, 96 zeros, 94 ones, a zero and a one.
	x := w.running
	p := &w.powers
	grow := func(z, x, y *vector256, n int) { // z = x^(2^n) * y
		ifma256Square(z, x, n)
		ifma256Mul(z, z, y)
	}
	grow(&p[0], &x, &x, 1)       // 2 ones
	grow(&p[1], &p[0], &p[0], 2) // 4
	grow(&p[2], &p[1], &p[1], 4) // 8
	grow(&p[3], &p[2], &p[2], 8) // 16
	grow(&p[4], &p[3], &p[2], 8) // 24
	grow(&p[4], &p[4], &p[1], 4) // 28
	grow(&p[4], &p[4], &p[0], 2) // 30
	grow(&p[5], &p[4], &p[0], 2) // 32
	grow(&p[6], &p[5], &x, 32)   // and 31 zeros, a one
	grow(&p[6], &p[6], &p[5], 128)
	grow(&p[6], &p[6], &p[5], 32)
	grow(&p[6], &p[6], &p[4], 30)
	grow(&w.running, &p[6], &x, 2)
}

// setOne sets all lanes to the Montgomery form of 1: 2^260 modulo p.
func (v *vector256) setOne() {
	one := field.P256{1}
	one.Enter(&one)
	for range 4 {
		one.Add(&one, &one)
	}
	for lane := range 8 {
		v[0][lane] = one[0] & mask52
		v[1][lane] = (one[0]>>52 | one[1]<<12) & mask52
		v[2][lane] = (one[1]>>40 | one[2]<<24) & mask52
		v[3][lane] = (one[2]>>28 | one[3]<<36) & mask52
		v[4][lane] = one[3] >> 16
	}
}

const mask52 = 1<<52 - 1

// lane is the integer in a lane, modulo p. It must be below 2p.
func (v *vector256) lane(lane int) field.P256 {
	l0, l1, l2, l3, l4 := v[0][lane], v[1][lane], v[2][lane], v[3][lane], v[4][lane]
	x := field.P256{l0 | l1<<52, l1>>12 | l2<<40, l2>>24 | l3<<28, l3>>36 | l4<<16}
	x.Reduce(l4 >> 48)
	return x
}
