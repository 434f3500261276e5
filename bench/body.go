package bench

// Bodies of uploads: stretches of the pools' files.

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// counts are the four sums of an upload. They are what a run is checked by.
type counts struct {
	OK        int `json:"okHash"`
	Bad       int `json:"badSigHash"`
	Duplicate int `json:"dupHash"`
	Errors    int `json:"errorHash"`
}

func (c counts) pairs() int { return c.OK + c.Bad + c.Duplicate + c.Errors }

// span is pairs that lie together in a file.
type span struct {
	path         string
	offset, size int64 // bytes
}

// body is one upload's, with what must become of it.
type body struct {
	site  string
	spans []span
	want  counts
}

// size is the Content-Length: the first span's comma makes room for one of the brackets.
func (b *body) size() int64 {
	n := int64(1)
	for _, s := range b.spans {
		n += s.size
	}
	return n
}

// add appends pairs of a file.
func (b *body) add(path string, width, first, n int) {
	if n == 0 {
		return
	}
	offset, size := int64(first)*int64(width), int64(n)*int64(width)
	if last := len(b.spans) - 1; last >= 0 && b.spans[last].path == path && b.spans[last].offset+b.spans[last].size == offset {
		b.spans[last].size += size
		return
	}
	b.spans = append(b.spans, span{path, offset, size})
}

// WriteTo sends the body. A *net.TCPConn as w takes the files' bytes without their passing through this process.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	written, err := io.WriteString(w, "[")
	total := int64(written)
	if err != nil {
		return total, err
	}
	for i, s := range b.spans {
		if i == 0 {
			s.offset, s.size = s.offset+1, s.size-1 // the comma
		}
		n, err := s.writeTo(w)
		total += n
		if err != nil {
			return total, err
		}
	}
	written, err = io.WriteString(w, "]")
	return total + int64(written), err
}

// writeTo opens the file anew: sending advances a file's position.
func (s span) writeTo(w io.Writer) (int64, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(s.offset, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.CopyN(w, f, s.size)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s is shorter than it was: %w", s.path, io.ErrUnexpectedEOF)
	}
	return n, err
}

// unsent makes a body of n pairs that were never sent.
func (p *pool) unsent(n int) (*body, error) {
	first, err := p.reserve(n)
	if err != nil {
		return nil, err
	}
	b := &body{site: p.site, want: counts{OK: n}}
	b.add(p.path("good"), p.width(), first, n)
	return b, nil
}

// again is the same pairs once more.
func (b *body) again() *body {
	return &body{site: b.site, spans: b.spans, want: counts{Duplicate: b.want.OK + b.want.Duplicate, Bad: b.want.Bad}}
}

// mix says how an upload is put together.
type mix struct {
	bad, duplicate float64 // shares, 0 to 1
	from, known    int     // good pairs that the service has: duplicates are taken from them
}

// mixed makes a body of n pairs: some that were never sent, with bad ones and duplicates spread over it. The pool has
// bad pairs.
func (p *pool) mixed(n int, m mix) (*body, error) {
	bad, duplicate := int(m.bad*float64(n)), int(m.duplicate*float64(n))
	if duplicate > 0 && m.known == 0 {
		return nil, fmt.Errorf("%s: no pairs to repeat", p.site)
	}
	if bad > 0 && p.bad == 0 {
		return nil, fmt.Errorf("%s: no bad pairs to send", p.site)
	}
	good := n - bad - duplicate
	first, err := p.reserve(good)
	if err != nil {
		return nil, err
	}
	b := &body{site: p.site, want: counts{OK: good, Bad: bad, Duplicate: duplicate}}
	const every = 1000
	for from := 0; from < n; from += every {
		to := min(from+every, n)
		share := func(of int) (int, int) { return of * from / n, of * to / n }
		lo, hi := share(good)
		b.add(p.path("good"), p.width(), first+lo, hi-lo)
		lo, hi = share(bad)
		b.addRound(p, "bad", 0, p.bad, lo, hi)
		lo, hi = share(duplicate)
		b.addRound(p, "good", m.from, m.known, lo, hi)
	}
	return b, nil
}

// addRound appends pairs lo to hi of an endless repetition of a file's pairs from index first to first+of.
func (b *body) addRound(p *pool, file string, first, of, lo, hi int) {
	for lo < hi {
		at := lo % of
		n := min(hi-lo, of-at)
		b.add(p.path(file), p.width(), first+at, n)
		lo += n
	}
}
