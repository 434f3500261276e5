package jsonstream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bytedance/sonic"
	"pgregory.net/rapid"
)

// result is all that a caller of Decode sees.
type result struct {
	Pairs int
	Runs  []run
	Err   error
}

// run is a Columns' exported fields, copied.
type run struct {
	First                              int
	Hashes, Upper, Signatures, Lengths string
	HasUpper                           bool
	Unparsed                           []Unparsed
}

// decode reads r, keeping each Columns or handing it back at once.
func decode(r io.Reader, lim Limits, careful, release bool) result {
	var res result
	var kept []*Columns
	d := newDecoder(r, lim.withDefaults(), func(c *Columns) error {
		if release {
			res.Runs = append(res.Runs, copyRun(c))
			c.Release()
		} else {
			kept = append(kept, c)
		}
		return nil
	})
	d.careful = careful
	if res.Err = d.list(); res.Err == nil {
		res.Pairs = d.elements
	}
	for _, c := range kept {
		res.Runs = append(res.Runs, copyRun(c))
	}
	return res
}

func copyRun(c *Columns) run {
	return run{
		c.First, string(c.Hashes), string(c.Upper), string(c.Signatures), string(c.Lengths), c.Upper != nil,
		append([]Unparsed(nil), c.Unparsed...),
	}
}

func decodeString(s string) result { return decode(strings.NewReader(s), Limits{}, false, false) }

// same fails unless two results agree, errors by their content.
func same(t interface{ Fatalf(string, ...any) }, what string, got, want result) {
	if !reflect.DeepEqual(got, want) { //nolint:govet // the type and every field of an error are meant
		t.Fatalf("%s: got\n%.2000v, error %v, want\n%.2000v, error %v", what, got, got.Err, want, want.Err)
	}
}

func TestAnyWayOfReadingGivesTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := bodies(12).Draw(t, "body").text
		if rapid.Bool().Draw(t, "damaged") {
			body = replaceAt(t, body, []string{"", "]", "[", ",", `"`, `\`, "x", "\n", "null", "\xff"})
		}
		lim := rapid.SampledFrom([]Limits{{}, {MaxPairs: 5}, {MaxElement: 500}}).Draw(t, "limits")
		want := decode(strings.NewReader(body), lim, false, false)
		same(t, "handing columns back", decode(strings.NewReader(body), lim, false, true), want)
		same(t, "without the quick way", decode(strings.NewReader(body), lim, true, false), want)
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.Just(1), rapid.IntRange(1, 1000)), 1, 5).Draw(t, "pieces")
		same(t, "in pieces", decode(&pieces{rest: body, sizes: sizes}, lim, false, false), want)
		same(t, "byte by byte, without the quick way", decode(&pieces{rest: body, sizes: []int{1}}, lim, true, true), want)
	})
}

func TestEveryPairIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := bodies(12).Draw(t, "body")
		res := decodeString(body.text)
		if res.Err != nil || res.Pairs != len(body.pairs) {
			t.Fatalf("%d pairs, error %v, want %d", res.Pairs, res.Err, len(body.pairs))
		}
		checkPairs(t, res, body.pairs)
	})
}

// checkPairs holds runs against the oracles of the pair rules.
func checkPairs(t interface{ Fatalf(string, ...any) }, res result, pairs [][2]string) {
	position := 0
	for _, run := range res.Runs {
		if run.First != position {
			t.Fatalf("a run starts at %d, want %d", run.First, position)
		}
		signatures, unparsed, anyUpper := run.Signatures, run.Unparsed, false
		for i := 0; i < len(run.Lengths)/2; i++ {
			hash, upper, ok := oracleHash(pairs[position][0])
			signature, _ := oracleSignature(pairs[position][1])
			if !ok {
				signature = nil
				if len(unparsed) == 0 || unparsed[0].Index != i || unparsed[0].Reason == "" {
					t.Fatalf("pair %d is not among the unparsed: %v", position, unparsed)
				}
				checkClipped(t, unparsed[0].Text, pairs[position][0])
				unparsed = unparsed[1:]
			}
			n := int(binary.LittleEndian.Uint16([]byte(run.Lengths[2*i:])))
			if run.Hashes[32*i:32*i+32] != string(hash) || n != len(signature) || signatures[:n] != string(signature) {
				t.Fatalf("pair %d is %x, %x, want %x, %x", position, run.Hashes[32*i:32*i+32], signatures[:n], hash, signature)
			}
			if run.HasUpper && run.Upper[i/8]>>(i%8)&1 == 1 != upper || !run.HasUpper && upper {
				t.Fatalf("pair %d: upper case must be %v", position, upper)
			}
			anyUpper = anyUpper || upper
			signatures = signatures[n:]
			position++
		}
		if n := len(run.Lengths) / 2; len(signatures) > 0 || len(unparsed) > 0 || len(run.Hashes) != 32*n ||
			anyUpper != run.HasUpper || run.HasUpper && len(run.Upper) != (n+7)/8 {
			t.Fatalf("columns that do not match: %+v", run)
		}
	}
	if position != len(pairs) {
		t.Fatalf("%d pairs in runs, want %d", position, len(pairs))
	}
}

func checkClipped(t interface{ Fatalf(string, ...any) }, got, sent string) {
	sent = strings.ToValidUTF8(sent, "\ufffd")
	if len(sent) <= 256 && got != sent || len(got) > 256 || !utf8.ValidString(got) {
		t.Fatalf("text %q became %q", sent, got)
	}
}

// sonicStrings reads strings as encoding/json does. It is a second oracle, by other hands.
var sonicStrings = sonic.Config{ValidateString: true}.Froze()

// oraclePairs reads a body with encoding/json.
func oraclePairs(body []byte) (pairs [][2]string, ok bool) {
	var v any
	if json.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &v) != nil {
		return nil, false
	}
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	for _, element := range list {
		strings, _ := element.([]any)
		if len(strings) != 2 {
			return nil, false
		}
		first, ok1 := strings[0].(string)
		second, ok2 := strings[1].(string)
		if !ok1 || !ok2 {
			return nil, false
		}
		pairs = append(pairs, [2]string{first, second})
	}
	return pairs, true
}

// checkBody holds Decode against encoding/json, and its complaint against what a complaint means.
func checkBody(t interface{ Fatalf(string, ...any) }, body []byte) {
	lim := Limits{MaxElement: len(body) + 1}
	res := decode(bytes.NewReader(body), lim, false, false)
	same(t, "without the quick way", decode(bytes.NewReader(body), lim, true, true), res)
	same(t, "byte by byte", decode(&pieces{rest: string(body), sizes: []int{1}}, lim, false, false), res)
	pairs, ok := oraclePairs(body)
	if ok != (res.Err == nil) {
		t.Fatalf("error %v, but encoding/json says %v", res.Err, ok)
	}
	if ok {
		var bySonic [][2]string
		err := sonicStrings.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &bySonic)
		if err != nil || len(pairs) > 0 && !slices.Equal(bySonic, pairs) {
			t.Fatalf("encoding/json reads %q, and sonic %q, %v", pairs, bySonic, err)
		}
		checkPairs(t, res, pairs)
		return
	}
	var broken *SyntaxError
	if !errors.As(res.Err, &broken) || broken.Offset < 0 || broken.Offset > int64(len(body)) || broken.Reason == "" ||
		broken.Element < -1 || strings.Contains(broken.Error(), "%!") || !utf8.ValidString(broken.Error()) {
		t.Fatalf("error %#v", res.Err)
	}
	// Everything before the offset can be right, with the byte there it cannot.
	if before := decode(bytes.NewReader(body[:broken.Offset]), lim, false, false); before.Err != nil {
		var cut *SyntaxError
		if !errors.As(before.Err, &cut) || cut.Offset != broken.Offset {
			t.Fatalf("broken at %d, but what comes before is broken too: %v", broken.Offset, before.Err)
		}
	}
	if broken.Offset < int64(len(body)) {
		with := decode(bytes.NewReader(body[:broken.Offset+1]), lim, false, false)
		same(t, "cut off after the offending byte", result{Err: blind(with.Err)}, result{Err: blind(res.Err)})
	}
}

// blind returns an error without what the body looks like, which more of the body may tell.
func blind(err error) error {
	if broken, ok := errors.AsType[*SyntaxError](err); ok {
		seen := *broken
		seen.Looks = ""
		return &seen
	}
	return err
}

func TestDecodeAgainstTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := bodies(3).Draw(t, "body").text
		for range rapid.IntRange(0, 2).Draw(t, "damages") {
			body = replaceAt(t, body, []string{
				"", "]", "[", ",", `"`, `\`, `\u12`, `\ud800`, "x", "1", "\n", "\x00", "null", "{}", "\xff", "\xef\xbb\xbf",
			})
		}
		checkBody(t, []byte(body))
	})
}

func FuzzDecode(f *testing.F) {
	for _, c := range syntaxCases {
		f.Add([]byte(c.body))
	}
	f.Add(body(3, 64, 7))
	f.Add([]byte(` [ [ "` + lowerHash + `" , "-\/8_" ] , [ "\ud800\u00e9" , "\n" ] ] `))
	f.Fuzz(func(t *testing.T, body []byte) { checkBody(t, body) })
}
