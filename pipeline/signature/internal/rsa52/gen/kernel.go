package main

// The two functions of the kernel, as loops around tiles.

import "fmt"

const (
	blockBytes  = 64 * width // ten limbs of eight lanes
	scalarBytes = 8 * width  // ten limbs that all lanes share
)

// squarings emits
//
//	func square(w *work, k *constants, blocks, count uint64)
//
// x = s squared count times, the first time from s, later from x.
func squarings(w *writer) {
	w.line("\n// func square(w *work, k *constants, blocks, count uint64)")
	w.line("TEXT ·square(SB), NOSPLIT, $0-32")
	prologue(w)
	w.op("LEAQ", "work_s(R8)", "R12")
	w.op("MOVQ", "count+24(FP)", "R15")
	w.repeat("R15", func() {
		clearTop(w)
		crossFirst(w)
		crossRest(w)
		reduction(w, true)
		w.op("LEAQ", "work_x(R8)", "R12")
	})
	w.op("VZEROUPPER")
	w.op("RET")
}

// lastProduct emits
//
//	func finish(w *work, k *constants, blocks uint64) (equal uint32)
//
// x = (x*s + h*k.factor + k.addend)/R, and a bit per lane where that is n or 2n.
func lastProduct(w *writer) {
	w.line("\n// func finish(w *work, k *constants, blocks uint64) (equal uint32)")
	w.line("TEXT ·finish(SB), NOSPLIT, $0-28")
	prologue(w)
	clearTop(w)
	expected(w)
	product(w)
	firstQuotient(w)
	reduction(w, false)
	compare(w)
	w.op("VZEROUPPER")
	w.op("RET")
}

func prologue(w *writer) {
	w.op("MOVQ", "w+0(FP)", "R8")
	w.op("MOVQ", "k+8(FP)", "R9")
	w.op("MOVQ", "blocks+16(FP)", "R11")
	w.op("LEAQ", "work_t(R8)", "R10")
	w.op("VPTERNLOGQ", "$0xff", regMask, regMask, regMask)
	w.op("VPSRLQ", "$12", regMask, regMask)
}

// blockPtr sets dst to base plus index blocks.
func blockPtr(w *writer, base, index, dst string) {
	w.op("IMUL3Q", fmt.Sprintf("$%d", blockBytes), index, dst)
	w.op("ADDQ", base, dst)
}

// clearTop zeroes the columns of t that the first block doesn't reach.
func clearTop(w *writer) {
	w.comment("the columns above the first block's start at zero")
	w.op("LEAQ", "1(R11)", "CX")
	blockPtr(w, "R10", "CX", columnPtr)
	w.op("LEAQ", "-1(R11)", "CX")
	w.zero("Z0")
	w.repeat("CX", func() {
		for t := range width {
			w.op("VMOVDQU64", "Z0", at(columnPtr, t))
		}
		w.op("ADDQ", fmt.Sprintf("$%d", blockBytes), columnPtr)
	})
}

// crossFirst multiplies the first ten limbs with each later limb. Columns 0 to 9 get
// nothing from other blocks: they become the first quotient at once.
func crossFirst(w *writer) {
	w.comment("products of limbs 0 to 9 with later limbs")
	w.op("MOVQ", "R10", columnPtr)
	w.op("LEAQ", fmt.Sprintf("%d(R12)", blockBytes), streamPtr)
	w.op("LEAQ", "work_q(R8)", quotPtr)
	loadRows(w, "R12")
	for t := range width {
		w.zero(acc(t))
	}
	w.zero(regCarry)
	tile{streamRows, openZero, closeSquare}.emit(w)
	w.op("VMOVDQA64", regCarry, regSaved)
	w.op("LEAQ", "-1(R11)", "CX")
	w.repeat("CX", func() { tile{streamLanes, openZero, closeMemory}.emit(w) })
	closeWindow(w)
}

// crossRest does the same for the other blocks of ten limbs.
func crossRest(w *writer) {
	w.comment("products of the other limbs, ten at a time, with later limbs")
	w.op("MOVQ", "R10", "R14")
	w.op("MOVQ", "R12", "DX")
	w.op("LEAQ", "-1(R11)", "AX")
	w.repeat("AX", func() {
		w.op("ADDQ", fmt.Sprintf("$%d", 2*blockBytes), "R14")
		w.op("ADDQ", fmt.Sprintf("$%d", blockBytes), "DX")
		w.op("MOVQ", "R14", columnPtr)
		w.op("LEAQ", fmt.Sprintf("%d(DX)", blockBytes), streamPtr)
		loadRows(w, "DX")
		openWindow(w, columnPtr)
		tile{streamRows, openMemory, closeMemory}.emit(w)
		w.op("LEAQ", "-1(AX)", "CX")
		w.repeat("CX", func() { tile{streamLanes, openMemory, closeMemory}.emit(w) })
		closeWindow(w)
	})
}

