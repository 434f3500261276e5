package bench

// Bombs: bodies of some kilobytes that unfold, or would unfold, to very much. Each is of another kind.

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	bombRate    = 20.0 // a second, all kinds in turn
	bombWorkers = 16   // bombs under way at most
)

// bombing is the attack with one bomb after the other.
func bombing(bombs []*posted) attack {
	return attack{
		name: "bombs", title: fmt.Sprintf("%d kinds of bombs", len(bombs)),
		start: func(ctx context.Context, f *front) {
			f.paced(ctx, 0, bombRate, bombWorkers, func(ctx context.Context, c *conn, i int) { f.post(ctx, c, bombs[i%len(bombs)]) })
		},
	}
}

// bombKind is a bomb before it is packed: n times a text between a beginning and an end.
type bombKind struct {
	site, coding     string
	begin, text, end string
	n, members       int // members: the compressed streams that the body consists of, one after the other
}

// makeBombs packs all kinds. n is the pairs of the larger ones; stored is one of knownSite.
func makeBombs(n int, unreachable, knownSite string, stored textPair) ([]*posted, error) {
	valid := fmt.Sprintf(`["%s","%s"]`, stored.hash, stored.signature)
	zeroes := strings.Repeat("0", hashText)
	tiny := `["` + zeroes + `","AAAA"]`
	unsigned := `["` + zeroes + `","` + strings.Repeat("A", 342) + `__"]` // 256 bytes
	kinds := []bombKind{
		{site: unreachable, coding: "zstd", begin: "[" + tiny, text: "," + tiny, end: "]", n: n},
		{site: unreachable, coding: "gzip", begin: "[" + tiny, text: "," + tiny, end: "]", n: n},
		{site: knownSite, coding: "zstd", begin: "[", text: strings.Repeat(" ", 512), end: "]", n: n},
		{site: knownSite, coding: "gzip", begin: "[", text: strings.Repeat("\n", 128), end: "]", n: n},
		{site: knownSite, coding: "zstd", begin: "[" + unsigned, text: "," + unsigned, end: "]", n: n / 2},
		{site: knownSite, coding: "zstd", begin: "[" + valid, text: "," + valid, end: "]", n: n / 2},
		{site: knownSite, coding: "gzip", begin: "[" + valid, text: "," + valid, end: "]", n: n / 2},
		{site: knownSite, coding: "zstd", begin: `[["no hash",""]`, text: `,["no hash",""]`, end: "]", n: n},
		{site: knownSite, coding: "zstd", begin: "[" + tiny, text: `,["` + strings.Repeat("x", 60<<10) + `",""]`, end: "]", n: n / 500},
		{site: unreachable, coding: "zstd", begin: "[" + tiny, text: "," + tiny, end: "]", n: n, members: 1000},
		{site: unreachable, coding: "gzip", begin: "[" + tiny, text: "," + tiny, end: "]", n: n, members: 100},
	}
	var bombs []*posted
	for _, k := range kinds {
		b, err := k.pack()
		if err != nil {
			return nil, fmt.Errorf("pack a bomb: %w", err)
		}
		bombs = append(bombs, b)
	}
	within, err := withinBound(unreachable, max(n/500, 1))
	return append(bombs, within), err
}

// withinBound packs pairs that unfold to some seventeen times their size, which is still taken.
func withinBound(site string, pairs int) (*posted, error) {
	list := make([]string, pairs)
	for i := range list {
		list[i] = `["` + hexText(randomHash()) + `","` + strings.Repeat("A", 600) + `"]`
	}
	return bombKind{site: site, coding: "zstd", begin: "[" + strings.Join(list, ","), end: "]"}.pack()
}

// pack compresses the bomb. Nothing of it may ever count as added.
func (k bombKind) pack() (*posted, error) {
	var packed bytes.Buffer
	var size int64
	members := max(k.members, 1)
	for m := range members {
		w, err := packer(&packed, k.coding)
		if err != nil {
			return nil, err
		}
		write := func(text string) {
			n, _ := io.WriteString(w, text) // into memory: Close says what failed
			size += int64(n)
		}
		if m == 0 {
			write(k.begin)
		}
		for range k.n / members {
			write(k.text)
		}
		if m == members-1 {
			write(k.end)
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	text := packed.Bytes()
	return &posted{
		site: k.site, coding: k.coding, content: func() io.WriterTo { return bytes.NewReader(text) }, wire: int64(len(text)), size: size,
		right: func(got counts) bool { return got.OK == 0 },
	}, nil
}

func packer(to io.Writer, coding string) (io.WriteCloser, error) {
	if coding == "gzip" {
		return gzip.NewWriterLevel(to, gzip.BestSpeed)
	}
	return zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
}
