package problem

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Every kind that catalog.go can make has an example, every example is JSON, and its detail is whole sentences.
func TestExamplesOfEveryKind(t *testing.T) {
	var examples []string
	for _, p := range Examples() {
		examples = append(examples, p.Kind)
		var members map[string]any
		if err := json.Unmarshal(p.AppendJSON(nil, ""), &members); err != nil || members["type"] != "/problems/"+p.Kind {
			t.Errorf("%s: %v, %v", p.Kind, members, err)
		}
		if !strings.HasSuffix(p.Detail, ".") || strings.Contains(p.Detail, "%!") {
			t.Errorf("%s: %q", p.Kind, p.Detail)
		}
	}
	slices.Sort(examples)
	kinds := kindsOf(t, "catalog.go")
	if !slices.Equal(slices.Compact(kinds), examples) {
		t.Errorf("kinds: %q\nexamples: %q", kinds, examples)
	}
}

// kindsOf returns the kinds that are written in a file, sorted.
func kindsOf(t *testing.T, file string) (kinds []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		argument := map[string]int{"newProblem": 1, "unavailable": 0}
		if name, ok := call.Fun.(*ast.Ident); ok {
			if i, ok := argument[name.Name]; ok {
				kind, err := strconv.Unquote(call.Args[i].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, kind)
			}
		}
		return true
	})
	slices.Sort(kinds)
	return kinds
}

// Whatever a request holds, a problem that repeats it is valid JSON and short.
func TestPiecesOfTheRequestAreQuoted(t *testing.T) {
	for _, piece := range []string{"", "\x00\"\\\n", "\xff\xfe", strings.Repeat("é", 10_000), "%s %d"} {
		for _, p := range []*Problem{
			NotFound(piece), MethodNotAllowed(piece, "GET"), UnknownProtocol(piece), UnsupportedEncoding(piece),
			UnknownUpload(piece), UnknownBatch(piece, 1, 1), UnknownCertificate(piece),
		} {
			text := p.AppendJSON(nil, "")
			if !json.Valid(text) || !utf8.Valid(text) || len(text) > 1000 || strings.Contains(p.Detail, "%!") {
				t.Errorf("%s of %.20q: %s", p.Kind, piece, text)
			}
		}
	}
}

func TestRetrySecondsAreRoundedUp(t *testing.T) {
	p := Problem{RetryAfter: 1001 * time.Millisecond}
	if p.RetrySeconds() != 2 {
		t.Error(p.RetrySeconds())
	}
}
