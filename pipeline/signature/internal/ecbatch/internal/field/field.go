package field

// What the four fields have in common.

import (
	"encoding/binary"
	"math/big"
)

// Element is what generic code may ask of the four types. The receiver is the destination and may alias any operand.
type Element[E any] interface {
	*E
	// Mul sets the receiver to x*y/R. x may be any value below R, reduced or not; y must be reduced.
	Mul(x, y *E)
	// Add sets the receiver to x+y.
	Add(x, y *E)
	// Sub sets the receiver to x-y.
	Sub(x, y *E)
	// Neg sets the receiver to -x.
	Neg(x *E)
	// Invert sets the receiver to the inverse of x, both in Montgomery form; zero for zero.
	Invert(x *E)
	// Enter sets the receiver to the Montgomery form of x. x may be any value below R.
	Enter(x *E)
	// Leave sets the receiver to the value whose Montgomery form is x.
	Leave(x *E)
	// SetOne sets the receiver to the Montgomery form of 1.
	SetOne()
	// SetModulus sets the receiver to the modulus itself, the only unreduced value a method produces.
	SetModulus()
	// IsZero tells whether the receiver is 0.
	IsZero() bool
	// Less tells whether the receiver, read as an integer of any size below R, is below x.
	Less(x *E) bool
	// Words is the receiver's own limbs, least significant first; writing to it changes the element.
	Words() []uint64
}

// invertWords replaces x, below the modulus, by its inverse; zero by zero. It is math/big's algorithm: variable time,
// three times as fast as an exponentiation.
func invertWords(x, modulus []uint64) {
	inverse := integer(x)
	inverse.ModInverse(inverse, integer(modulus)) // leaves zero alone
	buffer := make([]byte, 8*len(x))
	inverse.FillBytes(buffer)
	for i := range x {
		x[i] = binary.BigEndian.Uint64(buffer[8*(len(x)-1-i):])
	}
}

func integer(x []uint64) *big.Int {
	buffer := make([]byte, 0, 48)
	for i := len(x) - 1; i >= 0; i-- {
		buffer = binary.BigEndian.AppendUint64(buffer, x[i])
	}
	return new(big.Int).SetBytes(buffer)
}
