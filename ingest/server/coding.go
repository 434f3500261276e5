package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"countersign/ingest/admission"
	"countersign/ingest/internal/sniff"
	"countersign/ingest/problem"
)

// Content codings (RFC 9110, section 8.4.1; zstd: RFC 8878): a compressed body is decompressed within the limits of a
// plain one.

// zstdWindow is the largest window that a zstd body may ask for: what RFC 9659 allows for the coding, and what it costs
// beyond a plain body's memory.
const zstdWindow = 8 << 20

// contentCoding returns the name of a supported content coding, "" for none.
func contentCoding(header string) (string, *problem.Problem) {
	switch strings.ToLower(strings.TrimSpace(header)) {
	case "", "identity":
		return "", nil
	case "gzip", "x-gzip":
		return "gzip", nil
	case "zstd":
		return "zstd", nil
	}
	return "", problem.UnsupportedEncoding(header)
}

// decode returns a body without its coding. closeDecoder must be called when nothing more is read.
func decode(body *wire, coding string) (r io.Reader, closeDecoder func(), err error) {
	switch coding {
	case "gzip":
		z := &inflated{coding: coding, body: body, max: body.max}
		z.src = body.unfold(&lazyGzip{body: body})
		return z, func() {}, nil
	case "zstd":
		d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return &inflated{coding: coding, body: body, src: body.unfold(d), max: body.max}, d.Close, nil
	}
	return body, func() {}, nil
}

// unfold bounds what a decompressor of the body gives.
func (w *wire) unfold(src io.Reader) io.Reader {
	return w.admission.Unfold(src, func() int64 { return w.n })
}

// lazyGzip makes its reader at the first Read: making it reads the body.
type lazyGzip struct {
	body io.Reader
	z    *gzip.Reader
}

func (g *lazyGzip) Read(p []byte) (int, error) {
	if g.z == nil {
		var err error
		if g.z, err = gzip.NewReader(g.body); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // an empty body is no gzip
			}
			return 0, err
		}
	}
	return g.z.Read(p)
}

// inflated counts what comes out of a decompressor and says what went wrong in it.
type inflated struct {
	coding string
	body   *wire
	src    io.Reader
	n, max int64
}

func (z *inflated) Read(p []byte) (int, error) {
	n, err := z.src.Read(p)
	if z.n += int64(n); z.n > z.max {
		return 0, problem.BodyTooLarge(z.max)
	}
	if err == nil || errors.Is(err, io.EOF) && !z.body.cut {
		return n, err
	}
	var connection *problem.Problem
	var much *admission.UnfoldError
	switch {
	case errors.As(err, &connection):
	case errors.As(err, &much):
		err = problem.UnfoldsTooFar(much.Sent, much.Limit)
	case z.body.cut:
		err = problem.CutOff(z.body.n, z.body.announced)
	default:
		err = z.damaged(err)
	}
	return n, err
}

// damaged is the problem of a body that came whole and can't be decompressed.
func (z *inflated) damaged(err error) *problem.Problem {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return problem.UnsupportedCompression(z.coding, z.windowed()+" and 8 MiB is the most here: compress it with zstd's "+
			"level 19 or less, without --long and --ultra, or with --zstd=wlog=23")
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return problem.UnsupportedCompression(z.coding, "it needs a dictionary: compress it without one (zstd's option -D)")
	case errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, gzip.ErrHeader):
		if found := z.found(); found != "" {
			return problem.OtherEncoding(z.coding, found)
		}
	}
	return problem.DamagedEncoding(z.coding, err)
}

// windowed says which window the body asks for, as far as its first frame tells.
func (z *inflated) windowed() string {
	var h zstd.Header
	if h.Decode(z.body.head) == nil && h.WindowSize > zstdWindow {
		return "it asks for a window of " + strconv.FormatUint(h.WindowSize>>20, 10) + " MiB"
	}
	return "it asks for a larger window"
}

// found says what the body is that has the wrong first bytes, and what to do; empty: it has the right ones, or isn't
// recognised.
func (z *inflated) found() string {
	if m, ok := sniff.Of(z.body.head); ok {
		if strings.HasPrefix(m.Found, z.coding) {
			return "" // the damage is further on
		}
		return m.String()
	}
	if text := bytes.TrimLeft(z.body.head, "\xef\xbb\xbf \t\r\n"); len(text) > 0 && text[0] == '[' {
		return "a plain list: send it without that header, or compress it"
	}
	return ""
}
