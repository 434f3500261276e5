package ecbatch

import (
	"testing"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

func TestKernels(t *testing.T) {
	needKernels(t)
	p256 := kernelCase[vector256, field.P256]{k: kernels256(), coordinate: 1001}
	p384 := kernelCase[vector384, field.P384]{k: kernels384(), coordinate: 2001}
	t.Run("P-256/products", func(t *testing.T) { checkProducts[vector256, field.P256, *field.P256](t, p256) })
	t.Run("P-384/products", func(t *testing.T) { checkProducts[vector384, field.P384, *field.P384](t, p384) })
	t.Run("P-256/sums", func(t *testing.T) { checkSums[vector256, field.P256, *field.P256](t, p256) })
	t.Run("P-384/sums", func(t *testing.T) { checkSums[vector384, field.P384, *field.P384](t, p384) })
	t.Run("P-256/pick", func(t *testing.T) { checkPick[vector256, field.P256, *field.P256](t, p256) })
	t.Run("P-384/pick", func(t *testing.T) { checkPick[vector384, field.P384, *field.P384](t, p384) })
}
