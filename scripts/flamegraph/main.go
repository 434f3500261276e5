package main

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	width    = 1200.0
	row      = 16.0
	minWidth = 1.0 // pixels; narrower boxes are left out
	perChar  = 6.6
)

// frame is one function in one place of the stacks.
type frame struct {
	name     string
	total    time.Duration
	children map[string]*frame
}

func (f *frame) child(name string) *frame {
	if f.children == nil {
		f.children = make(map[string]*frame)
	}
	c := f.children[name]
	if c == nil {
		c = &frame{name: name}
		f.children[name] = c
	}
	return c
}

func (f *frame) depth() int {
	deepest := 0
	for _, c := range f.children {
		deepest = max(deepest, c.depth())
	}
	return deepest + 1
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go tool pprof -traces PROFILE | flamegraph TITLE")
		os.Exit(2)
	}
	root, err := read(os.Stdin)
	if err == nil {
		err = draw(os.Stdout, root, os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flamegraph: "+err.Error())
		os.Exit(1)
	}
}

// sample begins a stack: its time, then its innermost function. The functions around it follow, one a line.
var sample = regexp.MustCompile(`^\s+([0-9.]+(?:ns|us|µs|ms|s|mins))\s+(\S.*)$`)

func read(r io.Reader) (*frame, error) {
	root := &frame{name: "all"}
	var took time.Duration
	var stack []string // innermost first
	flush := func() {
		f := root
		root.total += took
		for _, name := range slices.Backward(stack) {
			f = f.child(name)
			f.total += took
		}
		took, stack = 0, nil
	}
	started := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		switch m := sample.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "-----------+"):
			started = true
			flush()
		case !started:
		case m != nil:
			d, err := time.ParseDuration(strings.Replace(m[1], "mins", "m", 1))
			if err != nil {
				return nil, err
			}
			took, stack = d, []string{clean(m[2])}
		case strings.TrimSpace(line) != "" && stack != nil:
			stack = append(stack, clean(line))
		}
	}
	flush()
	return root, lines.Err()
}

func clean(name string) string {
	return strings.TrimSuffix(strings.TrimSpace(name), " (inline)")
}

func draw(w io.Writer, root *frame, title string) error {
	height := float64(root.depth()+2) * row
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="monospace" font-size="11">`+"\n", width, height)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="6" y="12">%s</text>`+"\n", html.EscapeString(title))
	drawFrame(b, root, root.total, 0, height-row)
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}

func drawFrame(w io.Writer, f *frame, all time.Duration, x, y float64) {
	share := float64(f.total) / float64(max(all, 1))
	if share*width < minWidth {
		return
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(f.name))
	short := f.name[strings.LastIndexByte(f.name, '/')+1:]
	fmt.Fprintf(w, `<g><title>%s: %.1f %%</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.0f" fill="hsl(%d 80%% 72%%)" stroke="#fff" stroke-width=".5"/>`,
		html.EscapeString(f.name), 100*share, x, y, share*width, row, 15+h.Sum32()%45)
	if room := int(share * width / perChar); room > 3 {
		fmt.Fprintf(w, `<text x="%.1f" y="%.1f">%s</text>`, x+2, y+row-4, html.EscapeString(short[:min(len(short), room)]))
	}
	fmt.Fprintln(w, "</g>")
	children := make([]*frame, 0, len(f.children))
	for _, c := range f.children {
		children = append(children, c)
	}
	slices.SortFunc(children, func(a, b *frame) int { return strings.Compare(a.name, b.name) })
	for _, c := range children {
		drawFrame(w, c, all, x, y-row)
		x += float64(c.total) / float64(max(all, 1)) * width
	}
}
