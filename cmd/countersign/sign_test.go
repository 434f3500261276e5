package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command runs the program in a folder to its end.
func command(t *testing.T, dir, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(deadline(t, patience), os.Args[0], args...)
	var errs strings.Builder
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stderr = append(os.Environ(), runAsProgram+"=1"), dir, strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended {
		must(t, err)
		return string(out), errs.String(), 0
	}
	return string(out), errs.String(), exit.ExitCode()
}

// `countersign sign` takes files, folders and lists; what can't be read stops nothing, and every file has an outcome.
func TestSignCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := t.TempDir()
	for _, name := range []string{"first.example", "second.example"} {
		must(t, w.site(name, p256).WriteKeys(keys))
	}
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())...)
	defer n.stop()
	dir := t.TempDir()
	for name, text := range map[string]string{"dist/a": "a", "dist/sub/b": "b", "dist/.same": "a", "c": "c", "d\ne": "d", "empty": "", "f": "f", "g": "g"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	const sumOfF = "252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111"
	for _, c := range []struct {
		site, key string // key is the site's unless it is given
		args      string
		stdin     string
		code      int
		out, errs string // a part of what is printed; "" as out: nothing is
	}{
		{site: "first.example", args: "--dry-run c", out: "c: to be signed\n"},
		{site: "first.example", args: "dist/", errs: "added 3, signed before 0"},
		{site: "first.example", args: "dist/", out: "dist/.same: signed before at 20", errs: "added 0, signed before 3"},
		{site: "first.example", args: "c dangling empty", code: 1, out: "dangling: unreadable: no such file", errs: "added 2, signed before 0, owned by other sites 0, not signed 1"},
		{site: "second.example", args: "empty", code: 3, out: "empty: OWNED BY first.example, which signed it first at 20", errs: "owned by other sites 1"},
		{site: "second.example", args: "empty", code: 3, out: "empty: OWNED BY first.example", errs: "owned by other sites 1"},
		{site: "First.Example.", args: "empty", out: "empty: signed before at 20", errs: "signed before 1"},
		{site: "first.example", args: "--files-from -", stdin: "d\ne\x00dist\x00", out: "dist/a: signed before", errs: "added 1, signed before 3"},
		{site: "first.example", args: "--sums -", stdin: sumOfF + " *not here\nnoise\n", code: 1, out: "-, line 2: unreadable: not a line of sha256sum", errs: "added 1"},
		{site: "first.example", args: "f", out: "f: signed before", errs: "signed before 1"},
		{site: "first.example", key: "second.example", args: "g", code: 1, out: "g: bad signature: it does not fit the certificate", errs: "1 file is not signed"},
		{site: "first.example", args: "--quiet g"},
		{site: "first.example", args: "--json --quiet g", out: `{"file":"g","firstSignedAt":"20`},
		{site: "https://first.example", key: "first.example", args: "g", code: 1, errs: "--site: "},
		{site: "first.example", args: "", code: 1, errs: "name files or folders"},
		{site: "first.example", args: "--files-from nothing", code: 1, out: "nothing: unreadable: no such file", errs: "1 file is not signed"},
	} {
		key := c.key
		if key == "" {
			key = strings.TrimSuffix(strings.ToLower(c.site), ".")
		}
		args := append([]string{"sign", "--url", "http://" + n.API, "--site", c.site, "--key", filepath.Join(keys, key+".ecdsa.key")}, strings.Fields(c.args)...)
		out, errs, code := command(t, dir, c.stdin, args...)
		if code != c.code || !strings.Contains(out, c.out) || c.out == "" && out != "" || !strings.Contains(errs, c.errs) {
			t.Errorf("sign --site %s %s: exit code %d\n%s%s", c.site, c.args, code, out, errs)
		}
	}
}

// No request is open while a source pauses, and a service that has no place is waited for.
func TestSigningWaitsForSlowSourcesAndBusyServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := t.TempDir()
	must(t, w.site("ec.example", p256).WriteKeys(keys))
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir(), "--stall-timeout", "1s")...)
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "slow"), 0o600))
	api := n.API
	args := []string{"sign", "--url", "http://" + api, "--site", "ec.example", "--key", filepath.Join(keys, "ec.example.ecdsa.key")}
	signed := make(chan string, 1)
	go func() {
		out, errs, code := command(t, dir, "", append(args, "slow")...)
		signed <- fmt.Sprint(code, " ", out, errs)
	}()
	source, err := os.OpenFile(filepath.Join(dir, "slow"), os.O_WRONLY, 0) // returns when the command reads
	must(t, err)
	begun := time.Now()
	for time.Since(begun) < 2*time.Second { // longer than the service waits for a body
		_, err = source.WriteString("a byte now and then")
		must(t, err)
		time.Sleep(100 * time.Millisecond)
	}
	must(t, source.Close())
	if got := <-signed; !strings.HasPrefix(got, "0 ") || !strings.Contains(got, "added 1") {
		t.Errorf("a slow source: %s", got)
	}
	n.stop()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600))
	out, errs, code := command(t, dir, "", append(args, "--retry-for", "1ns", "file")...)
	if code != 1 || !strings.Contains(errs, "connection refused") {
		t.Errorf("a service that is not there: exit code %d\n%s%s", code, out, errs)
	}
	go func() {
		out, errs, code := command(t, dir, "", append(args, "file")...)
		signed <- fmt.Sprint(code, " ", out, errs)
	}()
	again := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir(), "--listen", api)...)
	defer again.stop()
	if got := <-signed; !strings.HasPrefix(got, "0 ") || !strings.Contains(got, "added 1") {
		t.Errorf("a service that comes back: %s", got)
	}
}

func TestUploadCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())...)
	defer n.stop()
	dir := t.TempDir()
	entries := good("upload", 3, sign)
	must(t, os.WriteFile(filepath.Join(dir, "pairs.json"), body(entries), 0o600))
	wrong, err := json.Marshal([][2]string{{entries[0].hash, entries[1].signature}, {"no hash", "x"}})
	must(t, err)
	args := []string{"upload", "--url", "http://" + n.API, "--site", "ec.example"}
	if out, errs, code := command(t, dir, "", append(args, "pairs.json")...); code != 0 || out != "" || !strings.Contains(errs, "added 3, signed before 0") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if out, errs, code := command(t, dir, string(body(entries)), args...); code != 0 || strings.Count(out, ": signed before\n") != 3 || !strings.Contains(errs, "signed before 3") {
		t.Errorf("again: %d\n%s%s", code, out, errs)
	}
	out, errs, code := command(t, dir, string(wrong), args...)
	if code != 1 || !strings.Contains(out, entries[0].hash+": the signature does not fit") || !strings.Contains(out, "no hash: not a SHA-256") || !strings.Contains(errs, "2 of 2 pairs were not added") {
		t.Errorf("wrong: %d\n%s%s", code, out, errs)
	}
}
