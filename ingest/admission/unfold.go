package admission

// What a compressed body may unfold to. The bound follows what was sent so far, so a body that unfolds too far is
// stopped after a few blocks, and the work for it is a stated multiple of its bytes (I8).

import (
	"fmt"
	"io"
)

// UnfoldError is the error of a compressed body that unfolds to more than it may.
type UnfoldError struct {
	Sent  int64 // bytes received so far
	Limit int64 // what they may unfold to, in bytes
}

func (e *UnfoldError) Error() string {
	return fmt.Sprintf("%d bytes of the body unfold to more than %d", e.Sent, e.Limit)
}

// unfolding counts what comes out of a decompressor.
type unfolding struct {
	src      io.Reader
	sent     func() int64
	unfolded int64
	cfg      *Config
}

// Unfold returns what src, a decompressor, gives, until that is more than UnfoldSlack bytes and UnfoldFactor times what
// sent says was received. sent is called by Read. The error is then an *UnfoldError.
func (a *Admission) Unfold(src io.Reader, sent func() int64) io.Reader {
	return &unfolding{src: src, sent: sent, cfg: &a.cfg}
}

func (u *unfolding) Read(p []byte) (int, error) {
	n, err := u.src.Read(p)
	u.unfolded += int64(n)
	sent := u.sent()
	if limit := u.cfg.UnfoldSlack + u.cfg.UnfoldFactor*sent; u.unfolded > limit {
		return 0, &UnfoldError{Sent: sent, Limit: limit}
	}
	return n, err
}