// expected puts h*factor + addend into t.
func expected(w *writer) {
	w.comment("t = h*factor + addend")
	w.op("LEAQ", "work_h(R8)", "R13")
	loadRows(w, "R13")
	w.op("LEAQ", "constants_addend(R9)", addendPtr)
	for t := range width {
		w.op("VPBROADCASTQ", scalarAt(addendPtr, t), acc(t))
	}
	w.op("ADDQ", fmt.Sprintf("$%d", scalarBytes), addendPtr)
	w.op("LEAQ", "constants_factor(R9)", streamPtr)
	w.op("MOVQ", "R10", columnPtr)
	w.op("MOVQ", "R11", "CX")
	w.repeat("CX", func() { tile{streamScalar, openAddend, closeMemory}.emit(w) })
	closeWindow(w)
}

// product adds s*x to t.
func product(w *writer) {
	w.comment("t += s*x")
	w.op("MOVQ", "R10", "R14")
	w.op("LEAQ", "work_s(R8)", "DX")
	w.op("MOVQ", "R11", "AX")
	w.repeat("AX", func() {
		w.op("MOVQ", "R14", columnPtr)
		w.op("LEAQ", "work_x(R8)", streamPtr)
		loadRows(w, "DX")
		openWindow(w, columnPtr)
		w.op("MOVQ", "R11", "CX")
		w.repeat("CX", func() { tile{streamLanes, openMemory, closeMemory}.emit(w) })
		closeWindow(w)
		w.op("ADDQ", fmt.Sprintf("$%d", blockBytes), "R14")
		w.op("ADDQ", fmt.Sprintf("$%d", blockBytes), "DX")
	})
}

// firstQuotient carries columns 0 to 9 of t into q.
func firstQuotient(w *writer) {
	w.comment("q = columns 0 to 9")
	w.op("LEAQ", "work_q(R8)", quotPtr)
	openWindow(w, "R10")
	w.zero(regCarry)
	for t := range width {
		tile{close: closeQuot}.closeColumn(w, t)
	}
	w.op("VMOVDQA64", regCarry, regSaved)
}

// reduction emits x = t/R mod n, as one fold by q for each block but the last
// and a Montgomery step for the last. If squaring, columns are doubled and get
// their squares when they are first met.
func reduction(w *writer, squaring bool) {
	first := openMemory
	if squaring {
		first = openDouble
	}
	firstFold(w, first)
	laterFolds(w, first)
	montgomery(w)
}

func firstFold(w *writer, open opening) {
	w.comment("t = t/W + q*fold, first block")
	loadRows(w, quotPtr)
	w.op("LEAQ", fmt.Sprintf("%d(R10)", blockBytes), columnPtr)
	w.op("LEAQ", "constants_fold(R9)", streamPtr)
	openWindow(w, columnPtr)
	if open == openDouble {
		w.op("LEAQ", fmt.Sprintf("%d(R12)", blockBytes/2), squarePtr)
		for t := range width {
			addSquare(w, t)
		}
		w.op("ADDQ", fmt.Sprintf("$%d", blockBytes/2), squarePtr)
	}
	w.op("VPADDQ", regSaved, acc(0), acc(0))
	quotientTile(w, open)
	w.op("LEAQ", "-1(R11)", "CX")
	w.repeat("CX", func() { tile{streamScalar, open, closeMemory}.emit(w) })
	closeWindow(w)
}

// quotientTile is a fold's first tile: its columns are the next fold's q.
func quotientTile(w *writer, open opening) {
	w.zero(regCarry)
	tile{streamScalar, open, closeQuot}.emit(w)
	w.op("VPADDQ", regCarry, acc(0), acc(0))
}

