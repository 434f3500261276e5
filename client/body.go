package client

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"iter"
	"sync"
	"sync/atomic"
)

// Bodies of uploads, made while they are read. The transport reads a body on a goroutine of its
// own, and may go on for a moment after it has given the answer; and the source of a body may hang.
// So Close never waits, no read begins after it, and settle waits for the last one, before the next
// attempt reads the same source.

type body struct {
	length int64  // in bytes; -1: not known
	stop   func() // called once, when closed and not being read; may be nil
	prompt bool   // src never hangs

	closed atomic.Bool
	mu     sync.Mutex // held while reading
	src    io.Reader
	failed error // src's, other than io.EOF
	ended  bool  // stop was called
}

// sourceError is a failure to read or make what is being uploaded.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read what is to be uploaded: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.unlock()
	if b.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	n, err := b.src.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{err}
		b.failed = err
	}
	return n, err
}

// Close may be called at any time, from any goroutine, more than once, and on nil.
func (b *body) Close() error {
	if b != nil {
		b.closed.Store(true)
		b.end()
	}
	return nil
}

// unlock ends a read. If Close came in the meantime, and found the lock taken, its work is done
// here.
func (b *body) unlock() {
	b.mu.Unlock()
	if b.closed.Load() {
		b.end()
	}
}

// end calls stop, unless a read is going on: then that one does it.
func (b *body) end() {
	if !b.mu.TryLock() {
		return
	}
	if b.stop != nil && !b.ended {
		b.ended = true
		b.stop()
	}
	b.mu.Unlock()
}

// leave closes the body, and waits for a read going on unless it might hang: the caller's pairs are
// the caller's again.
func (b *body) leave() {
	_ = b.Close() // it has no error
	if b != nil && b.prompt {
		b.settle()
	}
}

// settle waits until nothing reads from the source of a closed body any more.
func (b *body) settle() {
	if b != nil {
		b.mu.Lock()
		b.unlock()
	}
}

// failure returns what the source failed with. While a read hangs, it hasn't failed.
func (b *body) failure() error {
	if !b.mu.TryLock() {
		return nil
	}
	defer b.unlock()
	return b.failed
}

// Pair is the SHA-256 of a file and its signature, as SignHash makes it.
type Pair struct {
	Hash      [32]byte
	Signature []byte
}

// signatureText is base64 with the contract's letters: "-" for "+", "~" for "/", "_" for "=".
var signatureText = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~").WithPadding('_')

// EncodeSignature returns a signature as the API takes it: base64 whose special letters mean
// nothing in a URL.
func EncodeSignature(signature []byte) string { return signatureText.EncodeToString(signature) }

// appendPair appends a pair as JSON. Neither text needs escapes.
func appendPair(dst []byte, p Pair) []byte {
	dst = hex.AppendEncode(append(dst, `["`...), p.Hash[:])
	dst = signatureText.AppendEncode(append(dst, `","`...), p.Signature)
	return append(dst, `"]`...)
}

// bodyLength is how long the JSON of all pairs is.
func bodyLength(pairs []Pair) int64 {
	n := int64(len("[]")) + int64(max(len(pairs)-1, 0))
	for _, p := range pairs {
		n += int64(len(`["","]"]`)+64-1) + int64(signatureText.EncodedLen(len(p.Signature)))
	}
	return n
}

// pairReader makes the JSON of pairs as it is read, some 32 KiB at a time.
type pairReader struct {
	next func() (Pair, error, bool)
	buf  []byte
	rest []byte // of buf, not yet read
	open bool   // the opening bracket is written
	err  error  // what to return after rest
}

const encodeAhead = 32 << 10

func (r *pairReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && r.err == nil {
		r.fill()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 {
		return 0, r.err
	}
	return n, nil
}

func (r *pairReader) fill() {
	b := r.buf[:0]
	for len(b) < encodeAhead {
		pair, err, more := r.next()
		if err != nil {
			r.err = err
			break
		}
		separator := byte(',')
		if !r.open {
			separator, r.open = '[', true
		}
		if !more {
			if separator == '[' {
				b = append(b, '[')
			}
			b, r.err = append(b, ']'), io.EOF
			break
		}
		b = appendPair(append(b, separator), pair)
	}
	r.buf, r.rest = b, b
}

func sliceBody(pairs []Pair) *body {
	i := 0
	next := func() (p Pair, err error, more bool) {
		if more = i < len(pairs); more {
			p = pairs[i]
			i++
		}
		return p, nil, more
	}
	return &body{length: bodyLength(pairs), src: &pairReader{next: next}, prompt: true}
}

func seqBody(pairs iter.Seq2[Pair, error]) *body {
	next, stop := iter.Pull2(pairs)
	return &body{length: -1, src: &pairReader{next: next}, stop: stop}
}
