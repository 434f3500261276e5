package gen

import (
	"bytes"
	"fmt"
	"math/big"
)

// The kernels add points in eight lanes with AVX-512 IFMA. A coordinate of eight signatures is `limbs` ZMM registers:
// register j holds limb j, radix 2^52, of each. Montgomery's R is 2^(52*limbs): 16 times (P-256), 2^32 times (P-384)
// the next power of two above p.
//
// Values are kept below a small multiple of p instead of below p. Limbs read by a multiplication must be below 2^52,
// because VPMADD52 ignores all higher bits:
//
//   - A product of values below a*p and b*p is below (a*b*p/R + 1)*p. R is at least 16p, so while a*b <= 16 it is below
//     2p.
//   - During a product an accumulator gets at most 2*limbs products below 2^52 (some of them twice, for others) and
//     at most 8 more from the reduction, and a carry: it stays below 25*2^52 < 2^57, and above -8*2^52.
//   - Differences are made limb by limb, plus a multiple of p that makes the whole value positive. Single limbs may
//     be negative; normalize carries with arithmetic shifts, and the top limb comes out as 0 <= limb < 2^52.
//   - Coordinates that are stored are table entries, below p, or were folded; see the curves' fold functions.
//
// For P-256, stored coordinates are below 1.001p. So differences (plus 2p) are below 3.001p; running products below c =
// 3.001c/16 + 1 = 1.24p; an inverse times a prefix below 1.1p; lambda below 1.21p; the sum's x before its fold between
// 4p - 2.002p and 1.1p + 4p; its y before its fold between 3p - 1.001p and 1.3p + 3p.
//
// For P-384, stored coordinates are below 2.001p. So differences (plus 3p) are below 5.001p; all products below 1.001p;
// x before its fold between 7p - 4.002p and 1.001p + 7p; y before its fold between 5p - 2.001p and 1.001p + 5p.
type kernels struct {
	w     bytes.Buffer
	name  string // prefix of the symbols
	limbs int
	prime *big.Int
	// constants are broadcast into registers at the start of each kernel that multiplies, from the register
	// constant(0).
	constants []*big.Int
	// dxMultiple, xMultiple and yMultiple are how many p are added to a difference of coordinates, and to the sum's x
	// and y.
	dxMultiple, xMultiple, yMultiple int
	// reduce writes one step of the reduction: acc[i] becomes irrelevant, all above it receive its multiple.
	reduce func(k *kernels, i int)
	// fold writes the subtraction of h*p from v, limb by limb, where h, the part of v above the prime's size, is in T.
	fold func(k *kernels, v []string)
}

// Registers: the accumulators are the lowest, then a column operand, then temporaries and constants.
func (k *kernels) acc(i int) string { return fmt.Sprintf("Z%d", i) }
func (k *kernels) column() []string { return k.registers(2 * k.limbs) }
func (k *kernels) high() []string   { return k.registers(k.limbs) }
func (k *kernels) registers(first int) []string {
	names := make([]string, k.limbs)
	for i := range names {
		names[i] = fmt.Sprintf("Z%d", first+i)
	}
	return names
}
func (k *kernels) temp() string          { return fmt.Sprintf("Z%d", 3*k.limbs) }
func (k *kernels) row() string           { return fmt.Sprintf("Z%d", 3*k.limbs+1) }
func (k *kernels) mask() string          { return fmt.Sprintf("Z%d", 3*k.limbs+2) }
func (k *kernels) constant(i int) string { return fmt.Sprintf("Z%d", 3*k.limbs+3+i) }

// at is limb j of the vector that the register points to, offset vectors further.
func (k *kernels) at(pointer string, offset, j int) string {
	return fmt.Sprintf("%d(%s)", (offset*k.limbs+j)*64, pointer)
}

func (k *kernels) op(format string, args ...any) { fmt.Fprintf(&k.w, "\t"+format+"\n", args...) }
func (k *kernels) line(format string, args ...any) {
	fmt.Fprintf(&k.w, format+"\n", args...)
}

// digits cuts a number into limbs; the top one takes what is left.
func (k *kernels) digits(v *big.Int) []*big.Int {
	digits := make([]*big.Int, k.limbs)
	mask := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 52), big.NewInt(1))
	for i := range digits {
		digits[i] = new(big.Int).Rsh(v, uint(52*i))
		if i < k.limbs-1 {
			digits[i].And(digits[i], mask)
		}
	}
	return digits
}