// laterFolds are the folds whose columns were met before, but for the last ten.
func laterFolds(w *writer, open opening) {
	w.comment("t = t/W + q*fold, other blocks but the last")
	w.op("LEAQ", fmt.Sprintf("%d(R10)", blockBytes), "R14")
	w.op("LEAQ", "-2(R11)", "AX")
	w.repeat("AX", func() {
		w.op("ADDQ", fmt.Sprintf("$%d", blockBytes), "R14")
		loadRows(w, quotPtr)
		w.op("MOVQ", "R14", columnPtr)
		w.op("LEAQ", "constants_fold(R9)", streamPtr)
		openWindow(w, columnPtr)
		quotientTile(w, openMemory)
		skip := w.label()
		w.op("CMPQ", "AX", "$1")
		w.op("JNE", skip)
		lastQuotient(w)
		w.line("")
		w.line("%s:", skip)
		w.op("LEAQ", "-2(R11)", "CX")
		w.repeat("CX", func() { tile{streamScalar, openMemory, closeMemory}.emit(w) })
		if open == openDouble {
			// Column c's square is that of limb c/2, and c is now twice as far into t
			// as the limb is into the number.
			w.op("LEAQ", fmt.Sprintf("%d(%s)", blockBytes, columnPtr), squarePtr)
			w.op("SUBQ", "R10", squarePtr)
			w.op("SHRQ", "$1", squarePtr)
			w.op("ADDQ", "R12", squarePtr)
		}
		tile{streamScalar, open, closeMemory}.emit(w)
		closeWindow(w)
	})
}

// lastQuotient emits p = q*inverse mod W. It stands in the middle of the last
// fold, whose other tiles don't depend on it and hide its latency.
func lastQuotient(w *writer) {
	w.comment("p = q*inverse mod W, for the last block")
	sum := func(c int) string { return fmt.Sprintf("Z%d", 21+c) }
	for c := range width {
		w.zero(sum(c))
	}
	for i := range width {
		w.op("VMOVDQU64", at(quotPtr, i), regStream)
		for c := i; c < width; c++ {
			w.op("VPMADD52LUQ.BCST", inverseAt(c-i), regStream, sum(c))
		}
		for c := i + 1; c < width; c++ {
			w.op("VPMADD52HUQ.BCST", inverseAt(c-1-i), regStream, sum(c))
		}
	}
	for c := range width {
		if c > 0 {
			w.op("VPADDQ", regStream, sum(c), sum(c))
		}
		if c < width-1 {
			w.op("VPSRLQ", "$52", sum(c), regStream)
		}
		w.op("VPANDQ", regMask, sum(c), sum(c))
		w.op("VMOVDQU64", sum(c), fmt.Sprintf("work_p+%d(R8)", 64*c))
	}
}

func inverseAt(i int) string { return fmt.Sprintf("constants_inverse+%d(R9)", 8*i) }

// montgomery emits x = (t + p*n)/W, carried.
func montgomery(w *writer) {
	w.comment("x = (t + p*n)/W")
	w.op("LEAQ", "work_p(R8)", "BX")
	loadRows(w, "BX")
	openWindow(w, quotPtr)
	w.op("LEAQ", "-1(R11)", "CX")
	blockPtr(w, "R10", "CX", columnPtr)
	w.op("LEAQ", "constants_n(R9)", streamPtr)
	w.op("LEAQ", "work_x(R8)", resultPtr)
	w.zero(regCarry)
	tile{streamScalar, openMemory, closeDrop}.emit(w)
	w.repeat("CX", func() { tile{streamScalar, openMemory, closeResult}.emit(w) })
	for t := range width {
		tile{close: closeResult}.closeColumn(w, t)
	}
}

// compare emits the result: a bit per lane where x is n or 2n.
func compare(w *writer) {
	w.comment("which lanes of x are n or 2n")
	w.op("LEAQ", "work_x(R8)", "SI")
	w.op("LEAQ", "constants_n(R9)", "DI")
	w.op("LEAQ", "constants_twice(R9)", "BX")
	w.op("IMUL3Q", fmt.Sprintf("$%d", width), "R11", "CX")
	w.zero("Z0")
	w.zero("Z1")
	w.repeat("CX", func() {
		w.op("VMOVDQU64", "(SI)", "Z2")
		w.op("VPXORQ.BCST", "(DI)", "Z2", "Z3")
		w.op("VPXORQ.BCST", "(BX)", "Z2", "Z4")
		w.op("VPORQ", "Z3", "Z0", "Z0")
		w.op("VPORQ", "Z4", "Z1", "Z1")
		w.op("ADDQ", "$64", "SI")
		w.op("ADDQ", "$8", "DI")
		w.op("ADDQ", "$8", "BX")
	})
	w.op("VPTESTNMQ", "Z0", "Z0", "K1")
	w.op("VPTESTNMQ", "Z1", "Z1", "K2")
	w.op("KORW", "K1", "K2", "K1")
	w.op("KMOVW", "K1", "AX")
	w.op("MOVL", "AX", "equal+24(FP)")
}
