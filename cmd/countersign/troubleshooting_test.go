package main

// docs/troubleshooting.md begins each entry with a message. These tests hold the messages to the program, so that who
// searches for one finds it.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"countersign/ingest/problem"
)

// entries are the texts in the first column of all tables of a page whose first column has this heading.
func entries(page, heading string) (all []string) {
	inside := false
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(page) {
		cells := strings.Split(line, " | ")
		switch {
		case !strings.HasPrefix(line, "| "):
			inside = inside && strings.HasPrefix(line, "|-")
		case cells[0] == "| "+heading:
			inside = true
		case inside:
			for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
				all = append(all, m[1])
			}
		}
	}
	return all
}

func troubleshooting(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "troubleshooting.md"))
	must(t, err)
	return string(page)
}

// Every kind of problem has one row, and there are no others.
func TestTroubleshootingHasEveryProblem(t *testing.T) {
	listed := make(map[string]int)
	for _, kind := range entries(troubleshooting(t), "kind") {
		listed[kind]++
	}
	for _, p := range problem.Examples() {
		if listed[p.Kind] != 1 {
			t.Errorf("docs/troubleshooting.md has %s %d times, want once", p.Kind, listed[p.Kind])
		}
		delete(listed, p.Kind)
	}
	for kind := range listed {
		t.Errorf("docs/troubleshooting.md has %s, and there is no such problem", kind)
	}
}

// Every message is one that the program has, where "..." stands for what differs.
func TestTroubleshootingHasMessagesOfTheProgram(t *testing.T) {
	texts := programTexts(t)
	messages := entries(troubleshooting(t), "message")
	if len(messages) < 30 {
		t.Errorf("docs/troubleshooting.md has %d messages: the pattern has grown old", len(messages))
	}
	for _, message := range messages {
		for part := range strings.SplitSeq(message, "...") {
			if !strings.Contains(texts, strings.TrimSpace(part)) {
				t.Errorf("docs/troubleshooting.md has the message %q, and the program has nowhere %q", message, strings.TrimSpace(part))
			}
		}
	}
}

// programTexts are all string constants of the program, each sum of constants as one.
func programTexts(t *testing.T) string {
	t.Helper()
	var texts strings.Builder
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			must(t, err)
			ast.Inspect(f, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				text, whole := constant(e)
				if text != "" {
					texts.WriteString(text + "\x00")
				}
				return !whole
			})
		}
	}
	return texts.String()
}

// constant joins the literals of a sum. What isn't one is left out. whole reports whether e has nothing else to look at.
func constant(e ast.Expr) (text string, whole bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ = strconv.Unquote(e.Value) // the parser has read it
		}
		return text, true
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			left, leftWhole := constant(e.X)
			right, rightWhole := constant(e.Y)
			return left + right, leftWhole && rightWhole
		}
	}
	return "", false
}
