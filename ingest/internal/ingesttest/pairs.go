package ingesttest

// Pairs for bodies, and the ways in which bodies arrive.

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// HashText is the i-th hash, in hex.
func HashText(i int) string { return fmt.Sprintf("%064x", i+1) }

// Signature returns a signature of n bytes that begins with 'g', as the fakes take it for good, in the letters of
// docs/contract.md, "signature text".
func Signature(n int) string {
	b := bytes.Repeat([]byte{0xfb, 0xff}, n/2+1)[:n]
	b[0] = 'g'
	return strings.NewReplacer("+", "-", "=", "_", "/", "~").Replace(base64.StdEncoding.EncodeToString(b))
}

// Pair is one pair in JSON.
func Pair(hash, signature string) string { return `["` + hash + `","` + signature + `"]` }

// Pairs returns a list of n good pairs, from hash i on.
func Pairs(i, n, signatureBytes int) []byte {
	signature := Signature(signatureBytes)
	b := append(make([]byte, 0, n*(80+len(signature))+2), '[')
	var hash [32]byte
	for k := range n {
		if k > 0 {
			b = append(b, ',')
		}
		v := i + k + 1
		for j := range 8 {
			hash[31-j] = byte(v >> (8 * j))
		}
		b = append(b, `["`...)
		b = hex.AppendEncode(b, hash[:])
		b = append(b, `","`...)
		b = append(b, signature...)
		b = append(b, `"]`...)
	}
	return append(b, ']')
}

// RandomPairs returns a list of n good pairs that compress no better than real ones. i tells lists apart.
func RandomPairs(i, n, signatureBytes int) []byte {
	random := rand.New(rand.NewPCG(uint64(i), 0))
	b := []byte{'['}
	var hash [32]byte
	signature := make([]byte, signatureBytes)
	for k := range n {
		if k > 0 {
			b = append(b, ',')
		}
		fill(random, hash[:])
		fill(random, signature)
		signature[0] = 'g'
		b = append(b, Pair(hex.EncodeToString(hash[:]), base64.StdEncoding.EncodeToString(signature))...)
	}
	return append(b, ']')
}

func fill(random *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(random.Uint32())
	}
}

// Chunked hides the length of a body, so that net/http sends it in chunked encoding.
type Chunked struct{ io.Reader }

// Zeros never ends.
type Zeros struct{}

func (Zeros) Read(p []byte) (int, error) { return len(p), nil }

// Gzipped compresses s.
func Gzipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.Bytes()
}

// Zstandard compresses s.
func Zstandard(s string, options ...zstd.EOption) []byte {
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll([]byte(s), nil)
}
