// Package enginetest lets test binaries run the embedded engine: as its child process, which the test binary is itself,
// and as the process that finds the engine's library. They run in temporary folders, and the engine looks for its
// library beside the program only.
//
// It must not know any other package of this module.
package enginetest

import (
	"os"
	"path/filepath"
	"runtime"
)

// Begin is what a TestMain does first. Where the test binary was started as a child process, it runs as that child and
// ends: children are by the first argument, and get the others. Otherwise it calls UseCache and returns.
func Begin(children map[string]func(args []string) (code int)) {
	if len(os.Args) > 1 {
		if child := children[os.Args[1]]; child != nil {
			os.Exit(child(os.Args[2:]))
		}
	}
	UseCache()
}

// UseCache names the library in the environment, where that names none: the one that `make engine` put into this
// module's .cache. It is called by TestMain, before any test runs.
func UseCache() {
	const name = "COUNTERSIGN_ENGINE_LIB"
	_, file, _, ok := runtime.Caller(0)
	if os.Getenv(name) != "" || os.Getenv("COUNTERSIGN_CACHE") != "" || !ok {
		return
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(file), "../../../../.cache/engine/*/libchdb.so"))
	if err == nil && len(found) > 0 {
		_ = os.Setenv(name, found[len(found)-1]) // fails for names that hold zeros
	}
}
