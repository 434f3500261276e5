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
	enginetest.Begin(map[string]func([]string) int{
		ChildArg: Main, parentArg: parentMain, startArg: startMain,
		clientArg: func(args []string) int { return clientMain(args[0]) },
		binaryArg: func(args []string) int {
			if err := runLibrary(args[0], args[0], args[1:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		},
	})
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
