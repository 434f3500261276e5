package main

// The tile: ten limbs of one number times ten limbs of another, added to
// columns. Everything else in the kernel is loops around tiles.
//
// A tile multiplies ten row limbs, kept in registers, by ten stream limbs,
// taken one a step from memory. Step t adds to the columns t to t+10, relative
// to the tile: the low half of row[i]*stream[t] to column t+i, the high half to
// column t+i+1. Column t gets nothing after step t, so it is finished there,
// and its register takes up column t+10. Ten accumulators, each of them the
// column with its number modulo ten, thus slide over a product of any length,
// and a loop over tiles needs no moves between registers.

import "fmt"

const width = 10 // limbs in a block; the limb counts of all key sizes are multiples

// opening says what a column holds when the window reaches it.
type opening int

const (
	openZero   opening = iota // nothing was added to it yet
	openMemory                // what an earlier block left in t
	openDouble                // twice that plus its share of the squares: a column of a squaring
	openAddend                // the limb of the broadcast number at addendPtr
)

// closing says where a column goes when the window has passed.
type closing int

const (
	closeMemory closing = iota // to t as it is
	closeQuot                  // carried, to q: it multiplies the next block of the reduction
	closeSquare                // doubled, its share of the squares added, carried, to q
	closeDrop                  // its low 52 bits are zero: only the carry goes on
	closeResult                // carried, to x: a limb of the result
)

// stream says where the tile's second factor is.
type stream int

const (
	streamLanes  stream = iota // ten limbs of eight lanes at streamPtr
	streamScalar               // ten limbs at streamPtr, the same for all lanes
	streamRows                 // the rows themselves: products of row i < row t only
)

type tile struct {
	stream stream
	open   opening
	close  closing
}

// Register allocation. Accumulators and rows fill Z0 to Z19.
const (
	regStream = "Z20" // and Z21, in turn
	regSquare = "Z22"
	regCarry  = "Z23"
	regSaved  = "Z24" // carry out of the first block of a product
	regMask   = "Z31" // 2^52-1

	streamPtr = "SI"
	columnPtr = "DI"
	squarePtr = "BX" // limb whose square belongs to the next column opened
	addendPtr = "BX"
	quotPtr   = "R13"
	resultPtr = "DX"
)

func acc(column int) string { return fmt.Sprintf("Z%d", column%width) }
func row(i int) string      { return fmt.Sprintf("Z%d", width+i) }

// at is the memory operand of the i-th eight-lane limb after a pointer.
func at(ptr string, i int) string {
	if i == 0 {
		return "(" + ptr + ")"
	}
	return fmt.Sprintf("%d(%s)", 64*i, ptr)
}

// scalarAt is the memory operand of the i-th limb of a number that all lanes share.
func scalarAt(ptr string, i int) string {
	if i == 0 {
		return "(" + ptr + ")"
	}
	return fmt.Sprintf("%d(%s)", 8*i, ptr)
}

// emit writes the tile's ten steps and moves the pointers on to the next tile.
func (tl tile) emit(w *writer) {
	for t := range width {
		tl.step(w, t)
	}
	w.op("ADDQ", fmt.Sprintf("$%d", 64*width), columnPtr)
	switch tl.stream {
	case streamLanes:
		w.op("ADDQ", fmt.Sprintf("$%d", 64*width), streamPtr)
	case streamScalar:
		w.op("ADDQ", fmt.Sprintf("$%d", 8*width), streamPtr)
	case streamRows: // they are in registers
	}
	switch tl.open {
	case openDouble:
		w.op("ADDQ", fmt.Sprintf("$%d", 64*width/2), squarePtr)
	case openAddend:
		w.op("ADDQ", fmt.Sprintf("$%d", 8*width), addendPtr)
	case openZero, openMemory: // neither has a pointer of its own
	}
	if tl.close == closeResult {
		w.op("ADDQ", fmt.Sprintf("$%d", 64*width), resultPtr)
	}
}

