package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/testsite"
)

// `countersign check` says of each file who signed it, with the flags, lines and exit codes of sha256sum.
func TestCheckCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.ecdsa("first.example"), w.ecdsa("second.example")
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())...)
	defer n.stop()
	dir := t.TempDir()
	sums := ""
	for name, by := range map[string][]signer{"one": {first}, "both\nof them": {first, second}, "unsigned": nil, "sub/two": {second}} {
		file := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o700))
		must(t, os.WriteFile(file, []byte("content of "+name), 0o600))
		hash := sha256.Sum256([]byte("content of " + name))
		for i, sign := range by {
			site := "first.example"
			if i == 1 || name == "sub/two" {
				site = "second.example"
			}
			_, err := n.Sign(t.Context(), site, hash, sign(testsite.HexText(hash, false)))
			must(t, err)
		}
		sums += fmt.Sprintf("%x  %s\n", hash, strings.ReplaceAll(name, "\n", `\n`))
		sums = strings.ReplaceAll(sums, fmt.Sprintf("%x  both", hash), fmt.Sprintf(`\%x  both`, hash))
	}
	// A signing is known at once, and who else signed when it is stored.
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		who, err := n.Hash(t.Context(), sha256.Sum256([]byte("content of both\nof them")))
		must(t, err)
		if who.AlsoSignedByCount == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", who)
		}
	}
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	lists := map[string]string{
		"SUMS":    sums,
		"GOOD":    strings.Join(linesWith(sums, "one", "both"), ""),
		"CHANGED": strings.ReplaceAll(strings.Join(linesWith(sums, "one"), ""), "  one", "  unsigned"),
		"GONE":    strings.Join(linesWith(sums, "one"), "") + strings.ReplaceAll(strings.Join(linesWith(sums, "two"), ""), "sub/two", "gone"),
		"NOISE":   strings.Join(linesWith(sums, "one"), "") + "no sum\n",
	}
	for name, text := range lists {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	oneHash := fmt.Sprintf("%x", sha256.Sum256([]byte("content of one")))
	for _, c := range []struct {
		args   string
		stdin  string
		code   int
		out    []string // parts of standard output
		absent string   // what is not in it
		errs   string   // part of standard error; empty: nothing is there
	}{
		{args: "one", out: []string{"one: signed by first.example at 20"}},
		{args: oneHash, out: []string{oneHash + ": signed by first.example at 20"}},
		{args: "-", stdin: "content of one", out: []string{"-: signed by first.example"}},
		{args: "one unsigned sub", code: 1, out: []string{"one: signed by", "unsigned: NOT SIGNED\n", "sub/two: signed by second.example"},
			errs: "1 file is not signed as it should be"},
		{args: "dangling one nothing", code: 1, out: []string{"dangling: FAILED open or read: no such file", "one: signed", "nothing: FAILED"},
			errs: "2 files could not be read"},
		{args: "--site First.Example. one", out: []string{"one: signed by first.example"}},
		{args: "--site https://first.example one", code: 1, errs: "--site: "},
		{args: "--json unsigned", code: 1, out: []string{`"status":"not signed","signers":{"hash":"`}, absent: "signedAt", errs: "1 file"},
		{args: "--site second.example one", code: 1, out: []string{"one: NOT SIGNED by second.example, but signed by first.example"},
			errs: "1 file is not signed"},
		{args: "--site Second.Example -c GOOD", code: 1, out: []string{`\both\nof them: OK, signed by first.example at `, ", also by second.example\n"},
			errs: "1 file is not signed"},
		{args: "-c GOOD", out: []string{"one: OK, signed by first.example"}},
		{args: "-c -", stdin: lists["GOOD"], out: []string{"one: OK, signed by first.example"}},
		{args: "-c --quiet GOOD", absent: "OK"},
		{args: "-c --status CHANGED", code: 1, absent: ":"},
		{args: "-c CHANGED", code: 1, out: []string{"unsigned: FAILED: it is not the file of the list\n"}, errs: "1 file is not that of the list"},
		{args: "-c GONE", code: 1, out: []string{"gone: FAILED open or read"}, errs: "1 file could not be read"},
		{args: "-c --ignore-missing GONE", out: []string{"one: OK"}, absent: "gone"},
		{args: "-c NOISE", out: []string{"one: OK"}, errs: "NOISE: line 2: not a line of sha256sum"},
		{args: "-c --strict NOISE", code: 1, errs: "1 line is no sum"},
		{args: "-c nothing", code: 1, out: []string{"nothing: FAILED open or read: no such file"}, errs: "1 file could not be read"},
		{args: "-c /dev/null", code: 1, errs: "no file was checked"},
		{args: "--json one", out: []string{`{"file":"one","status":"signed","signers":{"hash":"` + oneHash + `","signed":true,"site":"first.example"`}},
	} {
		out, errs, code := command(t, dir, c.stdin, append([]string{"check", "--url", "http://" + n.API}, strings.Fields(c.args)...)...)
		ok := code == c.code && (c.absent == "" || !strings.Contains(out, c.absent)) &&
			(c.errs == "") == (errs == "") && strings.Contains(errs, c.errs)
		for _, part := range c.out {
			ok = ok && strings.Contains(out, part)
		}
		if !ok {
			t.Errorf("check %s: exit code %d\n%s%s", c.args, code, out, errs)
		}
	}
}

// linesWith are the lines of a list that have one of the texts.
func linesWith(list string, texts ...string) (lines []string) {
	for line := range strings.Lines(list) {
		for _, text := range texts {
			if strings.Contains(line, text) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}