// data writes the read-only constants, first the mask, then k.constants, then 1p to 7p limb by limb.
func (k *kernels) data() {
	offset := 0
	put := func(v *big.Int) {
		k.line("DATA %s<>+%d(SB)/8, $%#x", k.name, offset, v)
		offset += 8
	}
	put(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 52), big.NewInt(1)))
	for _, c := range k.constants {
		put(c)
	}
	for m := int64(1); m <= 7; m++ {
		for _, digit := range k.digits(new(big.Int).Mul(k.prime, big.NewInt(m))) {
			put(digit)
		}
	}
	k.line("GLOBL %s<>(SB), RODATA|NOPTR, $%d\n", k.name, offset)
}

// multiple is where limb j of m*p is stored.
func (k *kernels) multiple(m, j int) string {
	return fmt.Sprintf("%s<>+%d(SB)", k.name, 8*(1+len(k.constants)+(m-1)*k.limbs+j))
}

func (k *kernels) loadConstants() {
	k.op("VPBROADCASTQ %s<>+0(SB), %s", k.name, k.mask())
	for i := range k.constants {
		k.op("VPBROADCASTQ %s<>+%d(SB), %s", k.name, 8*(i+1), k.constant(i))
	}
}

func (k *kernels) zero() {
	for i := range 2 * k.limbs {
		k.op("VPXORQ %s, %s, %s", k.acc(i), k.acc(i), k.acc(i))
	}
}

// mul writes the product of the column registers and the vector in memory; the result is in high(), not normalized.
func (k *kernels) mul(column []string, pointer string) {
	k.zero()
	for i := range k.limbs {
		k.op("VMOVDQU64 %s, %s", k.at(pointer, 0, i), k.row())
		for j := range k.limbs {
			k.op("VPMADD52LUQ %s, %s, %s", k.row(), column[j], k.acc(i+j))
		}
		for j := range k.limbs {
			k.op("VPMADD52HUQ %s, %s, %s", k.row(), column[j], k.acc(i+j+1))
		}
		k.reduce(k, i)
	}
}

// square writes the square of the column registers: the products of different limbs, doubled, and those of equal ones.
func (k *kernels) square(column []string) {
	k.zero()
	for i := range k.limbs {
		for j := i + 1; j < k.limbs; j++ {
			k.op("VPMADD52LUQ %s, %s, %s", column[i], column[j], k.acc(i+j))
			k.op("VPMADD52HUQ %s, %s, %s", column[i], column[j], k.acc(i+j+1))
		}
	}
	for i := 1; i < 2*k.limbs-1; i++ {
		k.op("VPADDQ %s, %s, %s", k.acc(i), k.acc(i), k.acc(i))
	}
	for i := range k.limbs {
		k.op("VPMADD52LUQ %s, %s, %s", column[i], column[i], k.acc(2*i))
		k.op("VPMADD52HUQ %s, %s, %s", column[i], column[i], k.acc(2*i+1))
	}
	for i := range k.limbs {
		k.reduce(k, i)
	}
}

// normalize carries, so that all limbs are below 2^52. The value must not be negative.
func (k *kernels) normalize(v []string) {
	for j := range k.limbs - 1 {
		k.op("VPSRAQ $52, %s, %s", v[j], k.temp())
		k.op("VPANDQ %s, %s, %s", k.mask(), v[j], v[j])
		k.op("VPADDQ %s, %s, %s", k.temp(), v[j+1], v[j+1])
	}
}

func (k *kernels) load(v []string, pointer string, offset int) {
	for j := range v {
		k.op("VMOVDQU64 %s, %s", k.at(pointer, offset, j), v[j])
	}
}

func (k *kernels) store(v []string, pointer string, offset int) {
	for j := range v {
		k.op("VMOVDQU64 %s, %s", v[j], k.at(pointer, offset, j))
	}
}

// subtract writes v -= vector in memory, limb by limb.
func (k *kernels) subtract(v []string, pointer string, offset int) {
	for j := range v {
		k.op("VPSUBQ %s, %s, %s", k.at(pointer, offset, j), v[j], v[j])
	}
}

// addMultiple writes v += m*p, limb by limb.
func (k *kernels) addMultiple(v []string, m int) {
	for j := range v {
		k.op("VPADDQ.BCST %s, %s, %s", k.multiple(m, j), v[j], v[j])
	}
}

func (k *kernels) begin(function, arguments, doc string) {
	k.line("// %s%s", k.name, function)
	k.line("// %s", doc)
	k.line("TEXT ·%s%s(SB), NOSPLIT, $0-%s", k.name, function, arguments)
}

func (k *kernels) end() {
	k.op("VZEROUPPER")
	k.op("RET")
	k.line("")
}

// mulKernel: func(z, x, y *vector), z = x*y/R.
func (k *kernels) mulKernel() {
	k.begin("Mul", "24", "sets z to x*y/R.")
	k.op("MOVQ z+0(FP), DI")
	k.op("MOVQ x+8(FP), SI")
	k.op("MOVQ y+16(FP), DX")
	k.loadConstants()
	k.load(k.column(), "SI", 0)
	k.mul(k.column(), "DX")
	k.normalize(k.high())
	k.store(k.high(), "DI", 0)
	k.end()
}