// step adds the products of one stream limb. All low halves come before all
// high halves, so that the two that go to the same column are ten apart: a
// VPMADD52 takes four cycles and one starts each cycle.
func (tl tile) step(w *writer, t int) {
	factor := fmt.Sprintf("Z%d", 20+t%2)
	rows := width
	switch tl.stream {
	case streamLanes:
		w.op("VMOVDQU64", at(streamPtr, t), factor)
	case streamScalar:
		w.op("VPBROADCASTQ", scalarAt(streamPtr, t), factor)
	case streamRows:
		factor, rows = row(t), t
	}
	if rows > 0 {
		w.op("VPMADD52LUQ", row(0), factor, acc(t))
	}
	tl.closeColumn(w, t)
	tl.openColumn(w, t)
	for i := 1; i < rows; i++ {
		w.op("VPMADD52LUQ", row(i), factor, acc(t+i))
	}
	for i := range rows {
		w.op("VPMADD52HUQ", row(i), factor, acc(t+i+1))
	}
}

// openColumn takes up column t+10 in the register that column t left.
func (tl tile) openColumn(w *writer, t int) {
	switch tl.open {
	case openZero:
		w.op("VPXORQ", acc(t), acc(t), acc(t))
	case openMemory:
		w.op("VMOVDQU64", at(columnPtr, t+width), acc(t))
	case openDouble:
		w.op("VMOVDQU64", at(columnPtr, t+width), acc(t))
		addSquare(w, t)
	case openAddend:
		w.op("VPBROADCASTQ", scalarAt(addendPtr, t), acc(t))
	}
}

// addSquare doubles column t, so far the sum of the products of different
// limbs, and adds the half of a limb's square that belongs to it. The limb is
// read at even columns and kept for the odd ones.
func addSquare(w *writer, t int) {
	w.op("VPADDQ", acc(t), acc(t), acc(t))
	if t%2 == 0 {
		w.op("VMOVDQU64", at(squarePtr, t/2), regSquare)
		w.op("VPMADD52LUQ", regSquare, regSquare, acc(t))
	} else {
		w.op("VPMADD52HUQ", regSquare, regSquare, acc(t))
	}
}

func (tl tile) closeColumn(w *writer, t int) {
	switch tl.close {
	case closeMemory:
		w.op("VMOVDQU64", acc(t), at(columnPtr, t))
	case closeQuot:
		carry(w, t)
		w.op("VMOVDQU64", acc(t), at(quotPtr, t))
	case closeSquare:
		w.op("VPADDQ", acc(t), acc(t), acc(t))
		if t%2 == 0 {
			w.op("VPMADD52LUQ", row(t/2), row(t/2), acc(t))
		} else {
			w.op("VPMADD52HUQ", row(t/2), row(t/2), acc(t))
		}
		carry(w, t)
		w.op("VMOVDQU64", acc(t), at(quotPtr, t))
	case closeDrop:
		w.op("VPADDQ", regCarry, acc(t), acc(t))
		w.op("VPSRLQ", "$52", acc(t), regCarry)
	case closeResult:
		carry(w, t)
		w.op("VMOVDQU64", acc(t), at(resultPtr, t))
	}
}

// carry adds the carry into a column's accumulator, leaves its low 52 bits
// there and the rest in regCarry.
func carry(w *writer, t int) {
	w.op("VPADDQ", regCarry, acc(t), acc(t))
	w.op("VPSRLQ", "$52", acc(t), regCarry)
	w.op("VPANDQ", regMask, acc(t), acc(t))
}

// loadRows fetches a block's ten row limbs.
func loadRows(w *writer, ptr string) {
	for i := range width {
		w.op("VMOVDQU64", at(ptr, i), row(i))
	}
}

// openWindow takes up a block's first ten columns from memory.
func openWindow(w *writer, ptr string) {
	for t := range width {
		w.op("VMOVDQU64", at(ptr, t), acc(t))
	}
}

// closeWindow writes a block's last ten columns to memory.
func closeWindow(w *writer) {
	for t := range width {
		w.op("VMOVDQU64", acc(t), at(columnPtr, t))
	}
}
