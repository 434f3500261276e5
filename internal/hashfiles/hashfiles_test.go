package hashfiles

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every name has its answer, in order: a file, a folder with hidden files and links, what isn't there.
func TestFilesAndFolders(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dist/sub/b", "b")
	write(t, "dist/.hidden", "h")
	write(t, "dist/a", "a")
	write(t, "-", "d") // which is not standard input where a folder has it
	write(t, "one\ntwo", "c")
	for link, to := range map[string]string{"dist/link": "a", "dangling": "nowhere", "good": "dist/a"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo("dist/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"dist/.hidden h", "dist/a a", "dist/link skipped", "dist/pipe skipped", "dist/sub/b b",
		"dangling missing", "one\ntwo c", "good a", "nothing missing"}
	var got []string
	for f := range Each(t.Context(), Walk("dist/", "dangling", "one\ntwo", "good", "nothing")) {
		what := "wrong"
		switch {
		case errors.Is(f.Err, ErrSkipped):
			what = "skipped"
		case errors.Is(f.Err, fs.ErrNotExist):
			what = "missing"
		case f.Err != nil:
			what = f.Err.Error()
		}
		for _, text := range []string{"a", "b", "c", "h"} {
			if f.Err == nil && f.Hash == sha256.Sum256([]byte(text)) {
				what = text
			}
		}
		got = append(got, f.Name+" "+what)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for f := range Each(t.Context(), Walk(".")) {
		if f.Name == "-" && (f.Err != nil || f.Hash != sha256.Sum256([]byte("d"))) {
			t.Errorf("a file that is called -: %x, %v", f.Hash, f.Err)
		}
	}
	twice := slices.Collect(Walk("-", "-"))
	if len(twice) != 2 || !twice[0].Stdin || twice[0].Err != nil || twice[1].Err == nil {
		t.Errorf("standard input twice: %+v", twice)
	}
}

// Thousands of files come out in their order, and whoever stops early leaves nothing behind.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 500 {
		name := filepath.Join(dir, fmt.Sprintf("%04d", i))
		write(t, name, name)
		names = append(names, name)
	}
	i := 0
	for f := range Each(t.Context(), Walk(dir)) {
		if f.Err != nil || f.Name != names[i] || f.Hash != sha256.Sum256([]byte(names[i])) {
			t.Fatalf("number %d: %+v", i, f)
		}
		i++
	}
	if i != len(names) {
		t.Errorf("%d files", i)
	}
	for range Each(t.Context(), Walk(dir)) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for f := range Each(ctx, Walk(dir)) {
		if !errors.Is(f.Err, context.Canceled) {
			t.Errorf("after the end: %+v", f)
		}
	}
}
