package jsonstream

// The window: the stretch of the body that is in memory, sliding forwards. Its invariants:
// buf[pos:end] is read and not yet consumed; base is where buf[0] is in the body; after err is set
// nothing more is read, and what was read before it is still served.

import (
	"fmt"
	"io"
)

const (
	firstWindow = 16 << 10  // bytes at first: most requests are small
	fullWindow  = 256 << 10 // bytes in the end, or four times the longest element
	emptyReads  = 100       // reads without bytes or error before the reader is given up
)

type window struct {
	r        io.Reader
	buf      []byte
	pos, end int
	base     int64
	full     int   // what buf may grow to; at least four times what more is asked for
	err      error // io.EOF, or why the body cannot be read
}

func newWindow(r io.Reader, element int) window {
	return window{r: r, buf: make([]byte, firstWindow), full: max(fullWindow, 4*element)}
}

// offset is where buf[pos] is in the body.
func (w *window) offset() int64 { return w.base + int64(w.pos) }

// unread is the part in memory that is not consumed. It is valid until more is called.
func (w *window) unread() []byte { return w.buf[w.pos:w.end] }

// more reads until want bytes are unread, or err is set.
func (w *window) more(want int) {
	for empty := 0; w.end-w.pos < want && w.err == nil; {
		if w.end == len(w.buf) {
			w.slide()
		}
		n, err := w.r.Read(w.buf[w.end:])
		w.end += n
		switch {
		case err == io.EOF:
			w.err = err
		case err != nil:
			w.err = fmt.Errorf("reading the body at byte %d: %w", w.base+int64(w.end), err)
		case n > 0:
			empty = 0
		default:
			if empty++; empty == emptyReads {
				w.err = fmt.Errorf("reading the body at byte %d: %w", w.base+int64(w.end), io.ErrNoProgress)
			}
		}
	}
}

// slide moves the unread bytes to the front, of a buffer twice the size if it may still grow.
// Moving costs little: it happens once per buffer and takes at most a quarter of one.
func (w *window) slide() {
	to := w.buf
	if len(to) < w.full {
		to = make([]byte, min(2*len(to), w.full))
	}
	n := copy(to, w.buf[w.pos:w.end])
	w.base += int64(w.pos)
	w.buf, w.pos, w.end = to, 0, n
}
