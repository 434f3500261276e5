package jsonstream

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// body is what a client sends for n pairs with signatures of the given length: hashes and
// signatures are random.
func body(n, signature int, seed byte) []byte {
	random := rand.NewChaCha8([32]byte{seed})
	letters := strings.NewReplacer("+", "-", "=", "_", "/", "~")
	var b bytes.Buffer
	hash, sig := make([]byte, 32), make([]byte, signature)
	b.WriteByte('[')
	for i := range n {
		random.Read(hash)
		random.Read(sig)
		if i > 0 {
			b.WriteByte(',')
		}
		text := letters.Replace(base64.StdEncoding.EncodeToString(sig))
		b.WriteString(`["` + hex.EncodeToString(hash) + `","` + text + `"]`)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// BenchmarkDecode reads 100,000 pairs with RSA-2048 signatures: as clients send them, so with every
// slash escaped as PHP does, in base64url without padding, and by the general way alone.
func BenchmarkDecode(b *testing.B) {
	plain := body(100_000, 256, 1)
	escaped := bytes.ReplaceAll(bytes.ReplaceAll(plain, []byte("~"), []byte("/")), []byte("/"), []byte(`\/`))
	url := bytes.ReplaceAll(bytes.ReplaceAll(plain, []byte("_"), nil), []byte("~"), []byte("_"))
	for _, c := range []struct {
		name    string
		body    []byte
		careful bool
	}{{"quick", plain, false}, {"escaped", escaped, false}, {"base64url", url, false}, {"general", plain, true}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				release := func(c *Columns) error { c.Release(); return nil }
				d := newDecoder(bytes.NewReader(c.body), Limits{100_000, 1 << 16}, release)
				d.careful = c.careful
				if err := d.list(); err != nil || d.elements != 100_000 {
					b.Fatal(d.elements, err)
				}
			}
		})
	}
}
