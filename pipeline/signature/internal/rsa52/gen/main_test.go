package main

import (
	"bytes"
	"os"
	"testing"
)

// The committed assembler is what this generator writes, byte for byte.
func TestCommittedFileIsCurrent(t *testing.T) {
	committed, err := os.ReadFile("../rsa52_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, source()) {
		t.Error("rsa52_amd64.s differs from what the generator writes: run go generate ./pipeline/signature/internal/rsa52")
	}
}
