package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeOpenSSL puts a program of that name on an otherwise empty PATH.
func fakeOpenSSL(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "openssl"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

func TestOpenSSLIsAskedForAllCores(t *testing.T) {
	a, err := findAlgorithm("p384")
	if err != nil {
		t.Fatal(err)
	}
	o := opensslSpeed{seconds: 3, cores: 2}
	fakeOpenSSL(t, `[ "$*" = "speed -mr -multi 2 -seconds 3 ecdsap384" ] && echo "+F4:4:384:1.0:2035.5"`)
	if rate, err := o.verifyRate(context.Background(), a); err != nil || rate != 2035.5 {
		t.Errorf("%v, %v", rate, err)
	}
	fakeOpenSSL(t, "exit 1")
	if _, err := o.verifyRate(context.Background(), a); err == nil {
		t.Error("a failure gave a rate")
	}
	fakeOpenSSL(t, "echo something else")
	if _, err := o.verifyRate(context.Background(), a); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("output of another kind: %v", err)
	}
	t.Setenv("PATH", "")
	if _, err := o.verifyRate(context.Background(), a); !errors.Is(err, errNoOpenSSL) {
		t.Errorf("without openssl: %v", err)
	}
}

func TestBareVerifiersAreCheckedAsTheyRun(t *testing.T) {
	p := newPool(t, "p256", ourCall, 0)
	pairs, err := p.read(0, ourCall)
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]func() (verifier, error){
		"Go's": func() (verifier, error) { return goVerifier(p.key.Public()) },
		"ours": func() (verifier, error) { return ourVerifier(p.key.Public()) },
	} {
		v, err := of()
		if err != nil {
			t.Fatal(err)
		}
		if rate, err := verifyRate(context.Background(), v, pairs, goCall, time.Millisecond); err != nil || rate <= 0 {
			t.Errorf("%s: %v, %v", name, rate, err)
		}
	}
	no := func(valid []bool, _ [][32]byte, _ [][]byte) { clear(valid) }
	if _, err := verifyRate(context.Background(), no, pairs, goCall, time.Millisecond); err == nil {
		t.Error("a verifier that finds nothing valid has a rate")
	}
}
