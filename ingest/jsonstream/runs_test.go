package jsonstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func lengths(runs []run) (n []int) {
	for _, r := range runs {
		n = append(n, len(r.Lengths)/2)
	}
	return n
}

func TestRunsEndAtBatchesAndBelowTheRecordLimit(t *testing.T) {
	junk := func(n int) []byte {
		element := `["` + strings.Repeat("é", 500) + `","AAEC"],`
		return []byte("[" + strings.Repeat(element, n-1) + strings.TrimSuffix(element, ",") + "]")
	}
	for _, c := range []struct {
		name string
		body []byte
		want []int
	}{
		{"less than a batch", body(999, 64, 1), []int{999}},
		{"a batch", body(1000, 64, 1), []int{1000}},
		{"a pair more", body(1001, 64, 1), []int{1000, 1}},
		{"RSA-2048", body(2500, 256, 1), []int{1000, 1000, 500}},
		{"RSA-4096", body(1100, 512, 1), []int{1000, 100}},
		{"RSA-8192", body(2100, 1024, 1), []int{775, 225, 775, 225, 100}},
		{"unparsed", junk(2100), []int{1000, 1000, 100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{bytes.NewReader(c.body), &pieces{rest: string(c.body), sizes: []int{1, 70, 4096}}} {
				res := decode(r, Limits{}, false, true)
				if res.Err != nil || !slices.Equal(lengths(res.Runs), c.want) {
					t.Fatalf("runs of %v pairs, error %v, want %v", lengths(res.Runs), res.Err, c.want)
				}
				for _, run := range res.Runs {
					size := len(run.Hashes) + len(run.Upper) + len(run.Signatures) + len(run.Lengths)
					for _, u := range run.Unparsed {
						size += len(u.Text) + len(u.Reason) + 16
					}
					if size > 850<<10 {
						t.Errorf("the run at %d takes %d bytes", run.First, size)
					}
				}
				pairs, _ := oraclePairs(c.body)
				checkPairs(t, res, pairs)
			}
		})
	}
}

func TestLongTextsAreShortened(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{strings.Repeat("a", 256), strings.Repeat("a", 256)},
		{strings.Repeat("a", 257), strings.Repeat("a", 200) + "… (257 bytes)"},
		{strings.Repeat("é", 200), strings.Repeat("é", 100) + "… (400 bytes)"},
		{"a" + strings.Repeat("é", 200), "a" + strings.Repeat("é", 99) + "… (401 bytes)"},
		{strings.Repeat("😀", 5000), strings.Repeat("😀", 50) + "… (20000 bytes)"},
	} {
		res := decodeString(`[["` + c.text + `",""]]`)
		if res.Err != nil || len(res.Runs) != 1 || len(res.Runs[0].Unparsed) != 1 ||
			res.Runs[0].Unparsed[0].Text != c.want || !utf8.ValidString(c.want) {
			t.Errorf("%.20s...: got %+v, error %v, want %s", c.text, res.Runs, res.Err, c.want)
		}
	}
}

func TestSinkErrorEndsDecodeAsItIs(t *testing.T) {
	for _, full := range []error{errors.New("full"), io.EOF} {
		for _, n := range []int{10, 1500} {
			calls := 0
			pairs, err := Decode(bytes.NewReader(body(n, 64, 1)), Limits{}, func(*Columns) error { calls++; return full })
			if pairs != 0 || !errors.Is(err, full) || calls != 1 {
				t.Errorf("got %d pairs, %v, %d calls", pairs, err, calls)
			}
		}
	}
}

// The sink owns its columns: what it keeps does not change, what it releases from another goroutine
// may be used again, and the texts of unparsed pairs outlive it.
func TestColumnsBelongToTheSink(t *testing.T) {
	text := body(20_500, 100, 9)
	text = append(bytes.Replace(text, []byte(`["`), []byte(`["no hash é\/`), 1), ' ')
	want := decode(bytes.NewReader(text), Limits{}, false, false)
	var got result
	later := make(chan *Columns, 3)
	var wait sync.WaitGroup
	wait.Go(func() {
		for c := range later {
			got.Runs = append(got.Runs, copyRun(c))
			c.Release()
		}
	})
	var texts []Unparsed
	got.Pairs, got.Err = Decode(bytes.NewReader(text), Limits{}, func(c *Columns) error {
		texts = append(texts, c.Unparsed...)
		later <- c
		return nil
	})
	close(later)
	wait.Wait()
	same(t, "released later", got, want)
	if len(texts) != 1 || !strings.HasPrefix(texts[0].Text, "no hash é/") {
		t.Errorf("unparsed: %v", texts)
	}
	(&Columns{}).Release() // made elsewhere: does nothing
}

// Eight times the body takes no more memory: neither what is held at the end of it nor, in the
// common case, what was ever allocated on the way.
func TestMemoryDoesNotGrowWithTheBody(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it measures the heap, which is another one under the race detector")
	}
	few, many := string(body(5_000, 256, 2)), string(body(40_000, 256, 2))
	for _, c := range []struct {
		name    string
		letters *strings.Replacer
		careful bool
	}{
		{"common pairs", strings.NewReplacer(), false},
		{"any pairs", strings.NewReplacer(), true},
		{"escapes", strings.NewReplacer("~", `\/`), false},
		{"white space", strings.NewReplacer(",", ",\n      "), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			measure := func(text string, pairs int) (allocated, held int64) {
				r := &pieces{rest: c.letters.Replace(text), sizes: []int{4096}}
				var before, last runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				d := newDecoder(r, Limits{}.withDefaults(), func(c *Columns) error {
					if c.First+c.Len() == pairs {
						runtime.ReadMemStats(&last)
						allocated = int64(last.TotalAlloc - before.TotalAlloc)
						runtime.GC()
						runtime.ReadMemStats(&last)
						held = int64(last.HeapAlloc) - int64(before.HeapAlloc)
					}
					c.Release()
					return nil
				})
				d.careful = c.careful
				if err := d.list(); err != nil || d.elements != pairs {
					t.Fatal(d.elements, err)
				}
				return allocated, held
			}
			allocated5, held5 := measure(few, 5_000)
			allocated40, held40 := measure(many, 40_000)
			if held40 > max(held5, 0)+512<<10 || held40 > 4<<20 {
				t.Errorf("5,000 pairs hold %d bytes, 40,000 hold %d", held5, held40)
			}
			if allocated40 > allocated5+64<<10 {
				t.Errorf("5,000 pairs allocate %d bytes, 40,000 allocate %d", allocated5, allocated40)
			}
		})
	}
}

func ExampleDecode() {
	upload := `[["2804fbcd69ab84e985955431a5dcdb20b0d999be2bf9e90280cdf030e94c15dc", "AAEC"], ["README", "AAEC"]]`
	pairs, err := Decode(strings.NewReader(upload), Limits{}, func(c *Columns) error {
		defer c.Release()
		fmt.Printf("%d pairs, %d bytes of hashes, signatures %x, lengths %x\n",
			c.Len(), len(c.Hashes), c.Signatures, c.Lengths)
		for _, u := range c.Unparsed {
			fmt.Printf("pair %d, %q: %s\n", c.First+u.Index, u.Text, u.Reason)
		}
		return nil
	})
	fmt.Println(pairs, err)
	// Output:
	// 2 pairs, 64 bytes of hashes, signatures 000102, lengths 03000000
	// pair 1, "README": not a SHA-256 in hex: 6 characters, want 64
	// 2 <nil>
}