// productsKernel: func(running, dx, prefix *vector, sums, terms *vectorPoint, n int): the first pass of adder.addAll.
func (k *kernels) productsKernel() {
	step := 64 * k.limbs
	k.begin("Products", "48", "is the first pass over n > 0 additions: differences, and products of those before each.")
	k.op("MOVQ running+0(FP), DI")
	k.op("MOVQ dx+8(FP), R8")
	k.op("MOVQ prefix+16(FP), R9")
	k.op("MOVQ sums+24(FP), SI")
	k.op("MOVQ terms+32(FP), DX")
	k.op("MOVQ n+40(FP), CX")
	k.loadConstants()
	k.load(k.high(), "DI", 0)
	k.line("loop:")
	k.store(k.high(), "R9", 0)
	k.load(k.column(), "DX", 0)
	k.subtract(k.column(), "SI", 0)
	k.addMultiple(k.column(), k.dxMultiple)
	k.normalize(k.column())
	k.store(k.column(), "R8", 0)
	k.mul(k.column(), "R9")
	k.normalize(k.high())
	k.op("ADDQ $%d, R8", step)
	k.op("ADDQ $%d, R9", step)
	k.op("ADDQ $%d, SI", 2*step)
	k.op("ADDQ $%d, DX", 2*step)
	k.op("DECQ CX")
	k.op("JNZ loop")
	k.store(k.high(), "DI", 0)
	k.end()
}

// sumsKernel: func(running, dx, prefix *vector, sums, terms *vectorPoint, n int, scratch *[2]vector): the second pass.
func (k *kernels) sumsKernel() {
	step := 64 * k.limbs
	a, high := k.column(), k.high()
	k.begin("Sums", "56", "is the second pass, last addition first: running is the inverse of all differences.")
	k.op("MOVQ running+0(FP), DI")
	k.op("MOVQ dx+8(FP), R8")
	k.op("MOVQ prefix+16(FP), R9")
	k.op("MOVQ sums+24(FP), SI")
	k.op("MOVQ terms+32(FP), DX")
	k.op("MOVQ n+40(FP), CX")
	k.op("MOVQ scratch+48(FP), R10")
	k.loadConstants()
	k.op("MOVQ CX, AX")
	k.op("DECQ AX")
	k.op("IMULQ $%d, AX", step)
	k.op("ADDQ AX, R8")
	k.op("ADDQ AX, R9")
	k.op("LEAQ (SI)(AX*2), SI")
	k.op("LEAQ (DX)(AX*2), DX")
	k.line("loop:")
	k.line("\t// the inverse of this difference")
	k.load(a, "R9", 0)
	k.mul(a, "DI")
	k.normalize(high)
	k.store(high, "R10", 0)
	k.line("\t// the inverse of all differences before")
	k.load(a, "R8", 0)
	k.mul(a, "DI")
	k.normalize(high)
	k.store(high, "DI", 0)
	k.line("\t// lambda = dy/dx")
	k.load(a, "DX", 1)
	k.subtract(a, "SI", 1)
	k.addMultiple(a, k.dxMultiple)
	k.normalize(a)
	k.mul(a, "R10")
	k.normalize(high)
	k.store(high, "R10", 1)
	for j := range a {
		k.op("VMOVDQA64 %s, %s", high[j], a[j])
	}
	k.line("\t// x = lambda^2 - x1 - x2")
	k.square(a)
	k.load(a, "SI", 0)
	for j := range a {
		k.op("VPSUBQ %s, %s, %s", a[j], high[j], high[j])
	}
	k.subtract(high, "DX", 0)
	k.addMultiple(high, k.xMultiple)
	k.fold(k, high)
	k.normalize(high)
	k.store(high, "SI", 0)
	k.line("\t// y = lambda*(x1 - x) - y1")
	for j := range a {
		k.op("VPSUBQ %s, %s, %s", high[j], a[j], a[j])
	}
	k.addMultiple(a, k.dxMultiple)
	k.normalize(a)
	k.op("ADDQ $%d, R10", step)
	k.mul(a, "R10")
	k.op("SUBQ $%d, R10", step)
	k.subtract(high, "SI", 1)
	k.addMultiple(high, k.yMultiple)
	k.fold(k, high)
	k.normalize(high)
	k.store(high, "SI", 1)
	k.op("SUBQ $%d, R8", step)
	k.op("SUBQ $%d, R9", step)
	k.op("SUBQ $%d, SI", 2*step)
	k.op("SUBQ $%d, DX", 2*step)
	k.op("DECQ CX")
	k.op("JNZ loop")
	k.end()
}
