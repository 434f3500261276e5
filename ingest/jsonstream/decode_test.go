package jsonstream

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"countersign/ingest/internal/sniff"
)

const pair = `["` + lowerHash + `","AAEC"]` // 75 bytes

func TestAcceptedBodies(t *testing.T) {
	long := strings.Repeat("é", 200)
	for _, c := range []struct {
		name, body string
		pairs      [][2]string
	}{
		{"empty list", `[]`, nil},
		{"empty list with space", " \r\n\t[ \n ] \n", nil},
		{"byte-order mark", "\xef\xbb\xbf[" + pair + "]", [][2]string{{lowerHash, "AAEC"}}},
		{"mark, then space", "\xef\xbb\xbf \n[]", nil},
		{
			"as people write it", `[ [ "` + lowerHash + `", "AAEC" ], [ "x", "y" ] ]`,
			[][2]string{{lowerHash, "AAEC"}, {"x", "y"}},
		},
		{"a line each", "[\n" + pair + ",\n" + pair + "\n]\n", [][2]string{{lowerHash, "AAEC"}, {lowerHash, "AAEC"}}},
		{"escaped slash", `[["` + lowerHash + `","AA\/C"]]`, [][2]string{{lowerHash, "AA/C"}}},
		{"unicode escape", `[["\u0032` + lowerHash[1:] + `","\u002dAEC"]]`, [][2]string{{lowerHash, "-AEC"}}},
		{"escaped line breaks", `[["` + lowerHash + `","AA\nEC\r\n"]]`, [][2]string{{lowerHash, "AAEC"}}},
		{"quotes and backslashes", `[["\\\"","\\\\"]]`, [][2]string{{`\"`, `\\`}}},
		{"brackets in strings", `[["],[","]]"]]`, [][2]string{{"],[", "]]"}}},
		{"lone surrogate", `[["\ud800","\udc00\ud800x"]]`, [][2]string{{"\ufffd", "\ufffd"}}},
		{"surrogate pair", `[["\ud83d\ude00",""]]`, [][2]string{{"😀", ""}}},
		{"no UTF-8", "[[\"a\xffb\xc3\",\"\x80\"]]", [][2]string{{"a\ufffdb\ufffd", "\ufffd"}}},
		{"escaped NUL", `[["\u0000","\u0000"]]`, [][2]string{{"\x00", "\x00"}}},
		{"DEL and line separators are ordinary", "[[\"\x7f\u2028\",\"\"]]", [][2]string{{"\x7f\u2028", ""}}},
		{"long text", `[["` + long + `",""]]`, [][2]string{{long, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := decodeString(c.body)
			if res.Err != nil || res.Pairs != len(c.pairs) {
				t.Fatalf("%d pairs, error %v", res.Pairs, res.Err)
			}
			checkPairs(t, res, c.pairs)
			checkBody(t, []byte(c.body))
			if len(c.pairs) == 0 && len(res.Runs) > 0 {
				t.Error("an empty list reached the sink")
			}
		})
	}
}

// syntaxCases are bodies that break, with where and why.
var syntaxCases = []struct {
	name, body string
	element    int
	offset     int
	reason     string
}{
	{"empty body", "", -1, 0, "the body is empty"},
	{"white space only", " \n", -1, 2, "the body is empty"},
	{"mark only", "\xef\xbb\xbf", -1, 3, "the body is empty"},
	{"two marks", "\xef\xbb\xbf\xef\xbb\xbf[]", -1, 3, "found the byte 0xef"},
	{"half a mark", "\xef\xbb[]", -1, 2, "rest of a UTF-8 byte-order mark"},
	{"cut in the mark", "\xef\xbb", -1, 2, ""},
	{"UTF-16", "\xff\xfe[\x00", -1, 0, "it looks like text in UTF-16: send it in UTF-8"},
	{"UTF-16 without a mark", "[\x00[\x00", 0, 1, "text in UTF-16: send it in UTF-8"},
	{"multipart", "--4f1a\r\nContent-Disposition: form-data", -1, 0, "it looks like a multipart form"},
	{"gzip", "\x1f\x8b\x08\x00", -1, 0, "Content-Encoding: gzip"},
	{"percent-encoded", "%5B%5B%22", -1, 0, "it looks like a percent-encoded form"},
	{"two lines of pairs", pair + "\n" + pair, 0, 1, "a pair on each line is no list"},
	{"lines of objects", `{"hash":"a"}` + "\n", -1, 0, "found an object; it looks like an object: send the list itself"},
	{"CSV", pair[2:66] + ",AAAA", -1, 0, "it looks like a hash without quotes"},
	{"text of Python", `[['a','b']]`, 0, 2, "json.dumps"},
	{"text of a JavaScript object", "[object Object]", 0, 1, "JSON.stringify"},
	{"two lists", "[" + pair + "]\n[" + pair + "]", -1, 78, "send one list"},
	{"an object", `{"a":1}`, -1, 0, "found an object"},
	{"a string", `"a"`, -1, 0, "found a string"},
	{"a number", ` -1`, -1, 1, "found a number"},
	{"null", `null`, -1, 0, "true, false or null"},
	{"a form", `hash=1`, -1, 0, "found 'h'; it looks like a form: send the list itself"},
	{"list not closed", `[`, 0, 1, "cut off"},
	{"cut after a pair", "[" + pair, 0, 76, "cut off"},
	{"cut after a comma", "[" + pair + ",", 1, 77, "cut off"},
	{"cut in a pair", "[" + pair + "," + pair[:70], 1, 147, "ends inside a string"},
	{"cut before a bracket", "[" + pair[:74], 0, 75, "ends inside a pair"},
	{"cut in an escape", `[["\`, 0, 4, "ends inside a string"},
	{"cut in a unicode escape", `[["\u12`, 0, 7, "ends inside a string"},
	{"leading comma", `[,` + pair + `]`, 0, 1, `found ','`},
	{"trailing comma", `[` + pair + `,]`, 1, 77, "a comma after the last pair"},
	{"two commas", `[` + pair + `,,` + pair + `]`, 1, 77, "found ','"},
	{"no comma", `[` + pair + pair + `]`, 0, 76, "found a list"},
	{"colon", `[` + pair + `:` + pair + `]`, 0, 76, "found ':'"},
	{"trailing bytes", `[` + pair + `] x`, -1, 78, "expected the end of the body"},
	{"a second list", `[][]`, -1, 2, "expected the end of the body"},
	{"NUL behind", "[]\x00", -1, 2, "the byte 0x00"},
	{"one bracket more", `[]]`, -1, 2, "expected the end of the body"},
	{"element is a number", `[` + pair + `,12]`, 1, 77, "found a number"},
	{"element is null", `[null]`, 0, 1, "pair of strings"},
	{"element is a string", `["a","b"]`, 0, 1, "found a string"},
	{"element is an object", `[{"hash":"a"}]`, 0, 1, "found an object"},
	{"empty pair", `[[]]`, 0, 2, "must be a string"},
	{"one string", `[["a"]]`, 0, 5, "two strings"},
	{"three strings", `[["a","b","c"]]`, 0, 9, "two strings"},
	{"comma behind two", `[["a","b",]]`, 0, 9, "two strings"},
	{"hash is a number", `[[1,"b"]]`, 0, 2, "the hash"},
	{"hash is null", `[[null,"b"]]`, 0, 2, "the hash"},
	{"signature is null", `[["a",null]]`, 0, 6, "the signature"},
	{"signature is a list", `[["a",["b"]]]`, 0, 6, "found a list"},
	{"deep nesting", strings.Repeat("[", 100000), 0, 2, "found a list"},
	{"single quotes", `[['a','b']]`, 0, 2, `'\''`},
	{"a line feed in a string", "[[\"a\nb\",\"\"]]", 0, 4, "control character (0x0a)"},
	{"a tab in the signature", "[[\"a\",\"\t\"]]", 0, 7, "control character (0x09)"},
	{"NUL in a string", "[[\"\x00\",\"\"]]", 0, 3, "control character (0x00)"},
	{"bad escape", `[["\x","b"]]`, 0, 4, "no escape"},
	{"escaped quote only", `[["a\',"b"]]`, 0, 5, "no escape"},
	{"bad unicode escape", `[["\u12g4","b"]]`, 0, 7, "four hex digits"},
	{"short unicode escape", `[["\u12","b"]]`, 0, 7, "four hex digits"},
	{"quote in a unicode escape", `[["a","\u1"]]`, 0, 10, "four hex digits"},
	{"upper-case U", `[["\U0041","b"]]`, 0, 4, "no escape"},
	{"a bad string before bad structure", "[[\"\n\",\"\"],[1]]", 0, 3, "control character"},
	{"the first of two bad strings", `[["a","b"],["\q","\x"],["\z",""]]`, 1, 14, "no escape"},
	{"vertical tab is no white space", "[\v]", 0, 1, "the byte 0x0b"},
	{"a mark inside", "[\xef\xbb\xbf" + pair + "]", 0, 1, "the byte 0xef"},
	{"a comment", `[/* */` + pair + `]`, 0, 1, "found '/'"},
}

func looksOf(head string) string {
	m, _ := sniff.Of([]byte(head))
	return m.String()
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range syntaxCases {
		t.Run(c.name, func(t *testing.T) {
			n, err := Decode(strings.NewReader(c.body), Limits{}, func(*Columns) error { return nil })
			var broken *SyntaxError
			if n != 0 || !errors.As(err, &broken) {
				t.Fatalf("got %d, %v", n, err)
			}
			if broken.Element != c.element || broken.Offset != int64(c.offset) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("got element %d, byte %d, %v\nwant element %d, byte %d, %q",
					broken.Element, broken.Offset, err, c.element, c.offset, c.reason)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("byte %d", c.offset)) ||
				c.element >= 0 && !strings.Contains(err.Error(), fmt.Sprintf("element %d", c.element)) {
				t.Errorf("the text does not name the place: %v", err)
			}
			if len(c.body) < 1000 {
				checkBody(t, []byte(c.body))
			}
		})
	}
}

// The place is right far into a body too, where the window has moved.
func TestSyntaxErrorFarIntoABody(t *testing.T) {
	good := string(body(3000, 256, 3))
	good = good[:len(good)-1] + "," + pair + "," // 3,001 pairs
	for _, c := range []struct {
		bad   string
		after int
	}{{`["a"]`, 4}, {`["\q",""]`, 3}, {"[\"a\",\"b\"]\n,null]", 11}, {`["a","b"`, 8}} {
		reader := func() io.Reader { return strings.NewReader(good + c.bad) }
		for _, r := range []io.Reader{reader(), iotest.OneByteReader(reader()), iotest.DataErrReader(reader())} {
			_, err := Decode(r, Limits{}, func(*Columns) error { return nil })
			want := &SyntaxError{Element: 3001, Offset: int64(len(good) + c.after)}
			if strings.Contains(c.bad, "null") {
				want.Element++
			}
			var broken *SyntaxError
			if !errors.As(err, &broken) || broken.Element != want.Element || broken.Offset != want.Offset {
				t.Errorf("%s: got %v, want element %d, byte %d", c.bad, err, want.Element, want.Offset)
			}
		}
	}
}

// A body cut anywhere is an error at its end; with an error in place of the end, it is that error.
func TestCutAtEveryPosition(t *testing.T) {
	body := "\xef\xbb\xbf [ " + pair + " ,\n[\"\\u00e9\\\\\" , \"\\n\"], " + strings.ToUpper(pair) + " ]"
	if res := decodeString(body); res.Err != nil || res.Pairs != 3 {
		t.Fatalf("%d pairs, error %v", res.Pairs, res.Err)
	}
	stalled := errors.New("stalled")
	for n := range body {
		res := decodeString(body[:n])
		var broken *SyntaxError
		if !errors.As(res.Err, &broken) || broken.Offset != int64(n) {
			t.Errorf("cut after %d bytes: %v", n, res.Err)
		}
		for _, r := range []io.Reader{
			&pieces{rest: body[:n], sizes: []int{n + 1}, end: stalled},
			&pieces{rest: body[:n], sizes: []int{1}, end: stalled},
			iotest.DataErrReader(&pieces{rest: body[:n], sizes: []int{7}, end: stalled}),
		} {
			if res := decode(r, Limits{}, false, false); !errors.Is(res.Err, stalled) {
				t.Errorf("stalled after %d bytes: %v", n, res.Err)
			}
		}
	}
	// The list is complete, the body is not.
	res := decode(&pieces{rest: body, sizes: []int{9}, end: stalled}, Limits{}, false, false)
	if !errors.Is(res.Err, stalled) {
		t.Errorf("stalled after the list: %v", res.Err)
	}
}

func TestWhatComesFirstDecides(t *testing.T) {
	stalled := errors.New("stalled")
	var broken *SyntaxError
	res := decode(&pieces{rest: `[["\q",""],["a","b"],`, sizes: []int{100}, end: stalled}, Limits{}, false, false)
	if !errors.As(res.Err, &broken) || broken.Offset != 4 {
		t.Errorf("a bad string before a read error: %v", res.Err)
	}
	res = decode(strings.NewReader(`[["\q",""],["a","b"],["c","d"]]`), Limits{MaxPairs: 2}, false, false)
	if !errors.As(res.Err, &broken) || broken.Offset != 4 {
		t.Errorf("a bad string before a pair too many: %v", res.Err)
	}
}

func TestReaderThatGivesNothing(t *testing.T) {
	_, err := Decode(emptyReader{}, Limits{}, func(*Columns) error { return nil })
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v", err)
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

func TestLimits(t *testing.T) {
	list := func(n int) string { return "[" + strings.Repeat(pair+",", n-1) + pair + "]" }
	spacious := func(n int) string { return `["` + lowerHash + `"` + strings.Repeat(" ", n-75) + `,"AAEC"]` }
	escaped := func(n int) string { return `["` + strings.Repeat(`\"`, (n-8)/2) + `","a"]` }
	for _, c := range []struct {
		name string
		body string
		lim  Limits
		want error
	}{
		{"as many pairs as allowed", list(3), Limits{MaxPairs: 3}, nil},
		{"one more", list(4), Limits{MaxPairs: 3}, &LimitError{LimitPairs, 3, 3, 1 + 3*76}},
		{"one more, without its end", list(4)[:1+3*76+1], Limits{MaxPairs: 3}, &LimitError{LimitPairs, 3, 3, 1 + 3*76}},
		{
			"no pair too many, but a comma", list(3)[:3*76] + ",]", Limits{MaxPairs: 3},
			&SyntaxError{Element: 3, Offset: 1 + 3*76, Reason: "a comma after the last pair: expected another pair"},
		},
		{"an element as long as allowed", "[" + spacious(200) + "]", Limits{MaxElement: 200}, nil},
		{
			"a byte longer", "[" + pair + "," + spacious(201) + "]", Limits{MaxElement: 200},
			&LimitError{LimitElement, 200, 1, 77},
		},
		{"an escaped one as long as allowed", "[" + escaped(200) + "]", Limits{MaxElement: 200}, nil},
		{"a byte longer, escaped", "[" + escaped(202) + "]", Limits{MaxElement: 201}, &LimitError{LimitElement, 201, 0, 1}},
		{"the longest by default", "[" + spacious(64<<10) + "]", Limits{}, nil},
		{"longer than the default", "[" + spacious(64<<10+1) + "]", Limits{}, &LimitError{LimitElement, 64 << 10, 0, 1}},
		{"a string without an end", `[["` + strings.Repeat("a", 1<<20), Limits{}, &LimitError{LimitElement, 64 << 10, 0, 1}},
		{"longer than the window", "[" + spacious(1<<20) + "," + pair + "]", Limits{MaxElement: 1 << 20}, nil},
		{
			"white space between elements has no limit",
			"[" + strings.Repeat(" ", 1<<20) + pair + strings.Repeat("\n", 1<<20) + "]", Limits{}, nil,
		},
		{
			"broken within the limit", `["a" "` + strings.Repeat("a", 1000) + `"]`, Limits{MaxElement: 100},
			&SyntaxError{Element: 0, Offset: 1, Reason: pairForm + ", found a string", Looks: looksOf(`["`)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, careful := range []bool{false, true} {
				for _, r := range []io.Reader{
					strings.NewReader(c.body), &pieces{rest: c.body, sizes: []int{1, 900}},
					iotest.OneByteReader(strings.NewReader(c.body)),
				} {
					res := decode(r, c.lim, careful, true)
					if !reflect.DeepEqual(res.Err, c.want) { //nolint:govet // their type and every field are meant
						t.Fatalf("got %v, want %v", res.Err, c.want)
					}
				}
			}
		})
	}
}

func TestLimitErrorsNameTheRemedy(t *testing.T) {
	for _, c := range []struct {
		err  *LimitError
		want []string
	}{
		{&LimitError{LimitPairs, 1000000, 1000000, 5}, []string{"more than 1000000 pairs", "several requests"}},
		{&LimitError{LimitElement, 65536, 7, 1234}, []string{"element 7", "byte 1234", "65536 bytes", "in hex"}},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.err.Error(), want) {
				t.Errorf("%q does not say %q", c.err, want)
			}
		}
	}
}
