package sumfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const hash = "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"

func TestSpellings(t *testing.T) {
	for line, want := range map[string]Entry{
		hash:                                    {hash, ""},
		strings.ToUpper(hash):                   {strings.ToUpper(hash), ""},
		hash + "  a b":                          {hash, "a b"},
		hash + "   a":                           {hash, " a"},
		hash + " *a":                            {hash, "a"},
		hash + "  a\r\n":                        {hash, "a"},
		"\\" + hash + `  a\\b\nc\r`:             {hash, "a\\b\nc\r"},
		hash + `  a\nb`:                         {hash, `a\nb`},
		"SHA256 (a (1) = b) = " + hash:          {hash, "a (1) = b"},
		"\\" + `SHA256 (a\nb) = ` + hash:        {hash, "a\nb"},
		"SHA256(a)= " + hash:                    {hash, "a"},
		"SHA2-256(a)= " + hash:                  {hash, "a"},
		hash + "  \xff":                         {hash, "\xff"},
		hash + "  " + strings.Repeat("é", 5000): {hash, strings.Repeat("é", 5000)},
	} {
		if got, ok, err := Parse(line); err != nil || !ok || got != want {
			t.Errorf("%q: %+v, %v, %v", line, got, ok, err)
		}
	}
	for _, line := range []string{"", "\n", " \t\r\n", "# made today"} {
		if e, ok, err := Parse(line); ok || err != nil {
			t.Errorf("%q: %+v, %v", line, e, err)
		}
	}
	for _, line := range []string{
		hash[1:], hash + "0", hash + " a", hash + "\ta", hash + "  ", "x" + hash, hash[:63] + "g", "MD5 (a) = " + hash[:32], "SHA256 () = " + hash,
		"SHA512 (a) = " + hash, "\\" + hash + `  a\t`, "\\" + hash + `  a\`, " " + hash + "  a",
	} {
		if e, ok, err := Parse(line); ok || !errors.Is(err, ErrNoSum) {
			t.Errorf("%q: %+v, %v", line, e, err)
		}
	}
}

// What the tools at hand write is read.
func TestToolsOutput(t *testing.T) {
	dir := t.TempDir()
	name := "a\\b\n(c) = d*"
	if err := os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("content")))
	tried := 0
	for _, command := range [][]string{
		{"sha256sum", name}, {"sha256sum", "--binary", name}, {"sha256sum", "--tag", name},
		{"shasum", "-a", "256", name},
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		tried++
		if e, ok, parseErr := Parse(string(out)); err != nil || parseErr != nil || !ok || e != (Entry{want, name}) {
			t.Errorf("%q wrote %q: %+v, %v, %v", command, out, e, err, parseErr)
		}
	}
	if tried == 0 {
		t.Skip("neither sha256sum nor shasum is here")
	}
}

// A list is read line by line, and one without line ends takes no memory.
func TestRead(t *testing.T) {
	list := "\ufeff" + hash + "  a\r\n\n# mine\nno sum\n" + hash
	var got []string
	for line, err := range Read(strings.NewReader(list)) {
		got = append(got, fmt.Sprintln(line.Number, line.Hash == hash, line.Name, line.Err, err))
	}
	want := []string{"1 true a <nil> <nil>\n", fmt.Sprintf("4 false  %v <nil>\n", ErrNoSum), "5 true  <nil> <nil>\n"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	zeros, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zeros.Close()
	n := 0
	for line, err := range Read(zeros) {
		if n++; n > 1 || err == nil || !strings.Contains(err.Error(), "line 1 is longer than") {
			t.Fatalf("number %d: %+v, %v", n, line, err)
		}
	}
}
