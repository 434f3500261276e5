package gen

import (
	"bytes"
	"fmt"
	"go/format"
	"math/big"
	"strings"
	"text/template"
)

// A modulus names one generated type of package field.
type modulus struct {
	Type, File string
	What       string
	Hex        string
	// reduce writes one step of Montgomery's reduction; see the functions of that signature.
	reduce func(w *bytes.Buffer, m *modulus)
}

var moduli = []*modulus{
	{Type: "P256", File: "p256.go", What: "the coordinate field of P-256", reduce: reduceP256,
		Hex: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"},
	{Type: "P256Order", File: "p256order.go", What: "the order of P-256", reduce: reduceAny,
		Hex: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"},
	{Type: "P384", File: "p384.go", What: "the coordinate field of P-384", reduce: reduceP384,
		Hex: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff"},
	{Type: "P384Order", File: "p384order.go", What: "the order of P-384", reduce: reduceAny,
		Hex: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"},
}

func (m *modulus) value() *big.Int {
	v, ok := new(big.Int).SetString(m.Hex, 16)
	if !ok {
		panic("gen: modulus is not hexadecimal: " + m.Hex)
	}
	return v
}

// Limbs is the number of 64-bit limbs.
func (m *modulus) Limbs() int { return (m.value().BitLen() + 63) / 64 }

// words cuts v into the type's limbs, least significant first.
func (m *modulus) words(v *big.Int) []uint64 {
	words := make([]uint64, m.Limbs())
	for i := range words {
		words[i] = new(big.Int).Rsh(v, uint(64*i)).Uint64()
	}
	return words
}

func (m *modulus) literal(v *big.Int) string {
	var parts []string
	for _, word := range m.words(v) {
		parts = append(parts, fmt.Sprintf("%#x", word))
	}
	return m.Type + "{" + strings.Join(parts, ", ") + "}"
}

// inverse64 is -1/modulus modulo 2^64, the constant of Montgomery's reduction.
func (m *modulus) inverse64() uint64 {
	word := new(big.Int).Lsh(big.NewInt(1), 64)
	inverse := new(big.Int).ModInverse(m.value(), word)
	return inverse.Sub(word, inverse).Uint64()
}

// R is 2^(64 limbs) to the given power, modulo the modulus: the literals of the type.
func (m *modulus) power(n int) *big.Int {
	v := m.value()
	return new(big.Int).Exp(big.NewInt(2), big.NewInt(int64(64*m.Limbs()*n)), v)
}

func (m *modulus) Modulus() string { return m.literal(m.value()) }
func (m *modulus) One() string     { return m.literal(m.power(1)) }
func (m *modulus) RSquare() string { return m.literal(m.power(2)) }
func (m *modulus) RCube() string   { return m.literal(m.power(3)) }

// Chain writes an addition or subtraction of two elements limb by limb, `t0, c0 := bits.Add64(x[0], y[0], 0)` and on; #
// in an operand stands for the limb's number.
func (m *modulus) Chain(op, target, carry, left, right string) string {
	var w bytes.Buffer
	in := "0"
	for i := range m.Limbs() {
		name := target
		if target != "_" {
			name += fmt.Sprint(i)
		}
		fmt.Fprintf(&w, "%s, %s := bits.%s(%s, %s, %s)\n", name, carry+fmt.Sprint(i), op,
			strings.ReplaceAll(left, "#", fmt.Sprint(i)), strings.ReplaceAll(right, "#", fmt.Sprint(i)), in)
		in = carry + fmt.Sprint(i)
	}
	return w.String()
}

func (m *modulus) Last() int { return m.Limbs() - 1 }

// Word is a limb of the modulus.
func (m *modulus) Word(i int) string { return fmt.Sprintf("%#x", m.words(m.value())[i]) }

func (m *modulus) ModulusChain(target, left string) string {
	var w bytes.Buffer
	in := "0"
	for i := range m.Limbs() {
		fmt.Fprintf(&w, "%s%d, below%d := bits.Sub64(%s%d, %s, %s)\n", target, i, i, left, i, m.Word(i), in)
		in = fmt.Sprintf("below%d", i)
	}
	return w.String()
}

// Product writes the Montgomery product, one limb of x after the other: t += x[i]*y, then a reduction step that
// makes t divisible by 2^64 and drops its lowest limb. t stays below twice the modulus between steps, because
// (2m + (2^64-1)m + (2^64-1)m) / 2^64 = 2m; within a step it needs two limbs more than the modulus: t[limbs] and top.
func (m *modulus) Product() string {
	var w bytes.Buffer
	n := m.Limbs()
	fmt.Fprintf(&w, "var carry, high, top, q uint64\n")
	for i := range n {
		fmt.Fprintf(&w, "\n// limb %d\nv = x[%d]\n", i, i)
		for j := range n {
			fmt.Fprintf(&w, "h%d, l%d = bits.Mul64(v, y[%d])\n", j, j, j)
		}
		carry := "0"
		for j := 1; j < n; j++ {
			fmt.Fprintf(&w, "l%d, carry = bits.Add64(l%d, h%d, %s)\n", j, j, j-1, carry)
			carry = "carry"
		}
		fmt.Fprintf(&w, "high = h%d + carry\n", n-1)
		if i == 0 {
			for j := range n {
				fmt.Fprintf(&w, "t%d = l%d\n", j, j)
			}
			fmt.Fprintf(&w, "t%d, top = high, 0\n", n)
		} else {
			carry = "0"
			for j := range n {
				fmt.Fprintf(&w, "t%d, carry = bits.Add64(t%d, l%d, %s)\n", j, j, j, carry)
				carry = "carry"
			}
			fmt.Fprintf(&w, "t%d, top = bits.Add64(t%d, high, carry)\n", n, n)
		}
		m.reduce(&w, m)
	}
	return w.String()
}

// shift ends a reduction step: t drops its lowest limb.
func shift(w *bytes.Buffer, m *modulus) {
	n := m.Limbs()
	for j := range n {
		fmt.Fprintf(w, "t%d = t%d\n", j, j+1)
	}
	fmt.Fprintf(w, "t%d = top + carry\n", n)
}

// reduceAny adds q*modulus with q chosen so that the lowest limb becomes zero.
func reduceAny(w *bytes.Buffer, m *modulus) {
	n := m.Limbs()
	fmt.Fprintf(w, "q = t0 * %#x\n", m.inverse64())
	for j := range n {
		fmt.Fprintf(w, "h%d, l%d = bits.Mul64(q, %s)\n", j, j, m.Word(j))
	}
	carry := "0"
	for j := 1; j < n; j++ {
		fmt.Fprintf(w, "l%d, carry = bits.Add64(l%d, h%d, %s)\n", j, j, j-1, carry)
		carry = "carry"
	}
	fmt.Fprintf(w, "high = h%d + carry\n_, carry = bits.Add64(t0, l0, 0)\n", n-1)
	for j := 1; j < n; j++ {
		fmt.Fprintf(w, "t%d, carry = bits.Add64(t%d, l%d, carry)\n", j, j, j)
	}
	fmt.Fprintf(w, "t%d, carry = bits.Add64(t%d, high, carry)\n", n, n)
	shift(w, m)
}

// reduceP256 uses p = 2^256 - 2^224 + 2^192 + 2^96 - 1: modulo 2^64 it is -1, so q is t0 itself, and t + q*p is
// t - q + q*2^96 + (2^64-2^32+1)*q*2^192.
func reduceP256(w *bytes.Buffer, m *modulus) {
	fmt.Fprintf(w, `q = t0
h0, l0 = bits.Mul64(q, %s)
t1, carry = bits.Add64(t1, q<<32, 0)
t2, carry = bits.Add64(t2, q>>32, carry)
t3, carry = bits.Add64(t3, l0, carry)
t4, carry = bits.Add64(t4, h0, carry)
`, m.Word(3))
	shift(w, m)
}

// reduceP384 uses p = 2^384 - k with k = 2^128 + 2^96 - 2^32 + 1: q = t0 * (2^32+1), and t + q*p is t - q*k + q*2^384.
// The lowest limb of q*k equals t0. The borrow that leaves limb 5 is taken from q, which isn't zero if there is one.
func reduceP384(w *bytes.Buffer, m *modulus) {
	fmt.Fprint(w, `q = t0 + t0<<32
h0, _ = bits.Mul64(q, 0xffffffff00000001)
h1, l1 = bits.Mul64(q, 0xffffffff)
l1, carry = bits.Add64(l1, h0, 0)
h1, carry = bits.Add64(h1, q, carry)
t1, high = bits.Sub64(t1, l1, 0)
t2, high = bits.Sub64(t2, h1, high)
t3, high = bits.Sub64(t3, carry, high)
t4, high = bits.Sub64(t4, 0, high)
t5, high = bits.Sub64(t5, 0, high)
t6, carry = bits.Add64(t6, q-high, 0)
`)
	shift(w, m)
}

// Names lists t0..tn style variables.
func (m *modulus) Names(prefix string, extra int) string {
	var names []string
	for i := range m.Limbs() + extra {
		names = append(names, fmt.Sprintf("%s%d", prefix, i))
	}
	return strings.Join(names, ", ")
}

var fieldTemplate = template.Must(template.New("field").Parse(`// Code generated by go run ./internal/gen/emit. DO NOT EDIT.

package field

import "math/bits"

// {{.Type}} is an element of {{.What}},
// 0x{{.Hex}}.
type {{.Type}} [{{.Limbs}}]uint64

// Words is the element's limbs; see Element.
func (z *{{.Type}}) Words() []uint64 { return z[:] }

// IsZero tells whether z is 0; see Element.
func (z *{{.Type}}) IsZero() bool { return *z == {{.Type}}{} }

// SetOne sets z to the Montgomery form of 1; see Element.
func (z *{{.Type}}) SetOne() { *z = {{.One}} }

// SetModulus sets z to the modulus; see Element.
func (z *{{.Type}}) SetModulus() { *z = {{.Modulus}} }

// Enter sets z to the Montgomery form of x; see Element.
func (z *{{.Type}}) Enter(x *{{.Type}}) { z.Mul(x, &{{.RSquare}}) }

// Leave sets z to the value whose Montgomery form is x; see Element.
func (z *{{.Type}}) Leave(x *{{.Type}}) { z.Mul(x, &{{.Type}}{1}) }

// Less tells whether z is below x as an integer; see Element.
func (z *{{.Type}}) Less(x *{{.Type}}) bool {
	{{.Chain "Sub64" "_" "b" "z[#]" "x[#]"}}
	return b{{.Last}} != 0
}

// Add sets z to x+y; see Element.
func (z *{{.Type}}) Add(x, y *{{.Type}}) {
	{{.Chain "Add64" "t" "c" "x[#]" "y[#]"}}
	z.reduceOnce({{.Names "t" 0}}, c{{.Last}})
}

// Sub sets z to x-y; see Element.
func (z *{{.Type}}) Sub(x, y *{{.Type}}) {
	{{.Chain "Sub64" "t" "b" "x[#]" "y[#]"}}
	mask := -b{{.Last}}
	{{.SubFix}}
}

// Neg sets z to -x; see Element.
func (z *{{.Type}}) Neg(x *{{.Type}}) { z.Sub(&{{.Type}}{}, x) }

// reduceOnce sets z to the value of the limbs and the carry above them, which is below twice the modulus.
func (z *{{.Type}}) reduceOnce({{.Names "t" 0}}, carry uint64) {
	{{.ModulusChain "r" "t"}}
	_, borrow := bits.Sub64(carry, 0, below{{.Last}})
	mask := -borrow
	{{.Select}}
}

// Mul sets z to x*y/R; see Element.
func (z *{{.Type}}) Mul(x, y *{{.Type}}) {
	var v uint64
	var {{.Names "h" 0}}, {{.Names "l" 0}} uint64
	var {{.Names "t" 1}} uint64
	{{.Product}}
	z.reduceOnce({{.Names "t" 0}}, t{{.Limbs}})
}

// Invert sets z to 1/x; see Element.
func (z *{{.Type}}) Invert(x *{{.Type}}) {
	inverse := *x
	var modulus {{.Type}}
	modulus.SetModulus()
	invertWords(inverse[:], modulus[:])
	// What was inverted is x*R: R^3 makes up for that and for the product.
	z.Mul(&inverse, &{{.RCube}})
}
`))

// SubFix writes the addition of the modulus where the mask is set.
func (m *modulus) SubFix() string {
	var w bytes.Buffer
	in := "0"
	for i := range m.Limbs() {
		out := fmt.Sprintf("c%d", i)
		if i == m.Last() {
			out = "_"
		}
		fmt.Fprintf(&w, "r%d, %s := bits.Add64(t%d, %s&mask, %s)\n", i, out, i, m.Word(i), in)
		in = out
	}
	fmt.Fprintf(&w, "*z = %s{%s}\n", m.Type, m.Names("r", 0))
	return w.String()
}

// Select writes the choice between t (mask set) and r.
func (m *modulus) Select() string {
	var w bytes.Buffer
	for i := range m.Limbs() {
		fmt.Fprintf(&w, "z[%d] = r%d ^ mask&(r%d^t%d)\n", i, i, i, i)
	}
	return w.String()
}

// fieldFile is the text of one type's file.
func fieldFile(m *modulus) ([]byte, error) {
	var w bytes.Buffer
	if err := fieldTemplate.Execute(&w, m); err != nil {
		return nil, fmt.Errorf("writing %s: %w", m.File, err)
	}
	formatted, err := format.Source(w.Bytes())
	if err != nil {
		return nil, fmt.Errorf("formatting %s: %w", m.File, err)
	}
	return formatted, nil
}
