package engine

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"countersign/sink/store"
	"countersign/sink/store/engine/enginetest"
)

// TestMain is also the engine's child process, and the parent of one that is killed: the test binary executes itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case ChildArg:
			os.Exit(Main(os.Args[2:]))
		case parentArg:
			os.Exit(parentMain(os.Args[2:]))
		case clientArg:
			os.Exit(clientMain(os.Args[2]))
		case startArg:
			os.Exit(startMain(os.Args[2:]))
		case binaryArg:
			if err := runLibrary(os.Args[2], os.Args[2], os.Args[3:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	enginetest.UseCache()
	goleak.VerifyTestMain(m)
}

// open opens the engine's ClickHouse, with the schema in it.
func open(t *testing.T, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return db
}

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}
