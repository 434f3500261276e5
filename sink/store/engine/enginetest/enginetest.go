// Package enginetest lets test binaries find the embedded engine's library. They run in temporary folders, and the
// engine looks for its library beside the program only.
//
// It must not know any other package of this module.
package enginetest

import (
	"os"
	"path/filepath"
	"runtime"
)

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
