package ingest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const contractPage = "docs/contract.md"

// Each rule of the contract's page has a test, every test that the page names exists, and every rule that a comment
// cites is there.
func TestContractNamesItsTests(t *testing.T) {
	root := os.DirFS("..")
	page, err := fs.ReadFile(root, contractPage)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	named := regexp.MustCompile("(?m)^- `([a-z/]+): (Test\\w+)`$")
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		names = append(names, title)
		for _, rule := range strings.Split(text, "\n### ")[1:] {
			name, text, _ := strings.Cut(rule, "\n")
			names = append(names, name)
			tests := named.FindAllStringSubmatch(text, -1)
			if len(tests) == 0 {
				t.Errorf("the rule %q has no test", name)
			}
			for _, test := range tests {
				if !hasTest(t, root, test[1], test[2]) {
					t.Errorf("the rule %q names %s of %s, which does not exist", name, test[2], test[1])
				}
			}
		}
	}
	if len(names) < 30 {
		t.Errorf("only %d rules were found", len(names))
	}
	checkCitations(t, names)
}

func hasTest(t *testing.T, root fs.FS, dir, name string) bool {
	t.Helper()
	files, err := fs.Glob(root, dir+"/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := fs.ReadFile(root, file)
		return err == nil && strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)")
	})
}

// checkCitations looks for rules that comments of ingest and of the packages below it cite.
func checkCitations(t *testing.T, names []string) {
	t.Helper()
	cited := regexp.MustCompile(regexp.QuoteMeta(contractPage) + `,((?:\s|//|and)*"[^"]+")+`)
	name := regexp.MustCompile(`"([^"]+)"`)
	lineBreak := regexp.MustCompile(`\s*//\s*`) // of a comment
	citations := 0
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || path == "contract_page_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, citation := range cited.FindAllString(string(text), -1) {
			for _, m := range name.FindAllStringSubmatch(citation, -1) {
				citations++
				if rule := lineBreak.ReplaceAllString(m[1], " "); !slices.Contains(names, rule) {
					t.Errorf("%s cites %q, which is no rule of %s", path, rule, contractPage)
				}
			}
		}
		return nil
	})
	if err != nil || citations == 0 {
		t.Errorf("%d citations, %v", citations, err)
	}
}
